// What a box in the middle may do to TCP segments without breaking TCP: cut one into several, which
// may overlap, and take options out of a SYN.

import type { Random } from "./prng.ts";
import { ACK, FIN, resealed, segmentPlace, SYN, URG } from "./wire.ts";

const OPTION_NOP = 1;
/** TCP header without options. */
const TCP_BYTES = 20;
/** Kinds of options, RFC 9293 3.2, RFC 7323, RFC 2018. */
export const OPTION = { mss: 2, scale: 3, sack: 4, timestamps: 8 } as const;
export type OptionName = keyof typeof OPTION;

/** Most parts that one segment becomes. */
const PARTS_MAX = 4;

/** The segment in parts: each byte is in at least one of them. */
export function cut(packet: Uint8Array, random: Random): Uint8Array[] {
  const place = segmentPlace(packet);
  if (!place || place.payloadBytes < 2 || (place.flags & (SYN | URG)) !== 0) {
    return [packet];
  }
  const { payloadAt, payloadBytes, sequence } = place;
  const count = random.between(2, Math.min(PARTS_MAX, payloadBytes));
  const edges = Array.from({ length: count - 1 }, () => random.between(1, payloadBytes - 1));
  const bounds = [0, ...edges.sort((a, b) => a - b), payloadBytes];
  const parts: Uint8Array[] = [];
  for (let n = 0; n < count; n++) {
    const overlap = random.chance(0.3) ? random.below(50) : 0;
    const from = Math.max(0, (bounds[n] ?? 0) - overlap);
    const to = bounds[n + 1] ?? payloadBytes;
    if (to <= from) continue;
    const head = packet.subarray(0, payloadAt);
    const body = packet.subarray(payloadAt + from, payloadAt + to);
    const isLast = to === payloadBytes;
    const flags = isLast ? place.flags : place.flags & ~FIN;
    parts.push(resealed(head, body, (sequence + from) >>> 0, flags));
  }
  return random.chance(0.2) ? parts.reverse() : parts;
}

/** A SYN (no SYN-ACK) without these options; anything else as it is. */
export function stripped(packet: Uint8Array, names: readonly OptionName[]): Uint8Array {
  const place = segmentPlace(packet);
  if (!place || (place.flags & (SYN | ACK)) !== SYN) return packet;
  const copy = packet.slice();
  const kinds = new Set<number>(names.map((name) => OPTION[name]));
  for (let at = place.optionsAt; at < place.payloadAt; ) {
    const kind = copy[at] ?? 0;
    if (kind === 0) break;
    const length = kind === OPTION_NOP ? 1 : Math.max(copy[at + 1] ?? 0, 2);
    if (kinds.has(kind)) copy.fill(OPTION_NOP, at, at + length);
    at += length;
  }
  const head = copy.subarray(0, place.payloadAt);
  return resealed(head, copy.subarray(place.payloadAt), place.sequence, place.flags);
}

/** A segment in which something of the header is no longer what was sent; its checksum is right. */
export function forged(packet: Uint8Array, random: Random): Uint8Array {
  const place = segmentPlace(packet);
  if (!place) return packet;
  const { optionsAt, payloadAt, payloadBytes } = place;
  const copy = packet.slice();
  const head = { sequence: place.sequence, flags: place.flags };
  const near = (value: number) => (value + random.pick([-1, 1]) * random.magnitude(1, 1e6)) >>> 0;
  const view = new DataView(copy.buffer, copy.byteOffset);
  const tcpAt = optionsAt - TCP_BYTES;
  const forgeries: (() => void)[] = [
    () => {
      head.sequence = near(head.sequence);
    },
    () => view.setUint32(tcpAt + 8, near(view.getUint32(tcpAt + 8))),
    () => {
      head.flags = random.chance(0.5) ? random.below(256) : head.flags ^ (1 << random.below(8));
    },
    () => view.setUint16(tcpAt + 14, random.pick([0, 1, random.below(65_536)])),
    () => view.setUint16(tcpAt + 18, random.below(65_536)),
    () => {
      for (let at = optionsAt; at < payloadAt; at++)
        if (random.chance(0.3)) copy[at] = random.next();
    },
  ];
  for (let n = random.between(1, 2); n > 0; n--) random.pick(forgeries)();
  const kept = random.chance(0.2) ? random.between(0, payloadBytes) : payloadBytes;
  const body = copy.subarray(payloadAt, payloadAt + kept);
  return resealed(copy.subarray(0, payloadAt), body, head.sequence, head.flags);
}
