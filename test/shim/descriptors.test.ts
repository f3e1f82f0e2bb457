// Duplicates, flags and closing: one socket, many descriptors.

import { bound, conversation, PATIENCE_MILLIS, readable } from "../support/builders.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";

const HIGH_DESCRIPTOR = 200;

scenario(
  "duplicates share one receive queue",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const copies = [
      a.fd,
      await a.calls.dup(a.fd),
      await a.calls.dup2(a.fd, HIGH_DESCRIPTOR),
      (await a.calls.dup3(a.fd, HIGH_DESCRIPTOR + 1, "O_CLOEXEC")).result,
      (await a.calls.fcntl(a.fd, "F_DUPFD", HIGH_DESCRIPTOR)).result,
      (await a.calls.fcntl(a.fd, "F_DUPFD_CLOEXEC", HIGH_DESCRIPTOR)).result,
    ];
    for (const fd of copies) await p.calls.sendto(p.fd, `for ${fd}`, a.at);
    for (const fd of copies.toReversed()) await a.calls.recv(fd);
    for (const fd of copies) {
      await a.calls.expecting("EAGAIN").recv(fd, 100, "MSG_DONTWAIT");
      await a.calls.getsockname(fd);
      await a.calls.fcntl(fd, "F_GETFD");
    }
  },
  { bypass: { received: 6 } },
);

scenario(
  "a socket lives until its last duplicate is closed",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const copy = await a.calls.dup(a.fd);
    await a.calls.close(a.fd);
    await a.calls.expecting("EBADF").recv(a.fd);
    await p.calls.connect(p.fd, a.at);
    await p.calls.send(p.fd, "still here");
    await a.calls.recvfrom(copy);
    await a.calls.sendto(copy, "indeed", p.at);
    await p.calls.recv(p.fd);
    await a.calls.close(copy);
    await p.calls.send(p.fd, "gone");
    await p.calls.expecting("ECONNREFUSED").recv(p.fd);
  },
  { bypass: { received: 1 } },
);

scenario("status flags are shared by duplicates, descriptor flags are not", async (scene) => {
  const [a] = await conversation(scene);
  const copy = await a.calls.dup(a.fd);
  await a.calls.fcntl(a.fd, "F_SETFL", "O_NONBLOCK");
  await a.calls.fcntl(copy, "F_GETFL");
  await a.calls.expecting("EAGAIN").recv(copy);
  await a.calls.fcntl(a.fd, "F_SETFD", "FD_CLOEXEC");
  await a.calls.fcntl(copy, "F_GETFD");
  await a.calls.ioctl(copy, "FIOCLEX");
  await a.calls.fcntl(copy, "F_GETFD");
  await a.calls.ioctl(copy, "FIONCLEX");
  await a.calls.fcntl(copy, "F_GETFD");
});

scenario("dup2 over a socket closes it", async (scene) => {
  const [a, p] = await conversation(scene);
  const [reader, writer] = await a.calls.pipe();
  await a.calls.dup2(reader, a.fd);
  await a.calls.expecting("ENOTSOCK").recv(a.fd);
  await a.calls.write(writer, "through the pipe");
  await a.calls.read(a.fd);
  await p.calls.connect(p.fd, a.at);
  await p.calls.send(p.fd, "gone");
  await p.calls.expecting("ECONNREFUSED").recv(p.fd);
});

scenario("dup2 of a socket over a pipe makes the pipe's number a socket", async (scene) => {
  const [a, p] = await conversation(scene);
  const [reader, writer] = await a.calls.pipe();
  await a.calls.dup2(a.fd, reader);
  await a.calls.close(writer);
  await p.calls.sendto(p.fd, "where the pipe was", a.at);
  await a.calls.read(reader);
  await a.calls.close(a.fd);
  await p.calls.sendto(p.fd, "still", a.at);
  await a.calls.recv(reader);
});

scenario("dup2 of a socket onto another replaces it", async (scene) => {
  const [a, p] = await conversation(scene);
  const b = await bound(a.calls, scene.left.address);
  await a.calls.dup2(a.fd, b.fd);
  await a.calls.getsockname(b.fd);
  await p.calls.sendto(p.fd, "for both numbers", a.at);
  await a.calls.recv(b.fd);
  await p.calls.connect(p.fd, b.at);
  await p.calls.send(p.fd, "gone");
  await p.calls.expecting("ECONNREFUSED").recv(p.fd);
});

