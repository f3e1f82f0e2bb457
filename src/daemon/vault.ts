// What has to outlive exasockd: descriptors that lie in the queue of a Unix socket. Every program
// of the stack holds both ends, so the queue, and all that is in it, lives as long as exasockd or
// any program does, and is gone with the last of them. Another exasockd finds the ends in a living
// program and looks into the queue. See docs/decisions/0019-vault.md.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { z } from "zod";
import { BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import { controlAddress } from "../cli/control-client.ts";
import { peerOf } from "./authorisation.ts";
import { check, checkValue, native } from "./native.ts";

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOL_SOCKET = 1;
const SO_PEEK_OFF = 42;
const MSG_PEEK = 2;
const EADDRINUSE = 98;
const EAGAIN = 11;
const MESSAGE_BYTES_MAX = 65536;
/** The last program may go, or another come, between two looks. */
const TRIES = 5;

const depositSchema = z.strictObject({
  build: z.string(),
  regionBytes: z.number(),
  /** Interfaces that the user took down. */
  excluded: z.array(z.string()),
  interfaces: z.array(
    z.strictObject({
      ifindex: z.number(),
      slot: z.number(),
      mode: z.enum(["native", "generic"]),
      nativeProblem: z.string(),
      virtual: z.boolean(),
      /** Other stacks may have queues of it: one descriptor more. */
      shared: z.boolean(),
      queues: z.array(z.strictObject({ slot: z.number(), queueId: z.number() })),
    }),
  ),
});

/**
 * What a message in the vault says about its descriptors, which follow in this order: memory,
 * steering table, arrival counters, the program that counts; then of each interface its link, its
 * program, its map of sockets, the dispatcher's map if it is shared, and the sockets of its queues.
 */
export type Deposit = z.infer<typeof depositSchema>;

export interface Legacy {
  readonly deposit: Deposit;
  readonly fds: readonly number[];
  /** The program whose descriptors led to it. */
  readonly pid: number;
}

/** Programs of an exasockd that is gone use the stack, and this one can't take their stack over. */
export class TakeoverError extends Error {
  override readonly name = "TakeoverError";
}

function endAddress(stack: string, end: number): Uint8Array {
  return controlAddress(stack, `/vault/${end}`);
}

export class Vault {
  /** Read end, write end. */
  readonly fds: readonly [number, number];
  /** What a dead exasockd left; undefined when this is a fresh start. */
  readonly legacy: Legacy | undefined;
  #isEmpty: boolean;

  private constructor(fds: readonly [number, number], legacy: Legacy | undefined) {
    this.fds = fds;
    this.legacy = legacy;
    this.#isEmpty = legacy === undefined;
  }

  /** A new vault, or the one that living programs hold. */
  static open(stack: string): Vault {
    let reason = "";
    for (let tries = 0; tries < TRIES; tries++) {
      const fresh = bindNew(stack);
      if (fresh) return new Vault(fresh, undefined);
      const found = findHolder(stack);
      if (typeof found === "string") {
        reason = found;
        continue;
      }
      const legacy = readNewest(found.fds[0], found.pid);
      if (legacy && legacy.deposit.build !== BUILD_HASH_TEXT) {
        reason = `they are of build ${legacy.deposit.build}, not ${BUILD_HASH_TEXT}; end them first`;
        break;
      }
      return new Vault(found.fds, legacy);
    }
    throw new TakeoverError(
      `programs of an exasockd that died still use the stack "${stack}": ${reason}`,
    );
  }

  /** Deposits these in place of what is there. */
  put(deposit: Deposit, fds: readonly number[]): void {
    const text = Buffer.from(JSON.stringify(deposit));
    check(native().send(this.fds[1], text, [...fds], null), "depositing descriptors");
    // The old one goes after the new one is there: one of the two always is.
    if (!this.#isEmpty) this.#takeOne();
    this.#isEmpty = false;
  }

  /** Whether there was one. Its descriptors are let go of. */
  #takeOne(): boolean {
    return native().receive(this.fds[0], Buffer.alloc(1), 0) > 0;
  }

  /** For a deliberate end: lets go of everything. */
  close(): void {
    while (this.#takeOne());
    for (const fd of this.fds) native().close(fd);
  }
}

/** A pair of sockets with the vault's names; undefined if somebody has those. */
function bindNew(stack: string): [number, number] | undefined {
  const pair = checkValue(native().socketPair(AF_UNIX, SOCK_SEQPACKET), "vault");
  for (const end of [0, 1] as const) {
    const result = native().bind(pair[end], endAddress(stack, end));
    if (result >= 0) continue;
    for (const fd of pair) native().close(fd);
    if (result === -EADDRINUSE) return undefined;
    check(result, "vault");
  }
  return pair;
}

/** Inode numbers of the vault's ends, by which /proc shows who holds them. */
function endInodes(stack: string): string[] {
  const lines = readFileSync("/proc/thread-self/net/unix", "latin1").split("\n");
  return [0, 1].map((end) => {
    const name = `@exasock/${stack}/vault/${end}`;
    return lines.find((line) => line.endsWith(` ${name}`))?.split(/\s+/)[6] ?? "";
  });
}

/** Copies of a living program's ends, or why there are none. */
function findHolder(stack: string): { fds: [number, number]; pid: number } | string {
  const links = endInodes(stack).map((inode) => `socket:[${inode}]`);
  let reason = "none of them is visible from here (another pid namespace?)";
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const numbers = links.map((link) => descriptorOf(pid, link));
    const [read, write] = numbers;
    if (read === undefined || write === undefined) continue;
    const copies = copyDescriptors(pid, [read, write]);
    if (typeof copies === "number") {
      reason = `the descriptors of pid ${pid} are out of reach (errno ${-copies})`;
    } else if (peerOf(copies[0])?.uid !== 0) {
      // Whoever made the pair is noted in it by the kernel.
      for (const fd of copies) native().close(fd);
      reason = `what pid ${pid} holds was not made by root`;
    } else {
      return { fds: copies, pid };
    }
  }
  return reason;
}

/** Number of the descriptor of a process that is this, newest numbers first: ours lie high. */
function descriptorOf(pid: number, link: string): number | undefined {
  try {
    const numbers = readdirSync(`/proc/${pid}/fd`).reverse();
    const found = numbers.find((fd) => linkOf(pid, fd) === link);
    return found === undefined ? undefined : Number(found);
  } catch {
    // It is gone, or not ours to look at.
    return undefined;
  }
}

function linkOf(pid: number, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return "";
  }
}

