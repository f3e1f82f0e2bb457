// ICMP errors about datagrams that sockets sent, RFC 792 and RFC 1122 4.1.3.3. The XDP program
// redirects only errors that quote a steered UDP source; path-MTU messages stay with the kernel.

import { mappedLow } from "../base/address";
import { checksum } from "../base/checksum";
import { storeRelease32 } from "../host";
import { RegionHeader } from "../region/header";
import { Socket, SocketState } from "../socket/socket";
import { demuxLookup } from "../udp/demux";
import { notifySocket } from "../wait/waiter";
import {
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_HEADER_BYTES,
  ICMP_PARAMETER_PROBLEM,
  IcmpHeader,
} from "../wire/icmp";
import { Ipv4Header, PROTOCOL_UDP } from "../wire/ipv4";
import { UDP_HEADER_BYTES, UdpHeader } from "../wire/udp";

const ENOPROTOOPT: u32 = 92;
const EPROTO: u32 = 71;
const ENETUNREACH: u32 = 101;
const ECONNREFUSED: u32 = 111;
const EHOSTDOWN: u32 = 112;
const EHOSTUNREACH: u32 = 113;
const ENONET: u32 = 64;

/** errno that a connected socket reports for a hard error, 0 for a soft one (Linux's table). */
function hardError(type: u32, code: u32): u32 {
  if (type == ICMP_PARAMETER_PROBLEM) return EPROTO;
  if (type != ICMP_DESTINATION_UNREACHABLE) return 0;
  switch (code) {
    case 2:
      return ENOPROTOOPT;
    case 3:
      return ECONNREFUSED;
    case 6:
    case 9:
      return ENETUNREACH;
    case 7:
      return EHOSTDOWN;
    case 8:
      return ENONET;
    case 10:
    case 13:
    case 14:
    case 15:
      return EHOSTUNREACH;
    default:
      return 0;
  }
}

/** Handles an ICMP message of `available` bytes at `at`. The frame stays the caller's. */
export function icmpInput(at: usize, available: u32, ifindex: u32): void {
  const header = RegionHeader.get();
  if (!IcmpHeader.fits(available) || checksum(at, available) != 0) {
    header.rxIcmpIgnored += 1;
    return;
  }
  const icmp = changetype<IcmpHeader>(at);
  const quoted = at + <usize>ICMP_HEADER_BYTES;
  const quotedBytes = available - ICMP_HEADER_BYTES;
  const error = hardError(<u32>icmp.type, <u32>icmp.code);
  if (error == 0 || !Ipv4Header.headerFits(quoted, quotedBytes)) {
    header.rxIcmpIgnored += 1;
    return;
  }
  const ip = changetype<Ipv4Header>(quoted);
  const ipBytes = ip.headerBytes;
  if (<u32>ip.protocol != PROTOCOL_UDP || quotedBytes < ipBytes + UDP_HEADER_BYTES) {
    header.rxIcmpIgnored += 1;
    return;
  }
  const udp = changetype<UdpHeader>(quoted + <usize>ipBytes);
  const index = demuxLookup(
    0,
    mappedLow(ip.sourceNet),
    <u32>udp.sourcePortNet,
    0,
    mappedLow(ip.destinationNet),
    <u32>udp.destinationPortNet,
    PROTOCOL_UDP,
    ifindex,
  );
  if (index == 0 || Socket.at(index).state != <u8>SocketState.Connected) {
    header.rxIcmpIgnored += 1;
    return;
  }
  storeRelease32(changetype<usize>(Socket.at(index)) + offsetof<Socket>("error"), error);
  header.rxIcmpErrors += 1;
  notifySocket(index);
}
