// Scenarios that would come up once in a very long time by chance.

import { TcpOption } from "../../../build/gen/layout.ts";
import type { End } from "../end.ts";
import { createFuse } from "../fuse.ts";
import { createHost } from "../host.ts";
import type { Random } from "../prng.ts";
import type { Program } from "../programs.ts";
import { accepting, connect, connectFrom, receiveToEnd, sendAll } from "../transfer.ts";
import type { SimHost, World } from "../world.ts";
import { MILLISECOND, randomCable, randomOptions, type Scenario, SECOND } from "./scenario.ts";
import { twoHosts } from "./scenario.ts";

const PORT = 80;
const CLIENT_PORT = 40_000;
const WORD = 0x1_0000_0000;
/** The clock in initial sequence numbers ticks so often (stack/tcp/initial-sequence.ts). */
const ISN_TICK_NANOS = 4096;
const MILLIS = 1e6;

/** Sends and receives at the same time, `count` bytes out, with any options, and closes. */
function* exchange(end: End, random: Random, count: number): Program {
  randomOptions(end, random);
  yield* duplex(end, count, () => random.magnitude(1, 60_000));
}

function* duplex(end: End, count: number, size: () => number): Program {
  let open = 2;
  const half = () => {
    open -= 1;
    if (open === 0) end.close();
  };
  const reader = function* (): Program {
    yield* receiveToEnd(end, size);
    half();
  };
  end.node.spawn("reader", reader());
  yield* sendAll(end, count, size);
  end.shutdown();
  half();
}

/** Sequence numbers, or timestamps, of the client begin just before they wrap. */
const wrap: Scenario = {
  name: "wrap",
  limitSeconds: 5_000_000,
  setUp: (world) => {
    const { random } = world;
    const seed: [bigint, bigint] = [random.word64(), random.word64()];
    const cable = randomCable(random);
    const client = world.addHost("client", { ...cable, host: { ...cable.host, seed } });
    const server = world.addHost("server", randomCable(random));
    const own = random.stream("server");
    const serve = (end: End) => exchange(end, own, own.magnitude(1, 400_000));
    server.spawn("listener", accepting(server, PORT, serve), true);
    const start = function* (): Program {
      yield waitForWrap(world, client, server, seed);
      const end = connectFrom(client, CLIENT_PORT, { address: server.address, port: PORT });
      if (!end) return client.fail("the port is in use");
      if (yield* end.connected()) yield* exchange(end, random, random.magnitude(1000, 400_000));
    };
    client.spawn("client", start());
  },
};

/** Nanoseconds until the connection's first sequence number, or timestamp, is about to wrap. */
function waitForWrap(world: World, client: SimHost, server: SimHost, seed: [bigint, bigint]) {
  const { random } = world;
  // The same host again, asked what numbers it would take now.
  const twin = createHost(world.module, () => client.route, { seed });
  twin.addInterface({ ifindex: 2, mac: client.mac, address: client.address });
  const index = twin.sockets.create();
  const to = { address: server.address, port: PORT };
  twin.sockets.connect(index, { port: CLIENT_PORT }, to, client.now());
  const { iss, tsOffset } = twin.sockets.tcbAt(index);
  if (random.chance(0.5)) {
    const left = (WORD - iss - random.below(10_000) + WORD) % WORD;
    return left * ISN_TICK_NANOS;
  }
  const stamp = (Math.floor(world.clock.now() / MILLIS) + tsOffset) % WORD;
  return ((WORD - stamp - random.below(300) + WORD) % WORD) * MILLIS;
}

/** The lock's owner dies between two calls: regionRecover() derives everything anew. */
const recovery: Scenario = {
  name: "recovery",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("recovery");
    const own = random.stream("server");
    const serve = (end: End) => exchange(end, own, own.magnitude(1, 300_000));
    server.spawn("listener", accepting(server, PORT, serve), true);
    for (let n = random.between(1, 5); n > 0; n--) {
      const start = function* (): Program {
        yield random.magnitude(1000, SECOND);
        const end = connect(client, server.address, PORT);
        if (yield* end.connected()) yield* exchange(end, random, random.magnitude(1, 300_000));
      };
      client.spawn(`client ${n}`, start());
    }
    let at = 0;
    for (let n = random.between(1, 30); n > 0; n--) {
      at += random.magnitude(1000, 300 * MILLISECOND);
      const node = random.pick([client, server]);
      world.clock.after(at, () => {
        node.host.calls.regionRecover();
        node.activity();
      });
    }
  },
};

