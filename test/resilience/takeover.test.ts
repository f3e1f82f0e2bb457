// exasockd is killed with SIGKILL while programs run: they go on without it, and with the next one,
// which takes the region over. docs/failures.md says what must happen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { assertServes, startEcho } from "../support/echo.ts";
import { status, warmUp } from "../support/exasock.ts";
import { callsOn, daemonPid, hasXdp, killDaemon } from "../support/outage.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertSound, trafficCounts } from "../support/proof.ts";
import { accept, listening } from "../support/tcp.ts";

const options = { skip: skipWithoutRoot };
const WAIT_MODES = ["spin", "adaptive", "sleep"];
const MESSAGES = 20;

/** An accelerated subject with a connection and a UDP socket, and their peers on the kernel. */
async function talk(network: Network, launcher: readonly string[] = []) {
  const [left, right] = [network.host("left"), network.host("right")];
  await warmUp(left, right);
  const [subject, peer] = [await callsOn(left, launcher), await callsOn(right, null)];
  const listener = await listening(peer, right.address);
  const a = await subject.socket("SOCK_STREAM");
  await subject.connect(a, listener.at);
  const p = await accept(peer, listener.fd);
  const [u, v] = [await subject.socket(), await peer.socket()];
  await subject.bind(u, { address: left.address, port: 0 });
  await peer.bind(v, { address: right.address, port: 0 });
  const at = await subject.getsockname(u);
  const from = await peer.getsockname(v);
  return { left, right, subject, peer, listener, a, p, u, v, at, from };
}

type Talk = Awaited<ReturnType<typeof talk>>;

/** Both sockets carry messages both ways, of which every byte is right. */
async function exchange({ subject, peer, a, p, u, v, at, from }: Talk, word: string) {
  for (let i = 0; i < MESSAGES; i++) {
    const text = `${word} ${i}`;
    const waiting = i % 2 === 0 ? subject.inThread.recv(a) : subject.recv(a);
    await peer.send(p, text);
    assert.equal((await waiting).data.toString(), text);
    await subject.send(a, text);
    assert.equal((await peer.recv(p)).data.toString(), text);
    await peer.sendto(v, text, at);
    assert.equal((await subject.recv(u)).data.toString(), text);
    await subject.sendto(u, text, from);
    assert.equal((await peer.recv(v)).data.toString(), text);
  }
}

for (const mode of WAIT_MODES) {
  test(`--wait=${mode}: connections and sockets outlive exasockd`, options, async () => {
    await using network = await Network.create();
    const all = await talk(network, [`--wait=${mode}`]);
    const { left, subject, peer, a, p } = all;
    await exchange(all, "before");
    const asleep = subject.inThread.recv(a);
    const old = await daemonPid(left);
    await killDaemon(left);
    await peer.send(p, "nobody there");
    assert.equal((await asleep).data.toString(), "nobody there");
    assert.equal(await hasXdp(left), true);
    await exchange(all, "without");
    const asleepAgain = subject.inThread.recv(a);
    const other = await startEcho(left);
    assert.notEqual(await daemonPid(left), old);
    await peer.send(p, "the next one");
    assert.equal((await asleepAgain).data.toString(), "the next one");
    const before = await trafficCounts(left);
    await exchange(all, "after");
    const after = await trafficCounts(left);
    assert.ok(after.segments - before.segments >= 2 * MESSAGES, "by the stack");
    assert.equal(after.kernelSegments - before.kernelSegments, 0);
    assert.ok(after.received - before.received >= MESSAGES);
    assert.equal(after.kernelReceived - before.kernelReceived, 0);
    await assertServes(other, network.host("right"));
    const now = await status(left);
    assert.equal(now?.programs.length, 2);
    await until("the program to have come back", async () => {
      return (await status(left))?.programs.every((one) => one.command !== "") ?? false;
    });
    await subject.close(a);
    await assertSound(left);
  });
}

test("what ends while there is no exasockd is ended by the next one", options, async () => {
  await using network = await Network.create();
  const all = await talk(network);
  const { left, peer, p, listener } = all;
  const victim = await callsOn(left, []);
  const fd = await victim.socket("SOCK_STREAM");
  await victim.connect(fd, listener.at);
  const cut = await accept(peer, listener.fd);
  await killDaemon(left);
  victim.libc.program.kill("SIGKILL");
  await victim.libc.program.waitForExit();
  const waiting = peer.inThread.recv(cut);
  await startEcho(left);
  assert.equal((await waiting).result, 0, "a FIN");
  await peer.close(cut);
  await exchange(all, "the survivor");
  await all.subject.close(all.a);
  await peer.close(p);
  await until("the dead program's sockets to be gone", async () => {
    return (
      (await status(left))?.sockets.every((one) => one.pid !== victim.libc.program.pid) ?? false
    );
  });
  await assertSound(left);
});

test("three exasockds one after the other serve the same connection", options, async () => {
  await using network = await Network.create();
  const all = await talk(network);
  for (let life = 0; life < 3; life++) {
    await killDaemon(all.left);
    await startEcho(all.left);
    // Every other one is killed before the program has met it.
    if (life % 2 === 0) await exchange(all, `life ${life}`);
  }
  await exchange(all, "the last life");
  await assertSound(all.left);
});

test("a program that gave up root's rights is known to the next exasockd", options, async () => {
  await using network = await Network.create();
  const all = await talk(network);
  const { left, subject } = all;
  await subject.raw("setuid", [65534], "65534");
  await killDaemon(left);
  await startEcho(left);
  await exchange(all, "as nobody");
  const before = await trafficCounts(left);
  await exchange(all, "by the stack");
  assert.ok((await trafficCounts(left)).received - before.received >= MESSAGES);
});

test("exasockd and its programs killed: the interface is as before", options, async () => {
  await using network = await Network.create();
  const { left, right, subject } = await talk(network);
  await killDaemon(left);
  assert.equal(await hasXdp(left), true, "the program holds it");
  subject.libc.program.kill("SIGKILL");
  await subject.libc.program.waitForExit();
  await until("the XDP program to be gone", async () => !(await hasXdp(left)));
  const next = await startEcho(left);
  await assertServes(next, right);
  const now = await status(left);
  assert.equal(now?.programs.length, 1);
  assert.equal(now?.socketCount, 1);
  await assertSound(left);
});

test(
  "what the network does while there is no exasockd is learnt by the next",
  options,
  async () => {
    await using network = await Network.create();
    const all = await talk(network);
    const { left, right, subject, peer, u, v } = all;
    await exchange(all, "before");
    await killDaemon(left);
    await left.run(["ip", "address", "add", "10.99.0.1/24", "dev", left.interfaceName]);
    await right.run(["ip", "route", "add", "10.99.0.0/24", "dev", right.interfaceName]);
    await right.run(["ip", "link", "set", right.interfaceName, "address", "02:00:00:00:77:01"]);
    await startEcho(left);
    await exchange(all, "with its neighbour's new address");
    const w = await subject.socket();
    await subject.bind(w, { address: "10.99.0.1", port: 0 });
    const before = await trafficCounts(left);
    await peer.sendto(v, "to the new address", await subject.getsockname(w));
    assert.equal((await subject.recv(w)).data.toString(), "to the new address");
    assert.ok((await trafficCounts(left)).received > before.received, "by the stack");
    await subject.close(u);
  },
);
