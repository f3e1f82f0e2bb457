// UDP between programs of one host: both accelerated, and one of them a program of the kernel's.

import {
  ANY_ADDRESS,
  bound,
  type Endpoint,
  MOMENT_MILLIS,
  PATIENCE_MILLIS,
  readable,
  unusedPort,
} from "../../support/builders.ts";
import { epollControl, epollCreate, epollWait, poll } from "../../support/readiness.ts";
import { type Scene, scenario } from "../../support/scenario.ts";

/** More than the smallest frame of a pool holds. */
const LONG_DATAGRAM_BYTES = 3000;

const deviceName = (name: string) => Buffer.from(`${name}\0`);

/** A second program under exasock, on the host of the first. */
const companion = (scene: Scene) => scene.start("companion", { accelerated: true });

async function pair(scene: Scene, address: string, type?: string): Promise<[Endpoint, Endpoint]> {
  const [subject, other] = [await scene.subject(), await companion(scene)];
  return [await bound(subject, address, type), await bound(other, address, type)];
}

for (const [where, address] of [
  ["127.0.0.1", () => "127.0.0.1"],
  ["another address of 127/8", () => "127.1.2.3"],
  ["the host's own address", (scene: Scene) => scene.left.address],
] as const) {
  scenario(
    `datagrams over ${where} go there and back, with nothing in between`,
    async (scene) => {
      const [a, b] = await pair(scene, address(scene));
      for (const text of ["first", "", "third"]) await b.calls.sendto(b.fd, text, a.at);
      for (let i = 0; i < 3; i++) await a.calls.recvfrom(a.fd);
      await a.calls.sendto(a.fd, "an answer", b.at);
      await b.calls.recvfrom(b.fd);
      await a.calls.sendto(a.fd, "x".repeat(LONG_DATAGRAM_BYTES), b.at);
      await b.calls.recv(b.fd, LONG_DATAGRAM_BYTES);
    },
    { bypass: { localDatagrams: 4, kernelSent: 1 } },
  );
}

scenario(
  "a wildcard socket hears every address of its host, and which it was",
  async (scene) => {
    const [subject, other] = [await scene.subject(), await companion(scene)];
    const a = await bound(subject, ANY_ADDRESS);
    await subject.setsockopt(a.fd, "SOL_IP", "IP_PKTINFO", 1);
    await subject.setsockopt(a.fd, "SOL_IP", "IP_RECVTTL", 1);
    await subject.setsockopt(a.fd, "SOL_IP", "IP_RECVTOS", 1);
    const b = await bound(other, ANY_ADDRESS);
    await other.setsockopt(b.fd, "SOL_IP", "IP_TTL", 7);
    await other.setsockopt(b.fd, "SOL_IP", "IP_TOS", 16);
    for (const address of ["127.0.0.1", "127.9.9.9", scene.left.address]) {
      await other.sendto(b.fd, address, { address, port: a.at.port });
      await subject.recvmsg(a.fd);
    }
  },
  { bypass: { localDatagrams: 3 } },
);

scenario(
  "connected sockets hear their peer only",
  async (scene) => {
    const [a, b] = await pair(scene, "127.0.0.1");
    const c = await bound(b.calls, "127.0.0.1");
    await a.calls.connect(a.fd, b.at);
    await b.calls.connect(b.fd, a.at);
    await a.calls.getpeername(a.fd);
    await b.calls.send(b.fd, "from the peer");
    await a.calls.recv(a.fd);
    await a.calls.send(a.fd, "to the peer");
    await b.calls.recv(b.fd);
    await c.calls.sendto(c.fd, "from a stranger", a.at);
    await b.calls.send(b.fd, "from the peer again");
    await a.calls.recv(a.fd);
    await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
  },
  { bypass: { localDatagrams: 3, kernelSent: 1 } },
);

scenario(
  "a socket hears itself",
  async (scene) => {
    const a = await bound(await scene.subject(), "127.0.0.1");
    await a.calls.sendto(a.fd, "to myself", a.at);
    await a.calls.recvfrom(a.fd);
    await a.calls.connect(a.fd, a.at);
    await a.calls.send(a.fd, "again");
    await a.calls.recvfrom(a.fd);
  },
  { bypass: { localDatagrams: 2 } },
);

scenario(
  "a socket without an address sends from the one it sends to",
  async (scene) => {
    const [subject, other] = [await scene.subject(), await companion(scene)];
    const a = await bound(subject, ANY_ADDRESS);
    for (const address of ["127.0.0.1", "127.4.4.4", scene.left.address]) {
      const fd = await other.socket("SOCK_DGRAM");
      await other.connect(fd, { address, port: a.at.port });
      await other.send(fd, "who am I?");
      const { from } = await subject.recvfrom(a.fd);
      subject.note(`from ${from?.address}`);
    }
    const unconnected = await other.socket("SOCK_DGRAM");
    for (const address of ["127.0.0.1", "127.4.4.4", scene.left.address]) {
      await other.sendto(unconnected, "and now?", { address, port: a.at.port });
      const { from } = await subject.recvfrom(a.fd);
      subject.note(`from ${from?.address}`);
    }
  },
  { bypass: { localDatagrams: 6 } },
);

