// nginx: one worker and several that inherit the listening socket, keep-alive, sendfile.

import { chmod, mkdir, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario } from "../../support/scenario.ts";
import { browse, fetchBig, load, makeSite } from "../../support/web.ts";

const PORT = 8080;
const REQUESTS = 2000;

interface Options {
  workers: number;
  /** Whom the workers run as. */
  user?: string;
  /** Further directives of the http block. */
  more?: string;
}

function configuration(scene: Scene, folder: string, site: string, options: Options): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `
daemon off;
user ${options.user ?? "root"};
worker_processes ${options.workers};
pid ${folder}/pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${folder}/${name};`).join("\n  ")}
  ${options.more ?? ""}
  server { listen ${scene.left.address}:${PORT}; root ${site}; }
}
`;
}

/** Runs nginx under test, and ends it in the way it likes. */
async function withNginx(scene: Scene, options: Options, story: (url: string) => Promise<void>) {
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o755);
  const site = await makeSite(folder.path);
  await mkdir(resolve(folder.path, "logs"));
  const file = resolve(folder.path, "nginx.conf");
  await writeFile(file, configuration(scene, folder.path, site, options));
  const server = scene.launch(["nginx", "-p", folder.path, "-c", file], { accelerated: true });
  await scene.left.waitForTcpPort(PORT);
  await story(`http://${scene.left.address}:${PORT}`);
  server.kill("SIGQUIT");
  const { code } = await server.waitForExit();
  scene.note("server", `ended with ${code}`);
}

for (const workers of [1, 4]) {
  scenario(
    `nginx with ${workers} workers serves pages, many at a time`,
    (scene) =>
      withNginx(scene, { workers }, async (url) => {
        await browse(scene, url);
        await load(scene, `${url}/small.txt`, ["-n", String(REQUESTS), "-c", "16", "-k"]);
        await load(scene, `${url}/small.txt`, ["-n", String(REQUESTS / 4), "-c", "16"]);
      }),
    { bypass: { connections: REQUESTS / 4, segments: 4 * REQUESTS } },
  );
}

scenario(
  "nginx's workers give up root's rights after they were forked",
  (scene) =>
    withNginx(scene, { workers: 2, user: "www-data" }, async (url) => {
      await browse(scene, url);
      await load(scene, `${url}/small.txt`, ["-n", String(REQUESTS / 4), "-c", "8"]);
    }),
  { bypass: { connections: REQUESTS / 4, segments: REQUESTS } },
);

for (const way of ["on", "off"]) {
  scenario(
    `nginx sends a big file with sendfile ${way}`,
    (scene) =>
      withNginx(scene, { workers: 1, more: `sendfile ${way};` }, async (url) => {
        await fetchBig(scene, url);
        await load(scene, `${url}/big.bin`, ["-n", "8", "-c", "4"]);
      }),
    { bypass: { connections: 9, segments: 50_000 } },
  );
}

scenario(
  "nginx and curl, both accelerated",
  (scene) =>
    withNginx(scene, { workers: 2 }, async (url) => {
      await browse(scene, url, { accelerated: true });
      await fetchBig(scene, url, { accelerated: true });
    }),
  { bypass: { connections: 5, segments: 8000 } },
);
