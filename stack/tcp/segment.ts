// The segment that is being handled: header and options taken apart, once, into one place.

import { SEGMENT_OFFSET } from "../layout";
import {
  OPTION_END,
  OPTION_MSS,
  OPTION_NOP,
  OPTION_SACK,
  OPTION_SACK_PERMITTED,
  OPTION_TIMESTAMPS,
  OPTION_WINDOW_SCALE,
  TCP_FIN,
  TCP_HEADER_BYTES,
  TCP_SYN,
  TcpHeader,
  TIMESTAMPS_OPTION_BYTES,
  TIMESTAMPS_WORD_NET,
} from "../wire/tcp";

/** Bits of Segment.options. */
export const enum SegmentOption {
  Timestamps = 1,
  Mss = 2,
  WindowScale = 4,
  SackPermitted = 8,
}

/** RFC 7323 2.3. */
const MAX_WINDOW_SCALE: u32 = 14;
const MAX_SACK_BLOCKS: u32 = 4;

@final
@unmanaged
export class Segment {
  now: u64;
  localLo: u64;
  remoteLo: u64;
  seq: u32;
  ack: u32;
  /** Behind the last sequence number that it takes, SYN and FIN included. */
  endSeq: u32;
  /** As in the header, not scaled. */
  window: u32;
  payloadOffset: u32;
  payloadBytes: u32;
  /** Bits of the header. */
  flags: u32;
  urgent: u32;
  /** SegmentOption bits. */
  options: u32;
  tsVal: u32;
  tsEcr: u32;
  mss: u32;
  windowScale: u32;
  /** How many of the blocks below there are. */
  sackBlocks: u32;
  sackStart0: u32;
  sackEnd0: u32;
  sackStart1: u32;
  sackEnd1: u32;
  sackStart2: u32;
  sackEnd2: u32;
  sackStart3: u32;
  sackEnd3: u32;
  /** Local port in the lower, remote port in the upper half. */
  portsNet: u32;
  /** Explicit congestion notification field of the IP header. */
  ecn: u32;
  /** Frame index, and the queue that it came by. */
  frame: u32;
  queueSlot: u32;
  /** 1 when this host sent it to itself: it came by no queue. */
  isLocal: u32;
  /** The kernel's index of the interface that it came by, and its MTU. */
  ifindex: u32;
  linkMtu: u32;
  /** Region offset of the IP header. */
  ipOffset: u32;
  /** Tcb.highestSacked before this segment's acknowledgment was looked at. */
  priorSacked: u32;
  /** Initial sequence number that a connection made from it has to have; 0 any. */
  firstSeq: u32;
  /** 1 when a socket keeps the frame. */
  kept: u32;
  /** What its acknowledgment did: frames acknowledged, frames SACKed, frames found lost. */
  newlyAcked: u32;
  newlySacked: u32;
  newlyLost: u32;
  /** 1 when a frame that was never sent again is among them, and was sent before the recovery. */
  originalDelivered: u32;
  /** 1 when a frame that was sent again is among them. */
  retransmittedAcked: u32;
  /** 1 when it carries a D-SACK block. */
  hasDsack: u32;
  /** Round trip of the newest frame that was never sent again; 0 none. */
  rttNanos: u64;

  static get(): Segment {
    return changetype<Segment>(<usize>SEGMENT_OFFSET);
  }

  /** Start and end of SACK block `n`. */
  sackStart(n: u32): u32 {
    return load<u32>(changetype<usize>(this) + <usize>(n << 3), offsetof<Segment>("sackStart0"));
  }
  sackEnd(n: u32): u32 {
    return load<u32>(changetype<usize>(this) + <usize>(n << 3), offsetof<Segment>("sackEnd0"));
  }

  get hasTimestamps(): bool {
    return (this.options & SegmentOption.Timestamps) != 0;
  }

