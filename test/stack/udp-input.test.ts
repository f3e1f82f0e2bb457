import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { REFILL_BATCH_FRAMES } from "../../build/gen/layout.ts";
import { address, createMachine, LOCAL, PEER, portNet } from "./machine.ts";
import { ipv4Packet, udpDatagram } from "./packets.ts";

test("a datagram reaches the socket with its payload, source, TTL and TOS", () => {
  const machine = createMachine();
  const server = machine.bound(LOCAL, 1234);
  const payload = Buffer.from("hello");
  machine.deliver(udpDatagram({ payload, ttl: 33, tos: 0x10 }));
  assert.equal(machine.poll(), 1);
  assert.equal(machine.calls.socketReadiness(server) & 1, 1);
  const datagram = machine.receive(server);
  assert.deepEqual(Buffer.from(datagram?.payload ?? []), payload);
  assert.equal(datagram?.sourceLo, address(PEER).lo);
  assert.equal(datagram?.destinationLo, address(LOCAL).lo);
  assert.equal(datagram?.sourcePortNet, portNet(4000));
  assert.equal(datagram?.ttl, 33);
  assert.equal(datagram?.tos, 0x10);
  assert.equal(machine.receive(server), undefined);
  assert.equal(machine.calls.socketReadiness(server) & 1, 0);
  machine.census();
});

test("any payload, addresses, ports and IPv4 options arrive as they were sent", () => {
  const machine = createMachine();
  const server = machine.bound("0.0.0.0", 1234);
  const cases = fc.record({
    payload: fc.uint8Array({ maxLength: 1400 }),
    sourcePort: fc.integer({ min: 0, max: 65535 }),
    host: fc.integer({ min: 1, max: 254 }),
    ttl: fc.integer({ min: 1, max: 255 }),
    tos: fc.integer({ min: 0, max: 255 }),
    words: fc.integer({ min: 0, max: 10 }),
    checksum: fc.constantFrom("right" as const, "none" as const, "partial" as const),
  });
  fc.assert(
    fc.property(cases, ({ words, host, ...rest }) => {
      const source = `10.0.0.${host}`;
      const options = new Uint8Array(words * 4).fill(1);
      machine.deliver(udpDatagram({ ...rest, source, options }));
      machine.poll();
      const datagram = machine.receive(server);
      assert.deepEqual(datagram?.payload, rest.payload);
      assert.equal(datagram?.sourceLo, address(source).lo);
      assert.equal(datagram?.sourcePortNet, portNet(rest.sourcePort));
      assert.equal(datagram?.ttl, rest.ttl);
    }),
    { numRuns: 500 },
  );
  machine.census();
});

test("every payload length is summed rightly, and one wrong bit anywhere is found", () => {
  const machine = createMachine({ virtual: false });
  const server = machine.bound(LOCAL, 1234);
  machine.connect(server, 1234);
  for (let length = 0; length < 200; length++) {
    const payload = Uint8Array.from({ length }, (_, n) => 255 - ((n * length) & 127));
    const good = udpDatagram({ payload });
    const wrong = good.slice();
    const at = 34 + ((length * 31) % (good.length - 34));
    // Port bits would lead to another socket, length bits to another reason for the drop.
    const spoilt = Math.max(at, 40);
    wrong[spoilt] = (wrong[spoilt] ?? 0) ^ (1 << (length & 7));
    machine.deliver(wrong);
    machine.deliver(good);
    machine.poll();
    assert.deepEqual(machine.receive(server)?.payload, payload);
    assert.equal(machine.receive(server), undefined);
  }
  assert.equal(machine.header.rxDropUdpChecksum, 200n);
});

