// Node's dgram module, which waits in epoll and receives with recvmsg and recvmmsg.

import { resolve } from "node:path";
import { type Scene, scenario } from "../../support/scenario.ts";

const PORT = 4567;
const QUESTIONS = 50;

/** Server and client, of which one is under test. */
async function talk(scene: Scene, tested: "server" | "client"): Promise<void> {
  const [serverHost, clientHost] = tested === "server" ? ["left", "right"] : ["right", "left"];
  const host = tested === "server" ? scene.left : scene.right;
  const file = (name: string) => resolve(import.meta.dirname, name);
  const target = [host.address, String(PORT)];
  const server = scene.launch([process.execPath, file("node-echo.mjs"), ...target], {
    host: serverHost as "left" | "right",
    accelerated: tested === "server",
  });
  await server.waitForOutput("ready\n");
  const ask = [process.execPath, file("node-client.mjs"), ...target, String(QUESTIONS)];
  const client = scene.launch(ask, {
    host: clientHost as "left" | "right",
    accelerated: tested === "client",
  });
  scene.note("client", (await client.waitForSuccess()).stdout);
  scene.note("server", (await server.waitForSuccess()).stdout);
}

scenario("a Node server", (scene) => talk(scene, "server"), {
  bypass: { received: QUESTIONS, sent: QUESTIONS - 10 },
});

scenario("a Node client", (scene) => talk(scene, "client"), { bypass: { received: QUESTIONS } });
