// What the network reports and what callers do wrong.

import {
  ANY_ADDRESS,
  bound,
  connected,
  conversation,
  MOMENT_MILLIS,
  PATIENCE_MILLIS,
  unusedPort,
} from "../support/builders.ts";
import { int32, sockaddrBytes, words } from "../support/memory.ts";
import { epollControl, epollCreate, poll, select } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";

/** An address that is certainly not mapped. */
const BAD_POINTER = 8;
const BAD_DESCRIPTOR = 999;

/** The subject's socket, connected to a port of the right host at which nobody listens. */
async function connectedToNobody(scene: Scene) {
  const [a] = await conversation(scene);
  const peer = await scene.start("peer", { host: "right" });
  await a.calls.connect(a.fd, await unusedPort(peer, scene.right.address));
  return a;
}

scenario("a refused datagram is reported by the next receive", async (scene) => {
  const a = await connectedToNobody(scene);
  await a.calls.send(a.fd, "anybody there?");
  await a.calls.expecting("ECONNREFUSED").recv(a.fd);
  await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
});

scenario("a refused datagram is reported by the next send", async (scene) => {
  const a = await connectedToNobody(scene);
  await a.calls.send(a.fd, "anybody there?");
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await a.calls.expecting("ECONNREFUSED").send(a.fd, "not sent");
  await a.calls.send(a.fd, "sent and refused again");
  await a.calls.expecting("ECONNREFUSED").recv(a.fd);
});

scenario(
  "a refused datagram wakes poll with POLLERR and SO_ERROR tells and clears it",
  async (scene) => {
    const a = await connectedToNobody(scene);
    await poll(a.calls, [[a.fd, "POLLIN|POLLOUT"]], 0);
    await a.calls.send(a.fd, "anybody there?");
    await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
    await a.calls.getsockopt(a.fd, "SOL_SOCKET", "SO_ERROR");
    await a.calls.getsockopt(a.fd, "SOL_SOCKET", "SO_ERROR");
    await poll(a.calls, [[a.fd, "POLLIN|POLLOUT"]], 0);
  },
);

scenario("a refused datagram makes a socket readable and writable for select", async (scene) => {
  const a = await connectedToNobody(scene);
  await a.calls.send(a.fd, "anybody there?");
  await select(a.calls, { read: [a.fd] }, PATIENCE_MILLIS);
  await a.calls.expecting("ECONNREFUSED").recv(a.fd);
});

scenario("a blocked receiver learns that its datagram was refused", async (scene) => {
  const a = await connectedToNobody(scene);
  const waiting = a.calls.inThread.expecting("ECONNREFUSED").recv(a.fd);
  await poll(a.calls, [], MOMENT_MILLIS);
  await a.calls.send(a.fd, "anybody there?");
  await waiting;
});

scenario("a socket that is not connected does not hear of refused datagrams", async (scene) => {
  const [a] = await conversation(scene);
  const peer = await scene.start("peer", { host: "right" });
  const nobody = await unusedPort(peer, scene.right.address);
  await a.calls.sendto(a.fd, "anybody there?", nobody);
  await poll(a.calls, [[a.fd, "POLLIN"]], MOMENT_MILLIS);
  await a.calls.getsockopt(a.fd, "SOL_SOCKET", "SO_ERROR");
});

scenario("IP_RECVERR queues the error even for a socket that is not connected", async (scene) => {
  const [a] = await conversation(scene);
  const peer = await scene.start("peer", { host: "right" });
  const nobody = await unusedPort(peer, scene.right.address);
  await a.calls.setsockopt(a.fd, "SOL_IP", "IP_RECVERR", 1);
  await a.calls.sendto(a.fd, "anybody there?", nobody);
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await a.calls.recvmsg(a.fd, [100], { flags: "MSG_ERRQUEUE", controlBytes: 256 });
  await a.calls.either.recv(a.fd, 100, "MSG_DONTWAIT");
});

