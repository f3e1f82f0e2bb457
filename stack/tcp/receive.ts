// Data, RFC 9293 3.10.7.4 seventh: in order into the socket's queue, else into the queue of what
// came too early, with the SACK blocks (RFC 2018, RFC 2883) and acknowledgments (RFC 5681 4.2) that
// follow from it.

import { seqAfter, seqAfterEq, seqBefore, seqBeforeEq, seqMin } from "../base/seq";
import { DATAGRAM_OVERHEAD_BYTES, RESERVED_FRAMES } from "../config";
import { barrier, storeRelease32 } from "../host";
import { availableFrames, FrameMark, FrameState } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { announce } from "./state";
import { dropFrame, TcpFrame } from "./frame";
import { addPending } from "./pending";
import { forgetSackBelow, noteDuplicate, noteOutOfOrder } from "./sack-blocks";
import { Segment } from "./segment";
import { PING_PONG, Tcb, TcpFlag } from "./tcb";
import { setDelayedAck } from "./timer";
import { growWindow, measureReceiveRtt, measureRcvMss, sampleReceiveRtt } from "./window";
import { selectWindow } from "./window";
import { timestampNow } from "./transmit";
import { EVENTS_ALL, EVENTS_IN } from "../wait/events";

/** Linux's TCP_ATO_MIN, TCP_DELACK_MAX. */
export const ACK_TIMEOUT_MIN_NANOS: u64 = 40000000;
const ACK_TIMEOUT_MAX_NANOS: u64 = 200000000;
const MAX_QUICK_ACKS: u32 = 16;
/** Payload up to which a segment is copied behind the one before it, to save its frame. */
const COALESCED_BYTES_MAX: u32 = 512;

/** So many acknowledgments go out at once: when the peer starts, or is missing something. */
export function quickAck(tcb: Tcb, most: u32): void {
  const window = tcb.rcvAdv - tcb.rcvNxt;
  const count = max<u32>(window / (2 * max<u32>(tcb.rcvMss, 1)), 2);
  tcb.quickAcks = <u8>max<u32>(<u32>tcb.quickAcks, min<u32>(count, most));
}

/** True while acknowledgments are not to wait. */
export function isQuick(tcb: Tcb): bool {
  return tcb.quickAcks > 0 && tcb.pingPong < PING_PONG;
}

/** A first segment, and one after a long silence, is acknowledged at once; others set the pace. */
function paceAcks(tcb: Tcb, now: u64): void {
  if (tcb.ackTimeoutNanos == 0) {
    quickAck(tcb, MAX_QUICK_ACKS);
    tcb.ackTimeoutNanos = ACK_TIMEOUT_MIN_NANOS;
  } else {
    const gap = now - tcb.lastDataReceivedNanos;
    if (gap <= ACK_TIMEOUT_MIN_NANOS >> 1) {
      tcb.ackTimeoutNanos = (tcb.ackTimeoutNanos >> 1) + (ACK_TIMEOUT_MIN_NANOS >> 1);
    } else if (gap < tcb.ackTimeoutNanos) {
      tcb.ackTimeoutNanos = min<u64>((tcb.ackTimeoutNanos >> 1) + gap, tcb.rtoNanos);
    } else if (gap > tcb.rtoNanos) {
      quickAck(tcb, MAX_QUICK_ACKS);
    }
  }
  tcb.lastDataReceivedNanos = now;
}

/** RFC 1122 4.2.3.2, RFC 5681 4.2: at once for every second full segment, else a little later. */
export function scheduleAck(index: u32, tcb: Tcb, now: u64): void {
  // Then the connection is in the list of those that have something to send.
  if (tcb.has(TcpFlag.AckNow)) return;
  const unacked = tcb.rcvNxt - tcb.lastAckSent;
  if (unacked == 0 && tcb.oooHead == 0) return;
  let isDue = isQuick(tcb) || tcb.oooHead != 0;
  if (!isDue && unacked > tcb.rcvMss) {
    const unread = tcb.rcvNxt - tcb.copiedSeq;
    isDue =
      unread < tcb.receiveLowat || selectWindow(Socket.at(index), tcb) >= tcb.rcvAdv - tcb.rcvNxt;
  }
  if (isDue) {
    tcb.flags |= TcpFlag.AckNow;
    addPending(index);
    return;
  }
  let timeout = tcb.ackTimeoutNanos;
  if (timeout > ACK_TIMEOUT_MIN_NANOS && tcb.srttNanos != 0) {
    timeout = min<u64>(timeout, max<u64>(tcb.srttNanos, ACK_TIMEOUT_MIN_NANOS));
  }
  const at = now + min<u64>(timeout, ACK_TIMEOUT_MAX_NANOS);
  if (tcb.delackAt == 0 || tcb.delackAt > at) setDelayedAck(index, tcb, at);
}

