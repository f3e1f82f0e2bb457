// poll, select and epoll over sockets and pipes together.

import {
  bound,
  connected,
  conversation,
  MOMENT_MILLIS,
  PATIENCE_MILLIS,
  readable,
} from "../support/builders.ts";
import { epollControl, epollCreate, epollWait, poll, select } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";

for (const name of ["poll", "ppoll", "__poll_chk", "__ppoll_chk"] as const) {
  scenario(
    `${name} tells which of a socket and a pipe is ready`,
    async (scene) => {
      const [a, p] = await conversation(scene);
      const { calls, fd } = a;
      const [reader, writer] = await calls.pipe();
      const interests = [
        [fd, "POLLIN"],
        [reader, "POLLIN"],
        [writer, "POLLOUT"],
      ] as const;
      const two = interests.slice(0, 2);
      await poll(calls, two, 0, name);
      await poll(calls, two, MOMENT_MILLIS, name);
      await calls.write(writer, "x");
      await poll(calls, two, PATIENCE_MILLIS, name);
      await p.calls.sendto(p.fd, "y", a.at);
      await readable(a);
      await poll(calls, interests, PATIENCE_MILLIS, name);
      await calls.read(reader);
      await poll(calls, two, -1, name);
      await calls.recv(fd);
      await poll(calls, interests, 0, name);
    },
    { bypass: { received: 1 } },
  );
}

for (const name of ["select", "pselect"] as const) {
  scenario(
    `${name} tells which of a socket and a pipe is ready`,
    async (scene) => {
      const [a, p] = await conversation(scene);
      const { calls, fd } = a;
      const [reader, writer] = await calls.pipe();
      const read = [fd, reader];
      await select(calls, { read }, 0, name);
      await select(calls, { read, except: [fd] }, MOMENT_MILLIS, name);
      await select(calls, { read, write: [fd, writer] }, -1, name);
      await calls.write(writer, "x");
      await select(calls, { read }, PATIENCE_MILLIS, name);
      await p.calls.sendto(p.fd, "y", a.at);
      await readable(a);
      await select(calls, { read, write: [fd] }, PATIENCE_MILLIS, name);
      await calls.read(reader);
      await select(calls, { read }, -1, name);
      await calls.recv(fd);
      await select(calls, { read }, 0, name);
    },
    { bypass: { received: 1 } },
  );
}

scenario("select without descriptors only waits", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  await select(calls, { read: [fd] }, 0);
  await select(calls, { write: [fd] }, PATIENCE_MILLIS);
  await select(calls, {}, MOMENT_MILLIS);
});

scenario("poll ignores negative descriptors and reports closed ones", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  await poll(
    calls,
    [
      [-1, "POLLIN"],
      [fd, "POLLOUT"],
      [77, "POLLIN"],
    ],
    0,
  );
  await poll(calls, [[fd, "POLLIN|POLLRDNORM|POLLWRNORM|POLLPRI"]], 0);
  await poll(calls, [[fd, "0"]], 0);
  await poll(calls, [], 0);
});

scenario("a socket may be named twice in one poll", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "x", a.at);
  await poll(
    a.calls,
    [
      [a.fd, "POLLIN"],
      [a.fd, "POLLIN|POLLOUT"],
    ],
    PATIENCE_MILLIS,
  );
});

for (const [name, wait] of [
  ["poll", (a) => poll(a.calls.inThread, [[a.fd, "POLLIN"]], PATIENCE_MILLIS)],
  ["select", (a) => select(a.calls.inThread, { read: [a.fd] }, PATIENCE_MILLIS)],
] as [string, (a: Awaited<ReturnType<typeof bound>>) => Promise<unknown>][]) {
  scenario(`${name} wakes when a datagram arrives`, async (scene) => {
    const [a, p] = await conversation(scene);
    const waiting = wait(a);
    await p.calls.sendto(p.fd, "wake up", a.at);
    await waiting;
    await a.calls.recv(a.fd, 100, "MSG_DONTWAIT");
  });

  scenario(`${name} wakes when a pipe becomes readable while a socket is quiet`, async (scene) => {
    const [a] = await conversation(scene);
    const [reader, writer] = await a.calls.pipe();
    const waiting =
      name === "poll"
        ? poll(
            a.calls.inThread,
            [
              [a.fd, "POLLIN"],
              [reader, "POLLIN"],
            ],
            PATIENCE_MILLIS,
          )
        : select(a.calls.inThread, { read: [a.fd, reader] }, PATIENCE_MILLIS);
    await poll(a.calls, [], MOMENT_MILLIS);
    await a.calls.write(writer, "wake up");
    await waiting;
  });
}

