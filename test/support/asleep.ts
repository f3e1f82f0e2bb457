// When a test has to know that threads wait: the kernel says in which call they sleep.

import { readdirSync, readFileSync } from "node:fs";
import { until } from "../../src/lab/program.ts";
import type { Calls } from "./calls.ts";

/** epoll_wait, epoll_pwait, epoll_pwait2 and ppoll by number: x86-64's, then AArch64's. */
const WAITING = new Set(["232", "281", "441", "271", "22", "73"]);

/** Threads of a process that sleep in a call that waits for descriptors. */
function sleepers(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).filter((task) => {
    try {
      const [call = ""] = readFileSync(`/proc/${pid}/task/${task}/syscall`, "utf8").split(" ");
      return WAITING.has(call);
    } catch {
      // It has ended.
      return false;
    }
  }).length;
}

/** Waits until so many threads of the program sleep. */
export async function threadsSleep(calls: Calls, count: number): Promise<void> {
  const { result: pid } = await calls.untold.raw("getpid", [], "");
  await until(`${count} threads to sleep`, async () => sleepers(pid) === count);
}

/** Waits until every one of these processes sleeps. */
export async function processesSleep(pids: readonly number[]): Promise<void> {
  await until(`${pids.length} processes to sleep`, async () => {
    return pids.every((pid) => sleepers(pid) === 1);
  });
}
