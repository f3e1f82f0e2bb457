// Socket options and control messages.

import {
  ANY_ADDRESS,
  bound,
  connected,
  conversation,
  type Endpoint,
  PATIENCE_MILLIS,
} from "../support/builders.ts";
import { int32, pktinfo } from "../support/memory.ts";
import { poll } from "../support/readiness.ts";
import { type Scene, scenario } from "../support/scenario.ts";

const CONTROL_BYTES = 256;

/** The peer will show the TTL and TOS of what it receives. */
async function showHeaders({ calls, fd }: Endpoint): Promise<void> {
  await calls.setsockopt(fd, "SOL_IP", "IP_RECVTTL", 1);
  await calls.setsockopt(fd, "SOL_IP", "IP_RECVTOS", 1);
}

function receiveControls({ calls, fd }: Endpoint) {
  return calls.recvmsg(fd, [100], { controlBytes: CONTROL_BYTES });
}

function device(name: string): Buffer {
  return Buffer.from(`${name}\0`);
}

scenario(
  "IP_TTL and IP_TOS mark what is sent",
  async (scene) => {
    const [a, p] = await connected(scene);
    await showHeaders(p);
    await a.calls.getsockopt(a.fd, "SOL_IP", "IP_TTL");
    await a.calls.getsockopt(a.fd, "SOL_IP", "IP_TOS");
    await a.calls.send(a.fd, "as usual");
    await receiveControls(p);
    await a.calls.setsockopt(a.fd, "SOL_IP", "IP_TTL", 7);
    await a.calls.setsockopt(a.fd, "SOL_IP", "IP_TOS", 0xb8);
    await a.calls.getsockopt(a.fd, "SOL_IP", "IP_TTL");
    await a.calls.getsockopt(a.fd, "SOL_IP", "IP_TOS");
    await a.calls.send(a.fd, "marked");
    await receiveControls(p);
    await a.calls.setsockopt(a.fd, "SOL_IP", "IP_TTL", -1);
    await a.calls.send(a.fd, "back to the usual TTL");
    await receiveControls(p);
  },
  { bypass: { sent: 1 } },
);

scenario("impossible TTL values are refused", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  await calls.expecting("EINVAL").setsockopt(fd, "SOL_IP", "IP_TTL", 0);
  await calls.expecting("EINVAL").setsockopt(fd, "SOL_IP", "IP_TTL", 256);
});

scenario("options may be set with a single byte", async (scene) => {
  const [a, p] = await connected(scene);
  await showHeaders(p);
  await a.calls.setsockopt(a.fd, "SOL_IP", "IP_TTL", Buffer.from([9]));
  await a.calls.setsockopt(a.fd, "SOL_IP", "IP_TOS", Buffer.from([4]));
  await a.calls.send(a.fd, "marked");
  await receiveControls(p);
  await a.calls.getsockopt(a.fd, "SOL_IP", "IP_TTL", 1);
});

scenario("control messages mark one datagram", async (scene) => {
  const [a, p] = await connected(scene);
  await showHeaders(p);
  const controls = [
    { level: "SOL_IP", type: "IP_TTL", data: int32(3) },
    { level: "SOL_IP", type: "IP_TOS", data: int32(0x10) },
  ];
  await a.calls.sendmsg(a.fd, { data: ["marked"], controls });
  await receiveControls(p);
  await a.calls.send(a.fd, "not marked");
  await receiveControls(p);
});

scenario("IP_RECVTTL and IP_RECVTOS show how a datagram was marked", async (scene) => {
  const [a, p] = await conversation(scene);
  await showHeaders(a);
  await p.calls.setsockopt(p.fd, "SOL_IP", "IP_TTL", 42);
  await p.calls.setsockopt(p.fd, "SOL_IP", "IP_TOS", 0x20);
  await p.calls.sendto(p.fd, "marked", a.at);
  await receiveControls(a);
  await a.calls.setsockopt(a.fd, "SOL_IP", "IP_RECVTTL", 0);
  await p.calls.sendto(p.fd, "marked", a.at);
  await receiveControls(a);
});

scenario(
  "IP_PKTINFO shows where a datagram came in",
  async (scene) => {
    const a = await bound(await scene.subject(), ANY_ADDRESS);
    const p = await bound(await scene.peer(), scene.right.address);
    await a.calls.setsockopt(a.fd, "SOL_IP", "IP_PKTINFO", 1);
    await p.calls.sendto(p.fd, "over the wire", { ...a.at, address: scene.left.address });
    await receiveControls(a);
    const b = await bound(a.calls, "127.0.0.1");
    await a.calls.sendto(b.fd, "over lo", { ...a.at, address: "127.0.0.1" });
    await receiveControls(a);
  },
  { bypass: { received: 1, kernelReceived: 1 } },
);

