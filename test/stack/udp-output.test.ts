import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TX_HEADROOM_BYTES, VIA_KERNEL } from "../../build/gen/layout.ts";
import { address, createMachine, LOCAL, LOCAL_MAC, PEER, PEER_MAC, portNet } from "./machine.ts";
import { dissect } from "./packets.ts";

const EAGAIN = 11;

function readySender(options: Parameters<typeof createMachine>[0] = {}) {
  const machine = createMachine(options);
  const client = machine.bound(LOCAL, 5000);
  machine.connect(client, 5000);
  assert.equal(machine.send(client, Buffer.from("first")), -VIA_KERNEL);
  assert.equal(machine.resolveAll(), 1);
  return { machine, client };
}

test("the first datagram to a new destination goes by the kernel, the next by the stack", () => {
  const { machine, client } = readySender();
  assert.equal(machine.send(client, Buffer.from("hello")), 5);
  const [frame] = machine.transmitted();
  const sent = dissect(frame ?? new Uint8Array());
  assert.deepEqual(sent.destinationMac, PEER_MAC);
  assert.deepEqual(sent.sourceMac, LOCAL_MAC);
  assert.equal(sent.source, LOCAL);
  assert.equal(sent.destination, PEER);
  assert.equal(sent.sourcePort, 5000);
  assert.equal(sent.destinationPort, 4000);
  assert.equal(sent.ttl, 64);
  assert.equal(sent.fragment, 0x4000);
  assert.equal(machine.socket(client).sentViaKernel, 1n);
  assert.equal(machine.socket(client).sent, 1n);
});

test("every sent frame has right lengths and checksums, whatever the payload and options", () => {
  const { machine, client } = readySender();
  const cases = fc.record({
    payload: fc.uint8Array({ maxLength: 1472 }),
    port: fc.integer({ min: 1, max: 65535 }),
    ttl: fc.integer({ min: 1, max: 255 }),
    tos: fc.integer({ min: 0, max: 255 }),
  });
  fc.assert(
    fc.property(cases, ({ payload, port, ttl, tos }) => {
      machine.calls.socketSetOption(client, 16, ttl);
      machine.calls.socketSetOption(client, 17, tos);
      assert.equal(machine.send(client, payload, { host: PEER, port }), payload.length);
      const [frame] = machine.transmitted();
      const sent = dissect(frame ?? new Uint8Array());
      assert.equal(sent.type, 0x0800);
      assert.equal(sent.version, 4);
      assert.equal(sent.protocol, 17);
      assert.equal(sent.ipSum, 0xffff);
      assert.equal(sent.udpSum, 0xffff);
      assert.notEqual(sent.udpChecksum, 0);
      assert.equal(sent.totalLength, payload.length + 28);
      assert.equal(sent.frameLength, payload.length + 42);
      assert.equal(sent.udpLength, payload.length + 8);
      assert.equal(sent.destinationPort, port);
      assert.equal(sent.ttl, ttl);
      assert.equal(sent.tos, tos);
      assert.deepEqual(sent.payload, payload);
    }),
    { numRuns: 500 },
  );
  machine.census();
});

test("connecting asks for the way, so that the first datagram may find it known", () => {
  const machine = createMachine();
  const client = machine.bound(LOCAL, 5000);
  machine.connect(client, 5000);
  assert.equal(machine.resolveAll(), 1);
  assert.equal(machine.send(client, Buffer.from("hello")), 5);
});

test("a datagram larger than the path's MTU goes by the kernel, which can fragment", () => {
  const { machine, client } = readySender();
  assert.equal(machine.send(client, new Uint8Array(1472)), 1472);
  assert.equal(machine.send(client, new Uint8Array(1473)), -VIA_KERNEL);
  assert.equal(machine.transmitted().length, 1);
});

