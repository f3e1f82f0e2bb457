// Programs that hold sockets of the stack and run without the library: an accelerated program
// became them by exec (they are static, or set-user-ID, or LD_PRELOAD was cleared), or passed the
// sockets on. These are of no use to them, and their peers wait: that is reported, once.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { socketsOf } from "./living-sockets.ts";
import type { Logger } from "./log.ts";
import type { Region } from "./region.ts";
import { regionSockets } from "./sockets.ts";

/** With more processes than this, looking at all of them costs too much. */
const PROCESSES_MAX = 4096;

export class Strays {
  readonly #region: Region;
  readonly #log: Logger;
  readonly #isProgram: (pid: number) => boolean;
  /** Processes with their images, and whether that was judged: not at first sight. */
  #known = new Map<string, boolean>();

  /** `isProgram`: whether a process has joined. */
  constructor(region: Region, log: Logger, isProgram: (pid: number) => boolean) {
    this.#region = region;
    this.#log = log;
    this.#isProgram = isProgram;
  }

  /** Looks for new ones. An image that is seen for the first time may still be loading. */
  look(): void {
    if (regionSockets(this.#region).next().done) return;
    const pids = readdirSync("/proc").map(Number).filter(Number.isInteger);
    if (pids.length > PROCESSES_MAX) return;
    const known = new Map<string, boolean>();
    for (const pid of pids) {
      const key = `${pid} ${imageOf(pid)}`;
      const before = this.#known.get(key);
      known.set(key, before !== undefined);
      if (before === false && pid !== process.pid) this.#judge(pid);
    }
    this.#known = known;
  }

  #judge(pid: number): void {
    if (this.#isProgram(pid) || hasLibrary(pid)) return;
    const held = new Set(socketsOf(pid));
    let sockets = 0;
    for (const { view } of regionSockets(this.#region)) if (held.has(view.cookie)) sockets += 1;
    if (sockets === 0) return;
    const what = "a program without the library holds sockets of the stack, which it can't use";
    this.#log.warn({ pid, command: imageOf(pid), sockets }, what);
  }
}

/** The program that the process runs; empty if that can't be told. */
function imageOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return "";
  }
}

/** With it the process finds its sockets when it first uses them. */
function hasLibrary(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/maps`, "utf8").includes("libexasock.so");
  } catch {
    // It has ended.
    return true;
  }
}
