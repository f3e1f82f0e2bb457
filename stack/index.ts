// The stack's system calls: this file is the ABI. Every export is called with the region's lock
// held, unless its comment says [nolock]. Results below zero are -errno. Indices and slots that a
// program hands over are checked here; inside the stack they are trusted.

import { isWildcard } from "./base/address";
import { MAX_INTERFACES, MAX_QUEUES } from "./config";
import {
  addItem,
  armItem,
  collect,
  deleteItem,
  deliver,
  modifyItem,
  noteHalf,
} from "./epoll/calls";
import { isSetReady } from "./epoll/readiness";
import { claimFork, createSet, dropFork, nextFork, reserveFork } from "./epoll/references";
import { shareSet, unrefer } from "./epoll/references";
import { EpollSet, isSet } from "./epoll/set";
import { storeRelease32 } from "./host";
import { addAddress, removeAddress } from "./link/address";
import { flushDestinations, nextRequest, rejectDestination } from "./link/destination";
import { resolveDestination, setNeighbor } from "./link/destination";
import { addInterface, Interface, removeInterface, updateInterface } from "./link/interface";
import { addQueue, offloadChecksums, setRing, startQueue, stopQueue } from "./link/queue";
import { sharePort } from "./link/steering";
import { deadline, pollQueues, workWaiting } from "./poll";
import { addClient, addDaemon, removeClient } from "./region/client";
import { clock } from "./region/clock";
import { FrameMeta } from "./region/frames";
import { RegionHeader } from "./region/header";
import { footprint, formatRegion, joinRegion } from "./region/lifecycle";
import { recoverRegion } from "./region/recover";
import { handIn, lend, takeBack, takeOut } from "./local/lending";
import { settle } from "./local/segments";
import { hearEnds, ignoreEnds } from "./socket/ends";
import { setSocketOption } from "./socket/options";
import { dequeue } from "./socket/queue";
import { readinessOf, takeError } from "./socket/readiness";
import { isSocket, Socket, SocketState } from "./socket/socket";
import { createSocket, destroySocket, findSocket, place, releaseToKernel } from "./socket/table";
import { steerBound } from "./socket/table";
import {
  accept,
  atMark,
  close,
  commitStream,
  connect,
  isDone,
  isTcp,
  listen,
  push,
  reserveStream,
  resetAll,
  route,
  shutdown,
} from "./tcp/calls";
import { failUnreachable } from "./tcp/errors";
import { fillTcpInfo } from "./tcp/info";
import { setTcpOption } from "./tcp/options";
import { chunk, consume } from "./tcp/readable";
import { isPortUsed } from "./tcp/port";
import { configureTcp } from "./tcp/settings";
import { readUrgent } from "./tcp/urgent";
import { abortDatagram, connectedDestination, reserveDatagram } from "./udp/output";
import { submitDatagram } from "./udp/output";
import {
  addWaiter,
  armWaiter,
  disarmWaiter,
  enterWaiter,
  removeWaiter,
  wakeInSet,
} from "./wait/waiter";
import { nextWakeup as nextWaiter, wakeupsPending } from "./wait/waiter";

const ENOENT: i32 = 2;
const EBADF: i32 = 9;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const ENOSPC: i32 = 28;
const EHOSTUNREACH: u32 = 113;

// ---- the region ------------------------------------------------------------------------------

/** [nolock] Bytes that a region with this frame pool needs. */
export function regionBytes(frameBytes: u32, frameCount: u32): u64 {
  return footprint(frameBytes, frameCount);
}

/** Makes all-zero memory a region. 0, or -EINVAL for impossible sizes. */
export function regionFormat(bytes: u64, frameBytes: u32, frameCount: u32, buildHash: u64): i32 {
  return formatRegion(bytes, frameBytes, frameCount, buildHash);
}

/** [nolock] 0 if this is a region of this build; -ENOENT if none, -EPROTO if of another build. */
export function regionJoin(buildHash: u64): i32 {
  return joinRegion(buildHash);
}

/** Repairs the region after the lock's owner died. Precondition: the caller took the lock over. */
export function regionRecover(): void {
  recoverRegion();
}

/** The secret of sequence numbers, cookies and timestamps: random bits, once, after regionFormat. */
export function regionSeed(k0: u64, k1: u64): void {
  const header = RegionHeader.get();
  header.secret0 = k0;
  header.secret1 = k1;
}

