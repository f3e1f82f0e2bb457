// listen(2) and accept(2): clients from the network, which are the stack's, and clients from this
// host, which are the kernel's, on one listener.

import { ANY_ADDRESS, MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import type { Calls } from "../support/calls.ts";
import { int32, sockaddrBytes } from "../support/memory.ts";
import { epollControl, epollCreate, epollWait, poll } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import { accept, arrived, linger, listen, listening, serves, timeLimit } from "../support/tcp.ts";
import type { Address } from "../support/transcript.ts";

async function server(scene: Scene, type = "SOCK_STREAM") {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(subject, ANY_ADDRESS, { type });
  const at = { address: scene.left.address, port: listener.at.port };
  return { subject, peer, listener, at };
}

async function connectedTo(calls: Calls, at: Address): Promise<number> {
  const fd = await calls.socket("SOCK_STREAM");
  await calls.connect(fd, at);
  return fd;
}

scenario(
  "a server accepts a client and both talk",
  async (scene) => {
    const { subject, peer } = await serves(scene);
    await peer.calls.send(peer.fd, "a question");
    await subject.calls.recv(subject.fd);
    await subject.calls.send(subject.fd, "an answer");
    await peer.calls.recv(peer.fd);
    await subject.calls.getsockname(subject.fd);
    await subject.calls.getpeername(subject.fd);
    await peer.calls.getpeername(peer.fd);
  },
  { bypass: { connections: 1, segments: 5 } },
);

scenario(
  "a blocked accept returns with the client that comes",
  async (scene) => {
    const { subject, peer, listener, at } = await server(scene);
    const waiting = accept(subject.inThread, listener.fd);
    await poll(subject, [], MOMENT_MILLIS);
    await connectedTo(peer, at);
    await waiting;
  },
  { bypass: { connections: 1, segments: 3 } },
);

scenario(
  "a listener serves clients of the network, of loopback and of this host",
  async (scene) => {
    const { subject, peer, listener, at } = await server(scene);
    const local = await scene.start("local");
    const froms: [Calls, Address][] = [
      [peer, at],
      [local, at],
      [local, { address: "127.0.0.1", port: at.port }],
      [peer, at],
    ];
    for (const [client, to] of froms) {
      const fd = await connectedTo(client, to);
      await poll(subject, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
      const accepted = await accept(subject, listener.fd);
      await client.send(fd, "hello");
      await subject.recv(accepted);
      await subject.send(accepted, "welcome");
      await client.recv(fd);
      await subject.getsockname(accepted);
      await subject.close(accepted);
      await client.recv(fd);
    }
  },
);

scenario("a blocked accept returns with a local client, too", async (scene) => {
  const { subject, listener, at } = await server(scene);
  const local = await scene.start("local");
  const waiting = accept(subject.inThread, listener.fd);
  await poll(subject, [], MOMENT_MILLIS);
  await connectedTo(local, { address: "127.0.0.1", port: at.port });
  await waiting;
});

scenario("a non-blocking accept finds nobody, then somebody", async (scene) => {
  const { subject, peer, listener, at } = await server(scene, "SOCK_STREAM|SOCK_NONBLOCK");
  await subject.expecting("EAGAIN").make("accept", [listener.fd, 0, 0], "no address wanted");
  await connectedTo(peer, at);
  await poll(subject, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
  const accepted = await accept(subject, listener.fd);
  await subject.fcntl(accepted, "F_GETFL");
  await subject.expecting("EAGAIN").make("accept", [listener.fd, 0, 0], "no address wanted");
});

scenario("accept4 sets the flags that it is given", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  for (const flags of ["SOCK_NONBLOCK", "SOCK_CLOEXEC", "SOCK_NONBLOCK|SOCK_CLOEXEC", "0"]) {
    await connectedTo(peer, at);
    const accepted = await accept(subject, listener.fd, flags);
    const shown = await subject.fcntl(accepted, "F_GETFD");
    subject.note(`close-on-exec ${shown.result}`);
    const blocks = (await subject.fcntl(accepted, "F_GETFL")).result & 0o4000;
    subject.note(`non-blocking ${blocks}`);
    if (blocks !== 0) await subject.expecting("EAGAIN").recv(accepted);
  }
  await subject.expecting("EINVAL").make("accept4", [listener.fd, 0, 0, 1], "flags 1");
});

scenario("accept cuts the address to the room that there is", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  for (const room of [0, 2, 8, 16, 100]) {
    await connectedTo(peer, at);
    const address = subject.libc.reserve(128);
    const length = subject.libc.put(int32(room));
    await subject.make("accept", [listener.fd, address, length], `room ${room}`, async () => {
      const bytes = await subject.libc.peek(address, 8);
      const family = bytes.readUInt16LE(0);
      const host = bytes.subarray(4).join(".");
      return `family ${family}, ${host}, ${(await subject.libc.peek(length, 4)).readInt32LE(0)}`;
    });
  }
});

scenario("accept on what does not listen fails", async (scene) => {
  const { subject } = await serves(scene);
  const fd = await subject.calls.socket("SOCK_STREAM");
  const bad = subject.calls.expecting("EINVAL");
  await bad.make("accept", [fd, 0, 0], "not bound");
  await bad.make("accept", [subject.fd, 0, 0], "connected");
  const udp = await subject.calls.socket("SOCK_DGRAM");
  await subject.calls.expecting("EOPNOTSUPP").make("accept", [udp, 0, 0], "a datagram socket");
  await subject.calls.expecting("EOPNOTSUPP").make("listen", [udp, 1], "a datagram socket");
});

scenario("SO_RCVTIMEO ends a blocked accept, and is not lost", async (scene) => {
  const { subject, listener, peer, at } = await server(scene);
  await timeLimit(subject, listener.fd, "SO_RCVTIMEO", MOMENT_MILLIS);
  await subject.expecting("EAGAIN").make("accept", [listener.fd, 0, 0], "nobody");
  await subject.getsockopt(listener.fd, "SOL_SOCKET", "SO_RCVTIMEO", 16);
  await connectedTo(peer, at);
  const accepted = await accept(subject, listener.fd);
  await subject.getsockopt(accepted, "SOL_SOCKET", "SO_RCVTIMEO", 16);
  await subject.expecting("EAGAIN").recv(accepted);
});

scenario("a listener without an address gets a port", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const fd = await subject.socket("SOCK_STREAM");
  await listen(subject, fd);
  const { port } = await subject.getsockname(fd);
  await connectedTo(peer, { address: scene.left.address, port });
  await accept(subject, fd);
});

