// Sockets that hear more than the accelerated interface: lo, other programs, fragments.

import {
  ANY_ADDRESS,
  bound,
  conversation,
  type Endpoint,
  MOMENT_MILLIS,
  PATIENCE_MILLIS,
  readable,
} from "../support/builders.ts";
import { epollControl, epollCreate, epollWait, poll } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";

const LONG_DATAGRAM_BYTES = 4000;

/** A wildcard socket of the subject, and all who can reach it. */
async function crossroads(scene: Scene) {
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const peer = await bound(await scene.peer(), scene.right.address);
  const neighbour = await bound(await scene.start("neighbour"), scene.left.address);
  const onWire = { ...a.at, address: scene.left.address };
  const onLo = { ...a.at, address: "127.0.0.1" };
  return { a, peer, neighbour, onWire, onLo };
}

scenario(
  "a wildcard socket hears the wire, lo and local programs",
  async (scene) => {
    const { a, peer, neighbour, onWire, onLo } = await crossroads(scene);
    await peer.calls.sendto(peer.fd, "over the wire", onWire);
    await a.calls.recvfrom(a.fd);
    await neighbour.calls.sendto(neighbour.fd, "from next door", onWire);
    await a.calls.recvfrom(a.fd);
    const local = await bound(neighbour.calls, "127.0.0.1");
    await local.calls.sendto(local.fd, "over lo", onLo);
    await a.calls.recvfrom(a.fd);
    await peer.calls.sendto(peer.fd, "over the wire again", onWire);
    await a.calls.recvfrom(a.fd);
  },
  { bypass: { received: 2, kernelReceived: 2 } },
);

scenario("what waits in both worlds is all received", async (scene) => {
  const { a, peer, neighbour, onWire, onLo } = await crossroads(scene);
  const local = await bound(neighbour.calls, "127.0.0.1");
  for (let i = 0; i < 3; i++) {
    await peer.calls.sendto(peer.fd, `wire ${i}`, onWire);
    await local.calls.sendto(local.fd, `local ${i}`, onLo);
  }
  const byOrigin = new Map<string, string[]>();
  for (let i = 0; i < 6; i++) {
    await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
    const { data } = await a.calls.untold.recv(a.fd, 100, "MSG_DONTWAIT");
    const [origin = "", number = ""] = data.toString().split(" ");
    byOrigin.set(origin, [...(byOrigin.get(origin) ?? []), number]);
  }
  // Between the two worlds there is no order; within each there is.
  for (const origin of ["wire", "local"]) a.calls.note(`${origin}: ${byOrigin.get(origin)}`);
  await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
});

for (const [world, send] of [
  ["the wire", async ({ peer, onWire }) => peer.calls.sendto(peer.fd, "here", onWire)],
  [
    "lo",
    async ({ neighbour, onLo }) => {
      const local = await bound(neighbour.calls, "127.0.0.1");
      return await local.calls.sendto(local.fd, "here", onLo);
    },
  ],
  [
    "a local program",
    async ({ neighbour, onWire }) => {
      return await neighbour.calls.sendto(neighbour.fd, "here", onWire);
    },
  ],
  [
    "a fragmented datagram",
    async ({ peer, onWire }) => {
      return await peer.calls.sendto(peer.fd, "x".repeat(LONG_DATAGRAM_BYTES), onWire);
    },
  ],
] as [string, (cast: Awaited<ReturnType<typeof crossroads>>) => Promise<unknown>][]) {
  scenario(`${world} wakes a blocked receiver`, async (scene) => {
    const cast = await crossroads(scene);
    const waiting = cast.a.calls.inThread.recvfrom(cast.a.fd, 2 * LONG_DATAGRAM_BYTES);
    await poll(cast.a.calls, [], MOMENT_MILLIS);
    await send(cast);
    await waiting;
  });

  scenario(`${world} wakes poll and epoll`, async (scene) => {
    const cast = await crossroads(scene);
    const { calls, fd } = cast.a;
    const polling = poll(calls.inThread, [[fd, "POLLIN"]], PATIENCE_MILLIS);
    await poll(calls, [], MOMENT_MILLIS);
    await send(cast);
    await polling;
    await calls.recv(fd, 10);
    const epoll = await epollCreate(calls);
    await epollControl(calls, epoll, "ADD", [fd, "EPOLLIN"]);
    const waiting = epollWait(calls.inThread, epoll, PATIENCE_MILLIS);
    await poll(calls, [], MOMENT_MILLIS);
    await send(cast);
    await waiting;
  });
}

scenario("FIONREAD and MSG_PEEK see what came over lo", async (scene) => {
  const { a, neighbour, onLo } = await crossroads(scene);
  const local = await bound(neighbour.calls, "127.0.0.1");
  await local.calls.sendto(local.fd, "twelve bytes", onLo);
  await readable(a);
  await a.calls.ioctl(a.fd, "FIONREAD");
  await a.calls.recvfrom(a.fd, 5, "MSG_PEEK|MSG_TRUNC");
  await a.calls.recvmsg(a.fd, [100], { flags: "MSG_DONTWAIT", controlBytes: 64 });
  await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
});

