// `npm run storm -- [--kills N] [--minutes M] [--seed S]`: the storm of storm.test.ts for as long
// as is wanted, in rounds of other seeds, ways to wait and numbers of programs.

import { parseArgs } from "node:util";
import { Network } from "../../src/lab/network.ts";
import { storm } from "../support/storm.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "10000" },
    minutes: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
  },
});

const KILLS_PER_ROUND = 500;
const ROUND_LIMIT_MILLIS = 600_000;
const WAITS = ["adaptive", "sleep", "spin"];
const deadline = performance.now() + Number(values.minutes) * 60_000;

let kills = 0;
for (let round = 0; kills < Number(values.kills) && performance.now() < deadline; round++) {
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
