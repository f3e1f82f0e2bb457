// No wake-up is lost, and nobody starves: a token goes to and fro between threads and processes
// that wait in all modes. HANDOVERS=1000000 is the long form.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { compileProgram } from "../support/compile.ts";
import { accelerated, status, warmUp } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const COUNT = Number(process.env.HANDOVERS ?? 50_000);

const LIMIT_MILLIS = 60_000 + COUNT;

const PAIRS = [
  ["spin", "spin"],
  ["sleep", "sleep"],
  ["adaptive", "adaptive"],
  ["spin", "sleep"],
  ["sleep", "adaptive"],
] as const;

let network: Network;

before(async () => {
  if (skipWithoutRoot) return;
  network = await Network.create();
  await warmUp(network.host("left"), network.host("right"));
});

after(() => network?.[Symbol.asyncDispose]());

for (const protocol of ["udp", "tcp"]) {
  for (const who of ["threads", "processes"]) {
    for (const [mine, other] of PAIRS) {
      const name = `${COUNT} hand-overs by ${protocol} between ${who}, ${mine} and ${other}`;
      test(name, { skip: skipWithoutRoot }, async () => {
        const left = network.host("left");
        const program = await compileProgram("test/shim/handover.c");
        const words = [left.address, protocol, who, mine, other, String(COUNT)];
        const command = accelerated([program, ...words], ["--require"]);
        const { stdout } = await left.run(command, { limitMillis: LIMIT_MILLIS });
        assert.equal(stdout, `${COUNT} hand-overs\n`);
      });
    }
  }
}

test("the hand-overs went through the stack", { skip: skipWithoutRoot }, async () => {
  const now = await status(network.host("left"));
  assert.ok((now?.counters.socketsCreated ?? 0) >= 4 * PAIRS.length);
});
