// The end of connections: shutdown and close in every order, resets, SO_LINGER, SIGPIPE.

import { type Endpoint, MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import { numberOf } from "../support/constants.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { handle } from "../support/signals.ts";
import { acknowledged, arrived, connects, linger, serves } from "../support/tcp.ts";

/** Sends as much of so many zeros as goes without waiting; returns how much that was. */
async function sendMuch({ calls, fd }: Endpoint, bytes: number): Promise<number> {
  const args = [fd, calls.libc.reserve(bytes), bytes, numberOf("MSG_DONTWAIT")];
  return (await calls.untold.raw("send", args, `${bytes} zeros`)).result;
}

const BITS = "POLLIN|POLLOUT|POLLPRI|POLLRDHUP";

scenario(
  "the peer closes first: the rest is read, then the end of the stream",
  async (scene) => {
    const { subject, peer } = await connects(scene);
    const { calls, fd } = subject;
    await peer.calls.send(peer.fd, "farewell");
    await peer.calls.close(peer.fd);
    await poll(calls, [[fd, "POLLRDHUP"]], PATIENCE_MILLIS);
    await poll(calls, [[fd, BITS]], 0);
    await calls.recv(fd);
    await calls.recv(fd);
    await calls.recv(fd, 10, "MSG_DONTWAIT");
    await calls.getpeername(fd);
    await calls.close(fd);
  },
  { bypass: { connections: 1, segments: 8 } },
);

scenario("the subject closes first: the peer reads the rest and the end", async (scene) => {
  const { subject, peer } = await connects(scene);
  await subject.calls.send(subject.fd, "farewell");
  await subject.calls.close(subject.fd);
  await arrived(peer, 8);
  await peer.calls.recv(peer.fd);
  await peer.calls.recv(peer.fd);
  await peer.calls.close(peer.fd);
});

scenario("a half-closed connection goes on in the other direction", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await calls.send(fd, "question");
  await calls.shutdown(fd, "SHUT_WR");
  await arrived(peer, 8);
  await peer.calls.recv(peer.fd);
  await peer.calls.recv(peer.fd);
  await poll(calls, [[fd, BITS]], 0);
  await calls.expecting("EPIPE").send(fd, "more", "MSG_NOSIGNAL");
  await peer.calls.send(peer.fd, "answer");
  await arrived(subject, 6);
  await calls.recv(fd);
  await peer.calls.close(peer.fd);
  await calls.recv(fd);
  await poll(calls, [[fd, BITS]], 0);
  await calls.expecting("ENOTCONN").shutdown(fd, "SHUT_RD");
});

scenario("the peer half-closes, and is still answered", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await peer.calls.shutdown(peer.fd, "SHUT_WR");
  await poll(calls, [[fd, "POLLRDHUP"]], PATIENCE_MILLIS);
  await poll(calls, [[fd, BITS]], 0);
  await calls.recv(fd);
  await calls.send(fd, "late answer");
  await peer.calls.recv(peer.fd);
  await calls.shutdown(fd, "SHUT_WR");
  await peer.calls.recv(peer.fd);
  await poll(calls, [[fd, BITS]], PATIENCE_MILLIS);
});

scenario("shutdown for reading ends reading, not receiving", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await peer.calls.send(peer.fd, "before");
  await arrived(subject, 6);
  await calls.shutdown(fd, "SHUT_RD");
  await poll(calls, [[fd, BITS]], 0);
  await calls.recv(fd);
  await calls.recv(fd);
  await peer.calls.send(peer.fd, "after");
  await acknowledged(peer);
  await calls.recv(fd);
  await calls.recv(fd);
  await calls.send(fd, "writing goes on");
  await peer.calls.recv(peer.fd);
});

scenario("shutdown wakes a blocked receive and a blocked poll", async (scene) => {
  const { subject } = await serves(scene);
  const { calls, fd } = subject;
  const receiving = calls.inThread.recv(fd);
  const polling = poll(calls.inThread, [[fd, "POLLIN|POLLRDHUP"]], PATIENCE_MILLIS);
  await poll(calls, [], MOMENT_MILLIS);
  await calls.shutdown(fd, "SHUT_RDWR");
  await receiving;
  await polling;
});

