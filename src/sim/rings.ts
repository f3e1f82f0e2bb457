// The kernel's side of AF_XDP rings, in TypeScript: takes frames from the fill ring, hands packets
// over on the RX ring, takes sent ones off the TX ring and completes them.

import {
  COMPLETION_RING_ENTRIES,
  FILL_RING_ENTRIES,
  HEADER_OFFSET,
  QUEUE_WINDOW_BYTES,
  RegionHeaderView,
  RING_WINDOW_BYTES,
  RINGS_OFFSET,
  RX_RING_ENTRIES,
  TX_RING_ENTRIES,
} from "../../build/gen/layout.ts";
import type { StackInstance } from "../core/instance.ts";

/** As the kernel lays its rings out: indices in cache lines of their own, entries behind. */
const PRODUCER = 0;
const CONSUMER = 64;
const FLAGS = 128;
const DESCRIPTORS = 192;
const NEED_WAKEUP = 1;
/** XDP_PACKET_HEADROOM: where the kernel puts a packet in its frame. */
const RX_HEADROOM = 256;

const RX = 0;
const TX = 1;
const FILL = 2;
const COMPLETION = 3;

/** A packet on its way out, and the UMEM address that its completion is to name. */
export interface Transmission {
  umemAddress: bigint;
  packet: Uint8Array;
}

export type Rings = ReturnType<typeof createRings>;

/** Serves the rings of a formatted region. */
export function createRings({ calls, memory, view }: StackInstance) {
  const bytes = new Uint8Array(memory);
  const header = new RegionHeaderView(view, HEADER_OFFSET);
  const get = (at: number) => view.getUint32(at, true);
  const set = (at: number, value: number) => view.setUint32(at, value >>> 0, true);
  const ringAt = (queue: number, ring: number) =>
    RINGS_OFFSET + queue * QUEUE_WINDOW_BYTES + ring * RING_WINDOW_BYTES;

  /** Makes the rings of a new queue and starts it; its slot. */
  function addQueue(interfaceSlot: number, queueId: number, fillTarget: number): number {
    const queue = calls.queueAdd(interfaceSlot, queueId);
    if (queue < 0) throw new Error(`queueAdd: ${queue}`);
    for (const ring of [RX, TX, FILL, COMPLETION]) {
      const at = ringAt(queue, ring);
      bytes.fill(0, at, at + RING_WINDOW_BYTES);
      calls.queueRing(queue, ring, PRODUCER, CONSUMER, DESCRIPTORS, FLAGS);
    }
    set(ringAt(queue, TX) + FLAGS, NEED_WAKEUP);
    calls.queueStart(queue, fillTarget);
    return queue;
  }

  /** The kernel takes one posted frame; its UMEM address, or undefined when none is posted. */
  function takePosted(queue: number): bigint | undefined {
    const at = ringAt(queue, FILL);
    const consumer = get(at + CONSUMER);
    if (consumer === get(at + PRODUCER)) return undefined;
    const entry = at + DESCRIPTORS + (consumer & (FILL_RING_ENTRIES - 1)) * 8;
    set(at + CONSUMER, consumer + 1);
    return view.getBigUint64(entry, true);
  }

  function pushDescriptor(queue: number, umemAddress: bigint, length: number): void {
    const at = ringAt(queue, RX);
    const producer = get(at + PRODUCER);
    const entry = at + DESCRIPTORS + (producer & (RX_RING_ENTRIES - 1)) * 16;
    view.setBigUint64(entry, umemAddress, true);
    set(entry + 8, length);
    set(entry + 12, 0);
    set(at + PRODUCER, producer + 1);
  }

  /** A packet arrives on a queue. False if its ring is full or no frame was posted for it. */
  function deliver(packet: Uint8Array, queue = 0): boolean {
    const rx = ringAt(queue, RX);
    if ((get(rx + PRODUCER) - get(rx + CONSUMER)) >>> 0 >= RX_RING_ENTRIES) return false;
    const posted = takePosted(queue);
    if (posted === undefined) return false;
    const kept = packet.subarray(0, header.frameBytes - RX_HEADROOM);
    bytes.set(kept, header.framePoolOffset + Number(posted) + RX_HEADROOM);
    pushDescriptor(queue, posted + BigInt(RX_HEADROOM), kept.length);
    return true;
  }

  /** What is on the TX ring; it stays there. */
  function transmitting(queue = 0): Transmission[] {
    const tx = ringAt(queue, TX);
    const found: Transmission[] = [];
    for (let at = get(tx + CONSUMER); at !== get(tx + PRODUCER); at = (at + 1) >>> 0) {
      const entry = tx + DESCRIPTORS + (at & (TX_RING_ENTRIES - 1)) * 16;
      const umemAddress = view.getBigUint64(entry, true);
      const start = header.framePoolOffset + Number(umemAddress);
      found.push({ umemAddress, packet: bytes.slice(start, start + get(entry + 8)) });
    }
    return found;
  }

  /** Takes what is on the TX ring; each frame is the kernel's until complete() is called for it. */
  function takeTransmitting(queue = 0): Transmission[] {
    const tx = ringAt(queue, TX);
    const found = transmitting(queue);
    set(tx + CONSUMER, get(tx + CONSUMER) + found.length);
    return found;
  }

  /** A frame was sent: the stack may have it back. */
  function complete(queue: number, umemAddress: bigint): void {
    const done = ringAt(queue, COMPLETION);
    const producer = get(done + PRODUCER);
    const slot = done + DESCRIPTORS + (producer & (COMPLETION_RING_ENTRIES - 1)) * 8;
    view.setBigUint64(slot, umemAddress, true);
    set(done + PRODUCER, producer + 1);
  }

  return {
    ringAt,
    addQueue,
    takePosted,
    pushDescriptor,
    deliver,
    transmitting,
    takeTransmitting,
    complete,
  };
}
