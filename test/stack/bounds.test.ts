// What happens at each limit of stack/config.ts, and with arguments that no correct caller gives.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  MAX_ADDRESSES,
  MAX_CLIENTS,
  MAX_INTERFACES,
  MAX_QUEUES,
  MAX_SOCKETS,
  SocketState,
} from "../../build/gen/layout.ts";
import { address, BUILD_HASH, createMachine, LOCAL, portNet } from "./machine.ts";

const ENOSPC = 28;
const ENFILE = 23;
const EINVAL = 22;

test("clients, interfaces, queues and addresses end in ENOSPC", () => {
  const machine = createMachine();
  let clients = 0;
  while (machine.calls.clientAdd(1) > 0) clients += 1;
  assert.equal(clients, MAX_CLIENTS - 1);
  assert.equal(machine.calls.clientAdd(1), -ENOSPC);
  let interfaces = 1;
  while (machine.calls.interfaceAdd(100 + interfaces, 1500, 0, 0, 1) >= 0) interfaces += 1;
  assert.equal(interfaces, MAX_INTERFACES);
  let queues = 1;
  while (machine.calls.queueAdd(0, queues) >= 0) queues += 1;
  assert.equal(queues, MAX_QUEUES);
  let addresses = 1;
  for (let n = 0; machine.calls.addressAdd(0n, BigInt(n) << 32n) === 0; n++) addresses += 1;
  assert.equal(addresses, MAX_ADDRESSES);
});

test("sockets end in ENFILE, and every slot can be used again", () => {
  const machine = createMachine();
  let last = 0;
  for (let n = 1; n < MAX_SOCKETS; n++) last = machine.calls.socketCreate(BigInt(n), 17, 1);
  assert.equal(last, MAX_SOCKETS - 1);
  assert.equal(machine.calls.socketCreate(70000n, 17, 1), -ENFILE);
  machine.calls.socketDestroy(77);
  assert.equal(machine.calls.socketCreate(70000n, 17, 1), 77);
});

test("a socket for which the steering table has no room stays on the kernel", () => {
  const machine = createMachine();
  const at = address(LOCAL);
  let refused = 0;
  let index = 0;
  for (let port = 1; port < 65536 && refused === 0; port++) {
    index = machine.createSocket();
    const result = machine.calls.socketBind(index, at.hi, at.lo, portNet(port), 0);
    if (result !== 0) refused = result;
  }
  assert.equal(refused, -ENOSPC);
  assert.equal(machine.socket(index).state, SocketState.Kernel);
  assert.ok(machine.header.steeringFull >= 1n);
  assert.ok(machine.header.socketHigh > 50000, `only ${machine.header.socketHigh} sockets fitted`);
});

test("indices out of range are refused", () => {
  const machine = createMachine();
  for (const index of [0, 5, MAX_SOCKETS, 0xffffffff]) {
    assert.equal(machine.calls.socketBind(index, 0n, 0n, 1, 0), -EINVAL);
    assert.equal(machine.calls.socketSetOption(index, 3, 1), -9);
    assert.equal(machine.calls.udpReserve(index, 0n, 0n, 0, 0n, 0n, 1), -9);
    assert.equal(machine.calls.udpPeek(index), 0);
    assert.equal(machine.calls.socketReadiness(index), 0);
    machine.calls.udpConsume(index);
    machine.calls.socketDestroy(index);
    machine.calls.waiterArm(index === 5 ? 0 : index, 1n, 0);
    machine.calls.queueStop(MAX_QUEUES + index);
    machine.calls.interfaceUpdate(index === 5 ? 99 : index + 32, 1, 1, 1, 1);
  }
  machine.census();
});

test("a region is joined by its own build only, and formatted only in possible sizes", () => {
  const machine = createMachine();
  assert.equal(machine.calls.regionJoin(BUILD_HASH), 0);
  assert.equal(machine.calls.regionJoin(BUILD_HASH + 1n), -71);
  machine.header.magic = 0n;
  assert.equal(machine.calls.regionJoin(BUILD_HASH), -2);
  const size = machine.calls.regionBytes(2048, 1024);
  assert.equal(machine.calls.regionFormat(size - 1n, 2048, 1024, 1n), -EINVAL);
  assert.equal(machine.calls.regionFormat(size, 1024, 1024, 1n), -EINVAL);
  assert.equal(machine.calls.regionFormat(size, 2048, 0, 1n), -EINVAL);
  assert.equal(machine.calls.regionFormat(1n << 33n, 2048, 1024, 1n), -EINVAL);
});

test("a stopped queue gives every frame back and its slot can be used again", () => {
  const machine = createMachine({ queues: 2 });
  const socket = machine.bound(LOCAL, 5000);
  machine.connect(socket, 5000);
  machine.send(socket, Uint8Array.of(1));
  machine.resolveAll();
  for (let n = 0; n < 5; n++) machine.send(socket, Uint8Array.of(n));
  assert.equal(machine.census().transmit, 5);
  machine.calls.queueStop(0);
  machine.calls.queueStop(1);
  assert.deepEqual(machine.census(), { free: 1024, fill: 0, transmit: 0, queued: 0 });
  assert.equal(machine.socket(socket).sendBytes, 0);
  assert.equal(machine.addQueue(0, 0), 0);
  machine.census();
});
