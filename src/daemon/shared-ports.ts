// Ports where the stack and ordinary programs both have sockets: SO_REUSEPORT groups, and sockets
// at one address beside others at the wildcard. Who gets what there is the kernel's to judge.

import type { SocketView } from "../../build/gen/layout.ts";
import { portNetOf, stackAddressOf } from "./address.ts";
import type { StackCalls } from "./native.ts";
import { AF_INET } from "./netlink/route.ts";
import { type DiagSocket, IPPROTO_TCP } from "./netlink/sock-diag.ts";

const WILDCARD = 0n;

export interface PortName {
  readonly protocol: number;
  readonly portNet: number;
}

function keyOf({ protocol, portNet }: PortName): string {
  return `${protocol}/${portNet}`;
}

/** Sockets of both worlds, as one look at them shows. */
export class SharedPorts {
  readonly #ours = new Map<string, Set<bigint>>();
  readonly #cookies = new Set<bigint>();
  readonly #shared = new Map<string, PortName>();

  /** A socket of the region that packets are steered to. All of these come first. */
  addOurs({ cookie, protocol, localPortNet, localLo }: SocketView): void {
    const key = keyOf({ protocol, portNet: localPortNet });
    this.#cookies.add(cookie);
    const addresses = this.#ours.get(key);
    if (addresses) addresses.add(localLo);
    else this.#ours.set(key, new Set([localLo]));
  }

  /** A socket that the kernel lists: the twin of one of ours, or an ordinary program's. */
  addKernels(protocol: number, socket: DiagSocket): void {
    if (socket.family !== AF_INET || this.#cookies.has(socket.cookie)) return;
    const portNet = portNetOf(socket.localPort);
    const key = keyOf({ protocol, portNet });
    const addresses = this.#ours.get(key);
    if (addresses === undefined) return;
    const isAny = socket.localAddress.readUInt32LE(0) === 0;
    const lo = isAny ? WILDCARD : stackAddressOf(socket.localAddress).lo;
    // One at an address of its own takes from the wildcard's; nothing else meets.
    if (addresses.has(lo) || addresses.has(WILDCARD)) this.#shared.set(key, { protocol, portNet });
  }

  get ports(): ReadonlyMap<string, PortName> {
    return this.#shared;
  }

  /** True while the stack has anything at the port. */
  isOurs(key: string): boolean {
    return this.#ours.has(key);
  }
}

/** What the stack was told of. */
export class SharedPortsTold {
  readonly #told = new Map<string, PortName>();

  /** After an exasockd that died: what that one had told. */
  takeOver(ports: Iterable<PortName>): void {
    for (const port of ports) this.#told.set(keyOf(port), port);
  }

  /**
   * Tells the stack. A port stays shared as long as the stack has anything there: the kernel may
   * have connections at it that began when it was. `locals`: the IPv4 addresses of this host.
   */
  follow(stack: StackCalls, seen: SharedPorts, locals: Iterable<Buffer>): void {
    for (const [key, port] of seen.ports) this.#told.set(key, port);
    if (this.#told.size === 0) return;
    const addresses = [...locals].map((address) => stackAddressOf(address).lo);
    for (const [key, { protocol, portNet }] of this.#told) {
      const isUsed = (lo: bigint) => stack.tcpPortUsed(0n, lo, portNet) !== 0;
      const stays = seen.isOurs(key) || (protocol === IPPROTO_TCP && addresses.some(isUsed));
      stack.portShare(protocol, portNet, stays ? 1 : 0);
      if (!stays) this.#told.delete(key);
    }
  }
}
