// Segments for a listener, RFC 9293 3.10.7.2: a SYN makes an embryo, a connection that nobody has
// accepted yet. When there are too many, SYN cookies (RFC 4987 3.6) remember for us.

import { DEFAULT_MSS } from "./route";
import { Destination } from "../link/destination";
import { MAX_SYN_QUEUE } from "../config";
import { RegionHeader } from "../region/header";
import { createEmbryo } from "../socket/table";
import { Socket, SocketState } from "../socket/socket";
import {
  OPTION_MSS,
  OPTION_NOP,
  OPTION_SACK_PERMITTED,
  OPTION_TIMESTAMPS,
  OPTION_WINDOW_SCALE,
  TCP_ACK,
  TCP_CWR,
  TCP_ECE,
  TCP_FIN,
  TCP_HEADER_BYTES,
  TCP_RST,
  TCP_SYN,
  TcpHeader,
} from "../wire/tcp";
import { insertConnection } from "./connections";
import { establish, startSyn, takeSyn } from "./handshake";
import { inheritOptions } from "./inherit";
import { initialSequence, timestampOffset } from "./initial-sequence";
import { acquirePort } from "./port";
import { answerHeader, cookieFrame, replyReset, sendCookie } from "./reply";
import { advertisedMss, usableRoute } from "./route";
import { Segment, SegmentOption } from "./segment";
import { enter, release } from "./state";
import {
  checkCookie,
  COOKIE_NO_SCALE,
  cookieEcn,
  cookieMss,
  cookieMssIndex,
  cookieSack,
  cookieScale,
  encodeCookieTimestamp,
  makeCookie,
} from "./syn-cookie";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { initWindow } from "./window";
import { takeText, scheduleAck } from "./receive";
import { followFin } from "./closing";

/** Cookies are believed for so long after one was sent: none else can be right. */
const COOKIE_NANOS: u64 = 120000000000;
/** The option with its padding. */
const OPTION_TIMESTAMPS_BYTES: u32 = 12;
const EVERY_OPTION: u32 = TcpFlag.SackPermitted | TcpFlag.Timestamps | TcpFlag.WindowScale;

export function listenInput(listener: u32): void {
  const segment = Segment.get();
  if (segment.has(TCP_RST)) return;
  if (segment.has(TCP_ACK)) {
    if (segment.has(TCP_SYN) || !cookieInput(listener, segment)) replyReset();
    return;
  }
  // Linux drops what has both SYN and FIN.
  if (!segment.has(TCP_SYN) || segment.has(TCP_FIN)) return;
  synInput(listener, segment);
}

function synInput(listener: u32, segment: Segment): void {
  const header = RegionHeader.get();
  const owner = Tcb.at(listener);
  if (owner.acceptCount > owner.backlog) {
    header.tcpListenDrops += 1;
    return;
  }
  const limit = min<u32>(max<u32>(owner.backlog, 1), MAX_SYN_QUEUE);
  if (owner.synQueueCount >= limit) {
    answerByCookie(listener, segment);
    return;
  }
  const index = makeEmbryo(listener, segment);
  if (index == 0) {
    answerByCookie(listener, segment);
    return;
  }
  const tcb = Tcb.at(index);
  owner.synQueueCount += 1;
  const isEcnAsked = (segment.flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR);
  if (isEcnAsked && header.ecnMode != 0) tcb.flags |= TcpFlag.Ecn;
  takeSyn(tcb, segment, tcb.pathMtu);
  finishEmbryo(tcb);
  startSyn(index, segment.now);
}

