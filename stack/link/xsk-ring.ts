// AF_XDP rings (linux/if_xdp.h): single producer, single consumer, free-running 32-bit indices.
// RX and completion rings are produced by the kernel, fill and TX rings by us; the index that the
// other side writes is read with loadAcquire32, ours is published with storeRelease32.

import { loadAcquire32, storeRelease32 } from "../host";

/** Bit 0 of a ring's flags: the kernel sleeps and wants a system call. */
const NEED_WAKEUP: u32 = 1;

/** Where the parts of one ring lie, as region offsets. */
@final
@unmanaged
export class RingPlace {
  producer: u32;
  consumer: u32;
  descriptors: u32;
  flags: u32;

  /** Entries that the kernel has produced and we have not consumed (RX, completion). */
  get available(): u32 {
    return loadAcquire32(<usize>this.producer) - load<u32>(<usize>this.consumer);
  }

  /** Entries that we have produced and the kernel has not consumed (fill, TX). */
  get pending(): u32 {
    return load<u32>(<usize>this.producer) - loadAcquire32(<usize>this.consumer);
  }

  get producerIndex(): u32 {
    return load<u32>(<usize>this.producer);
  }
  get consumerIndex(): u32 {
    return load<u32>(<usize>this.consumer);
  }

  publishProducer(index: u32): void {
    storeRelease32(<usize>this.producer, index);
  }
  publishConsumer(index: u32): void {
    storeRelease32(<usize>this.consumer, index);
  }

  get needsWakeup(): bool {
    return ringNeedsWakeup(this.flags);
  }
}

/** True if the ring whose flags are at this offset wants a system call. */
export function ringNeedsWakeup(flags: u32): bool {
  return (loadAcquire32(<usize>flags) & NEED_WAKEUP) != 0;
}

export const RING_PLACE_BYTES: u32 = 16;
/** struct xdp_desc: address u64, length u32, options u32. */
export const DESCRIPTOR_BYTES: u32 = 16;
/** Fill and completion rings hold bare u64 addresses. */
export const ADDRESS_ENTRY_BYTES: u32 = 8;

export function checkRingLayout(): void {
  if (offsetof<RingPlace>() != RING_PLACE_BYTES) ERROR("RingPlace size");
}
