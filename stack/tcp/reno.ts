// NewReno's window, RFC 5681 3.1: half after a loss, then one segment more per window acknowledged.

import { Tcb } from "./tcb";

const MIN_SSTHRESH: u32 = 2;

/** Congestion avoidance: `acked` segments were acknowledged. */
export function renoAvoid(tcb: Tcb, acked: u32): void {
  tcb.cwndCount += acked;
  while (tcb.cwndCount >= tcb.cwnd) {
    tcb.cwndCount -= tcb.cwnd;
    tcb.cwnd += 1;
  }
}

/** RFC 5681 equation 4. */
export function renoSsthresh(tcb: Tcb): u32 {
  return max<u32>(tcb.cwnd >> 1, MIN_SSTHRESH);
}
