// Connections between programs of one host: both accelerated, and one of them the kernel's.

import {
  ANY_ADDRESS,
  type Endpoint,
  MOMENT_MILLIS,
  PATIENCE_MILLIS,
} from "../../support/builders.ts";
import { epollControl, epollCreate, epollWait, poll } from "../../support/readiness.ts";
import { type Scene, scenario } from "../../support/scenario.ts";
import { accept, arrived, listen, listening, linger, silentPort } from "../../support/tcp.ts";

const NON_BLOCKING = "SOCK_STREAM|SOCK_NONBLOCK";
const LOOPBACK = "127.0.0.1";

/** A second program under exasock, on the host of the first. */
const companion = (scene: Scene) => scene.start("companion", { accelerated: true });

interface Pair {
  /** Who connected. */
  a: Endpoint;
  /** Who accepted, from the listener. */
  b: Endpoint;
  listener: Endpoint;
}

/** The subject connects to the companion, which listens at `bound`, by `address`. */
async function pair(scene: Scene, address = LOOPBACK, bound = address): Promise<Pair> {
  const [subject, other] = [await scene.subject(), await companion(scene)];
  const listener = await listening(other, bound);
  const fd = await subject.socket("SOCK_STREAM");
  await subject.connect(fd, { address, port: listener.at.port });
  const at = await subject.getsockname(fd);
  const accepted = await accept(other, listener.fd);
  return {
    a: { calls: subject, fd, at },
    b: { calls: other, fd: accepted, at: listener.at },
    listener,
  };
}

for (const [where, address, bound] of [
  ["127.0.0.1", () => LOOPBACK, LOOPBACK],
  ["another address of 127/8", () => "127.1.2.3", ANY_ADDRESS],
  ["the host's own address", (scene: Scene) => scene.left.address, ANY_ADDRESS],
] as const) {
  scenario(
    `a connection over ${where} has names, and bytes go both ways`,
    async (scene) => {
      const { a, b } = await pair(scene, address(scene), bound);
      await a.calls.getpeername(a.fd);
      await b.calls.getsockname(b.fd);
      await b.calls.getpeername(b.fd);
      await a.calls.send(a.fd, "question");
      await b.calls.recv(b.fd);
      await b.calls.send(b.fd, "answer");
      await a.calls.recv(a.fd);
      await a.calls.getsockopt(a.fd, "SOL_TCP", "TCP_MAXSEG");
      await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
      await a.calls.close(a.fd);
      await b.calls.recv(b.fd);
      await b.calls.close(b.fd);
    },
    { bypass: { localBytes: 14, kernelSegments: 0 } },
  );
}

scenario(
  "a non-blocking connect is in progress, and done when it is looked at",
  async (scene) => {
    const [subject, other] = [await scene.subject(), await companion(scene)];
    const listener = await listening(other, LOOPBACK);
    const fd = await subject.socket(NON_BLOCKING);
    await subject.expecting("EINPROGRESS").connect(fd, listener.at);
    await poll(subject, [[fd, "POLLIN|POLLOUT"]], 0);
    await subject.getsockopt(fd, "SOL_SOCKET", "SO_ERROR");
    await subject.connect(fd, listener.at);
    await subject.expecting("EISCONN").connect(fd, listener.at);
    await poll(other, [[listener.fd, "POLLIN"]], 0);
    await accept(other, listener.fd);
  },
  { bypass: { connections: 2 } },
);

scenario("nobody listens: the connect is refused at once", async (scene) => {
  const subject = await scene.subject();
  for (const address of [LOOPBACK, scene.left.address]) {
    const silent = await silentPort(subject, address);
    const fd = await subject.socket("SOCK_STREAM");
    await subject.expecting("ECONNREFUSED").connect(fd, silent);
    const other = await subject.socket(NON_BLOCKING);
    await subject.expecting("EINPROGRESS").connect(other, silent);
    await poll(subject, [[other, "POLLOUT"]], PATIENCE_MILLIS);
    await subject.getsockopt(other, "SOL_SOCKET", "SO_ERROR");
  }
});

