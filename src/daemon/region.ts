// The shared region as exasockd holds it: memory, the stack's calls, BPF maps laid over it.

import { randomBytes } from "node:crypto";
import { BUILD_HASH, BUILD_HASH_TEXT } from "../../build/gen/build-hash.ts";
import {
  ADDRESS_BYTES,
  ADDRESSES_OFFSET,
  ARRIVAL_COUNTERS,
  ARRIVALS_BYTES,
  ARRIVALS_OFFSET,
  FORK_TICKETS_OFFSET,
  ForkTicketView,
  HEADER_OFFSET,
  HostAddressView,
  MAX_ADDRESSES,
  MAX_WAITERS,
  REGION_MAGIC,
  RegionHeaderView,
  STEERING_BUCKET_KEYS,
  STEERING_BYTES,
  STEERING_OFFSET,
  STEERING_SHARED_OFFSET,
  WAITERS_OFFSET,
  WaiterState,
  WaiterView,
} from "../../build/gen/layout.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "./netlink/sock-diag.ts";
import { regionBreaches } from "../core/region-checks.ts";
import type { PoolSize } from "./options.ts";
import type { PortName } from "./shared-ports.ts";
import { check, checkValue, native, type StackCalls } from "./native.ts";

/** Packets that one call of poll() may handle before others get the lock. */
const POLL_BUDGET = 64;
/** Bounds the time that one pump run keeps the event loop from other work. */
const POLL_ROUNDS_MAX = 64;
/** Protocols of the steering table's keys for shared ports. */
const SHARED_PROTOCOLS: Readonly<Record<number, number>> = { 1: IPPROTO_TCP, 2: IPPROTO_UDP };
/** Slot of exasockd itself, as client and as waiter. */
export const DAEMON_SLOT = 0;

/** Larger than any process id: of a child whose number here is not known. */
const PID_UNKNOWN = 0xffffffff;

function isAlive(pid: number): boolean {
  if (pid === PID_UNKNOWN) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

export interface RegionOptions {
  readonly stack: string;
  readonly regionBytes: number;
  readonly pool: PoolSize;
}

/** Descriptors of a region's memory and of the tables that lie over parts of it. */
export interface RegionFiles {
  readonly memoryFd: number;
  readonly steeringFd: number;
  readonly arrivalsFd: number;
}

function checkBuild(): void {
  if (native().coreBuild() === BUILD_HASH_TEXT) return;
  throw new Error('the addon and this program are of different builds: run "npm run build"');
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

  private constructor(stackName: string, bytes: number, files: RegionFiles) {
    this.bytes = bytes;
    this.stack = native().stack;
    this.memoryFd = files.memoryFd;
    this.steeringFd = files.steeringFd;
    this.arrivalsFd = files.arrivalsFd;
    const buffer = checkValue(
      native().coreMap(this.memoryFd, BigInt(bytes), stackName),
      "mapping the region",
    );
    this.view = new DataView(buffer);
    this.header = new RegionHeaderView(this.view, HEADER_OFFSET);
  }

  /** Makes a fresh one. */
  static create(options: RegionOptions): Region {
    const { regionBytes, pool } = options;
    checkBuild();
    const memoryFd = check(native().memfdCreate("exasock-region", regionBytes), "memfd_create");
    const bucketBytes = STEERING_BUCKET_KEYS * 8;
    const steeringFd = check(
      native().bpfMapCreate("steering", bucketBytes, STEERING_BYTES / bucketBytes),
      "BPF map",
    );
    const arrivalsFd = check(native().bpfMapCreate("arrivals", 8, ARRIVAL_COUNTERS), "BPF map");
    const region = new Region(options.stack, regionBytes, { memoryFd, steeringFd, arrivalsFd });
    region.#format(pool);
    region.#mapTables();
    check(native().coreClaim(), "claiming the region");
    return region;
  }

  /**
   * Takes the place of an exasockd that died. The lock may still be the dead's: `bury` comes when
   * the queues' rings are mapped, and until then nothing that needs the lock.
   */
  static takeOver(stackName: string, regionBytes: number, files: RegionFiles): Region {
    checkBuild();
    const region = new Region(stackName, regionBytes, files);
    const { magic, buildHash } = region.header;
    if (magic !== REGION_MAGIC || buildHash !== BUILD_HASH) throw new Error("that is no region");
    region.#mapTables();
    check(native().coreClaim(), "claiming the region");
    return region;
  }

  #format(pool: PoolSize): void {
    const needed = this.stack.regionBytes(pool.frameBytes, pool.frameCount);
    if (needed > BigInt(this.bytes)) {
      const mebibytes = Math.ceil(Number(needed) / (1 << 20));
      throw new Error(`--region-bytes is too small: this frame pool needs ${mebibytes}M`);
    }
    const { frameBytes, frameCount } = pool;
    const size = BigInt(this.bytes);
    const formatted = this.stack.regionFormat(size, frameBytes, frameCount, BUILD_HASH);
    check(formatted, "formatting the region");
    const secret = randomBytes(16);
    this.stack.regionSeed(secret.readBigUInt64LE(0), secret.readBigUInt64LE(8));
  }

  #mapTables(): void {
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

  /** What is wrong with it. Everybody else waits for as long as this takes, some 20 ms. */
  breaches(): string[] {
    check(native().coreLock(), "the region's lock");
    try {
      return regionBreaches(this.view);
    } finally {
      native().coreUnlock();
    }
  }

  /** The host's addresses that the stack knows, each as often as it was added. */
  addresses(): { hi: bigint; lo: bigint }[] {
    const all: { hi: bigint; lo: bigint }[] = [];
    for (let slot = 0; slot < MAX_ADDRESSES; slot++) {
      const at = ADDRESSES_OFFSET + slot * ADDRESS_BYTES;
      const { hi, lo, references } = new HostAddressView(this.view, at);
      for (let count = 0; count < references; count++) all.push({ hi, lo });
    }
    return all;
  }

  /** Ports that the steering table says the kernel judges about: see stack/link/steering.ts. */
  *sharedPorts(): Generator<PortName> {
    const count = (STEERING_SHARED_OFFSET - STEERING_OFFSET) / 8;
    const keys = new BigUint64Array(this.view.buffer, STEERING_OFFSET, count);
    for (const key of keys) {
      const protocol = SHARED_PROTOCOLS[Number((key >> 8n) & 0xffn)];
      if (protocol !== undefined) yield { protocol, portNet: Number((key >> 16n) & 0xffffn) };
    }
  }

  /** Lets go of the epoll sets that children hold which ended before they joined. */
  dropDeadForks(): void {
    const { stack } = this;
    for (let at = stack.epollNextFork(0); at !== 0; at = stack.epollNextFork(at)) {
      const ticket = new ForkTicketView(this.view, FORK_TICKETS_OFFSET + at * ForkTicketView.BYTES);
      if (!isAlive(ticket.pid)) stack.epollDropFork(at);
    }
  }

  /** Waiters that sleep on the AF_XDP sockets themselves. */
  get hasLeader(): boolean {
    const { leader } = this.header;
    return leader > 0 && leader <= MAX_WAITERS;
  }
}
