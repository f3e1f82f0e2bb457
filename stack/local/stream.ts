// A connection between two sockets of the region: frames of the send queue become frames of the
// peer's receive queue, without headers, acknowledgments or timers, as if they had been sent and
// acknowledged in that moment. What is out of the ordinary (urgent data, a FIN, a peer that reads
// no more) goes by segments, whose machinery knows what to do: local/segments.ts.

import { DATAGRAM_OVERHEAD_BYTES, LOCAL_BUFFER_BYTES } from "../config";
import { storeRelease32 } from "../host";
import { FrameMark, FrameState } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { findConnection } from "../tcp/connections";
import { TcpFrame } from "../tcp/frame";
import { output } from "../tcp/output";
import { isWriteable, wakeWriters } from "../tcp/send-queue";
import { extend } from "../tcp/receive";
import { Tcb, TcpFlag, TcpState } from "../tcp/tcb";
import { EVENTS_IN } from "../wait/events";
import { notifySocket } from "../wait/waiter";
import { keepSpare } from "./spare";

/** An end of which any is set takes no data without a look at it. */
const CLOSED_TO_DATA: u32 = TcpFlag.PeerClosed | TcpFlag.ShutReceive | TcpFlag.Orphan;

/** The other end, if it is in the region and both know each other; else 0. */
function peerOf(index: u32, tcb: Tcb): u32 {
  const known = tcb.localPeer;
  if (known != 0) return known;
  const socket = Socket.at(index);
  const portsNet = rotl<u32>(socket.portsNet, 16);
  const peer = findConnection(socket.remoteLo, socket.localLo, portsNet);
  if (peer == 0 || peer == index || !isSynchronised(Tcb.at(peer))) return 0;
  meet(index, tcb, peer);
  meet(peer, Tcb.at(peer), index);
  return peer;
}

function meet(index: u32, tcb: Tcb, peer: u32): void {
  tcb.localPeer = peer;
  Socket.at(index).localLimit = tcb.has(CLOSED_TO_DATA) ? 0 : limitOf(tcb);
}

function isSynchronised(tcb: Tcb): bool {
  return tcb.state >= <u8>TcpState.Established && tcb.state != <u8>TcpState.TimeWait;
}

/** The two ends know each other no longer: one of them is over. */
export function partLocal(index: u32, tcb: Tcb): void {
  const peerIndex = tcb.localPeer;
  if (peerIndex == 0) return;
  const peer = Tcb.at(peerIndex);
  syncReceived(index, tcb);
  syncReceived(peerIndex, peer);
  peer.localPeer = 0;
  tcb.localPeer = 0;
  Socket.at(peerIndex).localLimit = 0;
  Socket.at(index).localLimit = 0;
}

/** The program receives no more: what is still sent to it comes by segments, and is answered so. */
export function stopTaking(index: u32): void {
  Socket.at(index).localLimit = 0;
}

/** SO_RCVBUF was set. */
export function followLimit(index: u32, tcb: Tcb): void {
  const socket = Socket.at(index);
  if (socket.localLimit != 0) socket.localLimit = limitOf(tcb);
}

/**
 * The sender of data that needs no segments leaves this end's sequence numbers alone, since they
 * lie in another CPU's cache: they follow from what is in the queue, here, before anybody looks.
 */
export function syncReceived(index: u32, tcb: Tcb): void {
  // Behind a FIN nothing comes, and the FIN itself is a segment.
  if (tcb.has(TcpFlag.PeerClosed)) return;
  syncTo(tcb, tcb.copiedSeq + Socket.at(index).readableBytes);
}

/**
 * The same after a death, by the queue's last frame: whoever was just reading may not have counted
 * what it took. With an empty queue there is nothing that was not noted before it was read.
 */
export function syncByQueue(index: u32, tcb: Tcb): void {
  const tail = Socket.at(index).receiveTail;
  if (tcb.has(TcpFlag.PeerClosed) || tail == 0) return;
  if (tail > RegionHeader.get().frameCount) return;
  const frame = TcpFrame.of(tail);
  if (frame.state != <u8>FrameState.Queued || frame.socket != index) return;
  syncTo(tcb, frame.seq + <u32>frame.payloadBytes);
}

function syncTo(tcb: Tcb, next: u32): void {
  const bytes = next - tcb.rcvNxt;
  if (bytes == 0) return;
  tcb.rcvNxt = next;
  tcb.rcvAdv += bytes;
  tcb.lastAckSent = next;
  tcb.sndWl1 = next;
  tcb.bytesReceived += <u64>bytes;
}