/** A socket for the connection that the segment belongs to, without a kernel twin; 0 without room. */
function makeEmbryo(listener: u32, segment: Segment): u32 {
  const index = createEmbryo(listener);
  if (index == 0) return 0;
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  socket.localHi = 0;
  socket.localLo = segment.localLo;
  socket.localPortNet = <u16>segment.portsNet;
  socket.remoteHi = 0;
  socket.remoteLo = segment.remoteLo;
  socket.remotePortNet = <u16>(segment.portsNet >> 16);
  socket.state = <u8>SocketState.Connected;
  socket.ifindex = Socket.at(listener).ifindex;
  tcb.port = acquirePort(0, segment.localLo, segment.portsNet & 0xffff);
  if (tcb.port == 0) {
    release(index);
    return 0;
  }
  inheritOptions(listener, index);
  tcb.listener = listener;
  tcb.listenerSequence = Socket.at(listener).sequence;
  tcb.flags |= TcpFlag.Embryo | EVERY_OPTION;
  const first = segment.firstSeq;
  tcb.iss =
    first != 0
      ? first
      : initialSequence(segment.localLo, segment.remoteLo, segment.portsNet, segment.now);
  tcb.tsOffset = timestampOffset(segment.localLo, segment.remoteLo);
  insertConnection(index);
  setMtu(socket, tcb, segment);
  return index;
}

/** The way back is looked for at once: its MTU is what our SYN-ACK has to say. */
function setMtu(socket: Socket, tcb: Tcb, segment: Segment): void {
  const at = usableRoute(socket, tcb);
  const link = segment.linkMtu;
  const mtu = at != 0 ? Destination.at(at - 1).mtu : link;
  tcb.pathMtu = mtu;
  tcb.advMss = advertisedMss(tcb, link);
  initWindow(tcb, tcb.advMss - (segment.hasTimestamps ? OPTION_TIMESTAMPS_BYTES : 0));
}

/** Everything is known of it. One that is not in this state yet does not outlive a death. */
function finishEmbryo(tcb: Tcb): void {
  tcb.sndUna = tcb.iss;
  tcb.sndNxt = tcb.iss;
  tcb.writeSeq = tcb.iss + 1;
  tcb.rcvAdv = tcb.rcvNxt;
  enter(tcb, TcpState.SynReceived);
}

/** A SYN-ACK that nothing is kept of: its sequence number tells all when it comes back. */
function answerByCookie(listener: u32, segment: Segment): void {
  const link = cookieFrame();
  const header = RegionHeader.get();
  if (link == 0) {
    header.tcpListenDrops += 1;
    return;
  }
  header.tcpSynCookiesSent += 1;
  Tcb.at(listener).cookiesSentNanos = segment.now;
  const peerMss = (segment.options & SegmentOption.Mss) != 0 ? segment.mss : DEFAULT_MSS;
  const mssIndex = cookieMssIndex(peerMss);
  const portsNet = segment.portsNet;
  const seq = makeCookie(
    segment.localLo,
    segment.remoteLo,
    portsNet,
    segment.seq,
    mssIndex,
    segment.now,
  );
  const tcpAt = <usize>answerHeader(link);
  const options = tcpAt + <usize>TCP_HEADER_BYTES;
  const mtu = segment.linkMtu;
  store<u32>(options, OPTION_MSS | (4 << 8) | ((bswap<u32>(mtu - 40) >> 16) << 16));
  let bytes: u32 = 4;
  let flags = TCP_SYN | TCP_ACK;
  if (segment.hasTimestamps) {
    bytes += writeCookieOptions(options + 4, segment);
    const isEcn = (segment.flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR);
    if (isEcn && header.ecnMode != 0) flags |= TCP_ECE;
  }
  const tcp = changetype<TcpHeader>(tcpAt);
  const headerBytes = TCP_HEADER_BYTES + bytes;
  const most = min<u32>(header.tcpReceiveBufferBytes >> 1, 65535);
  const window = most - (most % (mtu - 40 - (segment.hasTimestamps ? OPTION_TIMESTAMPS_BYTES : 0)));
  tcp.write(portsNet, seq, segment.seq + 1, headerBytes, flags, window, 0);
  sendCookie(link, headerBytes);
}

