// The stack in Node: the same module that wasm2c turns into C, run by V8 on a memory of its own.
// Tests and the simulator use it; exasockd works on the shared region through the native addon.

import {
  Fault,
  type HostImports,
  RESULT_TYPES,
  type StackExports,
} from "../../build/gen/layout.ts";

/** The stack called fault(): a mistake of ours, after which the instance is not to be used. */
export class StackFault extends Error {
  override readonly name = "StackFault";
  /** One of the numbers in stack/fault.ts. */
  readonly code: number;

  constructor(code: number) {
    const known = Object.entries(Fault).find(([, value]) => value === code)?.[0];
    super(`the stack faulted: ${known ?? "unknown code"} (${code})`);
    this.code = code;
  }
}

/** A stack with its memory. The memory never grows, so views of it stay valid. */
export interface StackInstance {
  calls: StackExports;
  memory: ArrayBuffer;
  view: DataView;
}

/** Host functions to use in place of the usual ones, for tests that watch or disturb. */
export interface HostOverrides extends Partial<HostImports> {
  /** Before each store to memory. Only build/stack-probed.wasm calls it. */
  store?: () => void;
}

type WasmFunction = (...args: (number | bigint)[]) => unknown;

/** Instantiates the module with fresh memory, all zero: regionFormat comes first. */
export function createStack(
  module: WebAssembly.Module,
  overrides: HostOverrides = {},
): StackInstance {
  // The words exist only after instantiation, and nothing runs during it.
  const late: { words: Int32Array } = { words: new Int32Array() };
  const host = { ...hostFunctions(late), ...overrides };
  const { store } = overrides;
  const probe = {
    store: (_id: number, _bytes: number, _offset: number, address: number) => {
      store?.();
      return address;
    },
  };
  const { exports } = new WebAssembly.Instance(module, { host, probe });
  const memory = (exports.memory as WebAssembly.Memory).buffer;
  late.words = new Int32Array(memory);
  return { calls: withSigns(exports), memory, view: new DataView(memory) };
}

/** stack/host.ts on Atomics, which order all accesses sequentially: stronger than asked for. */
function hostFunctions(late: { words: Int32Array }): HostImports {
  const fenceWord = new Int32Array(new SharedArrayBuffer(4));
  return {
    loadAcquire32: (at) => Atomics.load(late.words, at >>> 2),
    storeRelease32: (at, value) => void Atomics.store(late.words, at >>> 2, value),
    barrier: () => {},
    fence: () => void Atomics.add(fenceWord, 0, 0),
    fault: (code) => {
      throw new StackFault(code);
    },
  };
}

/** WebAssembly hands every integer over as signed; the results of unsigned type are put right. */
function withSigns(exports: Record<string, unknown>): StackExports {
  const calls: Record<string, WasmFunction> = {};
  for (const [name, type] of Object.entries(RESULT_TYPES)) {
    const call = exports[name] as WasmFunction;
    if ((type as string) === "u32") calls[name] = (...args) => (call(...args) as number) >>> 0;
    else if ((type as string) === "u64") {
      calls[name] = (...args) => BigInt.asUintN(64, call(...args) as bigint);
    } else calls[name] = call;
  }
  return calls as unknown as StackExports;
}
