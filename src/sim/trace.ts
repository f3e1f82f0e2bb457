// What was seen on the network, for a capture file: the last packets, with what became of them.

import type { Clock } from "./clock.ts";
import { type Captured, pcapng } from "./pcapng.ts";

/** Packets that are kept. */
const CAPTURED_MAX = 40_000;

export function createTrace(clock: Clock) {
  const places: string[] = [];
  const captured: Captured[] = [];

  /** A place where packets are seen; the number to give to add(). */
  function addPlace(name: string): number {
    places.push(name);
    return places.length - 1;
  }

  function add(place: number, packet: Uint8Array, comment?: string): void {
    if (captured.length >= 2 * CAPTURED_MAX) captured.splice(0, CAPTURED_MAX);
    captured.push({ nanos: clock.now(), place, packet, ...(comment ? { comment } : {}) });
  }

  return { addPlace, add, file: () => pcapng(places, captured.slice(-CAPTURED_MAX)) };
}
