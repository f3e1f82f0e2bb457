// exasockd is stopped on purpose while programs run; docs/failures.md says what must happen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Network } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import { assertServes, startEcho } from "../support/echo.ts";
import { status, warmUp } from "../support/exasock.ts";
import { callsOn, daemonPid, hasXdp, stopDaemon } from "../support/outage.ts";
import { skipWithoutRoot } from "../support/privilege.ts";
import { trafficCounts } from "../support/proof.ts";
import { epollControl, epollCreate, epollWait, poll } from "../support/readiness.ts";

const options = { skip: skipWithoutRoot };
const PATIENCE_MILLIS = 3000;
const WAIT_MODES = ["spin", "adaptive", "sleep"];

/** An accelerated subject on the left and a plain peer on the right, bound to each other's sight. */
async function conversation(network: Network, launcher: readonly string[] = []) {
  const [left, right] = [network.host("left"), network.host("right")];
  const subject = await callsOn(left, launcher);
  const peer = await callsOn(right, null);
  const [a, p] = [await subject.socket(), await peer.socket()];
  await subject.bind(a, { address: left.address, port: 0 });
  await peer.bind(p, { address: right.address, port: 0 });
  const [at, from] = [await subject.getsockname(a), await peer.getsockname(p)];
  return { left, right, subject, peer, a, p, at, from };
}

for (const mode of WAIT_MODES) {
  test(`a server that waits by --wait=${mode} goes on by the kernel`, options, async () => {
    await using network = await Network.create();
    const [left, right] = [network.host("left"), network.host("right")];
    const server = await startEcho(left, [`--wait=${mode}`]);
    await assertServes(server, right);
    await stopDaemon(left);
    await assertServes(server, right);
    assert.equal(server.program.exit, null);
    assert.ok((left.kernelCounters("Udp").InDatagrams ?? 0) > 0, "by the kernel's own UDP");
  });

  test(`a receiver blocked by --wait=${mode} gets the next datagram`, options, async () => {
    await using network = await Network.create();
    const { left, subject, peer, a, p, at } = await conversation(network, [`--wait=${mode}`]);
    await peer.sendto(p, "before", at);
    await subject.recv(a);
    const waiting = subject.inThread.recv(a);
    await stopDaemon(left);
    await peer.sendto(p, "after", at);
    assert.equal((await waiting).data.toString(), "after");
  });
}

test(
  "datagrams that were queued are still delivered, before what comes later",
  options,
  async () => {
    await using network = await Network.create();
    const { left, subject, peer, a, p, at } = await conversation(network);
    for (const text of ["one", "two", "three"]) await peer.sendto(p, text, at);
    await until("the datagrams to be queued", async () => {
      return (await status(left))?.sockets[0]?.queuedDatagrams === 3;
    });
    await stopDaemon(left);
    await peer.sendto(p, "four", at);
    for (const text of ["one", "two", "three", "four"]) {
      assert.equal((await subject.recv(a)).data.toString(), text);
    }
  },
);

test(
  "a program that sleeps in poll or epoll is woken by the kernel's datagrams",
  options,
  async () => {
    await using network = await Network.create();
    const { left, subject, peer, a, p, at } = await conversation(network);
    const epoll = await epollCreate(subject);
    await epollControl(subject, epoll, "ADD", [a, "EPOLLIN"]);
    const waits = [
      poll(subject.inThread, [[a, "POLLIN"]], PATIENCE_MILLIS),
      epollWait(subject.inThread, epoll, PATIENCE_MILLIS),
    ];
    await stopDaemon(left);
    await peer.sendto(p, "wake up", at);
    for (const wait of waits) assert.equal((await wait).result, 1);
  },
);

test("sending goes on, from the same port", options, async () => {
  await using network = await Network.create();
  await warmUp(network.host("left"), network.host("right"));
  const { left, subject, peer, a, p, at, from } = await conversation(network);
  await subject.sendto(a, "before", from);
  assert.equal((await peer.recvfrom(p)).data.toString(), "before");
  await stopDaemon(left);
  for (let i = 0; i < 5; i++) {
    await subject.sendto(a, `after ${i}`, from);
    const received = await peer.recvfrom(p);
    assert.equal(received.data.toString(), `after ${i}`);
    assert.deepEqual(received.from, at);
  }
});

test("sockets opened afterwards are the kernel's", options, async () => {
  await using network = await Network.create();
  const { left, subject, peer, p } = await conversation(network);
  await stopDaemon(left);
  const b = await subject.socket();
  await subject.bind(b, { address: left.address, port: 0 });
  await peer.sendto(p, "hello", await subject.getsockname(b));
  assert.equal((await subject.recv(b)).data.toString(), "hello");
  await subject.close(b);
});

test("the interface is left as it was found", options, async () => {
  await using network = await Network.create();
  const left = network.host("left");
  assert.equal(await hasXdp(left), false);
  await startEcho(left);
  assert.equal(await hasXdp(left), true);
  await stopDaemon(left);
  assert.equal(await hasXdp(left), false);
});

test("the next launch starts a new exasockd and its program is accelerated", options, async () => {
  await using network = await Network.create();
  const [left, right] = [network.host("left"), network.host("right")];
  const old = await startEcho(left);
  const before = await daemonPid(left);
  await stopDaemon(left);
  const young = await startEcho(left);
  assert.notEqual(await daemonPid(left), before);
  const counts = await trafficCounts(left);
  await assertServes(young, right);
  assert.ok((await trafficCounts(left)).received > counts.received, "the new one by the stack");
  await assertServes(old, right);
});

test(
  "a program started by an old program joins the new exasockd or the kernel",
  options,
  async () => {
    await using network = await Network.create();
    const { left, subject, peer, a, p, at } = await conversation(network);
    await stopDaemon(left);
    await startEcho(left);
    await subject.libc.exec();
    await peer.sendto(p, "after exec", at);
    assert.equal((await subject.recv(a)).data.toString(), "after exec");
  },
);