/** Makes the number of readable bytes known to readers without the lock. */
function publishReadable(socket: Socket, bytes: u32): void {
  storeRelease32(changetype<usize>(socket) + offsetof<Socket>("readableBytes"), bytes);
}

/** Appends a frame to the socket's queue. Its seq and endSeq are set, its payload is all new. */
function appendFrame(index: u32, socket: Socket, tcb: Tcb, link: u32): void {
  const frame = TcpFrame.of(link);
  const bytes = <u32>frame.payloadBytes;
  frame.next = 0;
  frame.socket = index;
  frame.state = <u8>FrameState.Queued;
  if (socket.receiveTail == 0) socket.receiveHead = link;
  else TcpFrame.of(socket.receiveTail).next = link;
  socket.receiveTail = link;
  socket.receiveCount += 1;
  socket.receiveBytes += bytes + DATAGRAM_OVERHEAD_BYTES;
  advance(socket, tcb, bytes);
}

function advance(socket: Socket, tcb: Tcb, bytes: u32): void {
  tcb.rcvNxt += bytes;
  tcb.bytesReceived += <u64>bytes;
  publishReadable(socket, socket.readableBytes + bytes);
}

/** Copies a short payload behind a frame's own, if that has room. True if it did. */
export function extend(frame: TcpFrame, at: u32, bytes: u32): bool {
  if (bytes > COALESCED_BYTES_MAX || bytes == 0) return false;
  const header = RegionHeader.get();
  const end = frame.payloadOffset + <u32>frame.payloadBytes;
  const room = header.frameBytes - ((end - header.framePoolOffset) & (header.frameBytes - 1));
  // An end at the border of the next frame would look like a whole frame of room.
  if (room == header.frameBytes || room < bytes) return false;
  memory.copy(<usize>end, <usize>at, <usize>bytes);
  // In this order: see TcpFrame.settle().
  frame.payloadBytes += <u16>bytes;
  barrier();
  frame.endSeq += bytes;
  header.rxCoalesced += 1;
  return true;
}

/** Spares the segment's frame: its payload goes behind the last one that was received. */
function coalesce(socket: Socket, tcb: Tcb, at: u32, bytes: u32): bool {
  const tail = socket.receiveTail;
  if (tail == 0 || !extend(TcpFrame.of(tail), at, bytes)) return false;
  socket.receiveBytes += bytes;
  advance(socket, tcb, bytes);
  return true;
}

/** The peer's FIN is in sequence. */
function takeFin(tcb: Tcb): void {
  tcb.rcvNxt += 1;
  const at = changetype<usize>(tcb) + offsetof<Tcb>("flags");
  storeRelease32(at, tcb.flags | TcpFlag.PeerClosed);
}

/**
 * Takes the segment's data. Precondition: the segment is acceptable, and the state is one in which
 * data is received. True if the peer's FIN came into sequence.
 */
export function takeText(index: u32, tcb: Tcb): bool {
  const segment = Segment.get();
  if (segment.payloadBytes != 0) tcb.dataSegmentsIn += 1;
  if (tcb.has(TcpFlag.PeerClosed)) {
    // RFC 9293: what comes behind a FIN is no data. A copy of it is acknowledged again.
    if (!seqBefore(segment.seq, tcb.rcvNxt)) return false;
    tcb.flags |= TcpFlag.AckNow;
    addPending(index);
    return false;
  }
  if (seqAfter(segment.seq, tcb.rcvNxt)) {
    takeEarly(index, tcb, segment);
    return false;
  }
  if (seqBeforeEq(segment.endSeq, tcb.rcvNxt)) {
    takeRepeated(index, tcb, segment);
    return false;
  }
  return takeInOrder(index, tcb, segment);
}

/** The same for the next data, when nothing is missing and nothing but data comes with it. */
export function takePlainText(index: u32, tcb: Tcb, segment: Segment): void {
  const socket = Socket.at(index);
  const bytes = segment.payloadBytes;
  tcb.dataSegmentsIn += 1;
  if (!keep(index, socket, tcb, segment, 0, bytes)) return;
  followText(socket, tcb, segment, bytes);
  announce(index, EVENTS_IN);
}

