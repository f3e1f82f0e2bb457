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

  /** First four bytes of the destination, little-endian. */
  get destinationLow(): u32 {
    return load<u32>(changetype<usize>(this));
  }
  /** Last two bytes of the destination. */
  get destinationHigh(): u32 {
    return <u32>this.destination4;
  }

  setDestination(low: u32, high: u32): void {
    store<u32>(changetype<usize>(this), low);
    this.destination4 = <u16>high;
  }
  setSource(low: u32, high: u32): void {
    store<u32>(changetype<usize>(this), low, 6);
    this.source4 = <u16>high;
  }
}

export function checkEthernetLayout(): void {
  if (offsetof<EthernetHeader>("source0") != 6) ERROR("EthernetHeader.source0 moved");
  if (offsetof<EthernetHeader>() != ETHERNET_HEADER_BYTES) ERROR("EthernetHeader size");
}