scenario("half-closed, the other half goes on", async (scene) => {
  const { a, b } = await pair(scene);
  await a.calls.send(a.fd, "all that I say");
  await a.calls.shutdown(a.fd, "SHUT_WR");
  await poll(b.calls, [[b.fd, "POLLIN|POLLOUT|POLLRDHUP"]], 0);
  await b.calls.recv(b.fd);
  await b.calls.recv(b.fd);
  await a.calls.expecting("EPIPE").send(a.fd, "more", "MSG_NOSIGNAL");
  await b.calls.send(b.fd, "still here");
  await b.calls.send(b.fd, ", and there");
  await arrived(a, 21);
  await a.calls.recv(a.fd);
  await b.calls.shutdown(b.fd, "SHUT_WR");
  await a.calls.recv(a.fd);
  await poll(a.calls, [[a.fd, "POLLIN|POLLOUT|POLLRDHUP"]], 0);
  await poll(b.calls, [[b.fd, "POLLIN|POLLOUT|POLLRDHUP"]], 0);
});

scenario("closing with unread data resets the connection", async (scene) => {
  const { a, b } = await pair(scene);
  await a.calls.send(a.fd, "never read");
  await b.calls.close(b.fd);
  await poll(a.calls, [[a.fd, "POLLIN|POLLOUT|POLLRDHUP"]], PATIENCE_MILLIS);
  await a.calls.expecting("ECONNRESET").recv(a.fd);
  await a.calls.recv(a.fd);
  await a.calls.expecting("EPIPE").send(a.fd, "hello?", "MSG_NOSIGNAL");
});

scenario("SO_LINGER of no time resets the connection", async (scene) => {
  const { a, b } = await pair(scene);
  await linger(b.calls, b.fd, 0);
  await b.calls.close(b.fd);
  await poll(a.calls, [[a.fd, "POLLIN|POLLOUT|POLLRDHUP"]], PATIENCE_MILLIS);
  await a.calls.expecting("ECONNRESET").send(a.fd, "hello?", "MSG_NOSIGNAL");
});

scenario("what is sent to an end that was closed is answered by a reset", async (scene) => {
  const { a, b } = await pair(scene);
  await b.calls.close(b.fd);
  await poll(a.calls, [[a.fd, "POLLIN|POLLRDHUP"]], PATIENCE_MILLIS);
  await a.calls.send(a.fd, "one goes through");
  await poll(a.calls, [[a.fd, "POLLIN|POLLOUT|POLLRDHUP"]], PATIENCE_MILLIS);
  await a.calls.expecting("EPIPE").send(a.fd, "two does not", "MSG_NOSIGNAL");
  await a.calls.getsockopt(a.fd, "SOL_SOCKET", "SO_ERROR");
});

scenario("what was sent before the close is all received", async (scene) => {
  const { a, b } = await pair(scene);
  const BYTES = 50_000;
  await b.calls.setsockopt(b.fd, "SOL_SOCKET", "SO_RCVBUF", 4096);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_SNDBUF", 4096);
  const sender = a.calls.inThread.send(a.fd, Buffer.alloc(BYTES, "x"));
  let total = 0;
  const take = async () => {
    const { result } = await b.calls.untold.recv(b.fd, 65536);
    total += Math.max(result, 0);
    return result;
  };
  while (total < 10_000) await take();
  await poll(a.calls, [], MOMENT_MILLIS);
  while (total < BYTES) await take();
  await sender;
  await a.calls.send(a.fd, "the end");
  await a.calls.close(a.fd);
  await b.calls.recv(b.fd);
  await b.calls.recv(b.fd);
  b.calls.note(`${total} bytes`);
});

scenario("a full buffer stops the writer until the reader makes room", async (scene) => {
  const { a, b } = await pair(scene);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_SNDBUF", 65536);
  await b.calls.setsockopt(b.fd, "SOL_SOCKET", "SO_RCVBUF", 65536);
  let sent = 0;
  for (;;) {
    const piece = await a.calls.untold.send(a.fd, Buffer.alloc(16384, "y"), "MSG_DONTWAIT");
    if (piece.error !== "") break;
    sent += piece.result;
  }
  await poll(a.calls, [[a.fd, "POLLOUT"]], MOMENT_MILLIS);
  let received = 0;
  while (received < sent) {
    received += Math.max((await b.calls.untold.recv(b.fd, 65536)).result, 0);
  }
  b.calls.note(`all of it: ${received === sent}`);
  await poll(a.calls, [[a.fd, "POLLOUT"]], PATIENCE_MILLIS);
  await a.calls.send(a.fd, "room");
  await b.calls.recv(b.fd);
});

