// The addon (native/addon) as exasockd uses it. Every function returns a number >= 0 or -errno;
// `check` turns the latter into an exception that says what was attempted.

import { createRequire } from "node:module";
import { join } from "node:path";
import { getSystemErrorMap, getSystemErrorName } from "node:util";
import type { StackExports } from "../../build/gen/layout.ts";
import { BUILD_FOLDER } from "../cli/native.ts";

/** A descriptor being watched; opaque. */
export type Watch = { readonly watch: unique symbol };

/** The stack's exports; each takes and releases the region's lock. */
export type StackCalls = StackExports & {
  /** Destroys the socket with this SO_COOKIE, if there is one; 1 if so. */
  socketForget(cookie: bigint): number;
};

export interface Native {
  memfdCreate(name: string, bytes: number): number;
  close(fd: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array): number;
  connect(fd: number, address: Uint8Array): number;
  listen(fd: number, backlog: number): number;
  accept(fd: number): number;
  receive(fd: number, into: Uint8Array, flags: number): number;
  send(fd: number, data: Uint8Array, fds: number[], address: Uint8Array | null): number;
  /** One message: its length, then the descriptors that came along. */
  receiveWithFds(fd: number, into: Uint8Array, flags: number): [number, ...number[]] | number;
  socketPair(domain: number, type: number): [number, number] | number;
  pidfdOpen(pid: number): number;
  pidfdGetfd(pidfd: number, fd: number): number;
  getSocketOption(fd: number, level: number, name: number, into: Uint8Array): number;
  setSocketOption(fd: number, level: number, name: number, value: Uint8Array): number;
  setLimit(resource: number, soft: number, hard: number): number;

  bpfMessage(): string;
  bpfMapCreate(name: string, valueBytes: number, entries: number): number;
  bpfMapSet(fd: number, key: number, value: number): number;
  bpfMapDelete(fd: number, key: number): number;
  bpfLoad(
    path: string,
    rodata: Uint8Array | null,
    sharedMapName: string,
    sharedMapFd: number,
    ownMapName: string,
  ): [number, number] | number;
  bpfLinkXdp(programFd: number, ifindex: number, generic: number): number;
  /** Name of the XDP program that is attached, its link, a map of it by name, generic or not. */
  bpfAttached(ifindex: number, mapName: string): [string, number, number, boolean] | number;

  watchOpen(fd: number, callback: () => void): Watch | number;
  watchStart(watch: Watch): number;
  watchStop(watch: Watch): number;
  watchClose(watch: Watch): number;

  /** The build that the addon is of, 16 hexadecimal digits. */
  coreBuild(): string;
  /** Maps the memory file as the region; once per process. */
  coreMap(fd: number, bytes: bigint, stackName: string): ArrayBuffer | number;
  /** Address of region offset 0 in this process. */
  coreAddress(): bigint;
  /** Lays `bytes` of a descriptor's memory over the region at `offset`. */
  coreMapWindow(fd: number, fileOffset: bigint, offset: number, bytes: number): number;
  /** Lays one ring of an AF_XDP socket over its window of the region. */
  coreMapRing(queue: number, ring: number, fd: number): number;
  /** The AF_XDP socket of a queue, for kicks; -1 for none. */
  coreSetQueue(slot: number, fd: number): number;
  /** From now on this process is exasockd; -EBUSY while another one lives in the region. */
  coreClaim(): number;
  /** Pid of the process that uses a client slot; 0 nobody, -1 one that has no pid here. */
  coreClaimant(slot: number): number;
  /** Holds the region's lock until coreUnlock(); calls of the stack meanwhile would never end. */
  coreLock(): number;
  coreUnlock(): number;
  /** Repairs the region if a process that is gone holds the lock: 1 if so. */
  coreBury(): number;
  stack: StackCalls;
}

/** A failed system call: the message is one line for people. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** Positive error number. */
  readonly errno: number;
  readonly code: string;

  constructor(what: string, errno: number) {
    const text = getSystemErrorMap().get(-errno)?.[1] ?? `error ${errno}`;
    super(`${what}: ${text}`);
    this.errno = errno;
    this.code = getSystemErrorName(-errno);
  }
}

/** The result, or an exception if it is -errno. */
export function check(result: number, what: string): number {
  if (result < 0) throw new SystemError(what, -result);
  return result;
}

/** `check` for functions that return something else than a number when they succeed. */
export function checkValue<T>(result: T | number, what: string): T {
  if (typeof result === "number") throw new SystemError(what, -result);
  return result;
}

let loaded: Native | undefined;

export function native(): Native {
  loaded ??= createRequire(import.meta.url)(join(BUILD_FOLDER, "exasock.node")) as Native;
  return loaded;
}

/** Watches a descriptor; close the result before the descriptor. */
export function watch(fd: number, callback: () => void): Watch {
  const opened = checkValue(native().watchOpen(fd, callback), "watching a descriptor");
  check(native().watchStart(opened), "watching a descriptor");
  return opened;
}
