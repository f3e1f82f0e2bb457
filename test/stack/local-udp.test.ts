// Datagrams from this host to itself: from one socket of the region to another.

import assert from "node:assert/strict";
import { test } from "node:test";
import { VIA_KERNEL } from "../../build/gen/layout.ts";
import { address, createMachine, LOCAL, PEER, portNet } from "./machine.ts";

const LOOPBACK = "127.0.0.1";

test("a datagram goes straight to the receiver's queue, and nothing on a device", () => {
  const machine = createMachine();
  const [from, to] = [machine.bound(LOOPBACK, 5000), machine.bound("0.0.0.0", 6000)];
  machine.calls.socketSetOption(from, 16, 9);
  machine.calls.socketSetOption(from, 17, 16);
  for (const host of [LOOPBACK, "127.255.0.3", LOCAL]) {
    const payload = Buffer.from(`to ${host}`);
    assert.equal(machine.send(from, payload, { host, port: 6000 }), payload.length);
    const got = machine.receive(to);
    assert.deepEqual(Buffer.from(got?.payload ?? []), payload);
    assert.equal(got?.sourceLo, address(LOOPBACK).lo);
    assert.equal(got?.destinationLo, address(host).lo);
    assert.equal(got?.sourcePortNet, portNet(5000));
    assert.equal(got?.ttl, 9);
    assert.equal(got?.tos, 16);
  }
  assert.equal(machine.header.localDatagrams, 3n);
  assert.equal(machine.transmitted().length, 0);
  assert.equal(machine.calls.destinationNextRequest(), -1, "exasockd is not asked");
  machine.census();
});

test("what no socket of the region is for is the kernel's", () => {
  const machine = createMachine();
  const from = machine.bound("0.0.0.0", 5000);
  const to = machine.bound(LOOPBACK, 6000);
  const payload = Uint8Array.of(1);
  assert.equal(machine.send(from, payload, { host: LOOPBACK, port: 6001 }), -VIA_KERNEL);
  assert.equal(machine.send(from, payload, { host: LOCAL, port: 6000 }), -VIA_KERNEL);
  machine.calls.socketToKernel(to);
  assert.equal(machine.send(from, payload, { host: LOOPBACK, port: 6000 }), -VIA_KERNEL);
  const bound = machine.bound("0.0.0.0", 7000, 7);
  assert.equal(machine.send(from, payload, { host: LOCAL, port: 7000 }), -VIA_KERNEL);
  assert.equal(machine.send(bound, payload, { host: LOCAL, port: 5000 }), -VIA_KERNEL);
  assert.equal(
    machine.send(from, new Uint8Array(2049), { host: LOOPBACK, port: 5000 }),
    -VIA_KERNEL,
  );
  machine.census();
});

test("a full receiver loses what comes, and the sender is told nothing", () => {
  const machine = createMachine();
  const [from, to] = [machine.bound(LOOPBACK, 5000), machine.bound(LOOPBACK, 6000)];
  machine.calls.socketSetOption(to, 18, 2000);
  for (let n = 0; n < 5; n++) {
    assert.equal(machine.send(from, Uint8Array.of(n), { host: LOOPBACK, port: 6000 }), 1);
  }
  assert.equal(machine.socket(to).drops, 2n);
  assert.equal(machine.header.rxDropQueueFull, 2n);
  for (let n = 0; n < 3; n++) assert.equal(machine.receive(to)?.payload[0], n);
  assert.equal(machine.receive(to), undefined);
  machine.census();
});

test("when the pool is low, the kernel's memory is used", () => {
  const machine = createMachine({ frameCount: 256, fillTarget: 64 });
  const [from, to] = [machine.bound(LOOPBACK, 5000), machine.bound(LOOPBACK, 6000)];
  let sent = 0;
  while (machine.send(from, Uint8Array.of(1), { host: LOOPBACK, port: 6000 }) === 1) sent += 1;
  assert.ok(sent > 100, `${sent} sent`);
  assert.ok(machine.census().free >= 64);
  machine.receive(to);
  assert.equal(machine.send(from, Uint8Array.of(1), { host: LOOPBACK, port: 6000 }), 1);
});

test("an address that leaves the host is no longer served here", () => {
  const machine = createMachine();
  const [from, to] = [machine.bound("0.0.0.0", 5000), machine.bound("0.0.0.0", 6000)];
  const { hi, lo } = address(LOCAL);
  assert.equal(machine.send(from, Uint8Array.of(1), { host: LOCAL, port: 6000 }), 1);
  machine.calls.addressRemove(hi, lo);
  assert.equal(machine.send(from, Uint8Array.of(1), { host: LOCAL, port: 6000 }), -VIA_KERNEL);
  machine.resolveAll(PEER);
  assert.equal(machine.send(from, Uint8Array.of(1), { host: LOCAL, port: 6000 }), 1);
  assert.equal(machine.transmitted().length, 1);
  machine.calls.addressAdd(hi, lo);
  assert.equal(machine.send(from, Uint8Array.of(2), { host: LOCAL, port: 6000 }), 1);
  assert.deepEqual(
    [1, 2].map(() => machine.receive(to)?.payload[0]),
    [1, 2],
  );
});
