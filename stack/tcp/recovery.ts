// What an acknowledgment means for the congestion state: RFC 6675 and RFC 6582 recovery, its end,
// and finding out that it was for nothing (Eifel RFC 3522, D-SACK RFC 3708, F-RTO RFC 5682).

import { seqAfterEq, seqBefore } from "../base/seq";
import { FrameMark } from "../region/frames";
import { endRecovery, enterRecovery, onAcked, prrWindow, undoReduction } from "./congestion";
import { TcpFrame } from "./frame";
import { adaptReorderingWindow, countDuplicate, detectLoss } from "./loss";
import { limitDuplicates, markHeadLost, uncountDuplicates } from "./loss";
import { Segment } from "./segment";
import { inFlight } from "./send-queue";
import { CongestionState, Tcb, TcpFlag } from "./tcb";

/** RFC 5681 3.2. */
const DUPLICATES_FOR_LOSS: u32 = 3;

/** True if the peer answered the original, not the copy: its echo is older than the copy. */
function isEchoOlder(tcb: Tcb, segment: Segment): bool {
  if (tcb.retransStamp == 0 || !segment.hasTimestamps || segment.tsEcr == 0) return false;
  return seqBefore(segment.tsEcr, tcb.retransStamp);
}

function mayUndo(tcb: Tcb, segment: Segment): bool {
  if (tcb.undoMarker == 0) return false;
  return tcb.undoRetrans == 0 || isEchoOlder(tcb, segment);
}

/** Nothing is lost after all. */
function unmarkLost(tcb: Tcb): void {
  let link = tcb.sendHead;
  while (link != 0 && link != tcb.sendNext && tcb.lostOut > 0) {
    const frame = TcpFrame.of(link);
    if (frame.is(FrameMark.Lost)) {
      frame.marks &= ~FrameMark.Lost;
      tcb.lostOut -= 1;
    }
    link = frame.next;
  }
}

function open(tcb: Tcb): void {
  const isCalm = tcb.sackedOut == 0 && tcb.lostOut == 0;
  tcb.congestionState = <u8>(isCalm ? CongestionState.Open : CongestionState.Disorder);
  tcb.retransStamp = 0;
}

/** The timeout, or the recovery, was needless: everything as before. */
function undo(tcb: Tcb, state: CongestionState): void {
  undoReduction(tcb);
  unmarkLost(tcb);
  tcb.retransmits = 0;
  tcb.frtoStep = 0;
  tcb.congestionState = <u8>state;
  if (state == CongestionState.Open) open(tcb);
}

/**
 * Follows an acknowledgment. Preconditions: the segment's SACK option was taken, and what it
 * acknowledges was taken off the queue. `isDuplicate`: RFC 5681 2, without SACK.
 */
export function recover(index: u32, tcb: Tcb, priorUna: u32, isDuplicate: bool): void {
  const segment = Segment.get();
  const hasAdvanced = tcb.sndUna != priorUna;
  let delivered = segment.newlyAcked + segment.newlySacked;
  if (!tcb.has(TcpFlag.SackPermitted)) {
    if (hasAdvanced) {
      delivered -= uncountDuplicates(tcb, segment.newlyAcked);
    } else if (isDuplicate) {
      countDuplicate(tcb);
      delivered += 1;
    }
  }
  const before = <u32>tcb.congestionState;
  const wasRecovering = before == CongestionState.Recovery;
  if (seqAfterEq(tcb.sndUna, tcb.highSeq)) leave(tcb, segment);
  adaptReorderingWindow(
    tcb,
    segment.hasDsack != 0,
    wasRecovering && tcb.congestionState != <u8>CongestionState.Recovery,
  );
  const lostBefore = tcb.lostOut;
  if (tcb.congestionState == <u8>CongestionState.Loss) {
    followLoss(index, tcb, segment, hasAdvanced);
  } else if (tcb.congestionState == <u8>CongestionState.Recovery) {
    followRecovery(index, tcb, segment, hasAdvanced);
  } else {
    mayRecover(index, tcb, segment);
  }
  if (!tcb.has(TcpFlag.SackPermitted)) limitDuplicates(tcb);
  const newlyLost = tcb.lostOut > lostBefore ? tcb.lostOut - lostBefore : 0;
  const isOver = wasRecovering || before == CongestionState.Reduced;
  setWindow(tcb, segment, hasAdvanced, newlyLost, delivered, isOver);
}

