// redis-server with redis-cli and redis-benchmark.

import { temporaryFolder } from "../../support/folder.ts";
import { type Scene, scenario, type StartOptions } from "../../support/scenario.ts";

const PORT = 6380;
const REQUESTS = 5000;
const PIPELINED = 16;

async function withRedis(scene: Scene, more: readonly string[], story: () => Promise<void>) {
  await using folder = await temporaryFolder();
  const where = ["--bind", scene.left.address, "--port", String(PORT), "--dir", folder.path];
  const nothing = ["--save", "", "--appendonly", "no", "--protected-mode", "no"];
  const server = scene.launch(["redis-server", ...where, ...nothing, ...more], {
    accelerated: true,
  });
  await scene.left.waitForTcpPort(PORT);
  await story();
  server.kill("SIGTERM");
  const { code } = await server.waitForExit();
  scene.note("server", `ended with ${code}`);
}

const target = (scene: Scene) => ["-h", scene.left.address, "-p", String(PORT)];

/** What redis-cli answers to commands on its standard input. */
async function cli(scene: Scene, commands: readonly string[], options: StartOptions = {}) {
  const client = scene.launch(["redis-cli", ...target(scene)], { host: "right", ...options });
  client.endInput(`${commands.join("\n")}\n`);
  const { stdout } = await client.waitForSuccess();
  scene.note("client", stdout);
}

/** Which of its tests redis-benchmark got through: its rates differ from run to run. */
async function benchmark(scene: Scene, args: readonly string[], options: StartOptions = {}) {
  const command = ["redis-benchmark", ...target(scene), "--csv", "-n", String(REQUESTS), ...args];
  const client = scene.launch(command, { host: "right", ...options });
  const { stdout } = await client.waitForSuccess();
  for (const line of stdout.trim().split("\n").slice(1)) {
    const [test, rate] = line.split(",").map((cell) => cell.replaceAll('"', ""));
    scene.note("benchmark", `${test} ${Number(rate) > 0 ? "done" : rate}`);
  }
}

const COMMANDS = [
  "ping",
  "set key value",
  "get key",
  "incrby counter 41",
  "incr counter",
  "rpush list one two three",
  "lrange list 0 -1",
  "get nothing",
  "nonsense",
  `set long ${"x".repeat(100_000)}`,
  "strlen long",
  "get long",
];

scenario(
  "redis-server serves redis-cli and redis-benchmark",
  (scene) =>
    withRedis(scene, [], async () => {
      await cli(scene, COMMANDS);
      await benchmark(scene, ["-c", "20", "-t", "set,get,incr"]);
      await benchmark(scene, ["-c", "20", "-P", String(PIPELINED), "-t", "set,get"]);
      await benchmark(scene, ["-c", "4", "-d", "20000", "-t", "set,get"]);
    }),
  { bypass: { connections: 100, segments: 6 * REQUESTS } },
);

scenario(
  "redis-server with threads for input and output",
  (scene) =>
    // One thread each: the machine may have no more than two processors.
    withRedis(scene, ["--io-threads", "2", "--io-threads-do-reads", "yes"], async () => {
      await cli(scene, COMMANDS);
      await benchmark(scene, ["-n", "500", "-c", "20", "-t", "set,get"]);
    }),
  { bypass: { connections: 20, segments: 1000 } },
);

scenario(
  "redis-server and its clients, all accelerated",
  (scene) =>
    withRedis(scene, [], async () => {
      await cli(scene, COMMANDS, { accelerated: true });
      await benchmark(scene, ["-c", "10", "-t", "set,get"], { accelerated: true });
    }),
  { bypass: { connections: 20, segments: 4 * REQUESTS } },
);

scenario(
  "a subscriber is told what others publish",
  (scene) =>
    withRedis(scene, [], async () => {
      const subscriber = scene.launch(["redis-cli", ...target(scene), "subscribe", "news"], {
        host: "right",
      });
      await subscriber.waitForOutput("subscribe\nnews\n1\n");
      const words = ["first", "second", "third"];
      await cli(
        scene,
        words.map((word) => `publish news ${word}`),
      );
      await subscriber.waitForOutput("third\n");
      scene.note("subscriber", subscriber.stdout);
    }),
  { bypass: { connections: 2, segments: 12 } },
);
