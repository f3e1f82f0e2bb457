// Addresses: bind, connect, disconnect, and who hears whom.

import {
  ANY_ADDRESS,
  bound,
  connected,
  conversation,
  readable,
  unusedPort,
} from "../support/builders.ts";
import { scenario } from "../support/scenario.ts";

scenario(
  "a datagram arrives with its sender's address and the answer finds its way back",
  async (scene) => {
    const [a, p] = await conversation(scene);
    await p.calls.sendto(p.fd, "hello", a.at);
    await a.calls.recvfrom(a.fd);
    await a.calls.sendto(a.fd, "hello yourself", p.at);
    await p.calls.recvfrom(p.fd);
  },
  { bypass: { received: 1 } },
);

scenario(
  "a socket that was never bound gets a port with its first datagram",
  async (scene) => {
    const subject = await scene.subject();
    const p = await bound(await scene.peer(), scene.right.address);
    const a = await subject.socket();
    await subject.getsockname(a);
    await subject.sendto(a, "who am I", p.at);
    const { from } = await p.calls.recvfrom(p.fd);
    await subject.getsockname(a);
    if (from) await p.calls.sendto(p.fd, "you are you", from);
    await subject.recvfrom(a);
  },
  { bypass: { received: 1 } },
);

scenario(
  "connect chooses the local address and port",
  async (scene) => {
    const subject = await scene.subject();
    const p = await bound(await scene.peer(), scene.right.address);
    const a = await subject.socket();
    await subject.connect(a, p.at);
    const at = await subject.getsockname(a);
    await subject.getpeername(a);
    await subject.send(a, "one");
    await p.calls.recvfrom(p.fd);
    await p.calls.sendto(p.fd, "two", at);
    await subject.recvfrom(a);
  },
  { bypass: { received: 1 } },
);

scenario(
  "a socket bound to a wildcard keeps its port and gets an address by connect",
  async (scene) => {
    const a = await bound(await scene.subject(), ANY_ADDRESS);
    const p = await bound(await scene.peer(), scene.right.address);
    await a.calls.connect(a.fd, p.at);
    const at = await a.calls.getsockname(a.fd);
    await p.calls.sendto(p.fd, "to the chosen address", at);
    await a.calls.recvfrom(a.fd);
  },
);

scenario("a connected socket hears only its peer", async (scene) => {
  const [a, p] = await connected(scene);
  const other = await bound(p.calls, scene.right.address);
  await other.calls.sendto(other.fd, "from a stranger", a.at);
  await p.calls.send(p.fd, "from the peer");
  await a.calls.recvfrom(a.fd);
  await a.calls.expecting("EAGAIN").recvfrom(a.fd, 100, "MSG_DONTWAIT");
});

scenario("what arrived before connect stays readable after it", async (scene) => {
  const [a, p] = await conversation(scene);
  const other = await bound(p.calls, scene.right.address);
  await other.calls.sendto(other.fd, "early", a.at);
  await readable(a);
  await a.calls.connect(a.fd, p.at);
  await a.calls.recvfrom(a.fd, 100, "MSG_DONTWAIT");
});

scenario("connecting again changes the peer", async (scene) => {
  const [a, p] = await connected(scene);
  const q = await bound(p.calls, scene.right.address);
  await a.calls.connect(a.fd, q.at);
  await a.calls.getpeername(a.fd);
  await a.calls.getsockname(a.fd);
  await a.calls.send(a.fd, "to the second");
  await q.calls.recvfrom(q.fd);
  await p.calls.send(p.fd, "from the first");
  await q.calls.sendto(q.fd, "from the second", a.at);
  await a.calls.recvfrom(a.fd);
  await a.calls.expecting("EAGAIN").recvfrom(a.fd, 100, "MSG_DONTWAIT");
});

scenario("connecting to AF_UNSPEC lets everybody in again", async (scene) => {
  const [a, p] = await conversation(scene);
  // Only a port that was asked for by number outlives the disconnection.
  const at = await unusedPort(a.calls, scene.left.address);
  const b = await a.calls.socket();
  await a.calls.bind(b, at);
  await a.calls.connect(b, p.at);
  await a.calls.disconnect(b);
  await a.calls.expecting("ENOTCONN").getpeername(b);
  await a.calls.getsockname(b);
  await a.calls.expecting("EDESTADDRREQ").send(b, "to whom?");
  const q = await bound(p.calls, scene.right.address);
  await q.calls.sendto(q.fd, "from anybody", at);
  await a.calls.recvfrom(b);
});

