// The connection that was being changed when the lock's owner died. The dead need not even have
// known it: whoever polls handles everybody's segments. So it is put back in order: frames know
// their place in the sequence space, and all else about the queues follows from them. What was
// just happening has then happened, or not: the peer sends again what it misses an acknowledgment
// of, and is sent again what it may miss.

import { seqAfter, seqBefore } from "../base/seq";
import { FrameMark, FrameMeta, FrameState, KEPT } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { TcpFrame } from "./frame";
import { enter, followOwnFin, forgetSendCounts, forgetSendQueue, TIME_WAIT_NANOS } from "./state";
import { CongestionState, Tcb, TcpFlag, TcpState, TimerKind } from "./tcb";

const SECOND_NANOS: u64 = 1000000000;
const RTO_MAX_NANOS: u64 = 120 * SECOND_NANOS;

function charge(frame: TcpFrame): u32 {
  return changetype<FrameMeta>(changetype<usize>(frame)).chargedBytes;
}

function isFound(frame: TcpFrame): bool {
  return frame.is(FrameMark.Found) || (frame.interfaceSlot & KEPT) != 0;
}

/**
 * Puts the connection in order; `partner` is its other end, if that is in the region and frames are
 * handed over between the two, else 0. False: that can't be done. The receive queues were walked.
 */
export function mend(index: u32, partner: u32): bool {
  const tcb = Tcb.at(index);
  const state = <u32>tcb.state;
  if (state == TcpState.SynSent || state == TcpState.SynReceived) {
    forgetSendQueue(index);
    reopen(tcb);
    again(tcb);
    return true;
  }
  mendReceived(index, tcb, partner);
  mendEarly(index, tcb);
  if (tcb.state == <u8>TcpState.TimeWait) {
    forgetSendQueue(index);
    if (tcb.lingerAt == 0) tcb.lingerAt = RegionHeader.get().clockNanos + TIME_WAIT_NANOS;
    return true;
  }
  if (!mendSent(index, tcb, partner) || !recount(index, tcb)) return false;
  calm(tcb);
  // The peer has our FIN: there is nothing left to be mended.
  const isDone = tcb.has(TcpFlag.FinSent) && tcb.sndUna == tcb.writeSeq;
  if (isDone && (state == TcpState.LastAck || state == TcpState.Closing)) return false;
  if (tcb.packetsOut != 0) again(tcb);
  tcb.flags |= TcpFlag.AckNow;
  return true;
}

/** Back to where the handshake waits for the peer's answer, which comes again. */
function reopen(tcb: Tcb): void {
  tcb.sndUna = tcb.iss;
  tcb.sndNxt = tcb.iss + 1;
  tcb.writeSeq = tcb.sndNxt;
  if (tcb.state != <u8>TcpState.SynReceived) return;
  tcb.rcvNxt = tcb.irs + 1;
  tcb.copiedSeq = tcb.rcvNxt;
}

/** The retransmission timer, anew. */
function again(tcb: Tcb): void {
  if (tcb.rtoNanos == 0 || tcb.rtoNanos > RTO_MAX_NANOS) tcb.rtoNanos = SECOND_NANOS;
  tcb.retransmitAt = RegionHeader.get().clockNanos + tcb.rtoNanos;
  tcb.timerKind = <u8>TimerKind.Retransmit;
}

/** A frame for `index` that was on its way into the queue: it begins where that ends, or 0. */
function handedOver(index: u32, partner: u32, seq: u32): u32 {
  const high = RegionHeader.get().freshFrames;
  for (let at: u32 = 0; at < high; at++) {
    const frame = TcpFrame.at(at);
    if (frame.state != <u8>FrameState.Queued || frame.seq != seq || isFound(frame)) continue;
    if (frame.socket == index || frame.socket == partner) return at + 1;
  }
  return 0;
}

/** The next frame behind `frame` (0: the first), which begins at `seq`; or 0. */
function following(index: u32, tcb: Tcb, partner: u32, link: u32, seq: u32): u32 {
  if (link != 0 && TcpFrame.of(link).seq == seq) return link;
  // What is not in sequence is nobody's; its frames go back to the pool.
  for (; link != 0; link = TcpFrame.of(link).next) TcpFrame.of(link).interfaceSlot &= ~KEPT;
  const early = earlyAt(index, tcb, seq);
  if (early != 0) return early;
  const handed = handedOver(index, partner, seq);
  if (handed != 0) adopt(handed, index);
  return handed;
}