scenario("control messages that do not fit are cut and reported", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.setsockopt(a.fd, "SOL_IP", "IP_PKTINFO", 1);
  await a.calls.setsockopt(a.fd, "SOL_IP", "IP_RECVTTL", 1);
  for (const controlBytes of [0, 8, 16, 30, 32]) {
    await p.calls.sendto(p.fd, "much to say", a.at);
    await a.calls.recvmsg(a.fd, [100], { controlBytes });
  }
});

scenario("IP_PKTINFO chooses the source address", async (scene) => {
  await addAddress(scene);
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const p = await bound(await scene.peer(), scene.right.address);
  for (const source of [SECOND_ADDRESS, scene.left.address]) {
    const data = pktinfo(0, source);
    const controls = [{ level: "SOL_IP", type: "IP_PKTINFO", data }];
    await a.calls.sendmsg(a.fd, { data: [`from ${source}`], to: p.at, controls });
    await p.calls.recvfrom(p.fd);
  }
  const foreign = [{ level: "SOL_IP", type: "IP_PKTINFO", data: pktinfo(0, "192.0.2.7") }];
  const message = { data: ["not ours"], to: p.at, controls: foreign };
  await a.calls.expecting("ENETUNREACH").sendmsg(a.fd, message);
});

const SECOND_ADDRESS = "10.77.0.99";

async function addAddress(scene: Scene): Promise<void> {
  const { interfaceName } = scene.left;
  await scene.left.run(["ip", "addr", "replace", `${SECOND_ADDRESS}/24`, "dev", interfaceName]);
}

scenario("a second address of the host is served like the first", async (scene) => {
  await addAddress(scene);
  const a = await bound(await scene.subject(), SECOND_ADDRESS);
  const any = await bound(a.calls, ANY_ADDRESS);
  const p = await bound(await scene.peer(), scene.right.address);
  await p.calls.sendto(p.fd, "to the second", a.at);
  await a.calls.recvfrom(a.fd);
  await a.calls.sendto(a.fd, "from the second", p.at);
  await p.calls.recvfrom(p.fd);
  await p.calls.sendto(p.fd, "to the wildcard", { ...any.at, address: SECOND_ADDRESS });
  await a.calls.recvfrom(any.fd);
});

scenario("buffer sizes are doubled, bounded and shown", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  for (const option of ["SO_RCVBUF", "SO_SNDBUF"]) {
    await calls.getsockopt(fd, "SOL_SOCKET", option);
    for (const size of [1, 10_000, 2 ** 30]) {
      await calls.setsockopt(fd, "SOL_SOCKET", option, size);
      await calls.getsockopt(fd, "SOL_SOCKET", option);
    }
  }
  await calls.setsockopt(fd, "SOL_SOCKET", "SO_RCVBUFFORCE", 5_000_000);
  await calls.getsockopt(fd, "SOL_SOCKET", "SO_RCVBUF");
});

scenario(
  "a full receive buffer drops what comes and leaves what is there",
  async (scene) => {
    const [a, p] = await conversation(scene, "SOCK_DGRAM|SOCK_NONBLOCK");
    await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_RCVBUF", 8000);
    const sent = 60;
    const flood = p.calls.untold;
    for (let i = 0; i < sent; i++) await flood.sendto(p.fd, `datagram ${i}`.padEnd(1000), a.at);
    await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
    const quiet = a.calls.untold;
    let received = 0;
    let inOrder = true;
    for (;;) {
      const { result, data } = await quiet.recv(a.fd);
      if (result < 0) break;
      inOrder &&= data.toString().startsWith(`datagram ${received} `);
      received++;
    }
    // How many fit depends on the overhead of a datagram, which is the stack's own affair.
    a.calls.note(`received some: ${received >= 2}, dropped some: ${received < sent - 20}`);
    a.calls.note(`the first ones, in order: ${inOrder}`);
    await p.calls.sendto(p.fd, "there is room again", a.at);
    await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
    await a.calls.recv(a.fd);
  },
  { bypass: { received: 3 } },
);

