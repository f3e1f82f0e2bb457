import { BuildError } from "./errors.ts";
import { fromRoot } from "./paths.ts";
import { runTool } from "./run-tool.ts";

/**
 * wasm2c 1.0.39 follows each load by an empty assembler statement that uses the value, so that a
 * dead load still traps. That blocks folding a load into the instruction that uses it. The stack
 * relies on no trap, so the macros are blanked; the pinned version's text is asserted.
 */
const BLANK = "#define FORCE_READ_INT\\(var\\)\\n#define FORCE_READ_FLOAT\\(var\\)\\n";
const FORCE_READ_BLOCK = new RegExp(
  `^#ifdef __GNUC__\\n#define FORCE_READ_INT\\(var\\) __asm__[\\s\\S]*?\\n#else\\n(${BLANK})#endif\\n`,
  "gm",
);

/** Translates a module to `target` (.c, with the .h beside it). */
export async function translateToC(wasm: string, target: string): Promise<void> {
  const program = fromRoot("node_modules/wabt/bin/wasm2c");
  await runTool(process.execPath, [program, wasm, "-n", "stack", "-o", target]);
}

/** Blanks both FORCE_READ macros in the generated C; a BuildError unless they are there once. */
export function blankForceReads(text: string): string {
  const hits = text.match(FORCE_READ_BLOCK)?.length ?? 0;
  if (hits !== 1) throw new BuildError(`wasm2c's output has ${hits} blocks of FORCE_READ macros`);
  return text.replace(FORCE_READ_BLOCK, "$1");
}