test("what Ethernet or IPv4 carry behind the datagram is no payload", () => {
  const machine = createMachine();
  const server = machine.bound(LOCAL, 1234);
  const padding = new Uint8Array(18);
  machine.deliver(Uint8Array.of(...udpDatagram({ payload: Uint8Array.of(1, 2) }), ...padding));
  machine.poll();
  assert.deepEqual(machine.receive(server)?.payload, Uint8Array.of(1, 2));
  const udp = udpDatagram({ payload: Uint8Array.of(3), checksum: "none" }).subarray(34);
  machine.deliver(ipv4Packet(17, Uint8Array.of(...udp, 4, 5)));
  machine.poll();
  assert.deepEqual(machine.receive(server)?.payload, Uint8Array.of(3));
  machine.census();
});

test("datagrams with and without IPv4 options leave the same record and counters", () => {
  const records = [new Uint8Array(), new Uint8Array(4).fill(1)].map((options) => {
    const machine = createMachine();
    const server = machine.bound(LOCAL, 1234);
    machine.connect(server, 1234);
    machine.deliver(udpDatagram({ payload: Buffer.from("abc"), ttl: 7, tos: 9, options }));
    machine.poll();
    const { arrivals, receiveBytes, receiveCount } = machine.socket(server);
    const { rxDatagrams, rxDatagramBytes, rxFrames } = machine.header;
    const counts = { arrivals, receiveBytes, receiveCount, rxDatagrams, rxDatagramBytes, rxFrames };
    return { ...counts, ...machine.receive(server) };
  });
  assert.deepEqual(records[0], records[1]);
  assert.equal(records[0]?.rxDatagrams, 1n);
});

test("datagrams come out in the order in which they came in", () => {
  const machine = createMachine({ frameCount: 4096, fillTarget: 512 });
  const server = machine.bound(LOCAL, 1234);
  for (let n = 0; n < 200; n++) machine.deliver(udpDatagram({ payload: Uint8Array.of(n) }));
  machine.poll();
  for (let n = 0; n < 200; n++) assert.equal(machine.receive(server)?.payload[0], n);
});

test("a full receive buffer drops and counts, and takes datagrams again once it was read", () => {
  const machine = createMachine({ fillTarget: 512 });
  const server = machine.bound(LOCAL, 1234);
  machine.calls.socketSetOption(server, 18, 4096);
  for (let n = 0; n < 20; n++) machine.deliver(udpDatagram({ payload: new Uint8Array(100) }));
  machine.poll();
  const kept = machine.socket(server).receiveCount;
  assert.equal(kept, Math.floor(4096 / 868) + 1);
  assert.equal(machine.socket(server).drops, BigInt(20 - kept));
  assert.equal(machine.header.rxDropQueueFull, BigInt(20 - kept));
  machine.receive(server);
  machine.deliver(udpDatagram({ payload: new Uint8Array(1) }));
  machine.poll();
  assert.equal(machine.socket(server).receiveCount, kept);
  machine.census();
});

test("one greedy socket can't take the last frames of the pool", () => {
  const machine = createMachine({ frameCount: 256, fillTarget: 128 });
  const greedy = machine.bound(LOCAL, 1234);
  machine.calls.socketSetOption(greedy, 18, 1 << 30);
  for (let n = 0; n < 1000; n++) {
    machine.deliver(udpDatagram());
    machine.poll();
  }
  assert.ok(machine.header.rxDropNoFrames > 0n);
  const { fill } = machine.census();
  assert.ok(fill > 128 - REFILL_BATCH_FRAMES, `only ${fill} frames are posted`);
});