scenario("nobody has the port: a connected socket is told", async (scene) => {
  const [a, b] = await pair(scene, "127.0.0.1");
  const silent = await unusedPort(b.calls, "127.0.0.1");
  await a.calls.connect(a.fd, silent);
  await a.calls.send(a.fd, "anybody?");
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await a.calls.expecting("ECONNREFUSED").recv(a.fd, 100);
  await a.calls.send(a.fd, "anybody now?");
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await a.calls.expecting("ECONNREFUSED").send(a.fd, "hello?");
});

scenario("a full receive buffer loses what comes, and nobody is told", async (scene) => {
  const [a, b] = await pair(scene, "127.0.0.1");
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_RCVBUF", 4000);
  const COUNT = 64;
  for (let i = 0; i < COUNT; i++) await b.calls.untold.sendto(b.fd, `number ${i}`, a.at);
  let received = 0;
  while ((await a.calls.untold.recv(a.fd, 100, "MSG_DONTWAIT")).error === "") received += 1;
  a.calls.note(`some: ${received > 0}, all: ${received === COUNT}`);
  await b.calls.sendto(b.fd, "room again", a.at);
  await a.calls.recv(a.fd);
});

for (const mode of ["spin", "sleep"]) {
  scenario(
    `a blocked call is woken by the same host (${mode})`,
    async (scene) => {
      const [a, b] = await pair(scene, "127.0.0.1");
      const waiting = a.calls.inThread.recvfrom(a.fd);
      await poll(b.calls, [], MOMENT_MILLIS);
      await b.calls.sendto(b.fd, "wake up", a.at);
      await waiting;
      const epoll = await epollCreate(a.calls);
      await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN|EPOLLET"]);
      const event = epollWait(a.calls.inThread, epoll, PATIENCE_MILLIS);
      await poll(b.calls, [], MOMENT_MILLIS);
      await b.calls.sendto(b.fd, "wake up again", a.at);
      await event;
      await a.calls.recv(a.fd);
      await epollWait(a.calls, epoll, 0);
    },
    { bypass: { localDatagrams: 2 }, launcher: [`--wait=${mode}`] },
  );
}

scenario("an accelerated program and an ordinary one reach each other", async (scene) => {
  const [a, b] = await pair(scene, "127.0.0.1");
  const ordinary = await bound(await scene.start("ordinary"), "127.0.0.1");
  await a.calls.sendto(a.fd, "to the kernel's", ordinary.at);
  await ordinary.calls.recvfrom(ordinary.fd);
  await ordinary.calls.sendto(ordinary.fd, "to the stack's", a.at);
  await readable(a);
  await a.calls.recvfrom(a.fd);
  // Both reach the same socket.
  await b.calls.sendto(b.fd, "from the stack's", a.at);
  await a.calls.recvfrom(a.fd);
});

scenario("a socket that is bound to an interface hears nothing of its own host", async (scene) => {
  const [subject, other] = [await scene.subject(), await companion(scene)];
  const a = await bound(subject, ANY_ADDRESS);
  await subject.setsockopt(
    a.fd,
    "SOL_SOCKET",
    "SO_BINDTODEVICE",
    deviceName(scene.left.interfaceName),
  );
  const b = await bound(other, ANY_ADDRESS);
  await other.sendto(b.fd, "over lo", { address: "127.0.0.1", port: a.at.port });
  await subject.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
  await subject.setsockopt(a.fd, "SOL_SOCKET", "SO_BINDTODEVICE", deviceName("lo"));
  await other.sendto(b.fd, "over lo", { address: "127.0.0.1", port: a.at.port });
  await readable(a);
  await subject.recv(a.fd, 100);
});

scenario("members of an SO_REUSEPORT group share what comes", async (scene) => {
  const programs = [await scene.subject(), await companion(scene)];
  const sender = await scene.start("sender", { accelerated: true });
  let port = 0;
  const members: Endpoint[] = [];
  for (const calls of programs) {
    const fd = await calls.socket("SOCK_DGRAM|SOCK_NONBLOCK");
    await calls.setsockopt(fd, "SOL_SOCKET", "SO_REUSEPORT", 1);
    await calls.bind(fd, { address: "127.0.0.1", port });
    const at = await calls.getsockname(fd);
    port = at.port;
    members.push({ calls, fd, at });
  }
  const FLOWS = 64;
  for (let i = 0; i < FLOWS; i++) {
    const fd = (await sender.untold.make("socket", [2, 2, 0], "")).result;
    await sender.untold.sendto(fd, "flow", { address: "127.0.0.1", port });
  }
  let total = 0;
  for (const { calls, fd } of members) {
    let mine = 0;
    while ((await calls.untold.recv(fd, 100)).error === "") mine += 1;
    calls.note(`has a share: ${mine > 0}`);
    total += mine;
  }
  programs[0]?.note(`${total} in all`);
});