/** With timestamps, the options fit into the low bits of ours (as Linux has them). */
function writeCookieOptions(at: usize, segment: Segment): u32 {
  const hasSack = (segment.options & SegmentOption.SackPermitted) != 0;
  const hasScale = (segment.options & SegmentOption.WindowScale) != 0;
  const isEcn = (segment.flags & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR);
  const clock = <u32>(segment.now / 1000000);
  const scale = hasScale ? segment.windowScale : COOKIE_NO_SCALE;
  const offset = timestampOffset(segment.localLo, segment.remoteLo);
  const value = encodeCookieTimestamp(clock, scale, hasSack, isEcn) + offset;
  const pad = hasSack ? OPTION_SACK_PERMITTED | (2 << 8) : OPTION_NOP | (OPTION_NOP << 8);
  store<u32>(at, pad | (OPTION_TIMESTAMPS << 16) | (10 << 24));
  store<u32>(at, bswap<u32>(value), 4);
  store<u32>(at, bswap<u32>(segment.tsVal), 8);
  if (!hasScale) return 12;
  const scaleWord = OPTION_NOP | (OPTION_WINDOW_SCALE << 8) | (3 << 16);
  store<u32>(at, scaleWord | (cookieScaleOffered() << 24), 12);
  return 16;
}

/** Our own scale, the same for every cookie: it can't be remembered. */
function cookieScaleOffered(): u32 {
  const most = RegionHeader.get().tcpReceiveBufferBytesMax;
  let scale: u32 = 0;
  for (let left = most; left > 65535 && scale < 14; left >>= 1) scale += 1;
  return scale;
}

/** The last acknowledgment of a handshake by cookie. False: it is none. */
function cookieInput(listener: u32, segment: Segment): bool {
  const owner = Tcb.at(listener);
  const sent = owner.cookiesSentNanos;
  if (sent == 0 || segment.now - sent > COOKIE_NANOS) return false;
  const header = RegionHeader.get();
  const mssIndex = checkCookie(
    segment.localLo,
    segment.remoteLo,
    segment.portsNet,
    segment.ack - 1,
    segment.seq - 1,
    segment.now,
  );
  if (mssIndex < 0) {
    header.tcpSynCookiesWrong += 1;
    return false;
  }
  header.tcpSynCookiesRight += 1;
  // Not worth a reset: the peer sends again when there is room.
  if (owner.acceptCount > owner.backlog) return true;
  const index = makeEmbryo(listener, segment);
  if (index == 0) return true;
  const tcb = Tcb.at(index);
  owner.synQueueCount += 1;
  restoreOptions(tcb, segment, cookieMss(<u32>mssIndex));
  tcb.iss = segment.ack - 1;
  finishEmbryo(tcb);
  tcb.sndNxt = tcb.iss + 1;
  tcb.rcvAdv = tcb.rcvNxt + min<u32>(tcb.rcvSsthresh, 65535);
  header.changing = index;
  finishCookie(index, tcb, segment);
  header.changing = 0;
  return true;
}

function finishCookie(index: u32, tcb: Tcb, segment: Segment): void {
  if (!establish(index, tcb, segment)) return;
  if (segment.endSeq == segment.seq) return;
  if (takeText(index, tcb)) followFin(index, tcb, segment);
  scheduleAck(index, tcb, segment.now);
}

/** What the SYN said, from what its acknowledgment echoes. */
function restoreOptions(tcb: Tcb, segment: Segment, mss: u32): void {
  const window = segment.window;
  const seq = segment.seq;
  let options: u32 = SegmentOption.Mss;
  if (segment.hasTimestamps) {
    options |= SegmentOption.Timestamps;
    const echo = segment.tsEcr - tcb.tsOffset;
    const scale = cookieScale(echo);
    if (scale != COOKIE_NO_SCALE) {
      options |= SegmentOption.WindowScale;
      segment.windowScale = min<u32>(scale, 14);
      tcb.rcvWscale = <u8>cookieScaleOffered();
    }
    if (cookieSack(echo)) options |= SegmentOption.SackPermitted;
    if (cookieEcn(echo) && RegionHeader.get().ecnMode != 0) tcb.flags |= TcpFlag.Ecn;
  }
  const received = segment.options;
  segment.options = options;
  segment.mss = mss;
  segment.seq = seq - 1;
  takeSyn(tcb, segment, tcb.pathMtu);
  segment.seq = seq;
  segment.window = window;
  segment.options = received & SegmentOption.Timestamps;
}
