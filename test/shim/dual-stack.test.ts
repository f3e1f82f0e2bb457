// IPv6 sockets that speak IPv4: what Node, Java and many servers open if they are told no address.

import { type Scene, scenario } from "../support/scenario.ts";
import { curl } from "../support/web.ts";

const PYTHON = "/usr/bin/python3";
const PORT = 4700;

/** Tells each client what the server's calls say of the connection. */
const NODE_SERVER = [
  "const http = require('node:http');",
  "http.createServer((request, response) => {",
  "  const { localAddress, localFamily, remoteAddress, remoteFamily } = request.socket;",
  "  response.end([localAddress, localFamily, remoteAddress, remoteFamily].join(' ') + '\\n');",
  `}).listen(${PORT}, () => console.log('ready'));`,
].join("\n");

const PYTHON_SERVER = [
  "import socket, sys",
  "s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
  "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
  "s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(sys.argv[1]))",
  `s.bind(('::', ${PORT}))`,
  "s.listen()",
  "print('ready', s.getsockname(), flush=True)",
  "c, peer = s.accept()",
  "print(peer[0], peer[2:], c.getsockname(), c.getpeername()[0], c.family.name, flush=True)",
  "c.sendall(c.recv(100))",
  "c.close()",
].join("\n");

/** Connects an IPv6 socket to an IPv4 address. */
const PYTHON_CLIENT = [
  "import socket, sys",
  "s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
  "try:",
  `  s.connect(('::ffff:' + sys.argv[1], ${PORT}))`,
  "  s.sendall(b'through')",
  "  print(s.getpeername()[:2], s.getsockname()[0], s.recv(100))",
  "except OSError as error:",
  "  print(error.strerror)",
].join("\n");

async function serve(scene: Scene, only: 0 | 1, client: boolean): Promise<void> {
  const [ours, theirs] = client ? ["right", "left"] : ["left", "right"];
  const { address } = scene.host(ours);
  const server = scene.launch([PYTHON, "-c", PYTHON_SERVER, String(only)], {
    host: ours,
    accelerated: !client,
  });
  await server.waitForOutput(/^ready.*\n/);
  const ask = scene.launch([PYTHON, "-c", PYTHON_CLIENT, address], {
    host: theirs,
    accelerated: client,
  });
  scene.note("client", (await ask.waitForSuccess()).stdout);
  if (only === 0) scene.note("server", (await server.waitForSuccess()).stdout);
}

scenario(
  "a server of node:http that was given no address",
  async (scene) => {
    const { address } = scene.left;
    const command = [process.execPath, "-e", NODE_SERVER];
    await scene.launch(command, { accelerated: true }).waitForOutput("ready\n");
    for (let i = 0; i < 3; i++) {
      scene.note("client", (await curl(scene, [`http://${address}:${PORT}/`])).stdout);
    }
  },
  { bypass: { connections: 3, segments: 20 } },
);

scenario(
  "an IPv6 socket listens for IPv4 too, and tells v4-mapped addresses",
  (scene) => serve(scene, 0, false),
  { bypass: { connections: 1, segments: 5 } },
);

scenario("an IPv6 socket connects to an IPv4 address", (scene) => serve(scene, 0, true), {
  bypass: { connections: 1, segments: 5 },
});

scenario("with IPV6_V6ONLY it hears no IPv4", (scene) => serve(scene, 1, false));
