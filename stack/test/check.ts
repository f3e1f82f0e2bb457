// What the tests of this folder share. A test is an exported function test_*, which traps when
// something is wrong: the trap's stack names the line.

import { TCBS_OFFSET } from "../layout";
import { RegionHeader } from "../region/header";
import { Tcb } from "../tcp/tcb";

export function check(isRight: bool): void {
  if (!isRight) unreachable();
}

/** The key of SipHash's published vectors: the bytes 0, 1, 2 and so on. */
export function setSecret(): void {
  const header = RegionHeader.get();
  header.secret0 = 0x0706050403020100;
  header.secret1 = 0x0f0e0d0c0b0a0908;
}

/** Region offset of a control block that is all zero. */
export function freshTcb(): u32 {
  RegionHeader.get().tcbsOffset = TCBS_OFFSET;
  const tcb = Tcb.at(1);
  memory.fill(changetype<usize>(tcb), 0, <usize>offsetof<Tcb>());
  return <u32>changetype<usize>(tcb);
}

/** The next of a row of numbers without a pattern (Marsaglia's xorshift). */
export function scramble(value: u32): u32 {
  let x = value;
  x ^= x << 13;
  x ^= x >> 17;
  return x ^ (x << 5);
}
