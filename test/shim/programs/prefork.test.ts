// Servers whose workers share a listener by fork: nginx, Apache and gunicorn, while they are told
// again and again to replace their workers. No request may fail that would not fail by the kernel.

import { chmod, mkdir, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario } from "../../support/scenario.ts";
import { curl, load, makeSite } from "../../support/web.ts";

const PORT = 8085;
const REQUESTS = 2000;
const RELOADS = 5;
const REQUESTS_PER_RELOAD = 10;

interface Server {
  name: string;
  /** What makes it replace its workers. */
  reload: NodeJS.Signals;
  stop: NodeJS.Signals;
  /** Writes its configuration and returns how it is started. */
  command(scene: Scene, folder: string, site: string): Promise<string[]>;
}

const MODULES = "/usr/lib/apache2/modules";
const APPLICATION = `
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"a small page\\n"]
`;

const SERVERS: Server[] = [
  {
    name: "nginx",
    reload: "SIGHUP",
    stop: "SIGQUIT",
    async command(scene, folder, site) {
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
      const paths = temporary.map((name) => `${name}_temp_path ${folder}/${name};`);
      const server = `server { listen ${scene.left.address}:${PORT}; root ${site}; }`;
      const http = `http { access_log off; ${paths.join(" ")} ${server} }`;
      const main = `daemon off; user root; worker_processes 3; pid ${folder}/pid;`;
      const file = resolve(folder, "nginx.conf");
      await mkdir(resolve(folder, "logs"));
      await writeFile(file, `${main}\nerror_log stderr warn;\nevents {}\n${http}\n`);
      return ["nginx", "-p", folder, "-c", file];
    },
  },
  {
    name: "Apache prefork",
    reload: "SIGUSR1",
    stop: "SIGTERM",
    async command(scene, folder, site) {
      const modules = ["mpm_prefork", "authz_core", "mime"];
      const lines = [
        ...modules.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`),
        `ServerRoot ${folder}`,
        "ServerName test",
        `PidFile ${folder}/pid`,
        `DefaultRuntimeDir ${folder}`,
        `Mutex file:${folder}`,
        "TypesConfig /dev/null",
        `ErrorLog ${folder}/errors`,
        `Listen ${scene.left.address}:${PORT}`,
        "StartServers 3",
        "MaxRequestWorkers 8",
        "User www-data",
        `DocumentRoot ${site}`,
        `<Directory ${site}>`,
        "Require all granted",
        "</Directory>",
      ];
      const file = resolve(folder, "apache.conf");
      await writeFile(file, `${lines.join("\n")}\n`);
      return ["apache2", "-f", file, "-DFOREGROUND"];
    },
  },
  {
    name: "gunicorn",
    reload: "SIGHUP",
    stop: "SIGTERM",
    async command(scene, folder) {
      await writeFile(resolve(folder, "application.py"), APPLICATION);
      const where = ["--bind", `${scene.left.address}:${PORT}`, "--chdir", folder];
      return ["gunicorn", ...where, "--workers", "3", "--log-level", "error", "application:app"];
    },
  },
];

for (const server of SERVERS) {
  scenario(
    `${server.name} replaces its workers while it is loaded`,
    async (scene) => {
      await using folder = await temporaryFolder();
      await chmod(folder.path, 0o755);
      const site = await makeSite(folder.path);
      const command = await server.command(scene, folder.path, site);
      const master = scene.launch(command, { accelerated: true });
      await scene.left.waitForTcpPort(PORT);
      const url = `http://${scene.left.address}:${PORT}/small.txt`;
      const loading = load(scene, url, ["-n", String(REQUESTS), "-c", "8"]);
      const answers = new Map<string, number>();
      for (let reload = 0; reload < RELOADS; reload++) {
        master.kill(server.reload);
        for (let i = 0; i < REQUESTS_PER_RELOAD; i++) {
          const { code, stdout } = await curl(scene, [url]);
          const answer = `${code} ${stdout}`;
          answers.set(answer, (answers.get(answer) ?? 0) + 1);
        }
      }
      await loading;
      for (const [answer, times] of answers) scene.note("client", `${times} times: ${answer}`);
      master.kill(server.stop);
      scene.note("server", `ended with ${(await master.waitForExit()).code}`);
    },
    { bypass: { connections: REQUESTS, segments: 8 * REQUESTS } },
  );
}
