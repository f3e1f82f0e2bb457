// curl as the accelerated client, of a server on the kernel and of an accelerated one.

import { resolve } from "node:path";
import { writeFile } from "node:fs/promises";
import { temporaryFolder } from "../../support/folder.ts";
import { randomBytes } from "../../support/random-bytes.ts";
import { type Scene, scenario } from "../../support/scenario.ts";
import { browse, curl, fetchBig, makeSite } from "../../support/web.ts";

const PORT = 8100;
const SERVER = resolve(import.meta.dirname, "node-http-server.mjs");
const UPLOAD_BYTES = 4 << 20;
const subject = { host: "left", accelerated: true };

async function withServer(
  scene: Scene,
  accelerated: boolean,
  story: (url: string, folder: string) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const site = await makeSite(folder.path);
  const command = [process.execPath, SERVER, scene.right.address, String(PORT), site];
  const server = scene.launch(command, { host: "right", accelerated });
  await server.waitForOutput("ready\n");
  await story(`http://${scene.right.address}:${PORT}`, folder.path);
}

for (const [name, accelerated] of [
  ["a server on the kernel", false],
  ["an accelerated server", true],
] as const) {
  scenario(
    `curl fetches from and uploads to ${name}`,
    (scene) =>
      withServer(scene, accelerated, async (url, folder) => {
        await browse(scene, url, subject);
        await fetchBig(scene, url, subject);
        const file = resolve(folder, "upload");
        await writeFile(file, randomBytes(UPLOAD_BYTES, 2));
        const upload = ["--data-binary", `@${file}`, `${url}/digest`];
        scene.note("upload", (await curl(scene, upload, subject)).stdout);
        const pages = Array.from({ length: 20 }, () => `${url}/small.txt`);
        const parallel = await curl(scene, ["--parallel", ...pages], subject);
        scene.note("parallel", `${parallel.code} ${parallel.stdout}`);
        const impatient = await curl(scene, ["--max-time", "0.2", `${url}/never`], subject);
        scene.note("impatient", String(impatient.code));
        const broken = await curl(scene, [`${url}/reset`], subject);
        scene.note("reset", `${broken.code} ${broken.stderr}`);
      }),
    { bypass: { connections: 5, segments: 10_000 } },
  );
}

scenario("curl is told that nobody listens", async (scene) => {
  const { code, stderr } = await curl(scene, [`http://${scene.right.address}:${PORT}/`], subject);
  scene.note("client", `${code} ${stderr.replace(/after \d+ ms/, "after some time")}`);
});
