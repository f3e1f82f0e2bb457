// The host's own addresses, as exasockd reports them. The list is what recovery rebuilds the
// steering table from; look-ups go to that table.

import { MAX_ADDRESSES } from "../config";
import { ADDRESS_BYTES, ADDRESSES_OFFSET } from "../layout";
import { RegionHeader } from "../region/header";
import { localKey, steeringAdd, steeringRemove } from "./steering";

@final
@unmanaged
export class HostAddress {
  hi: u64;
  lo: u64;
  /** How often it was added: the same address may be on two interfaces. 0 marks a free slot. */
  references: u32;
  reserved: u32;

  static at(slot: u32): HostAddress {
    return changetype<HostAddress>(<usize>(ADDRESSES_OFFSET + slot * ADDRESS_BYTES));
  }
}

function findAddress(hi: u64, lo: u64): i32 {
  for (let slot: u32 = 0; slot < MAX_ADDRESSES; slot++) {
    const entry = HostAddress.at(slot);
    if (entry.references != 0 && entry.hi == hi && entry.lo == lo) return <i32>slot;
  }
  return -1;
}

/** 0, or -1 when MAX_ADDRESSES are known or the steering bucket is full. */
export function addAddress(hi: u64, lo: u64): i32 {
  RegionHeader.get().routeEpoch += 1;
  const known = findAddress(hi, lo);
  if (known >= 0) {
    HostAddress.at(<u32>known).references += 1;
    return 0;
  }
  for (let slot: u32 = 0; slot < MAX_ADDRESSES; slot++) {
    const entry = HostAddress.at(slot);
    if (entry.references != 0) continue;
    if (!steeringAdd(localKey(hi, lo))) return -1;
    entry.hi = hi;
    entry.lo = lo;
    entry.references = 1;
    return 0;
  }
  return -1;
}

export function removeAddress(hi: u64, lo: u64): void {
  RegionHeader.get().routeEpoch += 1;
  RegionHeader.get().lastLocalLo = 0;
  const known = findAddress(hi, lo);
  if (known < 0) return;
  const entry = HostAddress.at(<u32>known);
  // In this order: recovery puts the keys of known addresses back.
  if (entry.references == 1) steeringRemove(localKey(hi, lo));
  entry.references -= 1;
}

/** Puts every known address into an empty steering table. */
export function steerAddresses(): void {
  for (let slot: u32 = 0; slot < MAX_ADDRESSES; slot++) {
    const entry = HostAddress.at(slot);
    if (entry.references != 0) steeringAdd(localKey(entry.hi, entry.lo));
  }
}

export function checkAddressLayout(): void {
  if (offsetof<HostAddress>() > ADDRESS_BYTES) ERROR("HostAddress is larger than its slot");
}
