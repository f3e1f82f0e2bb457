// The short way of nearly every received frame: a UDP datagram over an IPv4 header without options,
// for a socket that has room for it. Everything is checked that link/ingress.ts and udp/input.ts
// check, but what fails is left to them: they know why, and count it.

import { mappedLow } from "../base/address";
import { isSumRight } from "../base/checksum";
import { isMartian } from "../link/martian";
import { FrameMeta } from "../region/frames";
import { Socket } from "../socket/socket";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet";
import { IPV4_MIN_HEADER_BYTES, Ipv4Header, PROTOCOL_UDP } from "../wire/ipv4";
import { UDP_HEADER_BYTES, UdpHeader } from "../wire/udp";
import { UdpFrame } from "../wire/udp-frame";
import { demuxAlone, demuxLookup } from "./demux";
import { isChecksumRight, queueDatagram } from "./input";

/**
 * True if the frame of `length` bytes at `at` is in a socket's queue now; false if it is not plain,
 * or not for a socket with room: nothing is changed then.
 * Preconditions: the frame lies inside its pool slot; the pool is not low.
 */
export function plainInput(
  at: usize,
  length: u32,
  frame: u32,
  interfaceSlot: u32,
  ifindex: u32,
  mac: u64,
  isVirtual: bool,
  now: u64,
): bool {
  if (!UdpFrame.fits(length)) return false;
  const headers = changetype<UdpFrame>(at);
  if (headers.destinationMac != mac || !headers.isPlainIpv4) return false;
  const udpBytes = headers.udpLength;
  const totalBytes = udpBytes + IPV4_MIN_HEADER_BYTES;
  if (headers.totalLength != totalBytes || totalBytes > length - ETHERNET_HEADER_BYTES)
    return false;
  if (udpBytes < UDP_HEADER_BYTES || headers.protocol != PROTOCOL_UDP) return false;
  if (headers.isFragment || isMartian(headers.sourceNet)) return false;
  if (!isSumRight(headers.ipv4Sum)) return false;
  const udpAt = at + <usize>(ETHERNET_HEADER_BYTES + IPV4_MIN_HEADER_BYTES);
  const udp = changetype<UdpHeader>(udpAt);
  if (!inline.always(isChecksumRight(udp, udpBytes, headers.pseudoHeaderSum, isVirtual))) {
    return false;
  }
  const localLo = mappedLow(headers.destinationNet);
  const remoteLo = mappedLow(headers.sourceNet);
  const portsNet = rotl<u32>(headers.portsNet, 16);
  let index = demuxAlone(localLo, remoteLo, portsNet, PROTOCOL_UDP);
  if (index == 0) {
    const localPortNet = portsNet & 0xffff;
    const remotePortNet = portsNet >> 16;
    index = demuxLookup(
      0,
      localLo,
      localPortNet,
      0,
      remoteLo,
      remotePortNet,
      PROTOCOL_UDP,
      ifindex,
    );
    if (index == 0) return false;
  }
  const socket = Socket.at(index);
  if (!socket.hasReceiveRoom) return false;
  const ip = changetype<Ipv4Header>(at + <usize>ETHERNET_HEADER_BYTES);
  inline.always(
    queueDatagram(socket, index, frame, ip, udp, udpBytes - UDP_HEADER_BYTES, interfaceSlot, now),
  );
  return true;
}
