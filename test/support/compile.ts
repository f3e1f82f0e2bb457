// Builds the small C programs of the tests and benchmarks, each once for all test processes.

import { mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { run } from "../../src/lab/program.ts";

export const ROOT = resolve(import.meta.dirname, "../..");
const FOLDER = resolve(ROOT, "build/test");
const WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"];

function modifiedMillis(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/**
 * Compiles one C file and returns the program's path.
 * @param source relative to the repository
 * @param flags added to the compiler's command line; each set of flags needs a variant name
 * @param options.compiler clang, or gcc for what only gcc does
 */
export async function compileProgram(
  source: string,
  flags: readonly string[] = [],
  { variant = "", compiler = "clang" } = {},
): Promise<string> {
  const from = resolve(ROOT, source);
  const to = resolve(FOLDER, basename(source, ".c") + variant);
  // Flags may name object files; a header lies beside what includes it.
  const headers = readdirSync(dirname(from)).filter((name) => name.endsWith(".h"));
  const objects = flags.filter((flag) => flag.endsWith(".o"));
  const inputs = [from, ...objects, ...headers.map((name) => resolve(dirname(from), name))];
  if (inputs.every((input) => modifiedMillis(to) > modifiedMillis(input))) return to;
  mkdirSync(FOLDER, { recursive: true });
  // Test files run in parallel: each builds under a name of its own, the last rename wins.
  const mine = `${to}.${process.pid}`;
  const optimised = flags.some((flag) => flag.startsWith("-O")) ? [] : ["-O2"];
  await run([compiler, "-std=gnu11", ...WARNINGS, ...optimised, from, "-o", mine, ...flags]);
  renameSync(mine, to);
  return to;
}