scenario("poll wakes for any of two sockets", async (scene) => {
  const [a, p] = await conversation(scene);
  const b = await bound(a.calls, scene.left.address);
  for (const to of [b, a]) {
    const interests = [
      [a.fd, "POLLIN"],
      [b.fd, "POLLIN"],
    ] as const;
    const waiting = poll(a.calls.inThread, interests, PATIENCE_MILLIS);
    await p.calls.sendto(p.fd, "wake up", to.at);
    await waiting;
    await to.calls.recv(to.fd, 100, "MSG_DONTWAIT");
  }
});

for (const name of ["epoll_wait", "epoll_pwait", "epoll_pwait2"] as const) {
  scenario(
    `${name} reports a socket and a pipe as long as they are ready`,
    async (scene) => {
      const [a, p] = await conversation(scene);
      const { calls, fd } = a;
      const [reader, writer] = await calls.pipe();
      const epoll = await epollCreate(calls, "EPOLL_CLOEXEC");
      await epollControl(calls, epoll, "ADD", [fd, "EPOLLIN"]);
      await epollControl(calls, epoll, "ADD", [reader, "EPOLLIN"]);
      await epollWait(calls, epoll, 0, name);
      await epollWait(calls, epoll, MOMENT_MILLIS, name);
      await p.calls.sendto(p.fd, "x", a.at);
      await epollWait(calls, epoll, PATIENCE_MILLIS, name);
      await calls.write(writer, "y");
      await epollWait(calls, epoll, 0, name);
      await calls.recv(fd);
      await epollWait(calls, epoll, -1, name);
      await calls.read(reader);
      await epollWait(calls, epoll, 0, name);
    },
    { bypass: { received: 1 } },
  );
}

scenario("epoll wakes when a datagram arrives", async (scene) => {
  const [a, p] = await conversation(scene);
  const epoll = await epollCreate(a.calls);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
  const waiting = epollWait(a.calls.inThread, epoll, PATIENCE_MILLIS);
  await p.calls.sendto(p.fd, "wake up", a.at);
  await waiting;
});

scenario("epoll wakes for a pipe while the socket is quiet", async (scene) => {
  const [a] = await conversation(scene);
  const [reader, writer] = await a.calls.pipe();
  const epoll = await epollCreate(a.calls);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
  await epollControl(a.calls, epoll, "ADD", [reader, "EPOLLIN"]);
  const waiting = epollWait(a.calls.inThread, epoll, PATIENCE_MILLIS);
  await poll(a.calls, [], MOMENT_MILLIS);
  await a.calls.write(writer, "wake up");
  await waiting;
});

scenario("epoll wakes for a socket that is added while it waits", async (scene) => {
  const [a, p] = await conversation(scene);
  const epoll = await epollCreate(a.calls);
  const waiting = epollWait(a.calls.inThread, epoll, PATIENCE_MILLIS);
  await p.calls.sendto(p.fd, "waiting already", a.at);
  await poll(a.calls, [], MOMENT_MILLIS);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
  await waiting;
});

scenario("an edge-triggered socket is reported once for each arrival", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls, fd } = a;
  const epoll = await epollCreate(calls);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLIN|EPOLLET"]);
  await epollWait(calls, epoll, 0);
  await p.calls.sendto(p.fd, "first", a.at);
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await epollWait(calls, epoll, 0);
  await p.calls.sendto(p.fd, "second", a.at);
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await epollWait(calls, epoll, 0);
  await calls.recv(fd);
  await epollWait(calls, epoll, 0);
  await calls.recv(fd);
  await calls.expecting("EAGAIN").recv(fd, 100, "MSG_DONTWAIT");
  await p.calls.sendto(p.fd, "third", a.at);
  await epollWait(calls, epoll, PATIENCE_MILLIS);
});