/** Whoever polls is killed in the middle of it, again and again. */
const deaths: Scenario = {
  name: "deaths",
  setUp: (world) => {
    const { random } = world;
    const mortal = (name: string) => {
      const fuse = createFuse(world.module);
      const cable = randomCable(random);
      return world.addHost(name, { ...cable, fuse, host: { ...cable.host, host: fuse.overrides } });
    };
    const client = mortal("client");
    const server = random.chance(0.5) ? mortal("server") : world.addHost("server", {});
    const own = random.stream("server");
    // A peer that has forgotten the connection is found out by this.
    const talk = function* (end: End, from: Random): Program {
      end.option(TcpOption.KeepAlive, 1);
      end.option(TcpOption.KeepIdle, 10);
      yield* exchange(end, from, from.magnitude(1, 300_000));
    };
    server.spawn(
      "listener",
      accepting(server, PORT, (end) => talk(end, own)),
      true,
    );
    for (let n = random.between(1, 5); n > 0; n--) {
      const start = function* (): Program {
        const end = connect(client, server.address, PORT);
        if (yield* end.connected()) yield* talk(end, random);
        else end.close();
      };
      client.spawn(`client ${n}`, start());
    }
  },
};

/** Nothing goes wrong in the network: then nothing may be sent twice, and no timer may fire. */
const perfect: Scenario = {
  name: "perfect",
  setUp: (world) => {
    const { random } = world;
    const way = () => ({ delayNanos: random.magnitude(1000, 150 * MILLISECOND) });
    const cable = () => ({
      up: way(),
      down: way(),
      pollNanos: random.chance(0.5) ? random.magnitude(1000, MILLISECOND) : 0,
      host: { frameCount: 16_384, fillTarget: 1024 },
    });
    const client = world.addHost("client", cable());
    const server = world.addHost("server", cable());
    const own = random.stream("server");
    // Short segments would wait for acknowledgments until they are probed for (RFC 8985 7).
    const size = () => random.between(4000, 60_000);
    const serve = (end: End) => duplex(end, own.magnitude(1, 2_000_000), size);
    server.spawn("listener", accepting(server, PORT, serve), true);
    for (let n = random.between(1, 3); n > 0; n--) {
      const start = function* (): Program {
        const end = connect(client, server.address, PORT);
        if (!(yield* end.connected())) return;
        yield* duplex(end, random.magnitude(1, 2_000_000), size);
      };
      client.spawn(`client ${n}`, start());
    }
  },
  check: (world) => {
    for (const { name, host, count } of world.nodes) {
      const { txRetransmits, tcpTimeouts } = host.header;
      if (count.ringFull > 0 || (txRetransmits === 0n && tcpTimeouts === 0n)) continue;
      world.fail(`${name}: ${txRetransmits} needless retransmissions, ${tcpTimeouts} timeouts`);
    }
  },
};

/** Acknowledgments are lost by the third, data is not. */
const lostAcks: Scenario = {
  name: "lost-acks",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("acks");
    Object.assign(client.links.down.options, { loss: random.fraction() * 0.4 });
    for (const link of [client.links.up, server.links.down]) {
      delete link.options.burst;
      delete link.options.queueBytes;
      Object.assign(link.options, { loss: 0, corrupt: 0 });
    }
    const serve = function* (end: End): Program {
      yield* receiveToEnd(end);
      end.close();
    };
    server.spawn("listener", accepting(server, PORT, serve), true);
    const start = function* (): Program {
      const end = connect(client, server.address, PORT);
      if (!(yield* end.connected())) return;
      randomOptions(end, random);
      yield* sendAll(end, random.magnitude(1000, 1_500_000), () => random.magnitude(1, 60_000));
      end.shutdown();
      yield* receiveToEnd(end);
      end.close();
    };
    client.spawn("client", start());
  },
};

/** Every option, at any time, with any value that setsockopt(2) takes. */
const anyOptions: Scenario = {
  name: "any-options",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("options");
    const talk = (end: End): Program => {
      end.node.spawn("options", turning(end, random));
      return exchange(end, random, random.magnitude(1, 500_000));
    };
    server.spawn("listener", accepting(server, PORT, talk), true);
    for (let n = random.between(1, 4); n > 0; n--) {
      const start = function* (): Program {
        const end = connect(client, server.address, PORT);
        turn(end, random);
        if (yield* end.connected()) yield* talk(end);
      };
      client.spawn(`client ${n}`, start());
    }
  },
};

function* turning(end: End, random: Random): Program {
  for (let turns = random.between(1, 50); turns > 0 && !end.isClosed; turns--) {
    turn(end, random);
    yield random.magnitude(1000, 500 * MILLISECOND);
  }
  if (!end.isClosed) end.option(TcpOption.Cork, 0);
}

