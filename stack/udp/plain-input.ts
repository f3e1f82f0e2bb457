// The short way of nearly every received frame: a UDP datagram over an IPv4 header without options,
// for a socket that has room for it. Everything is checked that link/ingress.ts and udp/input.ts
// check, but what fails is left to them: they know why, and count it.

import { mappedLow } from "../base/address";
import { isSumRight } from "../base/checksum";
import { isReceived } from "../link/ingress";
import { Interface } from "../link/interface";
import { isMartian } from "../link/martian";
import { FrameMeta } from "../region/frames";
import { RegionHeader } from "../region/header";
import { enqueue } from "../socket/queue";
import { Socket } from "../socket/socket";
import { ETHERNET_HEADER_BYTES } from "../wire/ethernet";
import { IPV4_MIN_HEADER_BYTES, PROTOCOL_UDP } from "../wire/ipv4";
import { UDP_HEADER_BYTES, UdpHeader } from "../wire/udp";
import { UDP_FRAME_HEADER_BYTES, UdpFrame } from "../wire/udp-frame";
import { demuxAlone, demuxAnyAlone, demuxLookup } from "./demux";
import { isChecksumRight } from "./input";

/**
 * True if the frame that the RX descriptor at `entry` names is in a socket's queue now; false, and
 * nothing changed, if it is not plain or not for a socket with room.
 * Precondition: the pool is not low.
 */
export function plainInput(entry: usize, interfaceSlot: u32, mac: u64, now: u64): bool {
  const header = RegionHeader.get();
  const length = load<u32>(entry, 8);
  if (!UdpFrame.fits(length) || !inline.always(isReceived(entry))) return false;
  const address = load<u32>(entry);
  const at = <usize>(header.framePoolOffset + address);
  const headers = changetype<UdpFrame>(at);
  if (headers.protocol != PROTOCOL_UDP) return false;
  if (headers.destinationMac != mac || !headers.isPlainIpv4) return false;
  const udpBytes = headers.udpLength;
  const totalBytes = udpBytes + IPV4_MIN_HEADER_BYTES;
  if (headers.totalLength != totalBytes || totalBytes > length - ETHERNET_HEADER_BYTES)
    return false;
  if (udpBytes < UDP_HEADER_BYTES) return false;
  if (headers.isFragment || isMartian(headers.sourceNet)) return false;
  if (!isSumRight(headers.ipv4Sum)) return false;
  const udpAt = at + <usize>(ETHERNET_HEADER_BYTES + IPV4_MIN_HEADER_BYTES);
  const udp = changetype<UdpHeader>(udpAt);
  if (!inline.always(isChecksumRight(udp, udpBytes, headers.pseudoHeaderSum, interfaceSlot))) {
    return false;
  }
  const localLo = mappedLow(headers.destinationNet);
  const remoteLo = mappedLow(headers.sourceNet);
  const portsNet = rotl<u32>(headers.portsNet, 16);
  let index = demuxAlone(localLo, remoteLo, portsNet, PROTOCOL_UDP);
  if (index == 0) index = demuxAnyAlone(localLo, portsNet, PROTOCOL_UDP);
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
      Interface.at(interfaceSlot).ifindex,
    );
    if (index == 0) return false;
  }
  const socket = Socket.at(index);
  if (!socket.hasReceiveRoom) return false;
  const frame = address >> header.frameShift;
  const meta = FrameMeta.at(frame);
  meta.arrivalNanos = now;
  meta.sourceHi = 0;
  meta.sourceLo = remoteLo;
  meta.destinationHi = 0;
  meta.destinationLo = localLo;
  meta.payloadOffset = <u32>at + UDP_FRAME_HEADER_BYTES;
  meta.payloadBytes = <u16>(udpBytes - UDP_HEADER_BYTES);
  meta.sourcePortNet = <u16>(portsNet >> 16);
  meta.interfaceSlot = <u8>interfaceSlot;
  meta.ttl = headers.ttl;
  meta.tos = headers.tos;
  enqueue(socket, index, meta, frame, udpBytes - UDP_HEADER_BYTES);
  header.rxDatagramBytes += <u64>(udpBytes - UDP_HEADER_BYTES);
  return true;
}
