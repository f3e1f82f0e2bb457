// Threads and processes that wait in epoll sets at the same time, and what happens to the sets
// meanwhile: how many of them an event wakes is compared with the kernel.

import { processesSleep, threadsSleep } from "../support/asleep.ts";
import { type Endpoint, PATIENCE_MILLIS, readable } from "../support/builders.ts";
import { conversation } from "../support/builders.ts";
import type { Calls, Reply } from "../support/calls.ts";
import { numberOf } from "../support/constants.ts";
import * as memory from "../support/memory.ts";
import { epollControl, epollCreate, epollWait } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import { arrived, connects, serves } from "../support/tcp.ts";

const WAITERS = 8;
/** So long the losers wait. */
const LOSERS_MILLIS = 500;

/** How many of the waits found something. */
async function winners(calls: Calls, waits: readonly Promise<Reply>[]): Promise<void> {
  const all = await Promise.all(waits);
  calls.note(`${all.filter(({ result }) => result === 1).length} of ${all.length} were woken`);
}

/** One datagram for eight threads; `setFor` says in which set each waits. */
async function oneDatagram(scene: Scene, flags: string, hasOwnSet: boolean): Promise<void> {
  const [a, p] = await conversation(scene);
  const { calls, fd } = a;
  const sets: number[] = [];
  for (let n = 0; n < WAITERS; n++) {
    const isNew = hasOwnSet || n === 0;
    const set = isNew ? await epollCreate(calls) : (sets[0] ?? -1);
    if (isNew) await epollControl(calls, set, "ADD", [fd, flags]);
    sets.push(set);
  }
  const waits = sets.map((set) => epollWait(calls.untold.inThread, set, LOSERS_MILLIS));
  await threadsSleep(calls, WAITERS);
  await p.calls.sendto(p.fd, "for whom?", a.at);
  await winners(calls, waits);
}

for (const how of ["", "|EPOLLET", "|EPOLLEXCLUSIVE", "|EPOLLEXCLUSIVE|EPOLLET"]) {
  scenario(
    `EPOLLIN${how}: one datagram, eight threads, each with a set of its own`,
    async (scene) => await oneDatagram(scene, `EPOLLIN${how}`, true),
    { bypass: { received: 1 } },
  );
}

for (const how of ["", "|EPOLLET", "|EPOLLONESHOT"]) {
  scenario(`EPOLLIN${how}: one datagram, eight threads in one set`, async (scene) => {
    await oneDatagram(scene, `EPOLLIN${how}`, false);
  });
}

/** Adds a descriptor to the set that the call before made, and waits in it. */
function waitInChild(child: Calls, { calls, fd }: Endpoint, flags: string): Promise<Reply> {
  const event = Buffer.alloc(memory.EPOLL_EVENT_BYTES);
  event.writeUInt32LE(numberOf(flags), 0);
  const [at, room] = [calls.libc.put(event), calls.libc.reserve(64)];
  void child.untold.raw("epoll_create1", [0], "");
  void child.untold.raw("epoll_ctl", ["$1", numberOf("EPOLL_CTL_ADD"), fd, at], "");
  return child.untold.raw("epoll_wait", ["$2", room, 1, LOSERS_MILLIS], "");
}

for (const flags of ["EPOLLIN|EPOLLEXCLUSIVE", "EPOLLIN"]) {
  scenario(`${flags}: one connection, eight processes with sets of their own`, async (scene) => {
    const { subject, peer, listener } = await serves(scene);
    const waits: Promise<Reply>[] = [];
    const pids: number[] = [];
    for (let n = 0; n < WAITERS; n++) {
      const { pid, replies } = await subject.calls.untold.fork((child) =>
        waitInChild(child, listener, flags),
      );
      waits.push(replies);
      pids.push(pid);
    }
    await processesSleep(pids);
    const fd = await peer.calls.socket("SOCK_STREAM");
    await peer.calls.connect(fd, subject.at);
    await winners(subject.calls, waits);
  });
}

scenario("EPOLLONESHOT across threads: each arming wakes one of them", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const set = await epollCreate(calls);
  await epollControl(calls, set, "ADD", [fd, "EPOLLIN|EPOLLONESHOT"]);
  const waits = [1, 2, 3].map(() => epollWait(calls.untold.inThread, set, LOSERS_MILLIS));
  await threadsSleep(calls, 3);
  await peer.calls.send(peer.fd, "x");
  await Promise.race(waits);
  await epollControl(calls, set, "MOD", [fd, "EPOLLIN|EPOLLONESHOT"]);
  await winners(calls, waits);
});

