// TCP input, RFC 9293 3.10.7: from a validated IPv4 packet to the connection that it is for,
// through the checks in the RFC's order. What is to be sent for it is sent at the end of poll().

import { mappedLow } from "../base/address";
import { seqAfter } from "../base/seq";
import { isSumRight, sumBytes } from "../base/checksum";
import { LOOPBACK_IFINDEX, LOOPBACK_MTU } from "../config";
import { Interface, InterfaceFlag } from "../link/interface";
import { Queue } from "../link/queue";
import { syncReceived } from "../local/stream";
import { FrameMeta, giveKnownFrame } from "../region/frames";
import { RegionHeader } from "../region/header";
import { demuxLookup } from "../udp/demux";
import { IPV4_MIN_HEADER_BYTES, Ipv4Header, pseudoHeaderSum } from "../wire/ipv4";
import { PROTOCOL_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG, TcpHeader } from "../wire/tcp";
import { AckVerdict, judgeAck, takeAck } from "./ack";
import { challenge, isAcceptable, takeReset } from "./acceptance";
import { findConnection } from "./connections";
import { sendSyn } from "./control";
import { listenInput } from "./listen";
import { followAck, followFin, isReceiving, rejectLateData } from "./closing";
import { establish, synSentInput } from "./handshake";
import { scheduleAck, takePlainText, takeText } from "./receive";
import { handBack } from "./hand-back";
import { replyReset } from "./reply";
import { Segment } from "./segment";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { timeWaitInput } from "./time-wait";
import { takeUrgent } from "./urgent";
import { CongestionState } from "./tcb";

const ECN_CE: u32 = 3;
const TCP_CWR: u32 = 128;

/**
 * Handles the segment at `at` of the packet `ip` that arrived in `frame`. True if the frame was
 * dealt with: it is in a socket's queue, or free. False if it is damaged, and the caller's.
 * Precondition: `available` bytes at `at` lie inside the frame.
 */
export function tcpInput(
  ip: Ipv4Header,
  at: usize,
  available: u32,
  frame: u32,
  queueSlot: u32,
  now: u64,
): bool {
  const header = RegionHeader.get();
  if (!TcpHeader.fits(at, available)) {
    header.rxDropTcpHeader += 1;
    return false;
  }
  const tcp = changetype<TcpHeader>(at);
  const interfaceSlot = Queue.at(queueSlot).interfaceSlot;
  if (!isChecksumRight(ip, tcp, available, interfaceSlot)) {
    header.rxDropTcpChecksum += 1;
    return false;
  }
  header.rxSegments += 1;
  const link = Interface.at(interfaceSlot);
  const segment = Segment.get();
  segment.queueSlot = queueSlot;
  segment.isLocal = 0;
  segment.ifindex = link.ifindex;
  segment.linkMtu = link.mtu;
  handle(segment, ip, tcp, available, frame, now);
  return true;
}

/** The same for a packet that this host sent to itself. False: the frame is the caller's. */
export function localInput(at: u32, bytes: u32, frame: u32, now: u64): bool {
  const ip = changetype<Ipv4Header>(<usize>at);
  const tcpAt = <usize>(at + IPV4_MIN_HEADER_BYTES);
  if (bytes < IPV4_MIN_HEADER_BYTES) return false;
  const available = bytes - IPV4_MIN_HEADER_BYTES;
  if (!TcpHeader.fits(tcpAt, available)) return false;
  const segment = Segment.get();
  segment.isLocal = 1;
  segment.ifindex = LOOPBACK_IFINDEX;
  segment.linkMtu = LOOPBACK_MTU;
  handle(segment, ip, changetype<TcpHeader>(tcpAt), available, frame, now);
  return true;
}

