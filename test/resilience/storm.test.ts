// Programs that talk with one another and with another host, killed one after the other. The long
// form is `npm run storm`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { storm } from "../support/storm.ts";

const KILLS = 80;
const LIMIT_MILLIS = 60_000;

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