test("a datagram larger than a frame goes by the kernel, however large the MTU", () => {
  const machine = createMachine();
  machine.calls.interfaceUpdate(0, 9000, 2, 0x100, 3);
  const client = machine.bound(LOCAL, 5000);
  machine.connect(client, 5000);
  machine.send(client, Uint8Array.of(1));
  machine.resolveAll(PEER, PEER_MAC, 9000);
  const most = machine.frameBytes - TX_HEADROOM_BYTES;
  assert.equal(machine.send(client, new Uint8Array(most)), most);
  assert.equal(machine.send(client, new Uint8Array(most + 1)), -VIA_KERNEL);
  const any = [client, 0n, 0n, 0, 0n, 0n] as const;
  assert.equal(machine.calls.udpReserve(...any, 0xfffffff0), -VIA_KERNEL);
  assert.equal(machine.transmitted().length, 1);
  machine.census();
});

test("a connected socket's frames are right for any length, time to live and type of service", () => {
  const { machine, client } = readySender();
  for (let length = 0; length < 300; length++) {
    machine.calls.socketSetOption(client, 16, (length % 255) + 1);
    machine.calls.socketSetOption(client, 17, length & 255);
    const payload = Uint8Array.from({ length }, (_, n) => 255 - ((n * length) & 63));
    assert.equal(machine.send(client, payload), length);
    const sent = dissect(machine.transmitted()[0] ?? new Uint8Array());
    assert.equal(sent.ipSum, 0xffff);
    assert.equal(sent.udpSum, 0xffff);
    assert.equal(sent.ttl, (length % 255) + 1);
    assert.equal(sent.tos, length & 255);
    assert.equal(sent.fragment, 0x4000);
    assert.equal(sent.destinationPort, 4000);
    assert.deepEqual(sent.payload, payload);
  }
  machine.census();
});

test("a wildcard socket sends from the route's source, a bound one from its own", () => {
  const machine = createMachine();
  const any = machine.bound("0.0.0.0", 5000);
  const to = { host: PEER, port: 9 };
  machine.send(any, Buffer.from("a"), to);
  machine.resolveAll();
  machine.send(any, Buffer.from("a"), to);
  assert.equal(dissect(machine.transmitted()[0] ?? new Uint8Array()).source, LOCAL);
  const other = address("10.0.0.77");
  machine.calls.addressAdd(other.hi, other.lo);
  const own = machine.bound("10.0.0.77", 5001);
  machine.send(own, Buffer.from("b"), to);
  machine.resolveAll();
  machine.send(own, Buffer.from("b"), to);
  assert.equal(dissect(machine.transmitted()[0] ?? new Uint8Array()).source, "10.0.0.77");
});

test("a source given per datagram (IP_PKTINFO) is used", () => {
  const machine = createMachine();
  const any = machine.bound("0.0.0.0", 5000);
  const peer = address(PEER);
  const source = address(LOCAL);
  const reserve = () =>
    machine.calls.udpReserve(any, peer.hi, peer.lo, portNet(9), source.hi, source.lo, 0);
  assert.equal(reserve(), -VIA_KERNEL);
  machine.resolveAll();
  assert.ok(reserve() > 0);
  machine.calls.udpSubmit();
  assert.equal(dissect(machine.transmitted()[0] ?? new Uint8Array()).source, LOCAL);
});

test("a full send buffer is EAGAIN until the kernel has sent something", () => {
  const { machine, client } = readySender();
  machine.calls.socketSetOption(client, 19, 4096);
  let sent = 0;
  while (machine.send(client, new Uint8Array(100)) === 100) sent += 1;
  assert.equal(sent, Math.ceil(4096 / 868));
  assert.equal(machine.send(client, new Uint8Array(100)), -EAGAIN);
  assert.equal(machine.calls.socketReadiness(client) & 4, 0);
  assert.equal(machine.calls.takeKicks(), 1n);
  machine.transmitted();
  assert.equal(machine.calls.hasWork(), 1);
  machine.poll();
  assert.equal(machine.calls.socketReadiness(client) & 4, 4);
  assert.equal(machine.send(client, new Uint8Array(100)), 100);
  machine.census();
});

