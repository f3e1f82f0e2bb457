// Node's net and http modules, as servers and as clients.

import { resolve } from "node:path";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario } from "../../support/scenario.ts";
import { browse, curl, fetchBig, load, makeSite } from "../../support/web.ts";

const PORT = 4600;
const file = (name: string) => resolve(import.meta.dirname, name);

type Tested = "server" | "client" | "both";

function roles(tested: Tested) {
  const [serverHost, clientHost] = tested === "client" ? ["right", "left"] : ["left", "right"];
  return {
    server: { host: serverHost, accelerated: tested !== "client" },
    client: { host: clientHost, accelerated: tested !== "server" },
  };
}

async function talk(scene: Scene, tested: Tested): Promise<void> {
  const { server, client } = roles(tested);
  const { address } = scene.host(server.host);
  const target = [address, String(PORT)];
  const serve = scene.launch([process.execPath, file("node-tcp-server.mjs"), ...target], server);
  await serve.waitForOutput("ready\n");
  const ask = [process.execPath, file("node-tcp-client.mjs"), ...target];
  scene.note("client", (await scene.launch(ask, client).waitForSuccess()).stdout);
  scene.note("server", (await serve.waitForSuccess()).stdout);
}

async function fetchAll(scene: Scene, tested: Tested): Promise<void> {
  const { server, client } = roles(tested);
  await using folder = await temporaryFolder();
  const site = await makeSite(folder.path);
  const { address } = scene.host(server.host);
  const serve = [process.execPath, file("node-http-server.mjs"), address, String(PORT), site];
  await scene.launch(serve, server).waitForOutput("ready\n");
  const ask = [process.execPath, file("node-http-client.mjs"), `http://${address}:${PORT}`];
  scene.note("client", (await scene.launch(ask, client).waitForSuccess()).stdout);
}

for (const tested of ["server", "client", "both"] as const) {
  const who = tested === "both" ? "a server and a client" : `a ${tested}`;
  scenario(`${who} of node:net, accelerated`, (scene) => talk(scene, tested), {
    bypass: { connections: 20, segments: 10_000 },
  });
  scenario(`${who} of node:http, accelerated`, (scene) => fetchAll(scene, tested), {
    bypass: { connections: 2, segments: 8000 },
  });
}

scenario(
  "curl and ab load a server of node:http",
  async (scene) => {
    await using folder = await temporaryFolder();
    const site = await makeSite(folder.path);
    const { address } = scene.left;
    const serve = [process.execPath, file("node-http-server.mjs"), address, String(PORT), site];
    await scene.launch(serve, { accelerated: true }).waitForOutput("ready\n");
    const url = `http://${address}:${PORT}`;
    await browse(scene, url);
    await fetchBig(scene, url);
    scene.note("client", (await curl(scene, [`${url}/chunks`])).stdout);
    await load(scene, `${url}/small.txt`, ["-n", "1000", "-c", "16", "-k"]);
  },
  { bypass: { connections: 20, segments: 10_000 } },
);
