// CUBIC's window, RFC 9438, in integers. Windows that need a fraction are in 1/1024 segment, times
// in 1/1024 second, so that C * t^3 is a product and shifts:
//
//     W(t) = C * (t - K)^3 + origin      C = 2/5 segment per cubic second, beta = 7/10
//     K = cube root of ((wMax - cwnd) / C)
//
// and W(t) goes through the window at the time of the last loss, wMax, after K.

import { Tcb } from "./tcb";

const FRACTION_SHIFT: u32 = 10;
const MIN_SSTHRESH: u32 = 2;
/** 1/1024 s is 1953125 / 2 ns. */
const TWO_TICKS_NANOS: u64 = 1953125;
/** Times further from K than this, 17 minutes, count as this: the cube still fits. */
const MAX_TICKS: u64 = 1048576;
/** Bits of the largest K. */
const ROOT_BITS: u32 = 21;
/** RFC 9438 4.3: Reno's growth that gives its rate with CUBIC's beta, 3 * 0.3 / 1.7, is 9/17. */
const ALPHA_NUMERATOR: u32 = 9;
const ALPHA_DENOMINATOR: u32 = 17;

/** Congestion avoidance: `acked` segments were acknowledged. RFC 9438 4.2 to 4.5 */
export function cubicAvoid(tcb: Tcb, acked: u32, now: u64): void {
  if (tcb.cubicEpochNanos == 0) beginEpoch(tcb, now);
  tcb.cubicLastNanos = now;
  growEstimate(tcb, acked);
  const window = (<u64>tcb.cwnd) << FRACTION_SHIFT;
  // Where the window is to be one round trip from now, but at most half as large again.
  const wanted = windowAt(tcb, now - tcb.cubicEpochNanos + tcb.srttNanos);
  const target = min<u64>(max<u64>(wanted, window), window + (window >> 1));
  let credit = <u64>tcb.cubicAckCount + <u64>acked * (target - window);
  while (credit >= (<u64>tcb.cwnd) << FRACTION_SHIFT) {
    credit -= (<u64>tcb.cwnd) << FRACTION_SHIFT;
    tcb.cwnd += 1;
  }
  tcb.cubicAckCount = <u32>credit;
  // RFC 9438 4.3: never slower than Reno would be.
  tcb.cwnd = max<u32>(tcb.cwnd, tcb.cubicRenoCwnd);
}

/** The first acknowledgment of congestion avoidance, RFC 9438 4.2. */
function beginEpoch(tcb: Tcb, now: u64): void {
  tcb.cubicEpochNanos = now;
  tcb.cubicAckCount = 0;
  tcb.cubicCount = 0;
  tcb.cubicRenoCwnd = tcb.cwnd;
  if (tcb.cubicWMax > tcb.cwnd) {
    tcb.cubicOrigin = tcb.cubicWMax;
    tcb.cubicK = ticksToGrow(tcb.cubicWMax - tcb.cwnd);
  } else {
    tcb.cubicOrigin = tcb.cwnd;
    tcb.cubicK = 0;
  }
}

/** K, in 1/1024 s: the cube root of segments / C. */
function ticksToGrow(segments: u32): u32 {
  const cube = (<u64>segments * 5) << 29;
  let root: u64 = 0;
  for (let bit: u64 = 1 << (ROOT_BITS - 1); bit > 0; bit >>= 1) {
    const next = root | bit;
    if (next * next * next <= cube) root = next;
  }
  return <u32>root;
}

/** W(t), RFC 9438 figure 1, in 1/1024 segment. nanos: since the epoch began. */
function windowAt(tcb: Tcb, nanos: u64): u64 {
  const ticks = (nanos << 1) / TWO_TICKS_NANOS;
  const k = <u64>tcb.cubicK;
  const isBefore = ticks < k;
  const distance = min<u64>(isBefore ? k - ticks : ticks - k, MAX_TICKS);
  const change = ((distance * distance * distance * 2) / 5) >> 20;
  const origin = (<u64>tcb.cubicOrigin) << FRACTION_SHIFT;
  if (!isBefore) return origin + change;
  return change < origin ? origin - change : 0;
}

/** W_est, RFC 9438 4.3: what Reno's window would be by now. */
function growEstimate(tcb: Tcb, acked: u32): void {
  const hasCaughtUp = tcb.cubicRenoCwnd >= tcb.priorCwnd;
  tcb.cubicCount += acked * (hasCaughtUp ? ALPHA_DENOMINATOR : ALPHA_NUMERATOR);
  while (tcb.cubicCount >= tcb.cwnd * ALPHA_DENOMINATOR) {
    tcb.cubicCount -= tcb.cwnd * ALPHA_DENOMINATOR;
    tcb.cubicRenoCwnd += 1;
  }
}

/** RFC 9438 5.8: time in which the program, not the window, held the sender back does not count. */
export function cubicPause(tcb: Tcb, now: u64): void {
  if (tcb.cubicEpochNanos != 0) tcb.cubicEpochNanos += now - tcb.cubicLastNanos;
  tcb.cubicLastNanos = now;
}

/** RFC 9438 4.6 and 4.7: a window that had not come back makes room for others. */
export function cubicSsthresh(tcb: Tcb): u32 {
  tcb.cubicEpochNanos = 0;
  tcb.cubicWMax = tcb.cwnd < tcb.cubicWMax ? (tcb.cwnd * 17) / 20 : tcb.cwnd;
  return max<u32>((tcb.cwnd * 7) / 10, MIN_SSTHRESH);
}

/** RFC 9438 4.8: after a timeout, the old window is no guide. */
export function cubicForget(tcb: Tcb): void {
  tcb.cubicEpochNanos = 0;
  tcb.cubicWMax = 0;
}

/** RFC 9438 4.9: the loss was none; go on from the window that there was. */
export function cubicUndo(tcb: Tcb): void {
  tcb.cubicEpochNanos = 0;
  tcb.cubicWMax = max<u32>(tcb.cubicWMax, tcb.priorCwnd);
}