scenario("shutdown checks its arguments and its socket", async (scene) => {
  const { subject } = await connects(scene);
  const { calls, fd } = subject;
  await calls.expecting("EINVAL").raw("shutdown", [fd, 3], "3");
  await calls.expecting("EINVAL").raw("shutdown", [fd, -1], "-1");
  const other = await calls.socket("SOCK_STREAM");
  await calls.expecting("ENOTCONN").shutdown(other, "SHUT_RDWR");
  await calls.shutdown(fd, "SHUT_RDWR");
  await poll(calls, [[fd, BITS]], PATIENCE_MILLIS);
});

scenario("a reset is an error once, then the end", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await linger(peer.calls, peer.fd, 0);
  await peer.calls.close(peer.fd);
  await poll(calls, [[fd, BITS]], PATIENCE_MILLIS);
  await poll(calls, [[fd, "POLLERR"]], PATIENCE_MILLIS);
  await calls.expecting("ECONNRESET").recv(fd);
  await calls.recv(fd);
  await poll(calls, [[fd, BITS]], 0);
  await calls.expecting("EPIPE").send(fd, "too late", "MSG_NOSIGNAL");
  await calls.expecting("ENOTCONN").getpeername(fd);
  await calls.expecting("ENOTCONN").shutdown(fd, "SHUT_RDWR");
});

scenario("bytes that came before a reset can be read before it is told", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await peer.calls.send(peer.fd, "last words");
  await acknowledged(peer);
  await linger(peer.calls, peer.fd, 0);
  await peer.calls.close(peer.fd);
  await poll(calls, [[fd, "POLLHUP"]], PATIENCE_MILLIS);
  await calls.recv(fd);
  await calls.expecting("ECONNRESET").recv(fd);
});

scenario("a reset is told by SO_ERROR, and by a blocked receive", async (scene) => {
  for (const way of ["SO_ERROR", "recv", "send"] as const) {
    const { subject, peer } = await connects(scene);
    const { calls, fd } = subject;
    await linger(peer.calls, peer.fd, 0);
    const waiting = way === "recv" ? calls.inThread.expecting("ECONNRESET").recv(fd) : null;
    await poll(calls, [], MOMENT_MILLIS);
    await peer.calls.close(peer.fd);
    await waiting;
    await poll(calls, [[fd, "POLLHUP"]], PATIENCE_MILLIS);
    if (way === "SO_ERROR") await calls.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
    if (way === "send") await calls.expecting("ECONNRESET").send(fd, "x");
    await calls.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
    await calls.recv(fd);
  }
});

scenario("a send to who has closed is answered by a reset, then SIGPIPE", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await handle(calls, "SIGPIPE");
  await peer.calls.close(peer.fd);
  await poll(calls, [[fd, "POLLRDHUP"]], PATIENCE_MILLIS);
  await calls.send(fd, "nobody reads this");
  await poll(calls, [[fd, "POLLERR"]], PATIENCE_MILLIS);
  await calls.expecting("EPIPE").send(fd, "first");
  calls.note(`signals ${await calls.libc.signalCount()}`);
  await calls.expecting("EPIPE").send(fd, "second", "MSG_NOSIGNAL");
  calls.note(`signals ${await calls.libc.signalCount()}`);
  await calls.expecting("EPIPE").write(fd, "third");
  calls.note(`signals ${await calls.libc.signalCount()}`);
  await calls.recv(fd);
});

scenario("SIGPIPE comes with every call that sends after shutdown", async (scene) => {
  const { subject } = await connects(scene);
  const { calls, fd } = subject;
  await handle(calls, "SIGPIPE");
  await calls.shutdown(fd, "SHUT_WR");
  const bad = calls.expecting("EPIPE");
  await bad.send(fd, "x");
  await bad.write(fd, "x");
  await bad.writev(fd, ["x"]);
  await bad.sendmsg(fd, { data: ["x"] });
  await bad.sendmsg(fd, { data: ["x"] }, "MSG_NOSIGNAL");
  calls.note(`signals ${await calls.libc.signalCount()}`);
  const other = await calls.socket("SOCK_STREAM");
  await bad.send(other, "never connected");
  calls.note(`signals ${await calls.libc.signalCount()}`);
  await calls.expecting("ENOTCONN").recv(other);
});

