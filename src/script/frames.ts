// Ethernet frames with IPv4 and TCP or ICMP, built and taken apart without the stack: the peer's
// side of a packet script.

import type { Damage, Ecn, TcpOption } from "./events.ts";
import { FLAG_ORDER } from "./packet-parser.ts";

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const TCP_BYTES = 20;
const PROTOCOL_ICMP = 1;
const PROTOCOL_TCP = 6;
const DONT_FRAGMENT = 0x4000;
const HOP_LIMIT = 64;
/** An ICMP error quotes the IP header and eight bytes, at least. */
const QUOTED_BYTES = 8;

/** Bits of the wire's flags for each letter of FLAG_ORDER. */
const FLAG_BITS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128];
const ECN_BITS: Readonly<Record<Ecn, number>> = { noecn: 0, ect1: 1, ect0: 2, ce: 3 };

/** Both ends of a frame. */
export interface Route {
  sourceMac: Uint8Array;
  destinationMac: Uint8Array;
  source: string;
  destination: string;
}

/** A segment with the numbers that are on the wire. */
export interface WireSegment {
  sourcePort: number;
  destinationPort: number;
  flags: string;
  seq: number;
  ack: number;
  win: number;
  urg: number;
  options: TcpOption[];
  payload: Uint8Array;
  ecn: Ecn;
}

function octets(address: string): number[] {
  return address.split(".").map(Number);
}

/** RFC 1071: one's complement sum of big-endian 16-bit words, padded with a zero byte. */
function onesComplementSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function ipv4Frame(route: Route, protocol: number, body: Uint8Array, tos = 0): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + body.length);
  const view = new DataView(frame.buffer);
  frame.set(route.destinationMac, 0);
  frame.set(route.sourceMac, 6);
  view.setUint16(12, 0x0800);
  const total = IPV4_BYTES + body.length;
  frame.set([0x45, tos, total >> 8, total & 255, 0, 0], ETHERNET_BYTES);
  view.setUint16(ETHERNET_BYTES + 6, DONT_FRAGMENT);
  frame.set([HOP_LIMIT, protocol, 0, 0], ETHERNET_BYTES + 8);
  frame.set(octets(route.source), ETHERNET_BYTES + 12);
  frame.set(octets(route.destination), ETHERNET_BYTES + 16);
  const header = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES);
  view.setUint16(ETHERNET_BYTES + 10, ~onesComplementSum(header) & 0xffff);
  frame.set(body, ETHERNET_BYTES + IPV4_BYTES);
  return frame;
}

function pseudoHeaderSum(route: Route, length: number): number {
  const bytes = [...octets(route.source), ...octets(route.destination), 0, PROTOCOL_TCP];
  return onesComplementSum(Uint8Array.of(...bytes, length >> 8, length & 255));
}

function encodeOption(option: TcpOption): number[] {
  const word = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255];
  const long = (value: number) => [...word(value), value & 255];
  switch (option.kind) {
    case "eol":
      return [0];
    case "nop":
      return [1];
    case "mss":
      return [2, 4, option.value >> 8, option.value & 255];
    case "wscale":
      return [3, 3, option.value];
    case "sackOK":
      return [4, 2];
    case "sack":
      return [5, 2 + option.blocks.length * 8, ...option.blocks.flat().flatMap(long)];
    case "TS":
      return [8, 10, ...long(option.value), ...long(option.echo)];
    case "raw":
      return [option.number, option.length ?? option.data.length + 2, ...option.data];
  }
}

/** The options' bytes, filled up to four with zeros (end of options). */
function encodeOptions(options: TcpOption[]): number[] {
  const bytes = options.flatMap(encodeOption);
  while (bytes.length % 4 !== 0) bytes.push(0);
  return bytes;
}

function flagBits(flags: string): number {
  return [...flags].reduce((bits, one) => bits | (FLAG_BITS[FLAG_ORDER.indexOf(one)] ?? 0), 0);
}

function tcpBytes(route: Route, segment: WireSegment, damage?: Damage): Uint8Array {
  const options = encodeOptions(segment.options);
  const headerBytes = TCP_BYTES + options.length;
  const bytes = new Uint8Array(headerBytes + segment.payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, segment.sourcePort);
  view.setUint16(2, segment.destinationPort);
  view.setUint32(4, segment.seq);
  view.setUint32(8, segment.ack);
  const headerWords = damage === "offset" ? 15 : headerBytes / 4;
  bytes[12] = damage === "short" ? 4 << 4 : headerWords << 4;
  bytes[13] = flagBits(segment.flags);
  view.setUint16(14, segment.win);
  view.setUint16(18, segment.urg);
  bytes.set(options, TCP_BYTES);
  bytes.set(segment.payload, headerBytes);
  const sum = onesComplementSum(bytes, pseudoHeaderSum(route, bytes.length));
  view.setUint16(16, (~sum & 0xffff) ^ (damage === "checksum" ? 0x0101 : 0));
  return bytes;
}

