// Instructions counted by callgrind, in programs linked from the object files of libexasock.so.

import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { run } from "../src/lab/program.ts";
import { compileProgram, ROOT } from "../test/support/compile.ts";

const CORE_OBJECTS = resolve(ROOT, "build/obj/core");

/** Compiles a program that has the stack in it. */
export async function compileOnCore(source: string): Promise<string> {
  const objects = readdirSync(CORE_OBJECTS).filter((name) => name.endsWith(".o"));
  return await compileProgram(source, [
    "-D_GNU_SOURCE",
    `-I${resolve(ROOT, "build/gen")}`,
    `-isystem${resolve(ROOT, "build")}`,
    `-I${resolve(ROOT, "native/core")}`,
    ...objects.map((name) => resolve(CORE_OBJECTS, name)),
    "-lpthread",
    // valgrind of Debian 12 can't read the debug information of its clang.
    "-Wl,--strip-debug",
  ]);
}

/** Runs a command; returns how many instructions it spent in these functions and what they call. */
export async function countInstructions(
  command: readonly string[],
  functions: readonly string[],
): Promise<number> {
  const { stderr } = await run([
    ...["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"],
    "--collect-atstart=no",
    ...functions.map((name) => `--toggle-collect=${name}`),
    ...command,
  ]);
  const collected = /Collected : (\d+)/.exec(stderr);
  if (!collected) throw new Error(`valgrind counted nothing: ${stderr}`);
  return Number(collected[1]);
}