/** Sets one option. Left out is what ends connections. */
function turn(end: End, random: Random): void {
  const values: [number, () => number][] = [
    [TcpOption.NoDelay, () => random.below(2)],
    [TcpOption.Cork, () => random.below(2)],
    [TcpOption.QuickAck, () => random.below(2)],
    [TcpOption.KeepAlive, () => random.below(2)],
    [TcpOption.KeepIdle, () => random.between(1, 100)],
    [TcpOption.KeepInterval, () => random.between(1, 100)],
    [TcpOption.MaxSegment, () => random.between(88, 1500)],
    [TcpOption.ReceiveLowat, () => random.magnitude(1, 3000)],
    [TcpOption.Congestion, () => random.below(2)],
    [TcpOption.WindowClamp, () => random.magnitude(1, 1_000_000)],
    [TcpOption.NotSentLowat, () => random.magnitude(1, 100_000)],
    [TcpOption.ReceiveBuffer, () => random.magnitude(2304, 1_000_000)],
    [TcpOption.SendBuffer, () => random.magnitude(4608, 1_000_000)],
  ];
  const [option, value] = random.pick(values);
  end.option(option, value());
}

/** A hundred connections at a time, most of them idle most of the time. */
const many: Scenario = {
  name: "many",
  setUp: (world) => {
    const { random } = world;
    const cable = () => ({ ...randomCable(random), host: { frameCount: 8192, fillTarget: 1024 } });
    const client = world.addHost("client", cable());
    const server = world.addHost("server", cable());
    const own = random.stream("server");
    const serve = (end: End) => duplex(end, own.magnitude(1, 5000), () => 65_000);
    server.spawn("listener", accepting(server, PORT, serve, { backlog: 4096 }), true);
    for (let n = random.between(50, 150); n > 0; n--) {
      const start = function* (): Program {
        yield random.below(2 * SECOND);
        const end = connect(client, server.address, PORT);
        if (!(yield* end.connected())) return;
        yield random.below(60 * SECOND);
        yield* duplex(end, random.magnitude(1, 5000), () => 65_000);
      };
      client.spawn(`client ${n}`, start());
    }
  },
};

/** Queues stop and start, and the MTU of the interface changes, while connections are under way. */
const interfaces: Scenario = {
  name: "interfaces",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("interfaces");
    const own = random.stream("server");
    const serve = (end: End) => exchange(end, own, own.magnitude(1, 300_000));
    server.spawn("listener", accepting(server, PORT, serve), true);
    for (let n = random.between(1, 4); n > 0; n--) {
      const start = function* (): Program {
        const end = connect(client, server.address, PORT);
        if (yield* end.connected()) yield* exchange(end, random, random.magnitude(1, 500_000));
      };
      client.spawn(`client ${n}`, start());
    }
    let at = 0;
    for (let n = random.between(1, 10); n > 0; n--) {
      at += random.magnitude(1000, SECOND);
      const node = random.pick([client, server]);
      const mtu = random.between(576, 1500);
      world.clock.after(at, () => {
        if (random.chance(0.5)) node.host.restartQueue();
        else node.changeMtu(mtu);
        node.activity();
      });
    }
  },
};

/** Several hosts, each a server and a client of all others. */
const crowd: Scenario = {
  name: "crowd",
  setUp: (world) => {
    const { random } = world;
    const names = ["one", "two", "three", "four", "five"].slice(0, random.between(3, 5));
    const hosts = names.map((name) => world.addHost(name, randomCable(random)));
    for (const host of hosts) {
      const own = random.stream(`of ${host.name}`);
      const serve = (end: End) => exchange(end, own, own.magnitude(1, 100_000));
      host.spawn("listener", accepting(host, PORT, serve), true);
      const others = hosts.filter((one) => one !== host);
      const start = function* (): Program {
        for (let n = own.between(1, 6); n > 0; n--) {
          const end = connect(host, own.pick(others).address, PORT);
          if (own.chance(0.2)) end.option(TcpOption.MaxSegment, own.between(88, 1400));
          if (yield* end.connected()) host.spawn("talk", exchange(end, own, own.magnitude(1, 1e5)));
          yield own.magnitude(1000, SECOND);
        }
      };
      host.spawn("clients", start());
    }
  },
};

export const CORNERS = [
  wrap,
  recovery,
  deaths,
  anyOptions,
  many,
  interfaces,
  perfect,
  lostAcks,
  crowd,
];