/** The first early frame if it has what comes at `seq`, taken out of that queue; or 0. */
function earlyAt(index: u32, tcb: Tcb, seq: u32): u32 {
  const header = RegionHeader.get();
  while (tcb.oooHead != 0 && tcb.oooHead <= header.frameCount) {
    const link = tcb.oooHead;
    const frame = TcpFrame.of(link);
    if (frame.state != <u8>FrameState.Queued || frame.socket != index) return 0;
    if (seqAfter(frame.seq, seq) || isEndAt(frame, seq)) return 0;
    tcb.oooHead = frame.next;
    const known = seq - frame.seq;
    // All of it is there already, or it is the very frame that was just moved.
    if (isFound(frame) || known >= <u32>frame.payloadBytes) continue;
    frame.cutFront(known);
    adopt(link, index);
    return link;
  }
  return 0;
}

/** True if the FIN at `seq` is all that the frame brings. */
function isEndAt(frame: TcpFrame, seq: u32): bool {
  const end = frame.seq + <u32>frame.payloadBytes;
  return end == seq && frame.endSeq == seq + 1 && !isFound(frame);
}

/** True if the FIN came early, and what was missing before it is here now. */
function isEarlyEnd(index: u32, tcb: Tcb, end: u32): bool {
  const link = tcb.oooHead;
  if (link == 0 || link > RegionHeader.get().frameCount) return false;
  const frame = TcpFrame.of(link);
  if (frame.state != <u8>FrameState.Queued || frame.socket != index) return false;
  return isEndAt(frame, end);
}

/** What is in sequence: one stretch from what the program reads next. */
function mendReceived(index: u32, tcb: Tcb, partner: u32): void {
  const socket = Socket.at(index);
  let expected = tcb.copiedSeq;
  let last: u32 = 0;
  let count: u32 = 0;
  let charged: u32 = 0;
  let link = following(index, tcb, partner, socket.receiveHead, expected);
  socket.receiveHead = link;
  while (link != 0) {
    const frame = TcpFrame.of(link);
    expected += <u32>frame.payloadBytes;
    charged += charge(frame);
    count += 1;
    last = link;
    link = following(index, tcb, partner, frame.next, expected);
    frame.next = link;
  }
  socket.receiveTail = last;
  socket.receiveCount = count;
  socket.receiveBytes = charged;
  socket.readableBytes = expected - tcb.copiedSeq;
  followEnd(index, tcb, expected, last);
}

function adopt(link: u32, index: u32): void {
  const frame = TcpFrame.of(link);
  frame.socket = index;
  frame.next = 0;
  frame.interfaceSlot |= KEPT;
}

/** The peer's FIN has arrived with all that follows from it, or it will come again. */
function followEnd(index: u32, tcb: Tcb, end: u32, last: u32): void {
  const isNoted = tcb.has(TcpFlag.PeerClosed) && tcb.rcvNxt == end + 1;
  const isHere = last != 0 && TcpFrame.of(last).endSeq == end + 1;
  if (isNoted || isHere || isEarlyEnd(index, tcb, end)) enterClosed(tcb);
  const isBehind = tcb.state >= <u8>TcpState.CloseWait;
  if (isBehind) tcb.flags |= TcpFlag.PeerClosed;
  else tcb.flags &= ~TcpFlag.PeerClosed;
  tcb.rcvNxt = isBehind ? end + 1 : end;
  if (seqAfter(tcb.rcvNxt, tcb.rcvAdv)) tcb.rcvAdv = tcb.rcvNxt;
  tcb.sndWl1 = tcb.rcvNxt;
  tcb.sndWl2 = tcb.sndUna;
}

function enterClosed(tcb: Tcb): void {
  const state = <u32>tcb.state;
  if (state == TcpState.Established) enter(tcb, TcpState.CloseWait);
  if (state == TcpState.FinWait1) enter(tcb, TcpState.Closing);
  if (state != TcpState.FinWait2) return;
  enter(tcb, TcpState.TimeWait);
  tcb.lingerAt = RegionHeader.get().clockNanos + TIME_WAIT_NANOS;
}

