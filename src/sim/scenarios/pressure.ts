// Scenarios in which something is short, missing, or sent by somebody with bad intentions.

import { TcpOption } from "../../../build/gen/layout.ts";
import type { End } from "../end.ts";
import type { Random } from "../prng.ts";
import type { Program, Wait } from "../programs.ts";
import { accepting, connect, connectFrom, receiveToEnd, sendAll } from "../transfer.ts";
import { ipNumber, RST, SYN, tcpPacket } from "../wire.ts";
import type { SimHost, World } from "../world.ts";
import { MILLISECOND, randomCable, type Scenario, SECOND, twoHosts } from "./scenario.ts";

const PORT = 80;
/** Connections that a client tries before it is a failure that it does not get in. */
const TRIES_MAX = 20;

/** The client sends, then the server answers: `count` bytes each way. */
function* ask(from: SimHost, to: SimHost, random: Random, count: number): Program {
  const end = connect(from, to.address, PORT);
  if (yield* end.connected()) yield* askOn(end, random, count);
}

/** True if all of it came and went. */
function* askOn(end: End, random: Random, count: number): Generator<Wait, boolean, void> {
  let isWell = yield* sendAll(end, count, () => random.magnitude(1, 50_000));
  if (isWell) end.shutdown();
  isWell = isWell && (yield* receiveToEnd(end));
  end.close();
  return isWell;
}

/**
 * The same again until it works: a listener that can't remember a handshake may reset the
 * connection, because the segment that would have completed it was lost.
 */
function* askAgain(from: SimHost, to: SimHost, random: Random, count: number): Program {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const end = connect(from, to.address, PORT);
    end.conversation.mayFail = true;
    if (!(yield* end.connected())) end.close();
    else if (yield* askOn(end, random, count)) return;
    yield random.magnitude(MILLISECOND, SECOND);
  }
  from.fail(`nothing came of ${TRIES_MAX} connections`);
}

function answerer(random: Random, most: number): (end: End) => Program {
  return function* (end) {
    // A client that gave up before a SYN cookie made the connection is found out by this alone.
    end.option(TcpOption.KeepAlive, 1);
    end.option(TcpOption.KeepIdle, 60);
    yield* receiveToEnd(end);
    yield* sendAll(end, random.magnitude(1, most));
    end.close();
  };
}

/** SYNs from addresses that never answer: real clients must get in all the same (RFC 4987). */
const synFlood: Scenario = {
  name: "syn-flood",
  limitSeconds: 300,
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("flood");
    const backlog = random.pick([1, 4, 16, 128]);
    const serve = answerer(random, 5000);
    server.spawn("listener", accepting(server, PORT, serve, { backlog, strangers: true }), true);
    flood(world, server, random, random.between(500, 4000));
    for (let n = random.between(1, 5); n > 0; n--) {
      const start = function* (): Program {
        yield 50 * MILLISECOND + random.below(200 * MILLISECOND);
        yield* askAgain(client, server, random, random.magnitude(1, 20_000));
      };
      client.spawn(`client ${n}`, start());
    }
  },
};

function flood(world: World, server: SimHost, random: Random, count: number): void {
  const gap = random.magnitude(10_000, 500_000);
  const source = ipNumber("10.9.0.0");
  for (let n = 0; n < count; n++) {
    const packet = tcpPacket({
      source: source + random.below(60_000),
      destination: ipNumber(server.address),
      sourcePort: random.between(1024, 65_535),
      destinationPort: PORT,
      sequence: random.next(),
      flags: SYN,
      options: Uint8Array.of(2, 4, 5, 180),
    });
    world.clock.after(n * gap, () => world.forward(packet));
  }
}

