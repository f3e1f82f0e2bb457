import assert from "node:assert/strict";
import { test } from "node:test";
import { createMachine, LOCAL, LOCAL_MAC, PEER, PEER_MAC } from "./machine.ts";
import { icmpError, onesComplementSum, udpDatagram } from "./packets.ts";

function machineWithPeer() {
  const machine = createMachine({ frameCount: 512, fillTarget: 128 });
  const socket = machine.bound(LOCAL, 1234);
  machine.connect(socket, 1234, PEER, 4000);
  machine.resolveAll();
  return machine;
}

test("a datagram for nobody is answered with port unreachable, as the kernel would", () => {
  const machine = machineWithPeer();
  const stranger = udpDatagram({
    sourcePort: 4001,
    payload: Buffer.from("who are you"),
    tos: 0x10,
  });
  machine.deliver(stranger);
  machine.poll();
  const [answer] = machine.transmitted();
  assert.ok(answer);
  assert.deepEqual(answer.slice(0, 6), PEER_MAC);
  assert.deepEqual(answer.slice(6, 12), LOCAL_MAC);
  const ip = answer.subarray(14);
  assert.equal(onesComplementSum(ip.subarray(0, 20)), 0xffff);
  assert.equal(ip[1], 0xd0);
  assert.equal(ip[9], 1);
  assert.equal(ip.subarray(12, 16).join("."), LOCAL);
  assert.equal(ip.subarray(16, 20).join("."), PEER);
  const icmp = ip.subarray(20);
  assert.deepEqual([icmp[0], icmp[1]], [3, 3]);
  assert.equal(onesComplementSum(icmp), 0xffff);
  assert.deepEqual(icmp.slice(8), stranger.slice(14));
  assert.equal(ip.length, (((ip[2] ?? 0) << 8) | (ip[3] ?? 0)) >>> 0);
  assert.equal(machine.header.txIcmpErrors, 1n);
  machine.poll();
  machine.census();
});

test("a long datagram is quoted up to 576 bytes of answer", () => {
  const machine = machineWithPeer();
  machine.deliver(udpDatagram({ sourcePort: 4001, payload: new Uint8Array(1200) }));
  machine.poll();
  assert.equal(machine.transmitted()[0]?.length, 14 + 576);
});

test("no answer goes to strangers' addresses, broken datagrams or ICMP errors", () => {
  const machine = machineWithPeer();
  machine.deliver(udpDatagram({ sourcePort: 4001, destination: "10.0.0.99" }));
  machine.deliver(udpDatagram({ sourcePort: 4001, checksum: "wrong" }));
  machine.deliver(udpDatagram({ sourcePort: 4001, fragment: 0x2000 }));
  machine.deliver(icmpError(3, 3, udpDatagram({ sourcePort: 9 }).subarray(14)));
  machine.poll();
  assert.equal(machine.transmitted().length, 0);
});

test("a flood is answered with a burst of 50, then one answer per millisecond", () => {
  const machine = machineWithPeer();
  for (let n = 0; n < 100; n++) machine.deliver(udpDatagram({ sourcePort: 4001 }));
  machine.calls.poll(1_000_000_000n, 128);
  assert.equal(machine.transmitted().length, 50);
  assert.equal(machine.header.txIcmpLimited, 50n);
  for (let n = 0; n < 10; n++) machine.deliver(udpDatagram({ sourcePort: 4001 }));
  machine.calls.poll(1_003_000_000n, 128);
  assert.equal(machine.transmitted().length, 3);
  machine.calls.poll(1_004_000_000n, 128);
  machine.census();
});
