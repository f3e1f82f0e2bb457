// The headers of a UDP datagram over IPv4 without options over Ethernet, as one: what nearly every
// frame begins with. Read and written in wide words, because their fields add up to most of what
// a small datagram costs.

import { foldSum, sumBytes } from "../base/checksum";
import { ETHERNET_HEADER_BYTES } from "./ethernet";
import { IPV4_MIN_HEADER_BYTES, PROTOCOL_UDP } from "./ipv4";
import { UDP_HEADER_BYTES } from "./udp";

export const UDP_FRAME_HEADER_BYTES: u32 =
  ETHERNET_HEADER_BYTES + IPV4_MIN_HEADER_BYTES + UDP_HEADER_BYTES;

const TYPE: usize = 12;
const IPV4: usize = 14;
const TOS: usize = 15;
const LENGTH: usize = 16;
const IDENTIFICATION: usize = 18;
const FRAGMENT: usize = 20;
const TTL: usize = 22;
const PROTOCOL: usize = 23;
const IPV4_CHECKSUM: usize = 24;
const ADDRESSES: usize = 26;
const PORTS: usize = 34;
const UDP_LENGTH: usize = 38;
const UDP_CHECKSUM: usize = 40;

/** Ether type IPv4, version 4, five words of header. */
const PLAIN_IPV4: u32 = 0x450008;
const PLAIN_FRAGMENT_NET: u32 = 0x0040;
/** More-fragments and the offset in the word that begins with the identification. */
const FRAGMENT_MASK: u32 = 0xff3f0000;

/**
 *    0 destination   6 source   12 type   14 version, tos   16 length   18 identification
 *   20 fragment   22 ttl   23 protocol   24 checksum   26 addresses   34 ports   38 length
 *   40 checksum
 */
@final
@unmanaged
export class UdpFrame {
  static fits(length: u32): bool {
    return length >= UDP_FRAME_HEADER_BYTES;
  }

  /** The destination's hardware address as Interface.mac has it. */
  get destinationMac(): u64 {
    return load<u64>(changetype<usize>(this)) << 16;
  }
  /** True if an IPv4 header without options follows the Ethernet header. */
  get isPlainIpv4(): bool {
    return (load<u32>(changetype<usize>(this), TYPE) & 0xffffff) == PLAIN_IPV4;
  }
  get isFragment(): bool {
    return (load<u32>(changetype<usize>(this), IDENTIFICATION) & FRAGMENT_MASK) != 0;
  }
  get protocol(): u32 {
    return <u32>load<u8>(changetype<usize>(this), PROTOCOL);
  }
  get ttl(): u8 {
    return load<u8>(changetype<usize>(this), TTL);
  }
  get tos(): u8 {
    return load<u8>(changetype<usize>(this), TOS);
  }
  /** Length of the IPv4 packet. */
  get totalLength(): u32 {
    return bswap<u32>(load<u32>(changetype<usize>(this), IPV4)) & 0xffff;
  }
  get sourceNet(): u32 {
    return load<u32>(changetype<usize>(this), ADDRESSES);
  }
  get destinationNet(): u32 {
    return load<u32>(changetype<usize>(this), ADDRESSES + 4);
  }
  /** Source port in the lower, destination port in the upper half, each in network order. */
  get portsNet(): u32 {
    return load<u32>(changetype<usize>(this), PORTS);
  }
  get udpLengthNet(): u32 {
    return <u32>load<u16>(changetype<usize>(this), UDP_LENGTH);
  }
  /** Length of the UDP header and payload. */
  get udpLength(): u32 {
    return bswap<u32>(load<u32>(changetype<usize>(this), UDP_LENGTH)) >> 16;
  }

  /** The sum of the IPv4 header, as of base/checksum.ts. */
  get ipv4Sum(): u64 {
    const at = changetype<usize>(this);
    const first = <u64>load<u32>(at, IPV4) + <u64>load<u32>(at, IDENTIFICATION);
    return first + <u64>load<u32>(at, TTL) + this.addressSum;
  }
  get addressSum(): u64 {
    return <u64>this.sourceNet + <u64>this.destinationNet;
  }
  /** The pseudo header's part of the UDP checksum, RFC 768. */
  get pseudoHeaderSum(): u64 {
    return this.addressSum + <u64>((PROTOCOL_UDP << 8) + this.udpLengthNet);
  }

  /** First eight bytes of a frame between two hardware addresses, given as packMac gives them. */
  static start0(destinationMac: u64, sourceMac: u64): u64 {
    return destinationMac | (sourceMac << 48);
  }
  /** The next eight, type of service 0. */
  static start8(sourceMac: u64): u64 {
    return (sourceMac >> 16) | ((<u64>PLAIN_IPV4) << 32);
  }

  /** Sums the addresses, the UDP header and its payload, and fills the UDP checksum in. */
  writeUdpChecksum(udpBytes: u32): void {
    const at = changetype<usize>(this);
    const lengthNet = bswap<u32>(udpBytes) >> 16;
    const rest = <u64>((PROTOCOL_UDP << 8) + lengthNet);
    const sum = ~foldSum(sumBytes(at + ADDRESSES, udpBytes + 8, rest)) & 0xffff;
    // RFC 768: a computed checksum of zero is sent as all ones.
    store<u16>(at, <u16>(sum == 0 ? 0xffff : sum), UDP_CHECKSUM);
  }

  /** Writes the addresses and the ports. */
  writeFlow(sourceNet: u32, destinationNet: u32, portsNet: u32): void {
    const at = changetype<usize>(this);
    store<u32>(at, sourceNet, ADDRESSES);
    store<u32>(at, destinationNet, ADDRESSES + 4);
    store<u32>(at, portsNet, PORTS);
  }

  /**
   * Writes the headers of an unfragmented datagram around the flow: identification 0 with
   * don't-fragment is an atomic datagram (RFC 6864 section 4.1). The UDP checksum is left to do.
   * `ttlAndTos` has the time to live in its lower, the type of service in its upper byte.
   */
  writeRest(start0: u64, start8: u64, ttlAndTos: u32, payloadBytes: u32): void {
    const at = changetype<usize>(this);
    const udpBytes = payloadBytes + UDP_HEADER_BYTES;
    const totalLengthNet = bswap<u32>(udpBytes + IPV4_MIN_HEADER_BYTES) >> 16;
    store<u64>(at, start0);
    store<u64>(at, start8, 8);
    store<u8>(at, <u8>(ttlAndTos >> 8), TOS);
    store<u32>(at, totalLengthNet, LENGTH);
    store<u32>(at, PLAIN_FRAGMENT_NET | (PROTOCOL_UDP << 24), FRAGMENT);
    store<u8>(at, <u8>ttlAndTos, TTL);
    // The checksum is 0 until it is known.
    store<u32>(at, bswap<u32>(udpBytes) >> 16, UDP_LENGTH);
    // In the sum, both bytes stand as they do in ttlAndTos.
    const words = 0x45 + PLAIN_FRAGMENT_NET + (PROTOCOL_UDP << 8) + totalLengthNet + ttlAndTos;
    store<u16>(at, <u16>~foldSum(<u64>words + this.addressSum), IPV4_CHECKSUM);
  }
}
