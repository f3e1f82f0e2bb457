// What an epoll set says of connections through all they go through, of sets in sets, and of calls.

import { type Endpoint, PATIENCE_MILLIS } from "../support/builders.ts";
import { conversation, readable } from "../support/builders.ts";
import * as memory from "../support/memory.ts";
import { epollControl, epollCreate, epollWait, poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { acknowledged, arrived, connects, linger, serves } from "../support/tcp.ts";

const EVERYTHING = "EPOLLIN|EPOLLPRI|EPOLLOUT|EPOLLRDHUP|EPOLLRDNORM|EPOLLWRNORM";

/** One set for each way of telling; `look` asks all of them, and arms the one-shot one again. */
async function watched({ calls, fd }: Endpoint) {
  const sets: [number, string][] = [];
  for (const how of ["0", "EPOLLET", "EPOLLONESHOT", "EPOLLET|EPOLLONESHOT"]) {
    const set = await epollCreate(calls);
    await epollControl(calls, set, "ADD", [fd, `${EVERYTHING}|${how}`]);
    sets.push([set, how]);
  }
  return async () => {
    for (const [set, how] of sets) {
      await epollWait(calls, set, 0);
      await epollWait(calls, set, 0);
      if (!how.includes("ONESHOT")) continue;
      await epollControl(calls, set, "MOD", [fd, `${EVERYTHING}|${how}`]);
    }
  };
}

for (const [name, begin] of [
  ["connects", connects],
  ["serves", serves],
] as const) {
  scenario(`all bits, in every way, of a connection that the subject ${name}`, async (scene) => {
    const { subject, peer } = await begin(scene);
    const look = await watched(subject);
    await look();
    await peer.calls.send(peer.fd, "data");
    await arrived(subject, 4);
    await look();
    await subject.calls.recv(subject.fd, 2);
    await look();
    await peer.calls.send(peer.fd, "more");
    await arrived(subject, 6);
    await look();
    await subject.calls.recv(subject.fd);
    await look();
    await subject.calls.send(subject.fd, "answer");
    await acknowledged(subject);
    await look();
    await peer.calls.send(peer.fd, "!", "MSG_OOB");
    await poll(subject.calls, [[subject.fd, "POLLPRI"]], PATIENCE_MILLIS);
    await look();
    await subject.calls.recv(subject.fd, 1, "MSG_OOB");
    await look();
    await peer.calls.shutdown(peer.fd, "SHUT_WR");
    await poll(subject.calls, [[subject.fd, "POLLRDHUP"]], PATIENCE_MILLIS);
    await look();
    await subject.calls.shutdown(subject.fd, "SHUT_WR");
    await poll(subject.calls, [[subject.fd, "POLLHUP"]], PATIENCE_MILLIS);
    await look();
  });
}

scenario("all bits, in every way, of a connection that is reset", async (scene) => {
  const { subject, peer } = await connects(scene);
  const look = await watched(subject);
  await linger(peer.calls, peer.fd, 0);
  await peer.calls.close(peer.fd);
  await poll(subject.calls, [[subject.fd, "POLLERR"]], PATIENCE_MILLIS);
  await look();
  await subject.calls.getsockopt(subject.fd, "SOL_SOCKET", "SO_ERROR");
  await look();
});

scenario("all bits, in every way, of a datagram socket that sends and receives", async (scene) => {
  const [a, p] = await conversation(scene);
  const look = await watched(a);
  await look();
  await p.calls.sendto(p.fd, "one", a.at);
  await readable(a);
  await look();
  await a.calls.sendto(a.fd, "answer", p.at);
  await p.calls.recv(p.fd);
  await look();
  await a.calls.recv(a.fd);
  await look();
});

scenario("sets three deep tell what is in the innermost; loops are refused", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const sets: number[] = [];
  for (let n = 0; n < 4; n++) sets.push(await epollCreate(calls));
  const [inner = -1, middle = -1, outer = -1, fourth = -1] = sets;
  await epollControl(calls, middle, "ADD", [inner, "EPOLLIN"]);
  await epollControl(calls, outer, "ADD", [middle, "EPOLLIN|EPOLLET"]);
  await epollControl(calls.expecting("ELOOP"), inner, "ADD", [outer, "EPOLLIN"]);
  await epollControl(calls.expecting("ELOOP"), inner, "ADD", [middle, "EPOLLIN"]);
  await epollControl(calls, inner, "ADD", [fd, "EPOLLIN"]);
  const [read, write] = await calls.pipe();
  await epollControl(calls, inner, "ADD", [read, "EPOLLIN"]);
  for (const set of sets) await epollWait(calls, set, 0);
  const waiting = epollWait(calls.inThread, outer, PATIENCE_MILLIS);
  await peer.calls.send(peer.fd, "deep");
  await waiting;
  await poll(calls, [[outer, "POLLIN"]], 0);
  for (const set of [outer, middle, inner]) await epollWait(calls, set, 0);
  await calls.recv(fd);
  for (const set of [outer, middle, inner]) await epollWait(calls, set, 0);
  await calls.write(write, "x");
  for (const set of [outer, middle, inner]) await epollWait(calls, set, PATIENCE_MILLIS);
  await epollControl(calls, fourth, "ADD", [outer, "EPOLLIN"]);
  await epollWait(calls, fourth, PATIENCE_MILLIS);
  await calls.read(read);
  await calls.close(middle);
  await peer.calls.send(peer.fd, "cut off");
  await arrived(subject, 7);
  for (const set of [fourth, outer, inner]) await epollWait(calls, set, 0);
});

