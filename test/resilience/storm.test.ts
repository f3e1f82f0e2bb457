// Programs that talk with one another and with another host, killed one after the other. The long
// form is `npm run storm`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { stepThrough, storm } from "../support/storm.ts";

const KILLS = 80;
const LIMIT_MILLIS = 60_000;
/** Kills at an instruction under the lock: a sample of what `npm run storm -- --steps` does. */
const STEP_KILLS = 40;

for (const [wait, seed, daemonEvery] of [
  ["adaptive", 1, 0],
  ["sleep", 2, 50],
  ["spin", 3, 0],
] as const) {
  const title = `a storm of kills, waiting by --wait=${wait}, hurts no survivor and leaks nothing`;
  test(title, { skip: skipWithoutRoot }, async () => {
    await using network = await Network.create();
    const pauseMicros = 20_000;
    const options = { wait, workers: 5, kills: KILLS, seed, pauseMicros, daemonEvery };
    const result = await storm(network, { ...options, limitMillis: LIMIT_MILLIS });
    assert.ok(result.kills >= KILLS && result.mebibytes > 0);
    assert.equal(result.daemons > 0, daemonEvery > 0);
  });
}

test("killed at the n-th instruction under the lock", { skip: skipWithoutRoot }, async () => {
  await using network = await Network.create();
  const options = { kills: STEP_KILLS, seed: 1, first: 1, stride: 61, limitMillis: LIMIT_MILLIS };
  const { kills, recoveries } = await stepThrough(network, options);
  // A victim that has nothing more to do under the lock ends elsewhere.
  assert.ok(kills >= STEP_KILLS / 2, `${kills} victims got that far`);
  assert.ok(recoveries >= kills / 2, `${recoveries} repairs`);
});
