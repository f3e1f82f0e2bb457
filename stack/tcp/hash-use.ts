/** What a keyed hash of a connection is for: no result tells anything about another use. */
export const enum HashUse {
  InitialSequence = 0,
  Cookie = 1,
  CookieMinute = 2,
}

/** Third word of such a hash. minute: 30 bits, of a clock in minutes. */
export function hashWord(use: HashUse, portsNet: u32, minute: u32): u64 {
  return <u64>portsNet | ((<u64>use) << 32) | ((<u64>minute) << 34);
}
