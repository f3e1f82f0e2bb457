// What a TCP socket is ready for: Linux's tcp_poll. Reads single words: needs no lock.

import { loadAcquire32 } from "../host";
import { Readiness } from "../socket/readiness";
import { Socket, SocketState } from "../socket/socket";
import { isWriteReady } from "./calls";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { hasUrgentByte, isAtUrgent } from "./urgent";

/** EPOLL bits of the socket. */
export function tcpReadiness(index: u32): u32 {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  const flags = loadAcquire32(changetype<usize>(tcb) + offsetof<Tcb>("flags"));
  const state = <u32>tcb.state;
  if (state == TcpState.Listen) {
    const waiting = loadAcquire32(changetype<usize>(tcb) + offsetof<Tcb>("acceptCount"));
    return waiting != 0 ? Readiness.In : 0;
  }
  const isClosed = state == TcpState.Closed || state == TcpState.TimeWait;
  // Linux's RCV_SHUTDOWN and SEND_SHUTDOWN; a socket that never was connected has neither.
  const isReceiveShut = isClosed || (flags & (TcpFlag.PeerClosed | TcpFlag.ShutReceive)) != 0;
  const isSendShut = isClosed || (flags & TcpFlag.ShutSend) != 0;
  let bits: u32 = 0;
  if (loadAcquire32(changetype<usize>(socket) + offsetof<Socket>("error")) != 0) {
    bits |= Readiness.Error;
  }
  if ((isReceiveShut && isSendShut) || isClosed) bits |= Readiness.HangUp;
  if (isReceiveShut && (!isClosed || socket.state != <u8>SocketState.Created)) {
    bits |= Readiness.In | Readiness.ReadHangUp;
  }
  if (state == TcpState.SynSent || state == TcpState.SynReceived) return bits;
  const readable = loadAcquire32(changetype<usize>(socket) + offsetof<Socket>("readableBytes"));
  const mark: u32 = isAtUrgent(tcb) && (flags & TcpFlag.OobInline) == 0 ? 1 : 0;
  if (readable > mark && isEnough(socket, tcb, readable - mark)) bits |= Readiness.In;
  if (isSendShut || isWriteReady(index)) bits |= Readiness.Out;
  if (hasUrgentByte(tcb)) bits |= Readiness.Urgent;
  return bits;
}

/**
 * SO_RCVLOWAT, socket(7): so many bytes, or as many as there can be. As in Linux's
 * tcp_epollin_ready, a full buffer and a closed window mean that no more will come.
 */
function isEnough(socket: Socket, tcb: Tcb, readable: u32): bool {
  if (readable >= tcb.receiveLowat) return true;
  const window = <i32>(tcb.rcvAdv - tcb.rcvNxt);
  return window <= <i32>tcb.rcvMss || socket.receiveBytes > tcb.rcvBuf;
}
