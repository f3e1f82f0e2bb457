// One interface while the stack uses it: XDP program, AF_XDP sockets of all queues, slots in the
// region. Set up and taken down as a whole.

import {
  FILL_TARGET_FRAMES,
  InterfaceFlag,
  INTERFACES_OFFSET,
  InterfaceView,
  QUEUES_OFFSET,
  QueueState,
  QueueView,
} from "../../build/gen/layout.ts";
import type { QueueRange } from "../cli/settings.ts";
import { macWordsOf } from "./address.ts";
import { native, SystemError } from "./native.ts";
import { IFF_RUNNING, IFF_UP, type Link } from "./netlink/route.ts";
import type { Region } from "./region.ts";
import type { Deposit } from "./vault.ts";
import { type DriverMode, XdpProgram } from "./xdp-program.ts";
import { type UmemArea, Xsk } from "./xsk.ts";

const EINVAL = 22;

type LeftInterface = Deposit["interfaces"][number];

/** Link, program and map of sockets. */
const FDS_OF_PROGRAM = 3;

/** How many descriptors an interface has in the vault. */
export function fdsOf({ shared, queues }: LeftInterface): number {
  return FDS_OF_PROGRAM + (shared ? 1 : 0) + queues.length;
}

export class AcceleratedInterface {
  readonly slot: number;
  readonly queues: readonly Xsk[];
  readonly #region: Region;
  readonly #program: XdpProgram;
  #link: Link;
  #virtual: boolean;

  private constructor(
    region: Region,
    slot: number,
    program: XdpProgram,
    queues: readonly Xsk[],
    link: Link,
    virtual: boolean,
  ) {
    this.#region = region;
    this.slot = slot;
    this.#program = program;
    this.queues = queues;
    this.#link = link;
    this.#virtual = virtual;
  }

  /**
   * Sets everything up, or leaves the interface as it was and throws. `running` is the number of
   * queues that other interfaces use; `wanted` are the queues to use, all if undefined.
   */
  static async open(
    region: Region,
    link: Link,
    virtual: boolean,
    running: number,
    wanted: QueueRange | undefined,
  ): Promise<AcceleratedInterface> {
    const { low, high } = macWordsOf(link.mac);
    const flags = interfaceFlags(link, virtual);
    const slot = region.stack.interfaceAdd(link.ifindex, link.mtu, low, high, flags);
    if (slot < 0) throw new Error("the stack has no room for another interface");
    const queues: Xsk[] = [];
    let program: XdpProgram | undefined;
    try {
      const isShared = wanted !== undefined;
      program = XdpProgram.attach(link.ifindex, slot, region.steeringFd, isShared);
      await openQueues(region, link, slot, program.mode, queues, wanted);
      const frames = fillTarget(region, queues.length + running);
      // One UMEM for all queues: what holds for the socket that registered it holds for them.
      const finishesChecksums = queues[0]?.finishesChecksums === true;
      for (const queue of queues) {
        if (finishesChecksums) region.stack.queueOffload(queue.place.slot);
        startQueue(region, program, queue, frames);
      }
      return new AcceleratedInterface(region, slot, program, queues, link, virtual);
    } catch (error) {
      program?.close();
      for (const queue of queues) closeQueue(region, queue);
      region.stack.interfaceRemove(slot);
      throw error;
    }
  }

  /**
   * Takes over one that an exasockd which died left running, its descriptors in the vault's order.
   * Undefined, and the descriptors closed, if it was only half set up or half taken down. Makes no
   * calls of the stack: the lock may be the dead's.
   */
  static takeOver(
    region: Region,
    left: LeftInterface,
    fds: readonly number[],
  ): AcceleratedInterface | undefined {
    const [linkFd = -1, programFd = -1, socketsFd = -1] = fds;
    const stacksFd = left.shared ? fds[FDS_OF_PROGRAM] : undefined;
    const sockets = fds.slice(fds.length - left.queues.length);
    const at = INTERFACES_OFFSET + left.slot * InterfaceView.BYTES;
    const isKnown = new InterfaceView(region.view, at).ifindex === left.ifindex;
    const isRunning = left.queues.every(({ slot }) => {
      const queue = new QueueView(region.view, QUEUES_OFFSET + slot * QueueView.BYTES);
      return queue.state === QueueState.Running && queue.interfaceSlot === left.slot;
    });
    if (!isKnown || !isRunning) {
      for (const fd of fds) native().close(fd);
      return undefined;
    }
    const { ifindex, mode, nativeProblem, virtual } = left;
    const queues = left.queues.map(({ slot, queueId }, index) => {
      const place = { ifindex, queueId, slot };
      const queue = new Xsk(region.memoryFd, place, undefined, sockets[index]);
      native().coreSetQueue(slot, queue.fd);
      return queue;
    });
    const program = new XdpProgram({ linkFd, programFd, socketsFd, stacksFd }, mode, nativeProblem);
    const link = unseenLink(ifindex);
    return new AcceleratedInterface(region, left.slot, program, queues, link, virtual);
  }

