// The congestion window: RFC 5681 with what CUBIC (RFC 9438) or NewReno do in congestion avoidance,
// proportional rate reduction (RFC 9937, which replaced RFC 6937), and validation of a window that
// is not used (RFC 7661, in Linux's form). Windows count segments, as Linux's do.

import { seqAfterEq } from "../base/seq";
import { cubicAvoid, cubicForget, cubicPause, cubicSsthresh, cubicUndo } from "./cubic";
import { renoAvoid, renoSsthresh } from "./reno";
import { CongestionControl, CongestionState, Tcb, TcpFlag } from "./tcb";

/** RFC 6928; in segments of any size, as Linux. */
export const INITIAL_CWND: u32 = 10;
/** "As high as possible", RFC 5681 3.1. */
export const INFINITE_SSTHRESH: u32 = 0x7fffffff;
/** More than the pool of frames can hold. */
export const MAX_CWND: u32 = 1048576;

/** A new connection's windows. */
export function initCongestion(tcb: Tcb): void {
  tcb.cwnd = INITIAL_CWND;
  tcb.ssthresh = INFINITE_SSTHRESH;
  tcb.cwndCount = 0;
  tcb.priorCwnd = 0;
  tcb.priorSsthresh = 0;
  cubicForget(tcb);
}

/** TCP_CONGESTION: the window stays, its growth starts anew. */
export function setCongestionControl(tcb: Tcb, control: CongestionControl): void {
  tcb.congestionControl = <u8>control;
  tcb.cwndCount = 0;
  cubicForget(tcb);
}

/**
 * Segments were acknowledged: lets the window grow if it is what holds the sender back. To be
 * called in the states Open, Disorder and Loss; in Recovery and Reduced, prrWindow() sets it.
 */
export function onAcked(tcb: Tcb, ackedSegments: u32, now: u64): void {
  const isCubic = tcb.congestionControl == CongestionControl.Cubic;
  if (!isWindowUsed(tcb)) {
    if (isCubic) cubicPause(tcb, now);
    return;
  }
  let left = ackedSegments;
  if (tcb.cwnd < tcb.ssthresh) {
    // RFC 5681 3.1, with RFC 3465's counting of what is acknowledged.
    const step = min<u32>(left, tcb.ssthresh - tcb.cwnd);
    tcb.cwnd += step;
    left -= step;
  }
  if (left > 0) {
    if (isCubic) cubicAvoid(tcb, left, now);
    else renoAvoid(tcb, left);
  }
  tcb.cwnd = min<u32>(tcb.cwnd, MAX_CWND);
}

/** In slow start, half of the window in use is reason enough to double it. */
function isWindowUsed(tcb: Tcb): bool {
  if (tcb.cwnd < tcb.ssthresh) return tcb.cwnd < tcb.maxPacketsOut << 1;
  return tcb.has(TcpFlag.CwndLimited);
}

/** The slow start threshold after a loss in the present window. Called once per loss event. */
export function ssthreshAfterLoss(tcb: Tcb): u32 {
  return tcb.congestionControl == CongestionControl.Cubic ? cubicSsthresh(tcb) : renoSsthresh(tcb);
}

/**
 * Fast recovery begins. Sets the state, highSeq, what is needed to undo it, and ssthresh; the
 * window follows with prrWindow().
 */
export function enterRecovery(tcb: Tcb): void {
  tcb.priorSsthresh = 0;
  beginUndo(tcb);
  if (!isReducing(tcb)) {
    tcb.priorSsthresh = currentSsthresh(tcb);
    beginReduction(tcb);
  }
  tcb.congestionState = <u8>CongestionState.Recovery;
}

/** RFC 3168 6.1.2: the peer echoes a congestion mark. At most one reduction per window. */
export function enterReduced(tcb: Tcb): void {
  if (isReducing(tcb) || tcb.congestionState == CongestionState.Loss) return;
  tcb.priorSsthresh = 0;
  tcb.undoMarker = 0;
  beginReduction(tcb);
  tcb.flags |= TcpFlag.EcnReduced;
  tcb.congestionState = <u8>CongestionState.Reduced;
}

/**
 * The retransmission timer ran out, RFC 5681 3.1: everything in flight is presumed lost and the
 * window is one segment. retransmits counts the timeouts before this one.
 */
export function enterLoss(tcb: Tcb): void {
  const isNew =
    tcb.congestionState <= <u8>CongestionState.Disorder ||
    seqAfterEq(tcb.sndUna, tcb.highSeq) ||
    (tcb.congestionState == CongestionState.Loss && tcb.retransmits == 0);
  if (isNew) {
    tcb.priorSsthresh = currentSsthresh(tcb);
    tcb.priorCwnd = tcb.cwnd;
    tcb.ssthresh = ssthreshAfterLoss(tcb);
    cubicForget(tcb);
    beginUndo(tcb);
  }
  tcb.cwnd = 1;
  tcb.cwndCount = 0;
  tcb.congestionState = <u8>CongestionState.Loss;
  tcb.highSeq = tcb.sndNxt;
  tcb.flags &= ~TcpFlag.EcnReduced;
}

function beginUndo(tcb: Tcb): void {
  tcb.undoMarker = tcb.sndUna;
  tcb.undoRetrans = tcb.retransOut;
}

function beginReduction(tcb: Tcb): void {
  tcb.highSeq = tcb.sndNxt;
  tcb.flags &= ~TcpFlag.ProbeOut;
  tcb.cwndCount = 0;
  tcb.priorCwnd = tcb.cwnd;
  tcb.prrDelivered = 0;
  tcb.prrOut = 0;
  tcb.ssthresh = ssthreshAfterLoss(tcb);
}

