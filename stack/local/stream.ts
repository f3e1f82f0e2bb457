// A connection between two sockets of the region: frames of the send queue become frames of the
// peer's receive queue, without headers, acknowledgments or timers, as if they had been sent and
// acknowledged in that moment. What is out of the ordinary (urgent data, a FIN, a peer that receives
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
import { announce } from "../tcp/state";
import { Tcb, TcpFlag, TcpState } from "../tcp/tcb";
import { EVENTS_IN } from "../wait/events";

/** The other end, if it is in the region and both know each other; else 0. */
function peerOf(index: u32, tcb: Tcb): u32 {
  const known = tcb.localPeer;
  if (known != 0) return known;
  const socket = Socket.at(index);
  const portsNet = rotl<u32>(socket.portsNet, 16);
  const peer = findConnection(socket.remoteLo, socket.localLo, portsNet);
  if (peer == 0 || peer == index || !isSynchronised(Tcb.at(peer))) return 0;
  tcb.localPeer = peer;
  Tcb.at(peer).localPeer = index;
  return peer;
}

function isSynchronised(tcb: Tcb): bool {
  return tcb.state >= <u8>TcpState.Established && tcb.state != <u8>TcpState.TimeWait;
}

/** The two ends know each other no longer: one of them is over. */
export function partLocal(tcb: Tcb): void {
  const peer = tcb.localPeer;
  if (peer == 0) return;
  Tcb.at(peer).localPeer = 0;
  tcb.localPeer = 0;
}

/** True if the next data goes straight to the peer: nothing is on its way by segments. */
function isStraight(tcb: Tcb, peer: Tcb): bool {
  if (tcb.packetsOut != 0 || tcb.has(TcpFlag.UrgentSend)) return false;
  if (peer.rcvNxt != tcb.sndNxt || peer.oooHead != 0) return false;
  if (peer.has(TcpFlag.PeerClosed | TcpFlag.ShutReceive | TcpFlag.Orphan)) return false;
  const state = <u32>peer.state;
  return state == TcpState.Established || state == TcpState.FinWait1 || state == TcpState.FinWait2;
}

/** How much the peer takes before its program has read something. */
function limitOf(peer: Tcb): u32 {
  if (peer.has(TcpFlag.ReceiveBufferLocked)) return peer.rcvBuf;
  return max<u32>(peer.rcvBuf, LOCAL_BUFFER_BYTES);
}

/**
 * Hands over what may be sent now. `holds`: a last frame that is not full waits (TCP_CORK,
 * MSG_MORE). False: segments have to be used for the first frame of what is left. True: what is
 * left waits for the peer's program, or for more.
 */
export function passOn(index: u32, tcb: Tcb, holds: bool, now: u64): bool {
  const peerIndex = peerOf(index, tcb);
  if (peerIndex == 0) return false;
  const peer = Tcb.at(peerIndex);
  if (!isStraight(tcb, peer)) return false;
  const socket = Socket.at(index);
  const other = Socket.at(peerIndex);
  const limit = limitOf(peer);
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
    advance(tcb, peer, passed);
    tcb.lastDataSentNanos = now;
    tcb.backoff = 0;
    announce(peerIndex, EVENTS_IN);
    wakeWriters(index, wasWriteable);
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
  frame.next = 0;
  frame.marks = 0;
  frame.socket = peerIndex;
  frame.state = <u8>FrameState.Queued;
  const tail = other.receiveTail;
  if (tail == 0) other.receiveHead = link;
  else TcpFrame.of(tail).next = link;
  other.receiveTail = link;
  other.receiveCount += 1;
  other.receiveBytes += charged;
  tcb.dataSegmentsOut += 1;
  return bytes;
}

/** As if the bytes had been sent, received and acknowledged. */
function advance(tcb: Tcb, peer: Tcb, bytes: u32): void {
  tcb.sndNxt += bytes;
  tcb.sndUna = tcb.sndNxt;
  tcb.sndWl2 = tcb.sndNxt;
  tcb.bytesSent += <u64>bytes;
  tcb.bytesAcked += <u64>bytes;
  peer.rcvNxt += bytes;
  peer.rcvAdv += bytes;
  peer.lastAckSent = peer.rcvNxt;
  peer.sndWl1 = peer.rcvNxt;
  peer.bytesReceived += <u64>bytes;
  RegionHeader.get().localStreamBytes += <u64>bytes;
  const at = changetype<usize>(peer) + offsetof<Tcb>("readableBytes");
  storeRelease32(at, peer.readableBytes + bytes);
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
  if (peer.sendNext != 0 && socket.receiveBytes <= limitOf(tcb) >> 1) output(peerIndex, false, now);
  return true;
}
