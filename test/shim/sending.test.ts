// Sending: every call that takes data to send, its flags, and how long a datagram may be.

import { bound, connected, conversation, PATIENCE_MILLIS } from "../support/builders.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";

/** With an MTU of 1500: minus 20 bytes of IPv4 and 8 of UDP. */
const UNFRAGMENTED_BYTES_MAX = 1472;
const UDP_PAYLOAD_BYTES_MAX = 65507;
const SEND_BUFFER_BYTES = 200_000;

/** Bytes that show when a piece is lost or swapped. */
function pattern(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
}

scenario(
  "send, write and sendto send one datagram each",
  async (scene) => {
    const [a, p] = await connected(scene);
    await a.calls.send(a.fd, "by send");
    await p.calls.recvfrom(p.fd);
    await a.calls.write(a.fd, "by write");
    await p.calls.recvfrom(p.fd);
    await a.calls.sendto(a.fd, "by sendto", p.at);
    await p.calls.recvfrom(p.fd);
  },
  { bypass: { sent: 2 } },
);

scenario("writev and sendmsg gather", async (scene) => {
  const [a, p] = await connected(scene);
  await a.calls.writev(a.fd, ["one ", "", "datagram"]);
  await p.calls.recvfrom(p.fd);
  await a.calls.sendmsg(a.fd, { data: ["to ", "the ", "peer"] });
  await p.calls.recvfrom(p.fd);
  await a.calls.sendmsg(a.fd, { data: ["to ", "an address"], to: p.at });
  await p.calls.recvfrom(p.fd);
});

scenario(
  "sendmmsg sends several datagrams",
  async (scene) => {
    const [a, p] = await conversation(scene);
    const q = await bound(p.calls, scene.right.address);
    await a.calls.sendmmsg(a.fd, [
      { data: ["one"], to: p.at },
      { data: ["t", "w", "o"], to: q.at },
      { data: [""], to: p.at },
    ]);
    await p.calls.recvfrom(p.fd);
    await p.calls.recvfrom(p.fd);
    await q.calls.recvfrom(q.fd);
  },
  { bypass: { sent: 1 } },
);

scenario("sendmmsg stops at the first error", async (scene) => {
  const [a, p] = await conversation(scene);
  const nowhere = { address: scene.right.address, port: 0 };
  await a.calls.sendmmsg(a.fd, [
    { data: ["sent"], to: p.at },
    { data: ["not sent"], to: nowhere },
    { data: ["not sent"], to: p.at },
  ]);
  await a.calls.expecting("EINVAL").sendmmsg(a.fd, [{ data: ["not sent"], to: nowhere }]);
  await p.calls.recvfrom(p.fd);
  await p.calls.expecting("EAGAIN").recv(p.fd, 100, "MSG_DONTWAIT");
});

scenario("an empty datagram can be sent", async (scene) => {
  const [a, p] = await connected(scene);
  await a.calls.send(a.fd, "");
  await p.calls.recvfrom(p.fd);
  await a.calls.write(a.fd, "");
  await p.calls.recvfrom(p.fd);
  await a.calls.sendmsg(a.fd, { data: [] });
  await p.calls.recvfrom(p.fd);
});

for (const length of [1, 2, 63, 64, 65, 511, 1471, UNFRAGMENTED_BYTES_MAX]) {
  scenario(`a datagram of ${length} bytes is whole in both directions`, async (scene) => {
    const [a, p] = await conversation(scene);
    await a.calls.sendto(a.fd, pattern(length), p.at);
    await p.calls.recvfrom(p.fd, 2048);
    await p.calls.sendto(p.fd, pattern(length), a.at);
    await a.calls.recvfrom(a.fd, 2048);
  });
}

for (const length of [UNFRAGMENTED_BYTES_MAX + 1, 3000, 9000, UDP_PAYLOAD_BYTES_MAX]) {
  scenario(
    `a datagram of ${length} bytes, more than fits a frame, arrives whole`,
    async (scene) => {
      const [a, p] = await conversation(scene);
      await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_SNDBUF", SEND_BUFFER_BYTES);
      await p.calls.setsockopt(p.fd, "SOL_SOCKET", "SO_SNDBUF", SEND_BUFFER_BYTES);
      await a.calls.sendto(a.fd, pattern(length), p.at);
      await p.calls.recvfrom(p.fd, UDP_PAYLOAD_BYTES_MAX);
      await p.calls.sendto(p.fd, pattern(length), a.at);
      await poll(a.calls, [[a.fd, "POLLIN"]], PATIENCE_MILLIS);
      await a.calls.ioctl(a.fd, "FIONREAD");
      await a.calls.recvfrom(a.fd, UDP_PAYLOAD_BYTES_MAX);
    },
  );
}

scenario("large and small datagrams keep their order at the receiver's end", async (scene) => {
  const [a, p] = await conversation(scene);
  for (const length of [10, 5000, 20, 6000]) {
    await p.calls.sendto(p.fd, pattern(length), a.at);
    await a.calls.recv(a.fd, 65536);
  }
});

scenario("what is longer than a datagram can be gives EMSGSIZE", async (scene) => {
  const [a, p] = await conversation(scene);
  const tooLong = pattern(UDP_PAYLOAD_BYTES_MAX + 1);
  await a.calls.expecting("EMSGSIZE").sendto(a.fd, tooLong, p.at);
  await a.calls.expecting("EMSGSIZE").sendmsg(a.fd, { data: [tooLong], to: p.at });
  await a.calls.sendto(a.fd, "short enough", p.at);
  await p.calls.recvfrom(p.fd);
});

