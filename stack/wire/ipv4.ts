import { foldSum, sumBytes } from "../base/checksum";

/** IPv4, RFC 791. */
export const IPV4_MIN_HEADER_BYTES: u32 = 20;
export const PROTOCOL_ICMP: u32 = 1;
export const PROTOCOL_UDP: u32 = 17;

const DONT_FRAGMENT_NET: u32 = 0x0040;
/** More-fragments bit and the 13 bits of the offset, in network order. */
const FRAGMENT_MASK_NET: u32 = 0xff3f;

@final
@unmanaged
export class Ipv4Header {
  private versionAndLength: u8;
  tos: u8;
  private totalLengthNet: u16;
  private identificationNet: u16;
  private fragmentNet: u16;
  ttl: u8;
  protocol: u8;
  checksumNet: u16;
  sourceNet: u32;
  destinationNet: u32;

  /** True if the header and all that it says is there lies within `available` bytes. */
  static fits(at: usize, available: u32): bool {
    if (available < IPV4_MIN_HEADER_BYTES) return false;
    const header = changetype<Ipv4Header>(at);
    if (header.versionAndLength >> 4 != 4) return false;
    const headerBytes = header.headerBytes;
    const total = header.totalLength;
    return headerBytes >= IPV4_MIN_HEADER_BYTES && total >= headerBytes && total <= available;
  }

  /** Same, but what follows the header may be cut off: the packet quoted in an ICMP error. */
  static headerFits(at: usize, available: u32): bool {
    if (available < IPV4_MIN_HEADER_BYTES) return false;
    const header = changetype<Ipv4Header>(at);
    if (header.versionAndLength >> 4 != 4) return false;
    const headerBytes = header.headerBytes;
    return headerBytes >= IPV4_MIN_HEADER_BYTES && headerBytes <= available;
  }

  get headerBytes(): u32 {
    return (<u32>this.versionAndLength & 15) << 2;
  }
  get totalLength(): u32 {
    return <u32>bswap<u16>(this.totalLengthNet);
  }
  get isFragment(): bool {
    return (<u32>this.fragmentNet & FRAGMENT_MASK_NET) != 0;
  }

  /** Writes a header without options for an atomic datagram (RFC 6864 section 4.1). */
  write(
    totalLength: u32,
    tos: u32,
    ttl: u32,
    protocol: u32,
    sourceNet: u32,
    destinationNet: u32,
  ): void {
    this.versionAndLength = 0x45;
    this.tos = <u8>tos;
    this.totalLengthNet = bswap<u16>(<u16>totalLength);
    this.identificationNet = 0;
    this.fragmentNet = <u16>DONT_FRAGMENT_NET;
    this.ttl = <u8>ttl;
    this.protocol = <u8>protocol;
    this.checksumNet = 0;
    this.sourceNet = sourceNet;
    this.destinationNet = destinationNet;
    const sum = sumBytes(changetype<usize>(this), IPV4_MIN_HEADER_BYTES, 0);
    this.checksumNet = <u16>~foldSum(sum);
  }
}

/** The pseudo header's part of a transport checksum, RFC 768 and RFC 9293 3.1; not folded. */
export function pseudoHeaderSum(ip: Ipv4Header, protocol: u32, lengthBytes: u32): u64 {
  return (
    <u64>ip.sourceNet +
    <u64>ip.destinationNet +
    <u64>((protocol << 8) + <u32>bswap<u16>(<u16>lengthBytes))
  );
}

export function checkIpv4Layout(): void {
  if (offsetof<Ipv4Header>("checksumNet") != 10) ERROR("Ipv4Header.checksumNet moved");
  if (offsetof<Ipv4Header>() != IPV4_MIN_HEADER_BYTES) ERROR("Ipv4Header size");
}
