// After a death that held the lock: tables, lists and the wheel anew from what each connection
// says of itself. The one connection that was being changed, and any whose queues do not add up, is
// put in order (tcp/mend.ts). One that can't be is over: its program gets ECONNRESET, its peer a
// reset when it next sends.

import { seqAfter } from "../base/seq";
import { FrameMark, FrameMeta, FrameState } from "../region/frames";
import { syncByQueue } from "../local/stream";
import { RegionHeader } from "../region/header";
import { Socket, SocketState } from "../socket/socket";
import { PROTOCOL_TCP } from "../wire/tcp";
import { acceptQueueAdd, listenerOf } from "./accept-queue";
import { clearConnections, insertConnection } from "./connections";
import { TcpFrame } from "./frame";
import { mend } from "./mend";
import { addPending } from "./pending";
import { acquirePort, clearPorts, countTimeWait } from "./port";
import { queueFin } from "./send-queue";
import { enter, finish, followOwnFin, forgetSendQueue, release } from "./state";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { nextDeadline } from "./timeouts";
import { clearWheel, NEVER, wheelCover } from "./wheel";

const ECONNRESET: u32 = 104;

function isLive(index: u32): bool {
  const socket = Socket.at(index);
  return socket.state != <u8>SocketState.Free && <u32>socket.protocol == PROTOCOL_TCP;
}

/** True for a connection that the stack itself keeps; others without a program were half released. */
export function isWithoutProgram(index: u32): bool {
  return Tcb.at(index).has(TcpFlag.Orphan | TcpFlag.Embryo);
}

/** Empties what is about to be filled again. Runs before the receive queues are walked. */
export function forgetTcp(): void {
  const header = RegionHeader.get();
  clearConnections();
  clearPorts();
  clearWheel();
  header.pendingHead = 0;
  header.pendingTail = 0;
  header.timeWaits = 0;
  header.routeWaits = 0;
  for (let index: u32 = 1; index < header.socketHigh; index++) {
    const tcb = Tcb.at(index);
    tcb.wheelSlot = 0;
    if (isLive(index)) settleFrames(index);
    if (tcb.localPeer != 0) syncByQueue(index, tcb);
    if (index != header.changing) tcb.localPeer = 0;
    tcb.port = 0;
    tcb.wheelAt = NEVER;
    if (!isLive(index)) {
      tcb.flags = 0;
      enter(tcb, TcpState.Closed);
      continue;
    }
    if (tcb.has(TcpFlag.RouteWait)) header.routeWaits += 1;
    tcb.flags &= ~TcpFlag.OutputPending;
    tcb.acceptHead = 0;
    tcb.acceptTail = 0;
    tcb.acceptCount = 0;
    tcb.synQueueCount = 0;
  }
}

/** Frames of the connection whose lengths were just being changed. */
function settleFrames(index: u32): void {
  const tcb = Tcb.at(index);
  settleChain(index, Socket.at(index).receiveHead);
  settleChain(index, tcb.oooHead);
  settleChain(index, tcb.sendHead);
}

function settleChain(index: u32, head: u32): void {
  const header = RegionHeader.get();
  let link = head;
  for (let left = header.frameCount; left > 0 && link != 0; left--) {
    if (link > header.frameCount) return;
    const frame = TcpFrame.of(link);
    if (frame.socket == index) frame.settle();
    link = frame.next;
  }
}

/** Orphans whose programs died before they had closed them: now they are. */
export function closeOrphans(): void {
  const high = RegionHeader.get().socketHigh;
  for (let index: u32 = 1; index < high; index++) {
    const tcb = Tcb.at(index);
    if (!isLive(index) || !tcb.has(TcpFlag.Orphan) || tcb.has(TcpFlag.ShutSend)) continue;
    if (tcb.state != <u8>TcpState.Established && tcb.state != <u8>TcpState.CloseWait) continue;
    if (!queueFin(index)) {
      finish(index);
      continue;
    }
    followOwnFin(tcb);
    addPending(index);
  }
}

/** Connections and their frames. The receive queues were walked. */
export function rebuildTcp(): void {
  const header = RegionHeader.get();
  const partner = partnerOf(header.changing);
  for (let index: u32 = 1; index < header.socketHigh; index++) {
    if (!isLive(index)) continue;
    const tcb = Tcb.at(index);
    const state = <u32>tcb.state;
    if (state == TcpState.Closed && tcb.has(TcpFlag.InAcceptQueue)) requeue(index);
    else if (state == TcpState.Closed && isNobodys(index)) release(index);
    if (state == TcpState.Closed || state == TcpState.Listen) continue;
    if (isWhole(index, partner) && attach(index)) continue;
    end(index);
  }
  if (header.changing != 0) Tcb.at(header.changing).localPeer = 0;
  header.changing = 0;
}

/** Half made, or half given back. */
function isNobodys(index: u32): bool {
  return Socket.at(index).cookie == 0 && isWithoutProgram(index);
}