/**
 * [nolock] exasockd has come: into a fresh region, or in the place of one that died. Before it
 * first takes the lock, whose owners it is one of from here on.
 */
export function daemonAdd(): void {
  addDaemon();
}

/** exasockd, which took over from a dead one, can be asked: programs are to connect to it. */
export function daemonReady(): void {
  RegionHeader.get().queueEpoch += 1;
}

/** exasockd hears of the ends of kernel sockets. */
export function endsHear(): void {
  hearEnds();
}

/**
 * exasockd is about to hear no more of the ends of kernel sockets, until the region asks for it. 0:
 * it has to, since a socket may be held by several processes.
 */
export function endsIgnore(): u32 {
  return ignoreEnds() ? 1 : 0;
}

/** exasockd ends on purpose, and the region with it. */
export function daemonLeave(): void {
  storeRelease32(changetype<usize>(RegionHeader.get()) + offsetof<RegionHeader>("closed"), 1);
}

/** Sets a limit or switch of the kernel's that the stack follows (TcpSetting). -EINVAL: unknown. */
export function tcpConfigure(setting: u32, value: u32): i32 {
  return configureTcp(setting, value);
}

/** Slot of a new program, 1 and up, or -ENOSPC. */
export function clientAdd(pid: u32): i32 {
  const slot = addClient(pid);
  return slot == 0 ? -ENOSPC : <i32>slot;
}

/** Removes a program and its waiters; its sockets go with their kernel twins. */
export function clientRemove(client: u32): void {
  removeClient(client);
}

// ---- interfaces, addresses, destinations: exasockd -------------------------------------------

/** Slot of a new interface or -ENOSPC. mac: first four bytes little-endian, then the last two. */
export function interfaceAdd(ifindex: u32, mtu: u32, macLow: u32, macHigh: u32, flags: u32): i32 {
  const slot = addInterface(ifindex, mtu, macLow, macHigh, flags);
  return slot < 0 ? -ENOSPC : slot;
}

export function interfaceUpdate(slot: u32, mtu: u32, macLow: u32, macHigh: u32, flags: u32): void {
  updateInterface(slot, mtu, macLow, macHigh, flags);
  flushDestinations();
}

/** Precondition: its queues were stopped. */
export function interfaceRemove(slot: u32): void {
  removeInterface(slot);
}

/** Slot of a new queue of the interface, or -ENOSPC. */
export function queueAdd(interfaceSlot: u32, queueId: u32): i32 {
  if (interfaceSlot >= MAX_INTERFACES || Interface.at(interfaceSlot).ifindex == 0) return -EINVAL;
  const slot = addQueue(interfaceSlot, queueId);
  return slot < 0 ? -ENOSPC : slot;
}

/** Where ring 0 rx, 1 tx, 2 fill, 3 completion has its parts, within its window. */
export function queueRing(
  queue: u32,
  ring: u32,
  producer: u32,
  consumer: u32,
  descriptors: u32,
  flags: u32,
): void {
  setRing(queue, ring, producer, consumer, descriptors, flags);
}

/** Before queueStart: the queue's AF_XDP socket finishes transport checksums. */
export function queueOffload(queue: u32): void {
  offloadChecksums(queue);
}

/** Starts a queue and keeps up to `fillTarget` frames posted. Returns the frames posted now. */
export function queueStart(queue: u32, fillTarget: u32): i32 {
  const posted = startQueue(queue, fillTarget);
  flushDestinations();
  return <i32>posted;
}

/** Precondition: the AF_XDP socket is closed. Takes its frames back. */
export function queueStop(queue: u32): void {
  if (queue < MAX_QUEUES) stopQueue(queue);
  flushDestinations();
}

/** An address of this host. -ENOSPC when there is no room for it. */
export function addressAdd(hi: u64, lo: u64): i32 {
  if (addAddress(hi, lo) < 0) return -ENOSPC;
  steerBound(hi, lo);
  return 0;
}

export function addressRemove(hi: u64, lo: u64): void {
  removeAddress(hi, lo);
  steerBound(hi, lo);
}

/** Index of a destination to resolve (its state is Resolving now), or -1. */
export function destinationNextRequest(): i32 {
  return nextRequest();
}