scenario("a set that parent and child share is one: members, edges, one-shots", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  const [read, write] = await calls.pipe();
  const set = await epollCreate(calls);
  await epollControl(calls, set, "ADD", [fd, "EPOLLIN|EPOLLET"]);
  await epollControl(calls, set, "ADD", [read, "EPOLLIN|EPOLLET"]);
  await peer.calls.send(peer.fd, "one edge");
  await calls.write(write, "another");
  await arrived(subject, 8);
  const first = await calls.fork((child) => epollWait(child, set, PATIENCE_MILLIS));
  await first.replies;
  await epollWait(calls, set, 0);
  const second = await calls.fork((child) =>
    epollControl(child, set, "MOD", [fd, "EPOLLIN|EPOLLOUT|EPOLLONESHOT"]),
  );
  await second.replies;
  await epollWait(calls, set, PATIENCE_MILLIS);
  const third = await calls.fork((child) => [
    epollWait(child, set, 0),
    epollControl(child, set, "DEL", [fd, "0"]),
  ]);
  await Promise.all(third.replies);
  await epollControl(calls.expecting("ENOENT"), set, "MOD", [fd, "EPOLLIN"]);
  await epollControl(calls, set, "ADD", [fd, "EPOLLIN"]);
  await epollWait(calls, set, PATIENCE_MILLIS);
});

scenario("a child goes on with the set that its parent has closed", async (scene) => {
  const [a, p] = await conversation(scene);
  const set = await epollCreate(a.calls);
  await epollControl(a.calls, set, "ADD", [a.fd, "EPOLLIN"]);
  const { pid, replies } = await a.calls.untold.fork((child) => ({
    wait: epollWait(child, set, PATIENCE_MILLIS),
    again: epollWait(child, set, 0),
  }));
  await processesSleep([pid]);
  await a.calls.close(set);
  await p.calls.sendto(p.fd, "to the child", a.at);
  const [first, second] = [await replies.wait, await replies.again];
  a.calls.note(`the child sees ${first.descriptors} and ${second.descriptors}`);
});

scenario("a set that is passed to another process is the same one there", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls, fd } = a;
  const [left, right] = await calls.socketpair("SOCK_DGRAM");
  // The number that what the child receives will have, and the set has here.
  const number = right + 1;
  const { replies } = await calls.fork((child) => [
    child.untold.recvmsg(right, [20], { controlBytes: 64 }),
    epollWait(child, number, PATIENCE_MILLIS),
    epollControl(child, number, "MOD", [fd, "EPOLLOUT"]),
  ]);
  const set = await epollCreate(calls);
  calls.note(`the set is ${set === number ? "as expected" : set}`);
  await epollControl(calls, set, "ADD", [fd, "EPOLLIN|EPOLLET"]);
  await p.calls.sendto(p.fd, "one edge", a.at);
  await readable(a);
  const rights = { level: "SOL_SOCKET", type: "SCM_RIGHTS", data: memory.int32(set) };
  await calls.sendmsg(left, { data: ["take it"], controls: [rights] });
  await Promise.all(replies);
  await epollWait(calls, set, 0);
});

scenario("a set is closed under a thread that waits in it: the wait goes on", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls, fd } = a;
  const set = await epollCreate(calls);
  await epollControl(calls, set, "ADD", [fd, "EPOLLIN|EPOLLET"]);
  const waiting = epollWait(calls.inThread, set, PATIENCE_MILLIS);
  await threadsSleep(calls, 1);
  await calls.close(set);
  await p.calls.sendto(p.fd, "still heard", a.at);
  await waiting;
  await epollWait(calls.expecting("EBADF"), set, 0);
});

scenario("members that are closed, copied and added anew under a waiting thread", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls } = a;
  const set = await epollCreate(calls);
  await epollControl(calls, set, "ADD", [a.fd, "EPOLLIN|EPOLLET"]);
  const waiting = epollWait(calls.inThread, set, PATIENCE_MILLIS);
  await threadsSleep(calls, 1);
  const copy = await calls.dup(a.fd);
  await calls.close(a.fd);
  await p.calls.sendto(p.fd, "by the copy", a.at);
  await waiting;
  await calls.recv(copy);
  await epollControl(calls, set, "ADD", [copy, "EPOLLIN"]);
  const again = epollWait(calls.inThread, set, LOSERS_MILLIS);
  await threadsSleep(calls, 1);
  await calls.close(copy);
  await again;
  const fd = await calls.socket();
  await calls.bind(fd, { address: scene.left.address, port: 0 });
  const at = await calls.getsockname(fd);
  const last = epollWait(calls.inThread, set, PATIENCE_MILLIS);
  await threadsSleep(calls, 1);
  await p.calls.sendto(p.fd, "anew", at);
  await readable({ calls, fd, at });
  await epollControl(calls, set, "ADD", [fd, "EPOLLIN"]);
  await last;
});

scenario("a wait that began before the program had a stack hears of it", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const set = await epollCreate(subject);
  const waits = [1, 2].map(() => epollWait(subject.untold.inThread, set, PATIENCE_MILLIS));
  await threadsSleep(subject, 2);
  const fd = await subject.socket();
  await epollControl(subject, set, "ADD", [fd, "EPOLLIN"]);
  await subject.bind(fd, { address: scene.left.address, port: 0 });
  const far = await peer.socket();
  await peer.sendto(far, "x", await subject.getsockname(fd));
  await winners(subject, waits);
  await epollWait(subject, set, 0);
});
