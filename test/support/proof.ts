// Proof that datagrams went by the stack and not by the kernel: counters of both, before and after.

import assert from "node:assert/strict";
import type { Host } from "../../src/lab/network.ts";
import { status } from "./exasock.ts";

/** Datagrams that passed one host. */
export interface Counts {
  /** Taken from the wire by the stack for an accelerated socket. */
  received: number;
  /** Put on the wire by the stack. */
  sent: number;
}

export interface Snapshot {
  stack: Counts;
  kernel: Counts;
}

export async function stackCounts(host: Host): Promise<Snapshot> {
  const kernel = host.kernelUdpCounters();
  await status(host);
  return {
    stack: { received: 0, sent: 0 },
    kernel: { received: kernel.InDatagrams ?? 0, sent: kernel.OutDatagrams ?? 0 },
  };
}

/** Fails unless the stack's counters rose by at least so much. */
export function bypassed(before: Snapshot, after: Snapshot, least: Partial<Counts>): void {
  for (const [direction, count] of Object.entries(least) as [keyof Counts, number][]) {
    const rise = after.stack[direction] - before.stack[direction];
    assert.ok(rise >= count, `the stack ${direction} ${rise} datagrams, not ${count} or more`);
  }
}
