// haproxy in front of a server on the kernel and an accelerated one.

import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario, useNetwork } from "../../support/scenario.ts";
import { browse, curl, fetchBig, load, makeSite } from "../../support/web.ts";

const PORT = 8090;
const PLAIN_PORT = 8091;
const ACCELERATED_PORT = 8092;
const REQUESTS = 500;

useNetwork({
  links: [
    ["left", "right"],
    ["left", "far"],
  ],
});

function configuration(scene: Scene, mode: "http" | "tcp"): string {
  return `
global
  nbthread 2
  maxconn 500
defaults
  mode ${mode}
  balance roundrobin
  timeout connect 5s
  timeout client 20s
  timeout server 20s
frontend front
  bind ${scene.left.address}:${PORT}
  default_backend back
backend back
  server plain ${scene.right.address}:${PLAIN_PORT}
  server fast ${scene.host("far").address}:${ACCELERATED_PORT}
`;
}

/** Two web servers with the same pages, each adding its name. */
async function withHaproxy(
  scene: Scene,
  mode: "http" | "tcp",
  story: (url: string) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const site = await makeSite(folder.path);
  for (const [host, port, name] of [
    ["right", PLAIN_PORT, "plain"],
    ["far", ACCELERATED_PORT, "fast"],
  ] as const) {
    const { address } = scene.host(host);
    const file = resolve(folder.path, `${name}.conf`);
    const server = `server { listen ${address}:${port}; root ${site}; add_header Server-Name ${name}; }`;
    const main = `daemon off; user root; pid ${folder.path}/${name}.pid; error_log stderr;`;
    await writeFile(file, `${main} events {} http { access_log off; ${server} }\n`);
    const command = ["nginx", "-p", folder.path, "-c", file];
    scene.launch(command, { host, accelerated: host === "far" });
    await scene.host(host).waitForTcpPort(port);
  }
  const file = resolve(folder.path, "haproxy.cfg");
  await writeFile(file, configuration(scene, mode));
  const proxy = scene.launch(["haproxy", "-f", file], { accelerated: true });
  await scene.left.waitForTcpPort(PORT);
  await story(`http://${scene.left.address}:${PORT}`);
  proxy.kill("SIGTERM");
  await proxy.waitForExit();
}

for (const mode of ["http", "tcp"] as const) {
  scenario(
    `haproxy in ${mode} mode takes turns between a plain and an accelerated server`,
    (scene) =>
      withHaproxy(scene, mode, async (url) => {
        for (let i = 0; i < 4; i++) {
          const headers = ["--output", "/dev/null", "--dump-header", "-"];
          const { stdout } = await curl(scene, [...headers, `${url}/small.txt`]);
          scene.note("client", /Server-Name: \w+/i.exec(stdout)?.[0].toLowerCase() ?? stdout);
        }
        await browse(scene, url);
        await fetchBig(scene, url);
        await load(scene, `${url}/small.txt`, ["-n", String(REQUESTS), "-c", "8"]);
      }),
    { bypass: { connections: REQUESTS, segments: 10 * REQUESTS } },
  );
}
