// memcached: four threads share the connections among them by pipes or eventfds.

import { resolve } from "node:path";
import { type Scene, scenario } from "../../support/scenario.ts";

const PORT = 11311;
const CLIENT = resolve(import.meta.dirname, "python/memcached-client.py");

async function serveAndAsk(scene: Scene, threads: number, accelerated: boolean): Promise<void> {
  const where = ["-l", scene.left.address, "-p", String(PORT), "-U", "0"];
  const command = ["memcached", "-u", "nobody", "-t", String(threads), ...where];
  const server = scene.launch(command, { accelerated: true });
  await scene.left.waitForTcpPort(PORT);
  const ask = ["/usr/bin/python3", CLIENT, scene.left.address, String(PORT)];
  const client = scene.launch(ask, { host: "right", accelerated });
  const { stdout } = await client.waitForSuccess();
  scene.note("client", stdout);
  server.kill("SIGTERM");
  const { code } = await server.waitForExit();
  scene.note("server", `ended with ${code}`);
}

for (const threads of [1, 4]) {
  scenario(
    `memcached -t ${threads} keeps what sixteen connections give it`,
    (scene) => serveAndAsk(scene, threads, false),
    { bypass: { connections: 16, segments: 3200 } },
  );
}

scenario("memcached and its client, both accelerated", (scene) => serveAndAsk(scene, 4, true), {
  bypass: { connections: 16, segments: 3200 },
});
