// Connections whose program, or whose exasockd, is killed; docs/failures.md says what must happen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Host, Network } from "../../src/lab/network.ts";
import type { Calls } from "../support/calls.ts";
import { CONTROL, warmUp } from "../support/exasock.ts";
import { callsOn, killDaemon } from "../support/outage.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertFramesConserved, assertSound } from "../support/proof.ts";
import { accept, arrived, listening } from "../support/tcp.ts";

const options = { skip: skipWithoutRoot };
/** Fits into the send buffer, not into the peer's window at once. */
const MUCH_BYTES = 80_000;
const KILLS = 6;

interface Talk {
  left: Host;
  right: Host;
  /** Accelerated; its connection and, if it listens, its listener. */
  subject: Calls;
  a: number;
  /** On the kernel. */
  peer: Calls;
  p: number;
}

/** The subject on the left connects to the peer on the right. */
async function connects(network: Network, launcher: readonly string[] = []): Promise<Talk> {
  const [left, right] = [network.host("left"), network.host("right")];
  const [subject, peer] = [await callsOn(left, launcher), await callsOn(right, null)];
  const listener = await listening(peer, right.address);
  const a = await subject.socket("SOCK_STREAM");
  await subject.connect(a, listener.at);
  return { left, right, subject, a, peer, p: await accept(peer, listener.fd) };
}

async function kill(calls: Calls): Promise<void> {
  calls.libc.program.kill("SIGKILL");
  await calls.libc.program.waitForExit();
}

test("a killed program's connection ends as if it had closed it", options, async () => {
  await using network = await Network.create();
  const { left, subject, peer, p } = await connects(network);
  const waiting = peer.inThread.recv(p);
  await kill(subject);
  assert.equal((await waiting).data.length, 0);
  await assertFramesConserved(left);
  await assertSound(left);
});

test("what a killed program has sent arrives, however slow the peer is", options, async () => {
  await using network = await Network.create();
  const { left, subject, a, peer, p } = await connects(network);
  const bytes = Buffer.from(Array.from({ length: MUCH_BYTES }, (_, i) => (i * 7) & 0xff));
  await subject.send(a, bytes);
  await kill(subject);
  const received = await peer.recv(p, MUCH_BYTES, "MSG_WAITALL");
  assert.equal(Buffer.compare(received.data, bytes), 0);
  assert.equal((await peer.recv(p)).data.length, 0);
  await peer.close(p);
  await assertFramesConserved(left);
  await assertSound(left);
});

test("what a killed program has not read resets its connection", options, async () => {
  await using network = await Network.create();
  const { left, subject, a, peer, p } = await connects(network);
  await peer.send(p, "not read");
  await arrived({ calls: subject, fd: a, at: await subject.getsockname(a) }, 8);
  const waiting = peer.inThread.expecting("ECONNRESET").recv(p);
  await kill(subject);
  await waiting;
  await assertFramesConserved(left);
  await assertSound(left);
});

test("a killed program's listener refuses, and its port is free", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const peer = await callsOn(right, null);
  let port = 0;
  for (let i = 0; i < 3; i++) {
    const subject = await callsOn(left, []);
    const listener = await listening(subject, left.address, { port });
    port = listener.at.port;
    const p = await peer.socket("SOCK_STREAM");
    await peer.connect(p, listener.at);
    await kill(subject);
    await peer.expecting("ECONNRESET").recv(p);
    await peer.expecting("ECONNREFUSED").connect(await peer.socket("SOCK_STREAM"), listener.at);
  }
  await assertFramesConserved(left);
  await assertSound(left);
});

test("a connection goes on while other programs' connections are cut off", options, async () => {
  await using network = await Network.create();
  const { left, right, subject, a, peer, p } = await connects(network, ["--wait=spin"]);
  const listener = await listening(peer, right.address);
  for (let i = 0; i < KILLS; i++) {
    const victim = await callsOn(left, []);
    const fd = await victim.socket("SOCK_STREAM");
    await victim.connect(fd, listener.at);
    const sending = victim.inThread.send(fd, Buffer.alloc(MUCH_BYTES)).catch(() => undefined);
    await subject.send(a, `line ${i}`);
    assert.equal((await peer.recv(p)).data.toString(), `line ${i}`);
    await kill(victim);
    await sending;
    await peer.send(p, `answer ${i}`);
    assert.equal((await subject.recv(a)).data.toString(), `answer ${i}`);
  }
  await assertFramesConserved(left);
  await assertSound(left);
});

test("listeners go on when exasockd is killed", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  await warmUp(left, right);
  const [subject, peer] = [await callsOn(left, []), await callsOn(right, null)];
  const listener = await listening(subject, left.address);
  const waiting = accept(subject.inThread, listener.fd);
  await killDaemon(left);
  const p = await peer.socket("SOCK_STREAM");
  await peer.connect(p, listener.at);
  const a = await waiting;
  await peer.send(p, "without exasockd");
  assert.equal((await subject.recv(a)).data.toString(), "without exasockd");
});

test("exasockctl stop tells the peers by a reset", options, async () => {
  await using network = await Network.create();
  const { left, peer, p } = await connects(network);
  const waiting = peer.inThread.expecting("ECONNRESET").recv(p);
  await left.run([CONTROL, "stop"]);
  await waiting;
});
