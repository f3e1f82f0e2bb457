// struct msghdr and its kin, in the memory of another process.

import { namesOf } from "./constants.ts";
import type { Libc } from "./libc.ts";
import * as memory from "./memory.ts";
import { type Address, showBytes, type Transcript } from "./transcript.ts";

export type Data = string | Uint8Array;

/** What sendmsg and sendmmsg send. */
export interface Message {
  data: readonly Data[];
  to?: Address;
  controls?: readonly memory.Control[];
}

/** Memory that recvmsg and recvmmsg fill. */
export interface ReceiveSpace {
  buffers: number[];
  sizes: readonly number[];
  name: number;
  control: number;
  header: Buffer;
}

/** Text is sent as latin1, so that every byte can be written in a scenario. */
export function bytesOf(data: Data): Buffer {
  return typeof data === "string" ? Buffer.from(data, "latin1") : Buffer.from(data);
}

/** Writes an array of struct iovec and the parts that it names. */
export function vectorAt(libc: Libc, parts: readonly Uint8Array[]): number {
  return libc.put(memory.words(...parts.flatMap((part) => [libc.put(part), part.length])));
}

/** A struct msghdr for sending. */
export function header(libc: Libc, { data, to, controls = [] }: Message): Buffer {
  const name = to ? libc.put(memory.sockaddrBytes(to)) : 0;
  const vector = vectorAt(libc, data.map(bytesOf));
  const control = memory.controlBytes(controls);
  const controlAt = control.length > 0 ? libc.put(control) : 0;
  const nameBytes = to ? memory.SOCKADDR_BYTES : 0;
  return memory.words(name, nameBytes, vector, data.length, controlAt, control.length, 0);
}

export function show(transcript: Transcript, { data, to, controls = [] }: Message): string {
  const parts = data.map((part) => showBytes(bytesOf(part))).join("+");
  const extra = controls.map(({ type, data: bytes }) => {
    return ` ${type} ${Buffer.from(bytes).toString("hex")}`;
  });
  return `{${parts}${to ? ` to ${transcript.showAddress(to)}` : ""}${extra.join("")}}`;
}

/** The msg_len fields of an array of struct mmsghdr. */
export async function lengths(libc: Libc, at: number, count: number): Promise<number[]> {
  const bytes = await libc.peek(at, count * memory.MMSGHDR_BYTES);
  const field = (i: number) => i * memory.MMSGHDR_BYTES + memory.MSGHDR_BYTES;
  return Array.from({ length: count }, (_, i) => bytes.readUInt32LE(field(i)));
}

export function receiveSpace(
  libc: Libc,
  sizes: readonly number[],
  controlBytes: number,
): ReceiveSpace {
  const buffers = sizes.map((size) => libc.reserve(size));
  const vector = libc.put(memory.words(...buffers.flatMap((at, i) => [at, sizes[i] ?? 0])));
  const name = libc.reserve(memory.SOCKADDR_BYTES);
  const control = controlBytes > 0 ? libc.reserve(controlBytes) : 0;
  const nameBytes = memory.SOCKADDR_BYTES;
  const words = memory.words(name, nameBytes, vector, sizes.length, control, controlBytes, 0);
  return { buffers, sizes, name, control, header: words };
}

/** The bytes that arrived in each of the buffers. */
export async function readParts(
  libc: Libc,
  { buffers, sizes }: Pick<ReceiveSpace, "buffers" | "sizes">,
  totalBytes: number,
): Promise<Buffer[]> {
  const parts: Buffer[] = [];
  let rest = totalBytes;
  for (const [i, at] of buffers.entries()) {
    const part = Math.min(rest, sizes[i] ?? 0);
    parts.push(await libc.peek(at, part));
    rest -= part;
  }
  return parts;
}

/** What a filled struct msghdr says: data, sender, flags and control messages. */
export async function readHeader(
  { libc, transcript }: { libc: Libc; transcript: Transcript },
  at: number,
  space: ReceiveSpace,
  result: number,
) {
  const words = await libc.peek(at, memory.MSGHDR_BYTES);
  const parts = await readParts(libc, space, result);
  const nameBytes = words.readUInt32LE(8);
  const name = await libc.peek(space.name, memory.SOCKADDR_BYTES);
  const from = nameBytes > 0 ? memory.readAddress(name) : undefined;
  const controlBytes = await libc.peek(space.control, Number(words.readBigUInt64LE(40)));
  const controls = memory.readControls(controlBytes);
  const control = controls.map((shown) => shown.text);
  const text = [
    parts.map(showBytes).join("+"),
    from ? `from ${transcript.showAddress(from)}` : "from nobody",
    `flags ${namesOf(words.readInt32LE(48), "MSG_")}`,
    ...control,
  ].join(", ");
  const descriptors = controls.flatMap((shown) => shown.descriptors);
  return { text, from, data: Buffer.concat(parts), descriptors, control };
}