export function tcpFrame(route: Route, segment: WireSegment, damage?: Damage): Uint8Array {
  const body = tcpBytes(route, segment, damage);
  return ipv4Frame(route, PROTOCOL_TCP, body, ECN_BITS[segment.ecn]);
}

/**
 * An ICMP error of the route's source about `segment`, which the route's destination sent with
 * `quotedBytes` of payload.
 */
export function icmpFrame(
  route: Route,
  error: { type: number; code: number; mtu: number },
  segment: WireSegment,
  quotedBytes: number,
): Uint8Array {
  const back = { ...route, source: route.destination, destination: route.source };
  const whole = tcpFrame(back, { ...segment, payload: new Uint8Array(quotedBytes) });
  const quoted = whole.subarray(ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES + QUOTED_BYTES);
  const body = new Uint8Array(8 + quoted.length);
  body.set([error.type, error.code]);
  new DataView(body.buffer).setUint16(6, error.mtu);
  body.set(quoted, 8);
  new DataView(body.buffer).setUint16(2, ~onesComplementSum(body) & 0xffff);
  return ipv4Frame(route, PROTOCOL_ICMP, body);
}

/** Takes a frame of the stack apart. A text says what is wrong with it. */
export function dissect(frame: Uint8Array): WireSegment | string {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < ETHERNET_BYTES + IPV4_BYTES || view.getUint16(12) !== 0x0800)
    return "not IPv4";
  const ip = frame.subarray(ETHERNET_BYTES);
  const total = view.getUint16(ETHERNET_BYTES + 2);
  if (ip[0] !== 0x45) return "not a plain IPv4 header";
  if (onesComplementSum(ip.subarray(0, IPV4_BYTES)) !== 0xffff) return "wrong IPv4 checksum";
  if (total > ip.length) return "IPv4 total length beyond the frame";
  if (ip[9] !== PROTOCOL_TCP) return `IPv4 protocol ${ip[9]}`;
  const tcp = ip.subarray(IPV4_BYTES, total);
  const route = {
    sourceMac: frame.subarray(6, 12),
    destinationMac: frame.subarray(0, 6),
    source: ip.subarray(12, 16).join("."),
    destination: ip.subarray(16, 20).join("."),
  };
  const headerBytes = ((tcp[12] ?? 0) >> 4) * 4;
  if (headerBytes < TCP_BYTES || headerBytes > tcp.length) return "wrong TCP data offset";
  const sum = onesComplementSum(tcp, pseudoHeaderSum(route, tcp.length));
  if (sum !== 0xffff) return "wrong TCP checksum";
  return readSegment(tcp, headerBytes, (ip[1] ?? 0) & 3);
}

function readSegment(tcp: Uint8Array, headerBytes: number, ecnBits: number): WireSegment {
  const view = new DataView(tcp.buffer, tcp.byteOffset, tcp.length);
  const bits = tcp[13] ?? 0;
  const ecn = (Object.keys(ECN_BITS) as Ecn[]).find((name) => ECN_BITS[name] === ecnBits);
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    seq: view.getUint32(4),
    ack: view.getUint32(8),
    flags: [...FLAG_ORDER].filter((_, index) => bits & (FLAG_BITS[index] ?? 0)).join(""),
    win: view.getUint16(14),
    urg: view.getUint16(18),
    options: decodeOptions(tcp.subarray(TCP_BYTES, headerBytes)),
    payload: tcp.slice(headerBytes),
    ecn: ecn ?? "noecn",
  };
}

function decodeOptions(bytes: Uint8Array): TcpOption[] {
  const options: TcpOption[] = [];
  let at = 0;
  while (at < bytes.length && bytes[at] !== 0) {
    const number = bytes[at] ?? 0;
    const length = number === 1 ? 1 : (bytes[at + 1] ?? 0);
    const isWhole = number === 1 || (length >= 2 && at + length <= bytes.length);
    if (!isWhole) return [...options, { kind: "raw", number, data: [...bytes.subarray(at)] }];
    options.push(decodeOption(number, bytes.subarray(at + 2, at + length)));
    at += length;
  }
  return options;
}

/** `data` is what lies behind the length byte. */
function decodeOption(number: number, data: Uint8Array): TcpOption {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (number === 1) return { kind: "nop" };
  if (number === 2 && data.length === 2) return { kind: "mss", value: view.getUint16(0) };
  if (number === 3 && data.length === 1) return { kind: "wscale", value: data[0] ?? 0 };
  if (number === 4 && data.length === 0) return { kind: "sackOK" };
  if (number === 5 && data.length % 8 === 0) {
    const blocks: [number, number][] = [];
    for (let at = 0; at < data.length; at += 8) {
      blocks.push([view.getUint32(at), view.getUint32(at + 4)]);
    }
    return { kind: "sack", blocks };
  }
  if (number === 8 && data.length === 8) {
    return { kind: "TS", value: view.getUint32(0), echo: view.getUint32(4) };
  }
  return { kind: "raw", number, data: [...data] };
}
