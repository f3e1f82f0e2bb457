// One direction of a cable, with everything that can go wrong on it.

import type { Clock } from "./clock.ts";
import { cut } from "./middlebox.ts";
import type { Random } from "./prng.ts";
import { ETHERNET_BYTES, ipBytesOf, isEcnCapable, markCongestion } from "./wire.ts";

/** Probabilities are from 0 to 1. What is left out does not happen. */
export interface LinkOptions {
  delayNanos?: number;
  /** Added to the delay, evenly from 0 to this. */
  jitterNanos?: number;
  /** Jitter lets packets overtake one another. */
  jitterReorders?: boolean;
  /** 0: no limit. */
  bitsPerSecond?: number;
  /** What waits for its turn at most; more is dropped at the tail. */
  queueBytes?: number;
  /** Packets that find more than this waiting are marked, if they are ECN capable. */
  markBytes?: number;
  loss?: number;
  /**
   * Gilbert's model: in the bad state, entered and left per packet, everything is lost. It is over
   * after `nanosMax` even if no packet comes that could end it.
   */
  burst?: { enter: number; leave: number; nanosMax: number };
  duplicate?: number;
  /** Packets that are held back by `reorderNanos`. */
  reorder?: number;
  reorderNanos?: number;
  /** A byte of the packet behind its Ethernet header is changed. */
  corrupt?: number;
  /** A box in the middle cuts segments into parts. */
  cut?: number;
  /** Largest IP packet; larger ones are dropped. */
  mtu?: number;
  /** Nothing passes. */
  down?: boolean;
}

/** Why a packet did not arrive. */
export type Drop = "mtu" | "down" | "loss" | "burst" | "queue";

/** Who is told what becomes of packets. */
export interface LinkEnds {
  arrive: (packet: Uint8Array) => void;
  dropped: (packet: Uint8Array, why: Drop) => void;
}

export type Link = ReturnType<typeof createLink>;

/** `options` may be changed while the link is in use. */
export function createLink(clock: Clock, random: Random, options: LinkOptions, ends: LinkEnds) {
  let freeAt = 0;
  let lastArrival = 0;
  /** When the bad state ends; in the past: it is not bad. */
  let badUntil = 0;
  const count = { sent: 0, dropped: 0, marked: 0, corrupted: 0, duplicated: 0, reordered: 0 };

  /** The reason not to carry it, if there is one. */
  function fate(packet: Uint8Array): Drop | undefined {
    if (options.mtu && ipBytesOf(packet) > options.mtu) return "mtu";
    if (options.down) return "down";
    if (isInBurst()) return "burst";
    return random.chance(options.loss ?? 0) ? "loss" : undefined;
  }

  function isInBurst(): boolean {
    const { burst } = options;
    if (!burst) return false;
    const isBad = clock.now() < badUntil;
    if (isBad && random.chance(burst.leave)) badUntil = 0;
    else if (!isBad && random.chance(burst.enter)) badUntil = clock.now() + burst.nanosMax;
    return clock.now() < badUntil;
  }

  /** Bytes that wait to be sent. */
  function waitingBytes(): number {
    const rate = options.bitsPerSecond ?? 0;
    return rate === 0 ? 0 : (Math.max(0, freeAt - clock.now()) * rate) / 8e9;
  }

  function corrupted(packet: Uint8Array): Uint8Array {
    const copy = packet.slice();
    // Within one byte: RFC 1071's sum notices each such change.
    const at = random.between(ETHERNET_BYTES, copy.length - 1);
    copy[at] = (copy[at] ?? 0) ^ random.between(1, 255);
    count.corrupted += 1;
    return copy;
  }

  function carry(packet: Uint8Array): void {
    let delay = (options.delayNanos ?? 0) + random.below((options.jitterNanos ?? 0) + 1);
    const isHeldBack = random.chance(options.reorder ?? 0);
    if (isHeldBack) {
      delay += options.reorderNanos ?? 0;
      count.reordered += 1;
    }
    let arrival = freeAt + delay;
    if (!isHeldBack && !options.jitterReorders) {
      arrival = Math.max(arrival, lastArrival);
      lastArrival = arrival;
    }
    const what = random.chance(options.corrupt ?? 0) ? corrupted(packet) : packet;
    clock.at(arrival, () => ends.arrive(what));
  }

  function send(packet: Uint8Array): void {
    const parts = random.chance(options.cut ?? 0) ? cut(packet, random) : [packet];
    for (const part of parts) transmit(part);
  }

  function transmit(packet: Uint8Array): void {
    count.sent += 1;
    const waiting = waitingBytes();
    const isFull = waiting + packet.length > (options.queueBytes ?? Number.POSITIVE_INFINITY);
    const drop = fate(packet) ?? (isFull ? "queue" : undefined);
    if (drop) {
      count.dropped += 1;
      ends.dropped(packet, drop);
      return;
    }
    const isMarked = waiting > (options.markBytes ?? Number.POSITIVE_INFINITY);
    const isCongested = isMarked && isEcnCapable(packet);
    if (isCongested) count.marked += 1;
    const rate = options.bitsPerSecond ?? 0;
    freeAt = Math.max(freeAt, clock.now());
    if (rate > 0) freeAt += (packet.length * 8e9) / rate;
    const what = isCongested ? markCongestion(packet) : packet;
    carry(what);
    if (random.chance(options.duplicate ?? 0)) {
      count.duplicated += 1;
      carry(what);
    }
  }

  return { send, options, count };
}