test("a full TX ring is EAGAIN, and nothing is lost", () => {
  const { machine, client } = readySender({ frameCount: 4096 });
  machine.calls.socketSetOption(client, 19, 1 << 30);
  let sent = 0;
  while (machine.send(client, Uint8Array.of(1)) === 1) sent += 1;
  assert.equal(sent, 2048);
  assert.equal(machine.header.txRingFull, 1n);
  assert.equal(machine.transmitted().length, 2048);
  machine.poll();
  assert.equal(machine.census().transmit, 0);
});

test("an empty frame pool is EAGAIN until frames come back", () => {
  const { machine, client } = readySender({ frameCount: 128, fillTarget: 64 });
  machine.calls.socketSetOption(client, 19, 1 << 30);
  let sent = 0;
  while (machine.send(client, Uint8Array.of(1)) === 1) sent += 1;
  assert.equal(sent, 64);
  assert.equal(machine.header.txNoFrames, 1n);
  machine.transmitted();
  assert.equal(machine.send(client, Uint8Array.of(1)), 1);
  machine.census();
});

test("an aborted reservation gives its frame back", () => {
  const { machine, client } = readySender();
  const before = machine.census().free;
  assert.ok(machine.calls.udpReserve(client, 0n, 0n, 0, 0n, 0n, 10) > 0);
  machine.calls.udpAbort();
  assert.equal(machine.census().free, before);
});

test("every submitted datagram asks for a kick of its queue, once", () => {
  const { machine, client } = readySender();
  machine.calls.takeKicks();
  machine.send(client, Uint8Array.of(1));
  machine.send(client, Uint8Array.of(2));
  assert.equal(machine.calls.takeKicks(), 1n);
  assert.equal(machine.calls.takeKicks(), 0n);
});

test("a changed route, address or link sends by the kernel until it is resolved again", () => {
  const { machine, client } = readySender();
  assert.equal(machine.send(client, Uint8Array.of(1)), 1);
  machine.calls.destinationsFlush();
  assert.equal(machine.send(client, Uint8Array.of(1)), -VIA_KERNEL);
  assert.equal(machine.send(client, Uint8Array.of(1)), -VIA_KERNEL);
  assert.equal(machine.resolveAll(), 1);
  assert.equal(machine.send(client, Uint8Array.of(1)), 1);
});

test("a lost neighbour sends by the kernel until it is known again, then to its new address", () => {
  const { machine, client } = readySender();
  const peer = address(PEER);
  machine.calls.neighborSet(0, peer.hi, peer.lo, 0, 0, 0);
  assert.equal(machine.send(client, Uint8Array.of(1)), -VIA_KERNEL);
  machine.resolveAll(PEER, Uint8Array.of(2, 0, 0, 0, 9, 9));
  assert.equal(machine.send(client, Uint8Array.of(1)), 1);
  const sent = dissect(machine.transmitted()[0] ?? new Uint8Array());
  assert.deepEqual(sent.destinationMac, Uint8Array.of(2, 0, 0, 0, 9, 9));
});

test("a rejected destination stays with the kernel", () => {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 5000);
  const to = { host: "192.0.2.1", port: 9 };
  machine.send(socket, Uint8Array.of(1), to);
  machine.calls.destinationReject(machine.calls.destinationNextRequest());
  assert.equal(machine.send(socket, Uint8Array.of(1), to), -VIA_KERNEL);
  assert.equal(machine.calls.destinationNextRequest(), -1);
});

test("more destinations than the cache holds replace old ones and never a pending request", () => {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 5000);
  for (let n = 0; n < 20000; n++) {
    const host = `172.16.${n >> 8}.${n & 255}`;
    machine.send(socket, Uint8Array.of(1), { host, port: 9 });
    if (n % 4 === 3) machine.resolveAll();
  }
  assert.equal(machine.header.destinationsReplaced, 20000n - 16384n);
  machine.resolveAll(PEER);
  const to = { host: "172.16.78.31", port: 9 };
  assert.equal(machine.send(socket, Uint8Array.of(1), to), 1);
  machine.census();
});
