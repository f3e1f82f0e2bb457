// The checks by other programs: formatting, lint and types of everything.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { ROOT } from "../src/build/paths.ts";

const BIOME = "node_modules/@biomejs/biome/bin/biome";
const TSC = "node_modules/typescript/bin/tsc";

/** Runs a program of node_modules; its whole output is the message of a failure. */
function passes(...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    encoding: "utf8",
  });
  assert.ok(status === 0, `${stdout}\n${stderr}`);
}

describe("all code", () => {
  it("is formatted (npm run fmt does it)", () => passes(BIOME, "format"));

  it("has no lint", () => passes(BIOME, "lint", "--error-on-warnings"));

  it("has no type errors", () => passes(TSC, "--noEmit", "--pretty", "false"));
});