/** True if all that was sent before has arrived, so that the next data may go without a segment. */
function isStraight(tcb: Tcb): bool {
  return tcb.packetsOut == 0 && !tcb.has(TcpFlag.UrgentSend);
}

/** How much is taken before the program has read something. */
function limitOf(tcb: Tcb): u32 {
  const buffer = max<u32>(tcb.rcvBuf, 1);
  return tcb.has(TcpFlag.ReceiveBufferLocked) ? buffer : max<u32>(buffer, LOCAL_BUFFER_BYTES);
}

/**
 * Hands over what may be sent now. `holds`: a last frame that is not full waits (TCP_CORK,
 * MSG_MORE). False: segments have to be used for the first frame of what is left. True: what is
 * left waits for the peer's program, or for more.
 */
export function passOn(index: u32, tcb: Tcb, holds: bool, now: u64): bool {
  const peerIndex = peerOf(index, tcb);
  if (peerIndex == 0 || !isStraight(tcb)) return false;
  const other = Socket.at(peerIndex);
  const limit = other.localLimit;
  if (limit == 0) return false;
  const socket = Socket.at(index);
  const wasWriteable = isWriteable(socket);
  let passed: u32 = 0;
  let isFin = false;
  while (tcb.sendNext != 0 && other.receiveBytes < limit) {
    const link = tcb.sendNext;
    const frame = TcpFrame.of(link);
    if (frame.is(FrameMark.Fin)) {
      isFin = true;
      break;
    }
    if (holds && frame.next == 0) break;
    passed += hand(socket, tcb, link, frame, other, peerIndex);
  }
  if (passed != 0) {
    advance(tcb, other, passed);
    tcb.lastDataSentNanos = now;
    notifySocket(peerIndex, EVENTS_IN);
    if (!wasWriteable) wakeWriters(index, false);
  }
  return !isFin;
}

/** Moves the first frame of the send queue to the end of the peer's. Its bytes. */
function hand(
  socket: Socket,
  tcb: Tcb,
  link: u32,
  frame: TcpFrame,
  other: Socket,
  peerIndex: u32,
): u32 {
  const bytes = <u32>frame.payloadBytes;
  const next = frame.next;
  tcb.sendNext = next;
  tcb.sendHead = next;
  if (next == 0) tcb.sendTail = 0;
  tcb.sendFrames -= 1;
  tcb.sendQueuedBytes -= bytes;
  const charged = bytes + DATAGRAM_OVERHEAD_BYTES;
  socket.sendBytes -= min<u32>(charged, socket.sendBytes);
  tcb.dataSegmentsOut += 1;
  frame.marks = 0;
  const tail = other.receiveTail;
  if (tail != 0 && extend(TcpFrame.of(tail), frame.payloadOffset, bytes)) {
    other.receiveBytes += bytes;
    keepSpare(socket, link - 1);
    return bytes;
  }
  frame.next = 0;
  frame.socket = peerIndex;
  frame.state = <u8>FrameState.Queued;
  if (tail == 0) other.receiveHead = link;
  else TcpFrame.of(tail).next = link;
  other.receiveTail = link;
  other.receiveCount += 1;
  other.receiveBytes += charged;
  return bytes;
}

/** As if the bytes had been sent, received and acknowledged. */
function advance(tcb: Tcb, other: Socket, bytes: u32): void {
  const next = tcb.sndNxt + bytes;
  tcb.sndNxt = next;
  tcb.sndUna = next;
  tcb.sndWl2 = next;
  tcb.backoff = 0;
  tcb.bytesSent += <u64>bytes;
  tcb.bytesAcked += <u64>bytes;
  RegionHeader.get().localStreamBytes += <u64>bytes;
  const at = changetype<usize>(other) + offsetof<Socket>("readableBytes");
  storeRelease32(at, other.readableBytes + bytes);
}

/**
 * The program has read: what its peer could not hand over yet comes now. True if there was nothing
 * else to tell the peer.
 */
export function pull(socket: Socket, tcb: Tcb, now: u64): bool {
  const peerIndex = tcb.localPeer;
  if (peerIndex == 0) return false;
  const peer = Tcb.at(peerIndex);
  if (peer.packetsOut != 0 || tcb.delackAt != 0) return false;
  if (peer.sendNext != 0 && socket.receiveBytes <= socket.localLimit >> 1) {
    output(peerIndex, false, now);
  }
  return true;
}