/** For the connection or listener that it is for. The frame is in a socket's queue then, or free. */
function handle(
  segment: Segment,
  ip: Ipv4Header,
  tcp: TcpHeader,
  available: u32,
  frame: u32,
  now: u64,
): void {
  const header = RegionHeader.get();
  segment.parse(tcp, available);
  segment.now = now;
  segment.localLo = mappedLow(ip.destinationNet);
  segment.remoteLo = mappedLow(ip.sourceNet);
  segment.portsNet = rotl<u32>(tcp.portsNet, 16);
  segment.ecn = <u32>ip.tos & 3;
  segment.frame = frame;
  segment.ipOffset = <u32>changetype<usize>(ip);
  const index = findConnection(segment.localLo, segment.remoteLo, segment.portsNet);
  if (index != 0) {
    header.changing = index;
    if (segment.isLocal != 0) syncReceived(index, Tcb.at(index));
    connectionInput(index);
    header.changing = 0;
  } else {
    strangerInput(segment.ifindex);
  }
  if (segment.kept == 0) giveKnownFrame(frame, FrameMeta.at(frame));
}

/** As for UDP: a virtual interface's sender may leave the pseudo header's sum in the field. */
function isChecksumRight(ip: Ipv4Header, tcp: TcpHeader, length: u32, interfaceSlot: u32): bool {
  const pseudo = pseudoHeaderSum(ip, PROTOCOL_TCP, length);
  const isVirtual = (Interface.at(interfaceSlot).flags & InterfaceFlag.Virtual) != 0;
  if (isVirtual && isSumRight(pseudo + 0xffff - <u64>tcp.checksumNet)) return true;
  return isSumRight(sumBytes(changetype<usize>(tcp), length, pseudo));
}

/** No connection has these addresses: a listener may, else the answer is a reset. */
function strangerInput(ifindex: u32): void {
  const segment = Segment.get();
  const listener = demuxLookup(
    0,
    segment.localLo,
    segment.portsNet & 0xffff,
    0,
    segment.remoteLo,
    segment.portsNet >> 16,
    PROTOCOL_TCP,
    ifindex,
  );
  if (listener == 0 || Tcb.at(listener).state != <u8>TcpState.Listen) {
    RegionHeader.get().rxDropNoSocket += 1;
    if (segment.has(TCP_SYN) && handBack(segment)) return;
    replyReset();
    return;
  }
  listenInput(listener);
}

function connectionInput(index: u32): void {
  const tcb = Tcb.at(index);
  const segment = Segment.get();
  tcb.segmentsIn += 1;
  const state = <u32>tcb.state;
  if (state == TcpState.Established && isPlain(tcb, segment)) {
    plainInput(index, tcb, segment);
    return;
  }
  if (state == TcpState.SynSent) synSentInput(index);
  else if (state == TcpState.TimeWait) timeWaitInput(index);
  else synchronisedInput(index, tcb, segment);
}

/** Header prediction: the next data, or an acknowledgment, with nothing that needs a second look. */
function isPlain(tcb: Tcb, segment: Segment): bool {
  const plain = TCP_ACK | 8;
  if ((segment.flags & ~plain) != 0 || (segment.flags & TCP_ACK) == 0) return false;
  if (segment.seq != tcb.rcvNxt || segment.ecn == ECN_CE) return false;
  if (tcb.has(TcpFlag.UrgentValid | TcpFlag.PeerClosed)) return false;
  if (segment.payloadBytes > tcb.rcvAdv - tcb.rcvNxt) return false;
  if (tcb.has(TcpFlag.Timestamps)) {
    if (!segment.hasTimestamps || <i32>(segment.tsVal - tcb.tsRecent) < 0) return false;
  }
  return segment.ack - tcb.sndUna <= tcb.sndNxt - tcb.sndUna;
}

function plainInput(index: u32, tcb: Tcb, segment: Segment): void {
  tcb.lastReceivedNanos = segment.now;
  takeTimestamp(tcb, segment);
  tcb.probesOut = 0;
  if (segment.ack != tcb.sndUna || segment.payloadBytes == 0 || isNewWindow(tcb, segment)) {
    takeAck(index, tcb, false);
  }
  if (segment.payloadBytes == 0) return;
  if (tcb.oooHead == 0) takePlainText(index, tcb, segment);
  else takeText(index, tcb);
  scheduleAck(index, tcb, segment.now);
}

