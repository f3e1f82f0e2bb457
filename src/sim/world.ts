// A network of hosts in virtual time: every host has a cable to one router. Everything that happens
// follows from the seed.

import { readFileSync } from "node:fs";
import type { Fuse } from "./fuse.ts";
import type { HostOptions } from "./host.ts";
import type { Fail } from "../core/connection-checks.ts";
import { type Clock, createClock } from "./clock.ts";
import { createLedger } from "./ledger.ts";
import { createLink, type Link, type LinkOptions } from "./link.ts";
import { forged, type OptionName, stripped } from "./middlebox.ts";
import { createNode, type Node } from "./node.ts";
import { checkPeers } from "./peer-checks.ts";
import { createRandom, type Random } from "./prng.ts";
import { createTrace } from "./trace.ts";
import { destinationOf, fragmentationNeeded, ipNumber, readdressed } from "./wire.ts";

const ROUTER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 254);
export const ROUTER = "10.0.0.254";
/** More events than this and nothing moves on but the time. */
const EVENTS_MAX = 4_000_000;
const SECOND = 1e9;

/** The simulator found something wrong. */
export class SimFailure extends Error {
  override readonly name = "SimFailure";
}

export interface CableOptions {
  /** From the host to the router, and back. */
  up?: LinkOptions;
  down?: LinkOptions;
  host?: HostOptions;
  /** Kills whoever polls, now and then; its overrides are to be among the host's. */
  fuse?: Fuse;
  mtu?: number;
  /** The router tells senders when a packet is too large for the link to this host. */
  reportsMtu?: boolean;
  /** From a packet's arrival to the call of poll(), at most. */
  pollNanos?: number;
  /** How old the time may be that a program's call gives: it was read before the lock was taken. */
  staleNanos?: number;
  /** From a packet's departure to the return of its frame, at most. */
  completionNanos?: number;
}

export interface WorldOptions {
  module: WebAssembly.Module;
  seed: number;
  scenario: string;
  /** Every so many events on a host all of its state is checked; 0: never. */
  checkEvery?: number;
}

/** A host with its cable. */
export type SimHost = Node & { links: { up: Link; down: Link } };

export type World = ReturnType<typeof createWorld>;

/** The module that the build made. */
export function loadModule(path: string | URL): WebAssembly.Module {
  return new WebAssembly.Module(readFileSync(path));
}

export function createWorld({ module, seed, scenario, checkEvery = 16 }: WorldOptions) {
  const random = createRandom(seed, scenario);
  // Long enough ago that no timestamp is small, and different: nothing may depend on it.
  const clock = createClock(random.between(1, 3_000_000) * SECOND + random.below(SECOND));
  const started = clock.now();
  const trace = createTrace(clock);
  const nodes: SimHost[] = [];
  const router = createRouter(random.stream("router"));

  function fail(message: string): never {
    throw new SimFailure(`${((clock.now() - started) / SECOND).toFixed(9)} s: ${message}`);
  }

  /** A link whose losses appear in the capture. */
  function link(name: string, options: LinkOptions, arrive: (packet: Uint8Array) => void): Link {
    const place = trace.addPlace(name);
    const ends = {
      arrive,
      dropped: (packet: Uint8Array, why: string) => {
        trace.add(place, packet, `dropped: ${why}`);
        if (why === "mtu") router.reportTooLarge(packet);
      },
    };
    return createLink(clock, random.stream(`link ${name}`), options, ends);
  }

  /** A host, 10.0.0.1 being the first, with its cable to the router. */
  function addHost(name: string, options: CableOptions = {}): SimHost {
    const number = nodes.length + 1;
    const mac = Uint8Array.of(2, 0, 0, 0, 1, number);
    const address = `10.0.0.${number}`;
    const up = link(`${name} up`, options.up ?? {}, router.forward);
    const node = createNode({
      name,
      address,
      mac,
      gateway: { address: ROUTER, mac: ROUTER_MAC },
      module,
      clock,
      random: random.stream(`host ${name}`),
      ledger,
      fail,
      send: up.send,
      capture: (packet, comment) => trace.add(place, packet, comment),
      checkEvery,
      checkAll: () => router.chances.forge > 0 || checkPeers(nodes, fail),
      options,
    });
    const place = trace.addPlace(name);
    const down = link(`${name} down`, options.down ?? {}, node.arrive);
    router.routes.set(ipNumber(address), {
      link: down,
      mac,
      reportsMtu: options.reportsMtu !== false,
    });
    const member = Object.assign(node, { links: { up, down } });
    nodes.push(member);
    return member;
  }

  /** Something at the router that is no host: gets what is sent to the address. */
  function addRaw(address: string, arrive: (packet: Uint8Array) => void): void {
    const own = link(`raw ${address}`, {}, arrive);
    router.routes.set(ipNumber(address), { link: own, mac: ROUTER_MAC, reportsMtu: false });
  }

  const ledger = createLedger();

  return {
    module,
    clock,
    random,
    ledger,
    nodes,
    fail,
    forward: router.forward,
    addHost,
    addRaw,
    runUntil: patience(clock, fail),
    started,
    trace,
    router,
  };
}

/**
 * A function that lets time pass until `isOver`; a failure if that takes more than `limitNanos`, or
 * more than `eventsMax` events since the beginning.
 */
function patience(clock: Clock, fail: Fail) {
  return (
    isOver: () => boolean,
    limitNanos: number,
    what: () => string,
    eventsMax = EVENTS_MAX,
  ): void => {
    const end = clock.now() + limitNanos;
    while (!isOver()) {
      if (!clock.step()) fail(`nothing will ever happen again, but ${what()}`);
      if (clock.now() > end) fail(`after ${limitNanos / SECOND} s ${what()}`);
      if (clock.handled() > eventsMax) fail(`after ${eventsMax} events ${what()}`);
    }
  };
}

/** The router that all cables lead to: forwards by the destination's address. */
function createRouter(random: Random) {
  const routes = new Map<number, { link: Link; mac: Uint8Array; reportsMtu: boolean }>();
  /** Options that no SYN passes with; a SYN-ACK then has none of them, either. */
  const strip: OptionName[] = [];
  /** Part of the segments that are forged: then the two ends need not agree about anything. */
  const chances = { forge: 0 };

  function forward(packet: Uint8Array): void {
    const to = routes.get(destinationOf(packet));
    if (!to) return;
    let kept = strip.length > 0 ? stripped(packet, strip) : packet;
    if (random.chance(chances.forge)) kept = forged(kept, random);
    to.link.send(readdressed(kept, to.mac, ROUTER_MAC));
  }

  function reportTooLarge(packet: Uint8Array): void {
    const to = routes.get(destinationOf(packet));
    const mtu = to?.link.options.mtu;
    if (to?.reportsMtu && mtu) forward(fragmentationNeeded(packet, mtu, ipNumber(ROUTER)));
  }

  return { routes, strip, chances, forward, reportTooLarge };
}
