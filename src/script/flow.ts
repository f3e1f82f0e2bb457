// One pair of ports: what turns a script's relative numbers into those on the wire, and back.

import type { Segment, TcpOption } from "./events.ts";
import type { WireSegment } from "./frames.ts";

/** Ports on both sides are counted from here; packetdrill has the same. */
export const FIRST_PORT = 8080;
/** What the peer's sequence number 0 is on the wire, unless a script says `--peer_isn=`. */
export const PEER_ISN = 0x2000_0000;

export interface Flow {
  localPort: number;
  peerPort: number;
  /** The stack's sequence number that scripts call 0: that of its last SYN. */
  localBase: number;
  /** The peer's sequence number that scripts call 0. */
  remoteBase: number;
  /** The stack's timestamp that scripts call 0, once a packet said which that is. */
  timestampBase: number | undefined;
  /** Script's sequence number of the first byte of the peer's stream. */
  firstByte: number;
}

export function createFlow(peer: number, remoteBase: number): Flow {
  return {
    localPort: FIRST_PORT,
    peerPort: FIRST_PORT + peer,
    localBase: 0,
    remoteBase,
    timestampBase: undefined,
    firstByte: 1,
  };
}

/** Byte `at` of every stream, in both directions: neighbours differ, and so do distant places. */
export function patternByte(at: number): number {
  return (at * 31 + (at >>> 8) * 17 + 7) & 255;
}

export function patternBytes(from: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => patternByte(from + index));
}

/** An inbound segment of a script as it goes on the wire. */
export function toWire(flow: Flow, segment: Segment): WireSegment {
  const { flags, seq, lengthBytes, ack, win, urg, options, ecn } = segment;
  return {
    sourcePort: flow.peerPort,
    destinationPort: flow.localPort,
    flags,
    seq: (seq + flow.remoteBase) >>> 0,
    ack: ack === undefined ? 0 : (ack + flow.localBase) >>> 0,
    win: win ?? 0,
    urg: urg ?? 0,
    options: (options ?? []).map((option) => optionToWire(flow, option)),
    payload: patternBytes(seq - flow.firstByte, lengthBytes),
    ecn: ecn ?? "noecn",
  };
}

function optionToWire(flow: Flow, option: TcpOption): TcpOption {
  if (option.kind === "TS" && option.echo !== 0) {
    return { ...option, echo: (option.echo + (flow.timestampBase ?? 0)) >>> 0 };
  }
  if (option.kind !== "sack") return option;
  const { localBase } = flow;
  const blocks = option.blocks.map(([start, end]) => [start + localBase, end + localBase] as const);
  return { kind: "sack", blocks: blocks.map(([start, end]) => [start >>> 0, end >>> 0]) };
}

/** A segment that the stack sent, in a script's numbers. Timestamps stay as they are on the wire. */
export function fromWire(flow: Flow, wire: WireSegment): Segment {
  const { flags, win, ecn, payload } = wire;
  // RFC 9293 3.10.7.1: a reset that acknowledges has sequence number zero, whatever came before.
  const isBareReset = flags === "R." && wire.seq === 0;
  return {
    flags,
    seq: isBareReset ? 0 : (wire.seq - flow.localBase) | 0,
    lengthBytes: payload.length,
    ack: flags.includes(".") ? (wire.ack - flow.remoteBase) | 0 : undefined,
    win,
    urg: flags.includes("U") ? wire.urg : undefined,
    options: wire.options.map((option) => optionFromWire(flow, option)),
    ecn,
  };
}

function optionFromWire(flow: Flow, option: TcpOption): TcpOption {
  if (option.kind !== "sack") return option;
  const { remoteBase } = flow;
  return {
    kind: "sack",
    blocks: option.blocks.map(([start, end]) => [(start - remoteBase) | 0, (end - remoteBase) | 0]),
  };
}