export function destinationResolve(
  index: u32,
  interfaceSlot: u32,
  sourceHi: u64,
  sourceLo: u64,
  nextHopHi: u64,
  nextHopLo: u64,
  mtu: u32,
): void {
  resolveDestination(index, interfaceSlot, sourceHi, sourceLo, nextHopHi, nextHopLo, mtu);
}

/** The stack can't serve this destination; the kernel's path does. */
export function destinationReject(index: u32): void {
  rejectDestination(index);
}

export function neighborSet(
  interfaceSlot: u32,
  hi: u64,
  lo: u64,
  macLow: u32,
  macHigh: u32,
  valid: u32,
): void {
  setNeighbor(interfaceSlot, hi, lo, macLow, macHigh, valid);
}

/** The kernel gave a neighbour up: connections that wait for it fail with EHOSTUNREACH. */
export function neighborFailed(interfaceSlot: u32, hi: u64, lo: u64): void {
  failUnreachable(interfaceSlot, hi, lo, EHOSTUNREACH);
}

/** Routes, rules, addresses or links changed. */
export function destinationsFlush(): void {
  flushDestinations();
}

// ---- sockets ---------------------------------------------------------------------------------

/** Index of a new socket for the kernel socket with this SO_COOKIE, or -ENFILE. */
export function socketCreate(cookie: u64, protocol: u32, client: u32): i32 {
  if (cookie == 0) return -EINVAL;
  const known = findSocket(cookie);
  if (known != 0) return <i32>known;
  const index = createSocket(cookie, protocol, client);
  return index == 0 ? -ENFILE : <i32>index;
}

/** Index of the socket with this SO_COOKIE, or -ENOENT. */
export function socketFind(cookie: u64): i32 {
  const index = cookie == 0 ? 0 : findSocket(cookie);
  return index == 0 ? -ENOENT : <i32>index;
}

export function socketDestroy(index: u32): void {
  destroySocket(index);
  settle();
}

/** Mirrors bind(2) of the twin. -ENOSPC: no room to steer it, it stays on the kernel. */
export function socketBind(index: u32, hi: u64, lo: u64, portNet: u32, ifindex: u32): i32 {
  if (!isSocket(index) || portNet == 0) return -EINVAL;
  return place(index, hi, lo, portNet, ifindex, SocketState.Bound) ? 0 : -ENOSPC;
}

/** Mirrors connect(2) of the twin, whose local address it gives. Queued datagrams stay. */
export function socketConnect(
  index: u32,
  localHi: u64,
  localLo: u64,
  localPortNet: u32,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
): i32 {
  if (!isSocket(index) || localPortNet == 0 || isWildcard(localHi, localLo)) return -EINVAL;
  const socket = Socket.at(index);
  socket.remoteHi = remoteHi;
  socket.remoteLo = remoteLo;
  socket.remotePortNet = <u16>remotePortNet;
  socket.destination = 0;
  const state = SocketState.Connected;
  if (!place(index, localHi, localLo, localPortNet, socket.ifindex, state)) return -ENOSPC;
  // Asked for now, the way is likely to be known when the first datagram is sent.
  connectedDestination(socket);
  return 0;
}

/** Mirrors connect(2) with AF_UNSPEC; port 0 when the kernel released it, too. */
export function socketDisconnect(index: u32, localHi: u64, localLo: u64, localPortNet: u32): i32 {
  if (!isSocket(index)) return -EINVAL;
  const socket = Socket.at(index);
  socket.destination = 0;
  if (localPortNet == 0) {
    releaseToKernel(index);
    return 0;
  }
  const state = SocketState.Bound;
  if (!place(index, localHi, localLo, localPortNet, socket.ifindex, state)) return -ENOSPC;
  socket.remoteHi = 0;
  socket.remoteLo = 0;
  socket.remotePortNet = 0;
  return 0;
}

/** Stops acceleration: queued datagrams stay readable, new ones reach the twin. */
export function socketToKernel(index: u32): void {
  releaseToKernel(index);
}

/**
 * exasockd: an ordinary program has (isShared 1), or has no longer, a socket at a port where the
 * stack has some. `protocol`: 6 or 17.
 */
export function portShare(protocol: u32, portNet: u32, isShared: u32): void {
  sharePort(protocol, portNet, isShared != 0);
}

/** Mirrors an option of the twin (SocketOption). */
export function socketSetOption(index: u32, option: u32, value: u32): i32 {
  return isSocket(index) ? setSocketOption(index, option, value) : -EBADF;
}

