// The congestion window. CUBIC's curve is compared with a model in test/stack/cubic.test.ts.

import { endRecovery, enterLoss, enterRecovery, enterReduced } from "../tcp/congestion";
import { INFINITE_SSTHRESH, INITIAL_CWND, initCongestion, MAX_CWND } from "../tcp/congestion";
import { noteCwndUse, onAcked, prrWindow, restartAfterIdle } from "../tcp/congestion";
import { setCongestionControl, undoReduction } from "../tcp/congestion";
import { CongestionControl, CongestionState, Tcb, TcpFlag } from "../tcp/tcb";
import { check, freshTcb } from "./check";

const SECOND: u64 = 1000000000;
const MILLI: u64 = 1000000;

/** A connection whose window is in full use. */
function busy(control: CongestionControl): Tcb {
  const tcb = changetype<Tcb>(<usize>freshTcb());
  initCongestion(tcb);
  setCongestionControl(tcb, control);
  tcb.rtoNanos = 200 * MILLI;
  tcb.srttNanos = 20 * MILLI;
  tcb.flags = TcpFlag.CwndLimited;
  tcb.maxPacketsOut = MAX_CWND;
  tcb.sndUna = 1000;
  tcb.sndNxt = 11000;
  return tcb;
}

/** The same, in congestion avoidance with this window. */
function avoiding(control: CongestionControl, cwnd: u32): Tcb {
  const tcb = busy(control);
  tcb.cwnd = cwnd;
  tcb.ssthresh = cwnd;
  return tcb;
}

export function test_the_window_starts_with_ten_segments(): void {
  const tcb = busy(CongestionControl.Cubic);
  check(tcb.cwnd == 10 && tcb.ssthresh == INFINITE_SSTHRESH);
}

export function test_slow_start_doubles_the_window_per_round_trip(): void {
  for (let control: u32 = 0; control < 2; control++) {
    const tcb = busy(control);
    for (let acked: u32 = 0; acked < 10; acked++) onAcked(tcb, 1, SECOND);
    check(tcb.cwnd == 20);
    onAcked(tcb, 20, SECOND);
    check(tcb.cwnd == 40);
  }
}

export function test_slow_start_ends_at_its_threshold(): void {
  const tcb = busy(CongestionControl.Reno);
  tcb.ssthresh = 15;
  onAcked(tcb, 10, SECOND);
  check(tcb.cwnd == 15 && tcb.cwndCount == 5);
}

export function test_the_window_has_a_bound(): void {
  for (let control: u32 = 0; control < 2; control++) {
    const tcb = busy(control);
    for (let turn: u32 = 0; turn < 40; turn++) onAcked(tcb, tcb.cwnd, SECOND);
    check(tcb.cwnd == MAX_CWND);
  }
}

export function test_a_window_that_is_not_used_does_not_grow(): void {
  for (let control: u32 = 0; control < 2; control++) {
    const tcb = busy(control);
    tcb.maxPacketsOut = 5;
    onAcked(tcb, 5, SECOND);
    check(tcb.cwnd == 10);
    tcb.ssthresh = 10;
    tcb.flags = 0;
    for (let turn: u32 = 0; turn < 1000; turn++) onAcked(tcb, 10, <u64>turn * SECOND);
    check(tcb.cwnd == 10);
  }
}

export function test_newreno_adds_a_segment_per_window(): void {
  const tcb = avoiding(CongestionControl.Reno, 20);
  for (let acked: u32 = 0; acked < 19; acked++) onAcked(tcb, 1, SECOND);
  check(tcb.cwnd == 20);
  onAcked(tcb, 1, SECOND);
  check(tcb.cwnd == 21);
  onAcked(tcb, 43, SECOND);
  check(tcb.cwnd == 23);
}

export function test_newreno_halves_and_cubic_keeps_seven_tenths(): void {
  const reno = avoiding(CongestionControl.Reno, 100);
  enterRecovery(reno);
  check(reno.ssthresh == 50);
  const cubic = avoiding(CongestionControl.Cubic, 100);
  enterRecovery(cubic);
  check(cubic.ssthresh == 70 && cubic.cubicWMax == 100);
}

