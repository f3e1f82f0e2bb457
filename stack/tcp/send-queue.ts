// What a connection has to send: a queue of frames, from the oldest unacknowledged one over those
// that are on their way to those that were never sent. Payload is copied into them once, by the
// caller of reserve(); there it stays until the peer has it.

import { seqAfter } from "../base/seq";
import { DATAGRAM_OVERHEAD_BYTES, RESERVED_FRAMES, SPARED_FRAMES, TCP_FRAMES_MIN } from "../config";
import { barrier } from "../host";
import { FrameMark } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { notifySocket, wakeSleepers } from "../wait/waiter";
import { dropFrame, newSendFrame, TcpFrame } from "./frame";
import { currentMss, frameRoom } from "./route";
import { Tcb, TcpFlag } from "./tcb";
import { bufferBytesMax, isUnderPressure } from "./window";
import { EVENTS_OUT } from "../wait/events";

const EAGAIN: i32 = 11;

function append(tcb: Tcb, link: u32): void {
  if (tcb.sendTail != 0) TcpFrame.of(tcb.sendTail).next = link;
  else tcb.sendHead = link;
  tcb.sendTail = link;
  if (tcb.sendNext == 0) tcb.sendNext = link;
  tcb.sendFrames += 1;
}

/** True when the socket's send buffer, or the pool, has no room for more. */
function isFull(socket: Socket, tcb: Tcb): bool {
  if (socket.sendBytes >= socket.sendBufferBytes) return true;
  return isUnderPressure() && tcb.sendFrames >= TCP_FRAMES_MIN;
}

/**
 * Room for up to `wanted` bytes behind what is queued: its region offset, with header.chunkBytes
 * bytes of room, or -EAGAIN. What was never sent is filled up to a whole segment first.
 */
export function reserve(index: u32, wanted: u32): i32 {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  if (isFull(socket, tcb)) return -EAGAIN;
  const mss = min<u32>(currentMss(tcb), frameRoom());
  const tail = tcb.sendTail;
  if (tail != 0 && tcb.sendNext != 0) {
    const frame = TcpFrame.of(tail);
    const filled = <u32>frame.payloadBytes;
    if (filled < mss && !frame.is(FrameMark.Fin)) {
      header.chunkBytes = min<u32>(wanted, mss - filled);
      return <i32>(frame.payloadOffset + filled);
    }
  }
  const spared = tcb.sendFrames < TCP_FRAMES_MIN ? RESERVED_FRAMES : SPARED_FRAMES;
  const link = newSendFrame(index, tcb.writeSeq, spared);
  if (link == 0) {
    header.txNoFrames += 1;
    header.blockedSenders += 1;
    return -EAGAIN;
  }
  append(tcb, link);
  socket.sendBytes += DATAGRAM_OVERHEAD_BYTES;
  header.chunkBytes = min<u32>(wanted, mss);
  return <i32>TcpFrame.of(link).payloadOffset;
}

/** The bytes that reserve() made room for were copied. */
export function commit(index: u32, bytes: u32): void {
  const tcb = Tcb.at(index);
  const tail = tcb.sendTail;
  if (tail == 0) return;
  const frame = TcpFrame.of(tail);
  // In this order: see TcpFrame.settle().
  frame.payloadBytes += <u16>bytes;
  barrier();
  frame.endSeq += bytes;
  tcb.writeSeq += bytes;
  tcb.sendQueuedBytes += bytes;
  Socket.at(index).sendBytes += bytes;
}

/** Appends a frame with `bytes` of payload. */
export function appendFilled(index: u32, link: u32, bytes: u32): void {
  const tcb = Tcb.at(index);
  const frame = TcpFrame.of(link);
  frame.next = 0;
  frame.socket = index;
  frame.nanos = 0;
  frame.seq = tcb.writeSeq;
  frame.endSeq = tcb.writeSeq + bytes;
  append(tcb, link);
  tcb.writeSeq += bytes;
  tcb.sendQueuedBytes += bytes;
  Socket.at(index).sendBytes += bytes + DATAGRAM_OVERHEAD_BYTES;
}

/** A frame that was made for bytes which could not be copied is taken away again. */
export function dropEmptyTail(index: u32): void {
  const tcb = Tcb.at(index);
  const tail = tcb.sendTail;
  if (tail == 0 || tcb.sendNext == 0) return;
  const frame = TcpFrame.of(tail);
  if (frame.payloadBytes != 0 || frame.is(FrameMark.Fin)) return;
  let before: u32 = 0;
  for (let at = tcb.sendHead; at != tail; at = TcpFrame.of(at).next) before = at;
  if (before == 0) tcb.sendHead = 0;
  else TcpFrame.of(before).next = 0;
  tcb.sendTail = before;
  if (tcb.sendNext == tail) tcb.sendNext = 0;
  uncharge(Socket.at(index), tcb, 0);
  dropFrame(tail);
}

/** Puts the FIN behind everything else. False: there is no frame for it now. */
export function queueFin(index: u32): bool {
  const tcb = Tcb.at(index);
  const tail = tcb.sendTail;
  if (tail == 0 || tcb.sendNext == 0) {
    const link = newSendFrame(index, tcb.writeSeq, 0);
    if (link == 0) return false;
    append(tcb, link);
    Socket.at(index).sendBytes += DATAGRAM_OVERHEAD_BYTES;
  }
  const frame = TcpFrame.of(tcb.sendTail);
  frame.marks |= FrameMark.Fin;
  barrier();
  frame.endSeq += 1;
  tcb.finSeq = tcb.writeSeq;
  tcb.writeSeq += 1;
  return true;
}

