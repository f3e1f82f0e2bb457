// Receiving: every call that takes datagrams, and its flags.

import { bound, connected, conversation, MOMENT_MILLIS, readable } from "../support/builders.ts";
import { timeval } from "../support/memory.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";

scenario(
  "datagrams keep their order and their boundaries",
  async (scene) => {
    const [a, p] = await conversation(scene);
    for (const text of ["first", "second", "third"]) await p.calls.sendto(p.fd, text, a.at);
    for (let i = 0; i < 3; i++) await a.calls.recv(a.fd);
  },
  { bypass: { received: 3 } },
);

scenario("read and readv take one datagram each", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["for read", "for readv"]) await p.calls.sendto(p.fd, text, a.at);
  await a.calls.read(a.fd);
  await a.calls.readv(a.fd, [4, 1, 100]);
});

scenario("what does not fit is lost", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["0123456789", "next"]) await p.calls.sendto(p.fd, text, a.at);
  await a.calls.recv(a.fd, 4);
  await a.calls.recv(a.fd);
});

scenario("MSG_TRUNC tells the whole length", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "0123456789", a.at);
  await a.calls.recvfrom(a.fd, 4, "MSG_TRUNC");
});

scenario("MSG_PEEK leaves the datagram", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["0123456789", "next"]) await p.calls.sendto(p.fd, text, a.at);
  await a.calls.recvfrom(a.fd, 100, "MSG_PEEK");
  await a.calls.recvfrom(a.fd, 3, "MSG_PEEK");
  await a.calls.recvfrom(a.fd, 0, "MSG_PEEK|MSG_TRUNC");
  await a.calls.recvfrom(a.fd, 100);
  await a.calls.recvfrom(a.fd, 100);
});

scenario("MSG_DONTWAIT does not wait", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
  await p.calls.sendto(p.fd, "here", a.at);
  await readable(a);
  await a.calls.recv(a.fd, 100, "MSG_DONTWAIT");
  await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
});

scenario("a non-blocking socket does not wait", async (scene) => {
  const [a] = await conversation(scene, "SOCK_DGRAM|SOCK_NONBLOCK");
  await a.calls.expecting("EAGAIN").recv(a.fd);
  await a.calls.expecting("EAGAIN").recvmsg(a.fd);
  await a.calls.expecting("EAGAIN").read(a.fd);
  await a.calls.expecting("EAGAIN").recvmmsg(a.fd, 2);
  await a.calls.fcntl(a.fd, "F_GETFL");
});

scenario("O_NONBLOCK can be set and cleared later", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.fcntl(a.fd, "F_SETFL", "O_NONBLOCK");
  await a.calls.fcntl(a.fd, "F_GETFL");
  await a.calls.expecting("EAGAIN").recv(a.fd);
  await a.calls.fcntl(a.fd, "F_SETFL", 0);
  const waiting = a.calls.inThread.recv(a.fd);
  await p.calls.sendto(p.fd, "worth the wait", a.at);
  await waiting;
  await a.calls.ioctl(a.fd, "FIONBIO", 1);
  await a.calls.expecting("EAGAIN").recv(a.fd);
});

scenario("a datagram may be empty", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["", "after"]) await p.calls.sendto(p.fd, text, a.at);
  await poll(a.calls, [[a.fd, "POLLIN"]], 1000);
  await a.calls.ioctl(a.fd, "FIONREAD");
  await a.calls.recvfrom(a.fd);
  await a.calls.recvfrom(a.fd);
});

scenario("an empty buffer takes a datagram away", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["lost", "kept"]) await p.calls.sendto(p.fd, text, a.at);
  await a.calls.recv(a.fd, 0);
  await a.calls.recv(a.fd);
});

scenario("read of no bytes takes nothing", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "still there", a.at);
  await readable(a);
  await a.calls.read(a.fd, 0);
  await a.calls.either.recv(a.fd, 100, "MSG_DONTWAIT");
});

scenario("FIONREAD tells the length of the next datagram", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.ioctl(a.fd, "FIONREAD", 77);
  for (const text of ["twelve bytes", "five!"]) await p.calls.sendto(p.fd, text, a.at);
  await readable(a);
  await a.calls.ioctl(a.fd, "FIONREAD");
  await a.calls.recv(a.fd);
  await readable(a);
  await a.calls.ioctl(a.fd, "FIONREAD");
  await a.calls.recv(a.fd);
  await a.calls.ioctl(a.fd, "FIONREAD");
});

