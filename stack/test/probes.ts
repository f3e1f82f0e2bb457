// Functions of the stack by their own names, for tests that compare them with a model.

import { initCongestion, onAcked, prrWindow, setCongestionControl } from "../tcp/congestion";
import { enterLoss, enterRecovery } from "../tcp/congestion";
import { Tcb } from "../tcp/tcb";
import { freshTcb } from "./check";

/** Region offset of a control block that is all zero but for its windows. */
export function probeConnection(control: u32): u32 {
  const at = freshTcb();
  const tcb = changetype<Tcb>(<usize>at);
  initCongestion(tcb);
  setCongestionControl(tcb, control);
  return at;
}

export function probeAcked(at: u32, segments: u32, now: u64): u32 {
  const tcb = changetype<Tcb>(<usize>at);
  onAcked(tcb, segments, now);
  return tcb.cwnd;
}

export function probeRecovery(at: u32): u32 {
  const tcb = changetype<Tcb>(<usize>at);
  enterRecovery(tcb);
  return tcb.ssthresh;
}

export function probeLoss(at: u32): u32 {
  const tcb = changetype<Tcb>(<usize>at);
  enterLoss(tcb);
  return tcb.ssthresh;
}

export function probePrr(at: u32, delivered: u32, inFlight: u32, una: u32, lost: u32): u32 {
  const tcb = changetype<Tcb>(<usize>at);
  prrWindow(tcb, delivered, inFlight, una != 0, lost);
  return tcb.cwnd;
}