const bad: [string, keyof typeof counters, (good: Uint8Array) => Uint8Array][] = [
  ["a frame shorter than an Ethernet header", "rxDropTruncated", (good) => good.subarray(0, 13)],
  ["a frame for another hardware address", "rxDropNotOurMac", (good) => good.with(5, 9)],
  ["another ether type", "rxDropEtherType", (good) => good.with(12, 0x86)],
  ["a frame that ends within the IPv4 header", "rxDropIpHeader", (good) => good.subarray(0, 33)],
  ["an IP version that is not 4", "rxDropIpHeader", (good) => good.with(14, 0x65)],
  ["a header length below 20", "rxDropIpHeader", (good) => good.with(14, 0x44)],
  ["a header length beyond the packet", "rxDropIpHeader", (good) => good.with(14, 0x4f)],
  ["a total length beyond the frame", "rxDropIpHeader", (good) => good.with(16, 0x7f)],
  ["a total length below the header", "rxDropIpHeader", (good) => good.with(17, 19)],
  ["a wrong IPv4 checksum", "rxDropIpChecksum", (good) => good.with(24, (good[24] ?? 0) ^ 1)],
  ["a UDP length beyond the packet", "rxDropUdpLength", (good) => good.with(38, 0x20)],
  ["a UDP length below 8", "rxDropUdpLength", (good) => good.with(38, 0).with(39, 7)],
  ["a wrong UDP checksum", "rxDropUdpChecksum", (good) => good.with(41, (good[41] ?? 0) ^ 1)],
];
const counters = {
  rxDropTruncated: 0,
  rxDropNotOurMac: 0,
  rxDropEtherType: 0,
  rxDropIpHeader: 0,
  rxDropIpChecksum: 0,
  rxDropUdpLength: 0,
  rxDropUdpChecksum: 0,
};

for (const [what, counter, spoil] of bad) {
  test(`${what} is dropped and counted in ${counter}`, () => {
    const machine = createMachine();
    const server = machine.bound(LOCAL, 1234);
    machine.deliver(spoil(udpDatagram({ payload: Buffer.from("x".repeat(10)) })));
    machine.poll();
    assert.equal(machine.header[counter], 1n);
    assert.equal(machine.socket(server).receiveCount, 0);
    machine.census();
  });
}

test("fragments, other protocols and sources that no host may have are dropped and counted", () => {
  const machine = createMachine();
  machine.bound("0.0.0.0", 1234);
  machine.deliver(udpDatagram({ fragment: 0x2000 }));
  machine.deliver(udpDatagram({ fragment: 0x0001 }));
  machine.deliver(ipv4Packet(132, new Uint8Array(20)));
  for (const source of ["127.0.0.1", "224.0.0.1", "0.1.2.3", "255.255.255.255"]) {
    machine.deliver(udpDatagram({ source }));
  }
  machine.poll();
  assert.equal(machine.header.rxDropFragment, 2n);
  assert.equal(machine.header.rxDropProtocol, 1n);
  assert.equal(machine.header.rxDropMartian, 4n);
  assert.equal(machine.header.rxDatagrams, 0n);
});

test("a frame to a group of hosts is taken when its IP address is this host's", () => {
  const machine = createMachine();
  const server = machine.bound(LOCAL, 1234);
  machine.deliver(udpDatagram({ destinationMac: new Uint8Array(6).fill(0xff) }));
  machine.poll();
  assert.equal(machine.socket(server).receiveCount, 1);
  machine.census();
});

test("an unfinished checksum is accepted on virtual interfaces only", () => {
  for (const virtual of [true, false]) {
    const machine = createMachine({ virtual });
    const server = machine.bound(LOCAL, 1234);
    machine.deliver(udpDatagram({ payload: Buffer.from("abc"), checksum: "partial" }));
    machine.poll();
    assert.equal(machine.socket(server).receiveCount, virtual ? 1 : 0);
    assert.equal(machine.header.rxDropUdpChecksum, virtual ? 0n : 1n);
  }
});

test("a descriptor that points outside the pool, or to a frame that was not posted, is skipped", () => {
  const machine = createMachine();
  const server = machine.bound(LOCAL, 1234);
  machine.pushDescriptor(0, 0xffffffffffff0000n, 64);
  machine.pushDescriptor(0, BigInt(1023 * 2048), 64);
  machine.pushDescriptor(0, 256n, 2048);
  machine.pushDescriptor(0, 256n, 0xffffff80);
  machine.pushDescriptor(0, (1n << 43n) + 256n, 64);
  machine.poll();
  assert.equal(machine.header.rxDropDescriptor, 5n);
  machine.deliver(udpDatagram());
  machine.poll();
  assert.equal(machine.socket(server).receiveCount, 1);
  machine.census();
});
