// The Internet checksum, RFC 1071. Sums are kept in host order over little-endian loads: the
// one's complement sum does not depend on byte order (RFC 1071 section 2 B).

/** Adds `length` bytes at `at` to the running sum. */
export function sumBytes(at: usize, length: u32, initial: u64): u64 {
  let sum = initial;
  let p = at;
  let left = length;
  while (left >= 16) {
    const a = load<u64>(p);
    const b = load<u64>(p, 8);
    sum += (a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32);
    p += 16;
    left -= 16;
  }
  if (left & 8) {
    const a = load<u64>(p);
    sum += (a & 0xffffffff) + (a >> 32);
    p += 8;
  }
  if (left & 4) {
    sum += <u64>load<u32>(p);
    p += 4;
  }
  if (left & 2) {
    sum += <u64>load<u16>(p);
    p += 2;
  }
  if (left & 1) sum += <u64>load<u8>(p);
  return sum;
}

/** Folds a running sum to 16 bits, without the final complement. */
export function foldSum(sum: u64): u32 {
  let s: u64 = (sum & 0xffffffff) + (sum >> 32);
  s = (s & 0xffff) + (s >> 16);
  s = (s & 0xffff) + (s >> 16);
  s = (s & 0xffff) + (s >> 16);
  return <u32>s;
}

/** The checksum of `length` bytes: 0 for data that includes its own correct checksum. */
export function checksum(at: usize, length: u32): u32 {
  return ~foldSum(sumBytes(at, length, 0)) & 0xffff;
}
