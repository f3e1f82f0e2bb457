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

/** Attached by a link: it goes away with the descriptor, however the process ends. */
export class XdpProgram {
  readonly mode: DriverMode;
  /** Why the mode is not native; empty when it is. */
  readonly nativeProblem: string;
  readonly #programFd: number;
  readonly #socketsFd: number;
  readonly #linkFd: number;
  #open = true;

  constructor(ifindex: number, interfaceSlot: number, steeringFd: number) {
    const slot = Buffer.alloc(4);
    slot.writeUInt32LE(interfaceSlot);
    const path = join(BUILD_FOLDER, "steer.bpf.o");
    const loaded = native().bpfLoad(path, slot, "steering", steeringFd, "xsks");
    [this.#programFd, this.#socketsFd] = checkLoad(loaded, "loading steer.bpf.o");
    let link = native().bpfLinkXdp(this.#programFd, ifindex, 0);
    this.mode = link < 0 ? "generic" : "native";
    this.nativeProblem = link < 0 ? new SystemError("native XDP", -link).message : "";
    if (link < 0) link = native().bpfLinkXdp(this.#programFd, ifindex, 1);
    if (link < 0) {
      native().close(this.#programFd);
      native().close(this.#socketsFd);
      throw new SystemError("attaching the XDP program", -link);
    }
    this.#linkFd = link;
  }

  /** Packets of this receive queue may go to the socket from now on. */
  setSocket(queueId: number, fd: number): void {
    check(native().bpfMapSet(this.#socketsFd, queueId, fd), "XSKMAP");
  }

  /** Packets of this queue go to the kernel again. */
  clearSocket(queueId: number): void {
    native().bpfMapDelete(this.#socketsFd, queueId);
  }

  /** Detaches. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const fd of [this.#linkFd, this.#programFd, this.#socketsFd]) native().close(fd);
  }
}
