// Programs that people use, talking to each other over 127.0.0.1.

import { chmod, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario } from "../../support/scenario.ts";
import { browse, fetchBig, makeSite } from "../../support/web.ts";

const ADDRESS = "127.0.0.1";
const MEBIBYTES = 64;
const MIB = 1 << 20;
const BIG_BYTES = 12 << 20;
const here = { host: "left", accelerated: true };

interface Report {
  end: { sum_sent?: { bytes: number }; sum_received?: { bytes: number } };
}

async function iperf(scene: Scene, port: number, args: readonly string[]): Promise<void> {
  const serve = ["iperf3", "-s", "-1", "-B", ADDRESS, "-p", String(port)];
  const server = scene.launch(serve, here);
  await scene.left.waitForTcpPort(port);
  const target = ["-c", ADDRESS, "-p", String(port), "-n", `${MEBIBYTES}M`, "--json"];
  const { stdout } = await scene.launch(["iperf3", ...target, ...args], here).waitForSuccess();
  const { sum_sent: sent, sum_received: received } = (JSON.parse(stdout) as Report).end;
  scene.note(
    "client",
    `all of it: ${(sent?.bytes ?? 0) >= MEBIBYTES * MIB && received !== undefined}`,
  );
  scene.note("server", `ended with ${(await server.waitForExit()).code}`);
}

for (const [index, [way, args]] of (
  [
    ["one way", []],
    ["the other way", ["-R"]],
    ["in four streams", ["-P", "4"]],
    ["by small writes", ["-l", "300"]],
  ] as const
).entries()) {
  scenario(`iperf3, ${way}`, (scene) => iperf(scene, 5301 + index, args), {
    bypass: { localBytes: (MEBIBYTES - 4) * MIB },
  });
}

scenario(
  "redis-server and redis-benchmark",
  async (scene) => {
    const port = "6481";
    await using folder = await temporaryFolder();
    const where = ["--bind", ADDRESS, "--port", port, "--dir", folder.path];
    const nothing = ["--save", "", "--appendonly", "no", "--protected-mode", "no"];
    const server = scene.launch(["redis-server", ...where, ...nothing], here);
    await scene.left.waitForTcpPort(Number(port));
    const target = ["-h", ADDRESS, "-p", port];
    for (const [names, more] of [
      ["set,get,lpush,lrange_100", []],
      ["set,get,lpush,lrange_100", ["-P", "16"]],
      ["set,get", ["-d", "20000"]],
    ] as const) {
      const tests = ["-t", names, "-n", "3000", "--csv", ...more];
      const client = scene.launch(["redis-benchmark", ...target, ...tests], here);
      const { stdout } = await client.waitForSuccess();
      const rates = stdout.trim().split("\n").slice(1);
      for (const line of rates) scene.note("client", `${line.split(",")[0]} done`);
    }
    server.kill("SIGTERM");
    scene.note("server", `ended with ${(await server.waitForExit()).code}`);
  },
  { bypass: { localBytes: 100_000 } },
);

scenario(
  "nginx and curl",
  async (scene) => {
    const port = 8181;
    await using folder = await temporaryFolder();
    await chmod(folder.path, 0o755);
    const site = await makeSite(folder.path);
    const file = resolve(folder.path, "nginx.conf");
    const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    await writeFile(
      file,
      `daemon off; user root; worker_processes 2; pid ${folder.path}/pid; error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  ${places.map((name) => `${name}_temp_path ${folder.path}/${name};`).join("\n  ")}
  server { listen ${ADDRESS}:${port}; root ${site}; }
}
`,
    );
    const server = scene.launch(["nginx", "-p", folder.path, "-c", file], here);
    await scene.left.waitForTcpPort(port);
    await browse(scene, `http://${ADDRESS}:${port}`, here);
    await fetchBig(scene, `http://${ADDRESS}:${port}`, here);
    server.kill("SIGQUIT");
    scene.note("server", `ended with ${(await server.waitForExit()).code}`);
  },
  { bypass: { localBytes: BIG_BYTES } },
);

const PYTHON = `
import hashlib, os, socket, sys, threading
data = bytes(range(256)) * 40000
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    one, _ = listener.accept()
    with one:
        while piece := one.recv(50000):
            one.sendall(piece)
threading.Thread(target=serve, daemon=True).start()
with socket.create_connection(listener.getsockname()) as client:
    def send():
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    got = hashlib.sha256()
    with client.makefile("rb") as stream:
        while piece := stream.read(70000):
            got.update(piece)
print(got.hexdigest() == hashlib.sha256(data).hexdigest())
left, right = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
right.bind(("127.0.0.1", 0))
left.connect(right.getsockname())
for size in (0, 1, 1500, 1900, 2048, 2049, 9000, 65507):
    left.send(data[:size])
    print(size, right.recv(70000) == data[:size])
`;

scenario(
  "a python program that talks to itself by threads",
  async (scene) => {
    const { stdout } = await scene.launch(["python3", "-c", PYTHON], here).waitForSuccess();
    scene.note("python", stdout);
  },
  { bypass: { localBytes: 20_000_000, kernelSegments: 0 } },
);

for (const nc of ["nc.openbsd", "nc.traditional"]) {
  scenario(
    `${nc} at both ends`,
    async (scene) => {
      const port = nc === "nc.openbsd" ? "1301" : "1302";
      const listens = nc === "nc.openbsd" ? [nc, "-l", ADDRESS, port] : [nc, "-l", "-p", port];
      const server = scene.launch(listens, here);
      await scene.left.waitForTcpPort(Number(port));
      const client = scene.launch([nc, ADDRESS, port], here);
      for (let i = 0; i < 10; i++) {
        client.write(`line ${i}\n`);
        await server.waitForOutput(`line ${i}\n`);
        server.write(`answer ${i}\n`);
        await client.waitForOutput(`answer ${i}\n`);
      }
      scene.note("server", server.stdout);
      scene.note("client", client.stdout);
    },
    { bypass: { localBytes: 100 } },
  );
}