function isReducing(tcb: Tcb): bool {
  const state = tcb.congestionState;
  return state == CongestionState.Recovery || state == CongestionState.Reduced;
}

/** What to remember as ssthresh: three quarters of the window were fine, too. */
function currentSsthresh(tcb: Tcb): u32 {
  if (isReducing(tcb)) return tcb.ssthresh;
  return max<u32>(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2));
}

/**
 * The window during Recovery and Reduced, RFC 9937 6: one acknowledgment delivered this many
 * segments, by sequence number or SACK. Who sends counts prrOut.
 */
export function prrWindow(
  tcb: Tcb,
  newlyDelivered: u32,
  inFlight: u32,
  isSndUnaAdvanced: bool,
  newlyLost: u32,
): void {
  if (newlyDelivered == 0 || tcb.priorCwnd == 0) return;
  tcb.prrDelivered += newlyDelivered;
  let room: i32 = 0;
  if (inFlight > tcb.ssthresh) {
    const share = <u64>tcb.prrDelivered * tcb.ssthresh + (tcb.priorCwnd - 1);
    room = <i32>(share / tcb.priorCwnd) - <i32>tcb.prrOut;
  } else {
    room = max<i32>(<i32>tcb.prrDelivered - <i32>tcb.prrOut, <i32>newlyDelivered);
    // Progress without further loss: the path takes one more than it delivers.
    if (isSndUnaAdvanced && newlyLost == 0) room += 1;
    room = min<i32>(room, <i32>(tcb.ssthresh - inFlight));
  }
  // The first retransmission goes out at once.
  room = max<i32>(room, tcb.prrOut == 0 ? 1 : 0);
  tcb.cwnd = inFlight + <u32>room;
}

/** Recovery or Reduced end: everything up to highSeq is acknowledged. undoMarker stays. */
export function endRecovery(tcb: Tcb): void {
  if (isReducing(tcb) && tcb.ssthresh < INFINITE_SSTHRESH) tcb.cwnd = tcb.ssthresh;
  tcb.congestionState = <u8>CongestionState.Open;
}

/** The reduction was for nothing (RFC 3522, RFC 5682, D-SACK). The state is the caller's to set. */
export function undoReduction(tcb: Tcb): void {
  tcb.cwnd = max<u32>(tcb.cwnd, tcb.priorCwnd);
  if (tcb.priorSsthresh > tcb.ssthresh) tcb.ssthresh = tcb.priorSsthresh;
  tcb.flags &= ~TcpFlag.EcnReduced;
  tcb.undoMarker = 0;
  if (tcb.congestionControl == CongestionControl.Cubic) cubicUndo(tcb);
}

/**
 * Data is about to be sent when nothing is in flight, RFC 5681 4.1: what is known of the path ages,
 * by half the window for every retransmission timeout without data, down to the initial one.
 */
export function restartAfterIdle(tcb: Tcb, now: u64): void {
  if (tcb.congestionControl == CongestionControl.Cubic) cubicPause(tcb, now);
  let idleNanos = now - tcb.lastDataSentNanos;
  if (idleNanos <= tcb.rtoNanos) return;
  const least = min<u32>(INITIAL_CWND, tcb.cwnd);
  tcb.ssthresh = currentSsthresh(tcb);
  while (idleNanos > tcb.rtoNanos && tcb.cwnd > least) {
    idleNanos -= tcb.rtoNanos;
    tcb.cwnd >>= 1;
  }
  tcb.cwnd = max<u32>(tcb.cwnd, least);
  tcb.cwndStampNanos = now;
  tcb.cwndUsed = 0;
}

/**
 * To be called after sending. inFlight: segments out; isCwndLimited: whether more would have been
 * sent with a larger window. A window that is not used for a timeout shrinks towards what is used.
 */
export function noteCwndUse(tcb: Tcb, inFlight: u32, isCwndLimited: bool, now: u64): void {
  const wasLimited = tcb.has(TcpFlag.CwndLimited);
  const isNewFlight = seqAfterEq(tcb.sndUna, tcb.cwndUsageSeq);
  if (isNewFlight || isCwndLimited || (!wasLimited && inFlight > tcb.maxPacketsOut)) {
    if (isCwndLimited) tcb.flags |= TcpFlag.CwndLimited;
    else tcb.flags &= ~TcpFlag.CwndLimited;
    tcb.maxPacketsOut = inFlight;
    tcb.cwndUsageSeq = tcb.sndNxt;
  }
  if (isWindowUsed(tcb)) {
    tcb.cwndUsed = 0;
    tcb.cwndStampNanos = now;
    return;
  }
  tcb.cwndUsed = max<u32>(tcb.cwndUsed, inFlight);
  if (now - tcb.cwndStampNanos >= tcb.rtoNanos) shrinkUnused(tcb, now);
}

/** RFC 7661's purpose, by RFC 2861's means, as Linux does it. */
function shrinkUnused(tcb: Tcb, now: u64): void {
  if (tcb.congestionState == CongestionState.Open) {
    const used = max<u32>(tcb.cwndUsed, INITIAL_CWND);
    if (used < tcb.cwnd) {
      tcb.ssthresh = currentSsthresh(tcb);
      tcb.cwnd = (tcb.cwnd + used) >> 1;
    }
    tcb.cwndUsed = 0;
  }
  tcb.cwndStampNanos = now;
}
