// ssh as an accelerated client of an ordinary sshd.

import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import { run } from "../../../src/lab/program.ts";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario } from "../../support/scenario.ts";

const PORT = 2222;
/** What sshd wants to exist; Debian makes it when the service starts. */
const SEPARATION_FOLDER = "/run/sshd";

/** An sshd on the right host that lets the bearer of a new key in; how to reach it. */
async function withSsh(scene: Scene, story: (ssh: string[]) => Promise<void>): Promise<void> {
  await using folder = await temporaryFolder();
  await mkdir(SEPARATION_FOLDER, { recursive: true, mode: 0o755 });
  const [hostKey, userKey] = ["host", "user"].map((name) => resolve(folder.path, name));
  for (const key of [hostKey, userKey]) {
    await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", String(key)]);
  }
  const settings = [
    `ListenAddress=${scene.right.address}:${PORT}`,
    `HostKey=${hostKey}`,
    `AuthorizedKeysFile=${userKey}.pub`,
    "PidFile=none",
    "StrictModes=no",
    "UsePAM=no",
    "PermitRootLogin=prohibit-password",
  ].flatMap((one) => ["-o", one]);
  const server = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", ...settings];
  scene.launch(server, { host: "right" });
  await scene.right.waitForTcpPort(PORT);
  const options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"];
  const flags = ["-q", "-F", "/dev/null", "-i", String(userKey), "-p", String(PORT)];
  const more = options.flatMap((one) => ["-o", one]);
  await story(["ssh", ...flags, ...more, `root@${scene.right.address}`]);
}

scenario(
  "ssh runs commands, with input, output and exit statuses",
  (scene) =>
    withSsh(scene, async (ssh) => {
      const hello = scene.launch([...ssh, "echo hello; echo trouble >&2; exit 3"], {
        accelerated: true,
      });
      const { stdout, stderr, code } = await hello.waitForExit();
      scene.note("hello", `${code} ${stdout}${stderr}`);
      const cat = scene.launch([...ssh, "cat"], { accelerated: true });
      for (let i = 0; i < 10; i++) {
        cat.write(`line ${i}\n`);
        await cat.waitForOutput(`line ${i}\n`);
      }
      cat.endInput();
      scene.note("cat", (await cat.waitForSuccess()).stdout);
    }),
  { bypass: { connections: 2, segments: 60 } },
);

scenario(
  "ssh carries megabytes each way",
  (scene) =>
    withSsh(scene, async (ssh) => {
      const make = "openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null";
      const part = `${make} | head -c 8000000`;
      const up = `${part} | ${ssh.join(" ")} sha256sum`;
      const down = `${ssh.join(" ")} '${part}' | sha256sum`;
      for (const script of [up, down]) {
        const client = scene.launch(["sh", "-c", script], { accelerated: true });
        client.endInput();
        scene.note("client", (await client.waitForSuccess()).stdout);
      }
    }),
  { bypass: { connections: 2, segments: 10_000 } },
);
