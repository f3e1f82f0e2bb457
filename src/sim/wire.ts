// What links, routers and raw senders have to know of packets. The stack's own code is not used:
// checksums are added up word by word in network order, as RFC 1071 defines them.

export const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const PROTOCOL_ICMP = 1;
const PROTOCOL_TCP = 6;
/** RFC 3168 5: the two lowest bits of the type-of-service octet. */
const ECT_MASK = 3;
const CONGESTION_EXPERIENCED = 3;

/** TCP header flags, RFC 9293 3.1. */
export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const ACK = 16;
export const URG = 32;

/** RFC 1071: one's complement sum of big-endian words, an odd byte padded with zero. */
export function onesSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function get16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function get32(bytes: Uint8Array, at: number): number {
  return ((get16(bytes, at) << 16) | get16(bytes, at + 2)) >>> 0;
}

function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value);
}

/** An IPv4 address in dotted text as a number in network order. */
export function ipNumber(text: string): number {
  return text.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

export const destinationOf = (packet: Uint8Array) => get32(packet, ETHERNET_BYTES + 16);
export const sourceOf = (packet: Uint8Array) => get32(packet, ETHERNET_BYTES + 12);
/** Bytes of the IP packet. */
export const ipBytesOf = (packet: Uint8Array) => get16(packet, ETHERNET_BYTES + 2);

/** True if the sender takes part in ECN (ECT(0) or ECT(1)). */
export function isEcnCapable(packet: Uint8Array): boolean {
  const bits = (packet[ETHERNET_BYTES + 1] ?? 0) & ECT_MASK;
  return bits === 1 || bits === 2;
}

function writeIpChecksum(packet: Uint8Array): void {
  put16(packet, ETHERNET_BYTES + 10, 0);
  const ip = packet.subarray(ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES);
  put16(packet, ETHERNET_BYTES + 10, ~onesSum(ip) & 0xffff);
}

/** A copy that says that congestion was experienced. */
export function markCongestion(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy[ETHERNET_BYTES + 1] = (copy[ETHERNET_BYTES + 1] ?? 0) | CONGESTION_EXPERIENCED;
  writeIpChecksum(copy);
  return copy;
}

/** A copy for the next hop. */
export function readdressed(packet: Uint8Array, to: Uint8Array, from: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy.set(to, 0);
  copy.set(from, 6);
  return copy;
}

interface Addressed {
  source: number;
  destination: number;
  tos?: number;
}

function ipPacket(protocol: number, body: Uint8Array, to: Addressed): Uint8Array {
  const packet = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + body.length);
  put16(packet, 12, 0x0800);
  packet[ETHERNET_BYTES] = 0x45;
  packet[ETHERNET_BYTES + 1] = to.tos ?? 0;
  put16(packet, ETHERNET_BYTES + 2, IPV4_BYTES + body.length);
  packet[ETHERNET_BYTES + 8] = 64;
  packet[ETHERNET_BYTES + 9] = protocol;
  put32(packet, ETHERNET_BYTES + 12, to.source);
  put32(packet, ETHERNET_BYTES + 16, to.destination);
  writeIpChecksum(packet);
  packet.set(body, ETHERNET_BYTES + IPV4_BYTES);
  return packet;
}

/** A router's answer to a packet that does not fit: RFC 1191 section 4. */
export function fragmentationNeeded(packet: Uint8Array, mtu: number, router: number): Uint8Array {
  const quoted = packet.subarray(ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES + 8);
  const body = new Uint8Array(8 + quoted.length);
  body[0] = 3;
  body[1] = 4;
  put16(body, 6, mtu);
  body.set(quoted, 8);
  put16(body, 2, ~onesSum(body) & 0xffff);
  return ipPacket(PROTOCOL_ICMP, body, { source: router, destination: sourceOf(packet) });
}

export interface Segment extends Addressed {
  sourcePort: number;
  destinationPort: number;
  sequence: number;
  acknowledgment?: number;
  flags: number;
  window?: number;
  /** A multiple of four bytes. */
  options?: Uint8Array;
  payload?: Uint8Array;
}

/** A TCP segment as a raw sender makes it; the Ethernet addresses are the router's business. */
export function tcpPacket(segment: Segment): Uint8Array {
  const { options = new Uint8Array(), payload = new Uint8Array() } = segment;
  const headerBytes = 20 + options.length;
  const tcp = new Uint8Array(headerBytes + payload.length);
  put16(tcp, 0, segment.sourcePort);
  put16(tcp, 2, segment.destinationPort);
  put32(tcp, 4, segment.sequence);
  put32(tcp, 8, segment.acknowledgment ?? 0);
  tcp[12] = (headerBytes / 4) << 4;
  tcp[13] = segment.flags;
  put16(tcp, 14, segment.window ?? 0xffff);
  tcp.set(options, 20);
  tcp.set(payload, headerBytes);
  const packet = ipPacket(PROTOCOL_TCP, tcp, segment);
  writeTcpChecksum(packet);
  return packet;
}

/** Where the parts of a TCP segment are; undefined if the packet is none, or damaged. */
export function segmentPlace(packet: Uint8Array) {
  if (get16(packet, 12) !== 0x0800 || packet[ETHERNET_BYTES] !== 0x45) return undefined;
  if (packet[ETHERNET_BYTES + 9] !== PROTOCOL_TCP || !isWhole(packet)) return undefined;
  const at = ETHERNET_BYTES + ((packet[ETHERNET_BYTES] ?? 0) & 15) * 4;
  const payloadAt = at + ((packet[at + 12] ?? 0) >> 4) * 4;
  return {
    sequence: get32(packet, at + 4),
    flags: packet[at + 13] ?? 0,
    optionsAt: at + 20,
    payloadAt,
    payloadBytes: ETHERNET_BYTES + ipBytesOf(packet) - payloadAt,
  };
}

function isWhole(packet: Uint8Array): boolean {
  const at = ETHERNET_BYTES + IPV4_BYTES;
  if (ETHERNET_BYTES + ipBytesOf(packet) !== packet.length) return false;
  if (onesSum(packet.subarray(ETHERNET_BYTES, at)) !== 0xffff) return false;
  return onesSum(packet.subarray(at), onesSum(pseudoHeader(packet))) === 0xffff;
}

function pseudoHeader(packet: Uint8Array): Uint8Array {
  const at = ETHERNET_BYTES + IPV4_BYTES;
  const pseudo = new Uint8Array(12);
  pseudo.set(packet.subarray(ETHERNET_BYTES + 12, at));
  pseudo[9] = PROTOCOL_TCP;
  put16(pseudo, 10, packet.length - at);
  return pseudo;
}

/** A segment with the headers `head` (without IP options) and this payload, checksums anew. */
export function resealed(
  head: Uint8Array,
  payload: Uint8Array,
  sequence: number,
  flags: number,
): Uint8Array {
  const packet = new Uint8Array(head.length + payload.length);
  packet.set(head);
  packet.set(payload, head.length);
  const at = ETHERNET_BYTES + IPV4_BYTES;
  put16(packet, ETHERNET_BYTES + 2, packet.length - ETHERNET_BYTES);
  writeIpChecksum(packet);
  put32(packet, at + 4, sequence);
  packet[at + 13] = flags;
  writeTcpChecksum(packet);
  return packet;
}

function writeTcpChecksum(packet: Uint8Array): void {
  const at = ETHERNET_BYTES + IPV4_BYTES;
  put16(packet, at + 16, 0);
  const sum = onesSum(packet.subarray(at), onesSum(pseudoHeader(packet)));
  put16(packet, at + 16, ~sum & 0xffff);
}
