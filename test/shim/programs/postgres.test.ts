// PostgreSQL as a server, a process for each connection, with psql from outside.

import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { chmod, chown, mkdir, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { run } from "../../../src/lab/program.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario, type StartOptions, useNetwork } from "../../support/scenario.ts";

const INSTALLED = "/usr/lib/postgresql";
const PORT = 5433;
const USER = "postgres";
/** PostgreSQL does not run as root; others use the stack as members of the group "exasock". */
const GROUP_NUMBER = 63_077;
const ROWS = 2000;

useNetwork({ groups: [`exasock:x:${GROUP_NUMBER}:${USER}`] });

/** Puts a command under the user's name, in the group. */
function asUser(command: readonly string[]): string[] {
  // So that it can load the library wherever this repository lies.
  const reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
  const user = [`--reuid=${USER}`, `--regid=${USER}`, `--groups=${GROUP_NUMBER}`];
  return ["setpriv", ...user, ...reads, ...command];
}

function tool(name: string): string {
  const [version] = readdirSync(INSTALLED).sort();
  return resolve(INSTALLED, String(version), "bin", name);
}

async function numberOf(flag: "-u" | "-g"): Promise<number> {
  return Number((await run(["id", flag, USER])).stdout);
}

/** Runs a server with an empty database under test. */
async function withServer(scene: Scene, story: () => Promise<void>): Promise<void> {
  await using folder = await temporaryFolder();
  const data = resolve(folder.path, "data");
  await chmod(folder.path, 0o755);
  await mkdir(data);
  await chown(data, await numberOf("-u"), await numberOf("-g"));
  const make = [tool("initdb"), "--no-sync", "--auth=trust", "--no-locale", "-D", data];
  await run(asUser(make), { directory: data });
  const access = resolve(folder.path, "access");
  await writeFile(access, `host all all ${scene.right.address}/24 trust\n`);
  const { address } = scene.left;
  const settings = [
    `listen_addresses=${address}`,
    "unix_socket_directories=",
    "fsync=off",
    "shared_buffers=16MB",
    "autovacuum=off",
    `hba_file=${access}`,
  ].flatMap((one) => ["-c", one]);
  const command = [tool("postgres"), "-D", data, "-p", String(PORT), ...settings];
  const server = scene.launch(asUser(command), { accelerated: true });
  await server.waitForOutput("ready to accept connections");
  await story();
  server.kill("SIGINT");
  const { code } = await server.waitForExit();
  scene.note("server", `ended with ${code}`);
}

/** What psql prints for a script on its standard input. */
async function psql(scene: Scene, script: readonly string[], options: StartOptions = {}) {
  const target = ["-h", scene.left.address, "-p", String(PORT), "-U", USER, USER];
  const client = scene.launch(["psql", "-X", "-q", "-A", "-t", ...target], {
    host: "right",
    ...options,
  });
  client.endInput(`${script.join(";\n")};\n`);
  return await client.waitForExit();
}

const SCRIPT = [
  "create table entries (id integer primary key, words text)",
  `insert into entries select i, repeat('word ' || i, 20) from generate_series(1, ${ROWS}) i`,
  "select count(*), sum(id), md5(string_agg(words, ',' order by id)) from entries",
  "begin",
  "update entries set words = 'other' where id % 10 = 0",
  "select count(*) from entries where words = 'other'",
  "rollback",
  "select count(*) from entries where words = 'other'",
  "select nothing from entries",
  // More than fits into any socket's buffers.
  "select * from entries a, generate_series(1, 5) order by id",
];

for (const [name, accelerated] of [
  ["psql on the kernel", false],
  ["an accelerated psql", true],
] as const) {
  scenario(
    `PostgreSQL serves ${name}`,
    (scene) =>
      withServer(scene, async () => {
        const { stdout, stderr } = await psql(scene, SCRIPT, { accelerated });
        const digest = createHash("sha256").update(stdout).digest("hex");
        scene.note("psql", `${stdout.slice(0, 200)}… ${stdout.length} bytes, ${digest}`);
        scene.note("psql", stderr);
        // Each is a process of the server's.
        const clients = Array.from({ length: 8 }, (_, i) =>
          psql(scene, [`select sum(id) * ${i} from entries`], { accelerated }),
        );
        for (const one of await Promise.all(clients)) scene.note("clients", one.stdout);
      }),
    { bypass: { connections: 9, segments: 500 } },
  );
}