  /** What the vault is to hold of it. */
  get left(): LeftInterface {
    const { ifindex } = this.#link;
    const queues = this.queues.map(({ place: { slot, queueId } }) => ({ slot, queueId }));
    const { slot, mode, nativeProblem } = this;
    const shared = this.#program.files.stacksFd !== undefined;
    return { ifindex, slot, mode, nativeProblem, virtual: this.#virtual, shared, queues };
  }

  /** Its descriptors in the vault's order. */
  get fds(): number[] {
    return [...this.#program.fds, ...this.queues.map(({ fd }) => fd)];
  }

  get link(): Link {
    return this.#link;
  }

  get mode(): DriverMode {
    return this.#program.mode;
  }

  /** Why the mode is generic; empty when it is native. */
  get nativeProblem(): string {
    return this.#program.nativeProblem;
  }

  get zeroCopy(): boolean {
    return this.queues.every((queue) => queue.isZeroCopy);
  }

  /** Follows a change of address, MTU or state. */
  update(link: Link): void {
    const { low, high } = macWordsOf(link.mac);
    const flags = interfaceFlags(link, this.#virtual);
    this.#region.stack.interfaceUpdate(this.slot, link.mtu, low, high, flags);
    this.#link = link;
  }

  /** Gives the interface back to the kernel alone. */
  close(): void {
    for (const queue of this.queues) this.#program.clearSocket(queue.place.queueId);
    this.#program.close();
    for (const queue of this.queues) closeQueue(this.#region, queue);
    this.#region.stack.interfaceRemove(this.slot);
  }
}

/** Stands for what the kernel says of the interface until that is read, which then differs. */
function unseenLink(ifindex: number): Link {
  return {
    ifindex,
    name: "",
    hardwareType: 0,
    flags: 0,
    mtu: 0,
    mac: Buffer.alloc(6),
    master: 0,
    kind: "",
    rxQueues: 0,
    txQueues: 0,
  };
}

function interfaceFlags(link: Link, virtual: boolean): number {
  const up = (link.flags & IFF_UP) !== 0 && (link.flags & IFF_RUNNING) !== 0;
  return (up ? InterfaceFlag.Up : 0) | (virtual ? InterfaceFlag.Virtual : 0);
}

/**
 * Opens a socket for every queue. How many are in use is found by trying: the kernel refuses the
 * first number beyond (the counts in the link message are those the device was made with).
 */
async function openQueues(
  region: Region,
  link: Link,
  slot: number,
  mode: DriverMode,
  queues: Xsk[],
  wanted: QueueRange | undefined,
): Promise<void> {
  const { header } = region;
  const umem: UmemArea = {
    address: region.addressOf(header.framePoolOffset),
    bytes: header.frameCount * header.frameBytes,
    frameBytes: header.frameBytes,
  };
  const most = Math.max(link.rxQueues, link.txQueues, 1);
  const { first: lowest, last: highest } = wanted ?? { first: 0, last: most - 1 };
  for (let queueId = lowest; queueId <= highest; queueId++) {
    const queueSlot = region.stack.queueAdd(slot, queueId);
    if (queueSlot < 0) throw new Error("the stack has no room for another queue");
    const first = queues[0];
    let queue: Xsk | undefined;
    try {
      const place = { ifindex: link.ifindex, queueId, slot: queueSlot };
      queue = new Xsk(region.memoryFd, place, first ? undefined : umem);
      if (first) await queue.bindShared(first);
      else await queue.bindFirst(mode === "native");
      queues.push(queue);
    } catch (error) {
      queue?.close();
      region.stack.queueStop(queueSlot);
      const isBeyond = error instanceof SystemError && error.errno === EINVAL;
      if (first && isBeyond && !wanted) return;
      if (isBeyond && wanted) throw new Error(`it has no queue ${queueId}`);
      throw error;
    }
  }
}

/** Frames to keep posted per queue: all queues together at most half of the pool. */
function fillTarget(region: Region, queueCount: number): number {
  const share = Math.floor(region.header.frameCount / 2 / queueCount);
  return Math.min(FILL_TARGET_FRAMES, share);
}

function startQueue(region: Region, program: XdpProgram, queue: Xsk, frames: number): void {
  const { slot, queueId } = queue.place;
  queue.offsets.forEach((ring, index) => {
    const { producer, consumer, descriptors, flags } = ring;
    region.stack.queueRing(slot, index, producer, consumer, descriptors, flags);
  });
  native().coreSetQueue(slot, queue.fd);
  region.stack.queueStart(slot, frames);
  program.setSocket(queueId, queue.fd);
}

function closeQueue(region: Region, queue: Xsk): void {
  native().coreSetQueue(queue.place.slot, -1);
  queue.close();
  region.stack.queueStop(queue.place.slot);
}

export const QUEUE_STATE_NAMES: Readonly<Record<number, string>> = {
  [QueueState.Free]: "free",
  [QueueState.Stopped]: "stopped",
  [QueueState.Running]: "running",
};