scenario("an edge-triggered socket that is ready is reported when it is added", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "early", a.at);
  await readable(a);
  const epoll = await epollCreate(a.calls);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN|EPOLLOUT|EPOLLET"]);
  await epollWait(a.calls, epoll, PATIENCE_MILLIS);
  await epollWait(a.calls, epoll, 0);
  await epollControl(a.calls, epoll, "MOD", [a.fd, "EPOLLIN|EPOLLET"]);
  await epollWait(a.calls, epoll, PATIENCE_MILLIS);
  await epollWait(a.calls, epoll, 0);
});

scenario("a one-shot socket is reported once until it is armed again", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls, fd } = a;
  const epoll = await epollCreate(calls);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLIN|EPOLLONESHOT"]);
  await p.calls.sendto(p.fd, "first", a.at);
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await p.calls.sendto(p.fd, "second", a.at);
  await readable(a);
  await epollWait(calls, epoll, MOMENT_MILLIS);
  await epollControl(calls, epoll, "MOD", [fd, "EPOLLIN|EPOLLONESHOT"]);
  await epollWait(calls, epoll, PATIENCE_MILLIS);
  await epollWait(calls, epoll, 0);
});

scenario("epoll reports what its interest list asks for and no more", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls, fd } = a;
  const epoll = await epollCreate(calls);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLOUT"]);
  await epollWait(calls, epoll, 0);
  await p.calls.sendto(p.fd, "x", a.at);
  await readable(a);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "MOD", [fd, "EPOLLIN|EPOLLOUT"]);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "MOD", [fd, "EPOLLIN|EPOLLRDNORM|EPOLLWRNORM|EPOLLPRI"]);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "MOD", [fd, "0"]);
  await epollWait(calls, epoll, 0);
  await epollControl(calls, epoll, "DEL", [fd, "0"]);
  await epollWait(calls, epoll, 0);
});

scenario("epoll_ctl refuses what it always refused", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  const epoll = await epollCreate(calls);
  await epollControl(calls.expecting("ENOENT"), epoll, "MOD", [fd, "EPOLLIN"]);
  await epollControl(calls.expecting("ENOENT"), epoll, "DEL", [fd, "EPOLLIN"]);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLIN"]);
  await epollControl(calls.expecting("EEXIST"), epoll, "ADD", [fd, "EPOLLIN"]);
  await epollControl(calls.expecting("EBADF"), epoll, "ADD", [99, "EPOLLIN"]);
  await epollControl(calls.expecting("EBADF"), 99, "ADD", [fd, "EPOLLIN"]);
  await epollControl(calls.expecting("EINVAL"), fd, "ADD", [epoll, "EPOLLIN"]);
  await epollControl(calls.expecting("EINVAL"), epoll, "ADD", [epoll, "EPOLLIN"]);
  await epollWait(calls.expecting("EINVAL"), epoll, 0, "epoll_wait", 0);
  await epollWait(calls.expecting("EINVAL"), fd, 0);
  await epollWait(calls.expecting("EBADF"), 99, 0);
});

scenario(
  "epoll gives at most as many events as asked for and serves all in turn",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const b = await bound(a.calls, scene.left.address);
    const epoll = await epollCreate(a.calls);
    for (const { fd } of [a, b]) await epollControl(a.calls, epoll, "ADD", [fd, "EPOLLIN"]);
    for (const to of [a, b]) {
      await p.calls.sendto(p.fd, "x", to.at);
      await readable(to);
    }
    const seen = new Set<number>();
    for (let i = 0; i < 4; i++) {
      const { descriptors } = await epollWait(a.calls.untold, epoll, 0, "epoll_wait", 1);
      for (const fd of descriptors) seen.add(fd);
    }
    a.calls.note(`both were served: ${seen.size === 2}`);
    await epollWait(a.calls, epoll, 0);
  },
);

