// Programs are killed with SIGKILL at any instruction, under load; nobody else may notice.

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import type { Program } from "../../src/lab/program.ts";
import { until } from "../../src/lab/program.ts";
import { ROOT } from "../support/compile.ts";
import { assertServes, startEcho } from "../support/echo.ts";
import { LAUNCHER, status, warmUp } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertFramesConserved, assertSound } from "../support/proof.ts";

const options = { skip: skipWithoutRoot };
const FLOOD_PER_SECOND = 20_000;
const KILLS = 30;
const CONTROLLED_KILLS = 12;

/** Datagrams without end from one host to a port of another. */
function flood(from: Host, to: Host, port: number): Program {
  const script = resolve(ROOT, "test/support/flood.py");
  const target = [to.address, String(port), String(FLOOD_PER_SECOND)];
  return from.start(["/usr/bin/python3", script, ...target]);
}

async function socketCount(host: Host): Promise<number> {
  return (await status(host))?.socketCount ?? 0;
}

async function received(host: Host): Promise<number> {
  return (await status(host))?.counters.rxDatagrams ?? 0;
}

for (const mode of ["spin", "adaptive", "sleep"]) {
  const name = `servers killed under load, waiting by --wait=${mode}, leave no trace`;
  test(name, options, async () => {
    await using network = await Network.create();
    const [left, right] = [network.host("left"), network.host("right")];
    await warmUp(left, right);
    const survivor = await startEcho(left);
    for (let i = 0; i < KILLS / 3; i++) {
      const victim = await startEcho(left, [`--wait=${mode}`]);
      await using load = flood(right, left, victim.port);
      const before = await received(left);
      // It dies in the middle of work, at another instruction each time.
      await until("the load to arrive", async () => (await received(left)) > before + i * 10);
      victim.program.kill("SIGKILL");
      await victim.program.waitForExit();
      assert.equal(load.exit, null);
    }
    await until("the victims' sockets to be removed", async () => (await socketCount(left)) === 1);
    await assertServes(survivor, right);
    await assertFramesConserved(left);
    await assertSound(left);
  });
}

test("a survivor serves while others are killed around it", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  await warmUp(left, right);
  const survivor = await startEcho(left, ["--wait=spin"]);
  for (let i = 0; i < CONTROLLED_KILLS; i++) {
    const victim = await startEcho(left, ["--wait=sleep"]);
    await using _load = flood(right, left, victim.port);
    const serving = assertServes(survivor, right);
    victim.program.kill("SIGKILL");
    await serving;
    await victim.program.waitForExit();
  }
  await assertFramesConserved(left);
  await assertSound(left);
});

test(
  "a program that is killed with a full receive queue gives its frames back",
  options,
  async () => {
    await using network = await Network.create();
    const [left, right] = [network.host("left"), network.host("right")];
    const victim = await startEcho(left);
    victim.program.kill("SIGSTOP");
    await using _load = flood(right, left, victim.port);
    await until("the queue to overflow", async () => {
      return ((await status(left))?.sockets ?? []).some((socket) => socket.drops > 0);
    });
    victim.program.kill("SIGKILL");
    await victim.program.waitForExit();
    await until("its socket to be removed", async () => (await socketCount(left)) === 0);
    await assertFramesConserved(left);
    await assertSound(left);
    const next = await startEcho(left);
    await assertServes(next, right);
  },
);

test("a stopped program does not stop others", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const stopped = await startEcho(left);
  const other = await startEcho(left);
  stopped.program.kill("SIGSTOP");
  await assertServes(other, right);
  stopped.program.kill("SIGCONT");
  await assertServes(stopped, right);
});

test("a killed program's port is free for the next one", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  for (let i = 0; i < 5; i++) {
    const command = ["nc.openbsd", "-u", "-l", left.address, "7777"];
    const server = left.start([LAUNCHER, ...command]);
    await left.waitForUdpPort(7777);
    const client = right.start(["nc.openbsd", "-u", left.address, "7777"]);
    client.write(`life ${i}\n`);
    await server.waitForOutput(`life ${i}`);
    server.kill("SIGKILL");
    await server.waitForExit();
    await client[Symbol.asyncDispose]();
  }
  await assertFramesConserved(left);
  await assertSound(left);
});
