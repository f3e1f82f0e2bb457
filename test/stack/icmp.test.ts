import assert from "node:assert/strict";
import { test } from "node:test";
import { createMachine, LOCAL, PEER } from "./machine.ts";
import { icmpError, udpDatagram } from "./packets.ts";

const ECONNREFUSED = 111;
const EHOSTUNREACH = 113;
const ENOPROTOOPT = 92;
const EPROTO = 71;

/** The IP packet (without Ethernet) that a socket of ours sent to the peer. */
function ours(): Uint8Array {
  const options = { source: LOCAL, destination: PEER, sourcePort: 1234, destinationPort: 4000 };
  return udpDatagram({ ...options, payload: Buffer.from("quoted") }).subarray(14);
}

function connected() {
  const machine = createMachine();
  const socket = machine.bound(LOCAL, 1234);
  machine.connect(socket, 1234, PEER, 4000);
  return { machine, socket };
}

const hard: [number, number, number][] = [
  [3, 3, ECONNREFUSED],
  [3, 2, ENOPROTOOPT],
  [3, 13, EHOSTUNREACH],
  [12, 0, EPROTO],
];

for (const [type, code, errno] of hard) {
  test(`ICMP type ${type} code ${code} is error ${errno} on the connected socket, once`, () => {
    const { machine, socket } = connected();
    machine.deliver(icmpError(type, code, ours()));
    machine.poll();
    assert.equal(machine.calls.socketReadiness(socket) & 8, 8);
    assert.equal(machine.calls.socketTakeError(socket), errno);
    assert.equal(machine.calls.socketTakeError(socket), 0);
    assert.equal(machine.calls.socketReadiness(socket) & 8, 0);
    machine.census();
  });
}

test("soft errors, and errors for an unconnected socket, are not reported", () => {
  const { machine, socket } = connected();
  machine.deliver(icmpError(3, 1, ours()));
  machine.deliver(icmpError(11, 0, ours()));
  machine.poll();
  assert.equal(machine.calls.socketTakeError(socket), 0);
  const other = createMachine();
  const bound = other.bound(LOCAL, 1234);
  other.deliver(icmpError(3, 3, ours()));
  other.poll();
  assert.equal(other.calls.socketTakeError(bound), 0);
  assert.equal(other.header.rxIcmpIgnored, 1n);
});

test("an error about somebody else's datagram, or too short to say whose, is ignored", () => {
  const { machine, socket } = connected();
  const quoted = ours();
  const spoilt = [
    quoted.with(20, 9),
    quoted.with(23, 9),
    quoted.subarray(0, 27),
    quoted.subarray(0, 19),
    new Uint8Array(),
    quoted.with(0, 0x4f),
    quoted.with(9, 6),
  ];
  for (const packet of spoilt) machine.deliver(icmpError(3, 3, packet));
  const wrong = icmpError(3, 3, quoted);
  machine.deliver(wrong.with(36, (wrong[36] ?? 0) ^ 1));
  machine.poll();
  assert.equal(machine.calls.socketTakeError(socket), 0);
  assert.equal(machine.header.rxIcmpIgnored, BigInt(spoilt.length + 1));
  machine.census();
});
