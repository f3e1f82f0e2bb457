// Life of a socket in the region: created for a kernel socket (its twin), bound and connected as
// the twin is, destroyed with it.

import { isWildcard } from "../base/address";
import { mix } from "../base/hash";
import { COOKIE_BUCKETS, DEFAULT_BUFFER_BYTES, DEFAULT_TTL, MAX_SOCKETS } from "../config";
import { removeItemsOf } from "../epoll/lists";
import { Fault } from "../fault";
import { fault } from "../host";
import { COOKIES_OFFSET, SOCKET_BYTES } from "../layout";
import { findInterface } from "../link/interface";
import { isLocal, steeringAdd, steeringKey, steeringRemove } from "../link/steering";
import { dropSpare } from "../local/spare";
import { FrameMeta, giveFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { demuxInsert, demuxRemove, hasTwin } from "../udp/demux";
import { close } from "../tcp/calls";
import { isPortUsed, steerPorts } from "../tcp/port";
import { initTcb } from "../tcp/state";
import { notifySocket } from "../wait/waiter";
import { PROTOCOL_TCP } from "../wire/tcp";
import { isSocket, Socket, SocketState } from "./socket";
import { EVENTS_ALL } from "../wait/events";

function chainOf(cookie: u64): usize {
  const h = mix(<u32>cookie, <u32>(cookie >> 32));
  return <usize>(COOKIES_OFFSET + ((h >> 16) << 2));
}

/** Index of a new socket in state Created, or 0 when MAX_SOCKETS are in use. */
export function createSocket(cookie: u64, protocol: u32, client: u32): u32 {
  const index = claimSocket(protocol);
  if (index != 0) adoptCookie(index, cookie, client);
  return index;
}

/** The same for a connection that nobody has accepted: it has no kernel twin yet. */
export function createEmbryo(listener: u32): u32 {
  return claimSocket(<u32>Socket.at(listener).protocol);
}

function claimSocket(protocol: u32): u32 {
  const header = RegionHeader.get();
  let index = header.freeSocketHead;
  if (index != 0) {
    header.freeSocketHead = Socket.at(index).demuxNext;
  } else {
    index = max<u32>(header.socketHigh, 1);
    if (index >= MAX_SOCKETS) return 0;
    header.socketHigh = index + 1;
  }
  const socket = Socket.at(index);
  memory.fill(changetype<usize>(socket), 0, <usize>SOCKET_BYTES);
  header.socketSequence += 1;
  socket.sequence = header.socketSequence;
  socket.protocol = <u8>protocol;
  socket.ttl = <u8>DEFAULT_TTL;
  socket.receiveBufferBytes = DEFAULT_BUFFER_BYTES;
  socket.sendBufferBytes = DEFAULT_BUFFER_BYTES;
  socket.state = <u8>SocketState.Created;
  if (protocol == PROTOCOL_TCP) initTcb(index);
  header.socketsCreated += 1;
  return index;
}

/** Ties the socket to the kernel socket with this SO_COOKIE; to none, if that is 0. */
export function adoptCookie(index: u32, cookie: u64, client: u32): void {
  forgetCookie(index);
  const socket = Socket.at(index);
  socket.cookie = cookie;
  socket.client = client;
  if (cookie != 0) cookieInsert(index);
}

/** Unties it. */
export function forgetCookie(index: u32): void {
  const socket = Socket.at(index);
  if (socket.cookie != 0) cookieRemove(index);
  socket.cookie = 0;
}

export function cookieInsert(index: u32): void {
  const socket = Socket.at(index);
  const chain = chainOf(socket.cookie);
  socket.cookieNext = load<u32>(chain);
  store<u32>(chain, index);
}

export function cookieClear(): void {
  memory.fill(<usize>COOKIES_OFFSET, 0, <usize>(COOKIE_BUCKETS * 4));
}

/** Index of the socket whose kernel twin has this SO_COOKIE, or 0. */
export function findSocket(cookie: u64): u32 {
  let at = load<u32>(chainOf(cookie));
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const socket = Socket.at(at);
    if (socket.cookie == cookie) return at;
    at = socket.cookieNext;
  }
  return 0;
}

function cookieRemove(index: u32): void {
  const gone = Socket.at(index);
  const chain = chainOf(gone.cookie);
  let at = load<u32>(chain);
  if (at == index) {
    store<u32>(chain, gone.cookieNext);
    return;
  }
  for (let steps: u32 = 0; at != 0; steps++) {
    if (steps > MAX_SOCKETS) fault(Fault.ChainLoop);
    const socket = Socket.at(at);
    if (socket.cookieNext == index) {
      socket.cookieNext = gone.cookieNext;
      return;
    }
    at = socket.cookieNext;
  }
}