/** What every arrival of new data changes: the peer's pace, the window, round trips. */
function followText(socket: Socket, tcb: Tcb, segment: Segment, bytes: u32): void {
  measureRcvMss(tcb, segment.payloadBytes);
  paceAcks(tcb, segment.now);
  growWindow(socket, tcb, bytes);
  if (segment.hasTimestamps && tcb.has(TcpFlag.Timestamps)) sampleByEcho(tcb, segment);
  else measureReceiveRtt(tcb, segment.now);
}

/** Nothing of it is new: RFC 2883 4, the peer is told what came twice. */
function takeRepeated(index: u32, tcb: Tcb, segment: Segment): void {
  if (tcb.has(TcpFlag.SackPermitted)) noteDuplicate(tcb, segment.seq, segment.endSeq);
  quickAck(tcb, MAX_QUICK_ACKS);
  tcb.flags |= TcpFlag.AckNow;
  addPending(index);
}

function takeInOrder(index: u32, tcb: Tcb, segment: Segment): bool {
  const socket = Socket.at(index);
  const skip = tcb.rcvNxt - segment.seq;
  const hadHole = tcb.oooHead != 0;
  if (skip != 0 && tcb.has(TcpFlag.SackPermitted)) noteDuplicate(tcb, segment.seq, tcb.rcvNxt);
  let hasFin = (segment.flags & 1) != 0;
  // What the window does not cover is not taken (RFC 9293 3.10.7.4).
  const room = tcb.rcvAdv - tcb.rcvNxt;
  let bytes = segment.payloadBytes > skip ? segment.payloadBytes - skip : 0;
  if (bytes > room) {
    bytes = room;
    hasFin = false;
    // What is left out is asked for at once: a window probe wants an answer (3.8.6.1).
    tcb.flags |= TcpFlag.AckNow;
    addPending(index);
    if (bytes == 0) return false;
  }
  if (bytes != 0) {
    if (!keep(index, socket, tcb, segment, skip, bytes)) return false;
    followText(socket, tcb, segment, bytes);
  }
  let isClosed = hasFin;
  if (hasFin) takeFin(tcb);
  else if (hadHole) isClosed = takeFromOutOfOrder(index, socket, tcb);
  if (hadHole) {
    forgetSackBelow(tcb, tcb.rcvNxt);
    // RFC 5681 4.2: filling a gap is acknowledged at once.
    tcb.flags |= TcpFlag.AckNow;
    if (tcb.oooHead == 0) tcb.pingPong = 0;
    addPending(index);
  }
  if (skip != 0) {
    tcb.flags |= TcpFlag.AckNow;
    addPending(index);
  }
  announce(index, hasFin || isClosed ? EVENTS_ALL : EVENTS_IN);
  return isClosed;
}

/** RFC 7323 4.1 the other way round: the peer's echo of our clock. */
function sampleByEcho(tcb: Tcb, segment: Segment): void {
  if (segment.payloadBytes < tcb.rcvMss || segment.tsEcr == 0) return;
  const elapsed = timestampNow(tcb, segment.now) - segment.tsEcr;
  if (elapsed < 60000) sampleReceiveRtt(tcb, <u64>max<u32>(elapsed, 1) * 1000000);
}

/** Puts `bytes` of the payload behind `skip` into the queue. False: there is no memory for them. */
function keep(index: u32, socket: Socket, tcb: Tcb, segment: Segment, skip: u32, bytes: u32): bool {
  const at = segment.payloadOffset + skip;
  if (bytes <= COALESCED_BYTES_MAX && coalesce(socket, tcb, at, bytes)) return true;
  if (availableFrames() <= RESERVED_FRAMES) {
    RegionHeader.get().rxDropTcpNoFrames += 1;
    return false;
  }
  const frame = TcpFrame.at(segment.frame);
  frame.nanos = segment.now;
  frame.seq = segment.seq + skip;
  frame.endSeq = frame.seq + bytes;
  frame.payloadOffset = at;
  frame.payloadBytes = <u16>bytes;
  frame.marks = 0;
  appendFrame(index, socket, tcb, segment.frame + 1);
  segment.kept = 1;
  return true;
}

