// SipHash-2-4 (Aumasson and Bernstein, 2012) of whole 64-bit words, with the region's secret as its
// key: a function whose results nobody predicts without the key, however many they have seen.

import { RegionHeader } from "../region/header";

/** Rounds per word; at the end there are twice as many. */
const ROUNDS: u32 = 2;

/** Hash of the 16 bytes that two words are, little-endian. */
export function sipHash2(a: u64, b: u64): u64 {
  return sipHash(a, b, 0, 2);
}

/** Hash of the 24 bytes that three words are, little-endian. */
export function sipHash3(a: u64, b: u64, c: u64): u64 {
  return sipHash(a, b, c, 3);
}

function sipHash(a: u64, b: u64, c: u64, words: u32): u64 {
  const header = RegionHeader.get();
  let v0: u64 = header.secret0 ^ 0x736f6d6570736575;
  let v1: u64 = header.secret1 ^ 0x646f72616e646f6d;
  let v2: u64 = header.secret0 ^ 0x6c7967656e657261;
  let v3: u64 = header.secret1 ^ 0x7465646279746573;
  // The words, a last one with the length in bytes, and two turns that finish.
  for (let turn: u32 = 0; turn < words + 3; turn++) {
    let word: u64 = 0;
    if (turn < words) word = turn == 0 ? a : turn == 1 ? b : c;
    else if (turn == words) word = (<u64>words) << 59;
    else if (turn == words + 1) v2 ^= 0xff;
    v3 ^= word;
    for (let round: u32 = 0; round < ROUNDS; round++) {
      v0 += v1;
      v1 = rotl<u64>(v1, 13) ^ v0;
      v0 = rotl<u64>(v0, 32);
      v2 += v3;
      v3 = rotl<u64>(v3, 16) ^ v2;
      v0 += v3;
      v3 = rotl<u64>(v3, 21) ^ v0;
      v2 += v1;
      v1 = rotl<u64>(v1, 17) ^ v2;
      v2 = rotl<u64>(v2, 32);
    }
    v0 ^= word;
  }
  return v0 ^ v1 ^ v2 ^ v3;
}