export function test_the_threshold_never_is_below_two_segments(): void {
  for (let control: u32 = 0; control < 2; control++) {
    const tcb = avoiding(control, 1);
    enterLoss(tcb);
    check(tcb.ssthresh == 2 && tcb.cwnd == 1);
  }
}

export function test_cubic_releases_bandwidth_when_losses_follow_one_another(): void {
  const tcb = avoiding(CongestionControl.Cubic, 100);
  enterRecovery(tcb);
  endRecovery(tcb);
  check(tcb.cwnd == 70);
  enterRecovery(tcb);
  check(tcb.cubicWMax == 59 && tcb.ssthresh == 49);
}

export function test_recovery_remembers_what_it_takes_to_undo_it(): void {
  for (let control: u32 = 0; control < 2; control++) {
    const tcb = avoiding(control, 100);
    tcb.ssthresh = 80;
    enterRecovery(tcb);
    check(tcb.congestionState == <u8>CongestionState.Recovery && tcb.highSeq == 11000);
    check(tcb.undoMarker == 1000);
    tcb.cwnd = 50;
    undoReduction(tcb);
    check(tcb.cwnd == 100 && tcb.ssthresh == 80 && tcb.undoMarker == 0);
  }
}

export function test_cubic_goes_on_from_the_old_window_after_an_undo(): void {
  const tcb = avoiding(CongestionControl.Cubic, 100);
  enterRecovery(tcb);
  undoReduction(tcb);
  endRecovery(tcb);
  tcb.cwnd = 100;
  tcb.ssthresh = 80;
  onAcked(tcb, 1, SECOND);
  check(tcb.cubicK == 0 && tcb.cubicOrigin == 100);
}

/** Recovery from a window of 100 of which `lost` are lost; everything else is delivered. */
function sentInRecovery(control: CongestionControl, lost: u32): u32 {
  const tcb = avoiding(control, 100);
  enterRecovery(tcb);
  let inFlight: u32 = 100 - lost;
  let sent: u32 = 0;
  // The originals that arrive are reported one by one; what is sent meanwhile is not.
  for (let delivered: u32 = 0; delivered < 100 - lost; delivered++) {
    inFlight -= 1;
    prrWindow(tcb, 1, inFlight, false, 0);
    while (inFlight < tcb.cwnd) {
      inFlight += 1;
      tcb.prrOut += 1;
      sent += 1;
    }
  }
  check(inFlight <= tcb.ssthresh);
  return sent;
}

export function test_recovery_sends_in_proportion_to_what_is_delivered(): void {
  // 99 deliveries at 7 to 10 and at 1 to 2.
  check(sentInRecovery(CongestionControl.Cubic, 1) == 70);
  check(sentInRecovery(CongestionControl.Reno, 1) == 50);
}

export function test_after_heavy_loss_recovery_sends_no_more_than_was_delivered(): void {
  for (let lost: u32 = 31; lost < 100; lost++) {
    const sent = sentInRecovery(CongestionControl.Cubic, lost);
    check(sent <= 101 - lost && sent > 0);
  }
}

export function test_recovery_probes_with_one_more_while_it_makes_progress(): void {
  const tcb = avoiding(CongestionControl.Cubic, 100);
  enterRecovery(tcb);
  tcb.prrOut = 1;
  prrWindow(tcb, 1, 10, true, 0);
  check(tcb.cwnd == 12);
  prrWindow(tcb, 1, 10, true, 1);
  check(tcb.cwnd == 11);
  prrWindow(tcb, 1, 10, false, 0);
  check(tcb.cwnd == 12);
}

export function test_the_first_retransmission_is_always_allowed(): void {
  const tcb = avoiding(CongestionControl.Reno, 100);
  enterRecovery(tcb);
  prrWindow(tcb, 1, 99, false, 1);
  check(tcb.cwnd == 100);
  tcb.prrOut = 1;
  prrWindow(tcb, 1, 99, false, 0);
  check(tcb.cwnd == 99);
}

export function test_recovery_ends_with_the_threshold_as_window(): void {
  const tcb = avoiding(CongestionControl.Reno, 100);
  enterRecovery(tcb);
  tcb.cwnd = 12;
  endRecovery(tcb);
  check(tcb.cwnd == 50 && tcb.congestionState == <u8>CongestionState.Open);
}