/** What came early: as far as it is in order. The peer sends again what it is not told of. */
function mendEarly(index: u32, tcb: Tcb): void {
  const header = RegionHeader.get();
  let last: u32 = 0;
  let frames: u32 = 0;
  let end = tcb.rcvNxt;
  let link = tcb.oooHead;
  tcb.oooHead = 0;
  while (link != 0 && link <= header.frameCount) {
    const frame = TcpFrame.of(link);
    if (frame.state != <u8>FrameState.Queued || frame.socket != index) break;
    if (frame.is(FrameMark.Found)) break;
    const next = frame.next;
    if (!isFound(frame) && seqAfter(frame.seq, tcb.rcvNxt) && !seqBefore(frame.seq, end)) {
      frame.marks |= FrameMark.Found;
      frame.next = 0;
      if (last == 0) tcb.oooHead = link;
      else TcpFrame.of(last).next = link;
      last = link;
      end = frame.seq;
      frames += 1;
      Socket.at(index).receiveBytes += charge(frame);
    }
    link = next;
  }
  tcb.oooTail = last;
  tcb.oooFrames = frames;
  tcb.sackBlocks = 0;
  tcb.hasDsack = 0;
}

/** Behind what the other end has in its queue. */
function receivedEnd(partner: u32): u32 {
  let end = Tcb.at(partner).copiedSeq;
  let link = Socket.at(partner).receiveHead;
  for (; link != 0; link = TcpFrame.of(link).next) end += <u32>TcpFrame.of(link).payloadBytes;
  return end;
}

/**
 * A frame that was just taken out of the send queue to be handed over, and was not, nor copied: or
 * 0.
 */
function heldBack(index: u32, partner: u32, endSeq: u32): u32 {
  if (!seqAfter(endSeq, receivedEnd(partner))) return 0;
  const high = RegionHeader.get().freshFrames;
  for (let at: u32 = 0; at < high; at++) {
    const frame = TcpFrame.at(at);
    if (frame.state != <u8>FrameState.Sending || frame.endSeq != endSeq) continue;
    const isGone = frame.socket == partner && !frame.is(FrameMark.Kept);
    if (!isFound(frame) && (frame.socket == index || isGone)) return at + 1;
  }
  return 0;
}

/** Frames from the oldest that the peer does not have: one stretch that ends at writeSeq. */
function mendSent(index: u32, tcb: Tcb, partner: u32): bool {
  const header = RegionHeader.get();
  let last: u32 = 0;
  let link = tcb.sendHead;
  tcb.sendHead = 0;
  while (link != 0) {
    if (link > header.frameCount) return false;
    const frame = TcpFrame.of(link);
    const next = frame.next;
    if (!isSendable(index, frame)) return false;
    // Nor one that was made for bytes which were not copied.
    if (frame.endSeq != frame.seq && seqAfter(frame.endSeq, tcb.sndUna)) {
      if (last != 0 && !cutBefore(TcpFrame.of(last), frame)) return false;
      if (last == 0) tcb.sendHead = link;
      else TcpFrame.of(last).next = link;
      frame.marks |= FrameMark.Found;
      last = link;
    }
    link = next;
  }
  const first = tcb.sendHead == 0 ? tcb.writeSeq : TcpFrame.of(tcb.sendHead).seq;
  const back = partner == 0 ? 0 : heldBack(index, partner, first);
  if (back != 0 && seqAfter(first, tcb.sndUna)) {
    const frame = TcpFrame.of(back);
    frame.socket = index;
    frame.marks = FrameMark.Kept | FrameMark.Found;
    frame.next = tcb.sendHead;
    tcb.sendHead = back;
    if (last == 0) last = back;
  }
  if (last != 0) TcpFrame.of(last).next = 0;
  tcb.sendTail = last;
  return true;
}

/** A frame that is, or was on its way to be, in the send queue. */
function isSendable(index: u32, frame: TcpFrame): bool {
  if (frame.socket != index || frame.is(FrameMark.Found)) return false;
  // Held: its headers were being written.
  if (frame.state == <u8>FrameState.Held) frame.state = <u8>FrameState.Sending;
  const state = <u32>frame.state;
  return state == <u32>FrameState.Sending || state == <u32>FrameState.Transmit;
}

