// One run of the simulator: a scenario in a world of its own, to the very end.

import { StackFault } from "../core/instance.ts";
import { EndlessPoll } from "./host.ts";
import type { Scenario } from "./scenarios/scenario.ts";
import { createWorld, SimFailure, type World } from "./world.ts";

const SECOND = 1e9;
/** Virtual time for the programs, unless the scenario says otherwise. */
const LIMIT_SECONDS = 3600;
/** And for what connections do by themselves after that: retransmissions, TIME-WAIT. */
const QUIET_LIMIT_SECONDS = 3600;

export interface Outcome {
  seed: number;
  scenario: string;
  /** Undefined: nothing was found. */
  failure: Error | undefined;
  virtualSeconds: number;
  events: number;
  packets: number;
  /** The last packets, as a pcapng file. */
  capture: () => Uint8Array;
}

export interface RunOptions {
  module: WebAssembly.Module;
  seed: number;
  scenario: Scenario;
  checkEvery?: number;
}

/** Runs the scenario. What the stack or a checker complains about is in the outcome. */
export function runScenario({ module, seed, scenario, checkEvery }: RunOptions): Outcome {
  const world = createWorld({
    module,
    seed,
    scenario: scenario.name,
    ...(checkEvery === undefined ? {} : { checkEvery }),
  });
  let failure: Error | undefined;
  try {
    play(world, scenario);
  } catch (error) {
    if (!isFinding(error)) throw error;
    failure = error;
  }
  const { clock } = world;
  return {
    seed,
    scenario: scenario.name,
    failure,
    virtualSeconds: (clock.now() - world.started) / SECOND,
    events: clock.handled(),
    packets: world.nodes.reduce((sum, node) => sum + node.count.sent, 0),
    capture: world.trace.file,
  };
}

/** A breach of an invariant, a fault, or a trap; everything else is a bug of the simulator. */
function isFinding(error: unknown): error is Error {
  return (
    error instanceof SimFailure ||
    error instanceof StackFault ||
    error instanceof EndlessPoll ||
    error instanceof WebAssembly.RuntimeError
  );
}

function play(world: World, scenario: Scenario): void {
  scenario.setUp(world);
  const limit = (scenario.limitSeconds ?? LIMIT_SECONDS) * SECOND;
  const unfinished = () =>
    world.nodes.flatMap((node) => node.unfinished().map((name) => `${node.name}: ${name}`));
  world.runUntil(
    () => world.nodes.every((node) => node.unfinished().length === 0),
    limit,
    () => `not done: ${unfinished().slice(0, 5).join("; ")}`,
    scenario.eventsMax,
  );
  checkConversations(world);
  scenario.check?.(world);
  for (const node of world.nodes) {
    node.stop();
    for (const listener of node.listeners) node.sockets.close(listener, node.now());
    node.activity();
  }
  const left = () => world.nodes.filter((node) => !node.checker.connections().next().done);
  world.runUntil(
    () => left().length === 0,
    QUIET_LIMIT_SECONDS * SECOND,
    () =>
      `sockets are left on ${left()
        .map((node) => node.name)
        .join(", ")}`,
    scenario.eventsMax,
  );
  while (world.clock.step());
  for (const node of world.nodes) node.checker.checkEmpty(node.now());
}

/** Nothing that was sent is missing, unless one end gave the connection up. */
function checkConversations(world: World): void {
  for (const { client, up, down, mayFail } of world.ledger.all()) {
    if (mayFail) continue;
    for (const stream of [up, down]) {
      if (stream.read === stream.written) continue;
      world.fail(`client ${client.port}: ${stream.read} bytes received of ${stream.written}`);
    }
  }
}
