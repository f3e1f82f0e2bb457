// poll, select and epoll of connections, through every change that they can tell.

import { MOMENT_MILLIS, PATIENCE_MILLIS } from "../support/builders.ts";
import type { Endpoint } from "../support/builders.ts";
import { numberOf } from "../support/constants.ts";
import { epollControl, epollCreate, epollWait, poll, select } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { acknowledged, arrived, connects, linger, listening, serves } from "../support/tcp.ts";

const POLL_BITS = "POLLIN|POLLPRI|POLLOUT|POLLRDHUP|POLLRDNORM|POLLWRNORM";
const EPOLL_BITS = "EPOLLIN|EPOLLPRI|EPOLLOUT|EPOLLRDHUP|EPOLLRDNORM|EPOLLWRNORM";

/** What all three say of a socket now. */
async function everything({ calls, fd }: Endpoint, epoll: number): Promise<void> {
  await poll(calls, [[fd, POLL_BITS]], 0);
  await epollWait(calls, epoll, 0);
  await select(calls, { read: [fd], write: [fd], except: [fd] }, 0);
}

async function watched(one: Endpoint, events = EPOLL_BITS): Promise<number> {
  const epoll = await epollCreate(one.calls);
  await epollControl(one.calls, epoll, "ADD", [one.fd, events]);
  return epoll;
}

scenario(
  "all bits of a connection from its beginning to its end",
  async (scene) => {
    const { subject, peer } = await connects(scene);
    const epoll = await watched(subject);
    await everything(subject, epoll);
    await peer.calls.send(peer.fd, "data");
    await arrived(subject, 4);
    await everything(subject, epoll);
    await subject.calls.recv(subject.fd);
    await everything(subject, epoll);
    await peer.calls.send(peer.fd, "!", "MSG_OOB");
    await poll(subject.calls, [[subject.fd, "POLLPRI"]], PATIENCE_MILLIS);
    await everything(subject, epoll);
    await subject.calls.recv(subject.fd, 1, "MSG_OOB");
    await everything(subject, epoll);
    await peer.calls.shutdown(peer.fd, "SHUT_WR");
    await poll(subject.calls, [[subject.fd, "POLLRDHUP"]], PATIENCE_MILLIS);
    await everything(subject, epoll);
    await subject.calls.shutdown(subject.fd, "SHUT_WR");
    await poll(subject.calls, [[subject.fd, "POLLHUP"]], PATIENCE_MILLIS);
    await everything(subject, epoll);
  },
  { bypass: { connections: 1, segments: 8 } },
);

scenario("all bits when the subject closes its half first", async (scene) => {
  const { subject, peer } = await serves(scene);
  const epoll = await watched(subject);
  await subject.calls.shutdown(subject.fd, "SHUT_WR");
  await peer.calls.recv(peer.fd);
  await everything(subject, epoll);
  await peer.calls.send(peer.fd, "still");
  await arrived(subject, 5);
  await everything(subject, epoll);
  await subject.calls.shutdown(subject.fd, "SHUT_RD");
  await everything(subject, epoll);
  await peer.calls.close(peer.fd);
});

scenario("all bits of a reset, until its error is taken and after", async (scene) => {
  const { subject, peer } = await serves(scene);
  const epoll = await watched(subject);
  await linger(peer.calls, peer.fd, 0);
  await peer.calls.close(peer.fd);
  await poll(subject.calls, [[subject.fd, "POLLERR"]], PATIENCE_MILLIS);
  await everything(subject, epoll);
  await subject.calls.getsockopt(subject.fd, "SOL_SOCKET", "SO_ERROR");
  await everything(subject, epoll);
});

scenario("a socket that is not connected hangs up, in every set", async (scene) => {
  const subject = await scene.subject();
  const fd = await subject.socket("SOCK_STREAM");
  const one = { calls: subject, fd, at: { address: "0.0.0.0", port: 0 } };
  const epoll = await watched(one);
  await everything(one, epoll);
  const listener = await listening(subject, scene.left.address);
  await everything(listener, await watched(listener));
});

