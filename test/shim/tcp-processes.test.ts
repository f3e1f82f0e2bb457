// Connections and listeners that several processes share, by fork, exec and descriptor passing, and
// what becomes of them when programs end.

import { open, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Host } from "../../src/lab/network.ts";
import { run, until } from "../../src/lab/program.ts";
import { ANY_ADDRESS, MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import { temporaryFolder } from "../support/folder.ts";
import { int32 } from "../support/memory.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { accept, arrived, connects, listening, serves } from "../support/tcp.ts";

scenario(
  "a child answers on the connection that its parent accepted",
  async (scene) => {
    const { subject, peer } = await serves(scene);
    await peer.calls.send(peer.fd, "for the child");
    const { pid, replies } = await subject.calls.fork((child) => [
      child.recv(subject.fd),
      child.send(subject.fd, "from the child"),
      child.close(subject.fd),
    ]);
    await Promise.all(replies);
    await subject.calls.waitpid(pid);
    await peer.calls.recv(peer.fd);
    await subject.calls.send(subject.fd, "from the parent");
    await peer.calls.recv(peer.fd);
    await subject.calls.close(subject.fd);
    await peer.calls.recv(peer.fd);
  },
  { bypass: { connections: 1, segments: 8 } },
);

scenario("the parent closes, the child goes on, and its end is the connection's", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { replies, pid } = await subject.calls.fork((child) => [
    poll(child, [[subject.fd, "POLLIN"]], PATIENCE_MILLIS),
    child.recv(subject.fd),
    child.send(subject.fd, "still open"),
  ]);
  await subject.calls.close(subject.fd);
  await peer.calls.send(peer.fd, "go on");
  await Promise.all(replies);
  await subject.calls.waitpid(pid);
  await peer.calls.recv(peer.fd);
  await peer.calls.recv(peer.fd);
});

scenario("children accept on their parent's listener", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(subject, ANY_ADDRESS);
  const at = { address: scene.left.address, port: listener.at.port };
  const children = [];
  for (let i = 0; i < 2; i++) {
    const child = await subject.untold.fork((calls) => [
      calls.make("accept", [listener.fd, 0, 0], "in a child"),
      calls.send(listener.fd + 1, "from a child"),
    ]);
    children.push(child);
  }
  for (let i = 0; i < 2; i++) {
    const fd = await peer.socket("SOCK_STREAM");
    await peer.connect(fd, at);
    await peer.recv(fd);
    await peer.recv(fd);
  }
  for (const { pid, replies } of children) {
    await Promise.all(replies);
    await subject.waitpid(pid);
  }
});

scenario("a listener goes on in the child when the parent closes it", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(subject, ANY_ADDRESS);
  const at = { address: scene.left.address, port: listener.at.port };
  const { replies, pid } = await subject.fork((child) => [
    child.make("accept", [listener.fd, 0, 0], "in the child"),
    child.send(listener.fd + 1, "welcome"),
  ]);
  await subject.close(listener.fd);
  const fd = await peer.socket("SOCK_STREAM");
  await peer.connect(fd, at);
  await peer.recv(fd);
  await Promise.all(replies);
  await subject.waitpid(pid);
});

scenario("a child connects by itself", async (scene) => {
  const { listener, peer } = await connects(scene);
  const subject = await scene.start("other", { accelerated: true });
  const { replies, pid } = await subject.fork((child) => [
    child.socket("SOCK_STREAM"),
    child.connect(3, listener.at),
    child.send(3, "from the child"),
  ]);
  await Promise.all(replies);
  await subject.waitpid(pid);
  const accepted = await accept(peer.calls, listener.fd);
  await peer.calls.recv(accepted, 14, "MSG_WAITALL");
  await peer.calls.recv(accepted);
});

scenario("parent and child share a socket that one of them connects", async (scene) => {
  const { listener, peer } = await connects(scene);
  const subject = await scene.start("other", { accelerated: true });
  const first = await subject.socket("SOCK_STREAM");
  await subject.connect(first, listener.at);
  const fd = await subject.socket("SOCK_STREAM");
  const { replies, pid } = await subject.fork((child) => [child.connect(fd, listener.at)]);
  await Promise.all(replies);
  await subject.waitpid(pid);
  await subject.send(fd, "connected by the child");
  const accepted = await accept(peer.calls, listener.fd);
  const next = await accept(peer.calls, listener.fd);
  await peer.calls.expecting("EAGAIN").recv(accepted, 100, "MSG_DONTWAIT");
  await peer.calls.recv(next);
  await peer.calls.send(next, "to the parent");
  await subject.recv(fd);
});

