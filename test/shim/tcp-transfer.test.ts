// Sending and receiving on a connection: flags, vectors, limits, urgent data.

import { MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import { numberOf } from "../support/constants.ts";
import { words } from "../support/memory.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { alarmEvery, handle, stopAlarm } from "../support/signals.ts";
import { acknowledged, arrived, connects, serves, timeLimit } from "../support/tcp.ts";

const BAD_POINTER = 8;
/** As much as one line of the conversation with the program holds. */
const LONG_BYTES = 100_000;

/** Bytes that differ from their neighbours. */
function pattern(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
}

scenario(
  "bytes arrive in order, whatever calls they were sent by",
  async (scene) => {
    const { subject, peer } = await connects(scene);
    const { calls, fd } = subject;
    await calls.send(fd, "send ");
    await calls.write(fd, "write ");
    await calls.writev(fd, ["wri", "", "tev "]);
    await calls.sendto(fd, "sendto ", peer.at);
    await calls.sendmsg(fd, { data: ["send", "msg "] });
    await calls.sendmmsg(fd, [{ data: ["send"] }, { data: ["mmsg"] }]);
    await arrived(peer, 38);
    await peer.calls.recv(peer.fd);
  },
  { bypass: { connections: 1, segments: 6 } },
);

scenario("bytes are received by every call that receives", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await peer.calls.send(peer.fd, "0123456789".repeat(8));
  await arrived(subject, 80);
  await calls.recv(fd, 10);
  await calls.read(fd, 10);
  await calls.readv(fd, [3, 7, 5]);
  await calls.recvfrom(fd, 10);
  await calls.recvmsg(fd, [4, 4]);
  await calls.recvmmsg(fd, 2, { size: 5 });
  await calls.receiveWith("__recv_chk", fd, 4, [100, 0], `${fd}, 4`);
  await calls.receiveWith("__read_chk", fd, 4, [100], `${fd}, 4`);
  await calls.ioctl(fd, "FIONREAD");
});

scenario(
  "much goes through both ways, in one blocking call each",
  async (scene) => {
    const { subject, peer } = await connects(scene);
    const bytes = pattern(LONG_BYTES);
    for (const [from, to] of [
      [subject, peer],
      [peer, subject],
    ] as const) {
      const sending = from.calls.inThread.send(from.fd, bytes);
      await to.calls.recv(to.fd, LONG_BYTES, "MSG_WAITALL");
      await sending;
    }
  },
  { bypass: { connections: 1, segments: 100 } },
);

scenario("MSG_WAITALL waits for all, and ends with the stream", async (scene) => {
  const { subject, peer } = await serves(scene);
  const waiting = subject.calls.inThread.recv(subject.fd, 10, "MSG_WAITALL");
  await peer.calls.send(peer.fd, "12345");
  await poll(peer.calls, [], MOMENT_MILLIS);
  await peer.calls.send(peer.fd, "67890+");
  await waiting;
  await peer.calls.send(peer.fd, "rest");
  await peer.calls.close(peer.fd);
  await subject.calls.recv(subject.fd, 100, "MSG_WAITALL");
  await subject.calls.recv(subject.fd, 100, "MSG_WAITALL");
});

scenario("MSG_PEEK looks without taking, also with MSG_WAITALL", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await peer.calls.send(peer.fd, "first");
  await arrived(subject, 5);
  await calls.recv(fd, 3, "MSG_PEEK");
  await calls.recv(fd, 100, "MSG_PEEK");
  const waiting = calls.inThread.recv(fd, 10, "MSG_PEEK|MSG_WAITALL");
  await peer.calls.send(peer.fd, "secnd");
  await waiting;
  await calls.recvmsg(fd, [4, 100], { flags: "MSG_PEEK" });
  await calls.recv(fd, 7);
  await calls.recv(fd, 100, "MSG_PEEK|MSG_DONTWAIT");
  await calls.recv(fd);
});

