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

  static attach(ifindex: number, interfaceSlot: number, steeringFd: number): XdpProgram {
    const slot = Buffer.alloc(4);
    slot.writeUInt32LE(interfaceSlot);
    const path = join(BUILD_FOLDER, "steer.bpf.o");
    const loaded = native().bpfLoad(path, slot, "steering", steeringFd, "xsks");
    const [programFd, socketsFd] = checkLoad(loaded, "loading steer.bpf.o");
    let linkFd = native().bpfLinkXdp(programFd, ifindex, 0);
    const mode = linkFd < 0 ? "generic" : "native";
    const problem = linkFd < 0 ? new SystemError("native XDP", -linkFd).message : "";
    if (linkFd < 0) linkFd = native().bpfLinkXdp(programFd, ifindex, 1);
    if (linkFd < 0) {
      native().close(programFd);
      native().close(socketsFd);
      throw new SystemError("attaching the XDP program", -linkFd);
    }
    return new XdpProgram({ linkFd, programFd, socketsFd }, mode, problem);
  }

  /** Packets of this receive queue may go to the socket from now on. */
  setSocket(queueId: number, fd: number): void {
    check(native().bpfMapSet(this.files.socketsFd, queueId, fd), "XSKMAP");
  }

  /** Packets of this queue go to the kernel again. */
  clearSocket(queueId: number): void {
    native().bpfMapDelete(this.files.socketsFd, queueId);
  }

  /** Detaches. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const { linkFd, programFd, socketsFd } = this.files;
    for (const fd of [linkFd, programFd, socketsFd]) native().close(fd);
  }
}
