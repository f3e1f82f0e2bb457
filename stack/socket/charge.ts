// Send-buffer accounting: a frame that is being sent is charged to its socket until the kernel
// gives it back (SO_SNDBUF, socket(7)).

import { DATAGRAM_OVERHEAD_BYTES, MAX_SOCKETS } from "../config";
import { FrameMeta, FrameState } from "../region/frames";
import { notifySocket } from "../wait/waiter";
import { Socket } from "./socket";
import { EVENTS_OUT } from "../wait/events";

/** Holds a frame, and notes in it who sends how much. The sequence tells a reused slot apart. */
export function markSender(meta: FrameMeta, socket: Socket, index: u32, payloadBytes: u32): void {
  meta.state = <u8>FrameState.Held;
  meta.socket = index;
  meta.sourceLo = socket.sequence;
  meta.payloadBytes = <u16>payloadBytes;
}

/** Holds a frame that the stack sends on its own account. */
export function markUncharged(meta: FrameMeta): void {
  meta.state = <u8>FrameState.Held;
  meta.socket = 0;
  // No socket's sequence.
  meta.sourceLo = 0xffffffffffffffff;
  meta.payloadBytes = 0;
}

/** Charges a frame that markSender marked. */
export function chargeSend(socket: Socket, payloadBytes: u32): void {
  socket.sendBytes += payloadBytes + DATAGRAM_OVERHEAD_BYTES;
}

export function releaseSendCharge(meta: FrameMeta): void {
  const index = meta.socket;
  if (index >= MAX_SOCKETS) return;
  const socket = Socket.at(index);
  // A slot that is used again has another; what a free one is charged means nothing.
  if (socket.sequence != meta.sourceLo) return;
  const wasFull = socket.sendBytes >= socket.sendBufferBytes;
  socket.sendBytes -= min<u32>(meta.chargedBytes, socket.sendBytes);
  if (wasFull) notifySocket(index, EVENTS_OUT);
}
