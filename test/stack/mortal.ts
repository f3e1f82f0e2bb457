// What dies at a host call, or before a store to memory, as if the process had stopped there: the
// call throws. Nothing else that happens between two of these outlives a process.

import { readFileSync } from "node:fs";
import type { HostOverrides } from "../../src/core/instance.ts";

/** Host calls are killed at by themselves; everything else that changes memory has a probe. */
export const PROBED = new WebAssembly.Module(
  readFileSync(new URL("../../build/stack-probed.wasm", import.meta.url)),
);
/** No call has more host calls and stores. */
export const KILLS_MAX = 100_000;

class Killed extends Error {}

export interface Life {
  /** Host calls and stores. */
  left: number;
}

/** What `create` makes of these host calls, and the life that each of them takes one of. */
export function mortal<T extends { view: DataView }>(create: (host: HostOverrides) => T) {
  const life: Life = { left: Number.POSITIVE_INFINITY };
  let words: Int32Array | undefined;
  // Formatting calls the host before the memory is known here: those stores are replayed below.
  const early: [number, number][] = [];
  const spend = () => {
    life.left -= 1;
    if (life.left < 0) throw new Killed();
  };
  const made = create({
    loadAcquire32: (at) => {
      spend();
      return words ? Atomics.load(words, at >>> 2) : 0;
    },
    storeRelease32: (at, value) => {
      spend();
      if (words) Atomics.store(words, at >>> 2, value);
      else early.push([at, value]);
    },
    store: spend,
  });
  words = new Int32Array(made.view.buffer);
  for (const [at, value] of early) Atomics.store(words, at >>> 2, value);
  return { made, life };
}

/** Runs `action`, killed at its n-th host call or store. False when it got through alive. */
export function killedAt(life: Life, n: number, action: () => void): boolean {
  life.left = n;
  try {
    action();
    return false;
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
    return true;
  } finally {
    life.left = Number.POSITIVE_INFINITY;
  }
}