scenario("poll waits for what comes, and for nothing as long as it is told", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  await poll(calls, [[fd, "POLLIN"]], MOMENT_MILLIS);
  const waiting = poll(calls.inThread, [[fd, "POLLIN"]], PATIENCE_MILLIS);
  await poll(peer.calls, [], MOMENT_MILLIS);
  await peer.calls.send(peer.fd, "x");
  await waiting;
  await poll(calls, [[fd, "POLLIN"]], -1, "ppoll");
  await calls.recv(fd);
  const hanging = poll(calls.inThread, [[fd, "0"]], PATIENCE_MILLIS);
  await linger(peer.calls, peer.fd, 0);
  await peer.calls.close(peer.fd);
  await hanging;
});

scenario(
  "poll, select and epoll take connections and other descriptors together",
  async (scene) => {
    const { subject, peer } = await connects(scene);
    const { calls, fd } = subject;
    const [read, write] = await calls.pipe();
    const epoll = await watched(subject, "EPOLLIN");
    await epollControl(calls, epoll, "ADD", [read, "EPOLLIN"]);
    const two = [
      [fd, "POLLIN"],
      [read, "POLLIN"],
    ] as const;
    await poll(calls, two, 0);
    await calls.write(write, "p");
    await poll(calls, two, PATIENCE_MILLIS);
    await select(calls, { read: [fd, read] }, PATIENCE_MILLIS);
    await epollWait(calls, epoll, PATIENCE_MILLIS);
    await peer.calls.send(peer.fd, "s");
    await arrived(subject, 1);
    await poll(calls, [...two, [-1, "POLLIN"], [999, "POLLIN"]], PATIENCE_MILLIS);
    await select(calls, { read: [fd, read] }, PATIENCE_MILLIS);
    await epollWait(calls, epoll, PATIENCE_MILLIS);
    await calls.read(read);
    await epollWait(calls, epoll, PATIENCE_MILLIS);
    await poll(calls, two, PATIENCE_MILLIS);
  },
);

scenario("EPOLLET reports what is new, once", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  const epoll = await watched(subject, "EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET");
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await epollWait(calls, epoll, 0);
  await peer.calls.send(peer.fd, "one");
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await epollWait(calls, epoll, 0);
  await calls.recv(fd, 1);
  await epollWait(calls, epoll, 0);
  await peer.calls.send(peer.fd, "two");
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await calls.recv(fd);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "MOD", [fd, "EPOLLOUT|EPOLLET"]);
  await epollWait(calls, epoll, 0);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "MOD", [fd, "EPOLLIN|EPOLLRDHUP|EPOLLET"]);
  await epollWait(calls, epoll, 0);
  await peer.calls.close(peer.fd);
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await epollWait(calls, epoll, 0);
});

scenario("EPOLLET reports room again after a send that found none", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const epoll = await watched(subject, "EPOLLOUT|EPOLLET");
  await epollWait(calls, epoll, 0);
  const args = [fd, calls.libc.reserve(1_000_000), 1_000_000, numberOf("MSG_DONTWAIT")];
  for (let sent = 1; sent > 0; ) sent = (await calls.untold.raw("send", args, "much")).result;
  let isOver = false;
  const waiting = epollWait(calls.inThread, epoll, PATIENCE_MILLIS).then(() => {
    isOver = true;
  });
  while (!isOver) {
    await poll(peer.calls.untold, [[peer.fd, "POLLIN"]], MOMENT_MILLIS);
    await peer.calls.untold.recv(peer.fd, 60_000, "MSG_DONTWAIT");
  }
  await waiting;
});

scenario("TCP_NOTSENT_LOWAT: a sender that waits for room hears of it", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await calls.setsockopt(fd, "SOL_TCP", "TCP_NOTSENT_LOWAT", 2000);
  await peer.calls.setsockopt(peer.fd, "SOL_SOCKET", "SO_RCVBUF", 16384);
  const args = [fd, calls.libc.reserve(1_000_000), 1_000_000, numberOf("MSG_DONTWAIT")];
  for (let quiet = 0; quiet < 2; quiet++) {
    const { result } = await calls.untold.raw("send", args, "much");
    if (result > 0) quiet = -1;
    await poll(calls.untold, [], MOMENT_MILLIS);
  }
  await poll(calls, [[fd, "POLLOUT"]], 0);
  let isOver = false;
  const waiting = poll(calls.inThread, [[fd, "POLLOUT"]], PATIENCE_MILLIS).then(() => {
    isOver = true;
  });
  while (!isOver) {
    await poll(peer.calls.untold, [[peer.fd, "POLLIN"]], MOMENT_MILLIS);
    await peer.calls.untold.recv(peer.fd, 60_000, "MSG_DONTWAIT");
  }
  await waiting;
});