scenario("a close with unread bytes resets", async (scene) => {
  const { subject, peer } = await connects(scene);
  await peer.calls.send(peer.fd, "never read");
  await arrived(subject, 10);
  await subject.calls.close(subject.fd);
  await poll(peer.calls, [[peer.fd, "POLLERR"]], PATIENCE_MILLIS);
  await peer.calls.expecting("ECONNRESET").recv(peer.fd);
});

scenario("SO_LINGER with no time resets", async (scene) => {
  const { subject, peer } = await connects(scene);
  await linger(subject.calls, subject.fd, 0);
  await subject.calls.send(subject.fd, "perhaps lost");
  await acknowledged(subject);
  await subject.calls.close(subject.fd);
  await poll(peer.calls, [[peer.fd, "POLLERR"]], PATIENCE_MILLIS);
  await peer.calls.recv(peer.fd);
  await peer.calls.expecting("ECONNRESET").recv(peer.fd);
});

scenario("SO_LINGER with a time waits until everything has arrived", async (scene) => {
  const { subject, peer } = await connects(scene);
  await linger(subject.calls, subject.fd, 10);
  await subject.calls.getsockopt(subject.fd, "SOL_SOCKET", "SO_LINGER", 8);
  await subject.calls.send(subject.fd, "delivered");
  await subject.calls.close(subject.fd);
  await peer.calls.recv(peer.fd, 100, "MSG_WAITALL");
});

scenario("SO_LINGER gives up after its time, and the bytes arrive all the same", async (scene) => {
  const { subject, peer } = await connects(scene);
  await peer.calls.setsockopt(peer.fd, "SOL_SOCKET", "SO_RCVBUF", 4096);
  await linger(subject.calls, subject.fd, 1);
  const result = await sendMuch(subject, 1_000_000);
  await subject.calls.close(subject.fd);
  let total = 0;
  for (let got = 1; got > 0; total += got) {
    got = (await peer.calls.untold.recv(peer.fd, 60_000)).result;
  }
  peer.calls.note(`everything came: ${total === result}`);
});

scenario("what was sent before close is delivered after it", async (scene) => {
  const { subject, peer } = await connects(scene);
  const result = await sendMuch(subject, 200_000);
  await subject.calls.close(subject.fd);
  let total = 0;
  for (let got = 1; got > 0; total += got) {
    got = (await peer.calls.untold.recv(peer.fd, 60_000)).result;
  }
  peer.calls.note(`everything came: ${total === result}`);
});

scenario("a descriptor's duplicate keeps the connection open", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const copy = await calls.dup(fd);
  await calls.close(fd);
  await calls.send(copy, "by the duplicate");
  await peer.calls.recv(peer.fd);
  await peer.calls.expecting("EAGAIN").recv(peer.fd, 10, "MSG_DONTWAIT");
  await calls.close(copy);
  await peer.calls.recv(peer.fd);
});

scenario(
  "a blocked receive goes on when another thread closes the descriptor's duplicate",
  async (scene) => {
    const { subject, peer } = await connects(scene);
    const { calls, fd } = subject;
    const copy = await calls.dup(fd);
    const waiting = calls.inThread.recv(fd);
    await poll(calls, [], MOMENT_MILLIS);
    await calls.close(copy);
    await peer.calls.send(peer.fd, "here");
    await waiting;
  },
);

scenario("both ends close at the same time", async (scene) => {
  const { subject, peer } = await connects(scene);
  await Promise.all([subject.calls.close(subject.fd), peer.calls.close(peer.fd)]);
  const again = await connects(scene);
  await again.subject.calls.send(again.subject.fd, "next");
  await again.peer.calls.recv(again.peer.fd);
});
