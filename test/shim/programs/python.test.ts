// python3's socket module and what is built on it.

import { resolve } from "node:path";
import type { Program } from "../../../src/lab/program.ts";
import { type Scene, scenario } from "../../support/scenario.ts";

// Debian's own, whatever else is on the PATH.
const PYTHON = "/usr/bin/python3";
const SCRIPTS = resolve(import.meta.dirname, "python");
const PORT = 3456;

async function serve(scene: Scene, script: string, ...more: string[]): Promise<Program> {
  const command = [PYTHON, resolve(SCRIPTS, script), scene.left.address, String(PORT), ...more];
  const server = scene.launch(command, { accelerated: true });
  await server.waitForOutput("ready\n");
  return server;
}

/** Asks from the right host with a plain program and writes down the answers. */
async function ask(scene: Scene, questions: readonly string[], port = PORT): Promise<void> {
  const script = [
    "import socket, sys",
    "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "sock.settimeout(3)",
    "sock.connect((sys.argv[1], int(sys.argv[2])))",
    "for text in sys.argv[3:]:",
    "    sock.send(text.encode())",
    "    if text != 'quit': print(sock.recv(2048).decode())",
  ];
  const target = [scene.left.address, String(port)];
  const command = [PYTHON, "-c", script.join("\n"), ...target, ...questions];
  const client = scene.launch(command, { host: "right" });
  await client.waitForSuccess();
  scene.note("client", client.stdout);
}

async function finish(scene: Scene, server: Program): Promise<void> {
  const { stdout, code } = await server.waitForSuccess();
  scene.note("server", `${stdout} and ended with ${code}`);
}

const QUESTIONS = ["one", "two", "three", "four", "five", "six"];

scenario(
  "blocking calls",
  async (scene) => {
    const server = await serve(scene, "blocking.py");
    await ask(scene, [...QUESTIONS, "quit"]);
    await finish(scene, server);
  },
  { bypass: { received: 7, sent: 5 } },
);

for (const selector of ["SelectSelector", "PollSelector", "EpollSelector"]) {
  scenario(
    `two sockets and standard input in a ${selector}`,
    async (scene) => {
      const server = await serve(scene, "selector.py", selector);
      await ask(scene, QUESTIONS);
      await ask(scene, QUESTIONS, PORT + 1);
      server.write("something\n");
      await server.waitForOutput("typed something");
      await ask(scene, ["after the input"]);
      server.write("quit\n");
      await finish(scene, server);
    },
    { bypass: { received: 13, sent: 5 } },
  );
}

scenario(
  "an asyncio datagram endpoint",
  async (scene) => {
    const server = await serve(scene, "asynchronous.py");
    await ask(scene, [...QUESTIONS, "quit"]);
    await finish(scene, server);
  },
  { bypass: { received: 7, sent: 5 } },
);

scenario(
  "a threading server that runs subprocesses",
  async (scene) => {
    const server = await serve(scene, "threads.py");
    await ask(scene, [...QUESTIONS, "quit"]);
    await finish(scene, server);
  },
  { bypass: { received: 7, sent: 5 } },
);

scenario("timeouts and refused datagrams are exceptions", async (scene) => {
  const serve = [PYTHON, resolve(SCRIPTS, "blocking.py"), scene.right.address, String(PORT)];
  const server = scene.launch(serve, { host: "right" });
  await server.waitForOutput("ready\n");
  const ask = [PYTHON, resolve(SCRIPTS, "errors.py"), scene.right.address, String(PORT)];
  const client = scene.launch(ask, { accelerated: true });
  const { stdout } = await client.waitForSuccess();
  scene.note("client", stdout);
  await server.waitForSuccess();
});
