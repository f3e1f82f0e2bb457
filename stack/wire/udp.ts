/** UDP, RFC 768. */
export const UDP_HEADER_BYTES: u32 = 8;

@final
@unmanaged
export class UdpHeader {
  sourcePortNet: u16;
  destinationPortNet: u16;
  private lengthNet: u16;
  checksumNet: u16;

  static fits(at: usize, available: u32): bool {
    if (available < UDP_HEADER_BYTES) return false;
    const length = changetype<UdpHeader>(at).length;
    return length >= UDP_HEADER_BYTES && length <= available;
  }

  /** Header and payload, in bytes. */
  get length(): u32 {
    return <u32>bswap<u16>(this.lengthNet);
  }
}

export function checkUdpLayout(): void {
  if (offsetof<UdpHeader>("checksumNet") != 6) ERROR("UdpHeader.checksumNet moved");
  if (offsetof<UdpHeader>() != UDP_HEADER_BYTES) ERROR("UdpHeader size");
}