/** The same for what came too early, and is the continuation of a frame that did, too. */
function coalesceEarly(
  socket: Socket,
  tcb: Tcb,
  segment: Segment,
  before: TcpFrame,
  end: u32,
): bool {
  const hasFin = (segment.flags & 1) != 0 || before.is(FrameMark.Fin);
  if (hasFin || before.endSeq != segment.seq) return false;
  const bytes = end - segment.seq;
  if (!extend(before, segment.payloadOffset, bytes)) return false;
  socket.receiveBytes += bytes;
  if (tcb.has(TcpFlag.SackPermitted)) noteOutOfOrder(tcb, segment.seq, end);
  return true;
}

/** Keeps a segment that came before one that is missing, in order of sequence numbers. */
function takeEarly(index: u32, tcb: Tcb, segment: Segment): void {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  tcb.oooReceived += 1;
  header.rxOutOfOrder += 1;
  tcb.flags |= TcpFlag.AckNow;
  quickAck(tcb, MAX_QUICK_ACKS);
  addPending(index);
  const end = seqMin(segment.endSeq, tcb.rcvAdv);
  if (!seqAfter(end, segment.seq)) return;
  // Memory for what may never be needed is the first to be saved.
  const isFull = socket.receiveBytes > tcb.rcvBuf;
  if (isFull || availableFrames() < header.frameCount >> 4) {
    header.rxDropTcpNoFrames += 1;
    return;
  }
  let before: u32 = 0;
  let after = tcb.oooHead;
  const last = tcb.oooTail;
  if (last != 0 && seqAfterEq(segment.seq, TcpFrame.of(last).seq)) {
    before = last;
    after = 0;
  }
  while (after != 0 && seqBeforeEq(TcpFrame.of(after).seq, segment.seq)) {
    before = after;
    after = TcpFrame.of(after).next;
  }
  if (before != 0 && seqAfterEq(TcpFrame.of(before).endSeq, segment.endSeq)) {
    // All of it is there already.
    if (tcb.has(TcpFlag.SackPermitted)) noteDuplicate(tcb, segment.seq, segment.endSeq);
    return;
  }
  if (before != 0 && coalesceEarly(socket, tcb, segment, TcpFrame.of(before), end)) return;
  const isCut = end != segment.endSeq;
  const frame = TcpFrame.at(segment.frame);
  frame.nanos = segment.now;
  frame.seq = segment.seq;
  frame.endSeq = end;
  frame.payloadOffset = segment.payloadOffset;
  frame.payloadBytes = <u16>min<u32>(segment.payloadBytes, end - segment.seq);
  frame.marks = (segment.flags & 1) != 0 && !isCut ? FrameMark.Fin : 0;
  frame.socket = index;
  frame.state = <u8>FrameState.Queued;
  frame.next = after;
  const link = segment.frame + 1;
  if (before == 0) tcb.oooHead = link;
  else TcpFrame.of(before).next = link;
  if (after == 0) tcb.oooTail = link;
  tcb.oooFrames += 1;
  socket.receiveBytes += <u32>frame.payloadBytes + DATAGRAM_OVERHEAD_BYTES;
  segment.kept = 1;
  if (tcb.has(TcpFlag.SackPermitted)) noteOutOfOrder(tcb, segment.seq, end);
}

/** Moves what is in sequence now to the socket's queue. True if a FIN was among it. */
function takeFromOutOfOrder(index: u32, socket: Socket, tcb: Tcb): bool {
  let isClosed = false;
  while (tcb.oooHead != 0) {
    const link = tcb.oooHead;
    const frame = TcpFrame.of(link);
    if (seqAfter(frame.seq, tcb.rcvNxt)) break;
    const hasFin = frame.is(FrameMark.Fin);
    const skip = tcb.rcvNxt - frame.seq;
    const bytes = <u32>frame.payloadBytes;
    const isOld = seqBeforeEq(frame.endSeq, tcb.rcvNxt) || isClosed;
    const isBare = bytes <= skip;
    // Before its frame is let go: whoever is killed in between leaves the FIN in one of the two.
    if (hasFin && isBare && !isOld) {
      takeFin(tcb);
      barrier();
      isClosed = true;
    }
    tcb.oooHead = frame.next;
    if (frame.next == 0) tcb.oooTail = 0;
    tcb.oooFrames -= 1;
    const charged = bytes + DATAGRAM_OVERHEAD_BYTES;
    socket.receiveBytes -= min<u32>(charged, socket.receiveBytes);
    if (isOld || isBare) {
      dropFrame(link);
      continue;
    }
    frame.marks &= FrameMark.Fin;
    frame.cutFront(skip);
    appendFrame(index, socket, tcb, link);
    if (hasFin) {
      takeFin(tcb);
      isClosed = true;
    }
  }
  return isClosed;
}