scenario("urgent data", async (scene) => {
  const { a, b } = await pair(scene);
  await a.calls.send(a.fd, "before");
  await a.calls.send(a.fd, "!", "MSG_OOB");
  await a.calls.send(a.fd, "behind");
  await poll(b.calls, [[b.fd, "POLLIN|POLLPRI"]], PATIENCE_MILLIS);
  await b.calls.recv(b.fd);
  await b.calls.recv(b.fd, 1, "MSG_OOB");
  await b.calls.recv(b.fd);
  await a.calls.send(a.fd, "and on");
  await b.calls.recv(b.fd);
});

scenario("TCP_CORK and MSG_MORE hold back", async (scene) => {
  const { a, b } = await pair(scene);
  await a.calls.setsockopt(a.fd, "SOL_TCP", "TCP_CORK", 1);
  await a.calls.send(a.fd, "corked");
  await b.calls.expecting("EAGAIN").recv(b.fd, 100, "MSG_DONTWAIT");
  await a.calls.setsockopt(a.fd, "SOL_TCP", "TCP_CORK", 0);
  await b.calls.recv(b.fd);
  await a.calls.send(a.fd, "more ", "MSG_MORE");
  await b.calls.expecting("EAGAIN").recv(b.fd, 100, "MSG_DONTWAIT");
  await a.calls.send(a.fd, "and the rest");
  await b.calls.recv(b.fd);
  // Not for ever.
  await a.calls.send(a.fd, "in a while", "MSG_MORE");
  await poll(b.calls, [[b.fd, "POLLIN"]], PATIENCE_MILLIS);
  await b.calls.recv(b.fd);
});

scenario("SIOCOUTQ, SIOCINQ, MSG_PEEK, SO_RCVLOWAT", async (scene) => {
  const { a, b } = await pair(scene);
  await a.calls.send(a.fd, "0123456789");
  await a.calls.ioctl(a.fd, "SIOCOUTQ");
  await b.calls.ioctl(b.fd, "SIOCINQ");
  await b.calls.recv(b.fd, 4, "MSG_PEEK");
  await b.calls.recv(b.fd, 4);
  await b.calls.setsockopt(b.fd, "SOL_SOCKET", "SO_RCVLOWAT", 10);
  await poll(b.calls, [[b.fd, "POLLIN"]], 0);
  await a.calls.send(a.fd, "abcdef");
  await poll(b.calls, [[b.fd, "POLLIN"]], 0);
  await b.calls.recv(b.fd);
});

for (const mode of ["spin", "sleep"]) {
  scenario(
    `blocked calls are woken by the same host (${mode})`,
    async (scene) => {
      const [subject, other] = [await scene.subject(), await companion(scene)];
      const listener = await listening(other, LOOPBACK);
      const waiting = accept(other.inThread, listener.fd);
      await poll(subject, [], MOMENT_MILLIS);
      const fd = await subject.socket("SOCK_STREAM");
      await subject.connect(fd, listener.at);
      const accepted = await waiting;
      const reading = subject.inThread.recv(fd);
      await poll(other, [], MOMENT_MILLIS);
      await other.send(accepted, "wake up");
      await reading;
      const epoll = await epollCreate(subject);
      await epollControl(subject, epoll, "ADD", [fd, "EPOLLIN|EPOLLRDHUP|EPOLLET"]);
      const event = epollWait(subject.inThread, epoll, PATIENCE_MILLIS);
      await poll(other, [], MOMENT_MILLIS);
      await other.send(accepted, "again");
      await event;
      await subject.recv(fd);
      await epollWait(subject, epoll, 0);
      await other.close(accepted);
      await epollWait(subject, epoll, PATIENCE_MILLIS);
    },
    { bypass: { connections: 2, localBytes: 12 }, launcher: [`--wait=${mode}`] },
  );
}

