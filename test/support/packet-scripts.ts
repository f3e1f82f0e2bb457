// The packet scripts of the repository.

import { readdirSync, readFileSync } from "node:fs";
import { fromRoot } from "../../src/build/paths.ts";
import { createStack, type StackInstance } from "../../src/core/instance.ts";
import type { Script } from "../../src/script/events.ts";
import { type Fence, findScripts } from "../../src/script/markdown.ts";

const FOLDER = "test/scripts/tcp";
/** Read first: the others go on from what it names. */
const BEGINNINGS = "beginnings.md";
const compiled = new WebAssembly.Module(readFileSync(fromRoot("build/stack.wasm")));

/** A stack in V8 with fresh memory. */
export function makeStack(): StackInstance {
  return createStack(compiled);
}

/** All scripts, file by file. */
export function allScripts(): Fence[] {
  const beginnings = new Map<string, Script>();
  const names = readdirSync(fromRoot(FOLDER)).filter((name) => name.endsWith(".md"));
  const others = names.filter((name) => name !== BEGINNINGS).sort();
  return [BEGINNINGS, ...others].flatMap((file) =>
    findScripts(file, readFileSync(fromRoot(`${FOLDER}/${file}`), "utf8"), beginnings),
  );
}
