// A thousand signals a second during transfers, with and without SA_RESTART.

import { compileProgram } from "../support/compile.ts";
import { scenario } from "../support/scenario.ts";

for (const flags of ["restart", "interrupt"]) {
  for (const mode of ["spin", "sleep", "adaptive"]) {
    scenario(`transfers in a storm of signals that ${flags}: ${mode}`, async (scene) => {
      const program = await compileProgram("test/shim/signal-storm.c");
      const run = async (address: string, protocol: string, ...port: string[]) => {
        const command = [program, address, protocol, mode, flags, ...port];
        const outcome = await scene.launch(command, { accelerated: true }).waitForExit();
        const { stdout, stderr, code, signal } = outcome;
        scene.note("subject", `${stdout}${stderr}${code ?? signal}`);
      };
      await run(scene.left.address, "udp");
      await run(scene.left.address, "tcp");
      const server = scene.launch([program, scene.right.address, "echo"], { host: "right" });
      await server.waitForOutput(/port \d+\n/);
      const [, port = ""] = /port (\d+)/.exec(server.stdout) ?? [];
      await run(scene.right.address, "tcp", port);
    });
  }
}