scenario(
  "a port that the kernel chose is given up when the socket is disconnected",
  async (scene) => {
    const [a, p] = await connected(scene);
    await a.calls.disconnect(a.fd);
    await a.calls.getsockname(a.fd);
    await p.calls.send(p.fd, "nobody listens");
    await p.calls.expecting("ECONNREFUSED").recv(p.fd);
    await a.calls.sendto(a.fd, "with a new port", p.at);
    await a.calls.connect(a.fd, p.at);
    await a.calls.getpeername(a.fd);
  },
);

scenario("an unbound socket loses its port when it is disconnected", async (scene) => {
  const subject = await scene.subject();
  const p = await bound(await scene.peer(), scene.right.address);
  const a = await subject.socket();
  await subject.connect(a, p.at);
  await subject.disconnect(a);
  await subject.getsockname(a);
  await subject.connect(a, p.at);
  await subject.send(a, "with a new port");
  await p.calls.recvfrom(p.fd);
});

scenario("a connected socket can still send elsewhere", async (scene) => {
  const [a, p] = await connected(scene);
  const q = await bound(p.calls, scene.right.address);
  await a.calls.sendto(a.fd, "past the peer", q.at);
  await q.calls.recvfrom(q.fd);
  await a.calls.send(a.fd, "to the peer");
  await p.calls.recvfrom(p.fd);
});

scenario("sending without a destination is an error", async (scene) => {
  const subject = await scene.subject();
  const a = await subject.socket();
  await subject.expecting("EDESTADDRREQ").send(a, "to whom?");
  await subject.expecting("EDESTADDRREQ").write(a, "to whom?");
  await subject.expecting("ENOTCONN").getpeername(a);
});

scenario("port 0 is no destination", async (scene) => {
  const subject = await scene.subject();
  const a = await subject.socket();
  await subject.expecting("EINVAL").sendto(a, "x", { address: scene.right.address, port: 0 });
});

scenario("a port can be bound only once", async (scene) => {
  const subject = await scene.subject();
  const { at } = await bound(subject, scene.left.address);
  const b = await subject.socket();
  await subject.expecting("EADDRINUSE").bind(b, at);
  await subject.expecting("EADDRINUSE").bind(b, { ...at, address: ANY_ADDRESS });
  await subject.bind(b, { ...at, address: "127.0.0.1" });
});

scenario("a port is free again after close", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.close(a.fd);
  const b = await a.calls.socket();
  await a.calls.bind(b, a.at);
  await p.calls.sendto(p.fd, "for the second owner", a.at);
  await a.calls.recvfrom(b);
});

scenario("a foreign address can't be bound", async (scene) => {
  const subject = await scene.subject();
  const a = await subject.socket();
  const { address } = scene.right;
  await subject.expecting("EADDRNOTAVAIL").bind(a, { address, port: 0 });
});

scenario("a socket can be bound only once", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  await calls.expecting("EINVAL").bind(fd, { address: scene.left.address, port: 0 });
});

scenario("two sockets of one program talk over the host's own address", async (scene) => {
  const a = await bound(await scene.subject(), scene.left.address);
  const b = await bound(a.calls, scene.left.address);
  await a.calls.sendto(a.fd, "across the room", b.at);
  await b.calls.recvfrom(b.fd);
  await b.calls.sendto(b.fd, "and back", a.at);
  await a.calls.recvfrom(a.fd);
});

scenario("a socket can send to itself", async (scene) => {
  const a = await bound(await scene.subject(), scene.left.address);
  await a.calls.connect(a.fd, a.at);
  await a.calls.send(a.fd, "note to self");
  await a.calls.recvfrom(a.fd);
});

scenario("two accelerated programs of one host talk to each other", async (scene) => {
  const a = await bound(await scene.subject(), scene.left.address);
  const b = await bound(await scene.start("second", { accelerated: true }), scene.left.address);
  await a.calls.sendto(a.fd, "next door", b.at);
  await b.calls.recvfrom(b.fd);
  await b.calls.sendto(b.fd, "hello", a.at);
  await a.calls.recvfrom(a.fd);
});
