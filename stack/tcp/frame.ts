// Records of frames in a connection's queues. They are FrameMeta records, seen with TCP's names for
// what a datagram uses otherwise.

import { TCP_HEADROOM_BYTES } from "../config";
import { FRAME_META_BYTES } from "../layout";
import {
  availableFrames,
  FrameMark,
  FrameMeta,
  FrameState,
  frameOffset,
  giveFrame,
  NO_FRAME,
  takeFrame,
} from "../region/frames";
import { barrier } from "../host";
import { takeSpare } from "../local/spare";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";

/** No socket's sequence: socket/charge.ts has nothing to do with these frames. */
const NOBODY: u64 = 0xffffffffffffffff;

/** A frame of a send queue, a receive queue, or of the queue of what came out of order. */
@final
@unmanaged
export class TcpFrame {
  /** When it was sent last, or arrived. */
  nanos: u64;
  /** Sequence number of the first payload byte. */
  seq: u32;
  /** Behind the last byte, and the FIN. */
  endSeq: u32;
  nobody: u64;
  reserved0: u64;
  reserved1: u64;
  /** Next in the queue, frame index + 1. */
  next: u32;
  socket: u32;
  payloadOffset: u32;
  payloadBytes: u16;
  reserved2: u16;
  interfaceSlot: u8;
  ttl: u8;
  tos: u8;
  /** A FrameState. */
  state: u8;
  /** FrameMark bits. */
  marks: u32;

  static at(index: u32): TcpFrame {
    return changetype<TcpFrame>(
      <usize>(RegionHeader.get().frameMetaOffset + index * FRAME_META_BYTES),
    );
  }

  /** The record of a link: frame index + 1. Precondition: not 0. */
  static of(link: u32): TcpFrame {
    return TcpFrame.at(link - 1);
  }

  is(marks: u32): bool {
    return (this.marks & marks) != 0;
  }

  /** Takes bytes off the front of the payload. In two stores: settle() tells which were made. */
  cutFront(bytes: u32): void {
    const at = changetype<usize>(this) + offsetof<TcpFrame>("payloadOffset");
    // The offset in the low half, the length above it.
    store<u64>(at, load<u64>(at) + <u64>bytes - ((<u64>bytes) << 32));
    barrier();
    this.seq += bytes;
  }

  /**
   * Completes, or undoes, a change that a death has cut short: cutFront(), payload that was added
   * (the length first, then endSeq) or cut off behind (endSeq first), a FIN that was added (first
   * the mark).
   */
  settle(): void {
    const fin: i32 = this.is(FrameMark.Fin) ? 1 : 0;
    const length = <i32>(this.endSeq - this.seq) - fin;
    const bytes = <i32>this.payloadBytes;
    if (length > bytes) this.seq = this.endSeq - <u32>(fin + bytes);
    else if (length < bytes && fin != 0) this.endSeq = this.seq + <u32>(bytes + 1);
    else if (length < bytes) this.payloadBytes = <u16>max<i32>(length, 0);
  }
}

/** An empty frame for the connection's send queue, as a link; 0 if the pool has none to spare. */
export function newSendFrame(index: u32, seq: u32, reserve: u32): u32 {
  const spare = takeSpare(Socket.at(index));
  if (spare == 0 && availableFrames() <= reserve) return 0;
  const frame = spare != 0 ? spare - 1 : takeFrame();
  if (frame == NO_FRAME) return 0;
  const meta = TcpFrame.at(frame);
  meta.nanos = 0;
  meta.seq = seq;
  meta.endSeq = seq;
  meta.nobody = NOBODY;
  meta.next = 0;
  meta.socket = index;
  meta.payloadOffset = frameOffset(frame) + TCP_HEADROOM_BYTES;
  meta.payloadBytes = 0;
  meta.marks = FrameMark.Kept;
  meta.state = <u8>FrameState.Sending;
  return frame + 1;
}

/** A frame for a segment without payload that is sent once and not kept; 0 if there is none. */
export function newControlFrame(): u32 {
  const frame = takeFrame();
  if (frame == NO_FRAME) return 0;
  const meta = TcpFrame.at(frame);
  meta.nobody = NOBODY;
  meta.socket = 0;
  meta.payloadOffset = frameOffset(frame) + TCP_HEADROOM_BYTES;
  meta.payloadBytes = 0;
  meta.marks = 0;
  meta.state = <u8>FrameState.Held;
  return frame + 1;
}

/** Lets go of a frame: one that is with the kernel comes back to the pool when it was sent. */
export function dropFrame(link: u32): void {
  const meta = TcpFrame.of(link);
  meta.marks = 0;
  if (meta.state != <u8>FrameState.Transmit) giveFrame(link - 1);
}

export function checkTcpFrameLayout(): void {
  if (offsetof<TcpFrame>() != FRAME_META_BYTES) ERROR("TcpFrame size");
  if (offsetof<TcpFrame>("nobody") != offsetof<FrameMeta>("sourceLo")) ERROR("TcpFrame.nobody");
  if (offsetof<TcpFrame>("next") != offsetof<FrameMeta>("next")) ERROR("TcpFrame.next");
  if (offsetof<TcpFrame>("payloadOffset") != offsetof<FrameMeta>("payloadOffset")) {
    ERROR("TcpFrame.payloadOffset");
  }
  if (offsetof<TcpFrame>("state") != offsetof<FrameMeta>("state")) ERROR("TcpFrame.state");
  if (offsetof<TcpFrame>("marks") != offsetof<FrameMeta>("marks")) ERROR("TcpFrame.marks");
}