/** [nolock] EPOLL bits of the stack's half. */
export function socketReadiness(index: u32): u32 {
  return readinessOf(index);
}

/** The pending errno (positive), cleared by this; 0 if none. */
export function socketTakeError(index: u32): i32 {
  return isSocket(index) ? takeError(index) : 0;
}

// ---- UDP -------------------------------------------------------------------------------------

/** See udp/output.ts: region offset for the payload, -EAGAIN, or -VIA_KERNEL. */
export function udpReserve(
  index: u32,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  sourceHi: u64,
  sourceLo: u64,
  lengthBytes: u32,
): i32 {
  if (!isSocket(index)) return -EBADF;
  return reserveDatagram(index, remoteHi, remoteLo, remotePortNet, sourceHi, sourceLo, lengthBytes);
}

/** Queues the reserved datagram. */
export function udpSubmit(): void {
  submitDatagram();
}

/** Gives the reservation up. */
export function udpAbort(): void {
  abortDatagram();
}

/** Region offset of the FrameMeta of the oldest queued datagram, or 0. */
export function udpPeek(index: u32): u32 {
  if (!isSocket(index)) return 0;
  const head = Socket.at(index).receiveHead;
  if (head == 0 || head > RegionHeader.get().frameCount) return 0;
  return <u32>changetype<usize>(FrameMeta.at(head - 1));
}

/** Drops the oldest queued datagram, after it was copied. */
export function udpConsume(index: u32): void {
  if (isSocket(index)) dequeue(index);
}

// ---- TCP -------------------------------------------------------------------------------------

/**
 * How to reach an address: region offset of its Destination, -EAGAIN while exasockd is asked,
 * -VIA_KERNEL. A neighbour that is not known yet is fine: the SYN waits for it.
 */
export function tcpRoute(
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  sourceHi: u64,
  sourceLo: u64,
  ifindex: u32,
): i32 {
  return route(remoteHi, remoteLo, remotePortNet, sourceHi, sourceLo, ifindex);
}

/**
 * Begins a connection. `anySource`: the program did not choose the local address. `ifindex`:
 * SO_BINDTODEVICE. -EADDRNOTAVAIL: there is such a connection; -ENOSPC, -VIA_KERNEL: use the twin.
 */
export function tcpConnect(
  index: u32,
  localHi: u64,
  localLo: u64,
  localPortNet: u32,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  anySource: u32,
  ifindex: u32,
  now: u64,
): i32 {
  if (!isTcp(index)) return -EBADF;
  Socket.at(index).ifindex = ifindex;
  const result = connect(
    index,
    localHi,
    localLo,
    localPortNet,
    remoteHi,
    remoteLo,
    remotePortNet,
    anySource,
    clock(now),
  );
  settle();
  return result;
}

/** Mirrors listen(2) of the twin, which has this address. -ENOSPC: it stays on the kernel. */
export function tcpListen(
  index: u32,
  hi: u64,
  lo: u64,
  portNet: u32,
  ifindex: u32,
  backlog: u32,
): i32 {
  return isTcp(index) ? listen(index, hi, lo, portNet, ifindex, backlog) : -EBADF;
}

/** Index of the oldest waiting connection, now tied to the kernel socket with this cookie. */
export function tcpAccept(listener: u32, cookie: u64, client: u32): i32 {
  return isTcp(listener) ? accept(listener, cookie, client) : -EBADF;
}

/**
 * Room for payload: its region offset, header.chunkBytes bytes of it; -EAGAIN (no room), -EPIPE.
 * The caller copies, calls tcpCommit, may go on, and ends with tcpPush.
 */
export function tcpReserve(index: u32, wanted: u32): i32 {
  return isTcp(index) ? reserveStream(index, wanted) : -EBADF;
}

/** `bytes` were copied to where tcpReserve said. */
export function tcpCommit(index: u32, bytes: u32): void {
  if (isTcp(index)) commitStream(index, bytes);
}

/**
 * As tcpReserve, without the lock: a chain of frames that the client may fill for itself, the first
 * as index + 1; 0 if that is not possible. header.chunkBytes: for how many bytes.
 */
export function tcpLend(index: u32, wanted: u32, client: u32): u32 {
  return isTcp(index) ? lend(index, wanted, client) : 0;
}