/** Finds the connection sound, or puts it in order. */
function isWhole(index: u32, partner: u32): bool {
  const changing = RegionHeader.get().changing;
  if (index == changing) return isMended(index, partner);
  if (index == partner) return isMended(index, changing);
  const tcb = Tcb.at(index);
  // One that was just being made has no timer yet.
  const isEarly = tcb.state < <u8>TcpState.Established && tcb.retransmitAt == 0;
  if (!isEarly && walkSendQueue(index) && isReceivedSound(index)) return true;
  // Its own program died in a call, and the socket may be others', too.
  unmark(index);
  forgetTaken(index);
  return isMended(index, 0);
}

/** Who took bytes off the queue has not noted it any more. */
function forgetTaken(index: u32): void {
  const tcb = Tcb.at(index);
  const head = Socket.at(index).receiveHead;
  const fin: u32 = tcb.has(TcpFlag.PeerClosed) ? 1 : 0;
  if (tcb.state < <u8>TcpState.Established) return;
  tcb.copiedSeq = head != 0 ? TcpFrame.of(head).seq : tcb.rcvNxt - fin;
}

function isMended(index: u32, partner: u32): bool {
  if (!mend(index, partner)) return false;
  RegionHeader.get().tcpMended += 1;
  const tcb = Tcb.at(index);
  // It was complete, and just about to be put into its listener's queue.
  const isComplete = tcb.has(TcpFlag.Embryo) && tcb.state >= <u8>TcpState.Established;
  if (isComplete) tcb.flags |= TcpFlag.InAcceptQueue;
  // Or it was not yet: the peer's next segment completes it.
  if (tcb.state < <u8>TcpState.Established) tcb.flags &= ~TcpFlag.InAcceptQueue;
  return true;
}

/** The other end of the connection that was being changed, if it took part in that; else 0. */
function partnerOf(changing: u32): u32 {
  if (changing == 0) return 0;
  const partner = Tcb.at(changing).localPeer;
  const isPair = isLive(partner) && Tcb.at(partner).state >= <u8>TcpState.Established;
  return isPair && Socket.at(partner).remotePortNet == Socket.at(changing).localPortNet
    ? partner
    : 0;
}

/** Marks the frames of the send queue, and counts their charges. False: it does not add up. */
function walkSendQueue(index: u32): bool {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  const isSynchronised = tcb.state >= <u8>TcpState.Established;
  socket.sendBytes = 0;
  let frames: u32 = 0;
  let payload: u32 = 0;
  let sent: u32 = 0;
  let sacked: u32 = 0;
  let lost: u32 = 0;
  let again: u32 = 0;
  let last: u32 = 0;
  let end = isSynchronised ? tcb.sndUna : tcb.writeSeq;
  let link = tcb.sendHead;
  let isSent = true;
  while (link != 0) {
    if (link > header.frameCount) return false;
    const frame = TcpFrame.of(link);
    if (link == tcb.sendNext) {
      if (frame.seq != tcb.sndNxt && isSynchronised) return false;
      isSent = false;
    }
    // Only the oldest one may have been acknowledged in part.
    if (last != 0 ? frame.seq != end : !isOldest(tcb, frame)) return false;
    if (!isQueued(index, frame, isSent)) return false;
    const marks = frame.marks;
    if (isSent) {
      sent += 1;
      if ((marks & FrameMark.Sacked) != 0) sacked += 1;
      if ((marks & FrameMark.Lost) != 0) lost += 1;
      if ((marks & FrameMark.Retransmitted) != 0) again += 1;
      if ((marks & FrameMark.Fin) != 0 && !tcb.has(TcpFlag.FinSent)) return false;
    }
    frame.marks = marks | FrameMark.Found;
    frames += 1;
    payload += <u32>frame.payloadBytes;
    socket.sendBytes += changetype<FrameMeta>(changetype<usize>(frame)).chargedBytes;
    last = link;
    end = frame.endSeq;
    link = frame.next;
  }
  if (last != tcb.sendTail || frames != tcb.sendFrames || payload != tcb.sendQueuedBytes)
    return false;
  if (!isSynchronised) return true;
  if (end != tcb.writeSeq || isSent != (tcb.sendNext == 0)) return false;
  if (isSent && tcb.sndNxt != tcb.writeSeq) return false;
  if (!isEndSound(tcb)) return false;
  // Without SACK, duplicate acknowledgments stand for segments that nobody knows.
  if (tcb.has(TcpFlag.SackPermitted) && sacked != tcb.sackedOut) return false;
  return sent == tcb.packetsOut && lost == tcb.lostOut && again == tcb.retransOut;
}

/** True if the state is that of a connection with our FIN, or without, as it is. */
function isEndSound(tcb: Tcb): bool {
  const tail = tcb.sendTail;
  const hasFin = tcb.has(TcpFlag.FinSent) || (tail != 0 && TcpFrame.of(tail).is(FrameMark.Fin));
  const state = <u32>tcb.state;
  const isOpen = state == TcpState.Established || state == TcpState.CloseWait;
  return hasFin != isOpen && hasFin == tcb.has(TcpFlag.ShutSend);
}