scenario("SO_RXQ_OVFL tells how many were dropped", async (scene) => {
  const [a, p] = await conversation(scene, "SOCK_DGRAM|SOCK_NONBLOCK");
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_RXQ_OVFL", 1);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_RCVBUF", 8000);
  for (let i = 0; i < 60; i++) await p.calls.untold.sendto(p.fd, "x".repeat(1000), a.at);
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  let received = 0;
  while ((await a.calls.untold.recv(a.fd)).result >= 0) received++;
  await p.calls.sendto(p.fd, "after the flood", a.at);
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  const last = await a.calls.untold.recvmsg(a.fd, [100], { controlBytes: CONTROL_BYTES });
  const dropped = last.control.find((text) => text.startsWith("SO_RXQ_OVFL"));
  a.calls.note(`the drops are counted: ${dropped === `SO_RXQ_OVFL ${60 - received}`}`);
});

scenario("a large receive buffer holds many datagrams", async (scene) => {
  const [a, p] = await conversation(scene);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_RCVBUF", 1_000_000);
  for (let i = 0; i < 300; i++) await p.calls.untold.sendto(p.fd, `number ${i}`, a.at);
  let inOrder = true;
  for (let i = 0; i < 300; i++) {
    const { data } = await a.calls.untold.recv(a.fd);
    inOrder &&= data.toString() === `number ${i}`;
  }
  a.calls.note(`all came, in order: ${inOrder}`);
});

scenario("SO_TYPE, SO_DOMAIN, SO_PROTOCOL and the like are as ever", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  const options = ["SO_TYPE", "SO_DOMAIN", "SO_PROTOCOL", "SO_ERROR", "SO_ACCEPTCONN"];
  for (const option of [...options, "SO_BROADCAST", "SO_REUSEADDR", "SO_RCVLOWAT", "SO_PRIORITY"]) {
    await calls.getsockopt(fd, "SOL_SOCKET", option);
  }
  await calls.getsockopt(fd, "SOL_SOCKET", "SO_TYPE", 1);
  await calls.getsockopt(fd, "SOL_SOCKET", "SO_LINGER", 8);
});

scenario("SO_TIMESTAMP stamps what is received", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const option of ["SO_TIMESTAMP", "SO_TIMESTAMPNS"]) {
    await a.calls.setsockopt(a.fd, "SOL_SOCKET", option, 1);
    await p.calls.sendto(p.fd, "what time is it?", a.at);
    await receiveControls(a);
    await a.calls.setsockopt(a.fd, "SOL_SOCKET", option, 0);
  }
  await p.calls.sendto(p.fd, "no stamp", a.at);
  await receiveControls(a);
});

scenario("SO_REUSEADDR lets two sockets bind one port and the last one hears", async (scene) => {
  const subject = await scene.subject();
  const p = await bound(await scene.peer(), scene.right.address);
  const [a, b] = [await subject.socket(), await subject.socket()];
  await subject.setsockopt(a, "SOL_SOCKET", "SO_REUSEADDR", 1);
  await subject.bind(a, { address: scene.left.address, port: 0 });
  const at = await subject.getsockname(a);
  await subject.expecting("EADDRINUSE").bind(b, at);
  await subject.setsockopt(b, "SOL_SOCKET", "SO_REUSEADDR", 1);
  await subject.bind(b, at);
  await p.calls.sendto(p.fd, "for one of you", at);
  await poll(
    subject,
    [
      [a, "POLLIN"],
      [b, "POLLIN"],
    ],
    PATIENCE_MILLIS,
  );
  await subject.close(b);
  await p.calls.sendto(p.fd, "for the one that is left", at);
  await poll(subject, [[a, "POLLIN"]], PATIENCE_MILLIS);
  await subject.recv(a);
});

scenario("a socket bound to the address hears before one bound to the wildcard", async (scene) => {
  const subject = await scene.subject();
  const p = await bound(await scene.peer(), scene.right.address);
  const [any, narrow] = [await subject.socket(), await subject.socket()];
  for (const fd of [any, narrow]) await subject.setsockopt(fd, "SOL_SOCKET", "SO_REUSEADDR", 1);
  await subject.bind(any, { address: ANY_ADDRESS, port: 0 });
  const { port } = await subject.getsockname(any);
  const at = { address: scene.left.address, port };
  await subject.bind(narrow, at);
  await p.calls.sendto(p.fd, "for the narrow one", at);
  await subject.recv(narrow);
  await subject.close(narrow);
  await p.calls.sendto(p.fd, "for the wildcard", at);
  await subject.recv(any);
});

