// The host under test and the peer's end of its link, in virtual time: frames go in, frames and
// their times come out.

import type { StackInstance } from "../core/instance.ts";
import { createHost, type Host } from "../sim/host.ts";
import type { Route } from "./frames.ts";

const LOCAL = "192.168.0.1";
export const PEER = "192.0.2.1";
const LOCAL_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const PEER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
export const IFINDEX = 7;
/** Virtual time of a script's start: far enough from zero that nothing mistakes it for "never". */
const START = 1_000_000_000_000n;
/** Tiny segments of a split script lie in a frame each. */
const FRAME_COUNT = 8192;
const FRAME_BYTES = 2048;
/** For interfaces with an MTU above this. */
const LARGE_FRAME_BYTES = 4096;
const LARGE_MTU = 1700;

/** From the peer to the host under test. */
export const INBOUND: Route = {
  sourceMac: PEER_MAC,
  destinationMac: LOCAL_MAC,
  source: PEER,
  destination: LOCAL,
};

export interface Captured {
  /** Nanoseconds since the script began. */
  time: number;
  frame: Uint8Array;
}

export type Machine = ReturnType<typeof createMachine>;

/** Makes a stack with fresh memory: in V8, or the native library. */
export type StackFactory = () => StackInstance;

export function createMachine(makeStack: StackFactory, mtu = 1500) {
  const frameBytes = mtu > LARGE_MTU ? LARGE_FRAME_BYTES : FRAME_BYTES;
  const options = { frameCount: FRAME_COUNT, frameBytes };
  const host: Host = createHost(makeStack(), findRoute, options);
  const slot = host.addInterface({ ifindex: IFINDEX, mac: LOCAL_MAC, address: LOCAL, mtu });
  let now = START;
  let captured: Captured[] = [];
  /** Called whenever something may have changed for a program that waits. */
  let onChange = (): boolean => false;

  function findRoute(destination: string) {
    if (destination !== PEER) return undefined;
    const route = { interfaceSlot: slot, source: LOCAL, nextHop: PEER, mtu };
    return { ...route, mac: PEER_MAC };
  }

  const elapsed = (): number => Number(now - START);

  /** Does all that is due now; programs that wait look, and what they do is done, too. */
  function settle(): void {
    do {
      host.run(now);
      for (const sent of host.takeSent()) {
        captured.push({ time: elapsed(), frame: sent.packet });
        host.complete(sent);
      }
    } while (onChange() || host.calls.hasWork() !== 0);
  }

  /** Goes to the stack's next deadline, but not beyond `until`. False when none is that early. */
  function step(until: number): boolean {
    const limit = START + BigInt(Math.round(until));
    const deadline = host.nextDeadline();
    if (deadline === undefined || deadline > limit) {
      if (limit > now) now = limit;
      return false;
    }
    if (deadline > now) now = deadline;
    settle();
    return true;
  }

  function advance(until: number): void {
    settle();
    let hasMore = true;
    while (hasMore) hasMore = step(until);
  }

  /** A frame arrives. What the stack makes of it is seen after settle(). */
  function deliver(frame: Uint8Array): void {
    if (host.deliver(frame)) return;
    host.run(now);
    if (!host.deliver(frame)) throw new Error("the stack posts no frame to receive into");
  }

  function takeCaptured(): Captured[] {
    const taken = captured;
    captured = [];
    return taken;
  }

  return {
    host,
    elapsed,
    now: () => now,
    settle,
    step,
    advance,
    deliver,
    takeCaptured,
    watch: (watcher: () => boolean) => {
      onChange = watcher;
    },
  };
}