function isNewWindow(tcb: Tcb, segment: Segment): bool {
  if (tcb.congestionState != <u8>CongestionState.Open || segment.sackBlocks != 0) return true;
  return segment.window << (<u32>tcb.sndWscale) != tcb.sndWnd;
}

/** RFC 9293 3.10.7.4, in its order; RFC 5961 where that says more. */
function synchronisedInput(index: u32, tcb: Tcb, segment: Segment): void {
  if (!isAcceptable(index, tcb, segment)) return;
  if (segment.has(TCP_RST)) {
    takeReset(index, tcb, segment);
    return;
  }
  if (segment.has(TCP_SYN) && !passSyn(index, tcb, segment)) return;
  if (!segment.has(TCP_ACK)) return;
  tcb.lastReceivedNanos = segment.now;
  tcb.probesOut = 0;
  if (tcb.state == <u8>TcpState.SynReceived) {
    if (!establish(index, tcb, segment) || segment.has(TCP_SYN)) return;
  } else {
    const verdict = judgeAck(tcb, segment);
    if (verdict == AckVerdict.Bad) {
      challenge(index, tcb, segment);
      return;
    }
    takeTimestamp(tcb, segment);
    takeAck(index, tcb, verdict == AckVerdict.Old);
  }
  noteCongestionMark(tcb, segment);
  if (!followAck(index, tcb, segment)) return;
  if (segment.has(TCP_URG)) takeUrgent(index, tcb, segment);
  if (segment.endSeq == segment.seq) return;
  if (rejectLateData(index, tcb, segment)) return;
  const wasClosed = tcb.has(TcpFlag.PeerClosed);
  const hasText = isReceiving(tcb) || wasClosed || segment.has(TCP_FIN);
  if (!hasText) return;
  if (takeText(index, tcb)) followFin(index, tcb, segment);
  if (tcb.state != <u8>TcpState.Closed) scheduleAck(index, tcb, segment.now);
}

/**
 * RFC 5961 4: a SYN is answered, not believed. In SYN-RECEIVED, the peer's own SYN again means that
 * our SYN-ACK was lost; with an acknowledgment of ours, both have opened at the same time, and that
 * counts (RFC 9293 3.5 figure 7). True if the segment is to be looked at further.
 */
function passSyn(index: u32, tcb: Tcb, segment: Segment): bool {
  if (tcb.state == <u8>TcpState.SynReceived && segment.seq == tcb.irs) {
    const isBare = segment.endSeq == tcb.rcvNxt;
    if (segment.has(TCP_ACK) && isBare && segment.ack == tcb.sndNxt) return true;
    if (!segment.has(TCP_ACK)) {
      sendSyn(index, segment.now);
      return false;
    }
  }
  challenge(index, tcb, segment);
  return false;
}

/** RFC 7323 4.3: the timestamp of the segment that the last acknowledgment was up to. */
function takeTimestamp(tcb: Tcb, segment: Segment): void {
  if (!segment.hasTimestamps || !tcb.has(TcpFlag.Timestamps)) return;
  if (seqAfter(segment.seq, tcb.lastAckSent)) return;
  if (<i32>(segment.tsVal - tcb.tsRecent) < 0) return;
  tcb.tsRecent = segment.tsVal;
  tcb.tsRecentNanos = segment.now;
}

/** RFC 3168 6.1.3: a mark is echoed until the peer says that it has reduced its window. */
function noteCongestionMark(tcb: Tcb, segment: Segment): void {
  if (!tcb.has(TcpFlag.Ecn)) return;
  if (segment.has(TCP_CWR)) tcb.flags &= ~TcpFlag.EcnEcho;
  if (segment.ecn != ECN_CE) return;
  tcb.flags |= TcpFlag.EcnEcho;
  tcb.deliveredCe += 1;
}
