import { loadAcquire32 } from "../host";
import { tcpReadiness } from "../tcp/readiness";
import { PROTOCOL_TCP } from "../wire/tcp";
import { isSocket, Socket, SocketState } from "./socket";

/** Bits as in epoll(7). */
export const enum Readiness {
  In = 1,
  Urgent = 2,
  Out = 4,
  Error = 8,
  HangUp = 16,
  ReadHangUp = 8192,
}

/** What the stack's half of a socket is ready for. Reads single words: needs no lock. */
export function readinessOf(index: u32): u32 {
  if (!isSocket(index)) return 0;
  const socket = Socket.at(index);
  if (<u32>socket.protocol == PROTOCOL_TCP) return tcpReadiness(index);
  const at = changetype<usize>(socket);
  let bits: u32 = 0;
  if (loadAcquire32(at + offsetof<Socket>("receiveCount")) != 0) bits |= Readiness.In;
  if (loadAcquire32(at + offsetof<Socket>("error")) != 0) bits |= Readiness.Error | Readiness.In;
  const isKernels = socket.state == <u8>SocketState.Kernel;
  const sendBytes = loadAcquire32(at + offsetof<Socket>("sendBytes"));
  if (!isKernels && sendBytes < socket.sendBufferBytes) bits |= Readiness.Out;
  return bits;
}

/** The pending error, which is cleared; 0 if there is none. Needs the lock. */
export function takeError(index: u32): i32 {
  const socket = Socket.at(index);
  const error = socket.error;
  if (error != 0) socket.error = 0;
  return <i32>error;
}