scenario("MSG_TRUNC throws bytes away", async (scene) => {
  const { subject, peer } = await serves(scene);
  await peer.calls.send(peer.fd, "unwanted and wanted");
  await arrived(subject, 19);
  await subject.calls.raw(
    "recv",
    [subject.fd, 0, 13, numberOf("MSG_TRUNC")],
    "13 bytes, no buffer",
  );
  await subject.calls.recv(subject.fd);
});

scenario("MSG_DONTWAIT and O_NONBLOCK do not wait", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  const impatient = calls.expecting("EAGAIN");
  await impatient.recv(fd, 10, "MSG_DONTWAIT");
  await impatient.recv(fd, 10, "MSG_DONTWAIT|MSG_WAITALL");
  await peer.calls.send(peer.fd, "abc");
  await arrived(subject, 3);
  await calls.recv(fd, 10, "MSG_DONTWAIT|MSG_WAITALL");
  await calls.ioctl(fd, "FIONBIO", 1);
  await impatient.recv(fd);
  await impatient.read(fd);
  await impatient.readv(fd, [3]);
  await impatient.recvmsg(fd);
  await calls.fcntl(fd, "F_GETFL");
  await calls.ioctl(fd, "FIONBIO", 0);
  const waiting = calls.inThread.recv(fd);
  await peer.calls.send(peer.fd, "x");
  await waiting;
});

scenario("a full send buffer makes a sender wait, and another give up", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await calls.setsockopt(fd, "SOL_SOCKET", "SO_SNDBUF", 8192);
  await peer.calls.setsockopt(peer.fd, "SOL_SOCKET", "SO_RCVBUF", 16384);
  const args = [fd, calls.libc.reserve(2_000_000), 2_000_000, numberOf("MSG_DONTWAIT")];
  const part = await calls.untold.raw("send", args, "much");
  calls.note(`a part of it went: ${part.result > 0 && part.result < 2_000_000}`);
  for (let quiet = 0; quiet < 2; quiet++) {
    const { result } = await calls.untold.raw("send", args, "more");
    if (result > 0) quiet = -1;
    await poll(calls.untold, [], MOMENT_MILLIS);
  }
  await calls.expecting("EAGAIN").send(fd, "x", "MSG_DONTWAIT");
  await poll(calls, [[fd, "POLLOUT"]], 0);
  await timeLimit(calls, fd, "SO_SNDTIMEO", MOMENT_MILLIS);
  await calls.expecting("EAGAIN").send(fd, "more");
  await timeLimit(calls, fd, "SO_SNDTIMEO", 0);
  let isOver = false;
  const waiting = calls.inThread.send(fd, "the last").then(() => {
    isOver = true;
  });
  while (!isOver) {
    await poll(peer.calls.untold, [[peer.fd, "POLLIN"]], MOMENT_MILLIS);
    await peer.calls.untold.recv(peer.fd, 60_000, "MSG_DONTWAIT");
  }
  await waiting;
  await poll(calls, [[fd, "POLLOUT"]], PATIENCE_MILLIS);
});

scenario("SO_RCVTIMEO ends a wait, with what there is", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await timeLimit(calls, fd, "SO_RCVTIMEO", MOMENT_MILLIS);
  await calls.expecting("EAGAIN").recv(fd);
  await peer.calls.send(peer.fd, "some");
  await calls.recv(fd, 10, "MSG_WAITALL");
});

scenario("SO_RCVLOWAT sets when a receive and poll are ready", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await calls.setsockopt(fd, "SOL_SOCKET", "SO_RCVLOWAT", 5);
  await peer.calls.send(peer.fd, "123");
  await arrived(subject, 3);
  await poll(calls, [[fd, "POLLIN"]], 0);
  await calls.recv(fd, 3);
  const waiting = calls.inThread.recv(fd, 100);
  await poll(peer.calls, [], MOMENT_MILLIS);
  await peer.calls.send(peer.fd, "abcde");
  await waiting;
  await peer.calls.send(peer.fd, "fghij");
  await poll(calls, [[fd, "POLLIN"]], PATIENCE_MILLIS);
});

