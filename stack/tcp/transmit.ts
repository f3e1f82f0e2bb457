// One segment onto the wire: headers in front of the payload, options, checksum, the TX ring.

import { foldSum, sumBytes } from "../base/checksum";
import { Destination, isLocalDestination } from "../link/destination";
import { finishByKernel, Queue, transmitRoom, transmitWith } from "../link/queue";
import { hasLocalRoom, sendLocal } from "../local/segments";
import { FrameMeta, FrameState } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet";
import { IPV4_MIN_HEADER_BYTES } from "../wire/ipv4";
import {
  OPTION_NOP,
  OPTION_SACK,
  PROTOCOL_TCP,
  TCP_ACK,
  TCP_CWR,
  TCP_ECE,
  TCP_HEADER_BYTES,
  TCP_URG,
  TcpHeader,
  TIMESTAMPS_OPTION_BYTES,
  TIMESTAMPS_WORD_NET,
} from "../wire/tcp";
import { TcpFrame } from "./frame";
import { Tcb, TcpFlag } from "./tcb";
import { selectWindow } from "./window";

const LINK_AND_NETWORK_BYTES: u32 = ETHERNET_HEADER_BYTES + IPV4_MIN_HEADER_BYTES;
const DONT_FRAGMENT_NET: u32 = 0x0040;
const NOPS_SACK_NET: u32 = OPTION_NOP | (OPTION_NOP << 8) | (OPTION_SACK << 16);
const ECT0: u32 = 2;
const CHECKSUM_OFFSET: u32 = 16;

/** Our timestamp clock, RFC 7323 5.4: milliseconds, from a start that differs by connection. */
export function timestampNow(tcb: Tcb, now: u64): u32 {
  return <u32>(now / 1000000) + tcb.tsOffset;
}

/**
 * Queue to send through, slot + 1, of a way that has room for one more frame; 0 if there is none:
 * the kernel is then asked to send what is queued. On this host it is room that counts.
 */
export function roomyQueue(entry: Destination): u32 {
  if (isLocalDestination(entry)) return hasLocalRoom() ? 1 : 0;
  const queue = entry.queue;
  if (transmitRoom(queue - 1) != 0) return queue;
  const header = RegionHeader.get();
  header.kickQueues |= (<u64>1) << (<u64>(queue - 1));
  header.blockedSenders += 1;
  header.txRingFull += 1;
  return 0;
}

/** How many SACK blocks fit into `room` bytes of options, the D-SACK block included. */
function sackBlocksFor(tcb: Tcb, room: u32): u32 {
  const wanted = <u32>tcb.sackBlocks + <u32>tcb.hasDsack;
  if (wanted == 0 || room < 12) return 0;
  return min<u32>(wanted, (room - 4) >> 3);
}

/** Writes the SACK option at `at`: the D-SACK block first (RFC 2883 4). */
function writeSack(tcb: Tcb, at: usize, blocks: u32): void {
  store<u32>(at, NOPS_SACK_NET | ((2 + (blocks << 3)) << 24));
  let to = at + 4;
  let left = blocks;
  if (tcb.hasDsack != 0) {
    store<u32>(to, bswap<u32>(tcb.dsackStart));
    store<u32>(to, bswap<u32>(tcb.dsackEnd), 4);
    to += 8;
    left -= 1;
    tcb.hasDsack = 0;
  }
  let from = changetype<usize>(tcb) + offsetof<Tcb>("sackStart0");
  for (; left > 0; left--) {
    store<u32>(to, bswap<u32>(load<u32>(from)));
    store<u32>(to, bswap<u32>(load<u32>(from, 4)), 4);
    to += 8;
    from += 8;
  }
}

/** Distance from `seq` to the end of urgent data (RFC 9293 3.8.5), 0 where none is near ahead. */
function urgentPointer(tcb: Tcb, seq: u32): u32 {
  const distance = tcb.sndUp - seq;
  return tcb.has(TcpFlag.UrgentSend) && distance <= 0xffff ? distance : 0;
}

/**
 * Sends the frame's payload from sequence number `seq` on, with its acknowledgment and window.
 * Preconditions: a synchronised state; the queue has room; the frame is not with the kernel.
 */
