// Programs whose processes come and go while their sockets are in use.

import { compileProgram } from "../support/compile.ts";
import { scenario } from "../support/scenario.ts";

const BYTES = 48 << 20;
const CHILDREN = 100;
const DATAGRAMS = 3;

const life = () => compileProgram("test/shim/life.c", ["-pthread"]);

scenario(
  "a process forks a hundred times while its threads transfer",
  async (scene) => {
    const program = await life();
    const forks = [program, "forks", scene.left.address, String(CHILDREN)];
    const server = scene.launch(forks, { accelerated: true });
    await server.waitForOutput(/port \d+\n/);
    const port = /port (\d+)/.exec(server.stdout)?.[1] ?? "";
    const ask = [program, "client", scene.left.address, port, String(BYTES)];
    const client = scene.launch(ask, { host: "right" });
    scene.note("client", (await client.waitForSuccess()).stdout);
    const { stdout } = await server.waitForSuccess();
    scene.note("server", stdout.replace(/port \d+\n/, ""));
  },
  { bypass: { connections: 2, segments: 4000 } },
);

scenario(
  "a program becomes a daemon and serves",
  async (scene) => {
    const server = scene.launch([await life(), "daemon", scene.left.address, String(DATAGRAMS)], {
      accelerated: true,
    });
    await server.waitForOutput(/port \d+\n/);
    const port = Number(/port (\d+)/.exec(server.stdout)?.[1]);
    const peer = await scene.peer();
    const fd = await peer.socket();
    for (let i = 0; i < DATAGRAMS; i++) {
      await peer.sendto(fd, `datagram ${i}`, { address: scene.left.address, port });
      await peer.recvfrom(fd);
    }
    await server.waitForOutput(/datagrams\n/);
    scene.note("server", server.stdout.replace(/port \d+\n/, ""));
  },
  { bypass: { received: DATAGRAMS } },
);