/** What was put into lent frames is to be sent, as by tcpPush. 0, or -errno: nothing is. */
export function tcpHandIn(
  index: u32,
  first: u32,
  bytes: u32,
  client: u32,
  flags: u32,
  now: u64,
): i32 {
  if (!isTcp(index)) return -EBADF;
  const result = handIn(index, first, bytes, client);
  if (result != 0) return result;
  push(index, flags, clock(now));
  settle();
  return 0;
}

/** Frames of received data for the client to copy from without the lock; see tcpLend. */
export function tcpTakeOut(index: u32, wanted: u32, client: u32, now: u64): u32 {
  if (!isTcp(index)) return 0;
  const first = takeOut(index, wanted, client, clock(now));
  settle();
  return first;
}

/** The client has done with frames that were lent to it. */
export function framesTakeBack(first: u32, client: u32): void {
  takeBack(first, client);
}

/** Sends what may be sent. flags: 1 MSG_MORE, 2 MSG_OOB (the last byte is urgent). */
export function tcpPush(index: u32, flags: u32, now: u64): void {
  if (!isTcp(index)) return;
  push(index, flags, clock(now));
  settle();
}

/**
 * Region offset of received bytes behind `skip` others, header.chunkBytes of them, or 0. They end
 * at the urgent mark: header.chunkEndsAtMark is 1 then, and a call that receives ends, too.
 */
export function tcpChunk(index: u32, skip: u32): u32 {
  return isTcp(index) ? chunk(index, skip) : 0;
}

/** Takes bytes off the receive queue that were copied. */
export function tcpConsume(index: u32, bytes: u32, now: u64): void {
  if (!isTcp(index)) return;
  consume(index, bytes, clock(now));
  settle();
}

/** The urgent byte, -EINVAL (none), -EAGAIN (announced, not here yet). */
export function tcpUrgent(index: u32, peek: u32): i32 {
  return isTcp(index) ? readUrgent(index, peek != 0) : -EBADF;
}

/** SIOCATMARK. */
export function tcpAtMark(index: u32): u32 {
  return isTcp(index) ? atMark(index) : 0;
}

/** shutdown(2): 0, -ENOTCONN, -EINVAL. */
export function tcpShutdown(index: u32, how: u32, now: u64): i32 {
  if (!isTcp(index)) return -EBADF;
  const result = shutdown(index, how, clock(now));
  settle();
  return result;
}

/** The program's last close(2). The connection goes on until it has ended in order. */
export function tcpClose(index: u32, now: u64): void {
  if (!isTcp(index)) return;
  close(index, clock(now));
  settle();
}

/** [nolock] 1 once the peer has everything, or the slot is another socket's: SO_LINGER. */
export function tcpIsDone(index: u32, sequence: u64): u32 {
  return isDone(index, sequence);
}

/** Sets an option (TcpOption). */
export function tcpSetOption(index: u32, option: u32, value: i32, now: u64): i32 {
  return isTcp(index) ? setTcpOption(index, option, value, clock(now)) : -EBADF;
}

/** Region offset of the socket's TcpInfo, which is as struct tcp_info; valid under this lock. */
export function tcpInfo(index: u32, now: u64): u32 {
  return isTcp(index) ? fillTcpInfo(index, clock(now)) : 0;
}

/** 1 while connections use this local address and port, with or without a program. */
export function tcpPortUsed(hi: u64, lo: u64, portNet: u32): u32 {
  return isPortUsed(hi, lo, portNet) ? 1 : 0;
}

/** Resets every connection, as exasockd does before it ends. */
export function tcpResetAll(now: u64): void {
  resetAll(clock(now));
  settle();
}

// ---- epoll -----------------------------------------------------------------------------------

/** A new epoll set that this client refers to, or -ENFILE. */
export function epollCreate(client: u32): i32 {
  const set = createSet(client);
  return set == 0 ? -ENFILE : <i32>set;
}

/** The client got a descriptor of a set that it did not refer to. */
export function epollRefer(set: u32, client: u32): void {
  shareSet(set, client);
}

/** The client has closed its last descriptor of the set. */
export function epollClose(set: u32, client: u32): void {
  unrefer(set, client);
}

/** The client is about to fork: a ticket for its child, or 0 if it has no sets. */
export function epollFork(client: u32): u32 {
  return reserveFork(client);
}

/** The child has joined. Without joining, it writes its process id into its ForkTicket. */
export function epollForked(ticket: u32, client: u32): void {
  claimFork(ticket, client);
}

