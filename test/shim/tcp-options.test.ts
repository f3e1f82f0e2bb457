// getsockopt and setsockopt of stream sockets: values that programs read back, options that do
// something, and options that keep a socket on the kernel.

import { until } from "../../src/lab/program.ts";
import { ANY_ADDRESS, PATIENCE_MILLIS } from "../support/builders.ts";
import type { Calls } from "../support/calls.ts";
import { int32 } from "../support/memory.ts";
import { poll } from "../support/readiness.ts";
import { scenario } from "../support/scenario.ts";
import {
  accept,
  acknowledged,
  arrived,
  connects,
  listen,
  listening,
  serves,
  tcpInfo,
} from "../support/tcp.ts";

const NUMBERS: readonly [level: string, option: string, value: number][] = [
  ["SOL_SOCKET", "SO_KEEPALIVE", 1],
  ["SOL_SOCKET", "SO_OOBINLINE", 1],
  ["SOL_SOCKET", "SO_RCVLOWAT", 9],
  ["SOL_SOCKET", "SO_SNDBUF", 40_000],
  ["SOL_SOCKET", "SO_RCVBUF", 50_000],
  ["SOL_SOCKET", "SO_REUSEADDR", 1],
  ["SOL_SOCKET", "SO_PRIORITY", 3],
  ["SOL_TCP", "TCP_NODELAY", 1],
  ["SOL_TCP", "TCP_CORK", 1],
  ["SOL_TCP", "TCP_KEEPIDLE", 60],
  ["SOL_TCP", "TCP_KEEPINTVL", 10],
  ["SOL_TCP", "TCP_KEEPCNT", 4],
  ["SOL_TCP", "TCP_SYNCNT", 3],
  ["SOL_TCP", "TCP_LINGER2", 10],
  ["SOL_TCP", "TCP_DEFER_ACCEPT", 5],
  ["SOL_TCP", "TCP_USER_TIMEOUT", 5000],
  ["SOL_TCP", "TCP_NOTSENT_LOWAT", 30_000],
  ["SOL_IP", "IP_TOS", 8],
  ["SOL_IP", "IP_TTL", 20],
];

async function setAll(calls: Calls, fd: number): Promise<void> {
  for (const [level, option, value] of NUMBERS) await calls.setsockopt(fd, level, option, value);
}

async function getAll(calls: Calls, fd: number): Promise<void> {
  for (const [level, option] of NUMBERS) await calls.getsockopt(fd, level, option);
}

scenario(
  "options set before connect are read back after it",
  async (scene) => {
    const [subject, peer] = [await scene.subject(), await scene.peer()];
    const listener = await listening(peer, scene.right.address);
    const fd = await subject.socket("SOCK_STREAM");
    await setAll(subject, fd);
    await subject.connect(fd, listener.at);
    await getAll(subject, fd);
    for (const option of ["SO_TYPE", "SO_PROTOCOL", "SO_DOMAIN", "SO_ERROR", "SO_ACCEPTCONN"]) {
      await subject.getsockopt(fd, "SOL_SOCKET", option);
    }
  },
  { bypass: { connections: 1, segments: 3 } },
);

scenario(
  "options set on a connection are read back, and on a listener",
  async (scene) => {
    const { subject, listener } = await serves(scene);
    for (const fd of [subject.fd, listener.fd]) {
      await setAll(subject.calls, fd);
      await getAll(subject.calls, fd);
    }
    await listener.calls.getsockopt(listener.fd, "SOL_SOCKET", "SO_ACCEPTCONN");
  },
  { bypass: { connections: 1, segments: 3 } },
);

