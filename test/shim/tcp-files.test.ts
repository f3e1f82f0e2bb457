// sendfile and splice to and from a connection, and stdio streams over one.

import { MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import type { Calls } from "../support/calls.ts";
import { numberOf } from "../support/constants.ts";
import { words } from "../support/memory.ts";
import { poll } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import { Stream } from "../support/streams.ts";
import { arrived, connects, serves } from "../support/tcp.ts";

const FILE_BYTES = 50_000;

/** A file of the subject's with known bytes, opened; it is in memory and has no name left. */
async function file(calls: Calls, bytes = FILE_BYTES): Promise<number> {
  const name = calls.libc.put(Buffer.from("exasock-scenario\0"));
  const fd = (await calls.untold.raw("memfd_create", [name, 0], "a file")).result;
  const text = Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 31) & 0xff));
  await calls.untold.write(fd, text);
  await calls.untold.raw("lseek", [fd, 0, 0], "to its start");
  return fd;
}

async function place(calls: Calls, fd: number): Promise<void> {
  await calls.raw("lseek", [fd, 0, 1], "where is it");
}

/** sendfile, with an offset in memory unless that is null. */
async function sendfile(
  calls: Calls,
  out: number,
  [fd, offset, count]: readonly [number, number | null, number],
) {
  const at = offset === null ? 0 : calls.libc.put(words(offset));
  const label = `${out}, ${fd}, ${offset}, ${count}`;
  const reply = await calls.make("sendfile", [out, fd, at, count], label, async () => {
    return at === 0 ? "" : `offset ${(await calls.libc.peek(at, 8)).readBigInt64LE(0)}`;
  });
  return reply.result;
}

async function splice(calls: Calls, from: number, to: number, count: number, flags = "0") {
  const args = [from, 0, to, 0, count, numberOf(flags)];
  return (await calls.raw("splice", args, `${from}, ${to}, ${count}, ${flags}`)).result;
}

async function connectionAndFile(scene: Scene) {
  const { subject, peer } = await connects(scene);
  return { calls: subject.calls, fd: subject.fd, subject, peer, data: await file(subject.calls) };
}

scenario(
  "sendfile sends a file, from its place and from an offset",
  async (scene) => {
    const { calls, fd, peer, data } = await connectionAndFile(scene);
    await sendfile(calls, fd, [data, null, 1000]);
    await place(calls, data);
    await sendfile(calls, fd, [data, 500, 1000]);
    await place(calls, data);
    await sendfile(calls, fd, [data, null, FILE_BYTES]);
    await place(calls, data);
    await sendfile(calls, fd, [data, null, 10]);
    await sendfile(calls, fd, [data, FILE_BYTES + 5, 10]);
    await peer.calls.recv(peer.fd, FILE_BYTES + 1000, "MSG_WAITALL");
  },
  { bypass: { connections: 1, segments: 30 } },
);

scenario("sendfile refuses what is no file, and what is no connection", async (scene) => {
  const { calls, fd, data } = await connectionAndFile(scene);
  const [read] = await calls.pipe();
  await sendfile(calls.expecting("EINVAL"), fd, [read, null, 10]);
  await sendfile(calls.expecting("EINVAL"), data, [fd, null, 10]);
  await sendfile(calls.expecting("EBADF"), fd, [999, null, 10]);
  await sendfile(calls.expecting("EINVAL"), fd, [data, -5, 10]);
  await calls.expecting("EFAULT").raw("sendfile", [fd, data, 8, 10], "bad offset");
  await sendfile(calls, fd, [data, null, 0]);
  await calls.shutdown(fd, "SHUT_WR");
  const ignore = 1;
  await calls.raw("signal", [numberOf("SIGPIPE"), ignore], "SIGPIPE, SIG_IGN");
  await sendfile(calls.expecting("EPIPE"), fd, [data, null, 10]);
  await place(calls, data);
});

