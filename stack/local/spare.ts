// A frame that came from this host stays with the socket that received it, for what that sends
// next: it is in the cache of this CPU, and no list has to be touched. One frame goes to and fro
// between two programs that talk to each other.

import { RESERVED_FRAMES } from "../config";
import { availableFrames, FrameMeta, FrameState, giveKnownFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";

/** While fewer are left than this part of the pool, nobody keeps one. */
const SCARCE_SHARE_LOG2: u32 = 3;

function areFramesScarce(): bool {
  const share = RegionHeader.get().frameCount >> SCARCE_SHARE_LOG2;
  return availableFrames() < max<u32>(share, 2 * RESERVED_FRAMES);
}

/** Keeps the frame, which is in nobody's queue any more, or gives it back. */
export function keepSpare(socket: Socket, frame: u32): void {
  const meta = FrameMeta.at(frame);
  if (socket.spareFrame != 0 || areFramesScarce()) {
    giveKnownFrame(frame, meta);
    return;
  }
  meta.state = <u8>FrameState.Spare;
  socket.spareFrame = frame + 1;
}

/** The frame that was kept, as index + 1, or 0. The caller gives it its state. */
export function takeSpare(socket: Socket): u32 {
  const link = socket.spareFrame;
  if (link == 0) return 0;
  socket.spareFrame = 0;
  return FrameMeta.at(link - 1).state == <u8>FrameState.Spare ? link : 0;
}

/** The socket sends no more. */
export function dropSpare(socket: Socket): void {
  const link = takeSpare(socket);
  if (link != 0) giveKnownFrame(link - 1, FrameMeta.at(link - 1));
}
