// What a random story of epoll puts into its sets: descriptors of every kind, each with what it
// takes to make something happen to it and to be certain that it has happened. Nothing here waits
// for time to pass: an event counts as arrived when the socket itself says so.

import { until } from "../../src/lab/program.ts";
import { PATIENCE_MILLIS } from "./builders.ts";
import type { Calls } from "./calls.ts";
import { numberOf } from "./constants.ts";
import * as memory from "./memory.ts";
import type { Random } from "./random.ts";
import { poll } from "./readiness.ts";
import type { Scene } from "./scenario.ts";
import { linger, tcpInfo } from "./tcp.ts";
import type { Address } from "./transcript.ts";

export type Kind = "udp" | "tcp" | "listener" | "pipe" | "eventfd" | "timerfd" | "set";

/** An open file of the subject's. */
export interface Thing {
  readonly kind: Kind;
  /** Its descriptors in the subject. */
  readonly fds: number[];
  /** Of the peer, or the pipe's other end. */
  other: number;
  at: Address;
  /** Bytes, datagrams, connections or ticks that can be read. */
  unread: number;
  /** What of a connection is over. */
  isPeerShut: boolean;
  isReset: boolean;
  isShutForReading: boolean;
  isShutForWriting: boolean;
}

const UNREAD_DATAGRAMS_MAX = 4;
const UNREAD_BYTES_MAX = 4000;
/** TCP_INFO's states in which a FIN has been acknowledged, or is not on its way. */
const FIN_SETTLED = [5, 6, 7];

/** The peer's listener and both fences: a datagram that comes behind another has overtaken none. */
export interface Ground {
  subject: Calls;
  peer: Calls;
  scene: Scene;
  fence: { near: number; far: number; at: Address };
  server: { fd: number; at: Address };
}

export async function prepareGround(scene: Scene): Promise<Ground> {
  const [subject, peer] = [(await scene.subject()).untold, (await scene.peer()).untold];
  const near = await subject.socket();
  await subject.bind(near, { address: scene.left.address, port: 0 });
  const far = await peer.socket();
  const fd = await peer.socket("SOCK_STREAM");
  await peer.bind(fd, { address: scene.right.address, port: 0 });
  await peer.raw("listen", [fd, 64], "");
  const fence = { near, far, at: await subject.getsockname(near) };
  return { subject, peer, scene, fence, server: { fd, at: await peer.getsockname(fd) } };
}

function thing(kind: Kind, fd: number, other = -1, at?: Address): Thing {
  return {
    kind,
    fds: [fd],
    other,
    at: at ?? { address: "0.0.0.0", port: 0 },
    unread: 0,
    isPeerShut: false,
    isReset: false,
    isShutForReading: false,
    isShutForWriting: false,
  };
}

export async function makeThing(ground: Ground, kind: Kind): Promise<Thing> {
  const { subject, peer, scene } = ground;
  switch (kind) {
    case "udp": {
      const fd = await subject.socket("SOCK_DGRAM|SOCK_NONBLOCK");
      await subject.bind(fd, { address: scene.left.address, port: 0 });
      const other = await peer.socket();
      await peer.bind(other, { address: scene.right.address, port: 0 });
      return thing(kind, fd, other, await subject.getsockname(fd));
    }
    case "tcp": {
      const fd = await subject.socket("SOCK_STREAM");
      await subject.connect(fd, ground.server.at);
      const { result } = await peer.raw("accept", [ground.server.fd, 0, 0], "");
      return thing(kind, fd, result);
    }
    case "listener": {
      const fd = await subject.socket("SOCK_STREAM|SOCK_NONBLOCK");
      await subject.bind(fd, { address: scene.left.address, port: 0 });
      await subject.raw("listen", [fd, 8], "");
      return thing(kind, fd, -1, await subject.getsockname(fd));
    }
    case "pipe": {
      const [reader, writer] = await subject.pipe();
      return thing(kind, reader, writer);
    }
    case "eventfd":
      return thing(kind, (await subject.raw("eventfd", [0, numberOf("SOCK_NONBLOCK")], "")).result);
    case "timerfd":
      return thing(kind, (await subject.raw("timerfd_create", [1, 0], "")).result);
    case "set":
      return thing(kind, (await subject.raw("epoll_create1", [0], "")).result);
  }
}

const first = ({ fds }: Thing) => fds[0] ?? -1;

async function seen(ground: Ground, one: Thing, events: string): Promise<void> {
  const { result } = await poll(ground.subject, [[first(one), events]], PATIENCE_MILLIS);
  if (result !== 1) throw new Error(`a ${one.kind} that should be ready for ${events} is not`);
}

/** Everything that the peer sent before has arrived. */
async function passFence({ subject, peer, fence }: Ground): Promise<void> {
  await peer.sendto(fence.far, "fence", fence.at);
  await poll(subject, [[fence.near, "POLLIN"]], PATIENCE_MILLIS);
  await subject.recv(fence.near);
}

async function inputArrived(ground: Ground, one: Thing): Promise<void> {
  await until(`${one.unread} bytes to arrive`, async () => {
    return (await ground.subject.ioctl(first(one), "SIOCINQ")) === one.unread;
  });
}

