// The stack's system calls: this file is the ABI. Every export is called with the region's lock
// held, unless its comment says [nolock]. Results below zero are -errno. Indices and slots that a
// program hands over are checked here; inside the stack they are trusted.

import { isWildcard } from "./base/address";
import { MAX_INTERFACES, MAX_QUEUES } from "./config";
import { addAddress, removeAddress } from "./link/address";
import { flushDestinations, nextRequest, rejectDestination } from "./link/destination";
import { resolveDestination, setNeighbor } from "./link/destination";
import { addInterface, Interface, removeInterface, updateInterface } from "./link/interface";
import { addQueue, setRing, startQueue, stopQueue } from "./link/queue";
import { deadline, pollQueues, workWaiting } from "./poll";
import { addClient, removeClient } from "./region/client";
import { FrameMeta } from "./region/frames";
import { RegionHeader } from "./region/header";
import { footprint, formatRegion, joinRegion } from "./region/lifecycle";
import { recoverRegion } from "./region/recover";
import { setSocketOption } from "./socket/options";
import { dequeue } from "./socket/queue";
import { readinessOf, takeError } from "./socket/readiness";
import { isSocket, Socket, SocketState } from "./socket/socket";
import { createSocket, destroySocket, findSocket, place, releaseToKernel } from "./socket/table";
import { steerBound } from "./socket/table";
import { abortDatagram, connectedDestination, reserveDatagram } from "./udp/output";
import { submitDatagram } from "./udp/output";
import { addWaiter, armWaiter, disarmWaiter, removeWaiter } from "./wait/waiter";
import { nextWakeup as nextWaiter, wakeupsPending } from "./wait/waiter";

const ENOENT: i32 = 2;
const EBADF: i32 = 9;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const ENOSPC: i32 = 28;

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

/** Mirrors an option of the twin (SocketOption). */
export function socketSetOption(index: u32, option: u32, value: u32): i32 {
  return isSocket(index) ? setSocketOption(index, option, value) : -EBADF;
}

/** [nolock] EPOLLIN, EPOLLOUT, EPOLLERR bits of the stack's half. */
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

// ---- pumping and waking ----------------------------------------------------------------------

/** Handles up to `budget` received frames per queue; `now` is CLOCK_MONOTONIC in ns. */
export function poll(now: u64, budget: u32): u32 {
  return pollQueues(now, budget);
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

/** The thread goes to sleep; 1 if it must sleep on the AF_XDP sockets, too. */
export function waiterArm(slot: u32, interestMask: u64): u32 {
  return armWaiter(slot, interestMask);
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
