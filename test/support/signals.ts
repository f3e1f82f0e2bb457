// Signals in another process: its handler only counts.

import type { Calls } from "./calls.ts";
import { numberOf } from "./constants.ts";
import { words } from "./memory.ts";

/** struct sigaction of glibc: handler, mask (1024 bits), flags, restorer. */
const SIGACTION_BYTES = 152;
const SIGACTION_FLAGS_OFFSET = 136;
const SIGSET_BYTES = 128;

/** Lets the counting handler take a signal. */
export async function handle(calls: Calls, signal: string, flags = "0"): Promise<void> {
  const action = Buffer.alloc(SIGACTION_BYTES);
  const name = calls.libc.put(Buffer.from("on_signal\0"));
  const { result } = await calls.libc.call("dlsym", [0, name]);
  action.writeBigInt64LE(result, 0);
  action.writeInt32LE(numberOf(flags), SIGACTION_FLAGS_OFFSET);
  const at = calls.libc.put(action);
  await calls.raw("sigaction", [numberOf(signal), at, 0], `${signal}, handler, ${flags}`);
}

/** Sends SIGALRM every so often until stopped, so that a call that is not there yet is hit too. */
export async function alarmEvery(calls: Calls, millis: number): Promise<void> {
  const at = calls.libc.put(words(0, millis * 1000, 0, millis * 1000));
  await calls.raw("setitimer", [0, at, 0], `every ${millis} ms`);
}

export async function stopAlarm(calls: Calls): Promise<void> {
  const at = calls.libc.reserve(32);
  await calls.raw("setitimer", [0, at, 0], "never");
}

/** A signal set in the process's memory. */
export function signalSet(calls: Calls, ...signals: string[]): number {
  const bytes = Buffer.alloc(SIGSET_BYTES);
  for (const signal of signals) {
    const bit = numberOf(signal) - 1;
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  return calls.libc.put(bytes);
}

export async function block(calls: Calls, signal: string): Promise<void> {
  const args = [numberOf("SIG_BLOCK"), signalSet(calls, signal), 0];
  await calls.raw("sigprocmask", args, `SIG_BLOCK, ${signal}`);
}
