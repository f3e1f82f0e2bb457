// Debian's two netcats: what one end types, the other end shows.

import { createHash } from "node:crypto";
import { type Scene, scenario } from "../../support/scenario.ts";

const PORT = 1234;
const LONG_TEXT_BYTES = 40_000;

interface Netcat {
  name: string;
  listen: string[];
}

const NETCATS: Netcat[] = [
  { name: "nc.openbsd", listen: ["nc.openbsd", "-u", "-l", String(PORT)] },
  { name: "nc.traditional", listen: ["nc.traditional", "-u", "-l", "-p", String(PORT)] },
];

/** A server on one side and a client on the other; the side named is the one under test. */
async function pair(scene: Scene, { name, listen }: Netcat, tested: "server" | "client") {
  const serverHost = tested === "server" ? "left" : "right";
  const clientHost = tested === "server" ? "right" : "left";
  const debug = { EXASOCK_DEBUG: "1" };
  const role = (host: "left" | "right", isTested: boolean) => {
    return { host, accelerated: isTested, environment: isTested ? debug : {} };
  };
  const server = scene.launch(listen, role(serverHost, tested === "server"));
  const host = serverHost === "left" ? scene.left : scene.right;
  await host.waitForUdpPort(PORT);
  const command = [name, "-u", host.address, String(PORT)];
  const client = scene.launch(command, role(clientHost, tested === "client"));
  return { server, client };
}

for (const netcat of NETCATS) {
  for (const tested of ["server", "client"] as const) {
    scenario(
      `${netcat.name} as a ${tested} shows and sends what is typed`,
      async (scene) => {
        const { server, client } = await pair(scene, netcat, tested);
        client.write("hello server\n");
        await server.waitForOutput("hello server\n");
        server.write("hello client\n");
        await client.waitForOutput("hello client\n");
        for (let i = 0; i < 20; i++) {
          client.write(`line ${i}\n`);
          await server.waitForOutput(`line ${i}\n`);
        }
        scene.note("server", server.stdout);
        scene.note("client", client.stdout);
        if (!scene.isAccelerated) return;
        const program = tested === "server" ? server : client;
        await program.waitForOutput(/^exasock: enabled bypass on fd \d+$/m);
      },
      { bypass: { received: tested === "server" ? 20 : 1, sent: tested === "client" ? 15 : 0 } },
    );
  }

  scenario(`${netcat.name} carries a long text`, async (scene) => {
    const { server, client } = await pair(scene, netcat, "server");
    const text = Array.from({ length: LONG_TEXT_BYTES / 8 }, (_, i) => `${i}`.padEnd(7)).join("\n");
    client.write(`${text}\n`);
    await server.waitFor("the whole text", () => server.stdout.length >= LONG_TEXT_BYTES);
    scene.note("server", createHash("sha256").update(server.stdout).digest("hex"));
  });
}

scenario("nc answers two programs that listen at different ports", async (scene) => {
  const ports = [4001, 4002];
  for (const port of ports) {
    const command = ["nc.openbsd", "-u", "-l", String(port)];
    const server = scene.launch(command, { accelerated: true });
    await scene.left.waitForUdpPort(port);
    const client = scene.launch(["nc.openbsd", "-u", scene.left.address, String(port)], {
      host: "right",
    });
    client.write(`for ${port}\n`);
    await server.waitForOutput(`for ${port}\n`);
    scene.note(`server ${port}`, server.stdout);
  }
});