scenario("dup2 onto itself changes nothing and dup3 refuses it", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.dup2(a.fd, a.fd);
  await a.calls.expecting("EINVAL").dup3(a.fd, a.fd, 0);
  await a.calls.expecting("EBADF").dup2(99, a.fd);
  await p.calls.sendto(p.fd, "still here", a.at);
  await a.calls.recv(a.fd);
});

scenario("close_range closes sockets", async (scene) => {
  const [a, p] = await conversation(scene);
  const b = await bound(a.calls, scene.left.address);
  const kept = await bound(a.calls, scene.left.address);
  await a.calls.close_range(a.fd, b.fd);
  await a.calls.expecting("EBADF").recv(a.fd);
  await a.calls.expecting("EBADF").recv(b.fd);
  await p.calls.sendto(p.fd, "kept", kept.at);
  await a.calls.recv(kept.fd);
  await a.calls.expecting("EINVAL").close_range(9, 3);
  await a.calls.close_range(kept.fd, -1);
  await a.calls.expecting("EBADF").recv(kept.fd);
});

scenario("closefrom closes sockets", async (scene) => {
  const [a] = await conversation(scene);
  await a.calls.raw("closefrom", [a.fd], `${a.fd}`);
  await a.calls.expecting("EBADF").recv(a.fd);
  await bound(a.calls, scene.left.address);
});

scenario("close_range can mark instead of close", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.close_range(a.fd, 100, "CLOSE_RANGE_CLOEXEC");
  await a.calls.fcntl(a.fd, "F_GETFD");
  await p.calls.sendto(p.fd, "still here", a.at);
  await a.calls.recv(a.fd);
});

scenario("descriptors are the lowest free numbers, as ever", async (scene) => {
  const subject = await scene.subject();
  const fds = [await subject.socket(), await subject.socket(), await subject.socket()];
  for (const fd of fds) await subject.bind(fd, { address: scene.left.address, port: 0 });
  await subject.close(fds[1] ?? -1);
  await subject.socket();
  await subject.pipe();
});

scenario("a number that was a socket can become a file and a socket again", async (scene) => {
  const [a, p] = await conversation(scene);
  for (let i = 0; i < 3; i++) {
    await a.calls.close(a.fd);
    const [reader, writer] = await a.calls.pipe();
    await a.calls.write(writer, "not a socket");
    await a.calls.read(reader);
    await a.calls.expecting("ENOTSOCK").recv(reader);
    await a.calls.close(reader);
    const again = await bound(a.calls, scene.left.address);
    await p.calls.sendto(p.fd, "a socket", again.at);
    await a.calls.recv(again.fd);
    await a.calls.close(writer);
  }
});

scenario("many sockets are opened and closed", async (scene) => {
  const [a, p] = await conversation(scene);
  for (let i = 0; i < 200; i++) {
    const fd = await a.calls.untold.socket();
    await a.calls.untold.bind(fd, { address: scene.left.address, port: 0 });
    await a.calls.untold.close(fd);
  }
  await a.calls.socket();
  await p.calls.sendto(p.fd, "still here", a.at);
  await a.calls.recv(a.fd);
});

scenario("a hundred sockets are open at once", async (scene) => {
  const [a, p] = await conversation(scene);
  const ends = [];
  for (let i = 0; i < 100; i++) ends.push(await bound(a.calls.untold, scene.left.address));
  for (const end of ends) await p.calls.untold.sendto(p.fd, `for ${end.fd}`, end.at);
  for (const end of ends) await a.calls.recv(end.fd);
});

scenario("a descriptor closed while a thread waits on it stays closed", async (scene) => {
  const [a, p] = await conversation(scene);
  const copy = await a.calls.dup(a.fd);
  const waiting = a.calls.inThread.either.recv(a.fd);
  await poll(a.calls, [], 20);
  await a.calls.close(copy);
  await p.calls.sendto(p.fd, "wakes the thread", a.at);
  await waiting;
});

scenario("descriptors of other kinds are left alone", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls } = a;
  const [left, right] = await calls.socketpair("SOCK_DGRAM");
  await calls.send(left, "unix datagram");
  await calls.recv(right);
  const stream = await calls.socket("SOCK_STREAM");
  await calls.expecting("ENOTCONN").recv(stream, 10, "MSG_DONTWAIT");
  await calls.socket("SOCK_DGRAM", "AF_INET6");
  await p.calls.sendto(p.fd, "between", a.at);
  await poll(
    calls,
    [
      [a.fd, "POLLIN"],
      [left, "POLLIN|POLLOUT"],
    ],
    PATIENCE_MILLIS,
  );
  await readable(a);
  await calls.recv(a.fd);
});
