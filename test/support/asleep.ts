// When a test has to know that threads wait: the kernel says that they sleep.

import { readdirSync, readFileSync } from "node:fs";
import { until } from "../../src/lab/program.ts";
import type { Calls } from "./calls.ts";

/** Threads of a process that sleep, of those that it has. */
function sleepers(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.filter((task) => {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, "utf8");
      return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) === "S";
    } catch {
      return false;
    }
  }).length;
}

/** Waits until so many threads of the program sleep beside its first, which takes commands. */
export async function threadsSleep(calls: Calls, count: number): Promise<void> {
  const { result: pid } = await calls.untold.raw("getpid", [], "");
  await until(`${count} threads to sleep`, async () => sleepers(pid) === count + 1);
}

/** Waits until every one of these processes sleeps. */
export async function processesSleep(pids: readonly number[]): Promise<void> {
  await until(`${pids.length} processes to sleep`, async () => {
    return pids.every((pid) => sleepers(pid) === 1);
  });
}
