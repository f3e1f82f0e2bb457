// Sockets behind stdio streams, whose reads and writes happen inside libc.

import { connected, PATIENCE_MILLIS } from "../support/builders.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { Stream } from "../support/streams.ts";

const UNBUFFERED = 2;
const LINE_BUFFERED = 1;

scenario(
  "fgets reads lines from datagrams",
  async (scene) => {
    const [a, p] = await connected(scene);
    const stream = await Stream.open(a.calls, a.fd, "r");
    await p.calls.send(p.fd, "first line\nsecond line\n");
    await p.calls.send(p.fd, "third ");
    await p.calls.send(p.fd, "line\n");
    for (let i = 0; i < 3; i++) await stream.gets();
    await stream.call("ferror");
    await stream.call("fclose");
    await a.calls.expecting("EBADF").recv(a.fd);
  },
  { bypass: { received: 1 } },
);

scenario("fputs and fflush send a datagram", async (scene) => {
  const [a, p] = await connected(scene);
  const stream = await Stream.open(a.calls, a.fd, "w");
  await stream.puts("one ");
  await stream.puts("datagram\n");
  await p.calls.expecting("EAGAIN").recv(p.fd, 100, "MSG_DONTWAIT");
  await stream.call("fflush");
  await p.calls.recv(p.fd);
  await stream.puts("sent by closing");
  await stream.call("fclose");
  await p.calls.recv(p.fd);
});

scenario("a stream without a buffer sends at once", async (scene) => {
  const [a, p] = await connected(scene);
  const stream = await Stream.open(a.calls, a.fd, "w");
  await stream.buffering(UNBUFFERED);
  await stream.puts("at once");
  await p.calls.recv(p.fd);
  await stream.buffering(LINE_BUFFERED);
});

scenario("a stream for both directions reads and writes in turn", async (scene) => {
  const [a, p] = await connected(scene);
  const stream = await Stream.open(a.calls, a.fd, "r+");
  await p.calls.send(p.fd, "question\n");
  await stream.gets();
  await stream.puts("answer\n");
  await stream.call("fflush");
  await p.calls.recv(p.fd);
  await stream.call("fileno");
});

scenario("fread takes what it is asked for from as many datagrams as it needs", async (scene) => {
  const [a, p] = await connected(scene);
  const stream = await Stream.open(a.calls, a.fd, "r");
  for (const text of ["abc", "defg", "hij"]) await p.calls.send(p.fd, text);
  await stream.read(5);
  await stream.read(5);
});

scenario("a stream reports what the network reports", async (scene) => {
  const [a, p] = await connected(scene);
  await p.calls.close(p.fd);
  await a.calls.send(a.fd, "anybody there?");
  await poll(a.calls, [[a.fd, "POLLERR"]], PATIENCE_MILLIS);
  const stream = await Stream.open(a.calls, a.fd, "r");
  await stream.gets();
  await stream.call("ferror");
});

scenario("dprintf writes to a socket", async (scene) => {
  const [a, p] = await connected(scene);
  const format = a.calls.libc.put(Buffer.from("the number %d\0"));
  await a.calls.raw("dprintf", [a.fd, format, 42], `${a.fd}, "the number %d", 42`);
  await p.calls.recvfrom(p.fd);
});
