// Initial sequence numbers, RFC 6528: a clock, so that a new connection starts behind the old one
// of the same addresses and ports, plus an offset that only who knows the secret can tell.
// Timestamps start anywhere for the same reason (RFC 7323 7.1).

import { sipHash2, sipHash3 } from "../base/siphash";
import { HashUse, hashWord } from "./hash-use";

/** The clock ticks every 4.096 microseconds: RFC 9293 3.4.1 asks for about 4. */
const ISN_CLOCK_SHIFT: u64 = 12;
/** As Linux: a window without scaling, and a little more. */
const REUSE_DISTANCE: u32 = 65537;

/** portsNet: the local port in the low half, the remote one in the high half. */
export function initialSequence(localLo: u64, remoteLo: u64, portsNet: u32, now: u64): u32 {
  const offset = sipHash3(localLo, remoteLo, hashWord(HashUse.InitialSequence, portsNet, 0));
  return <u32>(now >> ISN_CLOCK_SHIFT) + <u32>offset;
}

/**
 * For a connection that follows one which is still in TIME-WAIT: well behind everything that was
 * sent on that (RFC 9293 3.6.1). Never 0. sndNxt: what would have come next.
 */
export function nextInitialSequence(sndNxt: u32): u32 {
  return max<u32>(sndNxt + REUSE_DISTANCE, 1);
}

/**
 * Offset of the timestamp clock: the same for all connections between two addresses, so that a
 * connection's timestamps are later than those of the one before it (RFC 6191).
 */
export function timestampOffset(localLo: u64, remoteLo: u64): u32 {
  return <u32>sipHash2(localLo, remoteLo);
}