scenario("a full accept queue keeps clients waiting", async (scene) => {
  const [subject, other] = [await scene.subject(), await companion(scene)];
  const listener = await listening(other, LOOPBACK, { backlog: 0 });
  const clients: number[] = [];
  for (let i = 0; i < 2; i++) {
    const fd = await subject.socket(NON_BLOCKING);
    await subject.expecting("EINPROGRESS").connect(fd, listener.at);
    clients.push(fd);
  }
  await poll(subject, [[clients[0] ?? -1, "POLLOUT"]], PATIENCE_MILLIS);
  await poll(subject, [[clients[1] ?? -1, "POLLOUT"]], MOMENT_MILLIS);
  await accept(other, listener.fd);
  await poll(subject, [[clients[1] ?? -1, "POLLOUT"]], PATIENCE_MILLIS);
  await poll(other, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
  await accept(other, listener.fd);
});

scenario(
  "one listener serves this host's programs, accelerated or not, and the network",
  async (scene) => {
    const [subject, other] = [await scene.subject(), await companion(scene)];
    const listener = await listening(subject, ANY_ADDRESS);
    const ordinary = await scene.start("ordinary");
    const peer = await scene.peer();
    for (const address of [LOOPBACK, scene.left.address]) {
      for (const calls of [other, ordinary, ...(address === LOOPBACK ? [] : [peer])]) {
        const fd = await calls.socket("SOCK_STREAM");
        await calls.connect(fd, { address, port: listener.at.port });
        await poll(subject, [[listener.fd, "POLLIN"]], PATIENCE_MILLIS);
        const accepted = await accept(subject, listener.fd);
        await calls.send(fd, "hello");
        await subject.recv(accepted);
        await subject.send(accepted, "welcome");
        await calls.recv(fd);
        await calls.close(fd);
        await subject.recv(accepted);
        await subject.close(accepted);
      }
    }
  },
);

scenario("an accelerated program connects to an ordinary one", async (scene) => {
  const subject = await scene.subject();
  const ordinary = await scene.start("ordinary");
  for (const address of [LOOPBACK, scene.left.address]) {
    const listener = await listening(ordinary, address);
    const fd = await subject.socket("SOCK_STREAM");
    await subject.connect(fd, listener.at);
    const accepted = await accept(ordinary, listener.fd);
    await subject.send(fd, "hello");
    await ordinary.recv(accepted);
    await ordinary.close(accepted);
    await subject.recv(fd);
  }
});

scenario("a listener that is closed resets who waits, and refuses who comes", async (scene) => {
  const [subject, other] = [await scene.subject(), await companion(scene)];
  const listener = await listening(other, LOOPBACK);
  const fd = await subject.socket("SOCK_STREAM");
  await subject.connect(fd, listener.at);
  await other.close(listener.fd);
  await subject.expecting("ECONNRESET").recv(fd);
  const late = await subject.socket("SOCK_STREAM");
  await subject.expecting("ECONNREFUSED").connect(late, listener.at);
});

scenario("a program that is killed leaves its peers an end, or a reset", async (scene) => {
  const { a, b, listener } = await pair(scene);
  const second = await a.calls.socket("SOCK_STREAM");
  await a.calls.connect(second, listener.at);
  await accept(b.calls, listener.fd);
  await a.calls.send(second, "never read");
  await b.calls
    .raw("kill", [(await b.calls.untold.raw("getpid", [], "")).result, 9], "itself")
    .catch(() => {});
  await poll(a.calls, [[a.fd, "POLLIN|POLLRDHUP"]], PATIENCE_MILLIS);
  await a.calls.recv(a.fd);
  await a.calls.expecting("ECONNRESET").recv(second);
});

scenario("the same port can be listened at again at once", async (scene) => {
  const [subject, other] = [await scene.subject(), await companion(scene)];
  let port = 0;
  for (let round = 0; round < 2; round++) {
    const listener = await other.socket("SOCK_STREAM");
    await other.setsockopt(listener, "SOL_SOCKET", "SO_REUSEADDR", 1);
    await other.bind(listener, { address: LOOPBACK, port });
    await listen(other, listener);
    const at = await other.getsockname(listener);
    port = at.port;
    const fd = await subject.socket("SOCK_STREAM");
    await subject.connect(fd, at);
    const accepted = await accept(other, listener);
    await other.close(accepted);
    await subject.recv(fd);
    await subject.close(fd);
    await other.close(listener);
  }
});