scenario("a connected socket hears before one that is not", async (scene) => {
  const [a, p] = await conversation(scene);
  const { calls } = a;
  const b = await calls.socket();
  for (const fd of [a.fd, b]) await calls.setsockopt(fd, "SOL_SOCKET", "SO_REUSEADDR", 1);
  await calls.bind(b, a.at);
  await calls.connect(a.fd, p.at);
  await p.calls.sendto(p.fd, "for the connected one", a.at);
  await calls.recv(a.fd);
  const q = await bound(p.calls, scene.right.address);
  await q.calls.sendto(q.fd, "for the other", a.at);
  await calls.recv(b);
});

scenario("SO_REUSEPORT spreads flows over sockets and each flow stays with one", async (scene) => {
  const subject = await scene.subject();
  const peer = await scene.peer();
  const listeners = [await subject.socket(), await subject.socket(), await subject.socket()];
  let at = { address: scene.left.address, port: 0 };
  for (const fd of listeners) {
    await subject.setsockopt(fd, "SOL_SOCKET", "SO_REUSEPORT", 1);
    await subject.bind(fd, at);
    at = await subject.getsockname(fd);
  }
  const flows = 16;
  const datagramsPerFlow = 4;
  const quiet = peer.untold;
  for (let flow = 0; flow < flows; flow++) {
    const fd = await quiet.socket();
    await quiet.connect(fd, at);
    for (let i = 0; i < datagramsPerFlow; i++) await quiet.send(fd, `flow ${flow}`);
    await quiet.close(fd);
  }
  const owners = new Map<string, Set<number>>();
  let total = 0;
  while (total < flows * datagramsPerFlow) {
    await poll(
      subject.untold,
      listeners.map((fd) => [fd, "POLLIN"] as const),
      PATIENCE_MILLIS,
    );
    const before = total;
    for (const fd of listeners) {
      const { result, data } = await subject.untold.recv(fd, 100, "MSG_DONTWAIT");
      if (result < 0) continue;
      total++;
      owners.set(data.toString(), (owners.get(data.toString()) ?? new Set()).add(fd));
    }
    if (total === before) break;
  }
  const sets = [...owners.values()];
  subject.note(`${total} datagrams of ${owners.size} flows`);
  subject.note(`each flow at one socket: ${sets.every((set) => set.size === 1)}`);
  const busy = new Set(sets.flatMap((set) => [...set])).size;
  subject.note(`more than one socket at work: ${busy > 1}`);
});

scenario("SO_BINDTODEVICE binds a socket to an interface", async (scene) => {
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const p = await bound(await scene.peer(), scene.right.address);
  const name = scene.left.interfaceName;
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_BINDTODEVICE", device(name));
  await a.calls.getsockopt(a.fd, "SOL_SOCKET", "SO_BINDTODEVICE", 16);
  await p.calls.sendto(p.fd, "over the wire", { ...a.at, address: scene.left.address });
  await a.calls.recvfrom(a.fd);
  await a.calls.sendto(a.fd, "back", p.at);
  await p.calls.recvfrom(p.fd);
  const b = await bound(a.calls, ANY_ADDRESS);
  await a.calls.sendto(b.fd, "over lo, not heard", { ...a.at, address: "127.0.0.1" });
  await a.calls.expecting("EAGAIN").recv(a.fd, 100, "MSG_DONTWAIT");
});

scenario("a socket bound to lo does not hear the wire", async (scene) => {
  const a = await bound(await scene.subject(), ANY_ADDRESS);
  const p = await bound(await scene.peer(), scene.right.address);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_BINDTODEVICE", device("lo"));
  await p.calls.connect(p.fd, { ...a.at, address: scene.left.address });
  await p.calls.send(p.fd, "not heard");
  await p.calls.expecting("ECONNREFUSED").recv(p.fd);
  const b = await bound(a.calls, "127.0.0.1");
  await a.calls.sendto(b.fd, "over lo", { ...a.at, address: "127.0.0.1" });
  await a.calls.recvfrom(a.fd);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_BINDTODEVICE", device(""));
  await p.calls.send(p.fd, "heard now");
  await a.calls.recvfrom(a.fd);
});

scenario("an unknown device is refused", async (scene) => {
  const { calls, fd } = await bound(await scene.subject(), scene.left.address);
  await calls.expecting("ENODEV").setsockopt(fd, "SOL_SOCKET", "SO_BINDTODEVICE", device("none0"));
});

scenario("SO_PEEK_OFF moves through a datagram", async (scene) => {
  const [a, p] = await conversation(scene);
  await p.calls.sendto(p.fd, "0123456789", a.at);
  await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_PEEK_OFF", 0);
  await a.calls.recv(a.fd, 4, "MSG_PEEK");
  await a.calls.recv(a.fd, 4, "MSG_PEEK");
  await a.calls.recv(a.fd, 4);
});
