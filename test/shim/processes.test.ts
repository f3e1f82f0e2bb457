// Sockets that several processes share: by fork, exec and descriptor passing.

import {
  ANY_ADDRESS,
  bound,
  connected,
  conversation,
  MOMENT_MILLIS,
  PATIENCE_MILLIS,
  refused,
} from "../support/builders.ts";
import { int32 } from "../support/memory.ts";
import { passing } from "../support/passing.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";

scenario(
  "a child receives and answers on the socket it inherited",
  async (scene) => {
    const [a, p] = await conversation(scene);
    await p.calls.sendto(p.fd, "for the child", a.at);
    const { pid, replies } = await a.calls.fork((child) => [
      child.recvfrom(a.fd),
      child.sendto(a.fd, "from the child", p.at),
      child.close(a.fd),
    ]);
    await Promise.all(replies);
    await p.calls.recvfrom(p.fd);
    await a.calls.waitpid(pid);
    await p.calls.sendto(p.fd, "for the parent", a.at);
    await a.calls.recvfrom(a.fd);
    await a.calls.sendto(a.fd, "from the parent", p.at);
    await p.calls.recvfrom(p.fd);
  },
  { bypass: { received: 2 } },
);

scenario("what the parent received before fork the child does not see again", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const text of ["first", "second"]) await p.calls.sendto(p.fd, text, a.at);
  await a.calls.recv(a.fd);
  const { pid, replies } = await a.calls.fork((child) => [
    child.recv(a.fd),
    child.expecting("EAGAIN").recv(a.fd, 10, "MSG_DONTWAIT"),
  ]);
  await Promise.all(replies);
  await a.calls.waitpid(pid);
  await a.calls.expecting("EAGAIN").recv(a.fd, 10, "MSG_DONTWAIT");
});

scenario("a child's close leaves the parent's socket open", async (scene) => {
  const [a, p] = await conversation(scene);
  const { pid, replies } = await a.calls.fork((child) => [child.close(a.fd)]);
  await Promise.all(replies);
  await a.calls.waitpid(pid);
  await p.calls.sendto(p.fd, "still here", a.at);
  await a.calls.recv(a.fd);
});

scenario("a socket goes on in the child when the parent closes it", async (scene) => {
  const [a, p] = await conversation(scene);
  const { pid, replies } = await a.calls.fork((child) => [
    poll(child, [[a.fd, "POLLIN"]], PATIENCE_MILLIS),
    child.recvfrom(a.fd),
  ]);
  await a.calls.close(a.fd);
  await p.calls.sendto(p.fd, "for the child", a.at);
  await Promise.all(replies);
  await a.calls.waitpid(pid);
  await p.calls.connect(p.fd, a.at);
  await p.calls.send(p.fd, "gone");
  await p.calls.expecting("ECONNREFUSED").recv(p.fd);
});

scenario(
  "parent and child wait on one socket and each datagram has one receiver",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const { pid, replies } = await a.calls.fork((child) => [child.recv(a.fd)]);
    const mine = a.calls.inThread.recv(a.fd);
    for (const text of ["same", "same"]) await p.calls.sendto(p.fd, text, a.at);
    await Promise.all([mine, ...replies]);
    await a.calls.waitpid(pid);
    await a.calls.expecting("EAGAIN").recv(a.fd, 10, "MSG_DONTWAIT");
  },
);

scenario("a child opens sockets of its own", async (scene) => {
  const [a, p] = await conversation(scene);
  const { pid, replies } = await a.calls.fork((child) => [
    child.socket(),
    child.sendto(a.fd + 1, "from a new socket", p.at),
    child.close(a.fd + 1),
    child.sendto(a.fd, "from the old one", p.at),
  ]);
  await Promise.all(replies);
  await a.calls.waitpid(pid);
  await p.calls.recvfrom(p.fd);
  await p.calls.recvfrom(p.fd);
  await a.calls.socket();
});