scenario("values that cannot be are refused", async (scene) => {
  const { subject } = await connects(scene);
  const { calls, fd } = subject;
  const bad = calls.expecting("EINVAL");
  await bad.setsockopt(fd, "SOL_TCP", "TCP_KEEPIDLE", 0);
  await bad.setsockopt(fd, "SOL_TCP", "TCP_KEEPCNT", 300);
  await bad.setsockopt(fd, "SOL_TCP", "TCP_SYNCNT", 0);
  await bad.setsockopt(fd, "SOL_TCP", "TCP_USER_TIMEOUT", -1);
  await bad.setsockopt(fd, "SOL_TCP", "TCP_MAXSEG", 10);
  await bad.setsockopt(fd, "SOL_TCP", "TCP_NODELAY", Buffer.from([1]));
  await calls.expecting("ENOPROTOOPT").setsockopt(fd, "SOL_TCP", "200", 1);
  await calls.expecting("ENOPROTOOPT").getsockopt(fd, "SOL_TCP", "200");
  await calls.expecting("EFAULT").raw("setsockopt", [fd, 6, 1, 8, 4], "bad value");
  await calls.expecting("EFAULT").raw("getsockopt", [fd, 6, 1, 8, 8], "bad value");
  await calls.expecting("ENOENT").setsockopt(fd, "SOL_TCP", "TCP_CONGESTION", Buffer.from("none"));
});

scenario("TCP_CONGESTION selects by name", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  // What it is at first is the host's choice, and not the same for both.
  for (const name of ["reno", "cubic", "reno"]) {
    await calls.setsockopt(fd, "SOL_TCP", "TCP_CONGESTION", Buffer.from(name));
    await calls.getsockopt(fd, "SOL_TCP", "TCP_CONGESTION", 16);
  }
  await calls.send(fd, "by reno");
  await peer.calls.recv(peer.fd);
});

scenario("TCP_MAXSEG bounds what is sent in one segment, and is told", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(peer, scene.right.address);
  const fd = await subject.socket("SOCK_STREAM");
  await subject.getsockopt(fd, "SOL_TCP", "TCP_MAXSEG");
  await subject.setsockopt(fd, "SOL_TCP", "TCP_MAXSEG", 500);
  await subject.connect(fd, listener.at);
  await subject.getsockopt(fd, "SOL_TCP", "TCP_MAXSEG");
  const other = await subject.socket("SOCK_STREAM");
  await subject.connect(other, listener.at);
  await subject.getsockopt(other, "SOL_TCP", "TCP_MAXSEG");
  await peer.getsockopt(await accept(peer, listener.fd), "SOL_TCP", "TCP_MAXSEG");
});

scenario("TCP_INFO tells the truth about a connection", async (scene) => {
  const { subject, peer } = await connects(scene);
  const { calls, fd } = subject;
  await calls.send(fd, "x".repeat(5000));
  await peer.calls.send(peer.fd, "y".repeat(700));
  await acknowledged(subject);
  await arrived(subject, 700);
  const info = await tcpInfo(calls, fd);
  const number = (at: number) => info.readUInt32LE(at);
  const long = (at: number) => Number(info.readBigUInt64LE(at));
  const [state, options] = [info[0], info[5] ?? 0];
  const [rtoMicros, sndMss, rcvMss] = [number(8), number(16), number(20)];
  const [pmtu, rttMicros, cwnd, advmss] = [number(60), number(68), number(80), number(84)];
  calls.note(`state ${state}, options ${options & 7}, send mss ${sndMss}, advmss ${advmss}`);
  calls.note(`pmtu ${pmtu}, received mss ${rcvMss}, rto in ${rtoMicros >= 200_000}`);
  calls.note(`round trip ${rttMicros > 0 && rttMicros < 100_000}, cwnd ${cwnd >= 10}`);
  // Linux counts the SYN of whoever connected.
  calls.note(`acked ${long(120) - (long(120) % 10)}, received ${long(128)}`);
  calls.note(`segments ${number(136) >= 4}, ${number(140) >= 2}`);
  await peer.calls.close(peer.fd);
  await poll(calls, [[fd, "POLLRDHUP"]], PATIENCE_MILLIS);
  calls.note(`state ${(await tcpInfo(calls, fd))[0]}`);
  calls.note(`a short one: ${(await tcpInfo(calls, fd, 16)).length}`);
});

scenario("options that only the kernel has keep a socket there, and it works", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(peer, scene.right.address);
  const options: [string, string, number][] = [
    ["SOL_SOCKET", "SO_MARK", 7],
    ["SOL_SOCKET", "SO_ZEROCOPY", 1],
    ["SOL_SOCKET", "SO_TIMESTAMP", 1],
    ["SOL_IP", "IP_RECVERR", 1],
    ["SOL_TCP", "TCP_FASTOPEN_CONNECT", 1],
  ];
  for (const [level, option, value] of options) {
    const fd = await subject.socket("SOCK_STREAM");
    await subject.setsockopt(fd, level, option, value);
    await subject.connect(fd, listener.at);
    await subject.send(fd, option);
    const accepted = await accept(peer, listener.fd);
    await peer.recv(accepted);
    await subject.getsockopt(fd, level, option);
    await subject.close(fd);
  }
});