/** The next ticket behind `from` that is in use, or 0: for exasockd to see if its child lives. */
export function epollNextFork(from: u32): u32 {
  return nextFork(from);
}

/** The child of this ticket is gone. */
export function epollDropFork(ticket: u32): void {
  dropFork(ticket);
}

/**
 * EPOLL_CTL_ADD, without anything wanted yet: the item, -EEXIST, -ENOSPC, -EINVAL. `target` is a
 * socket, or the inner set if `kind` has bit 2; its bits 0 and 1 are what the kernel knows (Half).
 */
export function epollAdd(set: u32, fd: u32, target: u32, kind: u32, events: u32, data: u64): i32 {
  return addItem(set, fd, target, kind, events, data);
}

/** Behind epollAdd: from now on this is wanted. */
export function epollArm(item: u32, events: u32, data: u64): void {
  armItem(item, events, data);
}

/** EPOLL_CTL_MOD: the item, -ENOENT, -EINVAL. */
export function epollModify(
  set: u32,
  fd: u32,
  target: u32,
  kind: u32,
  events: u32,
  data: u64,
): i32 {
  return modifyItem(set, fd, target, kind, events, data);
}

/** EPOLL_CTL_DEL: 0, or -ENOENT. */
export function epollDelete(set: u32, fd: u32, target: u32, inner: u32): i32 {
  return deleteItem(set, fd, target, inner != 0);
}

/** What the kernel knows of the item has changed (Half). */
export function epollHalf(item: u32, half: u32): void {
  noteHalf(item, half);
}

/**
 * The kernel's half of an item, known by its number, descriptor and the lower eight bits of its
 * generation, is ready. 0: there is no such item, or it has no such half.
 */
export function epollDeliver(set: u32, item: u32, generation: u32, fd: u32, events: u32): u32 {
  return deliver(set, item, generation, fd, events) ? 1 : 0;
}

/** Up to `room` events, at EPOLL_EVENTS_OFFSET: how many. */
export function epollCollect(set: u32, room: u32): u32 {
  return collect(set, room);
}

/** 1 if epollCollect would find something. */
export function epollReady(set: u32): u32 {
  return isSet(set) && isSetReady(set, 0) ? 1 : 0;
}

/** A thread that was woken leaves without having looked: another one is woken in its place. */
export function epollPass(set: u32): void {
  if (isSet(set) && EpollSet.at(set).readyCount != 0) wakeInSet(set);
}

// ---- pumping and waking ----------------------------------------------------------------------

/** Handles up to `budget` received frames per queue; `now` is CLOCK_MONOTONIC in ns. */
export function poll(now: u64, budget: u32): u32 {
  return pollQueues(clock(now), budget);
}

/** [nolock] Non-zero if poll() would find something. */
export function hasWork(): u32 {
  return workWaiting();
}

/** Queues whose AF_XDP socket needs a sendto(), one bit each; cleared. */
export function takeKicks(): u64 {
  const header = RegionHeader.get();
  const queues = header.kickQueues;
  header.kickQueues = 0;
  return queues;
}

/** Slot for a thread that will sleep, 1 and up, or -ENOSPC. */
export function waiterAdd(client: u32): i32 {
  const slot = addWaiter(client);
  return slot < 0 ? -ENOSPC : slot;
}

export function waiterRemove(slot: u32): void {
  removeWaiter(slot);
}

/**
 * The thread goes to sleep, for sockets (one bit each), in an epoll set (0: none), or both; 1 if it
 * must sleep on the AF_XDP sockets, too.
 */
export function waiterArm(slot: u32, interestMask: u64, set: u32): u32 {
  return armWaiter(slot, interestMask, set);
}

/** The thread spins in an epoll set. Whoever is meant by an event is in no set any more. */
export function waiterEnter(slot: u32, set: u32): void {
  enterWaiter(slot, set);
}

export function waiterDisarm(slot: u32): void {
  disarmWaiter(slot);
}

/** Non-zero if nextWakeup has something to say. */
export function hasWakeups(): u32 {
  return wakeupsPending() ? 1 : 0;
}

/** Waiter slot whose doorbell is to be rung (0 is exasockd), or -1. */
export function nextWakeup(): i32 {
  return nextWaiter();
}

/** [nolock] When poll() is next due without any packet, CLOCK_MONOTONIC ns; all ones: never. */
export function nextDeadline(): u64 {
  return deadline();
}
