// Transfers of a stream whose every byte counts, between an accelerated program and one on Linux's
// own TCP, over a bad cable.

import { resolve } from "node:path";
import type { CableCounters, Impairment } from "../../src/lab/impairment.ts";
import type { Host, Network } from "../../src/lab/network.ts";
import { ROOT } from "./compile.ts";
import { accelerated, status } from "./exasock.ts";

const PYTHON = "/usr/bin/python3";
const SCRIPT = resolve(ROOT, "test/shim/programs/python/transfer.py");
const PORT = 7070;
const SEED = "20";

/** The left host's program is the accelerated one, unless none is. */
export type Direction = "from left" | "to left";

/** What the cable does in the transfers that must succeed. */
export const TRANSFER_CABLES: readonly (readonly [string, Impairment])[] = [
  ["0 % loss", {}],
  ["0.1 % loss", { seed: 11, loss: 0.001 }],
  ["1 % loss", { seed: 12, loss: 0.01 }],
  ["5 % loss", { seed: 13, loss: 0.05 }],
  ["10 % reordering", { seed: 14, reorder: 0.1 }],
];

export const DIRECTIONS: readonly Direction[] = ["from left", "to left"];

export interface TransferOptions {
  network: Network;
  direction: Direction;
  cable: Impairment;
  bytes: number;
  isAccelerated: boolean;
  limitMillis: number;
}

export interface Transfer {
  /** Byte count and SHA-256 as each end has them. */
  sent: string;
  received: string;
  seconds: number;
  cable: CableCounters;
  /** Segments that passed the left host's stack, and its kernel's TCP. */
  segments: number;
  kernelSegments: number;
  retransmits: number;
}

async function counts(host: Host) {
  const stack = (await status(host))?.counters ?? {};
  const kernel = host.kernelCounters("Tcp");
  return {
    segments: (stack.rxSegments ?? 0) + (stack.txSegments ?? 0),
    retransmits: stack.txRetransmits ?? 0,
    kernelSegments: (kernel.InSegs ?? 0) + (kernel.OutSegs ?? 0),
  };
}

/** Carries one stream; throws when an end fails or takes too long. */
export async function transfer(options: TransferOptions): Promise<Transfer> {
  const { network, direction, cable, bytes, isAccelerated, limitMillis } = options;
  const [left, right] = [network.host("left"), network.host("right")];
  await network.cable().set(cable);
  const before = await counts(left);
  const [leftRole, rightRole] =
    direction === "from left" ? ["send", "receive"] : ["receive", "send"];
  const end = (way: string, role = "") => {
    return [PYTHON, SCRIPT, way, right.address, String(PORT), role, String(bytes), SEED];
  };
  await using peer = right.start(end("listen", rightRole), { limitMillis });
  await peer.waitForOutput("ready\n");
  const command = end("connect", leftRole);
  const started = performance.now();
  await using subject = left.start(isAccelerated ? accelerated(command) : command, { limitMillis });
  const results = [await subject.waitForSuccess(), await peer.waitForSuccess()];
  const [own = "", other = ""] = results.map(({ stdout }) => stdout.replace("ready\n", "").trim());
  const after = await counts(left);
  return {
    sent: direction === "from left" ? own : other,
    received: direction === "from left" ? other : own,
    seconds: (performance.now() - started) / 1000,
    cable: await network.cable().counters(),
    segments: after.segments - before.segments,
    kernelSegments: after.kernelSegments - before.kernelSegments,
    retransmits: after.retransmits - before.retransmits,
  };
}
