// The XDP program of one interface: loading, attaching, and the map of its AF_XDP sockets.

import { join } from "node:path";
import { BUILD_FOLDER } from "../cli/native.ts";
import { check, checkValue, native, SystemError } from "./native.ts";

/** Where the program runs: in the driver before an sk_buff exists, or in the generic layer. */
export type DriverMode = "native" | "generic";

/** Loads the socket filter that counts a kernel socket's datagrams; returns the program. */
export function loadArrivals(arrivalsFd: number): number {
  const path = join(BUILD_FOLDER, "arrivals.bpf.o");
  const loaded = native().bpfLoad(path, null, "arrivals", arrivalsFd, "");
  return checkLoad(loaded, "loading arrivals.bpf.o")[0];
}

function checkLoad(result: [number, number] | number, what: string): [number, number] {
  const message = native().bpfMessage().split("\n")[0];
  return checkValue(result, message ? `${what} (${message})` : what);
}

/** The descriptors of an attached program; in the vault in this order. */
export interface XdpFiles {
  readonly linkFd: number;
  readonly programFd: number;
  readonly socketsFd: number;
  /** Where several stacks share the interface: programs by queue. */
  readonly stacksFd: number | undefined;
}

interface Attachment {
  readonly linkFd: number;
  readonly mode: DriverMode;
  /** Why the mode is not native; empty when it is. */
  readonly nativeProblem: string;
}

const EBUSY = 16;
const EEXIST = 17;
/** The program of steer.bpf.c; that of dispatch.bpf.c and its map. */
const STEERER = "steer";
const DISPATCHER = "dispatch";
const DISPATCHER_MAP = "stacks";
/** exasockds that start together: the first attaches the dispatcher, the others find it. */
const ATTACH_TRIES = 3;

/** Why nothing else can be attached to the interface, for people. */
function occupation(name: string): string {
  if (name === STEERER) {
    return "another stack has all of its queues: it has to name some (--interfaces=NAME:0-1)";
  }
  if (name === DISPATCHER) {
    return "other stacks have queues of it: name those to be used (--interfaces=NAME:2-3)";
  }
  return `the XDP program "${name}" of somebody else is attached to it`;
}

/** Attaches a program, in the driver if that can. Throws and closes nothing if it can't. */
function link(programFd: number, ifindex: number): Attachment {
  let linkFd = native().bpfLinkXdp(programFd, ifindex, 0);
  const mode = linkFd < 0 ? "generic" : "native";
  const nativeProblem = linkFd < 0 ? new SystemError("native XDP", -linkFd).message : "";
  if (linkFd < 0) linkFd = native().bpfLinkXdp(programFd, ifindex, 1);
  if (linkFd < 0) throw new SystemError("attaching the XDP program", -linkFd);
  return { linkFd, mode, nativeProblem };
}

/** The same for a program that wants the interface for itself. */
function linkAlone(programFd: number, ifindex: number): Attachment {
  const attached = native().bpfAttached(ifindex, DISPATCHER_MAP);
  if (typeof attached === "number") return link(programFd, ifindex);
  const [name, linkFd, stacksFd] = attached;
  for (const fd of [linkFd, stacksFd]) if (fd >= 0) native().close(fd);
  throw new Error(occupation(name));
}

/** The dispatcher that another stack has attached; undefined if nothing is attached. */
function findDispatcher(ifindex: number): (Attachment & { stacksFd: number }) | undefined {
  const attached = native().bpfAttached(ifindex, DISPATCHER_MAP);
  if (typeof attached === "number") return undefined;
  const [name, linkFd, stacksFd, isGeneric] = attached;
  if (name === DISPATCHER && linkFd >= 0 && stacksFd >= 0) {
    const mode = isGeneric ? "generic" : "native";
    return { linkFd, stacksFd, mode, nativeProblem: isGeneric ? "shared with another stack" : "" };
  }
  for (const fd of [linkFd, stacksFd]) if (fd >= 0) native().close(fd);
  throw new Error(occupation(name));
}

/** The interface's dispatcher, attached now or before. */
function openDispatcher(ifindex: number): Attachment & { stacksFd: number } {
  for (let tries = 1; ; tries++) {
    const found = findDispatcher(ifindex);
    if (found) return found;
    const path = join(BUILD_FOLDER, "dispatch.bpf.o");
    const loaded = native().bpfLoad(path, null, "", -1, DISPATCHER_MAP);
    const [programFd, stacksFd] = checkLoad(loaded, "loading dispatch.bpf.o");
    try {
      return { ...link(programFd, ifindex), stacksFd };
    } catch (error) {
      native().close(stacksFd);
      const isTaken = error instanceof SystemError && [EBUSY, EEXIST].includes(error.errno);
      if (!isTaken || tries >= ATTACH_TRIES) throw error;
    } finally {
      native().close(programFd);
    }
  }
}

/** Attached by a link: it goes away with the link's last descriptor, however processes end. */
export class XdpProgram {
  readonly mode: DriverMode;
  /** Why the mode is not native; empty when it is. */
  readonly nativeProblem: string;
  readonly files: XdpFiles;
  #open = true;

  /** One that is attached already. */
  constructor(files: XdpFiles, mode: DriverMode, nativeProblem: string) {
    this.files = files;
    this.mode = mode;
    this.nativeProblem = nativeProblem;
  }

  /** `isShared`: other stacks may have queues of the interface. */
  static attach(
    ifindex: number,
    interfaceSlot: number,
    steeringFd: number,
    isShared: boolean,
  ): XdpProgram {
    const slot = Buffer.alloc(4);
    slot.writeUInt32LE(interfaceSlot);
    const path = join(BUILD_FOLDER, "steer.bpf.o");
    const loaded = native().bpfLoad(path, slot, "steering", steeringFd, "xsks");
    const [programFd, socketsFd] = checkLoad(loaded, "loading steer.bpf.o");
    try {
      const attached = isShared
        ? openDispatcher(ifindex)
        : { ...linkAlone(programFd, ifindex), stacksFd: undefined };
      const { linkFd, stacksFd, mode, nativeProblem } = attached;
      const files = { linkFd, programFd, socketsFd, stacksFd };
      return new XdpProgram(files, mode, nativeProblem);
    } catch (error) {
      native().close(programFd);
      native().close(socketsFd);
      throw error;
    }
  }

  /** Packets of this receive queue may go to the socket from now on. */
  setSocket(queueId: number, fd: number): void {
    const { socketsFd, stacksFd, programFd } = this.files;
    check(native().bpfMapSet(socketsFd, queueId, fd), "XSKMAP");
    if (stacksFd !== undefined) check(native().bpfMapSet(stacksFd, queueId, programFd), "queue");
  }

  /** Packets of this queue go to the kernel again. */
  clearSocket(queueId: number): void {
    const { socketsFd, stacksFd } = this.files;
    if (stacksFd !== undefined) native().bpfMapDelete(stacksFd, queueId);
    native().bpfMapDelete(socketsFd, queueId);
  }

  /** Descriptors in the vault's order. */
  get fds(): number[] {
    const { linkFd, programFd, socketsFd, stacksFd } = this.files;
    return [linkFd, programFd, socketsFd, ...(stacksFd === undefined ? [] : [stacksFd])];
  }

  /** Detaches, unless other stacks have queues of the interface. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const fd of this.fds) native().close(fd);
  }
}
