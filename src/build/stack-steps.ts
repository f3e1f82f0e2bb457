// From the AssemblyScript sources to C and to generated declarations.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { compileStack } from "./asc.ts";
import { describeStack } from "./describe.ts";
import { emitC, emitExports } from "./emit-c.ts";
import { emitTs } from "./emit-ts.ts";
import { BuildError } from "./errors.ts";
import { findBreaches } from "./gate.ts";
import type { Abi } from "./model.ts";
import { fromRoot } from "./paths.ts";
import { runTool } from "./run-tool.ts";
import { listFiles, type Step, writeAtomically } from "./steps.ts";
import { blankForceReads, translateToC } from "./wasm2c.ts";

const WASM = fromRoot("build/stack.wasm");
const PROBED = fromRoot("build/stack-probed.wasm");
const PROBE = fromRoot("src/build/probe-stores.mjs");
const ABI = fromRoot("build/gen/abi.json");
const LAYOUT_H = fromRoot("build/gen/layout.h");
const EXPORTS_DEF = fromRoot("build/gen/exports.def");
const LAYOUT_TS = fromRoot("build/gen/layout.ts");
const HASH_H = fromRoot("build/gen/build-hash.h");
const HASH_TS = fromRoot("build/gen/build-hash.ts");
const STACK_C = fromRoot("build/stack.c");
const STACK_H = fromRoot("build/stack.h");
const BUILD_HASH_BYTES = 8;

/** The generated TypeScript. */
export const GENERATED_TS = [LAYOUT_TS, HASH_TS];

/** Names of the source files of the product, relative to stack/. */
export function stackFiles(): string[] {
  const prefix = fromRoot("stack").length + 1;
  const names = listFiles("stack", /\.ts$/).map((path) => path.slice(prefix));
  return names.filter((name) => !name.startsWith("test/"));
}

/** The steps, in their order of work. */
export function stackSteps(): Step[] {
  return [compileStep(), gateStep(), abiStep(), wasm2cStep(), buildHashStep(), probedStep()];
}

function compileStep(): Step {
  const entry = "index.ts";
  return {
    name: "stack.wasm",
    after: [],
    inputs: [fromRoot("stack", entry), fromRoot("stack/asconfig.json")],
    outputs: [WASM],
    settings: "",
    async run() {
      const { wasm, inputs } = await compileStack({ entry, target: "native" });
      writeAtomically(WASM, wasm);
      return inputs;
    },
  };
}

function gateStep(): Step {
  return {
    name: "gate",
    after: ["stack.wasm", "layout"],
    inputs: [WASM, ABI],
    outputs: [],
    settings: "",
    async run() {
      const abi = readAbi();
      const allowed = new Set(abi.imports.map((one) => `host.${one.name}`));
      const breaches = findBreaches(readFileSync(WASM), allowed);
      const lines = breaches.map((breach) => `stack.wasm has ${breach}`);
      if (lines.length > 0) throw new BuildError(lines.join("\n"));
      return [];
    },
  };
}

/** The module that tests stop at every store. */
function probedStep(): Step {
  return {
    name: "stack-probed.wasm",
    after: ["stack.wasm"],
    inputs: [WASM, PROBE],
    outputs: [PROBED],
    settings: "",
    async run() {
      await runTool(process.execPath, [PROBE, WASM, `${PROBED}.new`]);
      renameSync(`${PROBED}.new`, PROBED);
      return [];
    },
  };
}

/** What the build found out about the stack; valid after the step `layout`. */
export function readAbi(): Abi {
  const revive = (key: string, value: unknown) =>
    key === "value" ? BigInt(value as string) : value;
  return JSON.parse(readFileSync(ABI, "utf8"), revive) as Abi;
}

function abiStep(): Step {
  return {
    name: "layout",
    after: ["stack.wasm"],
    inputs: [WASM, ...stackFiles().map((file) => fromRoot("stack", file))],
    outputs: [ABI, LAYOUT_H, EXPORTS_DEF, LAYOUT_TS],
    settings: "",
    async run() {
      const abi = await describeStack(stackFiles(), readFileSync(WASM));
      const replace = (_: string, value: unknown) =>
        typeof value === "bigint" ? value.toString() : value;
      writeAtomically(ABI, JSON.stringify(abi, replace, 1));
      writeAtomically(LAYOUT_H, emitC(abi));
      writeAtomically(EXPORTS_DEF, emitExports(abi));
      writeAtomically(LAYOUT_TS, emitTs(abi));
      return [];
    },
  };
}

function wasm2cStep(): Step {
  return {
    name: "stack.c",
    after: ["gate"],
    inputs: [WASM],
    outputs: [STACK_C, STACK_H],
    settings: "",
    async run() {
      const folder = fromRoot("build/wasm2c");
      mkdirSync(folder, { recursive: true });
      const fresh = join(folder, basename(STACK_C));
      await translateToC(WASM, fresh);
      writeAtomically(STACK_H, readFileSync(join(folder, basename(STACK_H)), "utf8"));
      writeAtomically(STACK_C, blankForceReads(readFileSync(fresh, "utf8")));
      return [];
    },
  };
}

/**
 * Processes may share a region only when they agree on everything in it: on the module, the layout,
 * and the C that works on the region beside the module.
 */
function buildHashStep(): Step {
  const native = [...listFiles("native/core", /\.[ch]$/), ...listFiles("native/bpf", /\.c$/)];
  const inputs = [WASM, LAYOUT_H, ...native];
  return {
    name: "build-hash",
    after: ["stack.wasm", "layout"],
    inputs,
    outputs: [HASH_H, HASH_TS],
    settings: "",
    async run() {
      const sum = createHash("sha256");
      for (const path of inputs) sum.update(readFileSync(path));
      const hex = sum.digest("hex").slice(0, BUILD_HASH_BYTES * 2);
      writeAtomically(HASH_H, hashHeader(hex));
      writeAtomically(HASH_TS, hashModule(hex));
      return [];
    },
  };
}

function hashHeader(hex: string): string {
  return `/* Generated by src/build/stack-steps.ts. Do not edit. */
#ifndef EXASOCK_BUILD_HASH_H
#define EXASOCK_BUILD_HASH_H

#define BUILD_HASH 0x${hex}ull
#define BUILD_HASH_TEXT "${hex}"

#endif
`;
}

function hashModule(hex: string): string {
  return `// Generated by src/build/stack-steps.ts. Do not edit.

export const BUILD_HASH = 0x${hex}n;
export const BUILD_HASH_TEXT = "${hex}";
`;
}
