// Addresses are 128 bits wide, as two u64 that hold the 16 network-order bytes loaded
// little-endian. IPv4 is v4-mapped (RFC 4291 2.5.5.2); the wildcard is 0, 0.

const MAPPED_PREFIX: u64 = 0xffff0000;

/** Low half of the v4-mapped form of an IPv4 address; the high half is 0. */
export function mappedLow(addressNet: u32): u64 {
  return ((<u64>addressNet) << 32) | MAPPED_PREFIX;
}

/** The IPv4 address, in network order, of a v4-mapped low half. */
export function mappedToNet(lo: u64): u32 {
  return <u32>(lo >> 32);
}

export function isWildcard(hi: u64, lo: u64): bool {
  return (hi | lo) == 0;
}
