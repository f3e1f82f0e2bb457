// Goodput of one connection over paths that lose packets: a table that shows what a change does.

import type { Program } from "./programs.ts";
import { accepting, connect, receiveToEnd, sendAll } from "./transfer.ts";
import { createWorld } from "./world.ts";

const LOSSES = [0, 0.001, 0.01, 0.05];
const ROUND_TRIPS_MILLIS = [1, 20, 100];
const BITS_PER_SECOND = 50e6;
const QUEUE_BYTES = 250_000;
const SECONDS = 10;
const SECOND = 1e9;
const MILLISECOND = 1e6;
const PORT = 80;
/** Enough frames for windows of four megabytes on each side. */
const HOST = { frameCount: 16_384, fillTarget: 1024 };
/** Different seeds, so that one unlucky loss does not decide a row. */
const SEEDS = [1, 2];

export interface Path {
  loss: number;
  roundTripMillis: number;
}

/** Bytes per second that one connection delivers over `path`. */
export function goodput(module: WebAssembly.Module, path: Path, seed: number): number {
  const world = createWorld({ module, seed, scenario: "throughput", checkEvery: 0 });
  const delayNanos = (path.roundTripMillis * MILLISECOND) / 2;
  const way = { delayNanos, bitsPerSecond: BITS_PER_SECOND, queueBytes: QUEUE_BYTES };
  const from = world.addHost("sender", { up: { ...way, loss: path.loss }, host: HOST });
  const to = world.addHost("receiver", { up: { delayNanos }, host: HOST });
  let received = 0;
  const serve = function* (end: Parameters<typeof receiveToEnd>[0]): Program {
    yield* receiveToEnd(end, () => {
      received = end.into.read;
      return 65_536;
    });
  };
  to.spawn("listener", accepting(to, PORT, serve), true);
  const start = function* (): Program {
    const end = connect(from, to.address, PORT);
    if (yield* end.connected()) yield* sendAll(end, Number.MAX_SAFE_INTEGER, () => 65_521);
  };
  from.spawn("sender", start(), true);
  const over = world.clock.now() + SECONDS * SECOND;
  while (world.clock.now() < over && world.clock.step());
  return received / SECONDS;
}

/** The table: a row per loss rate, a column per round trip, megabits per second. */
export function throughputTable(module: WebAssembly.Module): string {
  const titles = ROUND_TRIPS_MILLIS.map((millis) => `${millis} ms`.padStart(10));
  const rows = LOSSES.map((loss) => {
    const cells = ROUND_TRIPS_MILLIS.map((roundTripMillis) => {
      const path = { loss, roundTripMillis };
      const sum = SEEDS.reduce((total, seed) => total + goodput(module, path, seed), 0);
      return ((8 * sum) / SEEDS.length / 1e6).toFixed(2).padStart(10);
    });
    return `${(100 * loss).toFixed(1)} %`.padStart(8) + cells.join("");
  });
  const title = `Mbit/s at ${BITS_PER_SECOND / 1e6} Mbit/s, mean of ${SEEDS.length} runs`;
  return `${[title, `${"loss".padStart(8)}${titles.join("")}`, ...rows].join("\n")}\n`;
}
