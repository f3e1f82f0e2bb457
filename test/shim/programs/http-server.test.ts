// python3 -m http.server, and a client in Python.

import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario } from "../../support/scenario.ts";
import { browse, curl, fetchBig, load, makeSite } from "../../support/web.ts";

const PYTHON = "/usr/bin/python3";
const PORT = 8000;

const FETCH = [
  "import hashlib, sys, urllib.request",
  "for name in ('small.txt', 'big.bin'):",
  "    data = urllib.request.urlopen(sys.argv[1] + '/' + name, timeout=20).read()",
  "    print(name, len(data), hashlib.sha256(data).hexdigest())",
].join("\n");

async function withServer(
  scene: Scene,
  host: "left" | "right",
  story: (url: string) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const site = await makeSite(folder.path);
  const { address } = scene.host(host);
  const command = [PYTHON, "-m", "http.server", String(PORT), "--bind", address];
  const server = scene.launch([...command, "--directory", site], { host, accelerated: true });
  await scene.host(host).waitForTcpPort(PORT);
  await story(`http://${address}:${PORT}`);
  // Its log has a line for each request.
  scene.note(
    "server",
    server.stderr
      .match(/"GET [^"]*" \d+/g)
      ?.slice(0, 4)
      .join("\n") ?? "",
  );
}

scenario(
  "python3 -m http.server serves files and lists them",
  (scene) =>
    withServer(scene, "left", async (url) => {
      await browse(scene, url);
      await fetchBig(scene, url);
      scene.note("client", (await curl(scene, [`${url}/`])).stdout);
      await load(scene, `${url}/small.txt`, ["-n", "200", "-c", "4"]);
    }),
  { bypass: { connections: 200, segments: 10_000 } },
);

scenario(
  "urllib fetches from python3 -m http.server, both accelerated",
  (scene) =>
    withServer(scene, "right", async (url) => {
      const client = scene.launch([PYTHON, "-c", FETCH, url], { accelerated: true });
      scene.note("client", (await client.waitForSuccess()).stdout);
    }),
  { bypass: { connections: 2, segments: 5000 } },
);