/** True while packets are steered to the socket. Those of a connection are by tcp/port.ts. */
export function isSteered(socket: Socket): bool {
  const state = socket.state;
  if (state == <u8>SocketState.Bound) return true;
  return state == <u8>SocketState.Connected && <u32>socket.protocol != PROTOCOL_TCP;
}

/** Interface part of the steering key: 0 any, else slot + 1. 255 for one that is not ours. */
function steeredInterface(socket: Socket): u32 {
  if (socket.ifindex == 0) return 0;
  const slot = findInterface(socket.ifindex);
  return slot < 0 ? 255 : <u32>slot + 1;
}

function keyOf(socket: Socket): u64 {
  return steeringKey(
    socket.localHi,
    socket.localLo,
    <u32>socket.localPortNet,
    <u32>socket.protocol,
    steeredInterface(socket),
  );
}

/**
 * Makes the XDP program redirect the socket's packets, and the ICMP errors about what it sent.
 * False if the table has no room. For an address that is not this host's (any more) nothing is
 * redirected: the kernel does with it what it does with strangers' packets.
 */
export function steer(socket: Socket): bool {
  const isAny = isWildcard(socket.localHi, socket.localLo);
  if (!isAny && !isLocal(socket.localHi, socket.localLo)) return true;
  return steeringAdd(keyOf(socket));
}

/** An address came to this host, or left it: what is bound to it is steered, or no longer. */
export function steerBound(hi: u64, lo: u64): void {
  const isHere = isLocal(hi, lo);
  const high = RegionHeader.get().socketHigh;
  for (let index: u32 = 1; index < high; index++) {
    const socket = Socket.at(index);
    if (!isSteered(socket) || socket.localLo != lo || socket.localHi != hi) continue;
    // Without room in the table the twin receives.
    if (isHere) steeringAdd(keyOf(socket));
    else steeringRemove(keyOf(socket));
  }
  steerPorts(hi, lo);
}

/** Nothing is redirected for the socket any more, unless others are at the same address. */
export function unsteer(index: u32): void {
  const socket = Socket.at(index);
  if (!isSteered(socket)) return;
  const isShared =
    <u32>socket.protocol == PROTOCOL_TCP &&
    socket.ifindex == 0 &&
    isPortUsed(socket.localHi, socket.localLo, <u32>socket.localPortNet);
  if (!isShared && !hasTwin(index)) steeringRemove(keyOf(socket));
  demuxRemove(index);
}

/**
 * Steers an address to the socket, for packets that arrive on `ifindex` (0: any). False if the
 * table has no room; the socket is the kernel's then.
 */
export function place(
  index: u32,
  localHi: u64,
  localLo: u64,
  localPortNet: u32,
  ifindex: u32,
  state: SocketState,
): bool {
  const socket = Socket.at(index);
  unsteer(index);
  socket.localHi = localHi;
  socket.localLo = localLo;
  socket.localPortNet = <u16>localPortNet;
  socket.ifindex = ifindex;
  socket.destination = 0;
  if (!steer(socket)) {
    socket.state = <u8>SocketState.Kernel;
    RegionHeader.get().steeringFull += 1;
    return false;
  }
  socket.state = <u8>state;
  demuxInsert(index);
  return true;
}

/** Stops acceleration; what is queued stays readable. */
export function releaseToKernel(index: u32): void {
  if (!isSocket(index)) return;
  const socket = Socket.at(index);
  unsteer(index);
  socket.destination = 0;
  socket.state = <u8>SocketState.Kernel;
  notifySocket(index, EVENTS_ALL);
}

/** The program has closed it for the last time. A connection may go on without it. */
export function destroySocket(index: u32): void {
  if (!isSocket(index)) return;
  if (<u32>Socket.at(index).protocol == PROTOCOL_TCP) {
    close(index, RegionHeader.get().clockNanos);
    return;
  }
  unsteer(index);
  cookieRemove(index);
  drainQueue(index);
  removeItemsOf(index, false);
  // Sleepers on it, in any process, look again and find it gone.
  notifySocket(index, EVENTS_ALL);
  freeSlot(index);
  RegionHeader.get().socketsDestroyed += 1;
}

export function freeSlot(index: u32): void {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  socket.cookie = 0;
  socket.state = <u8>SocketState.Free;
  socket.demuxNext = header.freeSocketHead;
  header.freeSocketHead = index;
}

/** Gives every frame back that is queued, or kept. */
export function drainQueue(index: u32): void {
  const socket = Socket.at(index);
  const frames = RegionHeader.get().frameCount;
  let at = socket.receiveHead;
  while (at != 0 && at <= frames) {
    const next = FrameMeta.at(at - 1).next;
    giveFrame(at - 1);
    at = next;
  }
  socket.receiveHead = 0;
  socket.receiveTail = 0;
  socket.receiveCount = 0;
  socket.receiveBytes = 0;
  dropSpare(socket);
}
