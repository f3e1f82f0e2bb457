// Waits at their edges, told by C programs that run on the kernel and then accelerated, each mode.

import { compileProgram } from "../support/compile.ts";
import { scenario } from "../support/scenario.ts";

const PROGRAMS = [
  ["poll, select and their kind at their edges", "test/shim/polls.c"],
  ["calls that block, and what ends them", "test/shim/blocking.c"],
] as const;

for (const [name, source] of PROGRAMS) {
  for (const mode of ["spin", "sleep", "adaptive"]) {
    scenario(`${name}: ${mode}`, async (scene) => {
      const program = await compileProgram(source);
      const run = scene.launch([program, scene.left.address, mode], { accelerated: true });
      const { stdout, stderr, code, signal } = await run.waitForExit();
      scene.note("subject", `${stdout}${stderr}${code ?? signal}`);
    });
  }
}
