// Kills whoever runs the stack, in the middle of a call: between two accesses to what others see.
// What is in memory stays as it is, as when a program is killed while it holds the lock.

import type { HostOverrides } from "../core/instance.ts";
import type { Random } from "./prng.ts";

/** Thrown through the module when the fuse has burnt down. */
class Death extends Error {}

/** What became of work that was killed. */
export const DIED = Symbol("died");

export type Fuse = ReturnType<typeof createFuse>;

/** Accesses to what others see that a call makes, and with probes stores of any kind. */
const ACCESSES_MAX = 60;
const STORES_MAX = 4000;

/**
 * A fuse whose `overrides` go to createHost; connect() it with the host's memory. With the module
 * that has probes (build/stack-probed.wasm) it burns at every store, too.
 */
export function createFuse(module: WebAssembly.Module) {
  const hasProbes = WebAssembly.Module.imports(module).some((one) => one.module === "probe");
  const late: { view: DataView | undefined; left: number } = { view: undefined, left: 0 };

  function burn(): void {
    if (late.left === 0) return;
    late.left -= 1;
    if (late.left === 0) throw new Death();
  }

  const overrides: HostOverrides = {
    loadAcquire32: (at) => {
      burn();
      return late.view?.getInt32(at >>> 0, true) ?? 0;
    },
    storeRelease32: (at, value) => {
      burn();
      late.view?.setInt32(at >>> 0, value, true);
    },
    fence: burn,
    store: burn,
  };

  /** After how many accesses to die: somewhere in a call, or not at all. */
  function length(random: Random): number {
    return hasProbes ? random.magnitude(1, STORES_MAX) : random.between(1, ACCESSES_MAX);
  }

  /** What `work` returns; DIED if it took more than so many accesses (0: it never does). */
  function lit<T>(accesses: number, work: () => T): T | typeof DIED {
    late.left = accesses;
    try {
      return work();
    } catch (error) {
      if (error instanceof Death) return DIED;
      throw error;
    } finally {
      late.left = 0;
    }
  }

  return {
    overrides,
    connect: (view: DataView) => {
      late.view = view;
    },
    lit,
    length,
  };
}
