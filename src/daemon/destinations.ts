// Answers the stack's questions "how do I reach this address?" from the kernel's tables, and keeps
// the answers true: neighbours in use are confirmed as the kernel would, changed ones reported.

import {
  DESTINATIONS_OFFSET,
  DestinationState,
  DestinationView,
  MAX_DESTINATIONS,
} from "../../build/gen/layout.ts";
import { ipv4BytesOf, macWordsOf, stackAddressOf } from "./address.ts";
import type { AcceleratedInterface } from "./accelerated-interface.ts";
import type { Logger } from "./log.ts";
import { SystemError } from "./native.ts";
import {
  decodeNeighbor,
  decodeRoute,
  encodeNeighborGet,
  encodeNeighborUse,
  encodeRouteGet,
  IFF_UP,
  type Neighbor,
  NUD_FAILED,
  NUD_STALE,
  type Route,
} from "./netlink/route.ts";
import type { NetlinkRequests } from "./netlink/socket.ts";
import type { Region } from "./region.ts";
import { chooseRoute, isUsableNeighbor } from "./route-choice.ts";

/** Questions answered before others get the event loop. */
const ANSWERS_MAX = 256;
/** The kernel is asked to look for missing neighbours no more often than this. */
const FIND_PAUSE_MILLIS = 100;
/** Destinations whose path MTU is looked at in one call. */
const MTU_CHECKS_MAX = 64;

export interface DestinationSources {
  readonly interfaces: ReadonlyMap<number, AcceleratedInterface>;
  isLocal(address: Buffer): boolean;
}

interface Hop {
  readonly ifindex: number;
  readonly slot: number;
  readonly address: Buffer;
  /** The kernel no longer vouches for it. */
  stale: boolean;
}

function hopKey(ifindex: number, address: Buffer): string {
  return `${ifindex}/${address.toString("hex")}`;
}

export class Destinations {
  readonly #region: Region;
  readonly #requests: NetlinkRequests;
  readonly #sources: DestinationSources;
  readonly #log: Logger;
  #findAgainMillis = 0;
  /** Where checkPathMtus goes on. */
  #mtuCursor = 0;
  /** Next hops of the stack's destinations. */
  readonly #hops = new Map<string, Hop>();

  constructor(region: Region, requests: NetlinkRequests, sources: DestinationSources, log: Logger) {
    this.#region = region;
    this.#requests = requests;
    this.#sources = sources;
    this.#log = log;
  }

  /** Answers what the stack has asked. True if there is more. */
  answer(): boolean {
    for (let count = 0; count < ANSWERS_MAX; count++) {
      const index = this.#region.stack.destinationNextRequest();
      if (index < 0) return false;
      this.#answerOne(index);
    }
    return true;
  }

  /** Forgets all answers: the stack asks again for what it uses. */
  flush(): void {
    this.#hops.clear();
    this.#region.stack.destinationsFlush();
  }

  #view(index: number): DestinationView {
    const at = DESTINATIONS_OFFSET + index * DestinationView.BYTES;
    return new DestinationView(this.#region.view, at);
  }

