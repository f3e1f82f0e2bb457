// The Internet checksum, RFC 1071. Sums are kept in host order over little-endian loads: the
// one's complement sum does not depend on byte order (RFC 1071 section 2 B). A running sum is 64
// bits with end-around carry.

/** One's complement addition of 64-bit words. */
function addCarry(sum: u64, word: u64): u64 {
  const s = sum + word;
  return s + <u64>(s < word);
}

/**
 * Adds `length` bytes at `at` to the running sum. The 32-bit words can't carry out of the sum:
 * that would take 2^32 of them.
 */
export function sumBytes(at: usize, length: u32, initial: u64): u64 {
  let sum: u64 = 0;
  let p = at;
  let left = length;
  while (left >= 32) {
    sum += <u64>load<u32>(p);
    sum += <u64>load<u32>(p, 4);
    sum += <u64>load<u32>(p, 8);
    sum += <u64>load<u32>(p, 12);
    sum += <u64>load<u32>(p, 16);
    sum += <u64>load<u32>(p, 20);
    sum += <u64>load<u32>(p, 24);
    sum += <u64>load<u32>(p, 28);
    p += 32;
    left -= 32;
  }
  if (left & 16) {
    sum += <u64>load<u32>(p);
    sum += <u64>load<u32>(p, 4);
    sum += <u64>load<u32>(p, 8);
    sum += <u64>load<u32>(p, 12);
    p += 16;
  }
  if (left & 8) {
    sum += <u64>load<u32>(p);
    sum += <u64>load<u32>(p, 4);
    p += 8;
  }
  if (left & 7) sum = addCarry(sum, loadTail(p, left & 7));
  return addCarry(sum, initial);
}

/** Up to seven bytes, padded with zeros. */
function loadTail(at: usize, length: u32): u64 {
  let p = at;
  let word: u64 = 0;
  let shift: u64 = 0;
  if (length & 4) {
    word = <u64>load<u32>(p);
    p += 4;
    shift = 32;
  }
  if (length & 2) {
    word |= (<u64>load<u16>(p)) << shift;
    p += 2;
    shift += 16;
  }
  if (length & 1) word |= (<u64>load<u8>(p)) << shift;
  return word;
}

/** The sum of twenty bytes: an IPv4 header without options. */
export function sumTwenty(at: usize): u64 {
  return addCarry(addCarry(load<u64>(at), load<u64>(at, 8)), <u64>load<u32>(at, 16));
}

/** Folds a running sum to 16 bits, without the final complement. */
export function foldSum(sum: u64): u32 {
  const low = <u32>sum;
  let s: u32 = low + <u32>(sum >> 32);
  s += <u32>(s < low);
  // Both halves are added in the upper one, where the lower one's carry arrives.
  return (s + rotl<u32>(s, 16)) >> 16;
}

/** The checksum of `length` bytes: 0 for data that includes its own correct checksum. */
export function checksum(at: usize, length: u32): u32 {
  return ~foldSum(sumBytes(at, length, 0)) & 0xffff;
}
