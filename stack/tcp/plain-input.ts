// The short way of nearly every received segment: an IPv4 header without options around it. What
// fails a check here is left to link/ingress.ts, which knows why, and counts it.

import { isSumRight } from "../base/checksum";
import { isReceived } from "../link/ingress";
import { Interface } from "../link/interface";
import { isMartian } from "../link/martian";
import { Queue } from "../link/queue";
import { giveFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet";
import { IPV4_MIN_HEADER_BYTES, Ipv4Header } from "../wire/ipv4";
import { PROTOCOL_TCP, TCP_HEADER_BYTES, TcpHeader } from "../wire/tcp";
import { UdpFrame } from "../wire/udp-frame";
import { tcpInput } from "./input";

/**
 * True if the frame that the RX descriptor at `entry` names was dealt with; false, and nothing
 * changed, if it is not plain. Precondition: the pool is not low.
 */
export function plainTcp(entry: usize, queueSlot: u32, mac: u64, now: u64): bool {
  const header = RegionHeader.get();
  const length = load<u32>(entry, 8);
  if (!UdpFrame.fits(length) || !inline.always(isReceived(entry))) return false;
  const address = load<u32>(entry);
  const headers = changetype<UdpFrame>(<usize>(header.framePoolOffset + address));
  if (headers.protocol != PROTOCOL_TCP) return false;
  if (headers.destinationMac != mac || !headers.isPlainIpv4) return false;
  const total = headers.totalLength;
  if (total > length - ETHERNET_HEADER_BYTES) return false;
  if (total < IPV4_MIN_HEADER_BYTES + TCP_HEADER_BYTES) return false;
  if (headers.isFragment || isMartian(headers.sourceNet)) return false;
  if (!isSumRight(headers.ipv4Sum)) return false;
  const ipAt = changetype<usize>(headers) + <usize>ETHERNET_HEADER_BYTES;
  const tcpAt = ipAt + <usize>IPV4_MIN_HEADER_BYTES;
  const available = total - IPV4_MIN_HEADER_BYTES;
  if (!TcpHeader.fits(tcpAt, available)) return false;
  const frame = address >> header.frameShift;
  const queue = Queue.at(queueSlot);
  if (!tcpInput(changetype<Ipv4Header>(ipAt), tcpAt, available, frame, queueSlot, now)) {
    Interface.at(queue.interfaceSlot).rxDrops += 1;
    giveFrame(frame);
  }
  queue.posted -= 1;
  return true;
}
