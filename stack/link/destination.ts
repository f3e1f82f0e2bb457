// The destination cache: what the kernel's routing and neighbour tables say about a peer, asked
// once per (address, source, bound interface) through exasockd and dropped when they change. Until
// an answer is there, datagrams go through the kernel socket, which also makes the kernel resolve
// the neighbour.

import {
  DESTINATION_BUCKETS,
  LOOPBACK_IFINDEX,
  LOOPBACK_MTU,
  MAX_DESTINATIONS,
  MAX_INTERFACES,
} from "../config";
import { TX_HEADROOM_BYTES } from "../config";
import { foldAddress, mix } from "../base/hash";
import { DESTINATION_BYTES, DESTINATION_CHAINS_OFFSET } from "../layout";
import { RegionHeader } from "../region/header";
import { IPV4_MIN_HEADER_BYTES } from "../wire/ipv4";
import { UDP_HEADER_BYTES } from "../wire/udp";
import { UdpFrame } from "../wire/udp-frame";
import { isThisHost, localSource } from "../local/address";
import { retryRoutes } from "../tcp/route";
import { notifyAll } from "../wait/waiter";
import { Interface, InterfaceFlag, packMac } from "./interface";
import { chooseQueue } from "./queue";

const UDP_OVERHEAD_BYTES: u32 = IPV4_MIN_HEADER_BYTES + UDP_HEADER_BYTES;

export const enum DestinationState {
  Free = 0,
  /** In the list that destinationNextRequest hands out. */
  Requested = 1,
  /** exasockd is asking the kernel. */
  Resolving = 2,
  /** Route known, neighbour not (yet). */
  NoNeighbor = 3,
  /** The stack can send. */
  Reachable = 4,
  /** Only the kernel can serve it. */
  Rejected = 5,
  /** An address of this host: stack/local/. */
  Local = 6,
}

@final
@unmanaged
export class Destination {
  addressHi: u64;
  addressLo: u64;
  /** Source address that the socket insists on; the wildcard if it takes the route's. */
  wantedSourceHi: u64;
  wantedSourceLo: u64;
  sourceHi: u64;
  sourceLo: u64;
  nextHopHi: u64;
  nextHopLo: u64;
  /** First 16 bytes of a frame there: see UdpFrame.write. */
  frameStart0: u64;
  frameStart8: u64;
  /** Interface that the socket is bound to, kernel index; 0 any. */
  wantedIfindex: u32;
  /** A DestinationState. */
  state: u32;
  /** header.routeEpoch when it was asked for. */
  routeEpoch: u32;
  /** Changes when the slot is used for another destination. */
  generation: u32;
  /** Next in its chain, index + 1. */
  next: u32;
  /** Next in the request list, index + 1. */
  requestNext: u32;
  interfaceSlot: u32;
  /** Queue to send through, slot + 1. */
  queue: u32;
  mtu: u32;
  /** Largest UDP payload that fits into the MTU and a frame. */
  payloadBytesMax: u32;
  /** Set at every use; exasockd clears it to learn what is still in use. */
  used: u32;

  static at(index: u32): Destination {
    return changetype<Destination>(
      <usize>(RegionHeader.get().destinationsOffset + index * DESTINATION_BYTES),
    );
  }
}

function chainOf(hi: u64, lo: u64, sourceHi: u64, sourceLo: u64, ifindex: u32): usize {
  const h = mix(foldAddress(hi, lo), foldAddress(sourceHi, sourceLo) + ifindex);
  const bucket = (h >> 16) & (DESTINATION_BUCKETS - 1);
  return <usize>(DESTINATION_CHAINS_OFFSET + (bucket << 2));
}

function isKeyed(
  entry: Destination,
  hi: u64,
  lo: u64,
  sourceHi: u64,
  sourceLo: u64,
  ifindex: u32,
): bool {
  return (
    entry.addressLo == lo &&
    entry.addressHi == hi &&
    entry.wantedSourceLo == sourceLo &&
    entry.wantedSourceHi == sourceHi &&
    entry.wantedIfindex == ifindex
  );
}

/**
 * Index + 1 of the destination, made and requested from exasockd if it is new. The caller looks at
 * `isUsable` before it sends.
 */