/** Something to read comes. False: not to this one now. */
export async function feed(ground: Ground, one: Thing, random: Random): Promise<boolean> {
  const { subject, peer } = ground;
  switch (one.kind) {
    case "udp":
      if (one.unread === UNREAD_DATAGRAMS_MAX) return false;
      await peer.sendto(one.other, "datagram", one.at);
      await passFence(ground);
      break;
    case "tcp": {
      const bytes = 1 + random.below(700);
      if (one.isPeerShut || one.isReset || one.isShutForReading) return false;
      if (one.unread + bytes > UNREAD_BYTES_MAX) return false;
      await peer.send(one.other, Buffer.alloc(bytes));
      one.unread += bytes;
      await inputArrived(ground, one);
      return true;
    }
    case "listener":
      if (one.unread !== 0) return false;
      one.other = await peer.socket("SOCK_STREAM");
      await peer.connect(one.other, one.at);
      await seen(ground, one, "POLLIN");
      break;
    case "pipe":
      await subject.write(one.other, "x");
      break;
    case "eventfd":
      await subject.write(first(one), memory.int64(1n));
      break;
    case "timerfd":
      await subject.raw("timerfd_settime", [first(one), 0, soon(subject), 0], "");
      one.unread = 0;
      await seen(ground, one, "POLLIN");
      break;
    case "set":
      return false;
  }
  one.unread += 1;
  return true;
}

/** A struct itimerspec that expires at once. */
function soon(subject: Calls): number {
  const spec = Buffer.alloc(32);
  spec.writeBigInt64LE(1n, 24);
  return subject.libc.put(spec);
}

/** Reads some of it; a listener's connection becomes a thing of its own. */
export async function drain(
  ground: Ground,
  one: Thing,
  random: Random,
): Promise<Thing | undefined> {
  const { subject } = ground;
  if (one.unread === 0) return undefined;
  if (one.kind === "tcp") {
    const { result } = await subject.recv(first(one), 1 + random.below(900), "MSG_DONTWAIT");
    one.unread -= Math.max(result, 0);
    return undefined;
  }
  if (one.kind === "listener") {
    one.unread = 0;
    const { result } = await subject.raw("accept4", [first(one), 0, 0, 0], "");
    const accepted = thing("tcp", result, one.other);
    one.other = -1;
    return accepted;
  }
  if (one.kind === "udp") await subject.recv(first(one), 100, "MSG_DONTWAIT");
  else await subject.read(first(one), one.kind === "pipe" ? 1 : 8);
  one.unread = one.kind === "udp" || one.kind === "pipe" ? one.unread - 1 : 0;
  return undefined;
}

/** The subject sends, and the peer has it. False: this one can't now. */
export async function emit(ground: Ground, one: Thing): Promise<boolean> {
  const { subject, peer } = ground;
  if (one.kind === "udp") {
    await subject.sendto(first(one), "answer", await peer.getsockname(one.other));
    await peer.recv(one.other);
    return true;
  }
  if (one.kind !== "tcp" || one.isShutForWriting || one.isReset) return false;
  await subject.send(first(one), "answer");
  await peer.recv(one.other, 6, "MSG_WAITALL");
  await until("the answer to be acknowledged", async () => {
    return (await subject.ioctl(first(one), "SIOCOUTQ")) === 0;
  });
  return true;
}

/** A part of a connection ends. Returns what was done, or undefined: nothing was. */
export async function end(ground: Ground, one: Thing, random: Random): Promise<string | undefined> {
  const { subject, peer } = ground;
  if (one.kind !== "tcp" || one.isReset) return undefined;
  const isOver = one.isPeerShut && one.isShutForWriting;
  switch (random.below(4)) {
    case 0:
      if (one.isPeerShut) return undefined;
      one.isPeerShut = true;
      await peer.shutdown(one.other, "SHUT_WR");
      await seen(ground, one, one.isShutForWriting ? "POLLHUP" : "POLLRDHUP");
      await until("the FIN to be taken", async () => {
        const [state = -1] = await tcpInfo(subject, first(one));
        return [8, 7, 6].includes(state);
      });
      return "the peer shuts down";
    case 1:
      if (isOver) return undefined;
      one.isReset = true;
      await linger(peer, one.other, 0);
      await peer.close(one.other);
      one.other = -1;
      await seen(ground, one, "POLLHUP");
      one.unread = 0;
      return "the peer resets";
    case 2:
      if (one.isShutForWriting) return undefined;
      one.isShutForWriting = true;
      await subject.shutdown(first(one), "SHUT_WR");
      await until("the FIN to be acknowledged", async () => {
        const [state = -1] = await tcpInfo(subject, first(one));
        return FIN_SETTLED.includes(state);
      });
      return "shutdown for writing";
    default:
      if (one.isShutForReading || isOver) return undefined;
      one.isShutForReading = true;
      await subject.shutdown(first(one), "SHUT_RD");
      return "shutdown for reading";
  }
}

/** The last descriptor in the subject was closed. */
export async function bury({ subject, peer }: Ground, one: Thing): Promise<void> {
  if (one.other < 0) return;
  await (one.kind === "pipe" ? subject : peer).close(one.other);
}
