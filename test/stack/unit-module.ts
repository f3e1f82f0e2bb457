// The stack's functions one by one: stack/test/index.ts compiled, with its memory.

import { compileStack } from "../../src/build/asc.ts";

/** The module's exports; memory is all zero at first, and keeps what functions write. */
export interface UnitModule {
  calls: Record<string, (...args: (number | bigint)[]) => number>;
  view: DataView;
}

/** Compiles and instantiates it; takes about two seconds. */
export async function loadUnits(): Promise<UnitModule> {
  const { wasm } = await compileStack({ entry: "test/index.ts", target: "test" });
  const host = {
    loadAcquire32: (at: number) => words.getUint32(at, true),
    storeRelease32: (at: number, value: number) => words.setUint32(at, value, true),
    fence: () => undefined,
    fault: (code: number) => {
      throw new Error(`the stack faulted: ${code}`);
    },
  };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasm), { host });
  const words = new DataView((exports.memory as WebAssembly.Memory).buffer);
  return { calls: exports as unknown as UnitModule["calls"], view: words };
}