/** Everything that was out when the trouble began is acknowledged. */
function leave(tcb: Tcb, segment: Segment): void {
  const state = <u32>tcb.congestionState;
  if (state == CongestionState.Recovery || state == CongestionState.Loss) {
    // RFC 6582 3.2 step 3: without SACK, duplicates of the last segment must not start another.
    if (!tcb.has(TcpFlag.SackPermitted)) {
      if (tcb.sndUna == tcb.highSeq && tcb.packetsOut > 0 && state == CongestionState.Recovery) {
        return;
      }
      tcb.sackedOut = 0;
    }
    if (mayUndo(tcb, segment)) {
      undo(tcb, CongestionState.Open);
      return;
    }
    // undoMarker stays: a D-SACK for the last of the copies is still on its way.
    if (state == CongestionState.Recovery) endRecovery(tcb);
    tcb.retransmits = 0;
    tcb.frtoStep = 0;
    open(tcb);
  } else if (state == CongestionState.Reduced && tcb.sndUna != tcb.highSeq) {
    endRecovery(tcb);
    open(tcb);
  }
}

function lookForLoss(index: u32, tcb: Tcb, now: u64): void {
  if (tcb.has(TcpFlag.SackPermitted)) {
    const isTrouble = tcb.sackedOut != 0 || tcb.retransOut != 0 || tcb.lostOut != 0;
    if (isTrouble) detectLoss(index, tcb, now);
  } else if (tcb.sackedOut >= DUPLICATES_FOR_LOSS) {
    markHeadLost(tcb);
  }
}

/** F-RTO, and what RACK finds, after a timeout. */
function followLoss(index: u32, tcb: Tcb, segment: Segment, hasAdvanced: bool): void {
  const hasSack = tcb.has(TcpFlag.SackPermitted);
  if (tcb.frtoStep != 0 && hasSack && segment.originalDelivered != 0) {
    undo(tcb, CongestionState.Open);
    return;
  }
  if (hasAdvanced && isEchoOlder(tcb, segment) && tcb.undoMarker != 0) {
    undo(tcb, CongestionState.Open);
    return;
  }
  if (segment.retransmittedAcked != 0 && hasAdvanced) tcb.frtoStep = 0;
  lookForLoss(index, tcb, segment.now);
}

/** RFC 6675 5 and RFC 6582 3.2: a partial acknowledgment, or another duplicate. */
function followRecovery(index: u32, tcb: Tcb, segment: Segment, hasAdvanced: bool): void {
  if (hasAdvanced && isEchoOlder(tcb, segment) && tcb.undoMarker != 0 && tcb.retransOut == 0) {
    undo(tcb, CongestionState.Disorder);
    return;
  }
  if (segment.hasDsack != 0 && tcb.undoMarker != 0 && tcb.undoRetrans == 0) {
    undo(tcb, CongestionState.Open);
    return;
  }
  if (!tcb.has(TcpFlag.SackPermitted)) {
    if (hasAdvanced) markHeadLost(tcb);
    return;
  }
  lookForLoss(index, tcb, segment.now);
}

function mayRecover(index: u32, tcb: Tcb, segment: Segment): void {
  if (segment.hasDsack != 0 && tcb.undoMarker != 0 && tcb.undoRetrans == 0) {
    undo(tcb, CongestionState.Open);
  }
  lookForLoss(index, tcb, segment.now);
  if (tcb.lostOut == 0) {
    if (tcb.congestionState != <u8>CongestionState.Reduced) open(tcb);
    return;
  }
  startRecovery(tcb);
}

/** Losses were found: fast recovery. */
export function startRecovery(tcb: Tcb): void {
  enterRecovery(tcb);
  if (tcb.has(TcpFlag.Ecn)) tcb.flags |= TcpFlag.EcnReduced;
}

/** `isOver`: the reduction may just have ended; what it delivered makes no window grow. */
function setWindow(
  tcb: Tcb,
  segment: Segment,
  hasAdvanced: bool,
  newlyLost: u32,
  delivered: u32,
  isOver: bool,
): void {
  const state = <u32>tcb.congestionState;
  if (state == CongestionState.Recovery || state == CongestionState.Reduced) {
    prrWindow(tcb, delivered, inFlight(tcb), hasAdvanced, newlyLost);
  } else if (segment.newlyAcked > 0 && !isOver) {
    onAcked(tcb, segment.newlyAcked, segment.now);
  }
}
