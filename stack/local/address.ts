// Which destinations are this host itself: man 7 ip calls 127/8 its loopback addresses, and every
// address of an interface leads back here, too.

import { mappedToNet } from "../base/address";
import { isLocal } from "../link/steering";

const LOOPBACK_NET: u32 = 127;
/** 127.0.0.1, v4-mapped. */
const LOOPBACK_LO: u64 = 0x0100007fffff0000;

/** True for v4-mapped 127/8. */
export function isLoopback(hi: u64, lo: u64): bool {
  return hi == 0 && (mappedToNet(lo) & 0xff) == LOOPBACK_NET;
}

/** True for an address that packets never leave the host for. */
export function isThisHost(hi: u64, lo: u64): bool {
  return isLoopback(hi, lo) || isLocal(hi, lo);
}

/** Source of what is sent to an address of this host by a socket without one (man 8 ip-route). */
export function localSource(lo: u64): u64 {
  return isLoopback(0, lo) ? LOOPBACK_LO : lo;
}
