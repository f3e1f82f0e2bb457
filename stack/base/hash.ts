/** Folds a 128-bit address into 32 bits; the wildcard gives 0. The XDP program does the same. */
export function foldAddress(hi: u64, lo: u64): u32 {
  const x: u64 = hi ^ lo;
  return <u32>x ^ <u32>(x >> 32);
}

/** Mixes two words into one whose high and low bits are both usable as a table index. */
export function mix(a: u32, b: u32): u32 {
  let h: u32 = (a * 0x9e3779b1) ^ (b * 0x85ebca6b);
  h ^= h >> 15;
  return h * 0x9e3779b1;
}
