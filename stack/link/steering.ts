// The table by which the XDP program (native/bpf/steer.bpf.c) decides what belongs to the stack.
// It is a BPF array map that is mapped into the region: the stack writes it with plain stores, the
// program reads it. Keys are u64 and written whole, so a reader sees an old or a new key.

import { STEERING_BUCKET_KEYS, STEERING_BUCKETS } from "../config";
import { foldAddress } from "../base/hash";
import { storeRelease32 } from "../host";
import { STEERING_MARKS_BYTES, STEERING_MARKS_OFFSET } from "../layout";
import { STEERING_OFFSET, STEERING_SHARED_OFFSET } from "../layout";
import { PROTOCOL_TCP } from "../wire/tcp";

/** Key protocols that are not of IP: "this address is one of this host's", "this port is shared". */
const PROTOCOL_LOCAL: u32 = 0;
const PROTOCOL_SHARED_TCP: u32 = 1;
const PROTOCOL_SHARED_UDP: u32 = 2;

/** Shift that keeps log2(STEERING_BUCKETS) high bits of a 32-bit hash. */
const BUCKET_SHIFT: u32 = 19;
const FIRST_FACTOR: u32 = 0x9e3779b1;
const SECOND_FACTOR: u32 = 0x85ebca6b;

export function steeringKey(
  hi: u64,
  lo: u64,
  portNet: u32,
  protocol: u32,
  interfacePlusOne: u32,
): u64 {
  return (
    ((<u64>foldAddress(hi, lo)) << 32) |
    ((<u64>(portNet & 0xffff)) << 16) |
    ((<u64>(protocol & 0xff)) << 8) |
    <u64>(interfacePlusOne & 0xff)
  );
}

/** A key lies in one of two buckets: with the emptier one chosen, the table fills evenly. */
function hashOf(key: u64): u32 {
  const h: u32 = (<u32>(key >> 32) * FIRST_FACTOR) ^ (<u32>key * SECOND_FACTOR);
  return h ^ (h >> 15);
}

function bucketAt(hash: u32, factor: u32): usize {
  return <usize>(STEERING_OFFSET + ((hash * factor) >> BUCKET_SHIFT) * (STEERING_BUCKET_KEYS * 8));
}

/** Where the key is, or 0. */
function find(bucket: usize, key: u64): usize {
  for (let n: u32 = 0; n < STEERING_BUCKET_KEYS; n++) {
    const at = bucket + <usize>(n << 3);
    const found = load<u64>(at);
    if (found == key) return at;
    // A bucket has no holes: nearly all look-ups end here, at the first key.
    if (found == 0) return 0;
  }
  return 0;
}

function countEmpty(bucket: usize): u32 {
  let empty: u32 = 0;
  for (let n: u32 = 0; n < STEERING_BUCKET_KEYS; n++) {
    if (load<u64>(bucket + <usize>(n << 3)) == 0) empty += 1;
  }
  return empty;
}

/** Where the key is in either of its buckets, or 0. */
function findKey(key: u64): usize {
  const hash = hashOf(key);
  const at = find(bucketAt(hash, FIRST_FACTOR), key);
  return at != 0 ? at : find(bucketAt(hash, SECOND_FACTOR), key);
}

/** True if the key is there. */
export function steeringHas(key: u64): bool {
  return findKey(key) != 0;
}

/** Adds a key once. False if both its buckets are full: the socket then stays on the kernel. */
export function steeringAdd(key: u64): bool {
  const known = findKey(key);
  if (known != 0) {
    mark(known);
    return true;
  }
  const hash = hashOf(key);
  const first = bucketAt(hash, FIRST_FACTOR);
  const second = bucketAt(hash, SECOND_FACTOR);
  const emptyAt = find(countEmpty(first) >= countEmpty(second) ? first : second, 0);
  if (emptyAt == 0) return false;
  mark(emptyAt);
  store<u64>(emptyAt, key);
  return true;
}

