// `npm run docs`: writes the generated pages of docs/.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { abiPage, interpositionPage, memoryMapPage } from "./emit-docs.ts";
import { fromRoot } from "./paths.ts";
import { readAbi } from "./stack-steps.ts";

/** Path relative to the repository and text of every generated page; needs a finished build. */
export function generatedPages(): Map<string, string> {
  const abi = readAbi();
  const calls = readFileSync(fromRoot("native/shim/calls.def"), "utf8");
  return new Map([
    ["docs/abi.md", abiPage(abi)],
    ["docs/interposition.md", interpositionPage(calls)],
    ["docs/memory-map.md", memoryMapPage(abi)],
  ]);
}

/** Writes the pages. */
export function writePages(): void {
  mkdirSync(fromRoot("docs"), { recursive: true });
  for (const [path, text] of generatedPages()) writeFileSync(fromRoot(path), text);
}