/** `next` begins where `frame` ends: at once, or after half of a split was undone. */
function cutBefore(frame: TcpFrame, next: TcpFrame): bool {
  // Only the last may have it.
  frame.marks &= ~FrameMark.Fin;
  if (next.seq == frame.endSeq) return true;
  if (!seqAfter(next.seq, frame.seq) || !seqBefore(next.seq, frame.endSeq)) return false;
  frame.payloadBytes = <u16>(next.seq - frame.seq);
  frame.endSeq = next.seq;
  frame.marks &= ~(FrameMark.Fin | FrameMark.Push);
  return true;
}

/** The variables that say where in the queue things are, and the counts of its frames. */
function recount(index: u32, tcb: Tcb): bool {
  const socket = Socket.at(index);
  const head = tcb.sendHead;
  if (head == 0) tcb.sndUna = tcb.writeSeq;
  else if (seqAfter(TcpFrame.of(head).seq, tcb.sndUna)) tcb.sndUna = TcpFrame.of(head).seq;
  if (head != 0) tcb.writeSeq = TcpFrame.of(tcb.sendTail).endSeq;
  if (seqBefore(tcb.sndNxt, tcb.sndUna)) tcb.sndNxt = tcb.sndUna;
  if (head == 0) tcb.sndNxt = tcb.sndUna;
  forgetSendCounts(index);
  tcb.highestSacked = 0;
  for (let link = head; link != 0; link = TcpFrame.of(link).next) {
    const frame = TcpFrame.of(link);
    const fin: u32 = frame.is(FrameMark.Fin) ? 1 : 0;
    if (frame.endSeq - frame.seq != <u32>frame.payloadBytes + fin) return false;
    frame.marks |= FrameMark.Kept;
    tcb.sendFrames += 1;
    tcb.sendQueuedBytes += <u32>frame.payloadBytes;
    socket.sendBytes += charge(frame);
    // The kernel has it, so it counts as sent, whether that was noted or not.
    const isOut = frame.state == <u8>FrameState.Transmit && frame.seq == tcb.sndNxt;
    if (isOut) tcb.sndNxt = frame.endSeq;
    const isSent = frame.endSeq != frame.seq && !seqAfter(frame.endSeq, tcb.sndNxt);
    if (isSent && tcb.sendNext == 0) countSent(tcb, frame);
    else if (!countUnsent(tcb, frame, link)) return false;
  }
  if (tcb.sendTail != 0 && TcpFrame.of(tcb.sendTail).is(FrameMark.Fin)) followOwnFin(tcb);
  return tcb.sendNext != 0 || tcb.sndNxt == tcb.writeSeq;
}

function countSent(tcb: Tcb, frame: TcpFrame): void {
  tcb.packetsOut += 1;
  // It, or another copy of it, may have been sent without a note of when: its acknowledgment is no
  // sample of the round trip (RFC 6298 3).
  frame.marks |= FrameMark.EverRetransmitted;
  if (frame.nanos == 0) frame.nanos = RegionHeader.get().clockNanos;
  if (frame.is(FrameMark.Sacked)) {
    frame.marks &= ~FrameMark.Lost;
    tcb.sackedOut += 1;
    tcb.highestSacked = frame.endSeq;
  }
  if (frame.is(FrameMark.Lost)) tcb.lostOut += 1;
  if (frame.is(FrameMark.Retransmitted)) tcb.retransOut += 1;
  if (frame.is(FrameMark.Fin)) tcb.flags |= TcpFlag.FinSent;
}

function countUnsent(tcb: Tcb, frame: TcpFrame, link: u32): bool {
  frame.marks &= ~(FrameMark.Sacked | FrameMark.Lost | FrameMark.Retransmitted);
  if (tcb.sendNext != 0) return true;
  tcb.sendNext = link;
  return frame.seq == tcb.sndNxt;
}

/** No reduction of the window is undone by what is not known for certain any more. */
function calm(tcb: Tcb): void {
  tcb.cwnd = max<u32>(tcb.cwnd, 2);
  tcb.ssthresh = max<u32>(tcb.ssthresh, 2);
  tcb.undoMarker = 0;
  tcb.undoRetrans = 0;
  tcb.dupAcks = 0;
  tcb.flags &= ~TcpFlag.ProbeOut;
  if (tcb.congestionState != <u8>CongestionState.Open) tcb.highSeq = tcb.sndNxt;
  if (!tcb.has(TcpFlag.SackPermitted)) tcb.sackedOut = 0;
  tcb.retransmitAt = 0;
  tcb.timerKind = <u8>TimerKind.None;
  tcb.delackAt = 0;
}
