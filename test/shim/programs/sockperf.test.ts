// sockperf counts what is lost, doubled or out of order, and checks the content.

import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Program } from "../../../src/lab/program.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario } from "../../support/scenario.ts";

const PORT = 5678;
// The other end's exasockd starts only now: answers go by the kernel until ours has asked for the
// neighbour anew, 10 ms on a machine that is busy with other tests.
const PROOF = { received: 5000, kernelReceived: 20, sent: 5000, kernelSent: 1500 };

async function serve(scene: Scene, accelerated: boolean, ...more: string[]): Promise<Program> {
  const address = ["-i", scene.left.address, "-p", String(PORT)];
  const server = scene.launch(["sockperf", "server", ...address, ...more], { accelerated });
  await scene.left.waitForUdpPort(PORT);
  return server;
}

/** What the client says about losses, without the times. */
async function client(scene: Scene, mode: string, ...more: string[]): Promise<void> {
  const address = ["-i", scene.left.address, "-p", String(PORT)];
  await report(scene, ["sockperf", mode, ...address, "-t", "1", ...more]);
}

async function report(scene: Scene, command: readonly string[]): Promise<void> {
  const program = scene.launch(command, { host: "right", accelerated: true });
  const { stdout } = await program.waitForSuccess();
  const lines = stdout.split("\n").filter((line) => /dropped|duplicated|out-of-order/.test(line));
  for (const line of lines) scene.note("client", line.replace(/^sockperf: /, ""));
}

for (const size of [14, 1400]) {
  scenario(
    `ping-pong of ${size} bytes loses nothing`,
    async (scene) => {
      await serve(scene, true, "--msg-size", "2000");
      await client(scene, "ping-pong", "-m", String(size), "--data-integrity");
    },
    { bypass: PROOF },
  );
}

scenario(
  "ping-pong with both ends spinning loses nothing",
  async (scene) => {
    await serve(scene, true, "--nonblocked");
    await client(scene, "ping-pong", "--nonblocked");
  },
  { bypass: PROOF },
);

for (const [letter, name] of [
  ["s", "select"],
  ["p", "poll"],
  ["e", "epoll"],
] as const) {
  scenario(`two sockets at each end, waiting in ${name}, lose nothing`, async (scene) => {
    const ports = [PORT, PORT + 1];
    const text = ports.map((port) => `U:${scene.left.address}:${port}\n`).join("");
    await using folder = await temporaryFolder();
    const file = resolve(folder.path, "connections");
    await writeFile(file, text);
    const from = ["-f", file, "-F", letter];
    scene.launch(["sockperf", "server", ...from], { accelerated: true });
    for (const port of ports) await scene.left.waitForUdpPort(port);
    await report(scene, ["sockperf", "ping-pong", ...from, "-t", "1"]);
  });
}

scenario("a burst of 32 datagrams at a time loses nothing", async (scene) => {
  await serve(scene, true);
  await client(scene, "ping-pong", "-b", "32");
});