  /** Takes `tcp` apart. Precondition: TcpHeader.fits(tcp, available). */
  parse(tcp: TcpHeader, available: u32): void {
    const at = changetype<usize>(tcp);
    const headerBytes = tcp.headerBytes;
    const flags = <u32>tcp.flags;
    const payloadBytes = available - headerBytes;
    this.seq = tcp.sequence;
    this.ack = tcp.acknowledgment;
    this.window = tcp.window;
    this.urgent = tcp.urgent;
    this.flags = flags;
    this.payloadOffset = <u32>at + headerBytes;
    this.payloadBytes = payloadBytes;
    this.endSeq = this.seq + payloadBytes + ((flags >> 1) & 1) + (flags & 1);
    this.options = 0;
    this.sackBlocks = 0;
    this.firstSeq = 0;
    this.kept = 0;
    const optionBytes = headerBytes - TCP_HEADER_BYTES;
    if (optionBytes == 0) return;
    const first = at + <usize>TCP_HEADER_BYTES;
    if (optionBytes == TIMESTAMPS_OPTION_BYTES && load<u32>(first) == TIMESTAMPS_WORD_NET) {
      this.options = SegmentOption.Timestamps;
      this.tsVal = bswap<u32>(load<u32>(first, 4));
      this.tsEcr = bswap<u32>(load<u32>(first, 8));
      return;
    }
    this.parseOptions(first, optionBytes);
  }

  /** Nothing is known yet of what its acknowledgment does. */
  beginAck(): void {
    this.newlyAcked = 0;
    this.newlySacked = 0;
    this.newlyLost = 0;
    this.originalDelivered = 0;
    this.retransmittedAcked = 0;
    this.hasDsack = 0;
    this.rttNanos = 0;
  }

  /** RFC 9293 3.2: an option whose length is wrong ends the list. */
  private parseOptions(at: usize, bytes: u32): void {
    let left = bytes;
    let p = at;
    while (left > 0) {
      const kind = <u32>load<u8>(p);
      if (kind == OPTION_END) return;
      if (kind == OPTION_NOP) {
        p += 1;
        left -= 1;
        continue;
      }
      if (left < 2) return;
      const length = <u32>load<u8>(p, 1);
      if (length < 2 || length > left) return;
      this.parseOption(p, kind, length);
      p += <usize>length;
      left -= length;
    }
  }

  private parseOption(p: usize, kind: u32, length: u32): void {
    const isSyn = (this.flags & TCP_SYN) != 0;
    if (kind == OPTION_TIMESTAMPS && length == 10) {
      this.options |= SegmentOption.Timestamps;
      this.tsVal = bswap<u32>(load<u32>(p, 2));
      this.tsEcr = bswap<u32>(load<u32>(p, 6));
    } else if (kind == OPTION_SACK && !isSyn && length >= 10 && (length - 2) % 8 == 0) {
      const blocks = min<u32>((length - 2) >> 3, MAX_SACK_BLOCKS);
      for (let n: u32 = 0; n < blocks; n++) {
        const from = p + <usize>(n << 3);
        const to = changetype<usize>(this) + <usize>(n << 3);
        store<u32>(to, bswap<u32>(load<u32>(from, 2)), offsetof<Segment>("sackStart0"));
        store<u32>(to, bswap<u32>(load<u32>(from, 6)), offsetof<Segment>("sackEnd0"));
      }
      this.sackBlocks = blocks;
    } else if (kind == OPTION_MSS && length == 4 && isSyn) {
      this.mss = <u32>bswap<u16>(load<u16>(p, 2));
      if (this.mss != 0) this.options |= SegmentOption.Mss;
    } else if (kind == OPTION_WINDOW_SCALE && length == 3 && isSyn) {
      this.options |= SegmentOption.WindowScale;
      this.windowScale = min<u32>(<u32>load<u8>(p, 2), MAX_WINDOW_SCALE);
    } else if (kind == OPTION_SACK_PERMITTED && length == 2 && isSyn) {
      this.options |= SegmentOption.SackPermitted;
    }
  }

  /** True if the header has any of these bits. */
  has(flags: u32): bool {
    return (this.flags & flags) != 0;
  }

  /** Sequence numbers that SYN and FIN take. */
  get controlBytes(): u32 {
    return ((this.flags & TCP_SYN) >> 1) + (this.flags & TCP_FIN);
  }
}

export function checkSegmentLayout(): void {
  if (offsetof<Segment>() > 256) ERROR("Segment is larger than its place");
}
