// UDP output, RFC 768 over RFC 791, in two steps, so that the caller's bytes are copied once,
// straight into the frame: udpReserve finds the way and a frame and writes the headers, udpSubmit
// sums the payload and queues it. Both run under one hold of the lock.

import { isWildcard, mappedToNet } from "../base/address";
import { TX_HEADROOM_BYTES, VIA_KERNEL } from "../config";
import { notifyItems } from "../epoll/notify";
import { Fault } from "../fault";
import { fault } from "../host";
import { Destination, isLocalDestination, isUsable } from "../link/destination";
import { lookupDestination } from "../link/destination";
import { reapCompletions, transmit, transmitRoom } from "../link/queue";
import { reserveLocal, submitLocal } from "../local/datagram";
import { FrameMeta, frameOffset, giveFrame, NO_FRAME, takeFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { chargeSend, markSender } from "../socket/charge";
import { Socket, SocketState } from "../socket/socket";
import { UDP_HEADER_BYTES } from "../wire/udp";
import { EVENTS_OUT } from "../wait/events";
import { UDP_FRAME_HEADER_BYTES, UdpFrame } from "../wire/udp-frame";

const EAGAIN: i32 = 11;

/**
 * Prepares a datagram of `lengthBytes`. A zero remote port means the connected peer; a wildcard
 * source means the socket's own address or the route's.
 * Returns the region offset where the payload goes; -EAGAIN when a ring, the pool or the send
 * buffer is full; -VIA_KERNEL when only the kernel can send it (no route known yet, too long…).
 */
export function reserveDatagram(
  index: u32,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  sourceHi: u64,
  sourceLo: u64,
  lengthBytes: u32,
): i32 {
  const header = RegionHeader.get();
  const socket = Socket.at(index);
  const isPlain = (sourceHi | sourceLo | <u64>remotePortNet) == 0;
  let isRepeated = false;
  let at: u32;
  if (isPlain) {
    at = connectedDestination(socket);
  } else if ((sourceHi | sourceLo) == 0 && isLastDestination(socket, remoteHi, remoteLo)) {
    // A server's answer, as a rule: to where its last datagram went.
    isRepeated = true;
    at = socket.destination;
  } else {
    at = destinationFor(socket, remoteHi, remoteLo, remotePortNet, sourceHi, sourceLo);
  }
  if (at == 0) return viaKernel(socket);
  const entry = Destination.at(at - 1);
  if (!isUsable(entry)) {
    if (!isLocalDestination(entry)) return viaKernel(socket);
    const isToPeer = remotePortNet == 0;
    const reserved = reserveLocal(
      socket,
      isToPeer ? socket.remoteLo : remoteLo,
      isToPeer ? <u32>socket.remotePortNet : remotePortNet,
      sourceLowFor(socket, entry, sourceHi, sourceLo),
      lengthBytes,
    );
    return reserved != 0 ? <i32>reserved : viaKernel(socket);
  }
  if (lengthBytes > entry.payloadBytesMax) return viaKernel(socket);
  const queue = entry.queue - 1;
  if (socket.sendBytes >= socket.sendBufferBytes) {
    reapCompletions(queue);
    if (socket.sendBytes >= socket.sendBufferBytes) return blocked(queue, 0);
  }
  if (transmitRoom(queue) == 0) return blocked(queue, 1);
  let frame = takeFrame();
  if (frame == NO_FRAME) {
    reapCompletions(queue);
    frame = takeFrame();
    if (frame == NO_FRAME) return blocked(queue, 2);
  }
  const meta = FrameMeta.at(frame);
  markSender(meta, socket, index, lengthBytes);
  const start = frameOffset(frame) + TX_HEADROOM_BYTES - UDP_FRAME_HEADER_BYTES;
  const frameAt = changetype<UdpFrame>(<usize>start);
  if (isPlain) {
    frameAt.writeFlow(socket.localNet, socket.remoteNet, socket.portsNet);
  } else if (isRepeated) {
    const localNet = socket.localNet;
    frameAt.writeFlow(
      localNet != 0 ? localNet : mappedToNet(entry.sourceLo),
      mappedToNet(remoteLo),
      <u32>socket.localPortNet | (remotePortNet << 16),
    );
  } else {
    const isToPeer = remotePortNet == 0;
    frameAt.writeFlow(
      sourceFor(socket, entry, sourceHi, sourceLo),
      isToPeer ? socket.remoteNet : mappedToNet(remoteLo),
      isToPeer ? socket.portsNet : <u32>socket.localPortNet | (remotePortNet << 16),
    );
  }
  frameAt.writeRest(entry.frameStart0, entry.frameStart8, socket.ttlAndTos, lengthBytes);
  header.reservedFrame = frame + 1;
  meta.interfaceSlot = <u8>queue;
  header.reservedStart = start;
  return <i32>(start + UDP_FRAME_HEADER_BYTES);
}

function viaKernel(socket: Socket): i32 {
  socket.sentViaKernel += 1;
  RegionHeader.get().txViaKernel += 1;
  return -VIA_KERNEL;
}

/** The kernel is asked to send what is queued, since only that makes room. */
function blocked(queue: u32, what: u32): i32 {
  const header = RegionHeader.get();
  header.kickQueues |= (<u64>1) << (<u64>queue);
  header.blockedSenders += 1;
  if (what == 0) header.txBufferFull += 1;
  else if (what == 1) header.txRingFull += 1;
  else header.txNoFrames += 1;
  return -EAGAIN;
}

/** Index + 1 of the destination with an explicit remote or source, or 0 if there is none. */
function destinationFor(
  socket: Socket,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  sourceHi: u64,
  sourceLo: u64,
): u32 {
  if (remotePortNet == 0) {
    if (socket.state != <u8>SocketState.Connected) return 0;
    const ifindex = socket.ifindex;
    return lookupDestination(socket.remoteHi, socket.remoteLo, sourceHi, sourceLo, ifindex);
  }
  if (!isPlaced(socket)) return 0;
  const isAsked = !isWildcard(sourceHi, sourceLo);
  const fromHi = isAsked ? sourceHi : socket.localHi;
  const fromLo = isAsked ? sourceLo : socket.localLo;
  const at = lookupDestination(remoteHi, remoteLo, fromHi, fromLo, socket.ifindex);
  if (!isAsked && socket.state == <u8>SocketState.Bound) rememberDestination(socket, at);
  return at;
}

/**
 * True if the socket's destination has this address: an unconnected one sent there last, as a
 * server that answers does. A socket that is the kernel's has none.
 */
function isLastDestination(socket: Socket, remoteHi: u64, remoteLo: u64): bool {
  const known = socket.destination;
  if (known == 0) return false;
  const entry = Destination.at(known - 1);
  return (
    entry.addressLo == remoteLo &&
    entry.addressHi == remoteHi &&
    entry.generation == socket.destinationGeneration
  );
}

function rememberDestination(socket: Socket, at: u32): void {
  socket.destination = at;
  socket.destinationGeneration = Destination.at(at - 1).generation;
}

function isPlaced(socket: Socket): bool {
  return socket.state == <u8>SocketState.Bound || socket.state == <u8>SocketState.Connected;
}

/** Index + 1 of the connected peer's destination, which the socket remembers; 0 without a peer. */
export function connectedDestination(socket: Socket): u32 {
  if (socket.state != <u8>SocketState.Connected) return 0;
  const known = socket.destination;
  if (known != 0 && Destination.at(known - 1).generation == socket.destinationGeneration) {
    return known;
  }
  const at = lookupDestination(
    socket.remoteHi,
    socket.remoteLo,
    socket.localHi,
    socket.localLo,
    socket.ifindex,
  );
  rememberDestination(socket, at);
  return at;
}

/** The source address: the one asked for, else the socket's, else the route's. */
function sourceFor(socket: Socket, entry: Destination, sourceHi: u64, sourceLo: u64): u32 {
  return mappedToNet(sourceLowFor(socket, entry, sourceHi, sourceLo));
}

/** The same in its v4-mapped form. */
function sourceLowFor(socket: Socket, entry: Destination, sourceHi: u64, sourceLo: u64): u64 {
  if (!isWildcard(sourceHi, sourceLo)) return sourceLo;
  return isWildcard(socket.localHi, socket.localLo) ? entry.sourceLo : socket.localLo;
}

/** Queues the reserved datagram, whose payload the caller has written. */
export function submitDatagram(): void {
  const header = RegionHeader.get();
  const reserved = header.reservedFrame;
  if (reserved == 0) fault(Fault.NoReservation);
  header.reservedFrame = 0;
  const meta = FrameMeta.at(reserved - 1);
  const start = header.reservedStart;
  if (start == 0) {
    submitLocal(meta, reserved - 1);
    return;
  }
  const lengthBytes = <u32>meta.payloadBytes;
  changetype<UdpFrame>(<usize>start).writeUdpChecksum(lengthBytes + UDP_HEADER_BYTES);
  const socket = Socket.at(meta.socket);
  chargeSend(socket, lengthBytes);
  transmit(<u32>meta.interfaceSlot, meta, start, lengthBytes + UDP_FRAME_HEADER_BYTES);
  // To Linux's epoll each datagram that has gone is an edge (sock_def_write_space).
  if (socket.items != 0) notifyItems(socket.items, EVENTS_OUT, 0);
  socket.sent += 1;
  header.txDatagrams += 1;
}

/** Gives a reservation up. */
export function abortDatagram(): void {
  const header = RegionHeader.get();
  const reserved = header.reservedFrame;
  header.reservedFrame = 0;
  if (reserved != 0) giveFrame(reserved - 1);
}
