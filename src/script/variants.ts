// Other ways in which the same data of the peer may arrive.

import type { WireSegment } from "./frames.ts";

/**
 * How a script runs: as it stands; with the peer's data in segments of one byte; with every segment
 * of data arriving twice; or to be written down as it happens.
 */
export type Mode = "plain" | "split" | "duplicate" | "record";

/** The segments that arrive in place of one. */
export function variants(segment: WireSegment, mode: Mode): WireSegment[] {
  const isData = segment.payload.length > 0 && !/[SR]/.test(segment.flags);
  if (!isData) return [segment];
  if (mode === "split") return splitAtEveryByte(segment);
  return mode === "duplicate" ? [segment, segment] : [segment];
}

/** FIN and PSH go with the last byte, CWR with the first; the urgent pointer keeps its place. */
function splitAtEveryByte(segment: WireSegment): WireSegment[] {
  const { payload, seq, urg } = segment;
  return Array.from(payload, (byte, at) => {
    let { flags } = segment;
    if (at < payload.length - 1) flags = flags.replace(/[FP]/g, "");
    if (at > 0) flags = flags.replace("W", "");
    if (urg <= at) flags = flags.replace("U", "");
    return {
      ...segment,
      flags,
      seq: (seq + at) >>> 0,
      urg: flags.includes("U") ? urg - at : 0,
      payload: Uint8Array.of(byte),
    };
  });
}
