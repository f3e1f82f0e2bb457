// Send-buffer accounting: a frame that is being sent is charged to its socket until the kernel
// gives it back (SO_SNDBUF, socket(7)).

import { FrameMeta } from "../region/frames";
import { notifySocket } from "../wait/waiter";
import { isSocket, Socket } from "./socket";

/** Charges a Held frame to a socket. The socket's sequence is kept, since slots are reused. */
export function chargeSend(meta: FrameMeta, index: u32, bytes: u32): void {
  const socket = Socket.at(index);
  meta.socket = index;
  meta.sourceLo = socket.sequence;
  meta.chargedBytes = bytes;
  socket.sendBytes += bytes;
}

export function releaseSendCharge(meta: FrameMeta): void {
  const index = meta.socket;
  meta.socket = 0;
  if (!isSocket(index)) return;
  const socket = Socket.at(index);
  if (socket.sequence != meta.sourceLo) return;
  const wasFull = socket.sendBytes >= socket.sendBufferBytes;
  socket.sendBytes -= min<u32>(meta.chargedBytes, socket.sendBytes);
  if (wasFull) notifySocket(index);
}
