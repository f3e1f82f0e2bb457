// A connection outlives the program that closed it, and so must the reservation of its port: while
// the stack finishes it, exasockd holds a kernel socket in the program's place.

import { portNetOf, stackAddressOf } from "./address.ts";
import { check, native } from "./native.ts";
import type { Region } from "./region.ts";

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SOCKADDR_BYTES = 16;
const RLIMIT_NOFILE = 7;
/** Descriptors of exasockd: what it holds ports with, and as many again for its other work. */
const DESCRIPTORS_MAX = 65536;
/** More ports than that are not held: the kernel may give them out anew. */
const PORTS_MAX = 32768;
/** Most connections are over by then: their ports would be held for nothing. */
const PATIENCE_MILLIS = 50;

interface HeldPort {
  readonly fd: number;
  readonly lo: bigint;
  readonly portNet: number;
}

/** A port that its socket has just left; the address may be the wildcard. */
interface LeftPort {
  readonly address: Buffer;
  readonly port: number;
}

export class HeldPorts {
  readonly #region: Region;
  readonly #held = new Map<string, HeldPort>();
  #left: LeftPort[] = [];
  #timer: NodeJS.Timeout | undefined;
  #count = 0;

  readonly #locals: () => Iterable<Buffer>;

  /** `locals`: the IPv4 addresses of this host. */
  constructor(region: Region, locals: () => Iterable<Buffer>) {
    this.#region = region;
    this.#locals = locals;
    // Where that is not allowed, fewer ports are held.
    native().setLimit(RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX);
  }

  /** How many have been held so far. */
  get count(): number {
    return this.#count;
  }

  /** Holds a local address's port if connections of the stack still use it in a moment. */
  hold(address: Buffer, port: number): void {
    this.#left.push({ address, port });
    this.#timer ??= setTimeout(() => this.#holdUsed(), PATIENCE_MILLIS);
  }

  #holdUsed(): void {
    const left = this.#left;
    this.#left = [];
    this.#timer = undefined;
    for (const { address, port } of left) {
      const isAny = address.readUInt32LE(0) === 0;
      for (const one of isAny ? this.#locals() : [address]) this.#holdIfUsed(one, port);
    }
  }

  #holdIfUsed(address: Buffer, port: number): void {
    const { lo } = stackAddressOf(address);
    const portNet = portNetOf(port);
    const key = `${lo}/${port}`;
    if (this.#held.has(key) || this.#held.size >= PORTS_MAX) return;
    if (this.#region.stack.tcpPortUsed(0n, lo, portNet) === 0) return;
    const fd = native().socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    // As a connection in TIME-WAIT: who sets SO_REUSEADDR may listen there again.
    const one = Buffer.from([1, 0, 0, 0]);
    check(native().setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, one), "SO_REUSEADDR");
    const name = Buffer.alloc(SOCKADDR_BYTES);
    name.writeUInt16LE(AF_INET, 0);
    name.writeUInt16BE(port, 2);
    address.copy(name, 4);
    // Somebody else may have it already.
    if (native().bind(fd, name) < 0) {
      native().close(fd);
      return;
    }
    this.#held.set(key, { fd, lo, portNet });
    this.#count += 1;
  }

  /** Lets go of ports that no connection uses any more. Called about once a second. */
  release(): void {
    for (const [key, { fd, lo, portNet }] of this.#held) {
      if (this.#region.stack.tcpPortUsed(0n, lo, portNet) !== 0) continue;
      this.#held.delete(key);
      native().close(fd);
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const { fd } of this.#held.values()) native().close(fd);
    this.#held.clear();
  }
}
