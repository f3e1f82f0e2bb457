// The purity gate. Every process instantiates the module over a live region that others use at the
// same moment, and wasm2c turns it into C without atomics: so the module may hold no state of its
// own, run nothing at instantiation, and call nothing but its host.

import {
  type Instruction,
  PREFIX_ATOMIC,
  PREFIX_SIMD,
  readModule,
  type WasmModule,
} from "./wasm.ts";

const MEMORY_GROW = 0x40;
const GLOBAL_SET = 0x24;
/** 256 MiB: what the module declares; the region's real size is an argument of regionFormat. */
const MEMORY_PAGES = 4096;

/** What the module may import: `module.name`, taken from the declarations in stack/host.ts. */
export type AllowList = ReadonlySet<string>;

/** Returns every breach as a sentence; an empty list is a pass. */
export function findBreaches(wasm: Uint8Array, allowed: AllowList): string[] {
  const module = readModule(wasm);
  return [
    ...structuralBreaches(module),
    ...importBreaches(module, allowed),
    ...codeBreaches(module),
  ];
}

function structuralBreaches(module: WasmModule): string[] {
  const breaches: string[] = [];
  if (module.globals.some((one) => one.mutable)) {
    breaches.push("a mutable global: state belongs in the region");
  }
  if (module.dataSegments > 0) {
    breaches.push("a data segment: joining would overwrite a live region");
  }
  if (module.elementSegments > 0) breaches.push("an element segment: no indirect calls in stack/");
  if (module.start !== undefined) breaches.push("a start function: joining must run nothing");
  const memory = module.memories[0];
  if (module.memories.length !== 1 || !memory) {
    breaches.push(`${module.memories.length} memories instead of one`);
  } else if (memory.initial !== MEMORY_PAGES || memory.maximum !== MEMORY_PAGES || memory.shared) {
    breaches.push(`a memory that is not plain with exactly ${MEMORY_PAGES} pages`);
  }
  return breaches;
}

function importBreaches(module: WasmModule, allowed: AllowList): string[] {
  return module.imports.flatMap(({ module: from, name, kind }) => {
    if (kind !== "function") return [`an import of a ${kind}, ${from}.${name}`];
    return allowed.has(`${from}.${name}`) ? [] : [`an import that host.ts lacks, ${from}.${name}`];
  });
}

function codeBreaches(module: WasmModule): string[] {
  const rules: { breaks: (one: Instruction) => boolean; text: string }[] = [
    {
      breaks: (one) => one.opcode === MEMORY_GROW,
      text: "memory.grow: the region's size is fixed",
    },
    { breaks: (one) => one.opcode === GLOBAL_SET, text: "global.set: state belongs in the region" },
    { breaks: (one) => one.opcode === PREFIX_SIMD, text: "a SIMD instruction" },
    {
      breaks: (one) => one.opcode === PREFIX_ATOMIC,
      text: "an atomic instruction: wasm2c makes plain code of it; use host.ts",
    },
  ];
  const imported = module.imports.filter((one) => one.kind === "function").length;
  return rules.flatMap(({ breaks, text }) => {
    for (const [index, body] of module.bodies.entries()) {
      const hit = body.find(breaks);
      if (hit) return [`${text} (function ${imported + index}, file offset ${hit.at})`];
    }
    return [];
  });
}
