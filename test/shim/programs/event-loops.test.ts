// Servers for many connections on the event loops that programs are built on: python's selectors
// and asyncio, Java's NIO. (Node's libuv and memcached's libevent have files of their own.)

import { resolve } from "node:path";
import { temporaryFolder } from "../../support/folder.ts";
import { run } from "../../../src/lab/program.ts";
import { type Scene, scenario } from "../../support/scenario.ts";

const PYTHON = "/usr/bin/python3";
const SCRIPTS = resolve(import.meta.dirname, "python");
const PORT = 3457;
const CONNECTIONS = 100;
const BYTES = 100_000;
/** What must have gone by the stack: a connection's bytes and as many back, in full segments. */
const BYPASS = { connections: CONNECTIONS, segments: (CONNECTIONS * BYTES * 2) / 1500 };

async function serveAndAsk(scene: Scene, command: readonly string[]): Promise<void> {
  const server = scene.launch(command, { accelerated: true });
  await server.waitForOutput("ready\n");
  const target = [scene.left.address, String(PORT), String(CONNECTIONS), String(BYTES)];
  const ask = [PYTHON, resolve(SCRIPTS, "stream-client.py"), ...target];
  const client = scene.launch(ask, { host: "right" });
  scene.note("client", (await client.waitForSuccess()).stdout);
  scene.note("server", (await server.waitForSuccess()).stdout);
}

for (const selector of ["SelectSelector", "PollSelector", "EpollSelector"]) {
  scenario(
    `a hundred connections in python's ${selector}`,
    async (scene) => {
      const script = resolve(SCRIPTS, "stream-selector.py");
      const target = [scene.left.address, String(PORT), selector, String(CONNECTIONS)];
      await serveAndAsk(scene, [PYTHON, script, ...target]);
    },
    { bypass: BYPASS },
  );
}

scenario(
  "a hundred connections in python's asyncio",
  async (scene) => {
    const script = resolve(SCRIPTS, "stream-asyncio.py");
    const target = [scene.left.address, String(PORT), String(CONNECTIONS)];
    await serveAndAsk(scene, [PYTHON, script, ...target]);
  },
  { bypass: BYPASS },
);

scenario(
  "a hundred connections in Java's selector",
  async (scene) => {
    await using folder = await temporaryFolder();
    await run(["javac", "-d", folder.path, resolve(import.meta.dirname, "StreamEcho.java")]);
    const target = [scene.left.address, String(PORT), String(CONNECTIONS)];
    await serveAndAsk(scene, ["java", "-cp", folder.path, "StreamEcho", ...target]);
  },
  { bypass: BYPASS },
);
