import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_WAITERS } from "../../build/gen/layout.ts";
import { createMachine, LOCAL, type Machine, PEER } from "./machine.ts";
import { udpDatagram } from "./packets.ts";

function wakeups(machine: Machine): number[] {
  const rung: number[] = [];
  for (let slot = machine.calls.nextWakeup(); slot >= 0; slot = machine.calls.nextWakeup()) {
    rung.push(slot);
  }
  return rung;
}

const bit = (index: number) => 1n << BigInt(index & 63);

test("a datagram wakes who sleeps for its socket, and nobody else", () => {
  const machine = createMachine();
  const first = machine.bound(LOCAL, 1234);
  const second = machine.bound(LOCAL, 1235);
  const [a, b] = [machine.calls.waiterAdd(1), machine.calls.waiterAdd(2)];
  assert.equal(machine.calls.waiterArm(a, bit(first), 0), 1);
  assert.equal(machine.calls.waiterArm(b, bit(second), 0), 0);
  machine.deliver(udpDatagram({ destinationPort: 1235 }));
  machine.poll();
  assert.equal(machine.calls.hasWakeups(), 1);
  assert.deepEqual(wakeups(machine), [b]);
  machine.deliver(udpDatagram({ destinationPort: 1235 }));
  machine.poll();
  assert.deepEqual(wakeups(machine), [], "a waiter is rung once per sleep");
});

test("nobody is woken when nobody sleeps", () => {
  const machine = createMachine();
  machine.bound(LOCAL, 1234);
  machine.deliver(udpDatagram());
  machine.poll();
  assert.equal(machine.calls.hasWakeups(), 0);
});

test("when the leader stops sleeping, another sleeper is woken and becomes the leader", () => {
  const machine = createMachine();
  const [a, b] = [machine.calls.waiterAdd(1), machine.calls.waiterAdd(2)];
  machine.calls.waiterArm(a, 1n, 0);
  machine.calls.waiterArm(b, 1n, 0);
  machine.calls.waiterDisarm(a);
  assert.deepEqual(wakeups(machine), [b]);
  machine.calls.waiterDisarm(b);
  assert.equal(machine.calls.waiterArm(b, 1n, 0), 1);
});

test("a killed program's waiters vanish, and leadership with them", () => {
  const machine = createMachine();
  const client = machine.calls.clientAdd(100);
  const leader = machine.calls.waiterAdd(client);
  const other = machine.calls.waiterAdd(client + 1);
  machine.calls.waiterArm(leader, 1n, 0);
  machine.calls.waiterArm(other, 1n, 0);
  machine.calls.clientRemove(client);
  assert.equal(machine.header.sleepers, 1);
  assert.deepEqual(wakeups(machine), [other]);
  assert.equal(machine.calls.waiterAdd(7), leader, "the slot is used again");
});

test("an event between two hearings of nextWakeup is not lost", () => {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 1234);
  const slots = [1, 2, 3].map(() => machine.calls.waiterAdd(1));
  for (const slot of slots.slice(1)) machine.calls.waiterArm(slot, bit(socket), 0);
  machine.deliver(udpDatagram());
  machine.poll();
  assert.equal(machine.calls.nextWakeup(), slots[1]);
  machine.calls.waiterArm(slots[0] ?? 0, bit(socket), 0);
  machine.deliver(udpDatagram());
  machine.poll();
  assert.deepEqual(wakeups(machine).sort(), [slots[0], slots[2]].sort());
});

test("a send buffer that has room again wakes who waits to send", () => {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 1234);
  machine.connect(socket, 1234, PEER, 4000);
  machine.send(socket, Uint8Array.of(1));
  machine.resolveAll();
  machine.calls.socketSetOption(socket, 19, 1000);
  while (machine.send(socket, Uint8Array.of(1)) === 1);
  const waiter = machine.calls.waiterAdd(1);
  machine.calls.waiterArm(waiter, bit(socket), 0);
  machine.transmitted();
  machine.poll();
  assert.deepEqual(wakeups(machine), [waiter]);
});

test("a request for exasockd rings doorbell 0 once", () => {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 1234);
  machine.send(socket, Uint8Array.of(1), { host: PEER, port: 9 });
  machine.send(socket, Uint8Array.of(1), { host: PEER, port: 9 });
  assert.deepEqual(wakeups(machine), [0]);
  assert.deepEqual(wakeups(machine), []);
  machine.resolveAll();
  machine.send(socket, Uint8Array.of(1), { host: "10.0.0.3", port: 9 });
  assert.deepEqual(wakeups(machine), [0]);
});

test("waiter slots are bounded", () => {
  const machine = createMachine();
  let count = 0;
  while (machine.calls.waiterAdd(1) > 0) count += 1;
  assert.equal(count, MAX_WAITERS - 1);
  machine.calls.clientRemove(1);
  assert.ok(machine.calls.waiterAdd(1) > 0);
});