scenario("recvmmsg takes from both worlds", async (scene) => {
  const { a, peer, neighbour, onWire, onLo } = await crossroads(scene);
  const local = await bound(neighbour.calls, "127.0.0.1");
  await local.calls.sendto(local.fd, "lo", onLo);
  await peer.calls.sendto(peer.fd, "wire", onWire);
  await readable(a);
  const seen: string[] = [];
  while (seen.length < 2) {
    await readable({ ...a, calls: a.calls.untold });
    const reply = await a.calls.untold.recvmmsg(a.fd, 2, { flags: "MSG_DONTWAIT" });
    if (reply.result < 1) break;
    seen.push(...reply.texts);
  }
  for (const text of seen.sort()) a.calls.note(text);
});

scenario("a wildcard socket answers everybody", async (scene) => {
  const { a, peer, neighbour, onWire, onLo } = await crossroads(scene);
  const local = await bound(neighbour.calls, "127.0.0.1");
  const askers: [Endpoint, typeof onWire][] = [
    [peer, onWire],
    [neighbour, onWire],
    [local, onLo],
  ];
  for (const [{ calls, fd }, to] of askers) {
    await calls.connect(fd, to);
    await calls.send(fd, "question");
    const { from } = await a.calls.recvfrom(a.fd);
    if (from) await a.calls.sendto(a.fd, "answer", from);
    await calls.recv(fd);
  }
});

scenario("127.0.0.1 is reached from an accelerated program and reaches it", async (scene) => {
  const a = await bound(await scene.subject(), "127.0.0.1");
  const neighbour = await bound(await scene.start("neighbour"), "127.0.0.1");
  await a.calls.sendto(a.fd, "to a neighbour", neighbour.at);
  await neighbour.calls.recvfrom(neighbour.fd);
  await neighbour.calls.sendto(neighbour.fd, "from a neighbour", a.at);
  await a.calls.recvfrom(a.fd);
});

scenario("a local program that is not accelerated talks to one that is", async (scene) => {
  const a = await bound(await scene.subject(), scene.left.address);
  const neighbour = await bound(await scene.start("neighbour"), scene.left.address);
  await neighbour.calls.sendto(neighbour.fd, "from next door", a.at);
  await a.calls.recvfrom(a.fd);
  await a.calls.sendto(a.fd, "to next door", neighbour.at);
  await neighbour.calls.recvfrom(neighbour.fd);
});

scenario("a socket connected over lo hears its peer", async (scene) => {
  const subject = await scene.subject();
  const neighbour = await bound(await scene.start("neighbour"), "127.0.0.1");
  const fd = await subject.socket();
  await subject.connect(fd, neighbour.at);
  const at = await subject.getsockname(fd);
  await subject.send(fd, "question");
  await neighbour.calls.recvfrom(neighbour.fd);
  await neighbour.calls.sendto(neighbour.fd, "answer", at);
  await subject.recv(fd);
  await neighbour.calls.close(neighbour.fd);
  await subject.send(fd, "anybody there?");
  await subject.expecting("ECONNREFUSED").recv(fd);
});

scenario("a socket moves between lo and the wire by connecting", async (scene) => {
  const subject = await scene.subject();
  const p = await bound(await scene.peer(), scene.right.address);
  const neighbour = await bound(await scene.start("neighbour"), "127.0.0.1");
  const fd = await subject.socket();
  await subject.bind(fd, { address: ANY_ADDRESS, port: 0 });
  for (const other of [neighbour, p, neighbour, p]) {
    await subject.connect(fd, other.at);
    const at = await subject.getsockname(fd);
    await subject.send(fd, "question");
    await other.calls.recvfrom(other.fd);
    await other.calls.sendto(other.fd, "answer", at);
    await subject.recv(fd);
    await subject.disconnect(fd);
  }
});

scenario("a multicast group is joined and heard by the kernel's path", async (scene) => {
  const group = "239.1.2.3";
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const p = await bound(await scene.peer(), scene.right.address);
  // struct ip_mreq: group, interface address; IP_ADD_MEMBERSHIP 35, IP_MULTICAST_IF 32.
  const request = Buffer.from([...group.split("."), ...scene.left.address.split(".")].map(Number));
  await a.calls.setsockopt(a.fd, "SOL_IP", "35", request);
  const local = Buffer.from(scene.right.address.split(".").map(Number));
  await p.calls.setsockopt(p.fd, "SOL_IP", "32", local);
  await p.calls.sendto(p.fd, "to the group", { ...a.at, address: group });
  await a.calls.recvfrom(a.fd);
});

scenario("plain conversations go on beside an accelerated one", async (scene) => {
  const [a, p] = await conversation(scene);
  const neighbour = await bound(await scene.start("neighbour"), scene.left.address);
  await neighbour.calls.sendto(neighbour.fd, "not accelerated", p.at);
  await p.calls.recvfrom(p.fd);
  await p.calls.sendto(p.fd, "answer", neighbour.at);
  await neighbour.calls.recvfrom(neighbour.fd);
  await p.calls.sendto(p.fd, "accelerated", a.at);
  await a.calls.recvfrom(a.fd);
});
