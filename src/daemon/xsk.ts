// AF_XDP sockets: one per queue, all of an interface sharing one UMEM, which is the region's frame
// pool. Layouts: linux/if_xdp.h.

import { setTimeout as delay } from "node:timers/promises";
import {
  COMPLETION_RING_ENTRIES,
  FILL_RING_ENTRIES,
  QUEUE_WINDOW_BYTES,
  Ring,
  RINGS_OFFSET,
  RX_RING_ENTRIES,
  TX_METADATA_BYTES,
  TX_RING_ENTRIES,
} from "../../build/gen/layout.ts";
import { check, native, SystemError } from "./native.ts";

const AF_XDP = 44;
const SOCK_RAW = 3;
const SOL_XDP = 283;
const XDP_MMAP_OFFSETS = 1;
const XDP_RX_RING = 2;
const XDP_TX_RING = 3;
const XDP_UMEM_REG = 4;
const XDP_UMEM_FILL_RING = 5;
const XDP_UMEM_COMPLETION_RING = 6;
const XDP_STATISTICS = 7;
const XDP_OPTIONS = 8;
const XDP_OPTIONS_ZEROCOPY = 1;

const XDP_UMEM_TX_METADATA_LEN = 1 << 2;

const XDP_SHARED_UMEM = 1 << 0;
const XDP_COPY = 1 << 1;
const XDP_ZEROCOPY = 1 << 2;
const XDP_USE_NEED_WAKEUP = 1 << 3;

const EBUSY = 16;
const EINVAL = 22;
/** The kernel tears a closed AF_XDP socket down later: its queue stays busy for a while. */
const BUSY_TRIES = 8;
const BUSY_FIRST_DELAY_MILLIS = 5;

const RINGS = [
  { ring: Ring.Rx, option: XDP_RX_RING, entries: RX_RING_ENTRIES },
  { ring: Ring.Tx, option: XDP_TX_RING, entries: TX_RING_ENTRIES },
  { ring: Ring.Fill, option: XDP_UMEM_FILL_RING, entries: FILL_RING_ENTRIES },
  { ring: Ring.Completion, option: XDP_UMEM_COMPLETION_RING, entries: COMPLETION_RING_ENTRIES },
] as const;

export interface RingOffsets {
  readonly producer: number;
  readonly consumer: number;
  readonly descriptors: number;
  readonly flags: number;
}

/** Counters of the kernel's side of one socket (struct xdp_statistics). */
export interface XskStatistics {
  readonly rxDropped: number;
  readonly rxInvalidDescriptors: number;
  readonly txInvalidDescriptors: number;
  readonly rxRingFull: number;
  readonly rxFillRingEmpty: number;
  readonly txRingEmpty: number;
}

export interface UmemArea {
  readonly address: bigint;
  readonly bytes: number;
  readonly frameBytes: number;
}

export interface QueuePlace {
  readonly ifindex: number;
  readonly queueId: number;
  /** Slot of the queue in the region. */
  readonly slot: number;
}

/** sockaddr_xdp. */
export function encodeXdpAddress(
  flags: number,
  ifindex: number,
  queueId: number,
  sharedFd: number,
): Buffer {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_XDP, 0);
  address.writeUInt16LE(flags, 2);
  address.writeUInt32LE(ifindex, 4);
  address.writeUInt32LE(queueId, 8);
  address.writeUInt32LE(sharedFd, 12);
  return address;
}

/** struct xdp_mmap_offsets: rx, tx, fill, completion. */
export function decodeRingOffsets(bytes: Buffer): RingOffsets[] {
  return [0, 1, 2, 3].map((ring) => {
    const word = (index: number) => Number(bytes.readBigUInt64LE(ring * 32 + index * 8));
    return { producer: word(0), consumer: word(1), descriptors: word(2), flags: word(3) };
  });
}

export function decodeStatistics(bytes: Buffer): XskStatistics {
  const word = (index: number) => Number(bytes.readBigUInt64LE(index * 8));
  return {
    rxDropped: word(0),
    rxInvalidDescriptors: word(1),
    txInvalidDescriptors: word(2),
    rxRingFull: word(3),
    rxFillRingEmpty: word(4),
    txRingEmpty: word(5),
  };
}

/** struct xdp_umem_reg; with room for transmit metadata from Linux 6.11 on. */
function encodeUmem(area: UmemArea, hasMetadata: boolean): Buffer {
  const request = Buffer.alloc(32);
  if (hasMetadata) {
    request.writeUInt32LE(XDP_UMEM_TX_METADATA_LEN, 24);
    request.writeUInt32LE(TX_METADATA_BYTES, 28);
  }
  request.writeBigUInt64LE(area.address, 0);
  request.writeBigUInt64LE(BigInt(area.bytes), 8);
  request.writeUInt32LE(area.frameBytes, 16);
  return request;
}

