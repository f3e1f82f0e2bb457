// Scenarios in which everything that is sent arrives, whatever the network does.

import type { End } from "../end.ts";
import type { Program } from "../programs.ts";
import type { Random } from "../prng.ts";
import { accepting, connect, receiveExactly, receiveToEnd, sendAll } from "../transfer.ts";
import type { SimHost, World } from "../world.ts";
import { MILLISECOND, randomOptions, type Scenario, SECOND, twoHosts } from "./scenario.ts";

const PORT = 80;

/** Starts a client and ends its part of the connection as `talk` does. */
function client(host: SimHost, name: string, to: SimHost, talk: (end: End) => Program): void {
  host.spawn(name, opening(host, to, talk));
}

function* opening(host: SimHost, to: SimHost, talk: (end: End) => Program): Program {
  const end = connect(host, to.address, PORT);
  if (yield* end.connected()) yield* talk(end);
}

/** Receives to the end and closes; `finish` runs as soon as the other direction is done, too. */
function drainer(end: End, random: Random, bothDone: () => void): Program {
  const size = () => random.magnitude(1, 100_000);
  const pause = () => (random.chance(0.05) ? random.magnitude(1000, 20 * MILLISECOND) : 0);
  return (function* () {
    yield* receiveToEnd(end, size, pause);
    bothDone();
  })();
}

/** Sends `count` bytes while another program of the same host receives. */
function* duplex(end: End, random: Random, count: number): Program {
  randomOptions(end, random);
  let open = 2;
  const half = () => {
    open -= 1;
    if (open === 0) end.close();
  };
  end.node.spawn("receiver", drainer(end, random.stream(`reads ${end.index}`), half));
  const size = () => random.magnitude(1, 60_000);
  yield* sendAll(end, count, size, () => (random.chance(0.1) ? 1 : 0));
  end.shutdown();
  half();
}

const bulk: Scenario = {
  name: "bulk",
  setUp: (world) => {
    const { client: from, server } = twoHosts(world);
    const { random } = world;
    const size = () => (random.chance(0.2) ? 0 : random.magnitude(1, 1_500_000));
    const sizes = random.stream("replies");
    server.spawn(
      "listener",
      accepting(server, PORT, (end) => {
        const count = sizes.chance(0.4) ? 0 : sizes.magnitude(1, 800_000);
        return duplex(end, random.stream(`server ${end.conversation.client.port}`), count);
      }),
      true,
    );
    for (let n = random.between(1, 3); n > 0; n--) {
      const own = random.stream(`client ${n}`);
      const count = size();
      client(from, `client ${n}`, server, (end) => duplex(end, own, count));
    }
  },
};

/** Both ends draw the same from `talk`: how much is asked for, and how much the answer is. */
function* asking(end: End, random: Random, talk: Random): Program {
  randomOptions(end, random);
  for (let n = random.between(1, 20); n > 0; n--) {
    if (!(yield* sendAll(end, talk.magnitude(1, 20_000)))) return;
    if (!(yield* receiveExactly(end, talk.magnitude(1, 60_000)))) {
      end.fail("the answer ended early");
    }
    if (random.chance(0.3)) yield random.magnitude(1000, 2 * SECOND);
  }
  end.shutdown();
  yield* receiveToEnd(end);
  end.close();
}

function* answering(end: End, random: Random, talk: Random): Program {
  randomOptions(end, random);
  while (yield* receiveExactly(end, talk.magnitude(1, 20_000))) {
    const answer = talk.magnitude(1, 60_000);
    yield* sendAll(end, answer, () => random.magnitude(1, 30_000));
  }
  end.close();
}

const requests: Scenario = {
  name: "requests",
  setUp: (world) => {
    const { client: from, server } = twoHosts(world);
    const { random } = world;
    const talkOf = (end: End) => random.stream(`talk ${end.conversation.client.port}`);
    const serve = (end: End) => answering(end, random.stream("server"), talkOf(end));
    server.spawn("listener", accepting(server, PORT, serve), true);
    for (let n = random.between(1, 5); n > 0; n--) {
      const own = random.stream(`client ${n}`);
      client(from, `client ${n}`, server, (end) => asking(end, own, talkOf(end)));
    }
  },
};

/** Connects, says a little, hears a little, and closes first or last. */
function* brief(end: End, random: Random, closesFirst: boolean): Program {
  const count = random.below(3000);
  if (closesFirst) {
    yield* sendAll(end, count);
    end.shutdown();
    yield* receiveToEnd(end);
  } else {
    yield* receiveToEnd(end);
    yield* sendAll(end, count);
  }
  end.close();
}

const short: Scenario = {
  name: "short",
  setUp: (world) => {
    const { client: from, server } = twoHosts(world);
    const { random } = world;
    const clientFirst = random.chance(0.5);
    const serve = (end: End) =>
      brief(end, random.stream(`server ${end.conversation.client.port}`), !clientFirst);
    server.spawn("listener", accepting(server, PORT, serve, { backlog: 128 }), true);
    for (let n = random.between(1, 6); n > 0; n--) {
      from.spawn(`client ${n}`, series(world, from, server, clientFirst, `series ${n}`));
    }
  },
};

function* series(
  world: World,
  from: SimHost,
  server: SimHost,
  clientFirst: boolean,
  name: string,
): Program {
  const random = world.random.stream(name);
  for (let n = random.between(1, 25); n > 0; n--) {
    const end = connect(from, server.address, PORT);
    if (!(yield* end.connected())) return;
    yield* brief(end, random, clientFirst);
  }
}

/** The client sends all and half-closes; only then the server speaks. */
const halfClose: Scenario = {
  name: "half-close",
  setUp: (world) => {
    const { client: from, server } = twoHosts(world);
    const { random } = world;
    const reply = random.magnitude(1, 300_000);
    const pause = random.chance(0.5) ? random.magnitude(MILLISECOND, 100 * SECOND) : 0;
    const serve = function* (end: End): Program {
      yield* receiveToEnd(end);
      if (pause > 0) yield pause;
      yield* sendAll(end, reply, () => random.magnitude(1, 30_000));
      end.close();
    };
    server.spawn("listener", accepting(server, PORT, serve), true);
    client(from, "client", server, function* (end): Program {
      randomOptions(end, random);
      yield* sendAll(end, random.magnitude(1, 300_000));
      end.shutdown();
      yield* receiveToEnd(end);
      end.close();
    });
  },
};

/** The receiver stops reading now and then, for long enough that the window closes. */
const slowReader: Scenario = {
  name: "slow-reader",
  limitSeconds: 7200,
  setUp: (world) => {
    const { client: from, server } = twoHosts(world);
    const { random } = world;
    const serve = function* (end: End): Program {
      randomOptions(end, random);
      const size = () => random.magnitude(1, 200_000);
      const pause = () => (random.chance(0.1) ? random.magnitude(MILLISECOND, 20 * SECOND) : 0);
      yield* receiveToEnd(end, size, pause);
      end.close();
    };
    server.spawn("listener", accepting(server, PORT, serve), true);
    client(from, "client", server, function* (end): Program {
      randomOptions(end, random);
      yield* sendAll(end, random.magnitude(10_000, 2_000_000), () => random.magnitude(1, 90_000));
      end.shutdown();
      yield* receiveToEnd(end);
      end.close();
    });
  },
};

export const TRANSFERS = [bulk, requests, short, halfClose, slowReader];