scenario("a child forks before the parent ever opened a socket", async (scene) => {
  const subject = await scene.subject();
  const p = await bound(await scene.peer(), scene.right.address);
  const { pid, replies } = await subject.fork((child) => [
    child.socket(),
    child.sendto(3, "from the child", p.at),
  ]);
  await Promise.all(replies);
  await subject.waitpid(pid);
  await p.calls.recvfrom(p.fd);
  const fd = await subject.socket();
  await subject.sendto(fd, "from the parent", p.at);
  await p.calls.recvfrom(p.fd);
});

scenario("options set in a child hold for the parent", async (scene) => {
  const [a, p] = await connected(scene);
  await p.calls.setsockopt(p.fd, "SOL_IP", "IP_RECVTTL", 1);
  const { pid, replies } = await a.calls.fork((child) => [
    child.setsockopt(a.fd, "SOL_IP", "IP_TTL", 5),
    child.fcntl(a.fd, "F_SETFL", "O_NONBLOCK"),
  ]);
  await Promise.all(replies);
  await a.calls.waitpid(pid);
  await a.calls.send(a.fd, "with the child's TTL");
  await p.calls.recvmsg(p.fd, [100], { controlBytes: 64 });
  await a.calls.expecting("EAGAIN").recv(a.fd);
});

scenario("a child connects the parent's socket", async (scene) => {
  const [a, p] = await conversation(scene);
  const { pid, replies } = await a.calls.fork((child) => [child.connect(a.fd, p.at)]);
  await Promise.all(replies);
  await a.calls.waitpid(pid);
  await a.calls.getpeername(a.fd);
  await a.calls.send(a.fd, "to the child's choice");
  await p.calls.recvfrom(p.fd);
  const stranger = await bound(p.calls, scene.right.address);
  await stranger.calls.sendto(stranger.fd, "not heard", a.at);
  await p.calls.sendto(p.fd, "heard", a.at);
  await a.calls.recv(a.fd);
  await a.calls.expecting("EAGAIN").recv(a.fd, 10, "MSG_DONTWAIT");
});

scenario("a vforked child's close leaves the parent alone", async (scene) => {
  const [a, p] = await conversation(scene);
  const { pid, replies } = await a.calls.fork((child, batch) => {
    const closed = child.close(a.fd);
    batch.exec("/bin/true", []);
    return [closed];
  }, "vfork");
  await Promise.all(replies);
  await a.calls.waitpid(pid);
  await p.calls.sendto(p.fd, "still here", a.at);
  await a.calls.recv(a.fd);
  await a.calls.sendto(a.fd, "indeed", p.at);
  await p.calls.recv(p.fd);
});

scenario("a vforked child's dup2 and close_range leave the parent alone", async (scene) => {
  const [a, p] = await conversation(scene);
  const { pid, replies } = await a.calls.fork((child, batch) => {
    const calls = [child.dup2(a.fd, 9), child.dup2(2, a.fd), child.close_range(3, 20)];
    batch.exec("/bin/true", []);
    return calls;
  }, "vfork");
  await Promise.all<unknown>(replies);
  await a.calls.waitpid(pid);
  await p.calls.sendto(p.fd, "still here", a.at);
  await a.calls.recv(a.fd);
  await a.calls.expecting("EBADF").recv(9);
});

scenario("a socket survives exec", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "before exec", a.at);
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await a.calls.libc.exec();
  await p.calls.sendto(p.fd, "after exec", a.at);
  await a.calls.recvfrom(a.fd);
  await a.calls.recvfrom(a.fd);
  await a.calls.sendto(a.fd, "from the new program", p.at);
  await p.calls.recvfrom(p.fd);
  await a.calls.getsockname(a.fd);
});

scenario("a connected socket survives exec and poll sees it", async (scene) => {
  const [a, p] = await connected(scene);
  await a.calls.libc.exec();
  await poll(a.calls, [[a.fd, "POLLIN|POLLOUT"]], 0);
  await p.calls.send(p.fd, "after exec");
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await a.calls.recv(a.fd);
  await a.calls.send(a.fd, "answer");
  await p.calls.recv(p.fd);
});

