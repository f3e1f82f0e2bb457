// Every way to make a process: its sockets are its parent's, and what it opens is its own.

import { conversation } from "../support/builders.ts";
import { RARE_FORKS } from "../support/libc.ts";
import { scenario } from "../support/scenario.ts";
import { serves } from "../support/tcp.ts";

/** The same number on all processors since Linux 5.6. */
const SYS_PIDFD_GETFD = 438;

for (const way of RARE_FORKS) {
  // AArch64 never had the call.
  if (way === "syscall-fork" && process.arch !== "x64") continue;
  scenario(
    `${way}: the child uses, and closes, a datagram socket of its parent's`,
    async (scene) => {
      const [a, p] = await conversation(scene);
      await p.calls.sendto(p.fd, "for the child", a.at);
      const { pid, replies } = await a.calls.fork(
        (child) => [
          child.recvfrom(a.fd),
          child.sendto(a.fd, "from the child", p.at),
          child.close(a.fd),
          child.expecting("EBADF").sendto(a.fd, "closed", p.at),
        ],
        way,
      );
      await Promise.all(replies);
      await a.calls.waitpid(pid);
      await p.calls.recvfrom(p.fd);
      await p.calls.sendto(p.fd, "for the parent", a.at);
      await a.calls.recvfrom(a.fd);
      await a.calls.sendto(a.fd, "from the parent", p.at);
      await p.calls.recvfrom(p.fd);
    },
    { bypass: { received: 2 } },
  );

  scenario(
    `${way}: a connection ends when both have closed it, and the child opens sockets`,
    async (scene) => {
      const { subject, peer } = await serves(scene);
      const { pid, replies } = await subject.calls.fork(
        (child) => [
          child.send(subject.fd, "from the child"),
          child.close(subject.fd),
          child.socket("SOCK_STREAM"),
          child.expecting("EPIPE").send(subject.fd, "another socket now", "MSG_NOSIGNAL"),
        ],
        way,
      );
      await Promise.all(replies);
      await subject.calls.waitpid(pid);
      await peer.calls.recv(peer.fd, 14, "MSG_WAITALL");
      await subject.calls.send(subject.fd, "from the parent");
      await peer.calls.recv(peer.fd);
      await subject.calls.close(subject.fd);
      await peer.calls.recv(peer.fd);
    },
    { bypass: { connections: 1, segments: 8 } },
  );
}

scenario(
  "pidfd_getfd takes a socket out of another program, which then closes its own",
  async (scene) => {
    const { subject, peer } = await serves(scene);
    const thief = await scene.start("thief", { accelerated: true });
    // Whatever the kernel's defaults are: only a parent may trace, unless told otherwise.
    const getpid = await subject.calls.untold.make("getpid", [], "");
    const pidfd = (await thief.untold.make("pidfd_open", [getpid.result, 0], "")).result;
    const taken = await thief.make("pidfd_getfd", [pidfd, subject.fd, 0], "the connection");
    await thief.send(taken.result, "from the thief");
    await peer.calls.recv(peer.fd);
    await subject.calls.close(subject.fd);
    await peer.calls.send(peer.fd, "still there?");
    await thief.recv(taken.result);
    await thief.close(taken.result);
    await peer.calls.recv(peer.fd);
  },
  { bypass: { connections: 1, segments: 6 } },
);

scenario("syscall(2) pidfd_getfd does the same", async (scene) => {
  const [a, p] = await conversation(scene);
  const thief = await scene.start("thief", { accelerated: true });
  const getpid = await a.calls.untold.make("getpid", [], "");
  const pidfd = (await thief.untold.make("pidfd_open", [getpid.result, 0], "")).result;
  const taken = await thief.make("syscall", [SYS_PIDFD_GETFD, pidfd, a.fd, 0], "pidfd_getfd");
  await a.calls.close(a.fd);
  await p.calls.sendto(p.fd, "to whoever has it", a.at);
  await thief.recvfrom(taken.result);
});
