// Packets built and taken apart without the stack: the independent oracle of the wire tests. The
// checksums are computed word by word in network order, as RFC 1071 section 1 defines them.

import { LOCAL, LOCAL_MAC, PEER, PEER_MAC } from "./machine.ts";

export interface DatagramOptions {
  source?: string;
  destination?: string;
  sourcePort?: number;
  destinationPort?: number;
  payload?: Uint8Array;
  ttl?: number;
  tos?: number;
  destinationMac?: Uint8Array;
  /** IPv4 options, a multiple of four bytes. */
  options?: Uint8Array;
  /** "none": 0; "partial": pseudo header's sum, as veth leaves it; "wrong": off by one. */
  checksum?: "right" | "none" | "partial" | "wrong";
  fragment?: number;
}

/** RFC 1071: one's complement sum of big-endian 16-bit words, padded with a zero byte. */
export function onesComplementSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

export function octets(address: string): number[] {
  return address.split(".").map(Number);
}

function pseudoHeader(source: string, destination: string, length: number): Uint8Array {
  return Uint8Array.of(...octets(source), ...octets(destination), 0, 17, length >> 8, length & 255);
}

export function ipv4Packet(
  protocol: number,
  body: Uint8Array,
  options: DatagramOptions = {},
): Uint8Array {
  const { source = PEER, destination = LOCAL, ttl = 64, tos = 0, fragment = 0x4000 } = options;
  const extra = options.options ?? new Uint8Array();
  const headerBytes = 20 + extra.length;
  const total = headerBytes + body.length;
  const header = Uint8Array.of(
    0x40 | (headerBytes / 4),
    tos,
    total >> 8,
    total & 255,
    0,
    0,
    fragment >> 8,
    fragment & 255,
    ttl,
    protocol,
    0,
    0,
    ...octets(source),
    ...octets(destination),
    ...extra,
  );
  const checksum = ~onesComplementSum(header) & 0xffff;
  header[10] = checksum >> 8;
  header[11] = checksum & 255;
  const mac = options.destinationMac ?? LOCAL_MAC;
  return Uint8Array.of(...mac, ...PEER_MAC, 8, 0, ...header, ...body);
}

export function udpDatagram(options: DatagramOptions = {}): Uint8Array {
  const { source = PEER, destination = LOCAL, sourcePort = 4000, destinationPort = 1234 } = options;
  const payload = options.payload ?? new Uint8Array();
  const length = 8 + payload.length;
  const udp = Uint8Array.of(
    sourcePort >> 8,
    sourcePort & 255,
    destinationPort >> 8,
    destinationPort & 255,
    length >> 8,
    length & 255,
    0,
    0,
    ...payload,
  );
  const pseudo = onesComplementSum(pseudoHeader(source, destination, length));
  const full = ~onesComplementSum(udp, pseudo) & 0xffff || 0xffff;
  const kinds = { right: full, none: 0, partial: pseudo, wrong: (full + 1) & 0xffff || 1 };
  const checksum = kinds[options.checksum ?? "right"];
  udp[6] = checksum >> 8;
  udp[7] = checksum & 255;
  return ipv4Packet(17, udp, options);
}

/** An ICMP error about a UDP datagram that LOCAL sent, as a router or the peer would send it. */
export function icmpError(type: number, code: number, quoted: Uint8Array): Uint8Array {
  const body = Uint8Array.of(type, code, 0, 0, 0, 0, 0, 0, ...quoted);
  const checksum = ~onesComplementSum(body) & 0xffff;
  body[2] = checksum >> 8;
  body[3] = checksum & 255;
  return ipv4Packet(1, body);
}

/** Takes a sent frame apart and checks every length and checksum on the way. */
export function dissect(frame: Uint8Array) {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const ip = frame.subarray(14);
  const headerBytes = ((ip[0] ?? 0) & 15) * 4;
  const total = view.getUint16(16);
  const udp = ip.subarray(headerBytes, total);
  const source = ip.subarray(12, 16).join(".");
  const destination = ip.subarray(16, 20).join(".");
  const udpView = new DataView(udp.buffer, udp.byteOffset, udp.length);
  const pseudo = onesComplementSum(pseudoHeader(source, destination, udp.length));
  return {
    destinationMac: frame.slice(0, 6),
    sourceMac: frame.slice(6, 12),
    type: view.getUint16(12),
    version: (ip[0] ?? 0) >> 4,
    tos: ip[1],
    totalLength: total,
    frameLength: frame.length,
    fragment: view.getUint16(20),
    ttl: ip[8],
    protocol: ip[9],
    ipSum: onesComplementSum(ip.subarray(0, headerBytes)),
    source,
    destination,
    sourcePort: udpView.getUint16(0),
    destinationPort: udpView.getUint16(2),
    udpLength: udpView.getUint16(4),
    udpChecksum: udpView.getUint16(6),
    udpSum: onesComplementSum(udp, pseudo),
    payload: udp.slice(8),
  };
}
