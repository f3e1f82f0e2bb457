// A mirror of the kernel's links and addresses, and the news of routes and neighbours.

import type { StackAddress } from "./address.ts";
import { stackAddressOf } from "./address.ts";
import type { Logger } from "./log.ts";
import type { NetlinkMessage } from "./netlink/message.ts";
import * as rt from "./netlink/route.ts";
import { NETLINK_ROUTE, NetlinkEvents, type NetlinkRequests } from "./netlink/socket.ts";
import type { LinkSource } from "./interfaces.ts";

/** Who has to know. Called after the mirror has changed. */
export interface MirrorListener {
  addressAdded(address: StackAddress): void;
  addressRemoved(address: StackAddress): void;
  linksChanged(): void;
  /** Anything that may change the way to a destination. */
  routingChanged(): void;
  neighborChanged(neighbor: rt.Neighbor, deleted: boolean): void;
  /** Neighbour events were lost. */
  neighborsUnknown(): void;
}

const LOOPBACK_NET = 127;

/** What makes two reports of an address the same one. */
function addressKey(address: rt.InterfaceAddress): string {
  return `${address.ifindex}/${address.local.toString("hex")}/${address.prefixLength}`;
}

export class Mirror implements LinkSource {
  readonly #requests: NetlinkRequests;
  readonly #events: NetlinkEvents;
  readonly #listener: MirrorListener;
  readonly #log: Logger;
  readonly #links = new Map<number, rt.Link>();
  readonly #addresses = new Map<string, rt.InterfaceAddress>();

  /** Listens from now on; `resync` reads what is there already. */
  constructor(requests: NetlinkRequests, listener: MirrorListener, log: Logger) {
    this.#requests = requests;
    this.#listener = listener;
    this.#log = log;
    this.#events = new NetlinkEvents(NETLINK_ROUTE, rt.ROUTE_EVENT_GROUPS, {
      onMessages: (messages) => this.#handle(messages),
      onLost: () => {
        this.#log.warn("netlink events were lost: reading everything again");
        this.resync();
        this.#listener.neighborsUnknown();
        this.#listener.routingChanged();
      },
    });
  }

  get links(): ReadonlyMap<number, rt.Link> {
    return this.#links;
  }

  hasAddress(ifindex: number): boolean {
    for (const address of this.#addresses.values()) if (address.ifindex === ifindex) return true;
    return false;
  }

  /** The IPv4 addresses of this host, as 4 bytes each. */
  *locals(): Generator<Buffer> {
    for (const { local } of this.#addresses.values()) yield local;
  }

  /** True for an address of this host, as 4 bytes. */
  isLocal(bytes: Buffer): boolean {
    for (const { local } of this.#addresses.values()) if (local.equals(bytes)) return true;
    return false;
  }

  /** Reads links and addresses anew, reporting what differs. */
  resync(): void {
    const links = this.#requests.dump("listing links", (sequence) =>
      rt.encodeDump(rt.RTM_GETLINK, sequence),
    );
    this.#links.clear();
    for (const message of links) this.#linkSeen(message);
    const dump = this.#requests.dump("listing addresses", (sequence) =>
      rt.encodeDump(rt.RTM_GETADDR, sequence),
    );
    const found = new Map<string, rt.InterfaceAddress>();
    for (const message of dump) {
      const address = rt.decodeAddress(message);
      if (address) found.set(addressKey(address), address);
    }
    for (const [key, address] of [...this.#addresses]) {
      if (!found.has(key)) this.#removeAddress(key, address);
    }
    for (const address of found.values()) this.#addAddress(address);
    this.#listener.linksChanged();
  }

  #addAddress(address: rt.InterfaceAddress): boolean {
    const key = addressKey(address);
    if (this.#addresses.has(key)) return false;
    this.#addresses.set(key, address);
    if (address.local[0] === LOOPBACK_NET) return true;
    this.#listener.addressAdded(stackAddressOf(address.local));
    return true;
  }

  #removeAddress(key: string, address: rt.InterfaceAddress): void {
    if (!this.#addresses.delete(key) || address.local[0] === LOOPBACK_NET) return;
    this.#listener.addressRemoved(stackAddressOf(address.local));
  }

  #linkSeen(message: NetlinkMessage): void {
    const link = rt.decodeLink(message);
    if (link === undefined) return;
    if (message.type === rt.RTM_NEWLINK) this.#links.set(link.ifindex, link);
    else this.#links.delete(link.ifindex);
  }

  /** One batch of events; links and routes are reported once for all of it. */
  #handle(messages: NetlinkMessage[]): void {
    let links = false;
    let routing = false;
    for (const message of messages) {
      switch (message.type) {
        case rt.RTM_NEWLINK:
        case rt.RTM_DELLINK:
          // Bridges report their ports under their own family; those are not the links' state.
          if (message.payload[0] !== 0) break;
          this.#linkSeen(message);
          links = true;
          break;
        case rt.RTM_NEWADDR:
        case rt.RTM_DELADDR:
          if (this.#addressEvent(message)) links = true;
          break;
        case rt.RTM_NEWROUTE:
        case rt.RTM_DELROUTE:
        case rt.RTM_NEWRULE:
        case rt.RTM_DELRULE:
          routing = true;
          break;
        case rt.RTM_NEWNEIGH:
        case rt.RTM_DELNEIGH: {
          const neighbor = rt.decodeNeighbor(message);
          const deleted = message.type === rt.RTM_DELNEIGH;
          if (neighbor) this.#listener.neighborChanged(neighbor, deleted);
          break;
        }
      }
    }
    if (links) this.#listener.linksChanged();
    if (links || routing) this.#listener.routingChanged();
  }

  #addressEvent(message: NetlinkMessage): boolean {
    const address = rt.decodeAddress(message);
    if (address === undefined) return false;
    if (message.type === rt.RTM_NEWADDR) return this.#addAddress(address);
    this.#removeAddress(addressKey(address), address);
    return true;
  }

  close(): void {
    this.#events.close();
  }
}
