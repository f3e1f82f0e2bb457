// The Internet checksum, RFC 1071. Sums are kept in host order over little-endian loads: the
// one's complement sum does not depend on byte order (RFC 1071 section 2 B). A running sum is 64
// bits with end-around carry.

/**
 * One's complement addition of 64-bit words. The carry is told by comparing with the sum: with the
 * word, the C compiler would regroup the additions, and no longer see the carries.
 */
function addCarry(sum: u64, word: u64): u64 {
  const s = sum + word;
  return s + <u64>(s < sum);
}

/**
 * Adds `length` bytes at `at` to the running sum: an addition and one with carry per 64-bit word,
 * on four sums, since each addition has to wait for the one before it.
 */
export function sumBytes(at: usize, length: u32, initial: u64): u64 {
  let sum0 = initial;
  let sum1: u64 = 0;
  let sum2: u64 = 0;
  let sum3: u64 = 0;
  let p = at;
  let left = length;
  while (left >= 64) {
    sum0 = addCarry(sum0, load<u64>(p));
    sum1 = addCarry(sum1, load<u64>(p, 8));
    sum2 = addCarry(sum2, load<u64>(p, 16));
    sum3 = addCarry(sum3, load<u64>(p, 24));
    sum0 = addCarry(sum0, load<u64>(p, 32));
    sum1 = addCarry(sum1, load<u64>(p, 40));
    sum2 = addCarry(sum2, load<u64>(p, 48));
    sum3 = addCarry(sum3, load<u64>(p, 56));
    p += 64;
    left -= 64;
  }
  if (left & 32) {
    sum0 = addCarry(sum0, load<u64>(p));
    sum1 = addCarry(sum1, load<u64>(p, 8));
    sum2 = addCarry(sum2, load<u64>(p, 16));
    sum3 = addCarry(sum3, load<u64>(p, 24));
    p += 32;
  }
  if (left & 16) {
    sum0 = addCarry(sum0, load<u64>(p));
    sum1 = addCarry(sum1, load<u64>(p, 8));
    p += 16;
  }
  if (left & 8) {
    sum2 = addCarry(sum2, load<u64>(p));
    p += 8;
  }
  if (left & 7) sum3 = addCarry(sum3, loadTail(p, left & 7));
  return addCarry(addCarry(addCarry(sum0, sum1), sum2), sum3);
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

/** Folds a running sum to 16 bits, without the final complement. */
export function foldSum(sum: u64): u32 {
  const low = <u32>sum;
  let s: u32 = low + <u32>(sum >> 32);
  s += <u32>(s < low);
  // Both halves are added in the upper one, where the lower one's carry arrives.
  return (s + rotl<u32>(s, 16)) >> 16;
}

/**
 * True if a sum that includes a correct checksum is that of undamaged data. One's complement
 * addition is addition modulo 0xffff, where 0xffff stands for zero: nothing has to be folded.
 * Precondition: not all of the data is zero, which no packet is.
 */
export function isSumRight(sum: u64): bool {
  return sum % 0xffff == 0;
}

/** The checksum of `length` bytes: 0 for data that includes its own correct checksum. */
export function checksum(at: usize, length: u32): u32 {
  return ~foldSum(sumBytes(at, length, 0)) & 0xffff;
}
