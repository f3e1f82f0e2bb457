// TCP when exasockd is stopped, or a program dies; docs/failures.md says what must happen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { ANY_ADDRESS } from "../support/builders.ts";
import { status } from "../support/exasock.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { assertFramesConserved } from "../support/proof.ts";
import { epollControl, epollCreate, epollWait, poll } from "../support/readiness.ts";
import { callsOn, stopDaemon } from "../support/outage.ts";
import { accept, listening } from "../support/tcp.ts";

const options = { skip: skipWithoutRoot };
const PATIENCE_MILLIS = 3000;
const WAIT_MODES = ["spin", "adaptive", "sleep"];
const KILLS = 10;

/** An accelerated client on the left, and its kernel peer on the right. */
async function connection(network: Network, launcher: readonly string[] = []) {
  const [left, right] = [network.host("left"), network.host("right")];
  const [subject, peer] = [await callsOn(left, launcher), await callsOn(right, null)];
  const listener = await listening(peer, right.address);
  const fd = await subject.socket("SOCK_STREAM");
  await subject.connect(fd, listener.at);
  assert.equal((await status(left))?.counters.tcpActiveOpens, 1, "it is the stack's");
  return { left, right, subject, peer, listener, a: fd, p: await accept(peer, listener.fd) };
}

for (const mode of WAIT_MODES) {
  test(
    `a receive blocked by --wait=${mode} is reset when exasockd is stopped`,
    options,
    async () => {
      await using network = await Network.create();
      const { left, subject, a } = await connection(network, [`--wait=${mode}`]);
      const waiting = subject.inThread.expecting("ECONNRESET").recv(a);
      await stopDaemon(left);
      await waiting;
      assert.equal((await subject.recv(a)).result, 0);
      await subject.expecting("EPIPE").send(a, "too late", "MSG_NOSIGNAL");
    },
  );

  test(`an accept blocked by --wait=${mode} gets the kernel's clients`, options, async () => {
    await using network = await Network.create();
    const [left, right] = [network.host("left"), network.host("right")];
    const subject = await callsOn(left, [`--wait=${mode}`]);
    const peer = await callsOn(right, null);
    const { fd, at } = await listening(subject, ANY_ADDRESS);
    const waiting = accept(subject.inThread, fd);
    await stopDaemon(left);
    const client = await peer.socket("SOCK_STREAM");
    await peer.connect(client, { address: left.address, port: at.port });
    await peer.send(client, "by the kernel");
    assert.equal((await subject.recv(await waiting)).data.toString(), "by the kernel");
    const next = await peer.socket("SOCK_STREAM");
    await peer.connect(next, { address: left.address, port: at.port });
    await accept(subject, fd);
  });
}

test("poll and epoll tell of connections that exasockd took with it", options, async () => {
  await using network = await Network.create();
  const { left, subject, a } = await connection(network);
  const epoll = await epollCreate(subject);
  await epollControl(subject, epoll, "ADD", [a, "EPOLLIN"]);
  const waits = [
    poll(subject.inThread, [[a, "POLLIN"]], PATIENCE_MILLIS),
    epollWait(subject.inThread, epoll, PATIENCE_MILLIS),
  ];
  await stopDaemon(left);
  for (const wait of waits) assert.equal((await wait).result, 1);
});

test("a program that never waits hears of it, too", options, async () => {
  await using network = await Network.create();
  const { left, subject, a } = await connection(network);
  const { fd } = await listening(subject, ANY_ADDRESS);
  await stopDaemon(left);
  let error = "EAGAIN";
  await until("the reset to be told", async () => {
    if (error === "EAGAIN") error = (await subject.untold.recv(a, 10, "MSG_DONTWAIT")).error;
    return error !== "EAGAIN";
  });
  assert.equal(error, "ECONNRESET");
  await poll(subject, [[fd, "POLLIN"]], 0);
});

test("connections made afterwards are the kernel's", options, async () => {
  await using network = await Network.create();
  const { left, subject, peer, listener } = await connection(network);
  await stopDaemon(left);
  const fd = await subject.socket("SOCK_STREAM");
  await subject.connect(fd, listener.at);
  await subject.send(fd, "by the kernel");
  const accepted = await accept(peer, listener.fd);
  assert.equal((await peer.recv(accepted)).data.toString(), "by the kernel");
});

test("programs killed in the middle of a transfer leave no trace", options, async () => {
  await using network = await Network.create();
  const { left, subject, peer, listener, a, p } = await connection(network);
  for (let i = 0; i < KILLS; i++) {
    const victim = await callsOn(left, [`--wait=${WAIT_MODES[i % WAIT_MODES.length]}`]);
    const fd = await victim.socket("SOCK_STREAM");
    await victim.connect(fd, listener.at);
    const accepted = await accept(peer, listener.fd);
    const args = [fd, victim.libc.reserve(8_000_000), 8_000_000, 0];
    victim.inThread.untold.raw("send", args, "much").catch(() => {});
    const started = await peer.recv(accepted, 60_000);
    assert.ok(started.result > 0);
    victim.libc.program.kill("SIGKILL");
    await victim.libc.program.waitForExit();
    // What it sent is delivered, then the stream ends.
    for (let got = 1; got > 0; ) got = (await peer.untold.recv(accepted, 60_000)).result;
    await peer.close(accepted);
  }
  await subject.send(a, "the survivor");
  assert.equal((await peer.recv(p)).data.toString(), "the survivor");
  await subject.close(a);
  await peer.close(p);
  await assertFramesConserved(left);
});
