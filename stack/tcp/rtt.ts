// Round-trip time and retransmission timeout: RFC 6298, with the gains of RFC 7323 4.2 for several
// samples per round trip. Nanoseconds throughout.

import { Tcb } from "./tcb";

/** Before there is a sample, RFC 6298 2.1. */
export const INITIAL_RTO_NANOS: u64 = 1000000000;
/**
 * What the timeout exceeds the round trip by, at least; RFC 6298 2.4 would have the whole timeout
 * not below a second. Linux's TCP_RTO_MIN, which it uses in this way, too.
 */
export const MIN_RTO_NANOS: u64 = 200000000;
/** RFC 6298 2.5; Linux's TCP_RTO_MAX. */
export const MAX_RTO_NANOS: u64 = 120000000000;
/** For how long the smallest round trip counts; Linux's tcp_min_rtt_wlen. */
export const MIN_RTT_WINDOW_NANOS: u64 = 300000000000;
/** 200 ms doubled this often is more than MAX_RTO_NANOS. */
const MAX_BACKOFF_SHIFT: u32 = 10;

/** Takes one measurement into account. It must not come from a retransmission (RFC 6298 3). */
export function updateRtt(tcb: Tcb, rttNanos: u64): void {
  const rtt = max<u64>(rttNanos, 1);
  if (tcb.srttNanos == 0) {
    tcb.srttNanos = rtt;
    tcb.rttvarNanos = rtt >> 1;
  } else {
    const gain = <u64>samplesShift(tcb.packetsOut);
    const isLonger = rtt > tcb.srttNanos;
    const distance = isLonger ? rtt - tcb.srttNanos : tcb.srttNanos - rtt;
    if (distance > tcb.rttvarNanos) tcb.rttvarNanos += (distance - tcb.rttvarNanos) >> (gain + 2);
    else tcb.rttvarNanos -= (tcb.rttvarNanos - distance) >> (gain + 2);
    const step = distance >> (gain + 3);
    tcb.srttNanos = isLonger ? tcb.srttNanos + step : tcb.srttNanos - step;
  }
  const margin = max<u64>(tcb.rttvarNanos << 2, MIN_RTO_NANOS);
  tcb.rtoNanos = min<u64>(tcb.srttNanos + margin, MAX_RTO_NANOS);
}

/**
 * log2 of the samples that a round trip gives: one for every two segments in flight. The gains
 * 1/8 and 1/4 are meant for one sample per round trip.
 */
function samplesShift(packetsOut: u32): u32 {
  return packetsOut < 4 ? 0 : 30 - clz<u32>(packetsOut);
}

/** Keeps the smallest round trip of the last five minutes, which RACK's windows are based on. */
export function updateMinRtt(tcb: Tcb, rttNanos: u64, now: u64): void {
  const rtt = max<u64>(rttNanos, 1);
  const isOld = now - tcb.minRttAtNanos > MIN_RTT_WINDOW_NANOS;
  if (tcb.minRttNanos != 0 && rtt > tcb.minRttNanos && !isOld) return;
  tcb.minRttNanos = rtt;
  tcb.minRttAtNanos = now;
}

/** The timeout doubled for every time that it ran out, RFC 6298 5.5. */
export function backedOffRto(tcb: Tcb): u64 {
  const doublings = <u64>min<u32>(<u32>tcb.backoff, MAX_BACKOFF_SHIFT);
  return min<u64>(tcb.rtoNanos << doublings, MAX_RTO_NANOS);
}