scenario("a non-blocking sendfile sends a part, and says how far it came", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const data = await file(calls);
  await calls.fcntl(fd, "F_SETFL", "O_NONBLOCK");
  let sent = 0;
  for (let got = 1; got > 0; sent += Math.max(got, 0)) {
    await calls.untold.raw("lseek", [data, 0, 0], "to its start");
    got = (await calls.untold.raw("sendfile", [fd, data, 0, FILE_BYTES], "again")).result;
    if (got <= 0) await sendfile(calls.either, fd, [data, null, FILE_BYTES]);
    if (got > 0 && got < FILE_BYTES) {
      const at = await calls.untold.raw("lseek", [data, 0, 1], "where is it");
      calls.note(`its place is where the part ended: ${at.result === got}`);
    }
  }
  calls.note(`some was sent: ${sent > 0}`);
  await peer.calls.close(peer.fd);
});

scenario("splice moves bytes from a connection into a pipe", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  const [read, write] = await calls.pipe();
  await peer.calls.send(peer.fd, "through a pipe");
  await arrived(subject, 14);
  await splice(calls, fd, write, 7);
  await splice(calls, fd, write, 100);
  await calls.read(read);
  const waiting = splice(calls.inThread, fd, write, 100);
  await poll(calls, [], MOMENT_MILLIS);
  await peer.calls.send(peer.fd, "later");
  await waiting;
  await calls.read(read);
  await calls.fcntl(fd, "F_SETFL", "O_NONBLOCK");
  await splice(calls.expecting("EAGAIN"), fd, write, 100, "SPLICE_F_NONBLOCK");
  await peer.calls.close(peer.fd);
  await poll(calls, [[fd, "POLLRDHUP"]], PATIENCE_MILLIS);
  await splice(calls, fd, write, 100);
});

scenario("splice moves bytes from a pipe into a connection", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const [read, write] = await calls.pipe();
  await splice(calls.expecting("EAGAIN"), read, fd, 100, "SPLICE_F_NONBLOCK");
  await calls.write(write, "out of a pipe");
  await splice(calls, read, fd, 6);
  await splice(calls, read, fd, 100);
  await arrived(peer, 13);
  await peer.calls.recv(peer.fd);
  await calls.close(write);
  await splice(calls, read, fd, 100);
});

scenario("splice wants a pipe, and no offset of it or of a connection", async (scene) => {
  const { calls, fd, data } = await connectionAndFile(scene);
  const [read, write] = await calls.pipe();
  const at = calls.libc.put(words(0));
  await splice(calls.expecting("EINVAL"), data, fd, 10);
  await splice(calls.expecting("EINVAL"), fd, data, 10);
  const bad = calls.expecting("ESPIPE");
  await bad.raw("splice", [read, at, fd, 0, 10, 0], "an offset of the pipe");
  await bad.raw("splice", [fd, 0, write, at, 10, 0], "an offset of the pipe");
  await calls.expecting("EBADF").raw("splice", [fd, 0, 999, 0, 10, 0], "999");
  await splice(calls, fd, write, 0);
});

scenario("a file goes to a connection through a pipe, and back", async (scene) => {
  const { calls, fd, peer, data } = await connectionAndFile(scene);
  const [read, write] = await calls.pipe();
  for (let left = FILE_BYTES; left > 0; ) {
    const into = await calls.untold.raw("splice", [data, 0, write, 0, left, 0], "into");
    let inside = into.result;
    left -= inside;
    while (inside > 0) {
      const out = await calls.untold.raw("splice", [read, 0, fd, 0, inside, 0], "out of");
      inside -= out.result;
    }
  }
  await peer.calls.recv(peer.fd, FILE_BYTES, "MSG_WAITALL");
});

scenario("a connection is a stream of lines", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const stream = await Stream.open(calls, fd, "r+");
  await stream.puts("HELO\n");
  await stream.call("fflush");
  await arrived(peer, 5);
  await peer.calls.recv(peer.fd);
  await peer.calls.send(peer.fd, "first\nsecond\nrest");
  await arrived(subject, 17);
  await stream.gets();
  await stream.gets();
  await peer.calls.close(peer.fd);
  await stream.gets();
  await stream.gets();
  await stream.call("feof");
  await stream.call("fileno");
  await stream.call("fclose");
});