scenario("recvmsg scatters a datagram and says when it did not fit", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["0123456789", "0123456789"]) await p.calls.sendto(p.fd, text, a.at);
  await a.calls.recvmsg(a.fd, [3, 4, 100]);
  await a.calls.recvmsg(a.fd, [3, 4]);
});

scenario(
  "recvmsg with MSG_PEEK and MSG_TRUNC tells the length and leaves the datagram",
  async (scene) => {
    const [a, p] = await conversation(scene);
    await p.calls.sendto(p.fd, "0123456789", a.at);
    await a.calls.recvmsg(a.fd, [4], { flags: "MSG_PEEK|MSG_TRUNC" });
    await a.calls.recvmsg(a.fd, [100]);
  },
);

scenario(
  "recvmmsg takes what is there",
  async (scene) => {
    const [a, p] = await conversation(scene);
    for (const text of ["one", "two", "three"]) await p.calls.sendto(p.fd, text, a.at);
    await a.calls.recvmmsg(a.fd, 2);
    await a.calls.recvmmsg(a.fd, 4, { flags: "MSG_WAITFORONE" });
    await a.calls.expecting("EAGAIN").recvmmsg(a.fd, 4, { flags: "MSG_DONTWAIT" });
  },
  { bypass: { received: 3 } },
);

scenario("recvmmsg cuts what does not fit", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["0123456789", "abc"]) await p.calls.sendto(p.fd, text, a.at);
  await a.calls.recvmmsg(a.fd, 2, { size: 5 });
});

scenario("recvmmsg gives what it has when its time is up", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "one", a.at);
  const limited = a.calls.inThread.recvmmsg(a.fd, 3, { limitMillis: MOMENT_MILLIS });
  // The limit is looked at only when a datagram arrives (recvmmsg(2), BUGS).
  await poll(a.calls, [], 2 * MOMENT_MILLIS);
  await p.calls.sendto(p.fd, "two", a.at);
  await limited;
});

scenario("a receive timeout ends the waiting", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_RCVTIMEO", timeval(MOMENT_MILLIS));
  await a.calls.getsockopt(a.fd, "SOL_SOCKET", "SO_RCVTIMEO", 16);
  await a.calls.expecting("EAGAIN").recv(a.fd);
  await a.calls.expecting("EAGAIN").recvmsg(a.fd);
  await p.calls.sendto(p.fd, "in time", a.at);
  await a.calls.recv(a.fd);
  await a.calls.expecting("EAGAIN").read(a.fd);
});

scenario(
  "a blocked receiver wakes when a datagram arrives",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const waiting = a.calls.inThread.recvfrom(a.fd);
    await p.calls.sendto(p.fd, "wake up", a.at);
    await waiting;
    const again = a.calls.inThread.recvmsg(a.fd);
    await p.calls.sendto(p.fd, "once more", a.at);
    await again;
  },
  { bypass: { received: 2 } },
);

scenario("two threads that wait on one socket get one datagram each", async (scene) => {
  const [a, p] = await conversation(scene);
  const both = [a.calls.inThread.recv(a.fd), a.calls.inThread.recv(a.fd)];
  for (const text of ["same", "same"]) await p.calls.sendto(p.fd, text, a.at);
  await Promise.all(both);
  await a.calls.expecting("EAGAIN").recv(a.fd, 10, "MSG_DONTWAIT");
});

scenario("MSG_WAITALL changes nothing for datagrams", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "short", a.at);
  await a.calls.recv(a.fd, 100, "MSG_WAITALL");
});

scenario("urgent data and an empty error queue are refused", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  await calls.either.recv(fd, 100, "MSG_OOB|MSG_DONTWAIT");
  await calls.expecting("EAGAIN").recv(fd, 100, "MSG_ERRQUEUE");
});

scenario("shutdown of a socket without a peer is refused", async (scene) => {
  const [a] = await conversation(scene);
  await a.calls.expecting("ENOTCONN").shutdown(a.fd, "SHUT_RD");
});

scenario("shutdown for reading gives end of file", async (scene) => {
  const [a, p] = await connected(scene);
  await p.calls.send(p.fd, "before");
  await readable(a);
  await a.calls.shutdown(a.fd, "SHUT_RD");
  await a.calls.recv(a.fd);
  await a.calls.recv(a.fd);
  await poll(a.calls, [[a.fd, "POLLIN|POLLOUT"]], 0);
});

scenario("shutdown for reading wakes a blocked receiver", async (scene) => {
  const [a] = await connected(scene);
  const waiting = a.calls.inThread.recv(a.fd);
  await poll(a.calls, [], MOMENT_MILLIS);
  await a.calls.shutdown(a.fd, "SHUT_RDWR");
  await waiting;
});
