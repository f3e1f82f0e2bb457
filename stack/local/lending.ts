// Large transfers on a connection within this host: programs copy into frames, and out of them,
// without the lock, so that both ends copy at the same time. Frames that a program has in its hands
// are Lent: they are in no queue, and whoever has them says so by its client slot, so that they are
// taken back when it dies.

import { LENT_BYTES_MAX, LENT_BYTES_MIN, SPARED_FRAMES, TCP_HEADROOM_BYTES } from "../config";
import { availableFrames, FrameMark, FrameMeta, FrameState, frameOffset } from "../region/frames";
import { giveKnownFrame, takeFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { sendError } from "../tcp/calls";
import { TcpFrame } from "../tcp/frame";
import { detachBytes } from "../tcp/receive-queue";
import { frameRoom } from "../tcp/route";
import { appendFilled } from "../tcp/send-queue";
import { Tcb, TcpFlag } from "../tcp/tcb";
import { pull, syncReceived } from "./stream";

/**
 * Frames for up to `wanted` bytes, chained through FrameMeta.next, as a link to the first; 0 if the
 * ordinary way has to be used. header.chunkBytes: how many bytes they are for.
 */
export function lend(index: u32, wanted: u32, client: u32): u32 {
  const tcb = Tcb.at(index);
  const socket = Socket.at(index);
  if (wanted < LENT_BYTES_MIN || tcb.localPeer == 0 || sendError(tcb) != 0) return 0;
  if (socket.sendBytes >= socket.sendBufferBytes) return 0;
  const room = frameRoom();
  const bytes = min<u32>(wanted, LENT_BYTES_MAX);
  const count = (bytes + room - 1) / room;
  if (availableFrames() < count + SPARED_FRAMES) return 0;
  let first: u32 = 0;
  for (let n: u32 = 0; n < count; n++) {
    const frame = takeFrame();
    const meta = FrameMeta.at(frame);
    meta.state = <u8>FrameState.Lent;
    meta.socket = client;
    meta.marks = 0;
    meta.payloadOffset = frameOffset(frame) + TCP_HEADROOM_BYTES;
    meta.next = first;
    first = frame + 1;
  }
  RegionHeader.get().chunkBytes = bytes;
  return first;
}

function isLent(link: u32, client: u32): bool {
  if (link == 0 || link > RegionHeader.get().frameCount) return false;
  const meta = FrameMeta.at(link - 1);
  return meta.state == <u8>FrameState.Lent && meta.socket == client;
}

/** Lent frames that nobody wants any more go back to the pool. */
export function takeBack(first: u32, client: u32): void {
  let link = first;
  while (isLent(link, client)) {
    const meta = FrameMeta.at(link - 1);
    const next = meta.next;
    giveKnownFrame(link - 1, meta);
    link = next;
  }
}

/** Puts lent frames with `bytes` in them behind what is to be sent: 0, or -errno. */
export function handIn(index: u32, first: u32, bytes: u32, client: u32): i32 {
  const tcb = Tcb.at(index);
  const error = sendError(tcb);
  if (error != 0) {
    takeBack(first, client);
    return error;
  }
  const room = frameRoom();
  let left = bytes;
  let link = first;
  while (left != 0 && isLent(link, client)) {
    const here = min<u32>(left, room);
    const frame = TcpFrame.of(link);
    const next = frame.next;
    frame.payloadOffset = frameOffset(link - 1) + TCP_HEADROOM_BYTES;
    frame.payloadBytes = <u16>here;
    frame.marks = FrameMark.Kept;
    frame.state = <u8>FrameState.Sending;
    appendFilled(index, link, here);
    left -= here;
    link = next;
  }
  takeBack(link, client);
  return 0;
}

/**
 * Whole frames of received data, at most `wanted` bytes, which count as read; 0 if the ordinary way
 * has to be used. header.chunkBytes: how many bytes they have.
 */
export function takeOut(index: u32, wanted: u32, client: u32, now: u64): u32 {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  const bytes = min<u32>(wanted, LENT_BYTES_MAX);
  if (tcb.localPeer == 0 || bytes < LENT_BYTES_MIN || socket.readableBytes < LENT_BYTES_MIN) {
    return 0;
  }
  if (tcb.has(TcpFlag.UrgentValid)) return 0;
  syncReceived(index, tcb);
  const first = socket.receiveHead;
  const taken = detachBytes(socket, tcb, bytes, client);
  if (taken == 0) return 0;
  RegionHeader.get().chunkBytes = taken;
  pull(socket, tcb, now);
  return first;
}

/** A program is gone: what it had in its hands goes back to the pool. */
export function takeBackAll(client: u32): void {
  const high = RegionHeader.get().freshFrames;
  for (let frame: u32 = 0; frame < high; frame++) {
    const meta = FrameMeta.at(frame);
    if (meta.state == <u8>FrameState.Lent && meta.socket == client) giveKnownFrame(frame, meta);
  }
}