function setOption(fd: number, name: number, value: Buffer, what: string): void {
  check(native().setSocketOption(fd, SOL_XDP, name, value), what);
}

/** Binds with a bounded number of tries while the queue is still busy. */
async function bindPatiently(fd: number, address: Buffer): Promise<number> {
  for (let tries = 1; ; tries++) {
    const result = native().bind(fd, address);
    if (result !== -EBUSY || tries >= BUSY_TRIES) return result;
    await delay(BUSY_FIRST_DELAY_MILLIS << (tries - 1));
  }
}

/** One AF_XDP socket, its rings mapped into the region. */
export class Xsk {
  readonly fd: number;
  readonly place: QueuePlace;
  readonly offsets: readonly RingOffsets[];
  readonly #regionFd: number;
  #open = true;
  #hasMetadata = false;

  /**
   * Makes the socket and its rings, or takes one that is in use; registers the UMEM unless another
   * socket shares its own.
   */
  constructor(regionFd: number, place: QueuePlace, umem: UmemArea | undefined, used?: number) {
    this.#regionFd = regionFd;
    this.place = place;
    this.fd = used ?? check(native().socket(AF_XDP, SOCK_RAW, 0), "AF_XDP socket");
    try {
      if (umem) this.#registerUmem(umem);
      if (used === undefined) this.#makeRings();
      const bytes = Buffer.alloc(128);
      check(native().getSocketOption(this.fd, SOL_XDP, XDP_MMAP_OFFSETS, bytes), "ring offsets");
      this.offsets = decodeRingOffsets(bytes);
      this.#mapRings();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #makeRings(): void {
    for (const { option, entries } of RINGS) {
      const count = Buffer.alloc(4);
      count.writeUInt32LE(entries);
      setOption(this.fd, option, count, "AF_XDP ring");
    }
  }

  /** With room for metadata if the kernel knows of any. */
  #registerUmem(umem: UmemArea): void {
    const request = encodeUmem(umem, true);
    const result = native().setSocketOption(this.fd, SOL_XDP, XDP_UMEM_REG, request);
    this.#hasMetadata = result === 0;
    if (result === 0) return;
    if (result !== -EINVAL) throw new SystemError("registering the frame pool", -result);
    const plain = encodeUmem(umem, false);
    setOption(this.fd, XDP_UMEM_REG, plain, "registering the frame pool");
  }

  #mapRings(): void {
    for (const { ring } of RINGS) {
      check(native().coreMapRing(this.place.slot, ring, this.fd), "mapping an AF_XDP ring");
    }
  }

  /** Binds the first socket of an interface, which decides between zero-copy and copy for all. */
  async bindFirst(tryZeroCopy: boolean): Promise<void> {
    const { ifindex, queueId } = this.place;
    const modes = tryZeroCopy ? [XDP_ZEROCOPY, XDP_COPY] : [XDP_COPY];
    let result = 0;
    for (const mode of modes) {
      const address = encodeXdpAddress(mode | XDP_USE_NEED_WAKEUP, ifindex, queueId, 0);
      result = await bindPatiently(this.fd, address);
      if (result === 0) return;
    }
    throw new SystemError(`AF_XDP on queue ${queueId}`, -result);
  }

  /** Binds a further queue of the interface whose first socket is `first`. */
  async bindShared(first: Xsk): Promise<void> {
    const { ifindex, queueId } = this.place;
    const address = encodeXdpAddress(XDP_SHARED_UMEM, ifindex, queueId, first.fd);
    check(await bindPatiently(this.fd, address), `AF_XDP on queue ${queueId}`);
  }

  /** What the kernel says, not what was asked for. */
  get isZeroCopy(): boolean {
    const bytes = Buffer.alloc(4);
    check(native().getSocketOption(this.fd, SOL_XDP, XDP_OPTIONS, bytes), "AF_XDP options");
    return (bytes.readUInt32LE(0) & XDP_OPTIONS_ZEROCOPY) !== 0;
  }

  /**
   * Whether the kernel finishes transport checksums. In copy mode it does for every driver; in
   * zero-copy mode only some drivers do, and none says so.
   */
  get finishesChecksums(): boolean {
    return this.#hasMetadata && !this.isZeroCopy;
  }

  statistics(): XskStatistics {
    const bytes = Buffer.alloc(48);
    check(native().getSocketOption(this.fd, SOL_XDP, XDP_STATISTICS, bytes), "AF_XDP statistics");
    return decodeStatistics(bytes);
  }

  /** Closes the socket; the region's own memory takes the place of its rings. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const offset = RINGS_OFFSET + this.place.slot * QUEUE_WINDOW_BYTES;
    native().coreMapWindow(this.#regionFd, BigInt(offset), offset, QUEUE_WINDOW_BYTES);
    native().close(this.fd);
  }
}
