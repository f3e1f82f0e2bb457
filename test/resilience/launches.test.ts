// Ten programs launched at the same time find one exasockd, whoever starts it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { assertServes, startEcho } from "../support/echo.ts";
import { CONTROL, startAccelerated, status } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";

const options = { skip: skipWithoutRoot };
const LAUNCHES = 10;

function daemons(host: Host): number[] {
  return host.pids().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("exasockd");
    } catch {
      return false;
    }
  });
}

test("ten launches at once share one exasockd", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const servers = await Promise.all(Array.from({ length: LAUNCHES }, () => startEcho(left)));
  const now = await status(left);
  assert.equal(now?.programs.length, LAUNCHES);
  assert.equal(now?.socketCount, LAUNCHES);
  await until("the losers of the race to be gone", () => daemons(left).length === 1);
  for (const server of servers) await assertServes(server, right);
});

test("ten launches at once right after exasockd was killed share a new one", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  await startEcho(left);
  const old = await status(left);
  assert.ok(old);
  process.kill(old.pid, "SIGKILL");
  const servers = await Promise.all(Array.from({ length: LAUNCHES }, () => startEcho(left)));
  const young = await status(left);
  assert.notEqual(young?.pid, old.pid);
  assert.equal(young?.programs.length, LAUNCHES + 1, "with the one that it took over");
  await until("one exasockd to be left", () => daemons(left).length === 1);
  for (const server of servers) await assertServes(server, right);
});

test(
  "the launcher becomes the program: same pid, same exit status, same signals",
  options,
  async () => {
    await using network = await Network.create();
    const left = network.host("left");
    const shell = startAccelerated(left, ["sh", "-c", "echo $$; exit 42"]);
    const { code, stdout } = await shell.waitForExit();
    assert.equal(Number(stdout), shell.pid);
    assert.equal(code, 42);
    const sleeper = startAccelerated(left, ["sh", "-c", "echo here; exec cat"]);
    await sleeper.waitForOutput("here");
    sleeper.kill("SIGTERM");
    assert.equal((await sleeper.waitForExit()).signal, "SIGTERM");
  },
);

test("every namespace has an exasockd of its own", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const [a, b] = [await startEcho(left), await startEcho(right)];
  assert.notEqual((await status(left))?.pid, (await status(right))?.pid);
  await assertServes(a, right);
  await assertServes(b, left);
});

test("an exasockd that is stopped takes its interface's program along", options, async () => {
  await using network = await Network.create();
  const left = network.host("left");
  const server = await startEcho(left);
  await left.run([CONTROL, "stop"]);
  await until("exasockd to be gone", () => daemons(left).length === 0);
  const { stdout } = await left.run(["ip", "-d", "link", "show", left.interfaceName]);
  assert.doesNotMatch(stdout, /xdp/);
  assert.equal(server.program.exit, null);
});
