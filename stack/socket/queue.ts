// A socket's receive queue: frames linked through their records, in order of arrival.

import { DATAGRAM_OVERHEAD_BYTES, LOCAL_INTERFACE } from "../config";
import { storeRelease32 } from "../host";
import { keepSpare } from "../local/spare";
import { FrameMeta, FrameState, giveFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { notifySocket } from "../wait/waiter";
import { Socket } from "./socket";
import { EVENTS_IN } from "../wait/events";

function publishCount(socket: Socket, count: u32): void {
  storeRelease32(changetype<usize>(socket) + offsetof<Socket>("receiveCount"), count);
}

/**
 * Appends a frame whose record is filled in, and wakes who waits for it. The state is written
 * first: a frame that was not linked when its owner died is found by it (region/recover.ts).
 */
export function enqueue(
  socket: Socket,
  index: u32,
  meta: FrameMeta,
  frame: u32,
  payloadBytes: u32,
): void {
  meta.socket = index;
  meta.next = 0;
  meta.state = <u8>FrameState.Queued;
  const tail = socket.receiveTail;
  if (tail == 0) socket.receiveHead = frame + 1;
  else FrameMeta.at(tail - 1).next = frame + 1;
  socket.receiveTail = frame + 1;
  socket.receiveBytes += payloadBytes + DATAGRAM_OVERHEAD_BYTES;
  socket.arrivals += 1;
  publishCount(socket, socket.receiveCount + 1);
  notifySocket(index, EVENTS_IN);
}

/** Takes the oldest frame off the queue and frees it. */
export function dequeue(index: u32): void {
  const socket = Socket.at(index);
  const at = socket.receiveHead;
  if (at == 0 || at > RegionHeader.get().frameCount) return;
  const meta = FrameMeta.at(at - 1);
  socket.receiveHead = meta.next;
  if (meta.next == 0) socket.receiveTail = 0;
  socket.receiveBytes -= min<u32>(meta.chargedBytes, socket.receiveBytes);
  publishCount(socket, socket.receiveCount - 1);
  if (<u32>meta.interfaceSlot == LOCAL_INTERFACE) keepSpare(socket, at - 1);
  else giveFrame(at - 1);
}
