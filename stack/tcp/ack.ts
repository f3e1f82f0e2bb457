// Acknowledgments, RFC 9293 3.10.7.4 fifth, RFC 5681, RFC 6298, RFC 7323 4.

import { seqAfter, seqBefore, seqBeforeEq } from "../base/seq";
import { FrameMark } from "../region/frames";
import { Socket } from "../socket/socket";
import { TCP_ECE } from "../wire/tcp";
import { endRecovery, enterReduced, onAcked } from "./congestion";
import { clearMarks, noteDelivered, takeSack } from "./delivery";
import { TcpFrame } from "./frame";
import { addPending } from "./pending";
import { recover } from "./recovery";
import { updateMinRtt, updateRtt } from "./rtt";
import { Segment } from "./segment";
import { isWriteable, removeHead, trimFrame, tuneSendBuffer, wakeWriters } from "./send-queue";
import { CongestionState, Tcb, TcpFlag, TimerKind } from "./tcb";
import { armWindowProbe, clearRetransmit } from "./timer";
import { scheduleRetransmit } from "./output";
import { timestampNow } from "./transmit";

/** How far behind an acknowledgment may be, RFC 5961 5.2. */
export const enum AckVerdict {
  /** Taken. */
  Fine = 0,
  /** Old: the segment's data is still looked at. */
  Old = 1,
  /** Not acceptable: answered, and the segment dropped. */
  Bad = 2,
}

/** Where the acknowledgment lies. Bad: of what was never sent, or far too old. */
export function judgeAck(tcb: Tcb, segment: Segment): AckVerdict {
  const ack = segment.ack;
  if (seqAfter(ack, tcb.sndNxt)) return AckVerdict.Bad;
  if (seqBefore(ack, tcb.sndUna)) {
    const oldest = tcb.sndUna - max<u32>(tcb.maxWindow, 1);
    return seqBefore(ack, oldest) ? AckVerdict.Bad : AckVerdict.Old;
  }
  return AckVerdict.Fine;
}

/** RFC 9293 3.10.7.4: takes the window over if the segment is newer than the one that set it. */
function updateWindow(tcb: Tcb, segment: Segment): bool {
  const isNewer =
    seqAfter(segment.ack, tcb.sndUna) ||
    seqAfter(segment.seq, tcb.sndWl1) ||
    (segment.seq == tcb.sndWl1 &&
      (seqAfter(segment.window << (<u32>tcb.sndWscale), tcb.sndWnd) ||
        seqBeforeEq(tcb.sndWl2, segment.ack)));
  if (!isNewer) return false;
  const window = segment.window << (<u32>tcb.sndWscale);
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = segment.ack;
  if (window == tcb.sndWnd) return false;
  tcb.sndWnd = window;
  tcb.maxWindow = max<u32>(tcb.maxWindow, window);
  return true;
}

/** Takes what is acknowledged off the queue. */
function removeAcked(index: u32, tcb: Tcb, segment: Segment): void {
  const ack = segment.ack;
  const sackRtt = segment.rttNanos;
  let hasCopy = false;
  while (tcb.sendHead != 0 && tcb.sendHead != tcb.sendNext) {
    const frame = TcpFrame.of(tcb.sendHead);
    if (seqAfter(frame.endSeq, ack)) {
      trimFrame(index, frame, ack);
      break;
    }
    if (frame.is(FrameMark.EverRetransmitted)) hasCopy = true;
    if (!frame.is(FrameMark.Sacked)) {
      noteDelivered(tcb, segment, frame);
      segment.newlyAcked += 1;
    }
    clearMarks(tcb, frame);
    tcb.packetsOut -= 1;
    removeHead(index);
  }
  // What was waiting behind a hole arrived long before the copy that filled it (RFC 6298 3).
  if (hasCopy) segment.rttNanos = sackRtt;
  if (tcb.highestSacked != 0 && !seqAfter(tcb.highestSacked, ack)) tcb.highestSacked = 0;
}

/** RFC 6298 3 and RFC 7323 4.1: what the acknowledgment tells of the round trip. */
function measureRtt(tcb: Tcb, segment: Segment, hasAdvanced: bool): void {
  let rtt = segment.rttNanos;
  if (rtt == 0 && hasAdvanced && segment.hasTimestamps && segment.tsEcr != 0) {
    // Only what was sent again is acknowledged: the echo tells which copy is meant.
    const elapsed = timestampNow(tcb, segment.now) - segment.tsEcr;
    if (elapsed < 0x7fffffff / 2) rtt = max<u64>(<u64>elapsed, 1) * 1000000;
  }
  if (rtt == 0) return;
  updateMinRtt(tcb, rtt, segment.now);
  updateRtt(tcb, rtt);
  tcb.backoff = 0;
}

/** RFC 8985 7.4: the answer to a loss probe tells whether the tail had been lost. */
function followProbe(tcb: Tcb, segment: Segment, isDuplicate: bool): void {
  if (!tcb.has(TcpFlag.ProbeOut) || seqBefore(segment.ack, tcb.probeHighSeq)) return;
  if (tcb.probeRepeated == 0 || segment.hasDsack != 0) {
    tcb.flags &= ~TcpFlag.ProbeOut;
  } else if (seqAfter(segment.ack, tcb.probeHighSeq)) {
    // It was, and the probe has repaired it: that is a loss like any other.
    tcb.flags &= ~TcpFlag.ProbeOut;
    if (tcb.congestionState == <u8>CongestionState.Open) {
      enterReduced(tcb);
      endRecovery(tcb);
    }
  } else if (isDuplicate) {
    tcb.flags &= ~TcpFlag.ProbeOut;
  }
}

