// UDP input, RFC 768: from a validated IPv4 packet to a socket's queue.

import { mappedLow } from "../base/address";
import { isSumRight, sumBytes } from "../base/checksum";
import { RESERVED_FRAMES } from "../config";
import { sendPortUnreachable } from "../link/icmp-output";
import { Interface, InterfaceFlag } from "../link/interface";
import { Queue } from "../link/queue";
import { availableFrames, FrameMeta } from "../region/frames";
import { RegionHeader } from "../region/header";
import { enqueue } from "../socket/queue";
import { Socket } from "../socket/socket";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet";
import { Ipv4Header, PROTOCOL_UDP, pseudoHeaderSum } from "../wire/ipv4";
import { UDP_HEADER_BYTES, UdpHeader } from "../wire/udp";
import { demuxLookup } from "./demux";

/**
 * Handles the UDP datagram at `at` of the packet `ip` that arrived in `frame`. True if the frame
 * now belongs to a socket; otherwise the caller frees it.
 * Precondition: `available` bytes at `at` lie inside the frame.
 */
export function udpInput(
  ip: Ipv4Header,
  at: usize,
  available: u32,
  frame: u32,
  queueSlot: u32,
  now: u64,
): bool {
  const header = RegionHeader.get();
  const interfaceSlot = Queue.at(queueSlot).interfaceSlot;
  if (!UdpHeader.fits(at, available)) {
    header.rxDropUdpLength += 1;
    return false;
  }
  const udp = changetype<UdpHeader>(at);
  const entry = Interface.at(interfaceSlot);
  const length = udp.length;
  const pseudo = pseudoHeaderSum(ip, PROTOCOL_UDP, length);
  if (!isChecksumRight(udp, length, pseudo, interfaceSlot)) {
    header.rxDropUdpChecksum += 1;
    return false;
  }
  const remoteLo = mappedLow(ip.sourceNet);
  const localLo = mappedLow(ip.destinationNet);
  const index = demuxLookup(
    0,
    localLo,
    <u32>udp.destinationPortNet,
    0,
    remoteLo,
    <u32>udp.sourcePortNet,
    PROTOCOL_UDP,
    entry.ifindex,
  );
  if (index == 0) {
    header.rxDropNoSocket += 1;
    sendPortUnreachable(changetype<usize>(ip) - <usize>ETHERNET_HEADER_BYTES, ip, queueSlot, now);
    return false;
  }
  const socket = Socket.at(index);
  if (!socket.hasReceiveRoom) {
    socket.drops += 1;
    header.rxDropQueueFull += 1;
    return false;
  }
  if (availableFrames() <= RESERVED_FRAMES) {
    socket.drops += 1;
    header.rxDropNoFrames += 1;
    return false;
  }
  const payloadBytes = length - UDP_HEADER_BYTES;
  const meta = FrameMeta.at(frame);
  meta.arrivalNanos = now;
  meta.sourceHi = 0;
  meta.sourceLo = remoteLo;
  meta.destinationHi = 0;
  meta.destinationLo = localLo;
  meta.payloadOffset = <u32>at + UDP_HEADER_BYTES;
  meta.payloadBytes = <u16>payloadBytes;
  meta.sourcePortNet = udp.sourcePortNet;
  meta.interfaceSlot = <u8>interfaceSlot;
  meta.ttl = ip.ttl;
  meta.tos = ip.tos;
  enqueue(socket, index, meta, frame, payloadBytes);
  header.rxDatagrams += 1;
  header.rxDatagramBytes += <u64>payloadBytes;
  return true;
}

/**
 * RFC 768: 0 means that the sender computed none. On veth and tap the sender's kernel may leave
 * the pseudo header's sum in the field, to be finished by hardware that is not there.
 */
export function isChecksumRight(
  udp: UdpHeader,
  lengthBytes: u32,
  pseudoSum: u64,
  interfaceSlot: u32,
): bool {
  const found = <u64>udp.checksumNet;
  if (found == 0) return true;
  const isVirtual = (Interface.at(interfaceSlot).flags & InterfaceFlag.Virtual) != 0;
  if (isVirtual && isSumRight(pseudoSum + 0xffff - found)) return true;
  return isSumRight(sumBytes(changetype<usize>(udp), lengthBytes, pseudoSum));
}
