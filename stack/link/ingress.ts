// A received frame's way through Ethernet and IPv4. Bytes are looked at only after a fits() check;
// everything that is not for a socket is counted and freed.

import { isSumRight, sumBytes } from "../base/checksum";
import { FrameMeta, FrameState, giveFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { udpInput } from "../udp/input";
import { ETHERNET_HEADER_BYTES, ETHERTYPE_IPV4_NET, EthernetHeader } from "../wire/ethernet";
import { Ipv4Header, PROTOCOL_ICMP, PROTOCOL_UDP } from "../wire/ipv4";
import { RX_RING_ENTRIES } from "../config";
import { icmpInput } from "./icmp-input";
import { Interface } from "./interface";
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
  let bytes: u64 = 0;
  let taken: u32 = 0;
  for (let n: u32 = 0; n < available; n++) {
    const entry = entries + <usize>(((from + n) & (RX_RING_ENTRIES - 1)) * DESCRIPTOR_BYTES);
    const address = load<u64>(entry);
    const length = load<u32>(entry, 8);
    bytes += <u64>length;
    const frame = <u32>(address >> header.frameShift);
    // The kernel wrote the descriptor, but the region may be damaged: check before use as offset.
    // A frame stays in state Fill until a socket or the pool has it: who dies here loses nothing.
    if (
      frame >= header.frameCount ||
      (<u32>address & (header.frameBytes - 1)) + length > header.frameBytes ||
      FrameMeta.at(frame).state != <u8>FrameState.Fill
    ) {
      header.rxDropDescriptor += 1;
      continue;
    }
    taken += 1;
    const at = <usize>(header.framePoolOffset + <u32>address);
    if (!frameInput(at, length, frame, interfaceSlot, now)) {
      Interface.at(interfaceSlot).rxDrops += 1;
      giveFrame(frame);
    }
  }
  ring.publishConsumer(from + available);
  queue.posted -= taken;
  queue.rxFrames += available;
  header.rxFrames += available;
  Interface.at(interfaceSlot).rxFrames += available;
  Interface.at(interfaceSlot).rxBytes += bytes;
}

/** One Ethernet frame. True if a socket keeps the frame. */
function frameInput(at: usize, length: u32, frame: u32, interfaceSlot: u32, now: u64): bool {
  const header = RegionHeader.get();
  if (!EthernetHeader.fits(length)) {
    header.rxDropTruncated += 1;
    return false;
  }
  const ethernet = changetype<EthernetHeader>(at);
  const entry = Interface.at(interfaceSlot);
  if (ethernet.destinationMac != entry.mac) {
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
    interfaceSlot,
    now,
  );
}

/** RFC 791, RFC 1122 3.2.1: what is wrong is dropped without an answer. */
function ipv4Input(at: usize, available: u32, frame: u32, interfaceSlot: u32, now: u64): bool {
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
    return udpInput(ip, payload, payloadBytes, frame, interfaceSlot, now);
  }
  if (protocol == PROTOCOL_ICMP) {
    icmpInput(payload, payloadBytes, Interface.at(interfaceSlot).ifindex);
    return false;
  }
  header.rxDropProtocol += 1;
  return false;
}

/** Sources that no host may send from, RFC 1122 3.2.1.3: 0/8, 127/8, multicast, class E. */
function isMartian(sourceNet: u32): bool {
  const first = sourceNet & 0xff;
  return first == 0 || first == 127 || first >= 224;
}
