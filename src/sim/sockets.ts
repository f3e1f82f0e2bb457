// The socket calls of a program on a host in memory, on top of the stack's: what native/shim does,
// without blocking. Results below zero are -errno, as everywhere in the stack.

import {
  DestinationView,
  HEADER_OFFSET,
  RegionHeaderView,
  SocketState,
  TcpFlag,
  TcpState,
} from "../../build/gen/layout.ts";
import type { StackInstance } from "../core/instance.ts";
import { socketAt, tcbAt } from "../core/records.ts";
import { ANY, address, type AddressHalves, addressText, portNet } from "./address.ts";

const EAGAIN = 11;
const EPIPE = 32;
const ENOTCONN = 107;
const PROTOCOL_TCP = 6;
/** Client slot of the program; 0 would be exasockd. */
const CLIENT = 1;

/** Bits for tcpPush. */
export const MSG_MORE = 1;
export const MSG_OOB = 2;

export interface Endpoint {
  address: string;
  port: number;
}

/** Where a connection starts: its port, and its address if the program bound one. */
export interface Source {
  port: number;
  address?: string;
  ifindex?: number;
}

export type Sockets = ReturnType<typeof createSockets>;

/** `answerRequests` does what exasockd would do while a program waits for a route. */
export function createSockets(stack: StackInstance, answerRequests: () => void) {
  const { calls, view } = stack;
  let cookies = 0n;

  function nextCookie(): bigint {
    cookies += 1n;
    return cookies;
  }

  /** socket(2): a new TCP socket. */
  function create(): number {
    return calls.socketCreate(nextCookie(), PROTOCOL_TCP, CLIENT);
  }

  /** bind(2) and listen(2). "0.0.0.0" is the wildcard. */
  function listen(index: number, at: Endpoint, backlog: number, ifindex = 0): number {
    const own = at.address === "0.0.0.0" ? ANY : address(at.address);
    return calls.tcpListen(index, own.hi, own.lo, portNet(at.port), ifindex, backlog);
  }

  /** connect(2) without waiting: 0 when the SYN is on its way. */
  function connect(index: number, source: Source, to: Endpoint, now: bigint): number {
    const { ifindex = 0 } = source;
    const wanted: AddressHalves = source.address ? address(source.address) : ANY;
    const remote = address(to.address);
    const port = portNet(to.port);
    const look = () => calls.tcpRoute(remote.hi, remote.lo, port, wanted.hi, wanted.lo, ifindex);
    let route = look();
    if (route === -EAGAIN) {
      answerRequests();
      route = look();
    }
    if (route < 0) return route;
    const own = source.address ? wanted : sourceOf(route);
    return calls.tcpConnect(
      index,
      own.hi,
      own.lo,
      portNet(source.port),
      remote.hi,
      remote.lo,
      port,
      source.address ? 0 : 1,
      ifindex,
      now,
    );
  }

  function sourceOf(route: number): AddressHalves {
    const destination = new DestinationView(view, route);
    return { hi: destination.sourceHi, lo: destination.sourceLo };
  }

  /** accept(2): the new socket, or -EAGAIN. */
  function accept(listener: number): number {
    return calls.tcpAccept(listener, nextCookie(), CLIENT);
  }

  function localOf(index: number): Endpoint {
    const socket = socketAt(view, index);
    return { address: addressText(socket.localLo), port: portNet(socket.localPortNet) };
  }

  function remoteOf(index: number): Endpoint {
    const socket = socketAt(view, index);
    return { address: addressText(socket.remoteLo), port: portNet(socket.remotePortNet) };
  }

  return {
    ...createStreams(stack),
    create,
    listen,
    connect,
    accept,
    localOf,
    remoteOf,
    /** False if the slot is free, or another socket's. */
    isOpen: (index: number, cookie: bigint) => socketAt(view, index).cookie === cookie,
    /** shutdown(2). */
    shutdown: (index: number, how: number, now: bigint) => calls.tcpShutdown(index, how, now),
    /** The last close(2). */
    close: (index: number, now: bigint) => calls.tcpClose(index, now),
    /** EPOLL bits. */
    readiness: (index: number) => calls.socketReadiness(index),
    setOption: (index: number, option: number, value: number, now: bigint) =>
      calls.tcpSetOption(index, option, value, now),
    /** SO_ERROR, a positive errno. */
    takeError: (index: number) => calls.socketTakeError(index),
  };
}

/** Sending and receiving. */
function createStreams({ calls, memory, view }: StackInstance) {
  const bytes = new Uint8Array(memory);
  const header = new RegionHeaderView(view, HEADER_OFFSET);

  /** send(2): bytes taken, or -errno. `flags`: MSG_MORE, MSG_OOB. */
  function send(index: number, data: Uint8Array, now: bigint, flags = 0): number {
    let sent = 0;
    let at = 0;
    while (sent < data.length) {
      at = calls.tcpReserve(index, data.length - sent);
      if (at <= 0) break;
      const room = header.chunkBytes;
      bytes.set(data.subarray(sent, sent + room), at);
      calls.tcpCommit(index, room);
      sent += room;
    }
    if (sent > 0) {
      calls.tcpPush(index, sent < data.length ? flags & ~MSG_OOB : flags, now);
      return sent;
    }
    if (at !== -EPIPE) return at;
    return -(calls.socketTakeError(index) || EPIPE);
  }

  /** recv(2): up to `max` bytes, none at the end of the stream; or -errno. */
  function receive(index: number, max: number, now: bigint): Uint8Array | number {
    const parts: Uint8Array[] = [];
    let total = 0;
    while (total < max) {
      const at = calls.tcpChunk(index, 0);
      if (at === 0) break;
      const taken = Math.min(header.chunkBytes, max - total);
      parts.push(bytes.slice(at, at + taken));
      total += taken;
      // A receive ends at the urgent mark, but not if it stopped before.
      const isMark = header.chunkEndsAtMark === 1 && taken === header.chunkBytes;
      calls.tcpConsume(index, taken, now);
      if (isMark) break;
    }
    return total > 0 || max === 0 ? joined(parts, total) : nothing(index);
  }

  /** What recv(2) answers when there is no byte to be read. */
  function nothing(index: number): Uint8Array | number {
    const tcb = tcbAt(view, index);
    if ((tcb.flags & (TcpFlag.PeerClosed | TcpFlag.ShutReceive)) !== 0) return new Uint8Array();
    const error = calls.socketTakeError(index);
    if (error !== 0) return -error;
    if (socketAt(view, index).state === SocketState.Created) return -ENOTCONN;
    if (tcb.state === TcpState.Listen) return -ENOTCONN;
    return tcb.state === TcpState.Closed ? new Uint8Array() : -EAGAIN;
  }

  /** recv(2) with MSG_PEEK: up to `max` bytes from `skip` on; none: nothing there. */
  function peek(index: number, max: number, skip = 0): Uint8Array {
    const parts: Uint8Array[] = [];
    let total = 0;
    while (total < max) {
      const at = calls.tcpChunk(index, skip + total);
      if (at === 0) break;
      const taken = Math.min(header.chunkBytes, max - total);
      parts.push(bytes.slice(at, at + taken));
      total += taken;
    }
    return joined(parts, total);
  }

  return {
    send,
    receive,
    peek,
    socketAt: (index: number) => socketAt(view, index),
    tcbAt: (index: number) => tcbAt(view, index),
  };
}

function joined(parts: Uint8Array[], total: number): Uint8Array {
  const only = parts[0];
  if (only && parts.length === 1) return only;
  const whole = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
