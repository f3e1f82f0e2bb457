// exasockd stops to listen to the ends of kernel sockets where nothing that it hears is news
// (docs/decisions/0023-ends.md). Nothing that it has to know may be missed because of that.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { compileProgram } from "../support/compile.ts";
import { control, startAccelerated, status } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertSound } from "../support/proof.ts";

const FLOOD_PORT = "7100";
const FLOOD_SECONDS = "60";
/** An end that was missed would be found by exasockd's rounds, one a second, at the earliest. */
const PROMPT_MILLIS = 500;
const STILL_MILLIS = 300;

const hears = async (host: Host) => (await status(host))?.endsHeard;

/** Connections within the host, opened and closed by the thousand. */
async function startFlood(host: Host) {
  const program = await compileProgram("bench/connections.c");
  const where = ["127.0.0.1", FLOOD_PORT];
  const server = startAccelerated(host, [program, "serve", ...where]);
  await server.waitForOutput("ready\n");
  const client = startAccelerated(host, [program, "rate", ...where, FLOOD_SECONDS, "1"]);
  return { server, client };
}

/** Connects as an ordinary program, and says when the connection has ended. */
function startPeer(host: Host, address: string, port: string) {
  const script = `
import socket
s = socket.create_connection(("${address}", ${port}))
try:
    print("data" if s.recv(1) else "end", flush=True)
except ConnectionResetError:
    print("reset", flush=True)
`;
  return host.start(["/usr/bin/python3", "-c", script]);
}

async function startServer(left: Host) {
  const command = ["/usr/bin/python3", "test/resilience/ends-unheard.py", left.address];
  const server = startAccelerated(left, command);
  await server.waitForOutput(/port \d+\n/);
  return { server, port: /port (\d+)/.exec(server.stdout)?.[1] ?? "" };
}

/** Fails unless this output comes soon. */
async function promptly(waiting: Promise<void>, what: string): Promise<void> {
  const started = performance.now();
  await waiting;
  const millis = performance.now() - started;
  assert.ok(millis < PROMPT_MILLIS, `${what} took ${Math.round(millis)} ms`);
}

test("what exasockd does not listen to is not missed", { skip: skipWithoutRoot }, async (t) => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  await control(left, "up", left.interfaceName);
  const flood = await startFlood(left);
  await using _server = flood.server;
  await using _client = flood.client;

  await t.test("the last of several processes closes a connection", async () => {
    const { server, port } = await startServer(left);
    await using _running = server;
    await using peer = startPeer(right, left.address, port);
    await server.waitForOutput("accepted");
    await until("exasockd to listen no longer", async () => (await hears(left)) === false);
    server.write("fork\n");
    await server.waitForOutput("forked");
    assert.equal(await hears(left), true);
    await new Promise((resolve) => setTimeout(resolve, STILL_MILLIS));
    assert.equal(peer.stdout, "");
    server.write("end\n");
    await server.waitForOutput("ended");
    await promptly(peer.waitForOutput("end\n"), "the end");
    server.endInput();
    await server.waitForSuccess();
  });

  await t.test("a program that did not share its connection is killed", async () => {
    const { server, port } = await startServer(left);
    await using peer = startPeer(right, left.address, port);
    await server.waitForOutput("accepted");
    await until("exasockd to listen no longer", async () => (await hears(left)) === false);
    server.kill("SIGKILL");
    await promptly(peer.waitForOutput("end\n"), "the end");
    await server.waitForExit();
    await until("its sockets to be removed", async () => {
      const pids = (await status(left))?.sockets.map(({ pid }) => pid) ?? [];
      return !pids.includes(server.pid);
    });
  });

  await t.test("the flood has gone on", async () => {
    assert.equal(flood.client.exit, null);
    await until("exasockd to listen no longer", async () => (await hears(left)) === false);
    await assertSound(left);
    flood.client.kill("SIGKILL");
    await flood.client.waitForExit();
    await until("exasockd to listen again", async () => (await hears(left)) === true);
  });
});