scenario("MSG_MORE and TCP_CORK hold bytes back until the rest is there", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await calls.send(fd, "held ", "MSG_MORE");
  await peer.calls.expecting("EAGAIN").recv(peer.fd, 100, "MSG_DONTWAIT");
  await calls.send(fd, "together");
  await arrived(peer, 13);
  await peer.calls.recv(peer.fd);
  await calls.setsockopt(fd, "SOL_TCP", "TCP_CORK", 1);
  await calls.send(fd, "corked ");
  await peer.calls.expecting("EAGAIN").recv(peer.fd, 100, "MSG_DONTWAIT");
  await calls.setsockopt(fd, "SOL_TCP", "TCP_CORK", 0);
  await peer.calls.recv(peer.fd);
});

scenario(
  "a send of nothing sends nothing, and a receive of nothing takes nothing",
  async (scene) => {
    const { subject, peer } = await connects(scene);
    const { calls, fd } = subject;
    await calls.send(fd, "");
    await calls.write(fd, "");
    await calls.writev(fd, []);
    await calls.sendmsg(fd, { data: [] });
    await peer.calls.send(peer.fd, "something");
    await arrived(subject, 9);
    await calls.recv(fd, 0);
    await calls.read(fd, 0);
    await calls.recv(fd);
    await calls.read(fd, 0);
  },
);

scenario("urgent data is announced, read out of band and marked", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await calls.expecting("EINVAL").recv(fd, 1, "MSG_OOB");
  await peer.calls.send(peer.fd, "abc!", "MSG_OOB");
  await poll(calls, [[fd, "POLLPRI"]], PATIENCE_MILLIS);
  await poll(calls, [[fd, "POLLIN|POLLPRI"]], 0);
  await calls.ioctl(fd, "SIOCINQ");
  await calls.ioctl(fd, "SIOCATMARK");
  await calls.recv(fd, 1, "MSG_OOB|MSG_PEEK");
  await calls.recv(fd, 1, "MSG_OOB");
  await calls.expecting("EINVAL").recv(fd, 1, "MSG_OOB");
  await peer.calls.send(peer.fd, "def");
  await arrived({ calls: peer.calls, fd: peer.fd, at: peer.at }, 0);
  await acknowledged(peer);
  await calls.recv(fd, 100);
  await calls.ioctl(fd, "SIOCATMARK");
  await calls.raw("sockatmark", [fd], `${fd}`);
  await calls.recv(fd, 100);
  await calls.ioctl(fd, "SIOCATMARK");
});

scenario("SO_OOBINLINE leaves the urgent byte in its place", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await calls.setsockopt(fd, "SOL_SOCKET", "SO_OOBINLINE", 1);
  await peer.calls.send(peer.fd, "abc!", "MSG_OOB");
  await peer.calls.send(peer.fd, "def");
  await acknowledged(peer);
  await calls.expecting("EINVAL").recv(fd, 1, "MSG_OOB");
  await calls.recv(fd, 100);
  await calls.ioctl(fd, "SIOCATMARK");
  await calls.recv(fd, 100);
  await calls.ioctl(fd, "SIOCATMARK");
});

scenario("the subject sends urgent data", async (scene) => {
  const { subject, peer } = await connects(scene);
  await subject.calls.send(subject.fd, "xyz?", "MSG_OOB");
  await poll(peer.calls, [[peer.fd, "POLLPRI"]], PATIENCE_MILLIS);
  await peer.calls.recv(peer.fd, 1, "MSG_OOB");
  await peer.calls.recv(peer.fd, 100);
});

