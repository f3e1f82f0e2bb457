// Damaged TCP segments: dropped, counted once, and their frames are back.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMachine, type Machine } from "./machine.ts";
import { ipv4Packet } from "./packets.ts";

const PROTOCOL_TCP = 6;
const HEADER_BYTES = 20;
const DATA_OFFSET = 12;

/** A SYN for nobody whose checksum is wrong, with this header length in 32-bit words. */
function damagedSyn(headerWords = HEADER_BYTES / 4): Uint8Array {
  const tcp = new Uint8Array(HEADER_BYTES);
  tcp.set([0x10, 0, 0, 80]);
  tcp[DATA_OFFSET] = headerWords << 4;
  tcp[DATA_OFFSET + 1] = 2;
  return ipv4Packet(PROTOCOL_TCP, tcp);
}

function delivered(machine: Machine, frame: Uint8Array): void {
  const before = machine.census();
  machine.deliver(frame);
  machine.poll();
  const after = machine.census();
  assert.equal(after.free + after.fill, before.free + before.fill);
  assert.equal(machine.transmitted(0).length, 0);
}

describe("a damaged segment", () => {
  it("with a wrong checksum is counted once", () => {
    const machine = createMachine();
    delivered(machine, damagedSyn());
    assert.equal(machine.header.rxDropTcpChecksum, 1n);
    assert.equal(machine.header.rxSegments, 0n);
  });

  for (const words of [0, 4, 6, 15]) {
    it(`whose header claims ${words * 4} bytes is counted once`, () => {
      const machine = createMachine();
      delivered(machine, damagedSyn(words));
      assert.equal(machine.header.rxDropTcpHeader, 1n);
    });
  }
});