scenario("a connection survives exec", async (scene) => {
  const { subject, peer } = await serves(scene);
  await peer.calls.send(peer.fd, "before");
  await arrived(subject, 6);
  await subject.calls.libc.exec();
  await subject.calls.recv(subject.fd);
  await peer.calls.send(peer.fd, "after");
  await subject.calls.recv(subject.fd);
  await subject.calls.send(subject.fd, "from the new program");
  await peer.calls.recv(peer.fd);
  await subject.calls.close(subject.fd);
  await peer.calls.recv(peer.fd);
});

scenario("a close-on-exec connection ends with exec", async (scene) => {
  const { subject, peer } = await serves(scene);
  await subject.calls.fcntl(subject.fd, "F_SETFD", "FD_CLOEXEC");
  await subject.calls.libc.exec();
  await peer.calls.recv(peer.fd);
});

scenario("a connection is passed to another program", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  const [left, right] = await calls.socketpair("SOCK_DGRAM");
  const rights = { level: "SOL_SOCKET", type: "SCM_RIGHTS", data: int32(fd) };
  const { pid, replies } = await calls.fork((child) => [
    child.recvmsg(right, [10], { controlBytes: 64 }),
    child.send(right + 1, "from the other program"),
  ]);
  await calls.sendmsg(left, { data: ["take it"], controls: [rights] });
  await calls.close(fd);
  await Promise.all(replies);
  await calls.waitpid(pid);
  await peer.calls.recv(peer.fd);
  await peer.calls.recv(peer.fd);
});

for (const [what, bytes] of [
  ["with nothing unread, the peer sees the end of the stream", 0],
  ["with unread bytes, the peer sees a reset", 5],
] as const) {
  scenario(`a program is killed ${what}`, async (scene) => {
    const { subject, peer } = await connects(scene);
    await subject.calls.send(subject.fd, "last words");
    if (bytes > 0) {
      await peer.calls.send(peer.fd, "x".repeat(bytes));
      await arrived(subject, bytes);
    }
    await arrived(peer, 10);
    subject.calls.libc.program.kill("SIGKILL");
    await subject.calls.libc.program.waitForExit();
    await poll(peer.calls, [[peer.fd, "POLLRDHUP"]], PATIENCE_MILLIS);
    if (bytes > 0) await poll(peer.calls, [[peer.fd, "POLLERR"]], PATIENCE_MILLIS);
    await peer.calls.recv(peer.fd);
    if (bytes > 0) await peer.calls.expecting("ECONNRESET").recv(peer.fd);
    else await peer.calls.recv(peer.fd);
  });
}

scenario("a program ends, and what it sent last is still delivered", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await peer.calls.setsockopt(peer.fd, "SOL_SOCKET", "SO_RCVBUF", 8192);
  const args = [fd, calls.libc.reserve(200_000), 200_000, 0x40];
  const { result } = await calls.untold.raw("send", args, "much");
  calls.libc.end();
  await calls.libc.program.waitForExit();
  let total = 0;
  for (let got = 1; got > 0; total += got) {
    got = (await peer.calls.untold.recv(peer.fd, 60_000)).result;
  }
  peer.calls.note(`everything came: ${total === result}`);
});

scenario("a listener's program is killed, and its port refuses", async (scene) => {
  const { subject, peer, listener } = await serves(scene);
  subject.calls.libc.program.kill("SIGKILL");
  await subject.calls.libc.program.waitForExit();
  await peer.calls.recv(peer.fd);
  const refused = await peer.calls.socket("SOCK_STREAM");
  await poll(peer.calls, [], MOMENT_MILLIS);
  const at = { address: scene.left.address, port: listener.at.port };
  await peer.calls.expecting("ECONNREFUSED").connect(refused, at);
});

/** What exasockd of this host has logged. */
async function daemonLog(host: Host): Promise<string> {
  const { stdout } = await host.run(["stat", "-Lc", "%i", "/proc/self/ns/net"]);
  return readFile(`/run/exasock/default-${stdout.trim()}.log`, "utf8");
}

scenario("exec without the library: nothing hangs, and the end is a proper end", async (scene) => {
  const { subject, peer } = await serves(scene);
  await using folder = await temporaryFolder();
  const fifo = resolve(folder.path, "fifo");
  await run(["mkfifo", fifo]);
  const { pid } = await subject.calls.fork((_child, batch) => {
    batch.exec("/usr/bin/env", ["-u", "LD_PRELOAD", "cat", fifo]);
  });
  // Opens when the program has: it runs.
  const held = await open(fifo, "w");
  await subject.calls.close(subject.fd);
  await poll(peer.calls, [[peer.fd, "POLLIN"]], MOMENT_MILLIS);
  if (scene.isAccelerated) {
    await until("exasockd to report the program", async () => {
      return /which it can't use/.test(await daemonLog(scene.left));
    });
  }
  await held.close();
  await subject.calls.waitpid(pid);
  await peer.calls.recv(peer.fd);
});
