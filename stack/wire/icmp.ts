/** ICMP, RFC 792: the eight bytes in front of the quoted packet of an error. */
export const ICMP_HEADER_BYTES: u32 = 8;

export const ICMP_DESTINATION_UNREACHABLE: u32 = 3;
export const ICMP_TIME_EXCEEDED: u32 = 11;
export const ICMP_PARAMETER_PROBLEM: u32 = 12;
/** Codes of destination-unreachable. */
export const ICMP_PORT_UNREACHABLE: u32 = 3;
/** Code of a destination-unreachable that the kernel keeps: path-MTU discovery, RFC 1191. */
export const ICMP_FRAGMENTATION_NEEDED: u32 = 4;

@final
@unmanaged
export class IcmpHeader {
  type: u8;
  code: u8;
  checksumNet: u16;
  rest: u32;

  static fits(available: u32): bool {
    return available >= ICMP_HEADER_BYTES;
  }
}

export function checkIcmpLayout(): void {
  if (offsetof<IcmpHeader>("rest") != 4) ERROR("IcmpHeader.rest moved");
  if (offsetof<IcmpHeader>() != ICMP_HEADER_BYTES) ERROR("IcmpHeader size");
}