function uncharge(socket: Socket, tcb: Tcb, payloadBytes: u32): void {
  const bytes = payloadBytes + DATAGRAM_OVERHEAD_BYTES;
  socket.sendBytes -= min<u32>(bytes, socket.sendBytes);
  tcb.sendQueuedBytes -= payloadBytes;
  tcb.sendFrames -= 1;
}

/** Takes the oldest frame off the queue: the peer has all of it. */
export function removeHead(index: u32): void {
  const tcb = Tcb.at(index);
  const head = tcb.sendHead;
  const frame = TcpFrame.of(head);
  tcb.sendHead = frame.next;
  if (frame.next == 0) tcb.sendTail = 0;
  uncharge(Socket.at(index), tcb, <u32>frame.payloadBytes);
  dropFrame(head);
}

/** Cuts off what the peer has of a frame. */
export function trimFrame(index: u32, frame: TcpFrame, seq: u32): void {
  const bytes = min<u32>(seq - frame.seq, <u32>frame.payloadBytes);
  if (!seqAfter(seq, frame.seq) || bytes == 0) return;
  const tcb = Tcb.at(index);
  const socket = Socket.at(index);
  frame.cutFront(bytes);
  tcb.sendQueuedBytes -= bytes;
  socket.sendBytes -= min<u32>(bytes, socket.sendBytes);
}

/**
 * Makes two frames of one, the first with `bytes` of payload. Both have its marks, and count as
 * what it counted as. False: there is no frame left for the second.
 */
export function splitFrame(index: u32, link: u32, bytes: u32): bool {
  const tcb = Tcb.at(index);
  const first = TcpFrame.of(link);
  const isSent = !seqAfter(first.endSeq, tcb.sndNxt);
  const rest = <u32>first.payloadBytes - bytes;
  const other = newSendFrame(index, first.seq + bytes, RESERVED_FRAMES >> 1);
  if (other == 0) return false;
  const second = TcpFrame.of(other);
  memory.copy(<usize>second.payloadOffset, <usize>(first.payloadOffset + bytes), <usize>rest);
  second.payloadBytes = <u16>rest;
  second.endSeq = first.endSeq;
  second.nanos = first.nanos;
  second.marks = first.marks;
  second.next = first.next;
  barrier();
  first.next = other;
  barrier();
  // In this order: see TcpFrame.settle().
  first.endSeq = first.seq + bytes;
  barrier();
  first.payloadBytes = <u16>bytes;
  first.marks &= ~(FrameMark.Fin | FrameMark.Push);
  if (tcb.sendTail == link) tcb.sendTail = other;
  tcb.sendFrames += 1;
  Socket.at(index).sendBytes += DATAGRAM_OVERHEAD_BYTES;
  if (!isSent) return true;
  tcb.packetsOut += 1;
  if (second.is(FrameMark.Sacked)) tcb.sackedOut += 1;
  if (second.is(FrameMark.Lost)) tcb.lostOut += 1;
  if (second.is(FrameMark.Retransmitted)) tcb.retransOut += 1;
  return true;
}

/** Segments that are in the network, as far as is known (RFC 6675 pipe). */
export function inFlight(tcb: Tcb): u32 {
  return tcb.packetsOut - tcb.sackedOut - tcb.lostOut + tcb.retransOut;
}

/** Linux's sk_stream_is_writeable: a third of the buffer is free. */
export function isWriteable(socket: Socket): bool {
  const used = socket.sendBytes;
  return used <= socket.sendBufferBytes && socket.sendBufferBytes - used >= used >> 1;
}

/** After acknowledgments: who waits for room is woken when it is worth it. */
export function wakeWriters(index: u32, wasWriteable: bool): void {
  // With TCP_NOTSENT_LOWAT it depends on what can be sent now, which is tried behind this.
  const isLimited = Tcb.at(index).notSentLowat != 0xffffffff;
  const isNews = !wasWriteable || isLimited;
  if (!isNews || !isWriteable(Socket.at(index))) return;
  // Who has not met the full buffer has no edge coming, as with Linux's SOCK_NOSPACE.
  if (Tcb.at(index).noSpace == 0) wakeSleepers(index);
  else tellWriters(index);
}

function tellWriters(index: u32): void {
  Tcb.at(index).noSpace = 0;
  notifySocket(index, EVENTS_OUT);
}

/** The send buffer grows with the congestion window (Linux's tcp_sndbuf_expand). */
export function tuneSendBuffer(index: u32): void {
  const tcb = Tcb.at(index);
  if (tcb.has(TcpFlag.SendBufferLocked) || isUnderPressure()) return;
  const socket = Socket.at(index);
  const segments = max<u32>(max<u32>(tcb.cwnd, tcb.reordering + 1), 10);
  const wanted = <u64>segments * 2 * <u64>(tcb.sndMss + DATAGRAM_OVERHEAD_BYTES);
  const most = bufferBytesMax(RegionHeader.get().tcpSendBufferBytesMax);
  const bytes = <u32>min<u64>(wanted, <u64>most);
  if (bytes > socket.sendBufferBytes) socket.sendBufferBytes = bytes;
}
