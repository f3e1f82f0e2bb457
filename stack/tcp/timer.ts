// Setting and clearing a connection's timers; what they do when they fire is in tcp/timeouts.ts.

import { backedOffRto } from "./rtt";
import { Tcb, TimerKind } from "./tcb";
import { wheelCover } from "./wheel";

/** RFC 8985 7.2 and Linux: the least that a loss probe waits, and more for a lone segment. */
const PROBE_MIN_NANOS: u64 = 2000000;
const LONE_SEGMENT_NANOS: u64 = 200000000;
const FIRST_PROBE_NANOS: u64 = 1000000000;
const MILLI_NANOS: u64 = 1000000;

/** Starts the retransmission timer for `kind`, due at `at`. */
export function setRetransmit(index: u32, tcb: Tcb, kind: TimerKind, at: u64): void {
  tcb.timerKind = <u8>kind;
  tcb.retransmitAt = at;
  if (tcb.wheelSlot == 0 || at < tcb.wheelAt) wheelCover(index, at);
}

export function clearRetransmit(tcb: Tcb): void {
  tcb.timerKind = <u8>TimerKind.None;
  tcb.retransmitAt = 0;
}

/** The timeout, cut to what TCP_USER_TIMEOUT leaves of it: that ends on time (RFC 5482). */
function timeoutOf(tcb: Tcb, now: u64): u64 {
  const timeout = backedOffRto(tcb);
  const since = tcb.retransmitsSinceNanos;
  if (tcb.userTimeoutMillis == 0 || since == 0) return timeout;
  const end = since + <u64>tcb.userTimeoutMillis * MILLI_NANOS;
  return end > now ? min<u64>(timeout, end - now) : MILLI_NANOS;
}

/** RFC 6298 5: runs for the oldest segment that is not acknowledged. */
export function armRetransmit(index: u32, tcb: Tcb, now: u64): void {
  setRetransmit(index, tcb, TimerKind.Retransmit, now + timeoutOf(tcb, now));
}

/** RFC 8985 7.2: two round trips, or a second before one was measured, or when the timer is due. */
export function armLossProbe(index: u32, tcb: Tcb, now: u64): void {
  let timeout: u64 = FIRST_PROBE_NANOS;
  if (tcb.srttNanos != 0) {
    timeout = 2 * tcb.srttNanos;
    timeout += tcb.packetsOut == 1 ? LONE_SEGMENT_NANOS : PROBE_MIN_NANOS;
  }
  setRetransmit(index, tcb, TimerKind.LossProbe, now + min<u64>(timeout, timeoutOf(tcb, now)));
}

/** Persist timer, RFC 9293 3.8.6.1. */
export function armWindowProbe(index: u32, tcb: Tcb, now: u64): void {
  setRetransmit(index, tcb, TimerKind.WindowProbe, now + timeoutOf(tcb, now));
}

export function setDelayedAck(index: u32, tcb: Tcb, at: u64): void {
  tcb.delackAt = at;
  if (tcb.wheelSlot == 0 || at < tcb.wheelAt) wheelCover(index, at);
}

/** Keepalive, FIN-WAIT-2, TIME-WAIT. */
export function setLinger(index: u32, tcb: Tcb, at: u64): void {
  tcb.lingerAt = at;
  if (at != 0 && (tcb.wheelSlot == 0 || at < tcb.wheelAt)) wheelCover(index, at);
}
