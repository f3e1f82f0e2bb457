// The table by which the XDP program (native/bpf/steer.bpf.c) decides what belongs to the stack.
// It is a BPF array map that is mapped into the region: the stack writes it with plain stores, the
// program reads it. Keys are u64 and written whole, so a reader sees an old or a new key.

import { STEERING_BUCKET_KEYS, STEERING_BUCKETS } from "../config";
import { foldAddress, mix } from "../base/hash";
import { STEERING_OFFSET } from "../layout";

/** Key protocol of "this address is one of this host's". */
const PROTOCOL_LOCAL: u32 = 0;

/** Shift that keeps log2(STEERING_BUCKETS) high bits of a 32-bit hash. */
const BUCKET_SHIFT: u32 = 19;

export function steeringKey(
  hi: u64,
  lo: u64,
  portNet: u32,
  protocol: u32,
  interfacePlusOne: u32,
): u64 {
  return (
    (<u64>foldAddress(hi, lo) << 32) |
    (<u64>(portNet & 0xffff) << 16) |
    (<u64>(protocol & 0xff) << 8) |
    <u64>(interfacePlusOne & 0xff)
  );
}

function bucketOf(key: u64): usize {
  const bucket = mix(<u32>(key >> 32), <u32>key) >> BUCKET_SHIFT;
  return <usize>(STEERING_OFFSET + bucket * (STEERING_BUCKET_KEYS * 8));
}

/** True if the key is there. */
export function steeringHas(key: u64): bool {
  const bucket = bucketOf(key);
  for (let n: u32 = 0; n < STEERING_BUCKET_KEYS; n++) {
    if (load<u64>(bucket + <usize>(n << 3)) == key) return true;
  }
  return false;
}

/** Adds a key once. False if its bucket is full: the socket then stays on the kernel. */
export function steeringAdd(key: u64): bool {
  const bucket = bucketOf(key);
  let empty: usize = 0;
  for (let n: u32 = 0; n < STEERING_BUCKET_KEYS; n++) {
    const at = bucket + <usize>(n << 3);
    const found = load<u64>(at);
    if (found == key) return true;
    if (found == 0 && empty == 0) empty = at;
  }
  if (empty == 0) return false;
  store<u64>(empty, key);
  return true;
}

export function steeringRemove(key: u64): void {
  const bucket = bucketOf(key);
  for (let n: u32 = 0; n < STEERING_BUCKET_KEYS; n++) {
    const at = bucket + <usize>(n << 3);
    if (load<u64>(at) == key) store<u64>(at, 0);
  }
}

export function steeringClear(): void {
  memory.fill(<usize>STEERING_OFFSET, 0, <usize>(STEERING_BUCKETS * STEERING_BUCKET_KEYS * 8));
}

export function localKey(hi: u64, lo: u64): u64 {
  return steeringKey(hi, lo, 0, PROTOCOL_LOCAL, 0);
}

export function isLocal(hi: u64, lo: u64): bool {
  return steeringHas(localKey(hi, lo));
}
