// Every packet script in test/scripts/tcp, on the module that ships: as it stands, with the peer's
// data split at every byte, and with it arriving twice. UPDATE=1 prints what happens instead.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fromRoot } from "../../src/build/paths.ts";
import { createStack } from "../../src/core/instance.ts";
import type { Script } from "../../src/script/events.ts";
import { type Fence, findScripts } from "../../src/script/markdown.ts";
import { checkScript, recordScript } from "../../src/script/report.ts";

const FOLDER = "test/scripts/tcp";
const BEGINNINGS = "beginnings.md";
const compiled = new WebAssembly.Module(readFileSync(fromRoot("build/stack.wasm")));
const makeStack = () => createStack(compiled);

function scriptsOf(file: string, beginnings: Map<string, Script>): Fence[] {
  return findScripts(file, readFileSync(fromRoot(`${FOLDER}/${file}`), "utf8"), beginnings);
}

const files = readdirSync(fromRoot(FOLDER)).filter((name) => name.endsWith(".md"));
const beginnings = new Map<string, Script>();
const first = scriptsOf(BEGINNINGS, beginnings);

for (const file of files.sort()) {
  describe(file, () => {
    const fences = file === BEGINNINGS ? first : scriptsOf(file, beginnings);
    for (const fence of fences) {
      it(fence.name, () => {
        const report = checkScript(fence, makeStack);
        if (report === undefined) return;
        const actual = process.env.UPDATE === "1" ? `\n\n${recordScript(fence, makeStack)}\n` : "";
        assert.fail(`${report}${actual}`);
      });
    }
  });
}
