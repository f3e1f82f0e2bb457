// UDP output, RFC 768 over RFC 791, in two steps, so that the caller's bytes are copied once,
// straight into the frame: udpReserve finds the way and a frame, udpSubmit writes the headers and
// queues it. Both run under one hold of the lock.

import { isWildcard, mappedToNet } from "../base/address";
import { foldSum, sumBytes } from "../base/checksum";
import { DATAGRAM_OVERHEAD_BYTES, TX_HEADROOM_BYTES, VIA_KERNEL } from "../config";
import { Fault } from "../fault";
import { fault } from "../host";
import { Destination, isUsable, lookupDestination } from "../link/destination";
import { Interface } from "../link/interface";
import { reapCompletions, transmit, transmitRoom } from "../link/queue";
import { FrameMeta, frameOffset, giveFrame, takeFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { chargeSend } from "../socket/charge";
import { Socket, SocketState } from "../socket/socket";
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4_NET, EthernetHeader } from "../wire/ethernet";
import { IPV4_MIN_HEADER_BYTES, Ipv4Header } from "../wire/ipv4";
import { PROTOCOL_UDP, pseudoHeaderSum } from "../wire/ipv4";
import { UDP_HEADER_BYTES, UdpHeader } from "../wire/udp";

const EAGAIN: i32 = 11;
const HEADER_BYTES: u32 = ETHERNET_HEADER_BYTES + IPV4_MIN_HEADER_BYTES + UDP_HEADER_BYTES;

/** What a datagram costs the send buffer: as for reception, an overhead beside the payload. */
function sendCharge(lengthBytes: u32): u32 {
  return lengthBytes + DATAGRAM_OVERHEAD_BYTES;
}

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
  const at = destinationFor(socket, remoteHi, remoteLo, remotePortNet, sourceHi, sourceLo);
  if (at == 0) return viaKernel(socket);
  const entry = Destination.at(at - 1);
  if (!isUsable(entry)) return viaKernel(socket);
  if (lengthBytes + UDP_HEADER_BYTES + IPV4_MIN_HEADER_BYTES > entry.mtu) return viaKernel(socket);
  const queue = entry.queue - 1;
  if (socket.sendBytes >= socket.sendBufferBytes) {
    reapCompletions(queue);
    if (socket.sendBytes >= socket.sendBufferBytes) return blocked(queue, 0);
  }
  if (transmitRoom(queue) == 0) return blocked(queue, 1);
  let frame = takeFrame(0);
  if (frame == 0) {
    reapCompletions(queue);
    frame = takeFrame(0);
    if (frame == 0) return blocked(queue, 2);
  }
  if (remotePortNet != 0) {
    header.reservedRemoteHi = remoteHi;
    header.reservedRemoteLo = remoteLo;
    header.reservedRemotePortNet = remotePortNet;
  } else {
    header.reservedRemoteHi = socket.remoteHi;
    header.reservedRemoteLo = socket.remoteLo;
    header.reservedRemotePortNet = <u32>socket.remotePortNet;
  }
  header.reservedSourceLo = sourceFor(socket, entry, sourceHi, sourceLo);
  header.reservedFrame = frame;
  header.reservedSocket = index;
  header.reservedDestination = at - 1;
  header.reservedLength = lengthBytes;
  return <i32>(frameOffset(frame - 1) + TX_HEADROOM_BYTES);
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

/** Index + 1 of the destination; a connected socket remembers its own. */
function destinationFor(
  socket: Socket,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  sourceHi: u64,
  sourceLo: u64,
): u32 {
  if (socket.state != <u8>SocketState.Bound && socket.state != <u8>SocketState.Connected) {
    return 0;
  }
  const explicitSource = !isWildcard(sourceHi, sourceLo);
  const fromHi = explicitSource ? sourceHi : socket.localHi;
  const fromLo = explicitSource ? sourceLo : socket.localLo;
  if (remotePortNet != 0) {
    return lookupDestination(remoteHi, remoteLo, fromHi, fromLo, socket.ifindex);
  }
  if (socket.state != <u8>SocketState.Connected) return 0;
  const cached = socket.destination;
  if (
    cached != 0 &&
    !explicitSource &&
    Destination.at(cached - 1).generation == socket.destinationGeneration
  ) {
    return cached;
  }
  const at = lookupDestination(socket.remoteHi, socket.remoteLo, fromHi, fromLo, socket.ifindex);
  if (!explicitSource) {
    socket.destination = at;
    socket.destinationGeneration = Destination.at(at - 1).generation;
  }
  return at;
}

function sourceFor(socket: Socket, entry: Destination, sourceHi: u64, sourceLo: u64): u64 {
  if (!isWildcard(sourceHi, sourceLo)) return sourceLo;
  return isWildcard(socket.localHi, socket.localLo) ? entry.sourceLo : socket.localLo;
}

/** Queues the reserved datagram, whose payload the caller has written. */
export function submitDatagram(): void {
  const header = RegionHeader.get();
  const reserved = header.reservedFrame;
  if (reserved == 0) fault(Fault.NoReservation);
  header.reservedFrame = 0;
  const frame = reserved - 1;
  const socket = Socket.at(header.reservedSocket);
  const entry = Destination.at(header.reservedDestination);
  const length = header.reservedLength;
  const payload = <usize>(frameOffset(frame) + TX_HEADROOM_BYTES);
  const start = payload - <usize>HEADER_BYTES;
  const sourceNet = mappedToNet(header.reservedSourceLo);
  const remoteNet = mappedToNet(header.reservedRemoteLo);
  writeEthernet(start, entry);
  const ip = changetype<Ipv4Header>(start + <usize>ETHERNET_HEADER_BYTES);
  ip.write(
    length + UDP_HEADER_BYTES + IPV4_MIN_HEADER_BYTES,
    <u32>socket.tos,
    <u32>socket.ttl,
    PROTOCOL_UDP,
    sourceNet,
    remoteNet,
  );
  const udpAt = payload - <usize>UDP_HEADER_BYTES;
  const udp = changetype<UdpHeader>(udpAt);
  const udpBytes = length + UDP_HEADER_BYTES;
  udp.write(<u32>socket.localPortNet, header.reservedRemotePortNet, udpBytes);
  const pseudo = pseudoHeaderSum(ip, PROTOCOL_UDP, udpBytes);
  const sum = ~foldSum(sumBytes(udpAt, udpBytes, pseudo)) & 0xffff;
  // RFC 768: a computed checksum of zero is sent as all ones.
  udp.checksumNet = <u16>(sum == 0 ? 0xffff : sum);
  chargeSend(FrameMeta.at(frame), header.reservedSocket, sendCharge(length));
  transmit(entry.queue - 1, frame, <u32>start, length + HEADER_BYTES);
  socket.sent += 1;
  header.txDatagrams += 1;
  header.txDatagramBytes += length;
}

function writeEthernet(start: usize, entry: Destination): void {
  const ethernet = changetype<EthernetHeader>(start);
  const owner = Interface.at(entry.interfaceSlot);
  ethernet.setDestination(entry.macLow, entry.macHigh);
  ethernet.setSource(owner.macLow, owner.macHigh);
  ethernet.typeNet = <u16>ETHERTYPE_IPV4_NET;
}

/** Gives a reservation up. */
export function abortDatagram(): void {
  const header = RegionHeader.get();
  const reserved = header.reservedFrame;
  header.reservedFrame = 0;
  if (reserved != 0) giveFrame(reserved - 1);
}
