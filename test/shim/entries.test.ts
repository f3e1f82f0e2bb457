// The other doors into the same calls: syscall(2), fortified and 64-bit entry points.

import assert from "node:assert/strict";
import { connected, conversation, MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import { int32, sockaddrBytes, words } from "../support/memory.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";

/** System call numbers by architecture. */
const NUMBERS: Partial<Record<NodeJS.Architecture, Record<string, number>>> = {
  x64: { read: 0, write: 1, close: 3, poll: 7, ppoll: 271, sendto: 44, recvfrom: 45, bind: 49 },
  arm64: { read: 63, write: 64, close: 57, ppoll: 73, sendto: 206, recvfrom: 207, bind: 200 },
};

function number(name: string): number {
  const found = NUMBERS[process.arch]?.[name];
  assert.ok(found !== undefined, `no system call number for ${name} on ${process.arch}`);
  return found;
}

scenario(
  "syscall(2) receives what arrives for an accelerated socket",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const buffer = a.calls.libc.reserve(100);
    const attempts: [string, number[]][] = [
      ["recvfrom", [a.fd, buffer, 100, 0, 0, 0]],
      ["read", [a.fd, buffer, 100]],
    ];
    for (const [name, args] of attempts) {
      const text = `by the system call ${name}`;
      await p.calls.sendto(p.fd, text, a.at);
      await a.calls.raw("syscall", [number(name), ...args], name);
      const data = await a.calls.libc.peek(buffer, text.length);
      a.calls.note(`the data: ${data.toString()}`);
    }
  },
  { bypass: { received: 2 } },
);

scenario("syscall(2) sends", async (scene) => {
  const [a, p] = await connected(scene);
  const at = a.calls.libc.put(sockaddrBytes(p.at));
  const data = a.calls.libc.put(Buffer.from("hello"));
  await a.calls.raw("syscall", [number("sendto"), a.fd, data, 5, 0, at, 16], "sendto");
  await p.calls.recvfrom(p.fd);
  await a.calls.raw("syscall", [number("write"), a.fd, data, 5], "write");
  await p.calls.recvfrom(p.fd);
});

scenario("syscall(2) waits", async (scene) => {
  const [a, p] = await conversation(scene);
  const entry = Buffer.concat([int32(a.fd), int32(1)]);
  const at = a.calls.libc.put(entry);
  const limit = a.calls.libc.put(words(PATIENCE_MILLIS / 1000, 0));
  const args = [number("ppoll"), at, 1, limit, 0, 8];
  const waiting = a.calls.inThread.raw("syscall", args, "ppoll, POLLIN");
  await poll(a.calls, [], MOMENT_MILLIS);
  await p.calls.sendto(p.fd, "wake up", a.at);
  await waiting;
  await a.calls.recv(a.fd, 100, "MSG_DONTWAIT");
});

scenario("syscall(2) closes and the number can be used again", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.raw("syscall", [number("close"), a.fd], `close, ${a.fd}`);
  await a.calls.expecting("EBADF").recv(a.fd);
  const [reader, writer] = await a.calls.pipe();
  await a.calls.write(writer, "a pipe now");
  await a.calls.read(reader);
  await p.calls.connect(p.fd, a.at);
  await p.calls.send(p.fd, "gone");
  await p.calls.expecting("ECONNREFUSED").recv(p.fd);
});

scenario("syscall(2) binds", async (scene) => {
  const [a, p] = await conversation(scene);
  const fd = await a.calls.socket();
  const at = a.calls.libc.put(sockaddrBytes({ address: scene.left.address, port: 0 }));
  await a.calls.raw("syscall", [number("bind"), fd, at, 16], `bind, ${fd}`);
  await p.calls.sendto(p.fd, "heard", await a.calls.getsockname(fd));
  await a.calls.recv(fd);
});

scenario("syscall(2) passes everything else on", async (scene) => {
  const subject = await scene.subject();
  const unknown = 100_000;
  await subject.expecting("ENOSYS").raw("syscall", [unknown], "an unknown number");
  await subject.expecting("EBADF").raw("syscall", [number("close"), 77], "close, 77");
});

scenario(
  "the fortified entries receive",
  async (scene) => {
    const [a, p] = await conversation(scene);
    for (const name of ["__recv_chk", "__read_chk", "__recvfrom_chk"]) {
      await p.calls.sendto(p.fd, `for ${name}`, a.at);
      const size = 100;
      const more = { __recv_chk: [size, 0], __read_chk: [size], __recvfrom_chk: [size, 0, 0, 0] };
      const rest = more[name as keyof typeof more];
      await a.calls.receiveWith(name, a.fd, size, rest, `${a.fd}, ${size}`);
    }
  },
  { bypass: { received: 3 } },
);

scenario("a fortified entry ends a program that would overrun its buffer", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "too much", a.at);
  const buffer = a.calls.libc.reserve(100);
  const overrun = a.calls.libc.call("__recv_chk", [a.fd, buffer, 100, 10, 0]);
  await overrun.catch(() => {});
  const { signal, stderr } = await a.calls.libc.program.waitForExit();
  a.calls.note(`ended by ${signal}: ${/buffer overflow detected/.test(stderr)}`);
});

scenario("fcntl64 is fcntl", async (scene) => {
  const [a] = await conversation(scene);
  await a.calls.fcntl(a.fd, "F_SETFL", "O_NONBLOCK", "fcntl64");
  await a.calls.fcntl(a.fd, "F_GETFL", 0, "fcntl64");
  await a.calls.expecting("EAGAIN").recv(a.fd);
  const { result } = await a.calls.fcntl(a.fd, "F_DUPFD", 50, "fcntl64");
  await a.calls.expecting("EAGAIN").recv(result);
});

scenario("sendfile sends a file's content as a datagram", async (scene) => {
  const [a, p] = await connected(scene);
  const name = a.calls.libc.put(Buffer.from("/proc/version\0"));
  const { result: file } = await a.calls.raw("open", [name, 0], "/proc/version, O_RDONLY");
  await a.calls.either.raw("sendfile", [a.fd, file, 0, 20], `${a.fd}, the file, 20`);
  await poll(p.calls, [[p.fd, "POLLIN"]], MOMENT_MILLIS);
});

scenario("fstat and isfdtype know a socket", async (scene) => {
  const [a] = await conversation(scene);
  const isSocket = 0o140000;
  await a.calls.raw("isfdtype", [a.fd, isSocket], `${a.fd}, S_IFSOCK`);
});
