// Ethernet frames with UDP in IPv4, and every way to spoil them. Independent of the stack: the
// checksums here are written straight from RFC 1071.

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_BYTES = 8;
const UDP = 17;

export interface FrameParts {
  destinationMac: string;
  sourceMac: string;
  source: string;
  destination: string;
  sourcePort: number;
  destinationPort: number;
  payload: Uint8Array;
}

/** Offsets of header fields in a frame without IPv4 options. */
export const FIELD = {
  etherType: 12,
  ipVersion: 14,
  ipLength: 16,
  ipFragment: 20,
  ipTtl: 22,
  ipProtocol: 23,
  ipChecksum: 24,
  ipSource: 26,
  ipDestination: 30,
  udpDestination: 36,
  udpLength: 38,
  udpChecksum: 40,
  payload: ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES,
} as const;

/** The Internet checksum, RFC 1071. */
export function internetChecksum(...parts: Uint8Array[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

function address(text: string): Buffer {
  return Buffer.from(text.split(".").map(Number));
}

/** A correct frame. */
export function udpFrame(parts: FrameParts): Buffer {
  const udpLength = UDP_BYTES + parts.payload.length;
  const frame = Buffer.alloc(ETHERNET_BYTES + IPV4_BYTES + udpLength);
  mac(parts.destinationMac).copy(frame, 0);
  mac(parts.sourceMac).copy(frame, 6);
  frame.writeUInt16BE(0x0800, FIELD.etherType);
  frame.writeUInt8(0x45, FIELD.ipVersion);
  frame.writeUInt16BE(IPV4_BYTES + udpLength, FIELD.ipLength);
  frame.writeUInt8(64, FIELD.ipTtl);
  frame.writeUInt8(UDP, FIELD.ipProtocol);
  address(parts.source).copy(frame, FIELD.ipSource);
  address(parts.destination).copy(frame, FIELD.ipDestination);
  frame.writeUInt16BE(parts.sourcePort, FIELD.udpDestination - 2);
  frame.writeUInt16BE(parts.destinationPort, FIELD.udpDestination);
  frame.writeUInt16BE(udpLength, FIELD.udpLength);
  frame.set(parts.payload, FIELD.payload);
  return seal(frame);
}

/** Writes both checksums anew, as they are right for what the frame says now. */
export function seal(frame: Buffer): Buffer {
  sealIp(frame);
  frame.writeUInt16BE(0, FIELD.udpChecksum);
  const length = frame.readUInt16BE(FIELD.udpLength);
  const pseudo = Buffer.alloc(12);
  frame.copy(pseudo, 0, FIELD.ipSource, FIELD.ipSource + 8);
  pseudo.writeUInt8(UDP, 9);
  pseudo.writeUInt16BE(length, 10);
  const start = ETHERNET_BYTES + IPV4_BYTES;
  const sum = internetChecksum(pseudo, frame.subarray(start, start + length));
  frame.writeUInt16BE(sum === 0 ? 0xffff : sum, FIELD.udpChecksum);
  return frame;
}

/** Writes the IPv4 header's checksum anew. */
export function sealIp(frame: Buffer): Buffer {
  frame.writeUInt16BE(0, FIELD.ipChecksum);
  const header = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES);
  frame.writeUInt16BE(internetChecksum(header), FIELD.ipChecksum);
  return frame;
}

/** A small generator with a seed (mulberry32), so that a failing run can be had again. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Frames in the form that send-frames.c reads. */
export function stream(frames: readonly Buffer[]): Buffer {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const size = Buffer.alloc(2);
      size.writeUInt16LE(frame.length);
      return [size, frame];
    }),
  );
}