/** The bit that notes for recovery that a key is wanted. */
function markWord(n: u32): usize {
  return <usize>(STEERING_MARKS_OFFSET + ((n >> 5) << 2));
}

function mark(at: usize): void {
  const n = (<u32>at - STEERING_OFFSET) >> 3;
  store<u32>(markWord(n), load<u32>(markWord(n)) | ((<u32>1) << (n & 31)));
}

function isMarked(n: u32): bool {
  return ((load<u32>(markWord(n)) >> (n & 31)) & 1) != 0;
}

export function steeringRemove(key: u64): void {
  const hash = hashOf(key);
  removeFrom(bucketAt(hash, FIRST_FACTOR), key);
  removeFrom(bucketAt(hash, SECOND_FACTOR), key);
}

/** The bucket's last key takes the place, before its own is emptied: no reader misses it. */
function removeFrom(bucket: usize, key: u64): void {
  const at = find(bucket, key);
  if (at == 0) return;
  const used = STEERING_BUCKET_KEYS - countEmpty(bucket);
  const last = bucket + <usize>((used - 1) << 3);
  store<u64>(at, load<u64>(last));
  store<u64>(last, 0);
}

/**
 * Recovery adds every key that is wanted again between this and steeringSweep. The table is in use
 * meanwhile: the kernel would answer a connection's segment that is not steered with a reset.
 */
export function steeringUnmark(): void {
  memory.fill(<usize>STEERING_MARKS_OFFSET, 0, <usize>STEERING_MARKS_BYTES);
}

/** Removes the keys that were not added since. What exasockd said of ports holds. */
export function steeringSweep(): void {
  let shared: u32 = 0;
  for (let bucket: u32 = 0; bucket < STEERING_BUCKETS; bucket++) {
    const base = <usize>(STEERING_OFFSET + bucket * (STEERING_BUCKET_KEYS * 8));
    let last = STEERING_BUCKET_KEYS - countEmpty(base);
    for (let n = last; n > 0; n--) {
      const at = base + <usize>((n - 1) << 3);
      const kind = (<u32>load<u64>(at) >> 8) & 0xff;
      const isShare = kind == PROTOCOL_SHARED_TCP || kind == PROTOCOL_SHARED_UDP;
      if (isShare) shared += 1;
      if (isShare || isMarked(bucket * STEERING_BUCKET_KEYS + n - 1)) continue;
      // What is behind it was looked at.
      last -= 1;
      store<u64>(at, load<u64>(base + <usize>(last << 3)));
      store<u64>(base + <usize>(last << 3), 0);
    }
  }
  storeRelease32(<usize>STEERING_SHARED_OFFSET, shared);
}

function sharedKey(protocol: u32, portNet: u32): u64 {
  const kind = protocol == PROTOCOL_TCP ? PROTOCOL_SHARED_TCP : PROTOCOL_SHARED_UDP;
  return steeringKey(0, 0, portNet, kind, 0);
}

/**
 * An ordinary program has a socket at a port of accelerated ones: from now on, or no longer, the
 * XDP programs let the kernel judge who gets new flows. Connections of the stack stay.
 */
export function sharePort(protocol: u32, portNet: u32, isShared: bool): void {
  const key = sharedKey(protocol, portNet);
  if (steeringHas(key) == isShared) return;
  const count = load<u32>(<usize>STEERING_SHARED_OFFSET);
  if (isShared && !steeringAdd(key)) return;
  if (!isShared) steeringRemove(key);
  storeRelease32(<usize>STEERING_SHARED_OFFSET, isShared ? count + 1 : count - 1);
}

export function isPortShared(protocol: u32, portNet: u32): bool {
  return load<u32>(<usize>STEERING_SHARED_OFFSET) != 0 && steeringHas(sharedKey(protocol, portNet));
}

export function localKey(hi: u64, lo: u64): u64 {
  return steeringKey(hi, lo, 0, PROTOCOL_LOCAL, 0);
}

export function isLocal(hi: u64, lo: u64): bool {
  return steeringHas(localKey(hi, lo));
}