scenario("closing a socket takes it out of epoll", async (scene) => {
  const [a, p] = await conversation(scene);
  const epoll = await epollCreate(a.calls);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
  await p.calls.sendto(p.fd, "x", a.at);
  await epollWait(a.calls, epoll, PATIENCE_MILLIS);
  await a.calls.close(a.fd);
  await epollWait(a.calls, epoll, 0);
  const b = await bound(a.calls, scene.left.address);
  await p.calls.sendto(p.fd, "x", b.at);
  await readable(b);
  await epollWait(a.calls, epoll, 0);
});

scenario("a socket stays in epoll as long as a duplicate is open", async (scene) => {
  const [a, p] = await conversation(scene);
  const epoll = await epollCreate(a.calls);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
  const copy = await a.calls.dup(a.fd);
  await a.calls.close(a.fd);
  await p.calls.sendto(p.fd, "x", a.at);
  await epollWait(a.calls, epoll, PATIENCE_MILLIS);
  await a.calls.recv(copy);
  await a.calls.close(copy);
  await epollWait(a.calls, epoll, 0);
});

scenario("one socket may be in two epolls", async (scene) => {
  const [a, p] = await conversation(scene);
  const first = await epollCreate(a.calls);
  const second = await epollCreate(a.calls);
  for (const epoll of [first, second]) {
    await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
  }
  await p.calls.sendto(p.fd, "x", a.at);
  for (const epoll of [first, second]) await epollWait(a.calls, epoll, PATIENCE_MILLIS);
});

scenario(
  "an epoll inside a poll, a select and another epoll shows a ready socket",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const { calls, fd } = a;
    const [inner, outer] = [await epollCreate(calls), await epollCreate(calls)];
    await epollControl(calls, inner, "ADD", [fd, "EPOLLIN"]);
    await epollControl(calls, outer, "ADD", [inner, "EPOLLIN"]);
    await poll(calls, [[inner, "POLLIN"]], 0);
    await p.calls.sendto(p.fd, "x", a.at);
    await readable(a);
    await poll(calls, [[inner, "POLLIN"]], PATIENCE_MILLIS);
    await select(calls, { read: [inner] }, PATIENCE_MILLIS);
    await epollWait(calls, outer, PATIENCE_MILLIS);
    await epollWait(calls, inner, PATIENCE_MILLIS);
  },
);

scenario(
  "a socket that is connected after it was added keeps its place in epoll",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const epoll = await epollCreate(a.calls);
    await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
    await a.calls.connect(a.fd, p.at);
    await p.calls.sendto(p.fd, "x", a.at);
    await epollWait(a.calls, epoll, PATIENCE_MILLIS);
  },
);

scenario("a socket that is added to epoll before it is bound is reported later", async (scene) => {
  const subject = await scene.subject();
  const p = await bound(await scene.peer(), scene.right.address);
  const epoll = await epollCreate(subject);
  const fd = await subject.socket();
  await epollControl(subject, epoll, "ADD", [fd, "EPOLLIN"]);
  await epollWait(subject, epoll, 0);
  await subject.bind(fd, { address: scene.left.address, port: 0 });
  await p.calls.sendto(p.fd, "x", await subject.getsockname(fd));
  await epollWait(subject, epoll, PATIENCE_MILLIS);
  await subject.recv(fd);
});

scenario("shutdown makes a socket ready for epoll", async (scene) => {
  const [a] = await connected(scene);
  const epoll = await epollCreate(a.calls);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN|EPOLLOUT|EPOLLRDHUP"]);
  await epollWait(a.calls, epoll, 0);
  await a.calls.shutdown(a.fd, "SHUT_RD");
  await epollWait(a.calls, epoll, PATIENCE_MILLIS);
  await a.calls.shutdown(a.fd, "SHUT_WR");
  await epollWait(a.calls, epoll, PATIENCE_MILLIS);
});
