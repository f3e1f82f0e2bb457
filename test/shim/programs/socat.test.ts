// socat: datagram addresses of every kind, one process per client included.

import { type Scene, scenario } from "../../support/scenario.ts";

const PORT = 2345;

async function serve(scene: Scene, ...addresses: string[]) {
  const server = scene.launch(["socat", ...addresses], { accelerated: true });
  await scene.left.waitForUdpPort(PORT);
  return server;
}

/** A client on the right sends one line and prints what comes back. */
async function ask(scene: Scene, line: string, answer: string): Promise<void> {
  const address = `UDP4:${scene.left.address}:${PORT}`;
  const client = scene.launch(["socat", "-t", "5", "-", address], { host: "right" });
  client.write(`${line}\n`);
  await client.waitForOutput(answer);
  scene.note("client", client.stdout);
}

scenario(
  "UDP4-LISTEN talks to the first client that comes",
  async (scene) => {
    const server = await serve(scene, `UDP4-LISTEN:${PORT}`, "PIPE");
    await ask(scene, "hello", "hello\n");
    server.kill();
  },
  { bypass: { received: 1 } },
);

scenario("UDP4-LISTEN with fork serves each client in a process of its own", async (scene) => {
  await serve(scene, `UDP4-LISTEN:${PORT},fork`, "PIPE");
  for (const name of ["first", "second", "third"]) await ask(scene, name, `${name}\n`);
});

scenario(
  "UDP4-RECVFROM with fork runs a command for each datagram",
  async (scene) => {
    await serve(scene, `UDP4-RECVFROM:${PORT},fork`, "EXEC:tr a-z A-Z");
    for (const name of ["first", "second"]) await ask(scene, name, `${name.toUpperCase()}\n`);
  },
  { bypass: { received: 2 } },
);

scenario(
  "UDP4-RECV prints whatever anybody sends",
  async (scene) => {
    const server = await serve(scene, "-u", `UDP4-RECV:${PORT}`, "STDOUT");
    for (let i = 0; i < 5; i++) {
      const address = `UDP4-SENDTO:${scene.left.address}:${PORT}`;
      const client = scene.launch(["socat", "-u", "STDIN", address], { host: "right" });
      client.endInput(`datagram ${i}\n`);
      await client.waitForSuccess();
      await server.waitForOutput(`datagram ${i}\n`);
    }
    scene.note("server", server.stdout);
  },
  { bypass: { received: 5 } },
);

scenario(
  "UDP4-SENDTO and UDP4-DATAGRAM send",
  async (scene) => {
    const server = scene.launch(["socat", "-u", `UDP4-RECV:${PORT}`, "STDOUT"], { host: "right" });
    await scene.right.waitForUdpPort(PORT);
    for (const kind of ["UDP4-SENDTO", "UDP4-DATAGRAM"]) {
      const address = `${kind}:${scene.right.address}:${PORT}`;
      const client = scene.launch(["socat", "-u", "STDIN", address], { accelerated: true });
      for (const word of ["one", "two", "three"]) {
        client.write(`${kind} ${word}\n`);
        await server.waitForOutput(`${kind} ${word}\n`);
      }
      client.endInput();
      await client.waitForSuccess();
    }
    scene.note("server", server.stdout);
  },
  { bypass: { sent: 2 } },
);

scenario("socat relays between UDP and TCP", async (scene) => {
  const echo = ["socat", `TCP4-LISTEN:${PORT + 1},reuseaddr`, "PIPE"];
  scene.launch(echo, { host: "right" });
  await scene.right.waitForTcpPort(PORT + 1);
  await serve(scene, `UDP4-LISTEN:${PORT}`, `TCP4:${scene.right.address}:${PORT + 1}`);
  await ask(scene, "through a relay", "through a relay\n");
});