scenario("chains of sets are as long as Linux lets them be", async (scene) => {
  const { calls, fd } = (await conversation(scene))[0];
  let set = await epollCreate(calls);
  await epollControl(calls, set, "ADD", [fd, "EPOLLOUT"]);
  for (let depth = 1; depth < 8; depth++) {
    const outer = await epollCreate(calls);
    const { error } = await epollControl(calls.either, outer, "ADD", [set, "EPOLLIN"]);
    await epollWait(calls, outer, 0);
    if (error === "") set = outer;
  }
});

scenario("arguments that Linux refuses", async (scene) => {
  const [{ calls, fd }] = await conversation(scene);
  await calls.expecting("EINVAL").raw("epoll_create", [0], "0");
  await calls.expecting("EINVAL").raw("epoll_create1", [1], "1");
  const set = await epollCreate(calls, "EPOLL_CLOEXEC");
  const [read] = await calls.pipe();
  const exclusive = "EPOLLIN|EPOLLEXCLUSIVE";
  await epollControl(calls.expecting("EINVAL"), set, "ADD", [fd, `${exclusive}|EPOLLONESHOT`]);
  await epollControl(calls.expecting("EINVAL"), set, "ADD", [fd, `${exclusive}|EPOLLRDHUP`]);
  await epollControl(calls, set, "ADD", [fd, exclusive]);
  await epollControl(calls.expecting("EINVAL"), set, "MOD", [fd, "EPOLLIN"]);
  await epollControl(calls.expecting("EINVAL"), set, "MOD", [read, exclusive]);
  await calls.expecting("EINVAL").raw("epoll_ctl", [set, 7, fd, calls.libc.reserve(12)], "7");
  await calls.expecting("EFAULT").raw("epoll_ctl", [set, 1, fd, 0], "without an event");
  await epollControl(calls.expecting("EPERM"), set, "ADD", [await file(calls), "EPOLLIN"]);
  const wrong = calls.libc.put(memory.words(0, 1_000_000_000));
  const at = calls.libc.reserve(64);
  await calls.expecting("EINVAL").raw("epoll_pwait2", [set, at, 1, wrong, 0], "a second of ns");
  await calls.expecting("EINVAL").raw("epoll_wait", [set, at, -1, 0], "room for -1");
});

async function file(calls: Endpoint["calls"]): Promise<number> {
  const path = calls.libc.put(Buffer.from("/etc/passwd\0"));
  return (await calls.raw("open", [path, 0], "a file")).result;
}

scenario("epoll_pwait2 waits for nanoseconds", async (scene) => {
  const [{ calls, fd }] = await conversation(scene);
  const set = await epollCreate(calls);
  await epollControl(calls, set, "ADD", [fd, "EPOLLIN"]);
  const [at, timeout] = [calls.libc.reserve(64), calls.libc.put(memory.words(0, 300_000))];
  const clock = calls.libc.reserve(32);
  const monotonic = 1;
  await calls.untold.raw("clock_gettime", [monotonic, clock], "");
  await calls.raw("epoll_pwait2", [set, at, 1, timeout, 0], "300 µs");
  await calls.untold.raw("clock_gettime", [monotonic, clock + 16], "");
  const bytes = await calls.libc.peek(clock, 32);
  const nanos = (from: number) =>
    bytes.readBigInt64LE(from) * 1_000_000_000n + bytes.readBigInt64LE(from + 8);
  const took = nanos(16) - nanos(0);
  calls.note(`it took at least 300 µs: ${took >= 300_000n}`);
});