scenario("two listeners cannot have one port, and one that closed leaves it", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  const fd = await subject.socket("SOCK_STREAM");
  await subject.expecting("EADDRINUSE").bind(fd, { address: ANY_ADDRESS, port: at.port });
  await subject.close(listener.fd);
  const refused = await peer.socket("SOCK_STREAM");
  await peer.expecting("ECONNREFUSED").connect(refused, at);
  await subject.bind(fd, { address: ANY_ADDRESS, port: at.port });
  await listen(subject, fd);
  await connectedTo(peer, at);
  await accept(subject, fd);
});

scenario("closing a listener resets who was not accepted yet", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  const fd = await connectedTo(peer, at);
  await peer.send(fd, "anybody there?");
  await poll(subject, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
  await subject.close(listener.fd);
  await peer.expecting("ECONNRESET").recv(fd);
});

scenario("shutdown of a listener ends it, and a blocked accept with it", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  const waiting = subject.inThread
    .expecting("EINVAL")
    .make("accept", [listener.fd, 0, 0], "until shutdown");
  await poll(subject, [], MOMENT_MILLIS);
  await subject.shutdown(listener.fd, "SHUT_RD");
  await waiting;
  const refused = await peer.socket("SOCK_STREAM");
  await peer.expecting("ECONNREFUSED").connect(refused, at);
});

scenario("data that comes before accept waits in the connection", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  const fd = await connectedTo(peer, at);
  await peer.send(fd, "early");
  await peer.shutdown(fd, "SHUT_WR");
  await poll(subject, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
  const accepted = await accept(subject, listener.fd);
  await arrived({ calls: subject, fd: accepted, at }, 5);
  await subject.recv(accepted);
  await subject.recv(accepted);
});

