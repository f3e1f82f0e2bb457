// What an accepted connection takes over from its listener (tcp(7), socket(7)).

import { Socket, SocketFlag } from "../socket/socket";
import { Tcb, TcpFlag } from "./tcb";

const INHERITED: u32 =
  TcpFlag.NoDelay |
  TcpFlag.Cork |
  TcpFlag.OobInline |
  TcpFlag.KeepAlive |
  TcpFlag.ReceiveBufferLocked |
  TcpFlag.SendBufferLocked;

export function inheritOptions(listener: u32, index: u32): void {
  const from = Tcb.at(listener);
  const tcb = Tcb.at(index);
  const parent = Socket.at(listener);
  const socket = Socket.at(index);
  tcb.flags |= from.flags & INHERITED;
  tcb.userMss = from.userMss;
  tcb.keepIdleSeconds = from.keepIdleSeconds;
  tcb.keepIntervalSeconds = from.keepIntervalSeconds;
  tcb.keepCount = from.keepCount;
  tcb.userTimeoutMillis = from.userTimeoutMillis;
  tcb.linger2Seconds = from.linger2Seconds;
  tcb.lingerSeconds = from.lingerSeconds;
  tcb.receiveLowat = from.receiveLowat;
  tcb.notSentLowat = from.notSentLowat;
  tcb.windowClamp = from.windowClamp;
  tcb.congestionControl = from.congestionControl;
  tcb.rcvBuf = from.rcvBuf;
  socket.receiveBufferBytes = parent.receiveBufferBytes;
  socket.sendBufferBytes = parent.sendBufferBytes;
  socket.flags |= parent.flags & (SocketFlag.ReuseAddress | SocketFlag.ReusePort);
  socket.ttl = parent.ttl;
  socket.tos = parent.tos;
  socket.receiveTimeoutNanos = parent.receiveTimeoutNanos;
  socket.sendTimeoutNanos = parent.sendTimeoutNanos;
}