scenario("EPOLLONESHOT reports once, until it is armed again", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  const epoll = await watched(subject, "EPOLLIN|EPOLLONESHOT");
  await peer.calls.send(peer.fd, "x");
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await epollWait(calls, epoll, 0);
  await peer.calls.send(peer.fd, "y");
  await acknowledged(peer);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "MOD", [fd, "EPOLLIN|EPOLLONESHOT"]);
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await peer.calls.close(peer.fd);
  await epollWait(calls, epoll, 0);
});

scenario("epoll_ctl of a connection fails as the kernel's does", async (scene) => {
  const { subject } = await connects(scene);
  const { calls, fd } = subject;
  const epoll = await epollCreate(calls);
  await epollControl(calls.expecting("ENOENT"), epoll, "MOD", [fd, "EPOLLIN"]);
  await epollControl(calls.expecting("ENOENT"), epoll, "DEL", [fd, "EPOLLIN"]);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLOUT"]);
  await epollControl(calls.expecting("EEXIST"), epoll, "ADD", [fd, "EPOLLIN"]);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "DEL", [fd, "EPOLLOUT"]);
  await epollWait(calls, epoll, 0);
  await epollControl(calls.expecting("EINVAL"), fd, "ADD", [epoll, "EPOLLIN"]);
  const [read] = await calls.pipe();
  await epollControl(calls.expecting("EINVAL"), read, "ADD", [fd, "EPOLLIN"]);
  await epollControl(calls.expecting("EBADF"), 999, "ADD", [fd, "EPOLLIN"]);
});

scenario(
  "a socket that epoll watched before it connected is watched after it, too",
  async (scene) => {
    const [subject, peer] = [await scene.subject(), await scene.peer()];
    const listener = await listening(peer, scene.right.address);
    const fd = await subject.socket("SOCK_STREAM|SOCK_NONBLOCK");
    const epoll = await epollCreate(subject);
    await epollControl(subject, epoll, "ADD", [fd, "EPOLLIN|EPOLLOUT|EPOLLET"]);
    await epollWait(subject, epoll, 0);
    await subject.expecting("EINPROGRESS").connect(fd, listener.at);
    await epollWait(subject, epoll, PATIENCE_MILLIS);
    await subject.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
    await epollWait(subject, epoll, 0);
    await epollControl(subject.expecting("EEXIST"), epoll, "ADD", [fd, "EPOLLIN"]);
    await epollControl(subject, epoll, "MOD", [fd, "EPOLLOUT"]);
    await epollWait(subject, epoll, 0);
  },
);

scenario(
  "a closed connection leaves every epoll instance, and its number can come again",
  async (scene) => {
    const { subject, peer, listener } = await connects(scene);
    const { calls, fd } = subject;
    const epoll = await watched(subject, "EPOLLIN");
    await calls.close(fd);
    await epollControl(calls.expecting("EBADF"), epoll, "DEL", [fd, "EPOLLIN"]);
    const again = await calls.socket("SOCK_STREAM");
    calls.note(`the same number: ${again === fd}`);
    await calls.connect(again, listener.at);
    await epollControl(calls.expecting("ENOENT"), epoll, "DEL", [again, "EPOLLIN"]);
    await epollControl(calls, epoll, "ADD", [again, "EPOLLIN"]);
    await epollWait(calls, epoll, 0);
    await peer.calls.close(peer.fd);
  },
);