/** Blind attacks on a connection: RFC 5961. Guessed resets and SYNs must not end it. */
const spoofing: Scenario = {
  name: "spoofing",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("spoofing");
    server.spawn("listener", accepting(server, PORT, answerer(random, 300_000)), true);
    const start = function* (): Program {
      const end = connect(client, server.address, PORT);
      const { port } = end.conversation.client;
      const attack = () => {
        const packet = tcpPacket({
          source: ipNumber(client.address),
          destination: ipNumber(server.address),
          sourcePort: port,
          destinationPort: PORT,
          sequence: random.next(),
          acknowledgment: random.next(),
          flags: random.pick([RST, SYN, RST | 16, 16, 17]),
        });
        world.forward(packet);
        if (!end.isClosed) world.clock.after(random.magnitude(10_000, 20 * MILLISECOND), attack);
      };
      if (!(yield* end.connected())) return;
      world.clock.after(0, attack);
      yield* askOn(end, random, random.magnitude(1000, 300_000));
    };
    client.spawn("client", start());
  },
};

/** Headers are changed on the way. Whatever comes of it, nothing breaks and nothing is left. */
const forgery: Scenario = {
  name: "forgery",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("forgery");
    world.router.chances.forge = random.magnitude(0.001, 1);
    const serve = (end: End) => giveUp(end, random);
    server.spawn("listener", accepting(server, PORT, serve, { strangers: true }), true);
    for (let n = random.between(1, 6); n > 0; n--) {
      const start = function* (): Program {
        for (let tries = random.between(1, 5); tries > 0; tries--) {
          yield* giveUp(connect(client, server.address, PORT), random);
        }
      };
      client.spawn(`client ${n}`, start());
    }
  },
};

/** Sends and receives without hope for a while, and closes. */
function* giveUp(end: End, random: Random): Program {
  end.conversation.mayFail = true;
  end.conversation.isForged = true;
  for (let turns = random.magnitude(2, 80); turns > 0 && !end.hasFailed; turns--) {
    if (random.chance(0.5)) end.send(random.magnitude(1, 60_000));
    else if (!end.hasEnded) end.receive(random.magnitude(1, 60_000));
    yield random.magnitude(1000, 200 * MILLISECOND);
  }
  if (random.chance(0.3)) end.abort();
  else end.close();
}

/** More clients than the listener has room for, and a program that accepts slowly. */
const overflow: Scenario = {
  name: "overflow",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("overflow");
    const options = {
      backlog: random.between(0, 4),
      strangers: true,
      pause: () => (random.chance(0.5) ? random.magnitude(1000, SECOND) : 0),
    };
    server.spawn("listener", accepting(server, PORT, answerer(random, 3000), options), true);
    for (let n = random.between(5, 25); n > 0; n--) {
      client.spawn(`client ${n}`, askAgain(client, server, random, random.magnitude(1, 3000)));
    }
  },
};

/** So few frames that connections have to share what there is. */
const fewFrames: Scenario = {
  name: "few-frames",
  setUp: (world) => {
    const { random } = world;
    const cable = () => ({
      ...randomCable(random),
      mtu: 1500,
      host: { frameCount: random.between(256, 700), fillTarget: random.between(32, 64) },
    });
    const client = world.addHost("client", cable());
    const server = world.addHost("server", cable());
    server.spawn("listener", accepting(server, PORT, answerer(random, 200_000)), true);
    for (let n = random.between(2, 10); n > 0; n--) {
      client.spawn(`client ${n}`, ask(client, server, random, random.magnitude(1000, 200_000)));
    }
  },
};

/** The cable is cut for seconds, again and again. */
const outages: Scenario = {
  name: "outages",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("outages");
    const answer = answerer(random, 300_000);
    // What Linux gives up on sooner would not outlive it: handshakes, and orphans.
    const serve = (end: End) => {
      cut(world, client, server, random);
      return answer(end);
    };
    server.spawn("listener", accepting(server, PORT, serve), true);
    client.spawn("client", ask(client, server, random, random.magnitude(1000, 1_000_000)));
  },
};