function isOldest(tcb: Tcb, frame: TcpFrame): bool {
  if (tcb.state < <u8>TcpState.Established) return true;
  return !seqAfter(frame.seq, tcb.sndUna) && seqAfter(frame.endSeq, tcb.sndUna);
}

/** True if the frame is as one of the send queue has to be. */
function isQueued(index: u32, frame: TcpFrame, isSent: bool): bool {
  const fin: u32 = frame.is(FrameMark.Fin) ? 1 : 0;
  if (frame.endSeq - frame.seq != <u32>frame.payloadBytes + fin) return false;
  if (!frame.is(FrameMark.Kept) || frame.is(FrameMark.Found) || frame.socket != index) return false;
  if (frame.state == <u8>FrameState.Sending) return true;
  // The kernel has it: else that was not noted.
  return isSent && frame.state == <u8>FrameState.Transmit;
}

/** Payload in the queue of what is in order, which was walked. */
function queuedBytes(socket: Socket): u32 {
  let bytes: u32 = 0;
  for (let link = socket.receiveHead; link != 0; link = TcpFrame.of(link).next) {
    bytes += <u32>TcpFrame.of(link).payloadBytes;
  }
  return bytes;
}

/** The queue of what is in order was walked: adds up? And marks what came early. */
function isReceivedSound(index: u32): bool {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  const bytes = queuedBytes(socket);
  const fin: u32 = tcb.has(TcpFlag.PeerClosed) ? 1 : 0;
  const state = <u32>tcb.state;
  if (bytes != socket.readableBytes) return false;
  if (state >= <u32>TcpState.Established && tcb.copiedSeq + bytes + fin != tcb.rcvNxt) return false;
  let frames: u32 = 0;
  for (let link = tcb.oooHead; link != 0; link = TcpFrame.of(link).next) {
    if (link > header.frameCount || frames > header.frameCount) return false;
    const frame = TcpFrame.of(link);
    if (frame.state != <u8>FrameState.Queued || frame.socket != index) return false;
    if (frame.is(FrameMark.Found)) return false;
    frame.marks |= FrameMark.Found;
    socket.receiveBytes += changetype<FrameMeta>(changetype<usize>(frame)).chargedBytes;
    frames += 1;
  }
  return frames == tcb.oooFrames;
}

/** It ended before it was accepted: accept(2) gives it all the same, if there is a listener. */
function requeue(index: u32): void {
  const listener = listenerOf(Tcb.at(index));
  if (listener == 0) release(index);
  else acceptQueueAdd(listener, index);
}

/** Puts a sound connection back where packets, timers and its listener find it. */
function attach(index: u32): bool {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  if (tcb.has(TcpFlag.Embryo)) {
    const listener = listenerOf(tcb);
    if (listener == 0) return false;
    if (tcb.has(TcpFlag.InAcceptQueue)) acceptQueueAdd(listener, index);
    else Tcb.at(listener).synQueueCount += 1;
  }
  tcb.port = acquirePort(socket.localHi, socket.localLo, <u32>socket.localPortNet);
  if (tcb.port == 0) return false;
  insertConnection(index);
  if (tcb.state == <u8>TcpState.TimeWait) {
    header.timeWaits += 1;
    countTimeWait(tcb.port, 1);
  }
  const next = nextDeadline(tcb);
  if (next != NEVER) wheelCover(index, next);
  addPending(index);
  return true;
}

/** Ends a connection whose lists are not to be trusted: its frames are found by sweepMarks(). */
function end(index: u32): void {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  forgetSendQueue(index);
  // What a local peer handed over may not have been counted before it died.
  socket.readableBytes = queuedBytes(socket);
  tcb.oooHead = 0;
  tcb.oooTail = 0;
  tcb.oooFrames = 0;
  tcb.port = 0;
  unmark(index);
  enter(tcb, TcpState.Closed);
  RegionHeader.get().tcpAborts += 1;
  if (tcb.has(TcpFlag.Orphan | TcpFlag.Embryo)) release(index);
  else socket.error = ECONNRESET;
}

/** What was found for a connection that is over after all is nobody's. */
function unmark(index: u32): void {
  const header = RegionHeader.get();
  for (let frame: u32 = 0; frame < header.freshFrames; frame++) {
    const meta = TcpFrame.at(frame);
    if (meta.socket == index) meta.marks &= ~FrameMark.Found;
  }
}

/** Frames that belong to no queue: back to the pool, or to come back when they were sent. */
export function sweepMarks(): void {
  const header = RegionHeader.get();
  for (let index: u32 = 0; index < header.freshFrames; index++) {
    const meta = TcpFrame.at(index);
    const marks = meta.marks;
    if (meta.is(FrameMark.Found)) {
      meta.marks = marks & ~FrameMark.Found;
      continue;
    }
    if (meta.state == <u8>FrameState.Sending) meta.state = <u8>FrameState.Held;
    meta.marks = 0;
  }
}