scenario("a client that resets before it is accepted is accepted all the same", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  const fd = await connectedTo(peer, at);
  await poll(subject, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
  await linger(peer, fd, 0);
  await peer.close(fd);
  const accepted = await accept(subject, listener.fd);
  await poll(subject, [[accepted, "POLLIN|POLLRDHUP"]], PATIENCE_MILLIS);
  await subject.expecting("ECONNRESET").recv(accepted);
});

scenario("options of the listener are inherited by what it accepts", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const fd = await subject.socket("SOCK_STREAM");
  const options: [string, string, number][] = [
    ["SOL_SOCKET", "SO_REUSEADDR", 1],
    ["SOL_SOCKET", "SO_KEEPALIVE", 1],
    ["SOL_SOCKET", "SO_OOBINLINE", 1],
    ["SOL_SOCKET", "SO_RCVLOWAT", 3],
    ["SOL_TCP", "TCP_NODELAY", 1],
    ["SOL_TCP", "TCP_KEEPIDLE", 77],
    ["SOL_TCP", "TCP_KEEPINTVL", 7],
    ["SOL_TCP", "TCP_KEEPCNT", 5],
    ["SOL_TCP", "TCP_USER_TIMEOUT", 9000],
    ["SOL_IP", "IP_TOS", 0x10],
    ["SOL_IP", "IP_TTL", 33],
  ];
  for (const [level, name, value] of options) await subject.setsockopt(fd, level, name, value);
  await linger(subject, fd, 5);
  await subject.bind(fd, { address: ANY_ADDRESS, port: 0 });
  await listen(subject, fd);
  const { port } = await subject.getsockname(fd);
  await connectedTo(peer, { address: scene.left.address, port });
  const accepted = await accept(subject, fd);
  for (const [level, name] of options) await subject.getsockopt(accepted, level, name);
  await subject.getsockopt(accepted, "SOL_SOCKET", "SO_LINGER", 8);
  await subject.getsockopt(accepted, "SOL_SOCKET", "SO_ACCEPTCONN");
  await subject.getsockopt(fd, "SOL_SOCKET", "SO_ACCEPTCONN");
});

scenario("epoll tells of clients: level, edge and once", async (scene) => {
  const { subject, peer, listener, at } = await server(scene, "SOCK_STREAM|SOCK_NONBLOCK");
  const epolls: number[] = [];
  for (const events of ["EPOLLIN", "EPOLLIN|EPOLLET", "EPOLLIN|EPOLLONESHOT"]) {
    const epoll = await epollCreate(subject);
    await epollControl(subject, epoll, "ADD", [listener.fd, events]);
    await epollWait(subject, epoll, 0);
    epolls.push(epoll);
  }
  for (let round = 0; round < 2; round++) {
    await connectedTo(peer, at);
    await poll(subject, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
    for (const epoll of epolls) {
      await epollWait(subject, epoll, round === 0 ? PATIENCE_MILLIS : 0);
      await epollWait(subject, epoll, 0);
    }
    await accept(subject, listener.fd);
  }
  for (const epoll of epolls) await epollWait(subject, epoll, 0);
});

scenario("two threads accept on one listener", async (scene) => {
  const { subject, peer, listener, at } = await server(scene);
  const waiting = [1, 2].map(() => {
    return subject.inThread.untold.make("accept", [listener.fd, 0, 0], "either");
  });
  await connectedTo(peer, at);
  await connectedTo(peer, at);
  const replies = await Promise.all(waiting);
  const descriptors = replies.map((reply) => reply.result).sort((a, b) => a - b);
  subject.note(`accepted ${descriptors.every((fd) => fd >= 0)}`);
});

scenario("a listener bound to an address does not answer at another", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(subject, scene.left.address);
  const local = await scene.start("local");
  const elsewhere = { address: "127.0.0.1", port: listener.at.port };
  const refused = await local.socket("SOCK_STREAM");
  await local.expecting("ECONNREFUSED").connect(refused, elsewhere);
  await connectedTo(peer, listener.at);
  await accept(subject, listener.fd);
  const at = subject.libc.put(sockaddrBytes(listener.at));
  await subject.expecting("EINVAL").raw("bind", [listener.fd, at, 16], "bound already");
});
