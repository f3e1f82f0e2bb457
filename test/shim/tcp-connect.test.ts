// connect(2) of a stream socket: every way it can come out, and who connects.

import { MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import type { Calls } from "../support/calls.ts";
import { sockaddrBytes } from "../support/memory.ts";
import { epollControl, epollCreate, epollWait, poll, select } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import { alarmEvery, handle, stopAlarm } from "../support/signals.ts";
import { accept, connects, listen, listening, silentPort, timeLimit } from "../support/tcp.ts";

/** An address of the network at which nobody is. */
const NOBODY = "10.77.0.200";
/** RFC 5737: no route in the laboratory. */
const NOWHERE = "192.0.2.1";
const BAD_POINTER = 8;

const NON_BLOCKING = "SOCK_STREAM|SOCK_NONBLOCK";

async function listenerAndSocket(scene: Scene, type = "SOCK_STREAM") {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(peer, scene.right.address);
  return { subject, peer, listener, fd: await subject.socket(type) };
}

/** Accepts; from which port is not told: Linux takes a new one when a socket connects again. */
async function acceptQuietly(calls: Calls, fd: number): Promise<number> {
  return (await calls.make("accept", [fd, 0, 0], `${fd}`)).result;
}

/** A listener that takes no more connections: its queue is full. */
async function fullListener(scene: Scene) {
  const peer = await scene.peer();
  const listener = await listening(peer, scene.right.address, { backlog: 0 });
  for (let i = 0; i < 2; i++) {
    await peer.untold.connect(await peer.socket(NON_BLOCKING), listener.at);
  }
  return listener;
}

scenario(
  "a blocking connect returns when the peer has answered, and both ends have names",
  async (scene) => {
    const { subject, peer, listener } = await connects(scene);
    await subject.calls.getsockname(subject.fd);
    await subject.calls.getpeername(subject.fd);
    await subject.calls.send(subject.fd, "hello");
    await peer.calls.recv(peer.fd);
    await peer.calls.send(peer.fd, "and back");
    await subject.calls.recv(subject.fd);
    await listener.calls.getpeername(peer.fd);
  },
  { bypass: { connections: 1, segments: 6 } },
);

scenario(
  "a non-blocking connect is in progress, then writable, then connected",
  async (scene) => {
    const { subject, listener, fd } = await listenerAndSocket(scene, NON_BLOCKING);
    await subject.expecting("EINPROGRESS").connect(fd, listener.at);
    await poll(subject, [[fd, "POLLOUT"]], PATIENCE_MILLIS);
    await subject.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
    await subject.connect(fd, listener.at);
    await subject.expecting("EISCONN").connect(fd, listener.at);
    await subject.getpeername(fd);
  },
  { bypass: { connections: 1, segments: 3 } },
);

scenario(
  "a connect to a host that does not answer is in progress and then already",
  async (scene) => {
    const subject = await scene.subject();
    const listener = await fullListener(scene);
    const fd = await subject.socket(NON_BLOCKING);
    await subject.expecting("EINPROGRESS").connect(fd, listener.at);
    await subject.expecting("EALREADY").connect(fd, listener.at);
    await poll(subject, [[fd, "POLLIN|POLLOUT"]], MOMENT_MILLIS);
    await subject.expecting("ENOTCONN").getpeername(fd);
    await subject.expecting("EAGAIN").send(fd, "too early");
    await subject.expecting("EAGAIN").recv(fd);
    await subject.ioctl(fd, "SIOCINQ");
    await subject.ioctl(fd, "SIOCOUTQ");
    await subject.close(fd);
  },
);

scenario("a refused connect fails, and the socket can try again", async (scene) => {
  const { subject, peer, listener, fd } = await listenerAndSocket(scene);
  const silent = await silentPort(peer, scene.right.address);
  await subject.expecting("ECONNREFUSED").connect(fd, silent);
  await subject.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
  await subject.getsockname(fd);
  await subject.expecting("ENOTCONN").getpeername(fd);
  await poll(subject, [[fd, "POLLIN|POLLOUT"]], 0);
  await subject.connect(fd, listener.at);
  await subject.send(fd, "the second time");
  await peer.recv(await acceptQuietly(peer, listener.fd));
});

scenario("a refused non-blocking connect is told by SO_ERROR, once", async (scene) => {
  const { subject, peer, listener, fd } = await listenerAndSocket(scene, NON_BLOCKING);
  const silent = await silentPort(peer, scene.right.address);
  await subject.expecting("EINPROGRESS").connect(fd, silent);
  await poll(subject, [[fd, "POLLIN|POLLOUT"]], PATIENCE_MILLIS);
  await subject.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
  await subject.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
  await poll(subject, [[fd, "POLLIN|POLLOUT"]], 0);
  await subject.expecting("ECONNABORTED").connect(fd, silent);
  await subject.expecting("EINPROGRESS").connect(fd, listener.at);
  await poll(subject, [[fd, "POLLOUT"]], PATIENCE_MILLIS);
  await subject.connect(fd, listener.at);
});

scenario(
  "a refused non-blocking connect is told by the next connect, send or receive",
  async (scene) => {
    const { subject, peer } = await listenerAndSocket(scene);
    const silent = await silentPort(peer, scene.right.address);
    for (const call of ["connect", "send", "recv"] as const) {
      const fd = await subject.socket(NON_BLOCKING);
      await subject.expecting("EINPROGRESS").connect(fd, silent);
      await poll(subject, [[fd, "POLLOUT"]], PATIENCE_MILLIS);
      const refused = subject.expecting("ECONNREFUSED");
      if (call === "connect") await refused.connect(fd, silent);
      if (call === "send") await refused.send(fd, "x");
      if (call === "recv") await refused.recv(fd);
      await subject.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
      await subject.close(fd);
    }
  },
);

scenario("select and epoll tell of a refused connect", async (scene) => {
  const { subject, peer } = await listenerAndSocket(scene);
  const silent = await silentPort(peer, scene.right.address);
  const fd = await subject.socket(NON_BLOCKING);
  const epoll = await epollCreate(subject);
  await epollControl(subject, epoll, "ADD", [fd, "EPOLLIN|EPOLLOUT|EPOLLRDHUP"]);
  await epollWait(subject, epoll, 0);
  await subject.expecting("EINPROGRESS").connect(fd, silent);
  await poll(subject, [[fd, "POLLERR"]], PATIENCE_MILLIS);
  await epollWait(subject, epoll, PATIENCE_MILLIS);
  await select(subject, { read: [fd], write: [fd], except: [fd] }, PATIENCE_MILLIS);
});

scenario("a connect to an address at which nobody is fails with EHOSTUNREACH", async (scene) => {
  const subject = await scene.subject();
  const fd = await subject.socket("SOCK_STREAM");
  await subject.expecting("EHOSTUNREACH").connect(fd, { address: NOBODY, port: 9 });
  await subject.expecting("EHOSTUNREACH").connect(fd, { address: NOBODY, port: 9 });
});

scenario("a connect without a route fails with ENETUNREACH", async (scene) => {
  const subject = await scene.subject();
  const fd = await subject.socket("SOCK_STREAM");
  await subject.expecting("ENETUNREACH").connect(fd, { address: NOWHERE, port: 9 });
});

scenario("SO_SNDTIMEO ends a blocking connect with EINPROGRESS, then EALREADY", async (scene) => {
  const subject = await scene.subject();
  const listener = await fullListener(scene);
  const fd = await subject.socket("SOCK_STREAM");
  await timeLimit(subject, fd, "SO_SNDTIMEO", MOMENT_MILLIS);
  await subject.expecting("EINPROGRESS").connect(fd, listener.at);
  await subject.expecting("EALREADY").connect(fd, listener.at);
});

scenario("TCP_SYNCNT and TCP_USER_TIMEOUT end a connect with ETIMEDOUT", async (scene) => {
  const subject = await scene.subject();
  const listener = await fullListener(scene);
  const fd = await subject.socket("SOCK_STREAM");
  await subject.setsockopt(fd, "SOL_TCP", "TCP_USER_TIMEOUT", 400);
  await subject.expecting("ETIMEDOUT").connect(fd, listener.at);
});

scenario("a signal interrupts connect, which goes on by itself", async (scene) => {
  const { subject, listener, fd } = { ...(await listenerAndSocket(scene)) };
  const full = await fullListener(scene);
  await handle(subject, "SIGALRM");
  await alarmEvery(subject, 30);
  await subject.expecting("EINTR").connect(fd, full.at);
  await stopAlarm(subject);
  await subject.fcntl(fd, "F_SETFL", "O_NONBLOCK");
  await subject.expecting("EALREADY").connect(fd, full.at);
  await subject.close(fd);
  const other = await subject.socket("SOCK_STREAM");
  await subject.connect(other, listener.at);
});

scenario("connect checks its arguments", async (scene) => {
  const { subject, listener, fd } = await listenerAndSocket(scene);
  const at = subject.libc.put(sockaddrBytes(listener.at));
  const other = sockaddrBytes(listener.at);
  other.writeUInt16LE(10, 0);
  const inet6 = subject.libc.put(Buffer.concat([other, Buffer.alloc(12)]));
  await subject.expecting("EFAULT").raw("connect", [fd, BAD_POINTER, 16], "bad address");
  await subject.expecting("EINVAL").raw("connect", [fd, at, 1], "one byte");
  await subject.expecting("EINVAL").raw("connect", [fd, at, 8], "eight bytes");
  await subject.expecting("EAFNOSUPPORT").raw("connect", [fd, inet6, 28], "IPv6");
  await subject.connect(fd, listener.at);
  await subject.expecting("EFAULT").raw("connect", [fd, BAD_POINTER, 16], "bad address");
  await subject.expecting("EISCONN").raw("connect", [fd, inet6, 28], "IPv6");
});

scenario("AF_UNSPEC resets a connection, and the socket connects anew", async (scene) => {
  const { subject, peer, listener } = await connects(scene);
  await subject.calls.disconnect(subject.fd);
  await peer.calls.expecting("ECONNRESET").recv(peer.fd);
  await subject.calls.expecting("ENOTCONN").getpeername(subject.fd);
  await subject.calls.connect(subject.fd, listener.at);
  await subject.calls.send(subject.fd, "again");
  await peer.calls.recv(await acceptQuietly(peer.calls, listener.fd));
});

scenario(
  "a socket that is bound connects from its address and port",
  async (scene) => {
    const { subject, peer, listener, fd } = await listenerAndSocket(scene);
    await subject.bind(fd, { address: scene.left.address, port: 0 });
    await subject.getsockname(fd);
    await subject.connect(fd, listener.at);
    await subject.getsockname(fd);
    await accept(peer, listener.fd);
    const wild = await subject.socket("SOCK_STREAM");
    await subject.bind(wild, { address: "0.0.0.0", port: 0 });
    await subject.connect(wild, listener.at);
    await subject.getsockname(wild);
    await accept(peer, listener.fd);
  },
  { bypass: { connections: 2, segments: 4 } },
);

scenario("a program connects to itself, on this host and by loopback", async (scene) => {
  const subject = await scene.subject();
  for (const address of ["127.0.0.1", scene.left.address]) {
    const listener = await listening(subject, address);
    const fd = await subject.socket("SOCK_STREAM");
    await subject.connect(fd, listener.at);
    const accepted = await accept(subject, listener.fd);
    await subject.send(fd, "here");
    await subject.recv(accepted);
    await subject.getpeername(fd);
  }
});

scenario(
  "a socket that listens does not connect, and one that is connected does not listen",
  async (scene) => {
    const { subject } = await connects(scene);
    const listener = await listening(subject.calls, scene.left.address);
    const silent = { address: scene.right.address, port: 9 };
    await subject.calls.expecting("EISCONN").connect(listener.fd, silent);
    await subject.calls.expecting("EINVAL").make("listen", [subject.fd, 1], "connected");
    await listen(subject.calls, listener.fd, 3);
  },
);

scenario("MSG_FASTOPEN connects and sends", async (scene) => {
  const { subject, peer, listener, fd } = await listenerAndSocket(scene);
  await subject.sendto(fd, "fast", listener.at, "MSG_FASTOPEN");
  await peer.recv(await accept(peer, listener.fd));
  await subject.expecting("EISCONN").sendto(fd, "twice", listener.at, "MSG_FASTOPEN");
});

scenario("two connections from one program are told apart", async (scene) => {
  const { subject, peer, listener, fd } = await listenerAndSocket(scene);
  const other = await subject.socket("SOCK_STREAM");
  await subject.connect(fd, listener.at);
  await subject.connect(other, listener.at);
  const [first, second] = [await accept(peer, listener.fd), await accept(peer, listener.fd)];
  await peer.send(first, "for the first");
  await peer.send(second, "for the second");
  await subject.recv(other);
  await subject.recv(fd);
});
