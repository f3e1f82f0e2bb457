// ICMP errors about what sockets sent, RFC 792, RFC 1122 4.1.3.3 and 4.2.3.9. The XDP program
// redirects only errors that quote a steered source; path-MTU messages about UDP stay with the
// kernel, which has the twin to tell.

import { mappedLow } from "../base/address";
import { checksum } from "../base/checksum";
import { storeRelease32 } from "../host";
import { RegionHeader } from "../region/header";
import { Socket, SocketState } from "../socket/socket";
import { demuxLookup } from "../udp/demux";
import { tcpError } from "../tcp/errors";
import { notifySocket } from "../wait/waiter";
import {
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_FRAGMENTATION_NEEDED,
  ICMP_HEADER_BYTES,
  ICMP_PARAMETER_PROBLEM,
  ICMP_TIME_EXCEEDED,
  IcmpHeader,
} from "../wire/icmp";
import { Ipv4Header, PROTOCOL_UDP } from "../wire/ipv4";
import { PROTOCOL_TCP } from "../wire/tcp";
import { UDP_HEADER_BYTES, UdpHeader } from "../wire/udp";
import { EVENTS_ERROR } from "../wait/events";

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
  if (!Ipv4Header.headerFits(quoted, quotedBytes)) {
    header.rxIcmpIgnored += 1;
    return;
  }
  const ip = changetype<Ipv4Header>(quoted);
  const rest = quotedBytes - ip.headerBytes;
  let isTaken = false;
  // Both protocols have their ports, and TCP its sequence number, in the first eight bytes.
  if (rest >= UDP_HEADER_BYTES && !ip.isFragment) {
    const transport = quoted + <usize>ip.headerBytes;
    const error = hardError(<u32>icmp.type, <u32>icmp.code);
    if (<u32>ip.protocol == PROTOCOL_TCP) isTaken = tcpInputError(icmp, ip, transport);
    else if (<u32>ip.protocol == PROTOCOL_UDP && error != 0) {
      isTaken = udpInputError(ip, changetype<UdpHeader>(transport), error, ifindex);
    }
  }
  if (isTaken) header.rxIcmpErrors += 1;
  else header.rxIcmpIgnored += 1;
}

function udpInputError(ip: Ipv4Header, udp: UdpHeader, error: u32, ifindex: u32): bool {
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
  if (index == 0 || Socket.at(index).state != <u8>SocketState.Connected) return false;
  storeRelease32(changetype<usize>(Socket.at(index)) + offsetof<Socket>("error"), error);
  notifySocket(index, EVENTS_ERROR);
  return true;
}

/** Linux's icmp_err_convert, whole: TCP hears of errors that are soft for UDP, too. */
function softError(type: u32, code: u32): u32 {
  const hard = hardError(type, code);
  if (hard != 0) return hard;
  if (type == ICMP_TIME_EXCEEDED) return EHOSTUNREACH;
  if (type != ICMP_DESTINATION_UNREACHABLE) return 0;
  return code == 0 ? ENETUNREACH : EHOSTUNREACH;
}

function tcpInputError(icmp: IcmpHeader, ip: Ipv4Header, transport: usize): bool {
  const type = <u32>icmp.type;
  const isTooBig =
    type == ICMP_DESTINATION_UNREACHABLE && <u32>icmp.code == ICMP_FRAGMENTATION_NEEDED;
  const error = isTooBig ? 0 : softError(type, <u32>icmp.code);
  if (error == 0 && !isTooBig) return false;
  // RFC 1191 4: the next hop's MTU is in the lower half; old routers send 0.
  const mtu = bswap<u32>(icmp.rest) & 0xffff;
  return tcpError(
    mappedLow(ip.sourceNet),
    mappedLow(ip.destinationNet),
    load<u32>(transport),
    bswap<u32>(load<u32>(transport, 4)),
    error,
    mtu,
  );
}
