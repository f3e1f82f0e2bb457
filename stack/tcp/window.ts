// The window that is offered to the peer: RFC 9293 3.8.6.2.2 and RFC 7323 2, as Linux computes it,
// and the automatic growth of the receive buffer (dynamic right-sizing).

import { TCP_BUFFER_POOL_SHARE, TCP_PRESSURE_SHARE } from "../config";
import { availableFrames } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { Tcb, TcpFlag } from "./tcb";

const MAX_UNSCALED_WINDOW: u32 = 65535;
const MAX_SCALE: u32 = 14;

/** True when the frame pool is so low that nobody's buffers may grow. */
export function isUnderPressure(): bool {
  return availableFrames() < RegionHeader.get().frameCount / TCP_PRESSURE_SHARE;
}

/** Largest buffer that one connection may have. */
export function bufferBytesMax(configured: u32): u32 {
  const header = RegionHeader.get();
  const share = (header.frameCount / TCP_BUFFER_POOL_SHARE) << header.frameShift;
  return min<u32>(configured, share);
}

/** Half of the buffer is offered as window, the rest is for overhead: Linux's tcp_adv_win_scale 1. */
function spaceOf(bytes: u32): u32 {
  return bytes >> 1;
}

/**
 * Sets the first window, and the scale that our SYN offers. `segmentBytes`: payload of a full
 * segment of the peer, as far as its options are known; the window is a multiple of it.
 */
export function initWindow(tcb: Tcb, segmentBytes: u32): void {
  const header = RegionHeader.get();
  const isLocked = tcb.has(TcpFlag.ReceiveBufferLocked);
  const space = spaceOf(tcb.rcvBuf);
  const mss = max<u32>(segmentBytes, 1);
  tcb.rcvMss = min<u32>(max<u32>(tcb.advMss, 1), 536);
  if (tcb.windowClamp == 0) tcb.windowClamp = MAX_UNSCALED_WINDOW << MAX_SCALE;
  const first = min<u32>(min<u32>(space, MAX_UNSCALED_WINDOW), tcb.windowClamp);
  tcb.rcvSsthresh = first > mss ? first - (first % mss) : first;
  let largest = isLocked ? space : max<u32>(space, header.tcpReceiveBufferBytesMax);
  largest = min<u32>(largest, tcb.windowClamp);
  let scale: u32 = 0;
  while (scale < MAX_SCALE && largest > MAX_UNSCALED_WINDOW) {
    largest >>= 1;
    scale += 1;
  }
  tcb.rcvWscale = <u8>scale;
}

/** After the handshake: the starting points of the automatic growth. */
export function startWindow(tcb: Tcb, now: u64): void {
  tcb.rcvSpaceSeq = tcb.copiedSeq;
  tcb.rcvSpace = min<u32>(tcb.rcvAdv - tcb.rcvNxt, 10 * tcb.advMss);
  tcb.rcvSpaceNanos = now;
  tcb.rcvRttSeq = tcb.rcvNxt + (tcb.rcvAdv - tcb.rcvNxt);
  tcb.rcvRttStartNanos = now;
}

/** Bytes of the buffer that nothing takes up. */
function freeSpace(socket: Socket, tcb: Tcb): u32 {
  const space = spaceOf(tcb.rcvBuf);
  const used = spaceOf(socket.receiveBytes);
  return space > used ? space - used : 0;
}

/**
 * The window to offer now, in bytes: less than a segment is not worth offering (silly window
 * syndrome, RFC 1122 4.2.3.3), and what was offered is never taken back.
 */
export function selectWindow(socket: Socket, tcb: Tcb): u32 {
  const offered = tcb.rcvAdv - tcb.rcvNxt;
  const current: u32 = <i32>offered < 0 ? 0 : offered;
  const scale = <u32>tcb.rcvWscale;
  const unit = ((<u32>1) << scale) - 1;
  // Nothing makes it larger than rcvSsthresh, and it does not get smaller.
  if (current >= tcb.rcvSsthresh) return (current + unit) & ~unit;
  const wanted = wantedWindow(socket, tcb, current);
  if (wanted < current) return (current + unit) & ~unit;
  const limit = MAX_UNSCALED_WINDOW << scale;
  return min<u32>(wanted, limit);
}