scenario("pointers to nowhere and impossible vectors are refused", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const bad = calls.expecting("EFAULT");
  await bad.raw("send", [fd, BAD_POINTER, 10, 0], "bad data");
  await bad.raw("write", [fd, BAD_POINTER, 10], "bad data");
  await bad.raw("sendmsg", [fd, BAD_POINTER, 0], "bad header");
  const header = calls.libc.put(words(0, 0, BAD_POINTER, 1, 0, 0, 0));
  await bad.raw("sendmsg", [fd, header, 0], "bad vector");
  const many = calls.libc.put(words(0, 0, header, 1025, 0, 0, 0));
  await calls.expecting("EMSGSIZE").raw("sendmsg", [fd, many, 0], "1025 parts");
  await calls.expecting("EINVAL").raw("writev", [fd, header, 1025], "1025 parts");
  await calls.expecting("EINVAL").raw("writev", [fd, header, -1], "-1 parts");
  const huge = calls.libc.put(words(header, -1));
  await calls.expecting("EINVAL").raw("writev", [fd, huge, 1], "a part of -1 bytes");
  await peer.calls.send(peer.fd, "kept");
  await arrived(subject, 4);
  await bad.raw("recv", [fd, BAD_POINTER, 10, 0], "bad buffer");
  await calls.recv(fd);
  await calls.send(fd, "still works");
  await peer.calls.recv(peer.fd);
});

scenario("positioned calls have no position on a stream", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const data = calls.libc.put(Buffer.from("data"));
  const vector = calls.libc.put(words(data, 4));
  const bad = calls.expecting("ESPIPE");
  await bad.raw("pread", [fd, data, 4, 0], "at 0");
  await bad.raw("pwrite", [fd, data, 4, 0], "at 0");
  await bad.raw("preadv", [fd, vector, 1, 0], "at 0");
  await bad.raw("pwritev", [fd, vector, 1, 0], "at 0");
  await bad.raw("preadv2", [fd, vector, 1, 5, 0], "at 5");
  await bad.raw("lseek", [fd, 0, 0], "0, SEEK_SET");
  await calls.raw("pwritev2", [fd, vector, 1, -1, 0], "at -1");
  await peer.calls.recv(peer.fd);
  const nowait = numberOf("RWF_NOWAIT");
  await calls.expecting("EAGAIN").raw("preadv2", [fd, vector, 1, -1, nowait], "RWF_NOWAIT");
  await peer.calls.send(peer.fd, "DATA");
  await arrived(subject, 4);
  await calls.raw("preadv2", [fd, vector, 1, -1, 0], "at -1");
});

scenario(
  "signals interrupt a receive that got nothing, and end one that got a part",
  async (scene) => {
    const { subject, peer } = await serves(scene);
    const { calls, fd } = subject;
    await handle(calls, "SIGALRM");
    await alarmEvery(calls, 30);
    await calls.expecting("EINTR").recv(fd);
    await peer.calls.send(peer.fd, "part");
    await arrived(subject, 4);
    await calls.recv(fd, 100, "MSG_WAITALL");
    await stopAlarm(calls);
    await handle(calls, "SIGALRM", "SA_RESTART");
    await alarmEvery(calls, 30);
    const waiting = calls.inThread.recv(fd);
    await poll(peer.calls, [], MOMENT_MILLIS);
    await peer.calls.send(peer.fd, "later");
    await waiting;
    const partial = calls.recv(fd, 100, "MSG_WAITALL");
    await poll(peer.calls, [], MOMENT_MILLIS);
    await peer.calls.send(peer.fd, "only a part");
    await partial;
    await stopAlarm(calls);
  },
);

scenario("SIOCOUTQ counts what the peer has not acknowledged", async (scene) => {
  const { subject, peer } = await connects(scene);
  await subject.calls.send(subject.fd, "counted");
  await acknowledged(subject);
  await subject.calls.ioctl(subject.fd, "SIOCOUTQ");
  await subject.calls.ioctl(subject.fd, "SIOCOUTQNSD");
  await peer.calls.recv(peer.fd);
});
