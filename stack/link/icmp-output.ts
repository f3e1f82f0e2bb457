// Port unreachable, RFC 792 and RFC 1122 4.1.3.1: what a kernel answers when a datagram reaches no
// socket. It happens to steered packets when the only socket there is connected to somebody else,
// or was closed while the packet was on its way. Limited in rate as Linux limits it
// (icmp_msgs_per_sec, icmp_msgs_burst).

import { mappedLow } from "../base/address";
import { foldSum, sumBytes } from "../base/checksum";
import {
  DEFAULT_TTL,
  ICMP_BURST_MESSAGES,
  ICMP_MESSAGE_NANOS,
  RESERVED_FRAMES,
  TX_HEADROOM_BYTES,
} from "../config";
import { availableFrames, FrameMeta, frameOffset, NO_FRAME, takeFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { markUncharged } from "../socket/charge";
import { ETHERNET_HEADER_BYTES, EthernetHeader } from "../wire/ethernet";
import { ICMP_DESTINATION_UNREACHABLE, ICMP_HEADER_BYTES, IcmpHeader } from "../wire/icmp";
import { ICMP_PORT_UNREACHABLE } from "../wire/icmp";
import { IPV4_MIN_HEADER_BYTES, Ipv4Header, PROTOCOL_ICMP } from "../wire/ipv4";
import { transmit, transmitRoom } from "./queue";
import { isLocal } from "./steering";

/** RFC 1812 4.3.2.3: as much of the datagram as fits into 576 bytes. */
const MAX_QUOTED_BYTES: u32 = 548;
/** Internet control precedence, RFC 1122 3.2.2.6 and Linux's icmp_send. */
const TOS_CONTROL: u32 = 0xc0;
/** The bits of a TOS that an error keeps. */
const TOS_KEPT: u32 = 0x1e;

/** True, and one message fewer, if the rate allows a message now. */
function takeMessage(now: u64): bool {
  const header = RegionHeader.get();
  const full: u64 = <u64>ICMP_BURST_MESSAGES * ICMP_MESSAGE_NANOS;
  // The time at which all messages so far are paid for; never further back than a full burst.
  let paid = header.icmpPaidNanos;
  if (paid + full < now) paid = now - full;
  if (paid + ICMP_MESSAGE_NANOS > now) return false;
  header.icmpPaidNanos = paid + ICMP_MESSAGE_NANOS;
  return true;
}

/**
 * Answers the datagram `ip`, which arrived in an Ethernet frame at `ethernetAt` on this queue.
 * Nothing is sent for addresses that are not this host's, and nothing waits for room.
 */
export function sendPortUnreachable(
  ethernetAt: usize,
  ip: Ipv4Header,
  queueSlot: u32,
  now: u64,
): void {
  const header = RegionHeader.get();
  if (!isLocal(0, mappedLow(ip.destinationNet))) return;
  if (!takeMessage(now) || transmitRoom(queueSlot) == 0) {
    header.txIcmpLimited += 1;
    return;
  }
  const frame = availableFrames() > RESERVED_FRAMES ? takeFrame() : NO_FRAME;
  if (frame == NO_FRAME) {
    header.txIcmpLimited += 1;
    return;
  }
  const meta = FrameMeta.at(frame);
  markUncharged(meta);
  meta.interfaceSlot = <u8>queueSlot;
  const at = frameOffset(frame) + TX_HEADROOM_BYTES;
  const quoted = min<u32>(ip.totalLength, MAX_QUOTED_BYTES);
  const icmpAt = <usize>(at + ETHERNET_HEADER_BYTES + IPV4_MIN_HEADER_BYTES);
  memory.copy(icmpAt + <usize>ICMP_HEADER_BYTES, changetype<usize>(ip), <usize>quoted);
  const icmp = changetype<IcmpHeader>(icmpAt);
  icmp.type = <u8>ICMP_DESTINATION_UNREACHABLE;
  icmp.code = <u8>ICMP_PORT_UNREACHABLE;
  icmp.checksumNet = 0;
  icmp.rest = 0;
  const icmpBytes = ICMP_HEADER_BYTES + quoted;
  icmp.checksumNet = <u16>~foldSum(sumBytes(icmpAt, icmpBytes, 0));
  const ipBytes = IPV4_MIN_HEADER_BYTES + icmpBytes;
  changetype<Ipv4Header>(<usize>(at + ETHERNET_HEADER_BYTES)).write(
    ipBytes,
    (<u32>ip.tos & TOS_KEPT) | TOS_CONTROL,
    DEFAULT_TTL,
    PROTOCOL_ICMP,
    ip.destinationNet,
    ip.sourceNet,
  );
  changetype<EthernetHeader>(<usize>at).writeReply(changetype<EthernetHeader>(ethernetAt));
  transmit(queueSlot, meta, at, ETHERNET_HEADER_BYTES + ipBytes);
  header.txIcmpErrors += 1;
}
