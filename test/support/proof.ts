// Proofs from counters: traffic went by the stack and not by the kernel, and no frame was lost.

import assert from "node:assert/strict";
import type { Status } from "../../src/daemon/status.ts";
import type { Host } from "../../src/lab/network.ts";
import { until } from "../../src/lab/program.ts";
import type { Finding } from "../../src/cli/doctor.ts";
import { CONTROL, status } from "./exasock.ts";

/** What passed one host, by either way. */
export interface Counts {
  /** Datagrams taken from the wire by the stack for an accelerated socket, and put on it. */
  received: number;
  sent: number;
  /** Datagrams from one accelerated program of the host to another. */
  localDatagrams: number;
  /** The same by the kernel's own UDP. */
  kernelReceived: number;
  kernelSent: number;
  /** TCP connections that the stack opened or let in, and segments that it took and put. */
  connections: number;
  segments: number;
  /** Bytes from one accelerated program of the host to another, on connections. */
  localBytes: number;
  /** Segments of the kernel's own TCP, those on loopback included. */
  kernelSegments: number;
}

/** What a bypass must look like: at least so many by the stack, at most so many by the kernel. */
export type Bypass = Partial<Counts>;

export async function trafficCounts(host: Host): Promise<Counts> {
  const counters = (await status(host))?.counters ?? {};
  const [udp, tcp] = [host.kernelCounters("Udp"), host.kernelCounters("Tcp")];
  const sum = (of: Record<string, number>, ...names: string[]) =>
    names.reduce((total, name) => total + (of[name] ?? 0), 0);
  return {
    received: sum(counters, "rxDatagrams"),
    sent: sum(counters, "txDatagrams"),
    localDatagrams: sum(counters, "localDatagrams"),
    kernelReceived: sum(udp, "InDatagrams"),
    kernelSent: sum(udp, "OutDatagrams"),
    connections: sum(counters, "tcpActiveOpens", "tcpPassiveOpens"),
    segments: sum(counters, "rxSegments", "txSegments"),
    localBytes: sum(counters, "localStreamBytes"),
    kernelSegments: sum(tcp, "InSegs", "OutSegs"),
  };
}

/** A counter of the stack, the kernel's that it is held against, and what they count. */
const WAYS = [
  ["received", "kernelReceived", "datagrams received"],
  ["sent", "kernelSent", "datagrams sent"],
  ["localDatagrams", "kernelSent", "datagrams within the host"],
  ["connections", "kernelSegments", "connections"],
  ["segments", "kernelSegments", "segments"],
  ["localBytes", "kernelSegments", "bytes on connections within the host"],
] as const;

/** Fails unless the counters prove the bypass. */
export function assertBypass(before: Counts, after: Counts, bypass: Bypass): void {
  for (const [way, kernelWay, what] of WAYS) {
    const least = bypass[way];
    if (least === undefined) continue;
    const rise = after[way] - before[way];
    assert.ok(rise >= least, `by the stack ${rise} ${what}, not ${least} or more`);
    const kernelRise = after[kernelWay] - before[kernelWay];
    const most = bypass[kernelWay] ?? 0;
    assert.ok(
      kernelRise <= most,
      `by the kernel ${kernelRise} (${kernelWay}), not ${most} at most`,
    );
  }
}

/** Where the frames of the pool are. Their sum is the pool. */
export function frameBalance({ region, interfaces, sockets }: Status) {
  const queues = interfaces.flatMap((one) => one.queues);
  const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);
  const posted = sum(queues.map((queue) => queue.posted));
  const inFlight = sum(queues.map((queue) => queue.inFlight));
  const queued = sum(sockets.map((socket) => socket.queuedDatagrams));
  const kept = sum(sockets.map((socket) => socket.keptFrames));
  const known = region.freeFrames + posted + inFlight + queued + kept;
  const missing = region.frames - known;
  return { free: region.freeFrames, posted, inFlight, queued, kept, missing };
}

/** Fails unless every frame of the pool is free, posted, being sent or queued. */
export async function assertFramesConserved(host: Host): Promise<void> {
  let balance: ReturnType<typeof frameBalance> | undefined;
  // A snapshot may be taken in the middle of a packet; a loss stays.
  await until(`no frame to be missing on ${host.name}`, async () => {
    const now = await status(host);
    assert.ok(now, `no exasockd on ${host.name}`);
    balance = frameBalance(now);
    return balance.missing === 0;
  }).catch(() => assert.fail(`frames are missing: ${JSON.stringify(balance)}`));
}

/** Fails unless every list, count and table of the host's region is right. */
export async function assertSound(host: Host): Promise<void> {
  const program = host.start([CONTROL, "doctor", "--json"]);
  const { stdout } = await program.waitForExit();
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  const [region] = findings.filter(({ subject }) => subject === "region");
  assert.equal(region?.message, "every list and count in it is right");
}