scenario("an epoll instance in another, and one that poll asks", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  const inner = await watched(subject, "EPOLLIN");
  const outer = await epollCreate(calls);
  await epollControl(calls, outer, "ADD", [inner, "EPOLLIN"]);
  await epollWait(calls, outer, 0);
  const waiting = epollWait(calls.inThread, outer, PATIENCE_MILLIS);
  await peer.calls.send(peer.fd, "x");
  await waiting;
  await poll(calls, [[inner, "POLLIN"]], PATIENCE_MILLIS);
  await calls.recv(fd);
  await epollWait(calls, outer, 0);
  await poll(calls, [[inner, "POLLIN"]], 0);
});

scenario("a thread that waits hears of a connection that another thread adds", async (scene) => {
  const { subject, peer } = await serves(scene);
  const { calls, fd } = subject;
  const epoll = await epollCreate(calls);
  const waiting = epollWait(calls.inThread, epoll, PATIENCE_MILLIS);
  await poll(calls, [], MOMENT_MILLIS);
  await peer.calls.send(peer.fd, "there already");
  await arrived(subject, 13);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLIN"]);
  await waiting;
});

/** So many that an instance no longer looks at each of them every time. */
const MANY = 40;

scenario("an instance with many connections tells of each that has something", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(peer, scene.right.address, { backlog: MANY });
  const epolls = [await epollCreate(subject), await epollCreate(subject)];
  const [levels, edges] = epolls as [number, number];
  const pairs: { near: number; far: number }[] = [];
  for (let i = 0; i < MANY; i++) {
    const near = await subject.untold.socket("SOCK_STREAM");
    await subject.untold.connect(near, listener.at);
    const { result: far } = await peer.untold.make("accept", [listener.fd, 0, 0], "one of many");
    await epollControl(subject.untold, levels, "ADD", [near, "EPOLLIN"]);
    await epollControl(subject.untold, edges, "ADD", [near, "EPOLLIN|EPOLLOUT|EPOLLET"]);
    pairs.push({ near, far });
  }
  await epollWait(subject, levels, 0, "epoll_wait", 2 * MANY);
  await epollWait(subject, edges, 0, "epoll_wait", 2 * MANY);
  for (const ready of [[3], [0, 17, 39], pairs.keys()]) {
    const chosen = [...ready].map((i) => pairs[i]).filter((pair) => pair !== undefined);
    for (const { near, far } of chosen) {
      await peer.untold.send(far, "x");
      await poll(subject.untold, [[near, "POLLIN"]], PATIENCE_MILLIS);
    }
    await epollWait(subject, levels, PATIENCE_MILLIS, "epoll_wait", 2 * MANY);
    await epollWait(subject, levels, 0, "epoll_wait", 2 * MANY);
    await epollWait(subject, edges, PATIENCE_MILLIS, "epoll_wait", 2 * MANY);
    await epollWait(subject, edges, 0, "epoll_wait", 2 * MANY);
    for (const { near } of chosen) await subject.untold.recv(near);
    await epollWait(subject, levels, 0, "epoll_wait", 2 * MANY);
  }
  const waiting = epollWait(subject.inThread, levels, PATIENCE_MILLIS, "epoll_wait", 2 * MANY);
  await poll(peer, [], MOMENT_MILLIS);
  await peer.send(pairs[20]?.far ?? -1, "x");
  await waiting;
  for (const { near } of pairs.slice(10, 30)) await subject.untold.close(near);
  await peer.send(pairs[35]?.far ?? -1, "y");
  await epollWait(subject, levels, PATIENCE_MILLIS, "epoll_wait", 2 * MANY);
});

scenario("few events at a time reach all connections in turn", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(peer, scene.right.address, { backlog: MANY });
  const epoll = await epollCreate(subject);
  for (let i = 0; i < MANY; i++) {
    const near = await subject.untold.socket("SOCK_STREAM");
    await subject.untold.connect(near, listener.at);
    await epollControl(subject.untold, epoll, "ADD", [near, "EPOLLOUT"]);
  }
  const told = new Set<number>();
  for (let i = 0; i < MANY; i++) {
    const { descriptors } = await epollWait(subject.untold, epoll, 0, "epoll_wait", 3);
    for (const fd of descriptors) told.add(fd);
  }
  subject.note(`connections told of: ${told.size}`);
});