scenario("exec closes what is marked to be closed", async (scene) => {
  const [a, p] = await conversation(scene, "SOCK_DGRAM|SOCK_CLOEXEC");
  await a.calls.libc.exec();
  await a.calls.expecting("EBADF").recv(a.fd);
  await p.calls.connect(p.fd, a.at);
  await refused(p);
  const again = await a.calls.socket();
  await a.calls.bind(again, a.at);
  await p.calls.send(p.fd, "for the successor");
  await a.calls.recv(again);
});

scenario("a shell command reads from and writes to an inherited socket", async (scene) => {
  const [a, p] = await connected(scene);
  await p.calls.send(p.fd, "hello");
  const script = `head -c 5 <&${a.fd} >&2; echo answer >&${a.fd}`;
  const { pid } = await a.calls.fork((_, batch) => batch.exec("/bin/sh", ["-c", script]));
  await p.calls.recv(p.fd);
  await a.calls.waitpid(pid);
  a.calls.note(`the shell printed ${a.calls.libc.program.stderr.match(/hello/)?.[0]}`);
});

scenario("a descriptor passed within a process is one more duplicate", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls } = a;
  const [left, right] = await calls.socketpair();
  const controls = [{ level: "SOL_SOCKET", type: "SCM_RIGHTS", data: int32(a.fd) }];
  await calls.sendmsg(left, { data: ["take this"], controls });
  await calls.close(a.fd);
  await p.calls.sendto(p.fd, "on its way", a.at);
  const { descriptors } = await calls.recvmsg(right, [20], { controlBytes: 64 });
  const [copy = -1] = descriptors;
  await calls.recvfrom(copy);
  await p.calls.sendto(p.fd, "once more", a.at);
  await calls.recvfrom(copy);
});

scenario("a descriptor passed to a child works there", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls } = a;
  const [left, right] = await calls.socketpair();
  // The child's lowest free number, since it has inherited all others.
  const copy = right + 1;
  const { pid, replies } = await calls.fork((child) => [
    child.close(a.fd),
    child.recvmsg(right, [20], { controlBytes: 64 }),
    child.recvfrom(a.fd),
    child.sendto(a.fd, `number ${copy} was free`, p.at),
  ]);
  const controls = [{ level: "SOL_SOCKET", type: "SCM_RIGHTS", data: int32(a.fd) }];
  await calls.sendmsg(left, { data: ["take this"], controls });
  await p.calls.sendto(p.fd, "for the new owner", a.at);
  await Promise.all<unknown>(replies);
  await p.calls.recvfrom(p.fd);
  await calls.waitpid(pid);
});

scenario("a descriptor passed to another accelerated program works there", async (scene) => {
  const [a, p] = await conversation(scene);
  const other = await scene.start("other", { accelerated: true });
  const copy = await (await passing(scene, a.calls, other)).pass(a.fd);
  await p.calls.sendto(p.fd, "for the other", a.at);
  await other.recvfrom(copy);
  await a.calls.close(a.fd);
  await p.calls.sendto(p.fd, "for its only owner", a.at);
  await other.recvfrom(copy);
  await other.sendto(copy, "thank you", p.at);
  await p.calls.recvfrom(p.fd);
});

scenario("two threads send and receive at the same time", async (scene) => {
  const [a, p] = await connected(scene);
  const waiting = a.calls.inThread.recv(a.fd);
  await poll(a.calls, [], MOMENT_MILLIS);
  await a.calls.send(a.fd, "sent while another thread receives");
  await p.calls.recv(p.fd);
  await p.calls.send(p.fd, "received while another thread sent");
  await waiting;
});

scenario("a program that ends leaves its port to others", async (scene) => {
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const p = await bound(await scene.peer(), scene.right.address);
  a.calls.libc.end();
  await a.calls.libc.program.waitForExit();
  const next = await scene.start("next", { accelerated: true });
  const fd = await next.socket();
  await next.bind(fd, a.at);
  await p.calls.sendto(p.fd, "for the heir", { ...a.at, address: scene.left.address });
  await next.recvfrom(fd);
});