scenario(
  "a datagram that is refused after others arrived is reported before them",
  async (scene) => {
    const [a, p] = await connected(scene);
    await p.calls.send(p.fd, "before");
    await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
    await p.calls.close(p.fd);
    await a.calls.send(a.fd, "anybody there?");
    await poll(a.calls, [[a.fd, "POLLERR"]], PATIENCE_MILLIS);
    await a.calls.expecting("ECONNREFUSED").recv(a.fd, 100);
    await a.calls.recv(a.fd, 100);
  },
);

scenario("the kernel answers for an accelerated host's unused ports", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.close(a.fd);
  await p.calls.connect(p.fd, a.at);
  await p.calls.send(p.fd, "anybody there?");
  await p.calls.expecting("ECONNREFUSED").recv(p.fd);
});

scenario("a closed descriptor gives EBADF everywhere", async (scene) => {
  const [a] = await conversation(scene);
  const { calls, fd, at } = a;
  await calls.close(fd);
  for (const gone of [fd, BAD_DESCRIPTOR, -1]) {
    const bad = calls.expecting("EBADF");
    await bad.close(gone);
    await bad.recv(gone);
    await bad.recvfrom(gone);
    await bad.recvmsg(gone);
    await bad.read(gone);
    await bad.send(gone, "x");
    await bad.sendto(gone, "x", at);
    await bad.sendmsg(gone, { data: ["x"], to: at });
    await bad.write(gone, "x");
    await bad.bind(gone, at);
    await bad.connect(gone, at);
    await bad.getsockname(gone);
    await bad.getsockopt(gone, "SOL_SOCKET", "SO_ERROR");
    await bad.setsockopt(gone, "SOL_SOCKET", "SO_BROADCAST", 1);
    await bad.shutdown(gone, "SHUT_RD");
    await bad.fcntl(gone, "F_GETFL");
    await bad.ioctl(gone, "FIONREAD");
    await bad.dup(gone);
    await poll(calls, [[gone, "POLLIN"]], 0);
  }
  await calls.expecting("EBADF").raw("select", [4, calls.libc.put(words(8)), 0, 0, 0], "read [3]");
});

scenario("pointers to nowhere give EFAULT when sending", async (scene) => {
  const [a, p] = await connected(scene);
  const { calls, fd } = a;
  const at = calls.libc.put(sockaddrBytes(p.at));
  const bad = calls.expecting("EFAULT");
  await bad.raw("sendto", [fd, BAD_POINTER, 10, 0, at, 16], "bad data");
  await bad.raw("sendto", [fd, at, 4, 0, BAD_POINTER, 16], "bad address");
  await bad.raw("send", [fd, BAD_POINTER, 10, 0], "bad data");
  await bad.raw("write", [fd, BAD_POINTER, 10], "bad data");
  await bad.raw("sendmsg", [fd, BAD_POINTER, 0], "bad header");
  const header = calls.libc.put(words(0, 0, BAD_POINTER, 1, 0, 0, 0));
  await bad.raw("sendmsg", [fd, header, 0], "bad vector");
  const vector = calls.libc.put(words(BAD_POINTER, 4));
  await bad.raw("writev", [fd, vector, 1], "bad data in the vector");
  await bad.raw("connect", [fd, BAD_POINTER, 16], "bad address");
  await bad.raw("setsockopt", [fd, 1, 6, BAD_POINTER, 4], "bad value");
  await bad.raw("getsockname", [fd, BAD_POINTER, calls.libc.put(int32(16))], "bad address");
  await bad.raw("getsockname", [fd, at, BAD_POINTER], "bad length");
  await calls.send(fd, "still works");
  await p.calls.recv(p.fd);
});

scenario(
  "pointers to nowhere give EFAULT when receiving, and the datagram is gone",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const { calls, fd } = a;
    const header = calls.libc.put(words(0, 0, BAD_POINTER, 1, 0, 0, 0));
    const vector = calls.libc.put(words(BAD_POINTER, 100));
    const attempts: [string, (number | bigint)[]][] = [
      ["recv", [fd, BAD_POINTER, 100, 0]],
      ["read", [fd, BAD_POINTER, 100]],
      ["recvmsg", [fd, header, 0]],
      ["readv", [fd, vector, 1]],
    ];
    for (const [name, args] of attempts) {
      await p.calls.sendto(p.fd, `for ${name}`, a.at);
      await poll(calls, [[fd, "POLLIN"]], PATIENCE_MILLIS);
      await calls.expecting("EFAULT").raw(name, args, "bad buffer");
      await calls.either.recv(fd, 100, "MSG_DONTWAIT");
    }
  },
);

