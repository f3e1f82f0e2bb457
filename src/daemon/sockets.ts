// Ends sockets of the region whose kernel twin is gone, for whichever reason: the kernel says so
// when it destroys one, and is asked now and then in case that was missed. A TCP connection goes on
// without its program, as long as it takes to deliver what close(2) promised.

import {
  Ends,
  MAX_SOCKETS,
  SOCKETS_OFFSET,
  SocketFlag,
  SocketState,
  SocketView,
} from "../../build/gen/layout.ts";
import { ipv4BytesOf } from "./address.ts";
import { HeldPorts } from "./held-ports.ts";
import { livingSockets } from "./living-sockets.ts";
import type { Logger } from "./log.ts";
import {
  DESTROY_GROUPS,
  type DiagSocket,
  decodeDiagSocket,
  encodeSocketDump,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "./netlink/sock-diag.ts";
import type { NetlinkMessage } from "./netlink/message.ts";
import { AF_INET } from "./netlink/route.ts";
import { NETLINK_SOCK_DIAG, NetlinkEvents, NetlinkRequests } from "./netlink/socket.ts";
import type { Region } from "./region.ts";
import { SharedPorts, SharedPortsTold } from "./shared-ports.ts";

/** Sockets that end by the thousand are handled so often. */
const PAUSE_MILLIS = 5;
/** So many ends that were no news say that it is not worth while to listen. */
const STALE_MAX = 2000;
/** It is listened for so long once somebody asked for it. */
const LISTEN_MILLIS = 3000;
/** Between two looks at which sockets live. */
const SECOND_LOOK_MILLIS = 20;

/** Network-order port as loaded little-endian. */
export function portOf(portNet: number): number {
  return ((portNet & 0xff) << 8) | (portNet >> 8);
}

/** A socket of the region, as seen without the lock. */
export interface RegionSocket {
  readonly index: number;
  readonly view: SocketView;
}

/** The sockets in use. The views are valid until the caller returns to the event loop. */
export function* regionSockets(region: Region): Generator<RegionSocket> {
  const end = Math.min(region.header.socketHigh, MAX_SOCKETS);
  for (let index = 1; index < end; index++) {
    const view = new SocketView(region.view, SOCKETS_OFFSET + index * SocketView.BYTES);
    if (view.state !== SocketState.Free) yield { index, view };
  }
}

export interface SocketSources {
  /** IPv4 addresses of this host. */
  locals(): Iterable<Buffer>;
  /** Connections may have been left to be finished. */
  onOrphans(): void;
  /** Pids of the programs, where known. */
  programs(): number[];
}

export class Sockets {
  readonly #region: Region;
  readonly #log: Logger;
  readonly #requests = new NetlinkRequests(NETLINK_SOCK_DIAG);
  readonly #events: NetlinkEvents;
  readonly #ports: HeldPorts;
  readonly #shared = new SharedPortsTold();
  readonly #locals: () => Iterable<Buffer>;
  readonly #sources: SocketSources;
  /** Ends that were told one after the other, and were no news. */
  #stale = 0;
  #isListening = true;
  #listensUntil = 0;
  /** Ports that had been held when it was last thought of. */
  #portsBefore = 0;
  #second: NodeJS.Timeout | undefined;
  /** The same of connections, whose twins are in no list. */
  #lostConnections = new Set<bigint>();
  /** Cookies that the previous dump did not show although the region had them bound. */
  #suspects = new Set<bigint>();

  constructor(region: Region, log: Logger, sources: SocketSources) {
    this.#region = region;
    this.#log = log;
    this.#sources = sources;
    this.#locals = () => sources.locals();
    this.#ports = new HeldPorts(region, this.#locals);
    const handlers = {
      onMessages: (messages: NetlinkMessage[]) => {
        for (const message of messages) {
          const gone = decodeDiagSocket(message);
          if (gone) this.#destroyed(gone);
        }
        sources.onOrphans();
        if (this.#stale >= STALE_MAX) this.#ignore();
      },
      onLost: () => {
        this.#log.warn("notifications of destroyed sockets were lost: looking for all");
        this.reconcile();
        this.#reconcileConnections();
      },
    };
    const groups = DESTROY_GROUPS;
    this.#events = new NetlinkEvents(NETLINK_SOCK_DIAG, groups, handlers, PAUSE_MILLIS);
  }

  #destroyed({ cookie, family, localAddress, localPort }: DiagSocket): void {
    const isNews = this.#region.stack.socketForget(cookie) !== 0;
    this.#stale = isNews ? 0 : this.#stale + 1;
    if (family === AF_INET && localPort !== 0) this.#ports.hold(localAddress, localPort);
  }

  /**
   * Stops to listen, where programs end their sockets themselves: to be told of thousands in a
   * second takes more of a CPU than they do. The region says when it matters again.
   */
  #ignore(): void {
    const isNews = this.#ports.count !== this.#portsBefore;
    this.#stale = 0;
    this.#portsBefore = this.#ports.count;
    if (!this.#isListening || isNews || performance.now() < this.#listensUntil) return;
    if (this.#region.stack.endsIgnore() === 0) return;
    this.#events.leave();
    this.#isListening = false;
    this.#log.debug("the ends of kernel sockets are not listened to");
  }

  /** Listens again, if need be, and looks for what ended meanwhile with its program. */
  listen(): void {
    if (this.#isListening) return;
    this.#isListening = true;
    this.#events.join();
    this.#region.stack.endsHear();
    this.#log.debug("the ends of kernel sockets are listened to");
    this.#stale = 0;
    this.#holdOrphans();
    this.#lookTwice();
  }

  /** If the region wants it; and then it will soon want it again. */
  follow(): void {
    if (this.#region.header.ends !== Ends.Wanted) return;
    this.#listensUntil = performance.now() + LISTEN_MILLIS;
    this.listen();
  }

  /** None was shared while nobody listened: what its program does not have, nobody has. */
  #lookTwice(): void {
    const isUnshared = ({ flags }: SocketView) => (flags & SocketFlag.Shared) === 0;
    this.reconcile();
    const before = new Set(this.#withoutTwin(isUnshared));
    clearTimeout(this.#second);
    this.#second = setTimeout(() => {
      this.reconcile();
      if (before.size === 0) return;
      this.#endLost(this.#withoutTwin(isUnshared), before, "connection of a program that ended");
      this.#sources.onOrphans();
    }, SECOND_LOOK_MILLIS);
  }

  /** Lets go of what was held for connections that are over. Called about once a second. */
  releasePorts(): void {
    this.#ports.release();
  }

  /**
   * Compares with the kernel's lists. These show bound UDP sockets and TCP sockets that listen, so
   * only those are judged, and only if they were missing twice: a socket may be bound between the
   * two looks. The kernel socket of an accepted connection is in no list at all.
   */
  reconcile(): void {
    if (this.#lostConnections.size > 0) this.#reconcileConnections();
    const bound: bigint[] = [];
    const shared = new SharedPorts();
    for (const { view } of regionSockets(this.#region)) {
      const { state, localPortNet, protocol } = view;
      const listed = state === SocketState.Connected && protocol === IPPROTO_UDP;
      const known = state === SocketState.Bound || listed;
      if (!known || localPortNet === 0) continue;
      bound.push(view.cookie);
      shared.addOurs(view);
    }
    if (bound.length === 0) {
      this.#suspects.clear();
      this.#shared.follow(this.#region.stack, shared, this.#locals());
      return;
    }
    const alive = new Set<bigint>();
    for (const protocol of [IPPROTO_UDP, IPPROTO_TCP]) {
      const ask = (sequence: number) => encodeSocketDump(sequence, protocol);
      for (const message of this.#requests.dump("listing sockets", ask)) {
        const socket = decodeDiagSocket(message);
        if (socket === undefined) continue;
        alive.add(socket.cookie);
        shared.addKernels(protocol, socket);
      }
    }
    this.#shared.follow(this.#region.stack, shared, this.#locals());
    const missing = bound.filter((cookie) => !alive.has(cookie));
    this.#suspects = this.#endLost(missing, this.#suspects, "socket without a kernel twin removed");
  }

  /** Ends those that were missing `before`, too; returns the others, for the next look. */
  #endLost(missing: readonly bigint[], before: Set<bigint>, what: string): Set<bigint> {
    for (const cookie of missing) {
      if (!before.has(cookie)) continue;
      this.#log.debug({ cookie: cookie.toString() }, what);
      this.#region.stack.socketForget(cookie);
    }
    return new Set(missing.filter((cookie) => !before.has(cookie)));
  }

  /**
   * Ends connections whose twin no process holds. Looking twice leaves out those that were on their
   * way to another process.
   */
  #reconcileConnections(): void {
    const missing = this.#withoutTwin(() => true);
    const what = "connection without a kernel twin ended";
    this.#lostConnections = this.#endLost(missing, this.#lostConnections, what);
    this.#sources.onOrphans();
  }

  /** Cookies of those connections of the wanted ones whose twin no process holds. */
  #withoutTwin(isWanted: (view: SocketView) => boolean): bigint[] {
    const wanted = new Set<bigint>();
    for (const { view } of regionSockets(this.#region)) {
      const { state, protocol, cookie } = view;
      const isConnection = state === SocketState.Connected && protocol === IPPROTO_TCP;
      if (isConnection && cookie !== 0n && isWanted(view)) wanted.add(cookie);
    }
    if (wanted.size === 0) return [];
    const living = livingSockets(wanted, this.#sources.programs());
    return [...wanted].filter((cookie) => living?.has(cookie) === false);
  }

  /**
   * After an exasockd that died: what ended meanwhile, and ports that it held. The programs that
   * still live were found before.
   */
  takeOver(): void {
    this.#shared.takeOver(this.#region.sharedPorts());
    this.#region.stack.endsHear();
    this.#holdOrphans();
    for (let looks = 0; looks < 2; looks++) {
      this.reconcile();
      this.#reconcileConnections();
    }
  }

  /** The ports of connections without a program. */
  #holdOrphans(): void {
    for (const { view } of regionSockets(this.#region)) {
      const { cookie, protocol, state, localLo: lo, localHi: hi } = view;
      if (protocol !== IPPROTO_TCP || state !== SocketState.Connected || cookie !== 0n) continue;
      const address = ipv4BytesOf({ hi, lo });
      if (address) this.#ports.hold(address, portOf(view.localPortNet));
    }
  }

  close(): void {
    clearTimeout(this.#second);
    this.#events.close();
    this.#requests.close();
    this.#ports.close();
  }
}
