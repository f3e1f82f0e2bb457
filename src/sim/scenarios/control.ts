// Scenarios about the beginning and the end of connections, and about what is not plain data.

import { TcpOption } from "../../../build/gen/layout.ts";
import { End } from "../end.ts";
import { contents } from "../ledger.ts";
import type { Random } from "../prng.ts";
import type { Program } from "../programs.ts";
import { accepting, connect, receiveExactly, receiveToEnd, sendAll } from "../transfer.ts";
import type { SimHost, World } from "../world.ts";
import { MILLISECOND, randomOptions, type Scenario, SECOND, twoHosts } from "./scenario.ts";

const PORT = 80;
const MSG_OOB = 2;

/** Both sides call connect(2) with each other's port: RFC 9293 3.5, figure 7. */
const simultaneousOpen: Scenario = {
  name: "simultaneous-open",
  setUp: (world) => {
    const { client: left, server: right } = twoHosts(world);
    const ports = [4000, 5000] as const;
    const conversation = world.ledger.open(
      { address: left.address, port: ports[0] },
      { address: right.address, port: ports[1] },
    );
    // Who comes first meets a host that answers with a reset.
    conversation.mayFail = true;
    const sides = [
      { host: left, to: right, own: ports[0], other: ports[1], isClient: true },
      { host: right, to: left, own: ports[1], other: ports[0], isClient: false },
    ];
    const delay = world.random.magnitude(1000, 100 * MILLISECOND);
    for (const { host, to, own, other, isClient } of sides) {
      const random = world.random.stream(host.name);
      const open = function* (): Program {
        if (!isClient) yield delay;
        for (;;) {
          const index = host.sockets.create();
          const at = { address: to.address, port: other };
          const result = host.sockets.connect(index, { port: own }, at, host.now());
          if (result !== 0) host.fail(`connect: ${result}`);
          const end = new End(host, index, conversation, isClient);
          if (yield* end.connected()) return yield* chat(end, random);
          end.close();
          yield random.magnitude(MILLISECOND, 3 * SECOND);
        }
      };
      host.spawn(`${host.name} opens`, open());
    }
  },
};

function* chat(end: End, random: Random): Program {
  if (!(yield* sendAll(end, random.magnitude(1, 50_000)))) return end.close();
  end.shutdown();
  yield* receiveToEnd(end);
  end.close();
}

/** Both sides send their FIN at the same time: RFC 9293 3.6, figure 13. */
const simultaneousClose: Scenario = {
  name: "simultaneous-close",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const { random } = world;
    const at = world.clock.now() + 10 * SECOND + random.below(SECOND);
    const skew = random.chance(0.5) ? 0 : random.below(50 * MILLISECOND);
    const close = function* (end: End, late: number): Program {
      yield* sendAll(end, random.below(3000));
      yield Math.max(0, at + late - world.clock.now());
      end.shutdown();
      yield* receiveToEnd(end);
      end.close();
    };
    server.spawn(
      "listener",
      accepting(server, PORT, (end) => close(end, skew)),
      true,
    );
    client.spawn(
      "client",
      opened(client, server, (end) => close(end, 0)),
    );
  },
};

function* opened(from: SimHost, to: SimHost, talk: (end: End) => Program): Program {
  const end = connect(from, to.address, PORT);
  if (yield* end.connected()) yield* talk(end);
}

/** Urgent bytes, in the stream and beside it (RFC 6093), one at a time. */
const urgent: Scenario = {
  name: "urgent",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const { random } = world;
    const isInline = random.chance(0.5);
    const rounds = random.between(1, 10);
    const plan = random.stream("plan");
    const lengths = Array.from({ length: rounds }, () => plan.magnitude(1, 5000));
    server.spawn(
      "listener",
      accepting(server, PORT, (end) => urgentReader(end, lengths, isInline)),
      true,
    );
    client.spawn(
      "client",
      opened(client, server, (end) => urgentWriter(end, lengths, random)),
    );
  },
};

/** Each round: plain bytes, the last of which is urgent, then an answer of one byte. */
function* urgentWriter(end: End, lengths: number[], random: Random): Program {
  for (const length of lengths) {
    yield* sendAll(end, length);
    yield end.writable;
    if (end.send(1, MSG_OOB) !== 1) end.fail("an urgent byte was not taken");
    yield* sendAll(end, length);
    if (!(yield* receiveExactly(end, 1))) end.fail("no answer");
    if (random.chance(0.3)) yield random.magnitude(1000, SECOND);
  }
  end.shutdown();
  yield* receiveToEnd(end);
  end.close();
}

function* urgentReader(end: End, lengths: number[], isInline: boolean): Program {
  const { sockets, host, now } = end.node;
  if (isInline) end.option(TcpOption.OobInline, 1);
  for (const length of lengths) {
    if (isInline) {
      if (!(yield* receiveExactly(end, 2 * length + 1))) end.fail("ended early");
    } else {
      yield* toMark(end, length);
      yield () => host.calls.tcpUrgent(end.index, 1) !== -EAGAIN;
      const byte = host.calls.tcpUrgent(end.index, 0);
      if (byte !== contents(end.into, end.into.read, 1)[0]) end.fail(`urgent byte ${byte}`);
      end.into.read += 1;
      if (!(yield* receiveExactly(end, length))) end.fail("ended early");
    }
    const answer = sockets.send(end.index, contents(end.out, end.out.written, 1), now());
    if (answer !== 1) end.fail(`answer: ${answer}`);
    end.out.written += 1;
  }
  yield* receiveToEnd(end);
  end.close();
}

