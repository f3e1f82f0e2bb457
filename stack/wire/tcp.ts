/** TCP, RFC 9293 3.1. */
export const TCP_HEADER_BYTES: u32 = 20;
export const PROTOCOL_TCP: u32 = 6;

export const TCP_FIN: u32 = 1;
export const TCP_SYN: u32 = 2;
export const TCP_RST: u32 = 4;
export const TCP_PSH: u32 = 8;
export const TCP_ACK: u32 = 16;
export const TCP_URG: u32 = 32;
/** RFC 3168. */
export const TCP_ECE: u32 = 64;
export const TCP_CWR: u32 = 128;

/** Option kinds: RFC 9293 3.1, RFC 7323, RFC 2018. */
export const OPTION_END: u32 = 0;
export const OPTION_NOP: u32 = 1;
export const OPTION_MSS: u32 = 2;
export const OPTION_WINDOW_SCALE: u32 = 3;
export const OPTION_SACK_PERMITTED: u32 = 4;
export const OPTION_SACK: u32 = 5;
export const OPTION_TIMESTAMPS: u32 = 8;

/** NOP, NOP, timestamps, length 10: what stands in front of the two values (RFC 7323 appendix A). */
export const TIMESTAMPS_WORD_NET: u32 = 0x0a080101;
export const TIMESTAMPS_OPTION_BYTES: u32 = 12;

@final
@unmanaged
export class TcpHeader {
  sourcePortNet: u16;
  destinationPortNet: u16;
  private sequenceNet: u32;
  private acknowledgmentNet: u32;
  private offset: u8;
  flags: u8;
  private windowNet: u16;
  checksumNet: u16;
  private urgentNet: u16;

  /** True if the header and its options lie within `available` bytes. */
  static fits(at: usize, available: u32): bool {
    if (available < TCP_HEADER_BYTES) return false;
    const headerBytes = changetype<TcpHeader>(at).headerBytes;
    return headerBytes >= TCP_HEADER_BYTES && headerBytes <= available;
  }

  get headerBytes(): u32 {
    return (<u32>this.offset >> 4) << 2;
  }
  get sequence(): u32 {
    return bswap<u32>(this.sequenceNet);
  }
  get acknowledgment(): u32 {
    return bswap<u32>(this.acknowledgmentNet);
  }
  get window(): u32 {
    return <u32>bswap<u16>(this.windowNet);
  }
  get urgent(): u32 {
    return <u32>bswap<u16>(this.urgentNet);
  }
  /** Source port in the lower, destination port in the upper half. */
  get portsNet(): u32 {
    return load<u32>(changetype<usize>(this));
  }

  /** Writes everything but the checksum, which is 0. `portsNet`: source in the lower half. */
  write(
    portsNet: u32,
    sequence: u32,
    acknowledgment: u32,
    headerBytes: u32,
    flags: u32,
    window: u32,
    urgent: u32,
  ): void {
    const at = changetype<usize>(this);
    store<u32>(at, portsNet);
    store<u32>(at, bswap<u32>(sequence), 4);
    store<u32>(at, bswap<u32>(acknowledgment), 8);
    const last = (headerBytes << 26) | (flags << 16) | window;
    store<u32>(at, bswap<u32>(last), 12);
    // The checksum is 0 until it is known.
    store<u32>(at, bswap<u32>(urgent), 16);
  }
}

export function checkTcpLayout(): void {
  if (offsetof<TcpHeader>("checksumNet") != 16) ERROR("TcpHeader.checksumNet moved");
  if (offsetof<TcpHeader>() != TCP_HEADER_BYTES) ERROR("TcpHeader size");
}
