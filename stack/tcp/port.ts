// Local addresses and ports that connections use, counted: the first connection makes the XDP
// program redirect what comes there, the last one ends it (Linux's inet_bind_bucket).

import { foldAddress, mix } from "../base/hash";
import { MAX_PORTS, PORT_BUCKETS } from "../config";
import { PORT_BYTES, PORT_CHAINS_OFFSET, PORTS_OFFSET } from "../layout";
import { isLocal, steeringAdd, steeringKey, steeringRemove } from "../link/steering";
import { RegionHeader } from "../region/header";
import { hasListener } from "../udp/demux";
import { PROTOCOL_TCP } from "../wire/tcp";

@final
@unmanaged
export class Port {
  hi: u64;
  lo: u64;
  /** Connections that use it; 0 marks a free slot. */
  count: u32;
  portNet: u32;
  /** Next of its chain, or of the free ones, slot + 1. */
  next: u32;
  /** How many of them are in TIME-WAIT. */
  timeWaits: u32;

  static at(slot: u32): Port {
    return changetype<Port>(<usize>(PORTS_OFFSET + slot * PORT_BYTES));
  }
}

function chainOf(hi: u64, lo: u64, portNet: u32): usize {
  const h = mix(foldAddress(hi, lo), portNet);
  return <usize>(PORT_CHAINS_OFFSET + (((h >> 16) & (PORT_BUCKETS - 1)) << 2));
}

function keyOf(port: Port): u64 {
  return steeringKey(port.hi, port.lo, port.portNet, PROTOCOL_TCP, 0);
}

/** Counts one more connection there. Slot + 1, or 0: there is no room. */
export function acquirePort(hi: u64, lo: u64, portNet: u32): u32 {
  const at = findPort(hi, lo, portNet);
  if (at == 0) return createPort(chainOf(hi, lo, portNet), hi, lo, portNet);
  Port.at(at - 1).count += 1;
  return at;
}

function createPort(chain: usize, hi: u64, lo: u64, portNet: u32): u32 {
  const header = RegionHeader.get();
  let at = header.freePortHead;
  if (at == 0 && header.portHigh >= MAX_PORTS) return 0;
  const key = steeringKey(hi, lo, portNet, PROTOCOL_TCP, 0);
  if (isLocal(hi, lo) && !steeringAdd(key)) {
    header.steeringFull += 1;
    return 0;
  }
  if (at != 0) {
    header.freePortHead = Port.at(at - 1).next;
  } else {
    header.portHigh += 1;
    at = header.portHigh;
  }
  const port = Port.at(at - 1);
  port.hi = hi;
  port.lo = lo;
  port.portNet = portNet;
  port.count = 1;
  port.timeWaits = 0;
  port.next = load<u32>(chain);
  store<u32>(chain, at);
  return at;
}

/** One connection fewer uses this slot + 1. */
export function releasePort(at: u32): void {
  if (at == 0 || at > MAX_PORTS) return;
  const port = Port.at(at - 1);
  if (port.count > 1) {
    port.count -= 1;
    return;
  }
  port.count = 0;
  // A listener that is bound to just this address has the same key.
  if (!hasListener(port.hi, port.lo, port.portNet)) steeringRemove(keyOf(port));
  unlinkPort(at);
  const header = RegionHeader.get();
  port.next = header.freePortHead;
  header.freePortHead = at;
}

function unlinkPort(gone: u32): void {
  const port = Port.at(gone - 1);
  const chain = chainOf(port.hi, port.lo, port.portNet);
  let at = load<u32>(chain);
  if (at == gone) {
    store<u32>(chain, port.next);
    return;
  }
  for (let steps: u32 = 0; at != 0 && steps < MAX_PORTS; steps++) {
    const previous = Port.at(at - 1);
    if (previous.next == gone) {
      previous.next = port.next;
      return;
    }
    at = previous.next;
  }
}

/** Counts the TIME-WAITs of a port, given as slot + 1. */
export function countTimeWait(at: u32, change: i32): void {
  if (at == 0 || at > MAX_PORTS) return;
  Port.at(at - 1).timeWaits += change;
}

/** True if nothing but connections in TIME-WAIT uses this address and port. */
export function isPortResting(hi: u64, lo: u64, portNet: u32): bool {
  const at = findPort(hi, lo, portNet);
  return at != 0 && Port.at(at - 1).timeWaits == Port.at(at - 1).count;
}

/** True if connections use this address and port. */
export function isPortUsed(hi: u64, lo: u64, portNet: u32): bool {
  return findPort(hi, lo, portNet) != 0;
}

/** Slot + 1 of the address and port, or 0. */
function findPort(hi: u64, lo: u64, portNet: u32): u32 {
  let at = load<u32>(chainOf(hi, lo, portNet));
  for (let steps: u32 = 0; at != 0 && steps < MAX_PORTS; steps++) {
    const port = Port.at(at - 1);
    if (port.portNet == portNet && port.lo == lo && port.hi == hi) return at;
    at = port.next;
  }
  return 0;
}

/** An address came to this host, or left it: see steerBound in socket/table.ts. */
export function steerPorts(hi: u64, lo: u64): void {
  const isHere = isLocal(hi, lo);
  const high = RegionHeader.get().portHigh;
  for (let slot: u32 = 0; slot < high; slot++) {
    const port = Port.at(slot);
    if (port.count == 0 || port.lo != lo || port.hi != hi) continue;
    if (isHere) steeringAdd(keyOf(port));
    else steeringRemove(keyOf(port));
  }
}

/** Empties the table, before recovery counts the connections again. */
export function clearPorts(): void {
  const header = RegionHeader.get();
  memory.fill(<usize>PORT_CHAINS_OFFSET, 0, <usize>(PORT_BUCKETS * 4));
  memory.fill(<usize>PORTS_OFFSET, 0, <usize>(header.portHigh * PORT_BYTES));
  header.portHigh = 0;
  header.freePortHead = 0;
}

export function checkPortLayout(): void {
  if (offsetof<Port>() > PORT_BYTES) ERROR("Port is larger than its slot");
}