export function lookupDestination(
  hi: u64,
  lo: u64,
  sourceHi: u64,
  sourceLo: u64,
  ifindex: u32,
): u32 {
  const chain = chainOf(hi, lo, sourceHi, sourceLo, ifindex);
  let at = load<u32>(chain);
  for (let steps: u32 = 0; at != 0 && steps < MAX_DESTINATIONS; steps++) {
    const entry = Destination.at(at - 1);
    if (isKeyed(entry, hi, lo, sourceHi, sourceLo, ifindex)) return at;
    at = entry.next;
  }
  const index = claimSlot();
  const entry = Destination.at(index);
  const generation = entry.generation + 1;
  memory.fill(changetype<usize>(entry), 0, <usize>DESTINATION_BYTES);
  entry.generation = generation;
  entry.addressHi = hi;
  entry.addressLo = lo;
  entry.wantedSourceHi = sourceHi;
  entry.wantedSourceLo = sourceLo;
  entry.wantedIfindex = ifindex;
  entry.next = load<u32>(chain);
  store<u32>(chain, index + 1);
  request(index);
  return index + 1;
}

/** A slot that was never used, or the next one that nobody used since the hand last passed. */
function claimSlot(): u32 {
  const header = RegionHeader.get();
  if (header.destinationHigh < MAX_DESTINATIONS) {
    header.destinationHigh += 1;
    return header.destinationHigh - 1;
  }
  let hand = header.destinationHand;
  for (let steps: u32 = 0; steps < 2 * MAX_DESTINATIONS; steps++) {
    hand = (hand + 1) % MAX_DESTINATIONS;
    const entry = Destination.at(hand);
    // A slot in the request list, or with exasockd, must not change under it.
    if (entry.state == DestinationState.Requested) continue;
    if (entry.used != 0 && steps < MAX_DESTINATIONS) {
      entry.used = 0;
      continue;
    }
    break;
  }
  header.destinationHand = hand;
  header.destinationsReplaced += 1;
  unlinkDestination(hand);
  return hand;
}

function unlinkDestination(index: u32): void {
  const gone = Destination.at(index);
  const chain = chainOf(
    gone.addressHi,
    gone.addressLo,
    gone.wantedSourceHi,
    gone.wantedSourceLo,
    gone.wantedIfindex,
  );
  if (load<u32>(chain) == index + 1) {
    store<u32>(chain, gone.next);
    return;
  }
  let at = load<u32>(chain);
  for (let steps: u32 = 0; at != 0 && steps < MAX_DESTINATIONS; steps++) {
    const entry = Destination.at(at - 1);
    if (entry.next == index + 1) {
      entry.next = gone.next;
      return;
    }
    at = entry.next;
  }
}

/** What the stack knows by itself is answered here; exasockd is asked for the rest. */
function request(index: u32): void {
  const header = RegionHeader.get();
  const entry = Destination.at(index);
  entry.routeEpoch = header.routeEpoch;
  // What a socket may reach that is bound to an interface, the kernel knows.
  const isFree = entry.wantedIfindex == 0 || entry.wantedIfindex == LOOPBACK_IFINDEX;
  if (isFree && isThisHost(entry.addressHi, entry.addressLo)) {
    entry.state = DestinationState.Local;
    entry.sourceHi = 0;
    entry.sourceLo = localSource(entry.addressLo);
    entry.mtu = LOOPBACK_MTU;
    return;
  }
  entry.state = DestinationState.Requested;
  entry.requestNext = header.requestHead;
  header.requestHead = index + 1;
  header.daemonWanted = 1;
  header.destinationRequests += 1;
}

/** True if the stack can send there now. An entry that is out of date is asked for again. */
export function isUsable(entry: Destination): bool {
  if (entry.used == 0) entry.used = 1;
  const header = RegionHeader.get();
  if (entry.routeEpoch != header.routeEpoch) {
    if (entry.state != DestinationState.Requested) request(indexOf(entry));
    return false;
  }
  return entry.state == DestinationState.Reachable;
}

/** True if it is an address of this host. Called after isUsable, which keeps the entry true. */
export function isLocalDestination(entry: Destination): bool {
  return entry.state == DestinationState.Local;
}

function indexOf(entry: Destination): u32 {
  return (
    (<u32>changetype<usize>(entry) - RegionHeader.get().destinationsOffset) / DESTINATION_BYTES
  );
}

