// Taking received data out of a connection's queue.

import { pull, syncReceived } from "../local/stream";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { output } from "./output";
import { TcpFrame } from "./frame";
import { takeBytes } from "./receive-queue";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { isAtUrgent, passUrgent } from "./urgent";
import { selectWindow, tuneReceiveBuffer } from "./window";

/** See tcpChunk in index.ts. */
export function chunk(index: u32, skip: u32): u32 {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  header.chunkBytes = 0;
  header.chunkEndsAtMark = 0;
  if (skip == 0 && isAtUrgent(tcb) && !tcb.has(TcpFlag.OobInline) && socket.readableBytes != 0) {
    // Reading goes on behind the urgent byte, which is not in line.
    takeBytes(socket, tcb, 1);
    passUrgent(tcb);
  }
  let left = skip;
  let link = socket.receiveHead;
  while (link != 0) {
    const frame = TcpFrame.of(link);
    const here = <u32>frame.payloadBytes;
    if (left < here) return bounded(tcb, frame, left);
    left -= here;
    link = frame.next;
  }
  return 0;
}

/** The bytes of a frame behind `skip`, up to the urgent mark if that lies among them. */
function bounded(tcb: Tcb, frame: TcpFrame, skip: u32): u32 {
  const header = RegionHeader.get();
  let bytes = <u32>frame.payloadBytes - skip;
  if (tcb.has(TcpFlag.UrgentValid)) {
    const before = tcb.rcvUrg - (frame.seq + skip);
    const isAtStart = before == 0 && tcb.rcvUrg == tcb.copiedSeq;
    if (before <= bytes && !isAtStart) {
      header.chunkEndsAtMark = 1;
      bytes = before;
    }
  }
  header.chunkBytes = bytes;
  return bytes == 0 ? 0 : frame.payloadOffset + skip;
}

/** The program has copied `bytes`: the window may open (RFC 9293 3.8.6.2.2). */
export function consume(index: u32, bytes: u32, now: u64): void {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  if (tcb.localPeer != 0) syncReceived(index, tcb);
  const taken = takeBytes(socket, tcb, bytes);
  if (tcb.has(TcpFlag.UrgentValid)) passUrgent(tcb);
  tuneReceiveBuffer(tcb, now);
  const state = <u32>tcb.state;
  if (taken == 0 || state < <u32>TcpState.Established || state == TcpState.TimeWait) return;
  if (tcb.has(TcpFlag.ShutReceive | TcpFlag.PeerClosed)) return;
  if (tcb.localPeer != 0 && pull(socket, tcb, now)) return;
  if (!isUpdateDue(socket, tcb)) return;
  tcb.flags |= TcpFlag.AckNow;
  output(index, false, now);
}

/** As Linux's tcp_cleanup_rbuf: a delayed acknowledgment of much, or a window twice as large. */
function isUpdateDue(socket: Socket, tcb: Tcb): bool {
  if (tcb.delackAt != 0 && tcb.rcvNxt - tcb.lastAckSent > tcb.rcvMss) return true;
  const offered = tcb.rcvAdv - tcb.rcvNxt;
  const current: u32 = <i32>offered < 0 ? 0 : offered;
  // No window is larger than rcvSsthresh by more than the scale's rounding.
  if (current * 2 > tcb.windowClamp || current > tcb.rcvSsthresh) return false;
  const wanted = selectWindow(socket, tcb);
  return wanted != 0 && wanted >= current * 2;
}
