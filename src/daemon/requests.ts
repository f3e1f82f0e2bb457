// The control protocol: one JSON object per packet (docs: ARCHITECTURE.md). Validated here, once.

import { z } from "zod";
import { parseInterface } from "../cli/settings.ts";

/** Longest request that is read. */
export const REQUEST_BYTES_MAX = 16384;
const INTERFACES_MAX = 64;

const interfaces = z
  .array(z.string().refine((text) => parseInterface(text) !== undefined, "not an interface name"))
  .max(INTERFACES_MAX);

const requestSchema = z.discriminatedUnion("type", [
  /** A program wants to use the stack. `build`: hash of its library; `pid`: its own idea of it. */
  z.strictObject({
    type: z.literal("join"),
    build: z.string().regex(/^[0-9a-f]{16}$/),
    pid: z.int().positive(),
  }),
  /** A program that joined under an exasockd which died comes to the one that took over. */
  z.strictObject({
    type: z.literal("rejoin"),
    build: z.string().regex(/^[0-9a-f]{16}$/),
    slot: z.int().positive(),
  }),
  /** The AF_XDP sockets again, after a change. Only after `join`. */
  z.strictObject({ type: z.literal("queues") }),
  z.strictObject({ type: z.literal("status") }),
  /** Whether the region's invariants hold: what does not, in words. */
  z.strictObject({ type: z.literal("check") }),
  z.strictObject({ type: z.literal("stop") }),
  z.strictObject({ type: z.literal("up"), interfaces }),
  z.strictObject({ type: z.literal("down"), interfaces }),
]);

export type Request = z.infer<typeof requestSchema>;

/** The request in a packet, or one line that says what is wrong with it. */
export function parseRequest(packet: Buffer): Request | string {
  if (packet.length > REQUEST_BYTES_MAX) return "the request is too long";
  let json: unknown;
  try {
    json = JSON.parse(packet.toString("utf8"));
  } catch {
    return "the request is not JSON";
  }
  const parsed = requestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = issue?.path.join(".");
  return `${place ? `${place}: ` : ""}${issue?.message ?? "invalid request"}`.replaceAll("\n", " ");
}

/** What a program reads after `join` and `queues`; descriptors follow in the same packet. */
export function formatAttachment(
  clientSlot: number,
  regionBytes: number,
  fdCount: number,
  queueSlots: readonly number[],
): string {
  const bitmap = queueSlots.reduce((bits, slot) => bits | (1n << BigInt(slot)), 0n);
  return `ok ${clientSlot} ${regionBytes} ${fdCount} ${bitmap.toString(16)}\n`;
}

export function formatRefusal(reason: string): string {
  return `error ${reason.replaceAll(/\s+/g, " ")}\n`;
}