export function test_a_congestion_mark_reduces_once_per_window(): void {
  const tcb = avoiding(CongestionControl.Reno, 100);
  enterReduced(tcb);
  check(tcb.ssthresh == 50 && tcb.has(TcpFlag.EcnReduced));
  check(tcb.congestionState == <u8>CongestionState.Reduced && tcb.undoMarker == 0);
  enterReduced(tcb);
  check(tcb.ssthresh == 50);
  // A loss in the same window is not another reason.
  enterRecovery(tcb);
  check(tcb.ssthresh == 50 && tcb.congestionState == <u8>CongestionState.Recovery);
}

export function test_a_timeout_starts_over_and_a_second_one_changes_no_threshold(): void {
  const tcb = avoiding(CongestionControl.Cubic, 100);
  enterLoss(tcb);
  check(tcb.cwnd == 1 && tcb.ssthresh == 70 && tcb.priorCwnd == 100);
  check(tcb.highSeq == 11000 && tcb.cubicWMax == 0);
  tcb.retransmits = 1;
  enterLoss(tcb);
  check(tcb.cwnd == 1 && tcb.ssthresh == 70 && tcb.priorCwnd == 100);
  for (let turn: u32 = 0; turn < 69; turn++) onAcked(tcb, 1, SECOND);
  check(tcb.cwnd == 70);
}

export function test_a_pause_of_some_timeouts_halves_the_window_as_often(): void {
  const tcb = avoiding(CongestionControl.Reno, 100);
  tcb.ssthresh = 60;
  tcb.lastDataSentNanos = SECOND;
  restartAfterIdle(tcb, SECOND + 200 * MILLI);
  check(tcb.cwnd == 100 && tcb.ssthresh == 60);
  restartAfterIdle(tcb, SECOND + 401 * MILLI);
  check(tcb.cwnd == 25 && tcb.ssthresh == 75);
  restartAfterIdle(tcb, 100 * SECOND);
  check(tcb.cwnd == INITIAL_CWND && tcb.ssthresh == 75);
  tcb.cwnd = 3;
  restartAfterIdle(tcb, 200 * SECOND);
  check(tcb.cwnd == 3);
}

export function test_a_window_not_used_for_a_timeout_shrinks_towards_its_use(): void {
  const tcb = avoiding(CongestionControl.Reno, 100);
  tcb.cwndStampNanos = SECOND;
  tcb.cwndUsageSeq = tcb.sndUna;
  noteCwndUse(tcb, 20, false, SECOND + 100 * MILLI);
  check(tcb.cwnd == 100 && !tcb.has(TcpFlag.CwndLimited));
  noteCwndUse(tcb, 12, false, SECOND + 200 * MILLI);
  check(tcb.cwnd == 60 && tcb.ssthresh == 100 && tcb.cwndUsed == 0);
  noteCwndUse(tcb, 60, true, 2 * SECOND);
  check(tcb.cwnd == 60 && tcb.has(TcpFlag.CwndLimited) && tcb.maxPacketsOut == 60);
}

export function test_a_flight_counts_as_limited_until_it_is_acknowledged(): void {
  const tcb = avoiding(CongestionControl.Reno, 60);
  tcb.cwndUsageSeq = tcb.sndUna;
  noteCwndUse(tcb, 60, true, SECOND);
  noteCwndUse(tcb, 30, false, SECOND);
  check(tcb.has(TcpFlag.CwndLimited) && tcb.maxPacketsOut == 60);
  tcb.sndUna = tcb.sndNxt;
  noteCwndUse(tcb, 30, false, SECOND);
  check(!tcb.has(TcpFlag.CwndLimited) && tcb.maxPacketsOut == 30);
}

export function test_cubic_does_not_count_the_time_in_which_the_program_was_slow(): void {
  const tcb = avoiding(CongestionControl.Cubic, 50);
  tcb.cubicWMax = 100;
  onAcked(tcb, 1, SECOND);
  const before = tcb.cubicEpochNanos;
  tcb.flags = 0;
  for (let turn: u64 = 2; turn < 60; turn++) onAcked(tcb, 10, turn * SECOND);
  check(tcb.cwnd == 50 && tcb.cubicEpochNanos == before + 58 * SECOND);
  tcb.flags = TcpFlag.CwndLimited;
  onAcked(tcb, 50, 59 * SECOND + 20 * MILLI);
  check(tcb.cwnd < 55);
}