function copyDescriptors(pid: number, numbers: [number, number]): [number, number] | number {
  const process = native().pidfdOpen(pid);
  if (process < 0) return process;
  const [read, write] = numbers.map((fd) => native().pidfdGetfd(process, fd)) as [number, number];
  native().close(process);
  if (read >= 0 && write >= 0) return [read, write];
  for (const fd of [read, write]) if (fd >= 0) native().close(fd);
  return Math.min(read, write);
}

function setPeekOffset(fd: number, offset: number): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(offset);
  check(native().setSocketOption(fd, SOL_SOCKET, SO_PEEK_OFF, value), "vault");
}

/**
 * The newest message, which stays where it is: this process may die, too. An older one is there if
 * the dead was just replacing it; none if exasockd ended on purpose and its programs go on.
 */
function readNewest(fd: number, pid: number): Legacy | undefined {
  const buffer = Buffer.alloc(MESSAGE_BYTES_MAX);
  let newest: { text: string; fds: number[] } | undefined;
  let older = 0;
  setPeekOffset(fd, 0);
  for (;;) {
    const got = native().receiveWithFds(fd, buffer, MSG_PEEK);
    if (got === -EAGAIN) break;
    const [bytes, ...fds] = checkValue(got, "looking into the vault");
    if (bytes === 0) break;
    for (const old of newest?.fds ?? []) native().close(old);
    if (newest) older++;
    newest = { text: buffer.toString("utf8", 0, bytes), fds };
  }
  setPeekOffset(fd, -1);
  for (; older > 0; older--) native().receive(fd, Buffer.alloc(1), 0);
  if (newest === undefined) return undefined;
  const parsed = depositSchema.safeParse(JSON.parse(newest.text));
  if (!parsed.success) throw new TakeoverError("the vault's contents are of another build");
  return { deposit: parsed.data, fds: newest.fds, pid };
}
