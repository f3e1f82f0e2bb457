// Sockets that are passed to another program with all that is in them.

import { MOMENT_MILLIS, PATIENCE_MILLIS, conversation } from "../support/builders.ts";
import { passing } from "../support/passing.ts";
import { epollControl, epollCreate, epollWait, poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import { arrived, serves } from "../support/tcp.ts";

scenario(
  "a connection goes with what is unread, and stays in the sender's epoll set",
  async (scene) => {
    const { subject, peer } = await serves(scene);
    const receiver = await scene.start("receiver", { accelerated: true });
    const way = await passing(scene, subject.calls, receiver);
    const set = await epollCreate(subject.calls);
    await epollControl(subject.calls, set, "ADD", [subject.fd, "EPOLLIN"]);
    await peer.calls.send(peer.fd, "in flight");
    await arrived(subject, 9);
    const fd = await way.pass(subject.fd);
    await subject.calls.close(subject.fd);
    // Its file is open elsewhere: the set goes on to tell of it.
    await epollWait(subject.calls, set, PATIENCE_MILLIS);
    const own = await epollCreate(receiver);
    await epollControl(receiver, own, "ADD", [fd, "EPOLLIN|EPOLLET"]);
    await epollWait(receiver, own, PATIENCE_MILLIS);
    await receiver.recv(fd);
    await epollWait(subject.calls, set, 0);
    const waiting = epollWait(receiver.inThread, own, PATIENCE_MILLIS);
    await poll(receiver, [], MOMENT_MILLIS);
    await peer.calls.send(peer.fd, "and more");
    await waiting;
    await receiver.recv(fd);
    await receiver.send(fd, "an answer");
    await peer.calls.recv(peer.fd);
    await receiver.close(fd);
    await peer.calls.recv(peer.fd);
  },
  { bypass: { connections: 1, segments: 8 } },
);

scenario(
  "a datagram socket goes with what is queued, and comes back",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const receiver = await scene.start("receiver", { accelerated: true });
    const there = await passing(scene, a.calls, receiver);
    for (const text of ["one", "two"]) await p.calls.sendto(p.fd, text, a.at);
    await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
    const fd = await there.pass(a.fd);
    await a.calls.close(a.fd);
    await receiver.recvfrom(fd);
    await receiver.recvfrom(fd);
    await p.calls.sendto(p.fd, "three", a.at);
    await receiver.recvfrom(fd);
    await receiver.sendto(fd, "from the new owner", p.at);
    await p.calls.recvfrom(p.fd);
  },
  { bypass: { received: 3 } },
);

scenario("a listener is passed, and both accept", async (scene) => {
  const { subject, listener, peer } = await serves(scene);
  const receiver = await scene.start("receiver", { accelerated: true });
  const fd = await (await passing(scene, subject.calls, receiver)).pass(listener.fd);
  for (const [calls, own] of [
    [receiver, fd],
    [subject.calls, listener.fd],
  ] as const) {
    const client = await peer.calls.socket("SOCK_STREAM");
    await peer.calls.connect(client, subject.at);
    await poll(calls, [[own, "POLLIN"]], PATIENCE_MILLIS);
    const accepted = await calls.make("accept", [own, 0, 0], "whoever is asked");
    await calls.send(accepted.result, "welcome");
    await peer.calls.recv(client);
  }
});

scenario(
  "a program without the library is passed a connection, and nothing hangs",
  async (scene) => {
    const { subject, peer } = await serves(scene);
    const receiver = await scene.start("receiver");
    const fd = await (await passing(scene, subject.calls, receiver)).pass(subject.fd);
    await subject.calls.close(subject.fd);
    await receiver.close(fd);
    await peer.calls.recv(peer.fd);
  },
);
