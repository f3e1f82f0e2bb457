// Large transfers as the preload library makes them: frames are lent to a program, which copies
// without the lock (stack/local/lending.ts).

import assert from "node:assert/strict";
import { FRAME_META_BYTES, FrameMetaView, TCP_HEADROOM_BYTES } from "../../build/gen/layout.ts";
import type { Host } from "../../src/sim/host.ts";

/** Sends by frames lent to client 1, as a program that copies without the lock does. */
export function sendLent(host: Host, index: number, data: Uint8Array, now: bigint): number {
  const first = host.calls.tcpLend(index, data.length, 1);
  if (first === 0) return host.sockets.send(index, data, now);
  const bytes = host.header.chunkBytes;
  const room = host.header.frameBytes - TCP_HEADROOM_BYTES;
  for (let link = first, at = 0; at < bytes; at += room) {
    const meta = frameMeta(host, link);
    host.bytes.set(data.subarray(at, Math.min(at + room, bytes)), meta.payloadOffset);
    link = meta.next;
  }
  assert.equal(host.calls.tcpHandIn(index, first, bytes, 1, 0, now), 0);
  return bytes;
}

function frameMeta(host: Host, link: number): FrameMetaView {
  const at = host.header.frameMetaOffset + (link - 1) * FRAME_META_BYTES;
  return new FrameMetaView(host.view, at);
}

export function receiveLent(host: Host, index: number, now: bigint): Buffer | undefined {
  const first = host.calls.tcpTakeOut(index, 1 << 20, 1, now);
  if (first === 0) return undefined;
  const parts: Uint8Array[] = [];
  for (let link = first; link !== 0; ) {
    const meta = frameMeta(host, link);
    parts.push(host.bytes.slice(meta.payloadOffset, meta.payloadOffset + meta.payloadBytes));
    link = meta.next;
  }
  host.calls.framesTakeBack(first, 1);
  return Buffer.concat(parts);
}
