// The frame pool: every frame is in exactly one state, and its record says which. Conservation
// (the states add up to frameCount) is an invariant that tests check and recovery restores.

import { DATAGRAM_OVERHEAD_BYTES } from "../config";
import { Fault } from "../fault";
import { fault } from "../host";
import { FRAME_META_BYTES } from "../layout";
import { RegionHeader } from "./header";

export const enum FrameState {
  Free = 0,
  /** In the hands of whoever holds the lock. */
  Held = 1,
  /** Given to the kernel to receive into: in a fill ring, the driver, or an RX ring. */
  Fill = 2,
  /** Given to the kernel to send: in a TX or completion ring. */
  Transmit = 3,
  /** In a socket's receive queue. */
  Queued = 4,
  /** In a connection's send queue, and not with the kernel. */
  Sending = 5,
  /** Kept by a socket for what it sends next to its own host (local/spare.ts). */
  Spare = 6,
  /** In the hands of a program, its client slot in FrameMeta.socket (local/lending.ts). */
  Lent = 7,
}

/** Bits of FrameMeta.marks. */
export const enum FrameMark {
  /** In a connection's send queue; with the kernel, it goes back there and not to the pool. */
  Kept = 1,
  /** Its last byte is followed by a FIN. */
  Fin = 2,
  /** RFC 2018: the peer has it. */
  Sacked = 4,
  /** Presumed lost. */
  Lost = 8,
  /** Sent again, and that copy is presumed to be on its way. */
  Retransmitted = 16,
  /** Was sent again at some time: no round trip can be measured by it (RFC 6298 3). */
  EverRetransmitted = 32,
  /** Ends a write: sent with PSH. */
  Push = 64,
  /** Found by recovery. */
  Found = 128,
}

/** In interfaceSlot, whose numbers are smaller: recovery found the frame in a receive queue. */
export const KEPT: u8 = 128;

/**
 * One record per frame. For a queued datagram it is all that recv() reports; for a frame being
 * sent, the socket that is charged for it.
 *
 *    0 arrivalNanos   8 source   24 destination   40 next, socket   48 payload
 */
@final
@unmanaged
export class FrameMeta {
  /** CLOCK_MONOTONIC when the stack took the frame from the ring. */
  arrivalNanos: u64;
  sourceHi: u64;
  sourceLo: u64;
  /** Destination address of a received datagram. */
  destinationHi: u64;
  destinationLo: u64;
  /** Next frame of the socket's queue, index + 1. */
  next: u32;
  /** Socket that the frame belongs to (queued, or charged for sending). */
  socket: u32;
  /** Region offset of the payload. */
  payloadOffset: u32;
  payloadBytes: u16;
  sourcePortNet: u16;
  /** Of a queued datagram the interface it came by; of a frame with the kernel, the queue. */
  interfaceSlot: u8;
  ttl: u8;
  tos: u8;
  /** A FrameState. */
  state: u8;
  /** FrameMark bits of a frame in a connection's queues. */
  marks: u32;

  /** What the socket's buffer accounting is charged: as Linux does, more than the payload. */
  get chargedBytes(): u32 {
    return <u32>this.payloadBytes + DATAGRAM_OVERHEAD_BYTES;
  }

  static at(index: u32): FrameMeta {
    return changetype<FrameMeta>(
      <usize>(RegionHeader.get().frameMetaOffset + index * FRAME_META_BYTES),
    );
  }
}

/** Index of the frame whose record this is. */
export function frameIndexOf(meta: FrameMeta): u32 {
  const offset = <u32>changetype<usize>(meta) - RegionHeader.get().frameMetaOffset;
  return offset / FRAME_META_BYTES;
}

export function frameOffset(index: u32): u32 {
  const header = RegionHeader.get();
  return header.framePoolOffset + (index << header.frameShift);
}

/** No frame: what takeFrame returns when none is left. */
export const NO_FRAME: u32 = 0xffffffff;

/** Index of a frame, or NO_FRAME. The caller gives it its state, Free until then. */
export function takeFrame(): u32 {
  const header = RegionHeader.get();
  const free = header.freeFrames;
  let index: u32;
  if (free > 0) {
    header.freeFrames = free - 1;
    index = load<u32>(<usize>(header.freeListOffset + ((free - 1) << 2)));
    if (index >= header.frameCount) fault(Fault.FrameIndex);
  } else {
    index = header.freshFrames;
    if (index >= header.frameCount) return NO_FRAME;
    header.freshFrames = index + 1;
  }
  return index;
}

/** Gives a frame back; the last one given back is the first to be taken, while it is in cache. */
export function giveFrame(index: u32): void {
  const meta = FrameMeta.at(index);
  if (meta.state == <u8>FrameState.Free) fault(Fault.FrameFreedTwice);
  giveKnownFrame(index, meta);
}

/** The same for a frame that is known not to be free. */
export function giveKnownFrame(index: u32, meta: FrameMeta): void {
  const header = RegionHeader.get();
  meta.state = <u8>FrameState.Free;
  const free = header.freeFrames;
  store<u32>(<usize>(header.freeListOffset + (free << 2)), index);
  header.freeFrames = free + 1;
}

/** Frames that takeFrame could hand out. */
export function availableFrames(): u32 {
  const header = RegionHeader.get();
  return header.freeFrames + (header.frameCount - header.freshFrames);
}

export function checkFrameLayout(): void {
  if (offsetof<FrameMeta>() != FRAME_META_BYTES) ERROR("FrameMeta size");
}
