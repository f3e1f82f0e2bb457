/** Ethernet II header, IEEE 802.3: destination, source, type. */
export const ETHERNET_HEADER_BYTES: u32 = 14;
/** 0x0800 in network order. */
export const ETHERTYPE_IPV4_NET: u32 = 0x0008;

@final
@unmanaged
export class EthernetHeader {
  private destination0: u16;
  private destination2: u16;
  private destination4: u16;
  private source0: u16;
  private source2: u16;
  private source4: u16;
  typeNet: u16;

  static fits(available: u32): bool {
    return available >= ETHERNET_HEADER_BYTES;
  }

  /** The destination's six bytes, little-endian, in the upper 48 bits: as Interface.mac. */
  get destinationMac(): u64 {
    return load<u64>(changetype<usize>(this)) << 16;
  }

  /** True for multicast and broadcast destinations: the first bit on the wire. */
  get isToGroup(): bool {
    return (this.destination0 & 1) != 0;
  }

  /** Makes this the header of an answer to a frame: same type, addresses exchanged. */
  writeReply(received: EthernetHeader): void {
    this.destination0 = received.source0;
    this.destination2 = received.source2;
    this.destination4 = received.source4;
    this.source0 = received.destination0;
    this.source2 = received.destination2;
    this.source4 = received.destination4;
    this.typeNet = received.typeNet;
  }
}

export function checkEthernetLayout(): void {
  if (offsetof<EthernetHeader>("source0") != 6) ERROR("EthernetHeader.source0 moved");
  if (offsetof<EthernetHeader>() != ETHERNET_HEADER_BYTES) ERROR("EthernetHeader size");
}
