// Signals, jumps and cancellations at every point of a call: nothing is lost, nothing stays locked.
// SIGNAL_POINTS=100000 is the long form.

import { compileProgram } from "../support/compile.ts";
import { scenario } from "../support/scenario.ts";

const COUNT = Number(process.env.SIGNAL_POINTS ?? 4000);
const LIMIT_MILLIS = 60_000 + COUNT;

const WAYS = [
  ["a signal that only the mask of a call lets through ends it, always", "masks", COUNT],
  ["a jump out of a handler leaves nothing locked", "jumps", COUNT],
  ["a handler sends and waits itself", "handlers", COUNT / 4],
  ["a thread is cancelled while it waits", "cancel", COUNT / 20],
  ["a thread is cancelled anywhere in its calls", "cancel-anywhere", COUNT / 20],
] as const;

for (const [name, way, count] of WAYS) {
  for (const mode of ["spin", "sleep", "adaptive"]) {
    scenario(`${name}: ${mode}`, async (scene) => {
      const program = await compileProgram("test/shim/signal-points.c");
      const command = [program, scene.left.address, mode, way, String(count)];
      const run = scene.launch(command, { accelerated: true, limitMillis: LIMIT_MILLIS });
      const { stdout, stderr, code, signal } = await run.waitForExit();
      scene.note("subject", `${stdout}${stderr}${code ?? signal}`);
    });
  }
}
