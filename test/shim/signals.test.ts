// Signals: what they interrupt, what goes on after them.

import {
  bound,
  conversation,
  type Endpoint,
  PATIENCE_MILLIS,
  refused,
} from "../support/builders.ts";
import { numberOf } from "../support/constants.ts";
import { timeval } from "../support/memory.ts";
import { epollControl, epollCreate, epollWait, poll, select } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";
import { alarmEvery, block, handle, signalSet, stopAlarm } from "../support/signals.ts";

const ALARM_MILLIS = 15;

async function seen({ calls }: Endpoint): Promise<void> {
  calls.note(`the handler ran: ${(await calls.libc.signalCount()) > 0}`);
}

type Wait = (a: Endpoint) => Promise<unknown>;

const receives: [string, Wait][] = [
  ["recv", ({ calls, fd }) => calls.recv(fd)],
  ["recvfrom", ({ calls, fd }) => calls.recvfrom(fd)],
  ["recvmsg", ({ calls, fd }) => calls.recvmsg(fd)],
  ["recvmmsg", ({ calls, fd }) => calls.recvmmsg(fd, 1)],
  ["read", ({ calls, fd }) => calls.read(fd)],
  ["readv", ({ calls, fd }) => calls.readv(fd, [10, 10])],
];

const waits: [string, Wait][] = [
  ["poll", ({ calls, fd }) => poll(calls, [[fd, "POLLIN"]], PATIENCE_MILLIS)],
  ["ppoll", ({ calls, fd }) => poll(calls, [[fd, "POLLIN"]], PATIENCE_MILLIS, "ppoll")],
  ["select", ({ calls, fd }) => select(calls, { read: [fd] }, PATIENCE_MILLIS)],
  ["pselect", ({ calls, fd }) => select(calls, { read: [fd] }, PATIENCE_MILLIS, "pselect")],
];

for (const [name, wait] of receives) {
  scenario(`a signal interrupts ${name}`, async (scene) => {
    const [a, p] = await conversation(scene);
    await handle(a.calls, "SIGALRM");
    await alarmEvery(a.calls, ALARM_MILLIS);
    await wait({ ...a, calls: a.calls.expecting("EINTR") });
    await stopAlarm(a.calls);
    await seen(a);
    await p.calls.sendto(p.fd, "still heard", a.at);
    await a.calls.recv(a.fd);
  });

  scenario(`${name} goes on after a signal with SA_RESTART`, async (scene) => {
    const [a, p] = await conversation(scene);
    await handle(a.calls, "SIGALRM", "SA_RESTART");
    await alarmEvery(a.calls, ALARM_MILLIS);
    const waiting = wait(a);
    await poll(p.calls, [], 4 * ALARM_MILLIS);
    await p.calls.sendto(p.fd, "worth waiting", a.at);
    await waiting;
    await stopAlarm(a.calls);
    await seen(a);
  });
}

scenario("a receive timeout makes SA_RESTART void", async (scene) => {
  const [a] = await conversation(scene);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_RCVTIMEO", timeval(PATIENCE_MILLIS));
  await handle(a.calls, "SIGALRM", "SA_RESTART");
  await alarmEvery(a.calls, ALARM_MILLIS);
  await a.calls.expecting("EINTR").recv(a.fd);
  await stopAlarm(a.calls);
});

for (const [name, wait] of waits) {
  scenario(`a signal interrupts ${name}, SA_RESTART or not`, async (scene) => {
    const [a] = await conversation(scene);
    for (const flags of ["0", "SA_RESTART"]) {
      await handle(a.calls, "SIGALRM", flags);
      await alarmEvery(a.calls, ALARM_MILLIS);
      await wait({ ...a, calls: a.calls.expecting("EINTR") });
      await stopAlarm(a.calls);
    }
    await seen(a);
  });
}

scenario("a signal interrupts epoll_wait, SA_RESTART or not", async (scene) => {
  const [a] = await conversation(scene);
  const epoll = await epollCreate(a.calls);
  await epollControl(a.calls, epoll, "ADD", [a.fd, "EPOLLIN"]);
  for (const flags of ["0", "SA_RESTART"]) {
    await handle(a.calls, "SIGALRM", flags);
    await alarmEvery(a.calls, ALARM_MILLIS);
    await epollWait(a.calls.expecting("EINTR"), epoll, PATIENCE_MILLIS);
    await stopAlarm(a.calls);
  }
});

/** SIGUSR1 is blocked and pending; the call lets it through with an empty mask. */
async function pending(scene: Scene): Promise<Endpoint> {
  const a = await bound(await scene.subject(), scene.left.address);
  await handle(a.calls, "SIGUSR1");
  await block(a.calls, "SIGUSR1");
  await a.calls.raw("raise", [numberOf("SIGUSR1")], "SIGUSR1");
  a.calls.note(`still pending: ${(await a.calls.libc.signalCount()) === 0}`);
  return a;
}

scenario("ppoll lets a pending signal through its mask", async (scene) => {
  const a = await pending(scene);
  const { calls, fd } = a;
  await poll(calls, [[fd, "POLLIN"]], 0);
  const entry = Buffer.alloc(8);
  entry.writeInt32LE(fd, 0);
  entry.writeInt16LE(numberOf("POLLIN"), 4);
  const args = [calls.libc.put(entry), 1, 0, signalSet(calls), 8];
  await calls.expecting("EINTR").raw("ppoll", args, "POLLIN, for ever, empty mask");
  await seen(a);
});

scenario("pselect lets a pending signal through its mask", async (scene) => {
  const a = await pending(scene);
  const { calls, fd } = a;
  const set = Buffer.alloc(128);
  set[fd >> 3] = 1 << (fd & 7);
  const args = [fd + 1, calls.libc.put(set), 0, 0, 0, signalSet(calls)];
  await calls.expecting("EINTR").raw("pselect", args, "read, for ever, empty mask");
  await seen(a);
});

scenario("epoll_pwait lets a pending signal through its mask", async (scene) => {
  const a = await pending(scene);
  const { calls, fd } = a;
  const epoll = await epollCreate(calls);
  await epollControl(calls, epoll, "ADD", [fd, "EPOLLIN"]);
  const args = [epoll, calls.libc.reserve(96), 8, -1, signalSet(calls)];
  await calls.expecting("EINTR").raw("epoll_pwait", args, "for ever, empty mask");
  await seen(a);
});

scenario("a blocked signal interrupts nothing", async (scene) => {
  const [a, p] = await conversation(scene);
  await handle(a.calls, "SIGALRM");
  await block(a.calls, "SIGALRM");
  await alarmEvery(a.calls, ALARM_MILLIS);
  const waiting = a.calls.recv(a.fd);
  await poll(p.calls, [], 3 * ALARM_MILLIS);
  await p.calls.sendto(p.fd, "undisturbed", a.at);
  await waiting;
  await stopAlarm(a.calls);
});

scenario("a signal that nobody handles ends the program while it waits", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.connect(p.fd, a.at);
  const waiting = a.calls.inThread.recv(a.fd).catch(() => {});
  await poll(p.calls, [], ALARM_MILLIS);
  a.calls.libc.program.kill("SIGTERM");
  const { signal, code } = await a.calls.libc.program.waitForExit();
  await waiting;
  p.calls.note(`the subject ended by ${signal ?? code}`);
  await refused(p);
});