const EAGAIN = 11;

/** Receives the plain bytes before the mark, at which a receive stops. */
function* toMark(end: End, length: number): Program {
  let left = length;
  while (left > 0) {
    const got = end.receive(left + 1);
    if (got === "wait") yield end.readable;
    else if (typeof got !== "number") end.fail("ended before the mark");
    else left -= got;
  }
  if (left < 0) end.fail("received beyond the mark");
  yield () => end.node.host.calls.tcpAtMark(end.index) !== 0;
}

/** Nothing is said for hours; keepalive finds the peer alive, or gone. */
const keepalive: Scenario = {
  name: "keepalive",
  limitSeconds: 100_000,
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const { random } = world;
    const isCut = random.chance(0.4);
    const idleSeconds = random.magnitude(10, 20_000);
    const serve = function* (end: End): Program {
      end.option(TcpOption.KeepAlive, 1);
      end.option(TcpOption.KeepIdle, random.between(1, 7200));
      yield* receiveToEnd(end);
      end.close();
    };
    server.spawn("listener", accepting(server, PORT, serve), true);
    client.spawn(
      "client",
      opened(client, server, function* (end): Program {
        end.option(TcpOption.KeepAlive, 1);
        end.option(TcpOption.KeepIdle, random.between(1, 1000));
        end.option(TcpOption.KeepInterval, random.between(1, 100));
        yield* sendAll(end, 100);
        yield 10 * SECOND;
        if (isCut) {
          end.conversation.mayFail = true;
          client.links.up.options.down = true;
          if ((yield* receiveToEnd(end)) && !end.hasFailed) end.fail("no error from keepalive");
          end.close();
          return;
        }
        yield idleSeconds * SECOND;
        yield* sendAll(end, 100);
        end.shutdown();
        yield* receiveToEnd(end);
        end.close();
      }),
    );
  },
};

/** One of the ends aborts at any moment. */
const aborts: Scenario = {
  name: "aborts",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const { random } = world;
    const serve = (end: End) => quitter(end, random.stream(`s ${end.conversation.client.port}`));
    server.spawn("listener", accepting(server, PORT, serve, { strangers: true }), true);
    for (let n = random.between(1, 8); n > 0; n--) {
      const own = random.stream(`client ${n}`);
      const start = function* (): Program {
        for (let turn = own.between(1, 4); turn > 0; turn--) {
          const end = connect(client, server.address, PORT);
          end.conversation.mayFail = true;
          if (own.chance(0.2)) end.close();
          else if (yield* end.connected()) yield* quitter(end, own);
          else end.close();
        }
      };
      client.spawn(`client ${n}`, start());
    }
  },
};

/** Sends and receives for a while, then closes or aborts, whatever is under way. */
function* quitter(end: End, random: Random): Program {
  end.conversation.mayFail = true;
  for (let turns = random.magnitude(1, 60); turns > 0 && !end.hasFailed; turns--) {
    if (random.chance(0.5)) end.send(random.magnitude(1, 60_000));
    else end.receive(random.magnitude(1, 60_000));
    yield random.magnitude(1000, 30 * MILLISECOND);
  }
  if (random.chance(0.5)) end.abort();
  else end.close();
}

/** Any calls in any order, without sense; in the end everything is read and closed. */
const anyCalls: Scenario = {
  name: "any-calls",
  setUp: (world) => {
    const { client, server } = twoHosts(world);
    const serve = (end: End) => babbler(end, streamOf(world, end, "server"));
    server.spawn("listener", accepting(server, PORT, serve), true);
    for (let n = world.random.between(1, 4); n > 0; n--) {
      const talk = (end: End) => babbler(end, streamOf(world, end, "client"));
      client.spawn(`client ${n}`, opened(client, server, talk));
    }
  },
};

function streamOf(world: World, end: End, side: string): Random {
  return world.random.stream(`${side} ${end.conversation.client.port}`);
}

function* babbler(end: End, random: Random): Program {
  let isOpen = true;
  for (let turns = random.magnitude(5, 300); turns > 0; turns--) {
    const what = random.below(100);
    if (what < 40 && isOpen) end.send(random.magnitude(1, 65_000), random.chance(0.2) ? 1 : 0);
    else if (what < 75 && !end.hasEnded) end.receive(random.magnitude(1, 100_000));
    else if (what < 80) end.peek(random.magnitude(1, 5000), random.magnitude(1, 5000));
    else if (what < 82) {
      if (isOpen) end.shutdown();
      isOpen = false;
    } else if (what < 85) {
      randomOptions(end, random);
      end.option(TcpOption.Cork, random.below(2));
    } else if (what < 92) yield random.magnitude(100, 300 * MILLISECOND);
    else yield random.magnitude(100, 2 * MILLISECOND);
  }
  end.option(TcpOption.Cork, 0);
  if (isOpen) end.shutdown();
  if (!end.hasEnded) yield* receiveToEnd(end);
  end.close();
}

export const CONTROL = [simultaneousOpen, simultaneousClose, urgent, keepalive, aborts, anyCalls];