/** Takes the next request off the list; its state becomes Resolving. -1 if there is none. */
export function nextRequest(): i32 {
  const header = RegionHeader.get();
  const at = header.requestHead;
  if (at == 0 || at > MAX_DESTINATIONS) {
    header.requestHead = 0;
    header.daemonWanted = 0;
    return -1;
  }
  const entry = Destination.at(at - 1);
  header.requestHead = entry.requestNext;
  entry.requestNext = 0;
  entry.state = DestinationState.Resolving;
  entry.routeEpoch = header.routeEpoch;
  return <i32>(at - 1);
}

/** The kernel's answer: through this interface and next hop; the neighbour comes separately. */
export function resolveDestination(
  index: u32,
  interfaceSlot: u32,
  sourceHi: u64,
  sourceLo: u64,
  nextHopHi: u64,
  nextHopLo: u64,
  mtu: u32,
): void {
  if (index >= MAX_DESTINATIONS || interfaceSlot >= MAX_INTERFACES) return;
  const entry = Destination.at(index);
  if (entry.state != DestinationState.Resolving) return;
  entry.interfaceSlot = interfaceSlot;
  entry.sourceHi = sourceHi;
  entry.sourceLo = sourceLo;
  entry.nextHopHi = nextHopHi;
  entry.nextHopLo = nextHopLo;
  entry.mtu = min<u32>(mtu, Interface.at(interfaceSlot).mtu);
  const ipPayload = max<u32>(entry.mtu, UDP_OVERHEAD_BYTES) - UDP_OVERHEAD_BYTES;
  entry.payloadBytesMax = min<u32>(ipPayload, RegionHeader.get().frameBytes - TX_HEADROOM_BYTES);
  entry.queue = chooseQueue(interfaceSlot, mix(foldAddress(entry.addressHi, entry.addressLo), 1));
  const up = (Interface.at(interfaceSlot).flags & InterfaceFlag.Up) != 0;
  entry.state = entry.queue == 0 || !up ? DestinationState.Rejected : DestinationState.NoNeighbor;
  // connect(2) waits for the answer.
  notifyAll();
}

export function rejectDestination(index: u32): void {
  if (index >= MAX_DESTINATIONS) return;
  const entry = Destination.at(index);
  if (entry.state == DestinationState.Resolving) entry.state = DestinationState.Rejected;
  notifyAll();
}

/** The hardware address of a neighbour became known, changed, or (valid 0) is no longer usable. */
export function setNeighbor(
  interfaceSlot: u32,
  hi: u64,
  lo: u64,
  macLow: u32,
  macHigh: u32,
  valid: u32,
): void {
  const high = RegionHeader.get().destinationHigh;
  for (let index: u32 = 0; index < high; index++) {
    const entry = Destination.at(index);
    if (entry.nextHopLo != lo || entry.nextHopHi != hi) continue;
    if (entry.interfaceSlot != interfaceSlot) continue;
    if (entry.state != DestinationState.Reachable && entry.state != DestinationState.NoNeighbor) {
      continue;
    }
    const source = Interface.at(interfaceSlot).mac >> 16;
    entry.frameStart0 = UdpFrame.start0(packMac(macLow, macHigh), source);
    entry.frameStart8 = UdpFrame.start8(source);
    entry.state = valid != 0 ? DestinationState.Reachable : DestinationState.NoNeighbor;
  }
  if (valid != 0) retryRoutes();
}

/** Routes, addresses or links changed: everything is asked for again when it is next used. */
export function flushDestinations(): void {
  RegionHeader.get().routeEpoch += 1;
}

/** After a crash: chains and the request list anew from the entries. */
export function rebuildDestinations(): void {
  const header = RegionHeader.get();
  memory.fill(<usize>DESTINATION_CHAINS_OFFSET, 0, <usize>(DESTINATION_BUCKETS * 4));
  header.requestHead = 0;
  const high = header.destinationHigh;
  for (let index: u32 = 0; index < high; index++) {
    const entry = Destination.at(index);
    if (entry.state == DestinationState.Free) continue;
    const chain = chainOf(
      entry.addressHi,
      entry.addressLo,
      entry.wantedSourceHi,
      entry.wantedSourceLo,
      entry.wantedIfindex,
    );
    entry.next = load<u32>(chain);
    store<u32>(chain, index + 1);
    if (entry.state == DestinationState.Requested) request(index);
  }
}

export function checkDestinationLayout(): void {
  if (offsetof<Destination>() > DESTINATION_BYTES) ERROR("Destination is larger than its slot");
}