  #answerOne(index: number): void {
    const asked = this.#view(index);
    const destination = ipv4BytesOf({ hi: asked.addressHi, lo: asked.addressLo });
    const source = ipv4BytesOf({ hi: asked.wantedSourceHi, lo: asked.wantedSourceLo });
    if (destination === undefined || source === undefined) {
      this.#region.stack.destinationReject(index);
      return;
    }
    const wanted = source.readUInt32LE(0) === 0 ? undefined : source;
    const route = this.#lookup(destination, wanted, asked.wantedIfindex);
    const choice = chooseRoute(destination, wanted, route, {
      slotOf: (ifindex) => this.#slotOf(ifindex),
      isLocal: (address) => this.#sources.isLocal(address),
    });
    if (!choice.accept) {
      this.#region.stack.destinationReject(index);
      this.#log.debug({ destination: [...destination].join("."), reason: choice.reason }, "kernel");
      return;
    }
    const from = stackAddressOf(choice.source);
    const via = stackAddressOf(choice.nextHop);
    const { slot, mtu } = choice;
    this.#region.stack.destinationResolve(index, slot, from.hi, from.lo, via.hi, via.lo, mtu);
    this.#findNeighbor(choice.ifindex, slot, choice.nextHop);
  }

  #slotOf(ifindex: number): number | undefined {
    const one = this.#sources.interfaces.get(ifindex);
    return one !== undefined && (one.link.flags & IFF_UP) !== 0 ? one.slot : undefined;
  }

  /** The kernel's route, or undefined when it has none (its own error then reaches the program). */
  #lookup(destination: Buffer, source: Buffer | undefined, ifindex: number): Route | undefined {
    try {
      const [answer] = this.#requests.request("asking for a route", (sequence) =>
        encodeRouteGet(sequence, { destination, ...(source && { source }), ifindex }),
      );
      return answer && decodeRoute(answer);
    } catch (error) {
      if (error instanceof SystemError) return undefined;
      throw error;
    }
  }

  #findNeighbor(ifindex: number, slot: number, address: Buffer): void {
    const hop: Hop = { ifindex, slot, address, stale: false };
    if (this.#hops.size >= MAX_DESTINATIONS) this.#hops.clear();
    this.#hops.set(hopKey(ifindex, address), hop);
    const neighbor = this.#askNeighbor(hop);
    if (neighbor && isUsableNeighbor(neighbor)) {
      this.#report(hop, neighbor);
      if ((neighbor.state & NUD_STALE) === 0) return;
    }
    this.#useNeighbor(hop);
  }

  #askNeighbor(hop: Hop): Neighbor | undefined {
    try {
      const [answer] = this.#requests.request("asking for a neighbour", (sequence) =>
        encodeNeighborGet(sequence, hop.ifindex, hop.address),
      );
      return answer && decodeNeighbor(answer);
    } catch (error) {
      // ENOENT: the kernel has not talked to it yet.
      if (error instanceof SystemError) return undefined;
      throw error;
    }
  }

  #useNeighbor(hop: Hop): void {
    hop.stale = false;
    try {
      this.#requests.request("resolving a neighbour", (sequence) =>
        encodeNeighborUse(sequence, hop.ifindex, hop.address),
      );
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#log.debug({ error: error.message }, "neighbour");
    }
  }

  #report(hop: Hop, neighbor: Neighbor): void {
    const { hi, lo } = stackAddressOf(hop.address);
    const usable = isUsableNeighbor(neighbor);
    const mac = usable ? macWordsOf(neighbor.mac) : { low: 0, high: 0 };
    this.#region.stack.neighborSet(hop.slot, hi, lo, mac.low, mac.high, usable ? 1 : 0);
    if ((neighbor.state & NUD_FAILED) === 0) return;
    // Connections that wait for it are told that there is no way to their host.
    this.#region.stack.neighborFailed(hop.slot, hi, lo);
  }

  /** News about a neighbour; those that the stack does not use are nobody's business. */
  neighborChanged(neighbor: Neighbor, deleted: boolean): void {
    const hop = this.#hops.get(hopKey(neighbor.ifindex, neighbor.address));
    if (hop === undefined) return;
    const current = deleted ? { ...neighbor, state: 0 } : neighbor;
    this.#report(hop, current);
    hop.stale = (current.state & NUD_STALE) !== 0;
  }

  /** Neighbour news were lost: asks for every one that is in use. */
  neighborsUnknown(): void {
    for (const hop of this.#hops.values()) {
      const neighbor = this.#askNeighbor(hop);
      const none = { ifindex: hop.ifindex, address: hop.address, state: 0, mac: undefined };
      this.#report(hop, neighbor ?? none);
      hop.stale = neighbor !== undefined && (neighbor.state & NUD_STALE) !== 0;
    }
  }

  /**
   * Has the kernel look for next hops that connections wait for, as it does when it sends itself:
   * one may have been given up, or forgotten, since it was asked for.
   */
  findMissing(): void {
    if (this.#region.header.routeWaits === 0 || performance.now() < this.#findAgainMillis) return;
    this.#findAgainMillis = performance.now() + FIND_PAUSE_MILLIS;
    const wanted = new Set<string>();
    for (let index = 0; index < this.#region.header.destinationHigh; index++) {
      const entry = this.#view(index);
      if (entry.state !== DestinationState.NoNeighbor || entry.used === 0) continue;
      entry.used = 0;
      wanted.add(`${entry.interfaceSlot}/${entry.nextHopLo}`);
    }
    for (const hop of this.#hops.values()) {
      if (wanted.has(`${hop.slot}/${stackAddressOf(hop.address).lo}`)) this.#useNeighbor(hop);
    }
  }

  /**
   * Has the kernel confirm stale neighbours that were sent to since the last call, as it does when
   * it sends itself. Called about once a second.
   */
  confirmStale(): void {
    if (![...this.#hops.values()].some((hop) => hop.stale)) return;
    const used = new Set<bigint>();
    for (let index = 0; index < this.#region.header.destinationHigh; index++) {
      const entry = this.#view(index);
      if (entry.state !== DestinationState.Reachable || entry.used === 0) continue;
      entry.used = 0;
      used.add(entry.nextHopLo);
    }
    for (const hop of this.#hops.values()) {
      if (hop.stale && used.has(stackAddressOf(hop.address).lo)) this.#useNeighbor(hop);
    }
  }

  /**
   * Looks whether the kernel has learnt another path MTU (RFC 1191) for destinations that are sent
   * to: no notification says so. Called about once a second; a few destinations at a time.
   */
  checkPathMtus(): void {
    const high = this.#region.header.destinationHigh;
    for (let checked = 0, steps = 0; checked < MTU_CHECKS_MAX && steps < high; steps++) {
      this.#mtuCursor = (this.#mtuCursor + 1) % high;
      const entry = this.#view(this.#mtuCursor);
      if (entry.state !== DestinationState.Reachable || entry.used === 0) continue;
      checked++;
      const destination = ipv4BytesOf({ hi: entry.addressHi, lo: entry.addressLo });
      const source = ipv4BytesOf({ hi: entry.wantedSourceHi, lo: entry.wantedSourceLo });
      if (destination === undefined || source === undefined) continue;
      const wanted = source.readUInt32LE(0) === 0 ? undefined : source;
      const route = this.#lookup(destination, wanted, entry.wantedIfindex);
      const link = route && this.#sources.interfaces.get(route.ifindex)?.link;
      const mtu = Math.min(route?.mtu || entry.mtu, link?.mtu ?? entry.mtu);
      if (route === undefined || mtu === entry.mtu) continue;
      const text = [...destination].join(".");
      this.#log.info({ destination: text, from: entry.mtu, to: mtu }, "path MTU changed");
      this.flush();
      return;
    }
  }
}