scenario("an option of the kernel's on a listener leaves it listening", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(subject, ANY_ADDRESS);
  await subject.setsockopt(listener.fd, "SOL_SOCKET", "SO_MARK", 1);
  const fd = await peer.socket("SOCK_STREAM");
  await peer.connect(fd, { address: scene.left.address, port: listener.at.port });
  const accepted = await accept(subject, listener.fd);
  await peer.send(fd, "by the kernel");
  await subject.recv(accepted);
  await subject.getsockopt(listener.fd, "SOL_SOCKET", "SO_RCVTIMEO", 16);
  await subject.getsockopt(accepted, "SOL_SOCKET", "SO_RCVTIMEO", 16);
});

/** Listens with a new socket on the port, with SO_REUSEADDR or without; its error. */
async function bindAgain(calls: Calls, port: number, reuse: number): Promise<string> {
  const fd = await calls.untold.socket("SOCK_STREAM");
  await calls.untold.setsockopt(fd, "SOL_SOCKET", "SO_REUSEADDR", reuse);
  const { error } = await calls.untold.bind(fd, { address: ANY_ADDRESS, port });
  const listens = error === "" ? (await listen(calls.untold, fd)).error : "";
  await calls.untold.close(fd);
  return error + listens;
}

scenario("a port is taken while its connections end, unless SO_REUSEADDR is set", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const fd = await subject.socket("SOCK_STREAM");
  await subject.setsockopt(fd, "SOL_SOCKET", "SO_REUSEADDR", 1);
  await subject.bind(fd, { address: ANY_ADDRESS, port: 0 });
  await listen(subject, fd);
  const { port } = await subject.getsockname(fd);
  const client = await peer.socket("SOCK_STREAM");
  await peer.connect(client, { address: scene.left.address, port });
  await subject.close(await accept(subject, fd));
  await peer.recv(client);
  await peer.close(client);
  await subject.close(fd);
  // exasockd takes the port over a moment after the program has left it.
  await until("the port to be taken", async () => {
    return (await bindAgain(subject, port, 0)) === "EADDRINUSE";
  });
  subject.note(`with SO_REUSEADDR: ${await bindAgain(subject, port, 1)}`);
});

scenario("TCP_DEFER_ACCEPT waits for the first bytes", async (scene) => {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const fd = await subject.socket("SOCK_STREAM|SOCK_NONBLOCK");
  await subject.setsockopt(fd, "SOL_TCP", "TCP_DEFER_ACCEPT", 5);
  await subject.bind(fd, { address: ANY_ADDRESS, port: 0 });
  await subject.raw("listen", [fd, 5], "5");
  const { port } = await subject.getsockname(fd);
  const client = await peer.socket("SOCK_STREAM");
  await peer.connect(client, { address: scene.left.address, port });
  await poll(subject, [[fd, "POLLIN"]], 100);
  await subject.expecting("EAGAIN").raw("accept", [fd, 0, 0], "nothing came");
  await peer.send(client, "first");
  await poll(subject, [[fd, "POLLIN"]], PATIENCE_MILLIS);
  await subject.recv(await accept(subject, fd));
});

scenario("getsockopt cuts what it says to the room that there is", async (scene) => {
  const { subject } = await connects(scene);
  const { calls, fd } = subject;
  await calls.setsockopt(fd, "SOL_TCP", "TCP_CONGESTION", Buffer.from("reno"));
  for (const room of [0, 1, 2, 4, 8]) {
    await calls.either.getsockopt(fd, "SOL_TCP", "TCP_NODELAY", room);
    await calls.either.getsockopt(fd, "SOL_SOCKET", "SO_ERROR", room);
    await calls.either.getsockopt(fd, "SOL_TCP", "TCP_CONGESTION", room);
  }
  const length = calls.libc.put(int32(-1));
  await calls.expecting("EINVAL").raw("getsockopt", [fd, 6, 1, length, length], "-1 bytes");
});
