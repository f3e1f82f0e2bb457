// Processes that come and go on several hosts: they fork, exec, pass sockets on, are killed, and so
// is exasockd. Who survives keeps every connection whose other end survives, too.

import { TcpOption } from "../../../build/gen/layout.ts";
import type { End } from "../end.ts";
import { createFuse } from "../fuse.ts";
import type { Random } from "../prng.ts";
import type { Program } from "../programs.ts";
import { type Held, type Process, Society } from "../society.ts";
import { connect, receiveToEnd, sendAll } from "../transfer.ts";
import type { SimHost, World } from "../world.ts";
import { MILLISECOND, randomCable, type Scenario, SECOND } from "./scenario.ts";

const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const FIRST_PORT = 1000;
/** Processes of a host are born until there are so many. */
const PROCESSES_MAX = 8;
const LISTENERS_MAX = 6;
const KEEP_IDLE_SECONDS = 60;

interface Life {
  readonly societies: readonly Society[];
  /** The next port that nobody has listened at yet. */
  nextPort: number;
  /** No process lives longer. */
  readonly endNanos: number;
  /** Whoever runs the stack may be killed in the middle: then any connection may be the victim. */
  readonly isMortal: boolean;
}

/** Some of this and some of that, with rests between, in both directions. */
function* talk(society: Society, held: Held, end: End): Program {
  const { random } = society.node;
  let open = 2;
  const half = () => {
    open -= 1;
    if (open === 0) society.close(held);
  };
  const read = function* (): Program {
    yield* receiveToEnd(end, () => random.magnitude(100, 60_000));
    half();
  };
  society.run(held, "reader", read());
  for (let rounds = random.between(1, 3); rounds > 0; rounds--) {
    if (!(yield* sendAll(end, random.magnitude(1, 20_000)))) break;
    yield random.magnitude(MILLISECOND, MINUTE);
  }
  if (!end.hasFailed) end.shutdown();
  half();
}

function* converse(life: Life, society: Society, held: Held): Program {
  const { end } = held;
  if (!end) return;
  if (life.isMortal) end.conversation.mayFail = true;
  // A peer that has forgotten the connection is found out by this.
  end.option(TcpOption.KeepAlive, 1);
  end.option(TcpOption.KeepIdle, KEEP_IDLE_SECONDS);
  if (yield* end.connected()) yield* talk(society, held, end);
  else society.close(held);
}

/** Opens a connection to any listener, of this host or another one. */
function dial(life: Life, society: Society, process: Process): void {
  const { node } = society;
  const targets = life.societies.flatMap((other) =>
    [...other.listeners].map(({ port = 0 }) => ({ address: other.node.address, port })),
  );
  if (targets.length === 0) return;
  const { address, port } = node.random.pick(targets);
  const held = society.adopt(process, connect(node, address, port));
  society.run(held, `client of ${address}:${port}`, converse(life, society, held));
}

function listen(life: Life, society: Society, process: Process): void {
  if (society.listeners.size >= LISTENERS_MAX) return;
  life.nextPort += 1;
  society.listen(process, life.nextPort, (held) => converse(life, society, held));
}

/** A process does one thing. */
function act(life: Life, society: Society, process: Process): void {
  const { random } = society.node;
  const [some] = [...process.holds].slice(random.below(process.holds.size));
  switch (random.below(10)) {
    case 0:
      if (society.alive.size < PROCESSES_MAX) begin(life, society, society.fork(process));
      break;
    case 1:
      society.exec(process);
      break;
    case 2:
      if (some) society.hold(random.pick([...society.alive]), some);
      break;
    case 3:
      if (some) society.drop(process, some);
      break;
    case 4:
      society.death(random.pick([...society.alive]));
      break;
    case 5:
    case 6:
      listen(life, society, process);
      break;
    default:
      dial(life, society, process);
  }
}

function begin(life: Life, society: Society, process: Process): void {
  const { node, alive } = society;
  const { random, clock } = node;
  const lifetime = random.magnitude(SECOND, 2 * HOUR);
  const dies = Math.min(life.endNanos, clock.now() + lifetime);
  const live = function* (): Program {
    while (alive.has(process)) {
      const rest = random.magnitude(100 * MILLISECOND, 5 * MINUTE);
      yield Math.min(rest, Math.max(dies - clock.now(), 1));
      if (!alive.has(process)) break;
      if (clock.now() >= dies) society.death(process);
      else act(life, society, process);
    }
  };
  node.spawn(`process ${process.pid}`, live());
}

/** What befalls a host: births, and the death of its exasockd. */
function* history(life: Life, society: Society): Program {
  const { node, alive } = society;
  const { random, clock } = node;
  while (clock.now() < life.endNanos) {
    if (alive.size < PROCESSES_MAX) begin(life, society, society.birth());
    society.checkHeld();
    yield random.magnitude(SECOND, 10 * MINUTE);
    if (!random.chance(0.1)) continue;
    society.loseDaemon();
    yield random.magnitude(100 * MILLISECOND, 10 * MINUTE);
    society.takeOver();
  }
  // Everybody has died at the end, and exasockd has heard of it.
  yield MINUTE;
}

function living(name: string, hoursOf: (random: Random) => number): Scenario {
  return {
    name,
    limitSeconds: 30 * 3600,
    eventsMax: 1e9,
    setUp: (world) => {
      const { random } = world;
      const isMortal = random.chance(0.3);
      const host = (title: string): SimHost => {
        const cable = randomCable(random);
        if (!isMortal) return world.addHost(title, cable);
        const fuse = createFuse(world.module);
        const mortal = { ...cable.host, host: fuse.overrides };
        return world.addHost(title, { ...cable, fuse, host: mortal });
      };
      const societies = ["first", "second", "third"].map((title) => new Society(host(title)));
      const endNanos = world.clock.now() + hoursOf(random) * HOUR;
      const life: Life = { societies, nextPort: FIRST_PORT, endNanos, isMortal };
      for (const society of societies) society.node.spawn("history", history(life, society));
      everybody.set(world, societies);
    },
    check: (world) => {
      for (const society of everybody.get(world) ?? []) society.checkNobody();
    },
  };
}

/** Of the worlds that run. */
const everybody = new WeakMap<World, readonly Society[]>();

const life = living("life", (random) => random.between(6, 90) / 60);
/** A whole day: `npm run sim -- --scenario day --seeds 1`. */
const day = living("day", () => 24);

export const LIFE: readonly Scenario[] = [life];
/** Too long to be run with every seed. */
export const LONG: readonly Scenario[] = [day];