function cut(world: World, client: SimHost, server: SimHost, random: Random): void {
  const cables = [client.links.up, client.links.down, server.links.up, server.links.down];
  let at = 0;
  for (let n = random.between(1, 6); n > 0; n--) {
    const { options } = random.pick(cables);
    at += random.magnitude(MILLISECOND, 2 * SECOND);
    world.clock.after(at, () => {
      options.down = true;
    });
    at += random.magnitude(MILLISECOND, 10 * SECOND);
    world.clock.after(at, () => {
      options.down = false;
    });
  }
}

/** The path carries less than the hosts' cables do, and does not always say so. */
const pathMtu: Scenario = {
  name: "path-mtu",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("path");
    const change = (mtu: number) => {
      client.links.down.options.mtu = mtu;
      server.links.down.options.mtu = mtu;
    };
    change(random.chance(0.5) ? random.between(576, 1490) : 9000);
    world.clock.after(random.magnitude(MILLISECOND, SECOND), () =>
      change(random.between(576, 1400)),
    );
    server.spawn("listener", accepting(server, PORT, answerer(random, 300_000)), true);
    client.spawn("client", ask(client, server, random, random.magnitude(1000, 500_000)));
  },
};

/** Routers mark instead of dropping: RFC 3168. */
const congestionMarks: Scenario = {
  name: "ecn",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("ecn");
    for (const node of [client, server]) {
      node.host.header.ecnMode = 1;
      Object.assign(node.links.down.options, { bitsPerSecond: 2e7, markBytes: 20_000 });
    }
    server.spawn("listener", accepting(server, PORT, answerer(random, 1_000_000)), true);
    client.spawn("client", ask(client, server, random, random.magnitude(100_000, 1_000_000)));
  },
};

/** The neighbour is not known at first, and forgotten for a while later. */
const neighbour: Scenario = {
  name: "neighbour",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("neighbour");
    server.spawn("listener", accepting(server, PORT, answerer(random, 100_000)), true);
    client.spawn("client", ask(client, server, random, random.magnitude(1000, 200_000)));
    for (const node of [client, server]) {
      const { mac, nextHop } = node.route;
      node.route.mac = undefined;
      let at = 0;
      for (let n = random.between(1, 4); n > 0; n--) {
        at += random.magnitude(1000, 5 * SECOND);
        world.clock.after(at, () => {
          node.route.mac = mac;
          node.host.setNeighbor(0, nextHop, mac);
          node.activity();
        });
        at += random.magnitude(1000, 5 * SECOND);
        if (n > 1) world.clock.after(at, () => node.host.setNeighbor(0, nextHop));
        if (n > 1 && random.chance(0.5)) world.clock.after(at, node.host.calls.destinationsFlush);
      }
    }
  },
};

/** The same two ports again and again, while the server's TIME-WAIT lasts (RFC 6191). */
const reuse: Scenario = {
  name: "reuse",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const random = world.random.stream("reuse");
    const serve = function* (end: End): Program {
      yield* sendAll(end, random.below(5000));
      end.shutdown();
      yield* receiveToEnd(end);
      end.close();
    };
    server.spawn("listener", accepting(server, PORT, serve), true);
    const start = function* (): Program {
      for (let n = random.between(2, 20); n > 0; ) {
        const end = connectFrom(client, 40_000, { address: server.address, port: PORT });
        if (!end) {
          yield random.magnitude(MILLISECOND, 10 * SECOND);
          continue;
        }
        n -= 1;
        if (!(yield* end.connected())) return;
        yield* sendAll(end, random.below(5000));
        yield* receiveToEnd(end);
        end.close();
        yield random.magnitude(1000, SECOND);
      }
    };
    client.spawn("client", start());
  },
};

export const PRESSURE = [
  synFlood,
  spoofing,
  forgery,
  overflow,
  fewFrames,
  outages,
  pathMtu,
  congestionMarks,
  neighbour,
  reuse,
];
