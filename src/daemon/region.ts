// The shared region as exasockd holds it: memory, the stack's calls, BPF maps laid over it.

import { randomBytes } from "node:crypto";
import { BUILD_HASH, BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import {
  ARRIVAL_COUNTERS,
  ARRIVALS_BYTES,
  ARRIVALS_OFFSET,
  HEADER_OFFSET,
  MAX_WAITERS,
  RegionHeaderView,
  STEERING_BUCKET_KEYS,
  STEERING_BYTES,
  STEERING_OFFSET,
  WAITERS_OFFSET,
  WaiterState,
  WaiterView,
} from "../../build/gen/layout.ts";
import type { PoolSize } from "./options.ts";
import { check, checkValue, native, type StackCalls } from "./native.ts";

/** Packets that one call of poll() may handle before others get the lock. */
const POLL_BUDGET = 64;
/** Bounds the time that one pump run keeps the event loop from other work. */
const POLL_ROUNDS_MAX = 64;
/** Slot of exasockd itself, as client and as waiter. */
export const DAEMON_SLOT = 0;

export interface RegionOptions {
  readonly stack: string;
  readonly regionBytes: number;
  readonly pool: PoolSize;
}

/** Owns the memory file and the two maps. One per process: the native core has one region. */
export class Region {
  readonly memoryFd: number;
  readonly steeringFd: number;
  readonly arrivalsFd: number;
  readonly bytes: number;
  readonly view: DataView;
  readonly header: RegionHeaderView;
  readonly stack: StackCalls;

  constructor(options: RegionOptions) {
    const { regionBytes, pool } = options;
    if (native().coreBuild() !== BUILD_HASH_TEXT) {
      throw new Error('the addon and this program are of different builds: run "npm run build"');
    }
    this.bytes = regionBytes;
    this.stack = native().stack;
    this.memoryFd = check(native().memfdCreate("exasock-region", regionBytes), "memfd_create");
    const buffer = checkValue(
      native().coreMap(this.memoryFd, BigInt(regionBytes), options.stack),
      "mapping the region",
    );
    this.view = new DataView(buffer);
    this.header = new RegionHeaderView(this.view, HEADER_OFFSET);
    const needed = this.stack.regionBytes(pool.frameBytes, pool.frameCount);
    if (needed > BigInt(regionBytes)) {
      const mebibytes = Math.ceil(Number(needed) / (1 << 20));
      throw new Error(`--region-bytes is too small: this frame pool needs ${mebibytes}M`);
    }
    const size = BigInt(regionBytes);
    const { frameBytes, frameCount } = pool;
    const formatted = this.stack.regionFormat(size, frameBytes, frameCount, BUILD_HASH);
    check(formatted, "formatting the region");
    const secret = randomBytes(16);
    this.stack.regionSeed(secret.readBigUInt64LE(0), secret.readBigUInt64LE(8));
    const bucketBytes = STEERING_BUCKET_KEYS * 8;
    this.steeringFd = check(
      native().bpfMapCreate("steering", bucketBytes, STEERING_BYTES / bucketBytes),
      "BPF map",
    );
    this.arrivalsFd = check(native().bpfMapCreate("arrivals", 8, ARRIVAL_COUNTERS), "BPF map");
    this.#mapOver(this.steeringFd, STEERING_OFFSET, STEERING_BYTES);
    this.#mapOver(this.arrivalsFd, ARRIVALS_OFFSET, ARRIVALS_BYTES);
  }

  #mapOver(fd: number, offset: number, bytes: number): void {
    check(native().coreMapWindow(fd, 0n, offset, bytes), "mapping a BPF map");
  }

  /** Handles what is in the rings now. Returns how often it called poll(). */
  pump(): number {
    let rounds = 0;
    while (rounds < POLL_ROUNDS_MAX) {
      rounds++;
      if (this.stack.poll(process.hrtime.bigint(), POLL_BUDGET) === 0) break;
    }
    return rounds;
  }

  /** Address in this process of a region offset: where the kernel finds the frames. */
  addressOf(offset: number): bigint {
    return native().coreAddress() + BigInt(offset);
  }

  /** Frames of the pool that nobody uses. */
  get freeFrames(): number {
    return this.header.freeFrames + (this.header.frameCount - this.header.freshFrames);
  }

  /** Slots of the threads that sleep. */
  *sleepers(): Generator<number> {
    const end = Math.min(this.header.waiterHigh, MAX_WAITERS);
    for (let slot = 1; slot < end; slot++) {
      const waiter = new WaiterView(this.view, WAITERS_OFFSET + slot * WaiterView.BYTES);
      if (waiter.state === WaiterState.Sleeping) yield slot;
    }
  }

  /** Waiters that sleep on the AF_XDP sockets themselves. */
  get hasLeader(): boolean {
    const { leader } = this.header;
    return leader > 0 && leader <= MAX_WAITERS;
  }
}