scenario("pointers to nowhere give EFAULT when waiting", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), ANY_ADDRESS);
  await calls.expecting("EFAULT").raw("poll", [BAD_POINTER, 1, 0], "bad array");
  await calls.expecting("EFAULT").raw("select", [fd + 1, BAD_POINTER, 0, 0, 0], "bad set");
  const epoll = await epollCreate(calls);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLOUT"]);
  await calls.expecting("EFAULT").raw("epoll_ctl", [epoll, 3, fd, BAD_POINTER], "bad event");
  await calls.expecting("EFAULT").raw("epoll_wait", [epoll, BAD_POINTER, 4, 0], "bad events");
});

scenario("lengths that make no sense give EINVAL", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls, fd } = a;
  const at = calls.libc.put(sockaddrBytes(p.at));
  await calls.expecting("EINVAL").raw("connect", [fd, at, 3], "short address");
  await calls.expecting("EINVAL").raw("sendto", [fd, at, 4, 0, at, 3], "short address");
  await calls.expecting("EINVAL").raw("sendto", [fd, at, 4, 0, at, 1000], "long address");
  await calls.expecting("EINVAL").raw("setsockopt", [fd, 1, 6, at, 1], "SO_BROADCAST, 1 byte");
  const negative = calls.libc.put(int32(-1));
  await calls.expecting("EINVAL").raw("getsockname", [fd, at, negative], "negative length");
  const vector = calls.libc.put(words(at, 4));
  await calls.expecting("EINVAL").raw("writev", [fd, vector, -1], "-1 parts");
  await calls.expecting("EINVAL").raw("writev", [fd, vector, 1025], "1025 parts");
  const many = calls.libc.put(words(0, 0, vector, 1025, 0, 0, 0));
  await calls.expecting("EMSGSIZE").raw("sendmsg", [fd, many, 0], "1025 parts");
  await calls.expecting("EMSGSIZE").raw("recvmsg", [fd, many, 0], "1025 parts");
});

scenario("unknown families, options and requests are refused as ever", async (scene) => {
  const [a] = await conversation(scene);
  const { calls, fd } = a;
  const unixAddress = Buffer.alloc(16);
  unixAddress.writeUInt16LE(1, 0);
  const at = calls.libc.put(unixAddress);
  await calls.expecting("EAFNOSUPPORT").raw("connect", [fd, at, 16], "AF_UNIX address");
  await calls.expecting("EAFNOSUPPORT").raw("sendto", [fd, at, 4, 0, at, 16], "AF_UNIX address");
  await calls.expecting("ENOPROTOOPT").setsockopt(fd, "SOL_SOCKET", "9999", 1);
  await calls.expecting("ENOPROTOOPT").setsockopt(fd, "SOL_IP", "9999", 1);
  await calls.expecting("ENOPROTOOPT").getsockopt(fd, "SOL_SOCKET", "9999");
  await calls.expecting("ENOTTY").ioctl(fd, "12345");
  await calls.expecting("EINVAL").fcntl(fd, "7777");
  await calls.expecting("EINVAL").shutdown(fd, "9");
  await calls.expecting("EINVAL").socket("99");
  await calls.expecting("EPROTONOSUPPORT").socket("SOCK_DGRAM", "AF_INET", 6);
});

scenario("a datagram socket neither listens nor accepts", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  await calls.expecting("EOPNOTSUPP").raw("listen", [fd, 5], `${fd}, 5`);
  await calls.expecting("EOPNOTSUPP").raw("accept", [fd, 0, 0], `${fd}`);
  await calls.expecting("EOPNOTSUPP").raw("accept4", [fd, 0, 0, 0], `${fd}`);
  await calls.expecting("ESPIPE").raw("lseek", [fd, 0, 0], `${fd}`);
  await calls.expecting("ESPIPE").raw("pread", [fd, 0, 0, 0], `${fd}`);
});
