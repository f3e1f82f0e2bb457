// Which segments are presumed lost: RACK (RFC 8985) with SACK, duplicate acknowledgments (RFC 6582)
// without, and everything that is old when the retransmission timer fires.

import { seqAfter } from "../base/seq";
import { FrameMark } from "../region/frames";
import { clearMarks } from "./delivery";
import { TcpFrame } from "./frame";
import { CongestionState, Tcb, TcpFlag, TimerKind } from "./tcb";
import { setRetransmit } from "./timer";

/** How much later than due the reordering timer fires, so that it finds something. */
const REORDER_SLACK_NANOS: u64 = 2000000;
/** RFC 8985 6.2 step 4: recoveries for which a widened reordering window is kept. */
const PERSIST_ROUNDS: u8 = 16;

/** Marks a frame as lost; a copy of it that was on its way is, too. */
export function markLost(tcb: Tcb, frame: TcpFrame): void {
  const marks = frame.marks;
  if ((marks & FrameMark.Retransmitted) != 0) tcb.retransOut -= 1;
  if ((marks & FrameMark.Lost) == 0) tcb.lostOut += 1;
  frame.marks = (marks | FrameMark.Lost) & ~FrameMark.Retransmitted;
  if (!tcb.has(TcpFlag.SackPermitted)) limitDuplicates(tcb);
}

/** RFC 8985 6.2 step 4: how long a segment may be late without being lost. */
function reorderingWindow(tcb: Tcb): u64 {
  if (!tcb.has(TcpFlag.ReorderingSeen)) {
    if (<u32>tcb.congestionState >= <u32>CongestionState.Recovery) return 0;
    if (tcb.sackedOut >= tcb.reordering) return 0;
  }
  const steps = <u64>max<u8>(tcb.reoWindowSteps, 1);
  return min<u64>((tcb.minRttNanos >> 2) * steps, tcb.srttNanos);
}

/** A D-SACK shows that the window was too narrow; it narrows again after a while without. */
export function adaptReorderingWindow(tcb: Tcb, hasDsack: bool, hasRecovered: bool): void {
  if (hasDsack && tcb.has(TcpFlag.DsackSeen)) {
    tcb.flags &= ~TcpFlag.DsackSeen;
    if (tcb.reoWindowSteps < 255) tcb.reoWindowSteps = max<u8>(tcb.reoWindowSteps, 1) + 1;
    tcb.reoWindowPersist = PERSIST_ROUNDS;
  } else if (hasRecovered && tcb.reoWindowPersist > 0) {
    tcb.reoWindowPersist -= 1;
    if (tcb.reoWindowPersist == 0) tcb.reoWindowSteps = 1;
  }
}

/**
 * RFC 8985 6.2 step 5: what was sent before something that arrived, and is late, is lost. Returns
 * how many were found; a timer is set for those that are not late yet.
 */
export function detectLoss(index: u32, tcb: Tcb, now: u64): u32 {
  if (tcb.rackSentNanos == 0) return 0;
  const allowance = tcb.rackRttNanos + reorderingWindow(tcb);
  let found: u32 = 0;
  let wait: u64 = 0;
  let link = tcb.sendHead;
  while (link != 0 && link != tcb.sendNext) {
    const frame = TcpFrame.of(link);
    const marks = frame.marks;
    link = frame.next;
    const isSentEarlier =
      frame.nanos < tcb.rackSentNanos ||
      (frame.nanos == tcb.rackSentNanos && seqAfter(tcb.rackEndSeq, frame.endSeq));
    if (!isSentEarlier) {
      // What was sent once was sent in order: nothing behind is older, unless it was sent again.
      if (tcb.retransOut == 0 && (marks & FrameMark.EverRetransmitted) == 0) break;
      continue;
    }
    if ((marks & FrameMark.Sacked) != 0) continue;
    if ((marks & FrameMark.Lost) != 0 && (marks & FrameMark.Retransmitted) == 0) continue;
    const due = frame.nanos + allowance;
    if (due <= now) {
      markLost(tcb, frame);
      found += 1;
    } else {
      wait = max<u64>(wait, due - now);
    }
  }
  if (wait != 0) {
    const at = now + wait + REORDER_SLACK_NANOS;
    setRetransmit(index, tcb, TimerKind.Reorder, at);
  }
  return found;
}

/** RFC 6582: the oldest segment is lost. 1 if that is news. */
export function markHeadLost(tcb: Tcb): u32 {
  const head = tcb.sendHead;
  if (head == 0 || head == tcb.sendNext) return 0;
  const frame = TcpFrame.of(head);
  if (frame.is(FrameMark.Lost)) return 0;
  markLost(tcb, frame);
  return 1;
}

/**
 * The retransmission timer fired: everything that is not SACKed is lost, but for what was sent so
 * lately that it can't be late yet. A peer that SACKed the oldest segment and has not acknowledged
 * it has thrown it away again (RFC 2018 8): then nothing that it SACKed counts.
 */
export function markAllLost(tcb: Tcb, now: u64): void {
  const head = tcb.sendHead;
  if (head == 0) return;
  const hasReneged = TcpFrame.of(head).is(FrameMark.Sacked);
  const hasSack = tcb.has(TcpFlag.SackPermitted);
  if (!hasSack) tcb.sackedOut = 0;
  let link = head;
  while (link != 0 && link != tcb.sendNext) {
    const frame = TcpFrame.of(link);
    if (hasReneged && frame.is(FrameMark.Sacked)) clearMarks(tcb, frame);
    const isRecent = hasSack && link != head && now < frame.nanos + tcb.rackRttNanos;
    const isLate = !isRecent || tcb.rackRttNanos == 0;
    if (!frame.is(FrameMark.Sacked) && isLate) markLost(tcb, frame);
    link = frame.next;
  }
  if (hasReneged) tcb.highestSacked = 0;
}

/** Without SACK, duplicate acknowledgments are counted as if each SACKed a segment. */
export function countDuplicate(tcb: Tcb): void {
  tcb.dupAcks += 1;
  tcb.sackedOut += 1;
  limitDuplicates(tcb);
}

/** No more segments can have arrived than are out, but for those that are lost, or the oldest. */
export function limitDuplicates(tcb: Tcb): void {
  const holes = min<u32>(max<u32>(tcb.lostOut, 1), tcb.packetsOut);
  tcb.sackedOut = min<u32>(tcb.sackedOut, tcb.packetsOut - holes);
}

/**
 * Forgets them: `acked` segments were acknowledged, of which one is news and the others are what
 * the duplicates told of. Returns how many of them were counted before.
 */
export function uncountDuplicates(tcb: Tcb, acked: u32): u32 {
  const counted = min<u32>(tcb.sackedOut, acked > 0 ? acked - 1 : 0);
  tcb.sackedOut -= counted;
  return counted;
}