scenario("what must not be fragmented and is too long gives EMSGSIZE", async (scene) => {
  const [a, p] = await connected(scene);
  const always = 2; // IP_PMTUDISC_DO
  await a.calls.setsockopt(a.fd, "SOL_IP", "IP_MTU_DISCOVER", always);
  await a.calls.getsockopt(a.fd, "SOL_IP", "IP_MTU");
  await a.calls.expecting("EMSGSIZE").send(a.fd, pattern(UNFRAGMENTED_BYTES_MAX + 1));
  await a.calls.send(a.fd, pattern(UNFRAGMENTED_BYTES_MAX));
  await p.calls.recv(p.fd);
});

scenario(
  "MSG_DONTWAIT, MSG_NOSIGNAL, MSG_CONFIRM and MSG_DONTROUTE change nothing here",
  async (scene) => {
    const [a, p] = await connected(scene);
    for (const flags of ["MSG_DONTWAIT", "MSG_NOSIGNAL", "MSG_CONFIRM", "MSG_DONTROUTE"]) {
      await a.calls.send(a.fd, flags, flags);
      await p.calls.recv(p.fd);
    }
  },
);

scenario("MSG_OOB is refused", async (scene) => {
  const [a] = await connected(scene);
  await a.calls.expecting("EOPNOTSUPP").send(a.fd, "urgent", "MSG_OOB");
});

scenario("MSG_MORE joins pieces into one datagram", async (scene) => {
  const [a, p] = await connected(scene);
  await a.calls.send(a.fd, "one ", "MSG_MORE");
  await a.calls.send(a.fd, "datagram ", "MSG_MORE");
  await a.calls.send(a.fd, "in three pieces");
  await p.calls.recv(p.fd);
  await a.calls.send(a.fd, "and one alone");
  await p.calls.recv(p.fd);
});

scenario("UDP_CORK holds a datagram back until it is cleared", async (scene) => {
  const [a, p] = await connected(scene);
  await a.calls.setsockopt(a.fd, "SOL_UDP", "UDP_CORK", 1);
  await a.calls.send(a.fd, "held ");
  await a.calls.send(a.fd, "back");
  await p.calls.expecting("EAGAIN").recv(p.fd, 100, "MSG_DONTWAIT");
  await a.calls.setsockopt(a.fd, "SOL_UDP", "UDP_CORK", 0);
  await p.calls.recv(p.fd);
  await a.calls.send(a.fd, "freely");
  await p.calls.recv(p.fd);
});

scenario("after shutdown for writing, sending gives EPIPE", async (scene) => {
  const [a, p] = await connected(scene);
  await a.calls.shutdown(a.fd, "SHUT_WR");
  await a.calls.expecting("EPIPE").send(a.fd, "too late", "MSG_NOSIGNAL");
  await p.calls.send(p.fd, "still heard");
  await a.calls.recv(a.fd);
});

scenario("broadcasts need SO_BROADCAST", async (scene) => {
  const [a] = await conversation(scene);
  const q = await bound(await scene.start("listener", { host: "right" }), "0.0.0.0");
  const everybody = { address: scene.left.address.replace(/\d+$/, "255"), port: q.at.port };
  await a.calls.expecting("EACCES").sendto(a.fd, "forbidden", everybody);
  await a.calls.setsockopt(a.fd, "SOL_SOCKET", "SO_BROADCAST", 1);
  await a.calls.getsockopt(a.fd, "SOL_SOCKET", "SO_BROADCAST");
  await a.calls.sendto(a.fd, "to the subnet", everybody);
  await q.calls.recvfrom(q.fd);
  await a.calls.setsockopt(
    a.fd,
    "SOL_SOCKET",
    "SO_BINDTODEVICE",
    deviceName(scene.left.interfaceName),
  );
  await a.calls.sendto(a.fd, "to all", { ...everybody, address: "255.255.255.255" });
  await q.calls.recvfrom(q.fd);
});

scenario(
  "a broadcast is received by a wildcard socket and by one bound to the broadcast address",
  async (scene) => {
    const subject = await scene.subject();
    const any = await bound(subject, "0.0.0.0");
    const everybody = { address: scene.left.address.replace(/\d+$/, "255"), port: any.at.port };
    const p = await bound(await scene.peer(), scene.right.address);
    await p.calls.setsockopt(p.fd, "SOL_SOCKET", "SO_BROADCAST", 1);
    await p.calls.sendto(p.fd, "to the wildcard", everybody);
    await subject.recvfrom(any.fd);
    const narrow = await bound(subject, everybody.address);
    await p.calls.sendto(p.fd, "to the narrow one", { ...everybody, port: narrow.at.port });
    await subject.recvfrom(narrow.fd);
    const own = await bound(subject, scene.left.address);
    await p.calls.sendto(p.fd, "not for this one", { ...everybody, port: own.at.port });
    await p.calls.sendto(p.fd, "for this one", own.at);
    await subject.recvfrom(own.fd);
  },
);

scenario("a destination without a route gives ENETUNREACH", async (scene) => {
  const [a, p] = await conversation(scene);
  const far = { address: "192.0.2.1", port: 9 };
  await a.calls.expecting("ENETUNREACH").sendto(a.fd, "far away", far);
  const b = await a.calls.socket();
  await a.calls.expecting("ENETUNREACH").connect(b, far);
  await a.calls.sendto(a.fd, "near", p.at);
  await p.calls.recvfrom(p.fd);
});

scenario("many datagrams in a row all arrive in order", async (scene) => {
  const [a, p] = await connected(scene);
  for (let i = 0; i < 100; i++) await a.calls.untold.send(a.fd, `number ${i}`);
  for (let i = 0; i < 100; i++) await p.calls.recv(p.fd);
});

function deviceName(name: string): Buffer {
  return Buffer.from(`${name}\0`);
}
