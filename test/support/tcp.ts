// Calls of TCP in another process (see calls.ts), and the beginnings that scenarios of TCP share.

import { until } from "../../src/lab/program.ts";
import { ANY_ADDRESS, type Endpoint } from "./builders.ts";
import type { Calls, Flags, Reply } from "./calls.ts";
import { numberOf } from "./constants.ts";
import * as memory from "./memory.ts";
import type { Scene } from "./scenario.ts";
import type { Address } from "./transcript.ts";

const BACKLOG = 8;

export function listen(calls: Calls, fd: number, backlog = BACKLOG): Promise<Reply> {
  return calls.make("listen", [fd, backlog], `${fd}, ${backlog}`);
}

/** accept, or accept4 when there are flags; -1 when it failed. */
export async function accept(calls: Calls, fd: number, flags?: Flags): Promise<number> {
  const at = calls.libc.reserve(memory.SOCKADDR_BYTES);
  const length = calls.libc.put(memory.int32(memory.SOCKADDR_BYTES));
  const more = flags === undefined ? [] : [numberOf(flags)];
  const name = flags === undefined ? "accept" : "accept4";
  const label = flags === undefined ? `${fd}` : `${fd}, ${flags}`;
  const reply = await calls.make(name, [fd, at, length, ...more], label, async () => {
    const from = memory.readAddress(await calls.libc.peek(at, memory.SOCKADDR_BYTES));
    const bytes = (await calls.libc.peek(length, 4)).readInt32LE(0);
    return `${calls.show(from)} (${bytes} bytes)`;
  });
  return reply.result;
}

/** A stream socket of the program's that listens. */
export async function listening(
  calls: Calls,
  address: string,
  { port = 0, backlog = BACKLOG, type = "SOCK_STREAM" } = {},
): Promise<Endpoint> {
  const fd = await calls.socket(type);
  await calls.bind(fd, { address, port });
  await listen(calls, fd, backlog);
  return { calls, fd, at: await calls.getsockname(fd) };
}

/** Both ends of a connection, the subject's first, and who listened. */
export interface Dialogue {
  subject: Endpoint;
  peer: Endpoint;
  listener: Endpoint;
}

/** The subject connects to a server on the right host, which is the kernel's. */
export async function connects(scene: Scene, type = "SOCK_STREAM"): Promise<Dialogue> {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(peer, scene.right.address);
  const fd = await subject.socket(type);
  await subject.connect(fd, listener.at);
  const at = await subject.getsockname(fd);
  const accepted = await accept(peer, listener.fd);
  const there = { calls: peer, fd: accepted, at: listener.at };
  return { subject: { calls: subject, fd, at }, peer: there, listener };
}

/** A client on the right host, which is the kernel's, connects to the subject. */
export async function serves(scene: Scene, address = ANY_ADDRESS): Promise<Dialogue> {
  const [subject, peer] = [await scene.subject(), await scene.peer()];
  const listener = await listening(subject, address);
  const at = { address: scene.left.address, port: listener.at.port };
  const fd = await peer.socket("SOCK_STREAM");
  await peer.connect(fd, at);
  const there = { calls: peer, fd, at: await peer.getsockname(fd) };
  const accepted = await accept(subject, listener.fd);
  return { subject: { calls: subject, fd: accepted, at }, peer: there, listener };
}

async function ioctl(calls: Calls, fd: number, request: string): Promise<number> {
  return await calls.untold.ioctl(fd, request);
}

/** Waits until so many bytes can be read: how they came in pieces is nobody's business. */
export async function arrived({ calls, fd }: Endpoint, bytes: number): Promise<void> {
  await until(`${bytes} bytes to arrive`, async () => {
    return (await ioctl(calls, fd, "SIOCINQ")) >= bytes;
  });
}

/** Waits until the other end has acknowledged everything. */
export async function acknowledged({ calls, fd }: Endpoint): Promise<void> {
  await until("everything to be acknowledged", async () => {
    return (await ioctl(calls, fd, "SIOCOUTQ")) === 0;
  });
}

/** SO_LINGER: on with so many seconds, or off. */
export function linger(calls: Calls, fd: number, seconds: number | null): Promise<Reply> {
  const value = Buffer.concat([memory.int32(seconds === null ? 0 : 1), memory.int32(seconds ?? 0)]);
  return calls.setsockopt(fd, "SOL_SOCKET", "SO_LINGER", value);
}

/** SO_RCVTIMEO or SO_SNDTIMEO. */
export function timeLimit(calls: Calls, fd: number, option: string, millis: number) {
  return calls.setsockopt(fd, "SOL_SOCKET", option, memory.timeval(millis));
}

/** A port of a host at which nobody listens (it was the caller's a moment ago). */
export async function silentPort(calls: Calls, address: string): Promise<Address> {
  const fd = await calls.socket("SOCK_STREAM");
  await calls.bind(fd, { address, port: 0 });
  const at = await calls.getsockname(fd);
  await calls.close(fd);
  return at;
}

/** Waits until the connection is in one of these states (TCP_INFO's numbers), unseen. */
export async function untilState(
  what: string,
  { calls, fd }: Endpoint,
  states: readonly number[],
): Promise<void> {
  await until(what, async () => states.includes((await tcpInfo(calls, fd))[0] ?? -1));
}

/** struct tcp_info as bytes; the first is the state. */
export async function tcpInfo(calls: Calls, fd: number, lengthBytes = 192): Promise<Buffer> {
  const at = calls.libc.reserve(lengthBytes);
  const length = calls.libc.put(memory.int32(lengthBytes));
  const args = [fd, numberOf("SOL_TCP"), numberOf("TCP_INFO"), at, length];
  await calls.untold.make("getsockopt", args, `${fd}, TCP_INFO`);
  return await calls.libc.peek(at, (await calls.libc.peek(length, 4)).readInt32LE(0));
}
