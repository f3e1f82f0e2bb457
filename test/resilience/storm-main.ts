// `npm run storm -- [--kills N] [--minutes M] [--seed S] [--steps]`: the storm of storm.test.ts for
// as long as is wanted, in rounds of other seeds, ways to wait and numbers of programs. With
// --steps victims are killed at every so many instructions under the lock.

import { parseArgs } from "node:util";
import { Network } from "../../src/lab/network.ts";
import { stepThrough, storm } from "../support/storm.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "10000" },
    minutes: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    steps: { type: "boolean", default: false },
  },
});

const KILLS_PER_ROUND = 500;
const ROUND_LIMIT_MILLIS = 600_000;
const WAITS = ["adaptive", "sleep", "spin"];
/** Of --steps: instructions between two kills, and how far a round goes. */
const STRIDE = 7;
const STEPS_PER_ROUND = 100;
const deadline = performance.now() + Number(values.minutes) * 60_000;

let kills = 0;
for (let round = 0; values.steps && kills < Number(values.kills); round++) {
  if (performance.now() >= deadline) break;
  await using network = await Network.create();
  const first = 1 + round * STRIDE * STEPS_PER_ROUND;
  const common = { first, stride: STRIDE, limitMillis: ROUND_LIMIT_MILLIS };
  const seed = Number(values.seed) + round;
  const result = await stepThrough(network, { ...common, kills: STEPS_PER_ROUND, seed });
  kills += STEPS_PER_ROUND;
  console.log(`from instruction ${first}: ${JSON.stringify(result)}, ${kills} kills in all`);
}
for (
  let round = 0;
  !values.steps && kills < Number(values.kills) && performance.now() < deadline;
  round++
) {
  const seed = Number(values.seed) + round;
  const wait = WAITS[round % WAITS.length] ?? "adaptive";
  const workers = wait === "spin" ? 4 : 4 + (seed % 5);
  const pauseMicros = [2_000, 10_000, 20_000][seed % 3] ?? 0;
  const daemonEvery = seed % 2 === 0 ? 100 : 0;
  const what = { seed, wait, workers, pauseMicros, daemonEvery };
  console.log(`round ${round}: ${JSON.stringify(what)}`);
  await using network = await Network.create();
  const options = { ...what, kills: KILLS_PER_ROUND, limitMillis: ROUND_LIMIT_MILLIS };
  const result = await storm(network, options);
  kills += result.kills;
  console.log(`  ${JSON.stringify(result)}, ${kills} kills in all`);
}
console.log(`${kills} kills: no survivor was hurt, nothing was left`);
