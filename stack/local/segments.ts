// Segments from this host to itself: SYN, FIN, RST and what else the connection's own machinery has
// to see go through a queue of the region, as whole IPv4 packets without checksums, and are handled
// before the call that sent them returns, as over lo. Data has a shorter way: local/stream.ts.

import { RESERVED_FRAMES } from "../config";
import { availableFrames, FrameMark, FrameMeta, frameIndexOf, frameOffset } from "../region/frames";
import { giveKnownFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { newControlFrame, TcpFrame } from "../tcp/frame";
import { localInput } from "../tcp/input";
import { outputPending } from "../tcp/timeouts";

/** Segments and their answers: what is not over after so many goes on with the next poll(). */
const ROUNDS_MAX: u32 = 64;

/** True while there are frames for such segments. */
export function hasLocalRoom(): bool {
  return availableFrames() > RESERVED_FRAMES >> 1;
}

/** Queues the packet of `bytes` at `start` in the frame. A frame of a send queue stays there. */
export function sendLocal(frame: TcpFrame, start: u32, bytes: u32): void {
  const header = RegionHeader.get();
  const meta = changetype<FrameMeta>(changetype<usize>(frame));
  let link = frameIndexOf(meta) + 1;
  let at = start;
  if (frame.is(FrameMark.Kept)) {
    const copy = newControlFrame();
    // As lost on the way: it goes again.
    if (copy == 0) return;
    at = frameOffset(copy - 1) + (start - frameOffset(link - 1));
    memory.copy(<usize>at, <usize>start, <usize>bytes);
    link = copy;
  }
  const queued = FrameMeta.at(link - 1);
  queued.payloadOffset = at;
  queued.payloadBytes = <u16>bytes;
  queued.next = 0;
  if (header.localTail == 0) header.localHead = link;
  else FrameMeta.at(header.localTail - 1).next = link;
  header.localTail = link;
}

/** Hands over what is queued now. */
function deliver(now: u64): void {
  const header = RegionHeader.get();
  let link = header.localHead;
  header.localHead = 0;
  header.localTail = 0;
  while (link != 0 && link <= header.frameCount) {
    const meta = FrameMeta.at(link - 1);
    const next = meta.next;
    header.localSegments += 1;
    if (!localInput(meta.payloadOffset, <u32>meta.payloadBytes, link - 1, now)) {
      giveKnownFrame(link - 1, meta);
    }
    link = next;
  }
}

/** What was sent to this host arrives, is answered, and the answers arrive. */
export function settle(): void {
  const header = RegionHeader.get();
  const now = header.clockNanos;
  for (let round: u32 = 0; round < ROUNDS_MAX && header.localHead != 0; round++) {
    deliver(now);
    outputPending(now);
  }
}