export function sendSegment(
  socket: Socket,
  tcb: Tcb,
  entry: Destination,
  frame: TcpFrame,
  seq: u32,
  flags: u32,
  now: u64,
): void {
  const payloadBytes = <u32>frame.payloadBytes;
  const payload = <usize>frame.payloadOffset;
  const hasTimestamps = tcb.has(TcpFlag.Timestamps);
  let optionBytes: u32 = hasTimestamps ? TIMESTAMPS_OPTION_BYTES : 0;
  let blocks: u32 = 0;
  const wantsSack = (tcb.sackBlocks | tcb.hasDsack) != 0;
  if (wantsSack) {
    const headers = IPV4_MIN_HEADER_BYTES + TCP_HEADER_BYTES + optionBytes + payloadBytes;
    const room = tcb.pathMtu > headers ? tcb.pathMtu - headers : 0;
    blocks = sackBlocksFor(tcb, min<u32>(room, 40 - optionBytes));
    if (blocks != 0) optionBytes += 4 + (blocks << 3);
  }
  const options = payload - <usize>optionBytes;
  let at = options;
  if (hasTimestamps) {
    store<u32>(at, TIMESTAMPS_WORD_NET);
    store<u32>(at, bswap<u32>(timestampNow(tcb, now)), 4);
    store<u32>(at, bswap<u32>(tcb.tsRecent), 8);
    at += <usize>TIMESTAMPS_OPTION_BYTES;
  }
  if (blocks != 0) writeSack(tcb, at, blocks);
  const window = selectWindow(socket, tcb);
  tcb.rcvAdv = tcb.rcvNxt + window;
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.delackAt = 0;
  // Blocks that full segments have no room for go in an acknowledgment of their own (RFC 2018 4).
  if (!wantsSack || blocks != 0) tcb.flags &= ~TcpFlag.AckNow;
  if (window == 0) tcb.zeroWindows += 1;
  let bits = flags | TCP_ACK;
  let urgent: u32 = 0;
  let tos = <u32>socket.tos;
  // Neither is common: one look for both.
  if (tcb.has(TcpFlag.UrgentSend | TcpFlag.Ecn)) {
    urgent = urgentPointer(tcb, seq);
    if (urgent != 0) bits |= TCP_URG;
    if (tcb.has(TcpFlag.Ecn)) {
      if (tcb.has(TcpFlag.EcnEcho)) bits |= TCP_ECE;
      // RFC 3168 6.1.5: neither retransmissions nor bare acknowledgments are marked as capable.
      if (payloadBytes != 0 && seq == tcb.sndNxt) {
        tos |= ECT0;
        if (tcb.has(TcpFlag.EcnReduced)) {
          bits |= TCP_CWR;
          tcb.flags &= ~TcpFlag.EcnReduced;
        }
      }
    }
  }
  const headerBytes = TCP_HEADER_BYTES + optionBytes;
  const tcp = changetype<TcpHeader>(options - <usize>TCP_HEADER_BYTES);
  const field = window >> <u32>tcb.rcvWscale;
  tcp.write(socket.portsNet, seq, tcb.rcvNxt, headerBytes, bits, field, urgent);
  sealAndSend(socket, entry, frame, tcp, headerBytes + payloadBytes, tos);
  tcb.segmentsOut += 1;
}

/** Writes the headers around a TCP header that is there, and queues it all. */
export function sealAndSend(
  socket: Socket,
  entry: Destination,
  frame: TcpFrame,
  tcp: TcpHeader,
  tcpBytes: u32,
  tos: u32,
): void {
  const localNet = socket.localNet;
  const remoteNet = socket.remoteNet;
  const ttl = <u32>socket.ttl | (tos << 8);
  if (isLocalDestination(entry)) {
    const ip = changetype<usize>(tcp) - <usize>IPV4_MIN_HEADER_BYTES;
    writeIpv4(ip, ttl, tcpBytes, localNet, remoteNet);
    sendLocal(frame, <u32>ip, IPV4_MIN_HEADER_BYTES + tcpBytes);
    return;
  }
  const queue = entry.queue - 1;
  const start = changetype<usize>(tcp) - <usize>LINK_AND_NETWORK_BYTES;
  store<u64>(start, entry.frameStart0);
  store<u64>(start, entry.frameStart8, 8);
  writeIpv4(start + <usize>ETHERNET_HEADER_BYTES, ttl, tcpBytes, localNet, remoteNet);
  let options: u32 = 0;
  if (Queue.at(queue).finishesChecksums != 0) {
    tcp.checksumNet = <u16>foldSum(pseudoSum(tcpBytes, localNet, remoteNet));
    options = finishByKernel(start, LINK_AND_NETWORK_BYTES, CHECKSUM_OFFSET);
  } else {
    seal(tcp, tcpBytes, localNet, remoteNet);
  }
  frame.state = <u8>FrameState.Held;
  frame.interfaceSlot = <u8>queue;
  const meta = changetype<FrameMeta>(changetype<usize>(frame));
  transmitWith(queue, meta, <u32>start, LINK_AND_NETWORK_BYTES + tcpBytes, options);
  RegionHeader.get().txSegments += 1;
}

/** The pseudo header's sum, RFC 9293 3.1. */
function pseudoSum(tcpBytes: u32, sourceNet: u32, destinationNet: u32): u64 {
  const rest = (PROTOCOL_TCP << 8) + (bswap<u32>(tcpBytes) >> 16);
  return <u64>sourceNet + <u64>destinationNet + <u64>rest;
}

/** Fills the checksum in, RFC 9293 3.1. Precondition: the field is 0. */
export function seal(tcp: TcpHeader, tcpBytes: u32, sourceNet: u32, destinationNet: u32): void {
  const pseudo = pseudoSum(tcpBytes, sourceNet, destinationNet);
  tcp.checksumNet = <u16>~foldSum(sumBytes(changetype<usize>(tcp), tcpBytes, pseudo));
}

/** An IPv4 header of an atomic datagram (RFC 6864 4.1), behind version and length, which are there. */
export function writeIpv4(
  at: usize,
  ttlAndTos: u32,
  tcpBytes: u32,
  sourceNet: u32,
  destinationNet: u32,
): void {
  const totalLengthNet = bswap<u32>(tcpBytes + IPV4_MIN_HEADER_BYTES) >> 16;
  store<u8>(at, <u8>(ttlAndTos >> 8), 1);
  store<u32>(at, totalLengthNet, 2);
  store<u32>(at, DONT_FRAGMENT_NET | (PROTOCOL_TCP << 24), 6);
  store<u8>(at, <u8>ttlAndTos, 8);
  store<u32>(at, sourceNet, 12);
  store<u32>(at, destinationNet, 16);
  const words = 0x45 + DONT_FRAGMENT_NET + (PROTOCOL_TCP << 8) + totalLengthNet + ttlAndTos;
  const sum = <u64>words + <u64>sourceNet + <u64>destinationNet;
  store<u16>(at, <u16>~foldSum(sum), 10);
}
