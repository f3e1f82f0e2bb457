// Sequence numbers: unsigned 32-bit numbers that wrap (RFC 9293 3.4). The order of two is the sign
// of their difference, which is right as long as they lie less than 2^31 apart. RFC 7323 compares
// timestamps in the same way.

export function seqBefore(a: u32, b: u32): bool {
  return <i32>(a - b) < 0;
}

export function seqAfter(a: u32, b: u32): bool {
  return <i32>(b - a) < 0;
}

export function seqBeforeEq(a: u32, b: u32): bool {
  return <i32>(b - a) >= 0;
}

export function seqAfterEq(a: u32, b: u32): bool {
  return <i32>(a - b) >= 0;
}

export function seqMin(a: u32, b: u32): u32 {
  return <i32>(a - b) < 0 ? a : b;
}