/** True when nothing but growth of the window follows from the acknowledgment. */
function isCalm(tcb: Tcb, segment: Segment, isDuplicate: bool): bool {
  if (tcb.congestionState != <u8>CongestionState.Open || isDuplicate) return false;
  return (tcb.sackedOut | tcb.lostOut | tcb.retransOut | segment.sackBlocks) == 0;
}

/** RFC 6298 5.2 and 5.3. A reordering timer that RACK has set is left alone. */
function rearm(index: u32, tcb: Tcb, isProgress: bool, now: u64): void {
  if (tcb.packetsOut == 0) {
    clearRetransmit(tcb);
  } else if (isProgress && tcb.timerKind != <u8>TimerKind.Reorder) {
    scheduleRetransmit(index, tcb, now);
  }
}

/** Nothing was out: the acknowledgment answers a probe, or opens the window. */
function followWindow(index: u32, tcb: Tcb, hasNewWindow: bool, now: u64): void {
  if (tcb.sendNext == 0) return;
  const next = TcpFrame.of(tcb.sendNext);
  if (!seqAfter(next.endSeq, tcb.sndUna + tcb.sndWnd)) {
    tcb.backoff = 0;
    tcb.retransmitsSinceNanos = 0;
    if (tcb.timerKind == <u8>TimerKind.WindowProbe) clearRetransmit(tcb);
    addPending(index);
  } else if (tcb.timerKind == <u8>TimerKind.WindowProbe && !hasNewWindow) {
    armWindowProbe(index, tcb, now);
  }
}

/** Nothing is out: but a D-SACK may tell that the last copies were needless. */
function followLateSack(index: u32, tcb: Tcb, segment: Segment, isDuplicate: bool): void {
  if (segment.sackBlocks != 0 && tcb.has(TcpFlag.SackPermitted)) takeSack(tcb, segment);
  followProbe(tcb, segment, isDuplicate);
  if (segment.hasDsack != 0) recover(index, tcb, tcb.sndUna, false);
}

/** Follows an acknowledgment that judgeAck() found Fine, or the SACK option of an Old one. */
export function takeAck(index: u32, tcb: Tcb, isOld: bool): void {
  const segment = Segment.get();
  const socket = Socket.at(index);
  const priorUna = tcb.sndUna;
  const priorOut = tcb.packetsOut;
  const wasWriteable = isWriteable(socket);
  segment.beginAck();
  tcb.lastAckReceivedNanos = segment.now;
  segment.priorSacked = tcb.highestSacked;
  if (isOld) {
    if (!tcb.has(TcpFlag.SackPermitted) || segment.sackBlocks == 0) return;
    takeSack(tcb, segment);
    recover(index, tcb, priorUna, false);
    if (tcb.lostOut > tcb.retransOut) addPending(index);
    return;
  }
  const hasNewWindow = updateWindow(tcb, segment);
  const hasAdvanced = segment.ack != priorUna;
  tcb.sndUna = segment.ack;
  if (hasAdvanced) {
    tcb.bytesAcked += <u64>(segment.ack - priorUna);
    tcb.retransmitsSinceNanos = 0;
    tcb.retransmits = 0;
    if (tcb.has(TcpFlag.UrgentSend) && seqAfter(segment.ack, tcb.sndUp - 1)) {
      tcb.flags &= ~TcpFlag.UrgentSend;
    }
  }
  tcb.probesOut = 0;
  tcb.softError = 0;
  const isBare = segment.payloadBytes == 0 && segment.controlBytes == 0;
  if (priorOut == 0) {
    followLateSack(index, tcb, segment, isBare && !hasNewWindow);
    followWindow(index, tcb, hasNewWindow, segment.now);
    return;
  }
  if (segment.sackBlocks != 0 && tcb.has(TcpFlag.SackPermitted)) takeSack(tcb, segment);
  removeAcked(index, tcb, segment);
  if (tcb.has(TcpFlag.Ecn) && segment.has(TCP_ECE) && hasAdvanced) enterReduced(tcb);
  measureRtt(tcb, segment, hasAdvanced);
  const isDuplicate = !hasAdvanced && isBare && !hasNewWindow;
  followProbe(tcb, segment, isDuplicate && segment.newlySacked == 0);
  if (!isCalm(tcb, segment, isDuplicate)) {
    recover(index, tcb, priorUna, isDuplicate);
  } else if (segment.newlyAcked > 0) {
    onAcked(tcb, segment.newlyAcked, segment.now);
  }
  rearm(index, tcb, hasAdvanced, segment.now);
  if (hasAdvanced) {
    tuneSendBuffer(index);
    wakeWriters(index, wasWriteable);
  }
  if (tcb.sendNext != 0 || tcb.lostOut > tcb.retransOut) addPending(index);
}
