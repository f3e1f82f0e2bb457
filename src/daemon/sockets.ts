// Removes sockets from the region whose kernel twin is gone, for whichever reason: the kernel says
// so when it destroys one, and is asked now and then in case that was missed.

import { MAX_SOCKETS, SOCKETS_OFFSET, SocketState, SocketView } from "../../build/gen/layout.ts";
import type { Logger } from "./log.ts";
import { decodeDiagSocket, encodeUdpDump, UDP_DESTROY_GROUPS } from "./netlink/sock-diag.ts";
import { NETLINK_SOCK_DIAG, NetlinkEvents, NetlinkRequests } from "./netlink/socket.ts";
import type { Region } from "./region.ts";

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
    if (view.cookie !== 0n) yield { index, view };
  }
}

export class Sockets {
  readonly #region: Region;
  readonly #log: Logger;
  readonly #requests = new NetlinkRequests(NETLINK_SOCK_DIAG);
  readonly #events: NetlinkEvents;
  /** Cookies that the previous dump did not show although the region had them bound. */
  #suspects = new Set<bigint>();

  constructor(region: Region, log: Logger) {
    this.#region = region;
    this.#log = log;
    this.#events = new NetlinkEvents(NETLINK_SOCK_DIAG, UDP_DESTROY_GROUPS, {
      onMessages: (messages) => {
        for (const message of messages) {
          const gone = decodeDiagSocket(message);
          if (gone) this.#region.stack.socketForget(gone.cookie);
        }
      },
      onLost: () => this.reconcile(),
    });
  }

  /**
   * Compares with the kernel's list. That shows only bound sockets, so only those are judged, and
   * only if they were missing twice: a socket may be bound between the two looks.
   */
  reconcile(): void {
    const bound: bigint[] = [];
    for (const { view } of regionSockets(this.#region)) {
      const { state, localPortNet } = view;
      const known = state === SocketState.Bound || state === SocketState.Connected;
      if (known && localPortNet !== 0) bound.push(view.cookie);
    }
    if (bound.length === 0) {
      this.#suspects.clear();
      return;
    }
    const dump = this.#requests.dump("listing UDP sockets", encodeUdpDump);
    const alive = new Set(dump.map((message) => decodeDiagSocket(message)?.cookie));
    const missing = new Set(bound.filter((cookie) => !alive.has(cookie)));
    for (const cookie of missing) {
      if (!this.#suspects.has(cookie)) continue;
      missing.delete(cookie);
      this.#log.debug({ cookie: cookie.toString() }, "socket without a kernel twin removed");
      this.#region.stack.socketForget(cookie);
    }
    this.#suspects = missing;
  }

  close(): void {
    this.#events.close();
    this.#requests.close();
  }
}
