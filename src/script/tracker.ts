// What the stack sent: decoded, in the script's numbers, and summed up per connection.

import type { Peers, Segment } from "./events.ts";
import { createFlow, FIRST_PORT, type Flow, fromWire, patternByte } from "./flow.ts";
import { formatSegment } from "./format.ts";
import { dissect, type WireSegment } from "./frames.ts";
import type { Captured } from "./machine.ts";

/** One packet of the stack. */
export interface Sent {
  time: number;
  peer: number;
  flow: Flow;
  segment: Segment;
}

/** A packet that no stack may send, whatever the script says. */
export class BadPacket extends Error {
  override readonly name = "BadPacket";
}

/** Of one connection: how far its stream was sent, and how it was ended. */
interface Extent {
  end: number;
  isFinished: boolean;
  isReset: boolean;
}

export type Tracker = ReturnType<typeof createTracker>;

/** `timestampBases` goes from a script's first run to the others: by initial sequence number. */
export function createTracker(remoteBase: number, timestampBases: Map<number, number>) {
  const flows = new Map<number, Flow>();
  const extents = new Map<string, Extent>();

  function flowOf(peer: number): Flow {
    const known = flows.get(peer);
    if (known) return known;
    const made = createFlow(peer, remoteBase);
    flows.set(peer, made);
    return made;
  }

  /** Decodes a frame; what it says must be well-formed and the program's own data. */
  function decode({ time, frame }: Captured): Sent {
    const wire = dissect(frame);
    if (typeof wire === "string") throw new BadPacket(wire);
    const peer = wire.destinationPort - FIRST_PORT;
    const flow = flowOf(peer);
    if (wire.sourcePort !== flow.localPort) throw new BadPacket(`sent from ${wire.sourcePort}`);
    if (wire.flags.includes("S") && flow.localBase !== wire.seq) {
      flow.localBase = wire.seq;
      flow.timestampBase = timestampBases.get(wire.seq);
    }
    const segment = fromWireChecked(flow, wire);
    extend(peer, flow, segment);
    return { time, peer, flow, segment };
  }

  function extend(peer: number, flow: Flow, segment: Segment): void {
    const key = `@${peer} ${flow.localBase}`;
    const extent = extents.get(key) ?? { end: 0, isFinished: false, isReset: false };
    if (segment.lengthBytes > 0)
      extent.end = Math.max(extent.end, segment.seq + segment.lengthBytes);
    extent.isFinished ||= segment.flags.includes("F");
    extent.isReset ||= segment.flags.includes("R");
    extents.set(key, extent);
  }

  /** What must be the same however the peer's data arrives. */
  function summary(): string[] {
    return [...extents].map(([key, { end, isFinished, isReset }]) => {
      const ends = `${isFinished ? ", FIN" : ""}${isReset ? ", RST" : ""}`;
      return `${key}: data up to ${end}${ends}`;
    });
  }

  function rememberTimestamps(flow: Flow): void {
    if (flow.timestampBase !== undefined) timestampBases.set(flow.localBase, flow.timestampBase);
  }

  return { flowOf, decode, summary, rememberTimestamps };
}

function fromWireChecked(flow: Flow, wire: WireSegment): Segment {
  const segment = fromWire(flow, wire);
  const first = segment.seq - 1;
  const wrong = wire.payload.findIndex((byte, at) => byte !== patternByte(first + at));
  if (wrong >= 0) {
    throw new BadPacket(
      `byte ${segment.seq + wrong} is not the program's: ${formatSegment(segment)}`,
    );
  }
  return segment;
}

/** Numbers of the peers that take part in an event. */
export function peerNumbers({ first, last }: Peers): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}
