// Interfaces with several queues: the stack serves them all.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { Program } from "../../src/lab/program.ts";
import { startEcho } from "../support/echo.ts";
import { status } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertFramesConserved } from "../support/proof.ts";

const QUEUES = 2;
const FLOWS = 24;

test("datagrams that arrive on any queue of an interface are served", {
  skip: skipWithoutRoot,
}, async () => {
  await using network = await Network.create({ queues: QUEUES });
  const [left, right] = [network.host("left"), network.host("right")];
  const server = await startEcho(left);
  const before = await status(left);
  assert.equal(before?.interfaces[0]?.queues.length, QUEUES);
  for (let flow = 0; flow < FLOWS; flow++) {
    // A veth sender's queue depends on the CPU that sends.
    const pinned = ["taskset", "-c", String(flow % QUEUES)];
    const to = `UDP4:${left.address}:${server.port}`;
    const client = new Program(right.command([...pinned, "socat", "-t", "2", "-", to]));
    client.write(`flow ${flow}`);
    await client.waitForOutput(`FLOW ${flow}`);
    client.kill();
    await client.waitForExit();
  }
  const queues = (await status(left))?.interfaces[0]?.queues ?? [];
  assert.ok(
    queues.every((queue) => queue.rxFrames > 0),
    `each queue received: ${queues.map((queue) => queue.rxFrames)}`,
  );
  await assertFramesConserved(left);
});
