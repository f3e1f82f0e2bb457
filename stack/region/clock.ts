import { RegionHeader } from "./header";

/**
 * The time, given what a caller read from its clock: threads read theirs before they take the lock,
 * and some read a coarse one, but no connection may see time go back.
 */
export function clock(now: u64): u64 {
  const header = RegionHeader.get();
  if (now > header.clockNanos) header.clockNanos = now;
  return header.clockNanos;
}
