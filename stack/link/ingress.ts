// A received frame's way through Ethernet and IPv4. Bytes are looked at only after a fits() check;
// everything that is not for a socket is counted and freed. Nearly every frame is a plain UDP
// datagram, for which udp/plain-input.ts has a short way; what that does not take comes here.

import { isSumRight, sumBytes } from "../base/checksum";
import { RESERVED_FRAMES, RX_RING_ENTRIES } from "../config";
import { availableFrames, FrameMeta, FrameState, giveFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { tcpInput } from "../tcp/input";
import { plainTcp } from "../tcp/plain-input";
import { udpInput } from "../udp/input";
import { plainInput } from "../udp/plain-input";
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4_NET, EthernetHeader } from "../wire/ethernet";
import { Ipv4Header, PROTOCOL_ICMP, PROTOCOL_UDP } from "../wire/ipv4";
import { PROTOCOL_TCP } from "../wire/tcp";
import { icmpInput } from "./icmp-input";
import { Interface } from "./interface";
import { isMartian } from "./martian";
import { Queue, Ring } from "./queue";
import { DESCRIPTOR_BYTES } from "./xsk-ring";

/** Handles `available` frames of a queue's RX ring. Precondition: receivable() said so. */
export function drainQueueRing(slot: u32, available: u32, now: u64): void {
  const header = RegionHeader.get();
  const queue = Queue.at(slot);
  const ring = Queue.ring(slot, Ring.Rx);
  const entries = <usize>ring.descriptors;
  const from = ring.consumerIndex;
  const interfaceSlot = queue.interfaceSlot;
  const owner = Interface.at(interfaceSlot);
  const mac = owner.mac;
  // Answers are few: one look at the pool serves all.
  const isPoolLow = availableFrames() <= RESERVED_FRAMES;
  let bytes: u64 = 0;
  let plain: u32 = 0;
  for (let n: u32 = 0; n < available; n++) {
    const entry = entries + <usize>(((from + n) & (RX_RING_ENTRIES - 1)) * DESCRIPTOR_BYTES);
    bytes += <u64>load<u32>(entry, 8);
    if (isPoolLow) {
      entryInput(slot, entry, now);
    } else if (plainInput(entry, interfaceSlot, mac, now)) {
      plain += 1;
    } else if (!plainTcp(entry, slot, mac, now)) {
      entryInput(slot, entry, now);
    }
  }
  ring.publishConsumer(from + available);
  queue.posted -= plain;
  queue.rxFrames += available;
  queue.rxBytes += bytes;
  header.rxFrames += available;
  header.rxDatagrams += plain;
}

/**
 * True if an RX descriptor names memory inside a frame that was given to the kernel to receive
 * into. The kernel wrote it, but the region may be damaged: checked before use as an offset.
 */
export function isReceived(entry: usize): bool {
  const header = RegionHeader.get();
  const frame = load<u64>(entry) >> <u64>header.frameShift;
  const start = load<u32>(entry) & (header.frameBytes - 1);
  return (
    frame < <u64>header.frameCount &&
    load<u32>(entry, 8) <= header.frameBytes - start &&
    FrameMeta.at(<u32>frame).state == <u8>FrameState.Fill
  );
}

/** Handles one entry of the RX ring, whatever it is. */
function entryInput(slot: u32, entry: usize, now: u64): void {
  const header = RegionHeader.get();
  const queue = Queue.at(slot);
  if (!isReceived(entry)) {
    header.rxDropDescriptor += 1;
    return;
  }
  const address = load<u32>(entry);
  const frame = address >> header.frameShift;
  const at = <usize>(header.framePoolOffset + address);
  // It stays in state Fill until a socket or the pool has it: who dies here loses nothing.
  queue.posted -= 1;
  if (!frameInput(at, load<u32>(entry, 8), frame, slot, now)) {
    Interface.at(queue.interfaceSlot).rxDrops += 1;
    giveFrame(frame);
  }
}

/** One Ethernet frame. True if a socket keeps the frame. */
function frameInput(at: usize, length: u32, frame: u32, queueSlot: u32, now: u64): bool {
  const header = RegionHeader.get();
  if (!EthernetHeader.fits(length)) {
    header.rxDropTruncated += 1;
    return false;
  }
  const ethernet = changetype<EthernetHeader>(at);
  const entry = Interface.at(Queue.at(queueSlot).interfaceSlot);
  // As Linux, unless told otherwise: to a group of hosts, but with this host's IP address.
  if (ethernet.destinationMac != entry.mac && !ethernet.isToGroup) {
    header.rxDropNotOurMac += 1;
    return false;
  }
  if (<u32>ethernet.typeNet != ETHERTYPE_IPV4_NET) {
    header.rxDropEtherType += 1;
    return false;
  }
  return ipv4Input(
    at + <usize>ETHERNET_HEADER_BYTES,
    length - ETHERNET_HEADER_BYTES,
    frame,
    queueSlot,
    now,
  );
}

/** RFC 791, RFC 1122 3.2.1: what is wrong is dropped without an answer. */
function ipv4Input(at: usize, available: u32, frame: u32, queueSlot: u32, now: u64): bool {
  const header = RegionHeader.get();
  if (!Ipv4Header.fits(at, available)) {
    header.rxDropIpHeader += 1;
    return false;
  }
  const ip = changetype<Ipv4Header>(at);
  const headerBytes = ip.headerBytes;
  if (!isSumRight(sumBytes(at, headerBytes, 0))) {
    header.rxDropIpChecksum += 1;
    return false;
  }
  if (ip.isFragment) {
    header.rxDropFragment += 1;
    return false;
  }
  if (isMartian(ip.sourceNet)) {
    header.rxDropMartian += 1;
    return false;
  }
  const payload = at + <usize>headerBytes;
  const payloadBytes = ip.totalLength - headerBytes;
  const protocol = <u32>ip.protocol;
  if (protocol == PROTOCOL_UDP) {
    return udpInput(ip, payload, payloadBytes, frame, queueSlot, now);
  }
  if (protocol == PROTOCOL_TCP) {
    return tcpInput(ip, payload, payloadBytes, frame, queueSlot, now);
  }
  if (protocol == PROTOCOL_ICMP) {
    const slot = Queue.at(queueSlot).interfaceSlot;
    icmpInput(payload, payloadBytes, Interface.at(slot).ifindex);
    return false;
  }
  header.rxDropProtocol += 1;
  return false;
}