function wantedWindow(socket: Socket, tcb: Tcb, current: u32): u32 {
  const full = min<u32>(tcb.windowClamp, spaceOf(tcb.rcvBuf));
  const mss = min<u32>(max<u32>(tcb.rcvMss, 1), full);
  let free = freeSpace(socket, tcb);
  if (free < full >> 1) {
    tcb.quickAcks = 0;
    if (isUnderPressure()) tcb.rcvSsthresh = min<u32>(tcb.rcvSsthresh, 4 * tcb.advMss);
    if (free < full >> 4 || free < mss) return 0;
  }
  free = min<u32>(free, tcb.rcvSsthresh);
  const scale = <u32>tcb.rcvWscale;
  if (scale != 0) {
    const unit = ((<u32>1) << scale) - 1;
    return (free + unit) & ~unit;
  }
  if (current + mss <= free || current > free) return free - (free % mss);
  if (mss == full && free > current + (full >> 1)) return free;
  return current;
}

/** An in-order segment arrived: more may be offered next time (Linux's tcp_grow_window). */
export function growWindow(socket: Socket, tcb: Tcb, payloadBytes: u32): void {
  const limit = min<u32>(tcb.windowClamp, spaceOf(tcb.rcvBuf));
  if (tcb.rcvSsthresh >= limit || payloadBytes < 128 || isUnderPressure()) return;
  const room = limit - tcb.rcvSsthresh;
  if (freeSpace(socket, tcb) == 0) return;
  tcb.rcvSsthresh += min<u32>(room, 2 * max<u32>(tcb.advMss, 1));
}

/** The largest payload seen tells what a full segment of this peer is. */
export function measureRcvMss(tcb: Tcb, payloadBytes: u32): void {
  if (payloadBytes >= tcb.rcvMss) tcb.rcvMss = min<u32>(payloadBytes, tcb.advMss);
}

/**
 * The program has copied data: once per round trip the buffer grows to twice what it took in that
 * time, so that the window never is what limits the peer (Linux's tcp_rcv_space_adjust).
 */
export function tuneReceiveBuffer(tcb: Tcb, now: u64): void {
  const rtt = tcb.rcvRttNanos;
  if (rtt == 0 || now - tcb.rcvSpaceNanos < rtt) return;
  const copied = tcb.copiedSeq - tcb.rcvSpaceSeq;
  if (copied > tcb.rcvSpace) {
    if (!tcb.has(TcpFlag.ReceiveBufferLocked) && !isUnderPressure()) {
      const header = RegionHeader.get();
      let wanted = 2 * <u64>copied + 16 * <u64>tcb.advMss;
      const grown = (wanted * <u64>(copied - tcb.rcvSpace)) / <u64>max<u32>(tcb.rcvSpace, 1);
      wanted += 2 * grown;
      const most = bufferBytesMax(header.tcpReceiveBufferBytesMax);
      const buffer = <u32>min<u64>(2 * wanted, <u64>most);
      if (buffer > tcb.rcvBuf) tcb.rcvBuf = buffer;
    }
    tcb.rcvSpace = copied;
  }
  tcb.rcvSpaceSeq = tcb.copiedSeq;
  tcb.rcvSpaceNanos = now;
}

/** A sample of the round trip as the receiver sees it: the smallest of late, smoothed upwards. */
export function sampleReceiveRtt(tcb: Tcb, sample: u64): void {
  const rtt = max<u64>(sample, 1000);
  const known = tcb.rcvRttNanos;
  tcb.rcvRttNanos = known == 0 ? rtt : rtt < known ? rtt : known + ((rtt - known) >> 3);
}

/** Without timestamps: the time in which a whole window arrives. */
export function measureReceiveRtt(tcb: Tcb, now: u64): void {
  if (<i32>(tcb.rcvNxt - tcb.rcvRttSeq) < 0) return;
  if (tcb.rcvRttStartNanos != 0) sampleReceiveRtt(tcb, now - tcb.rcvRttStartNanos);
  tcb.rcvRttSeq = tcb.rcvAdv;
  tcb.rcvRttStartNanos = now;
}
