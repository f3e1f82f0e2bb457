// Opening a connection: RFC 9293 3.5 from our side, and the end of every handshake, whichever side
// began it.

import { seqAfter, seqBeforeEq } from "../base/seq";
import { RegionHeader } from "../region/header";
import { TCP_ACK, TCP_CWR, TCP_ECE, TCP_RST, TCP_SYN } from "../wire/tcp";
import { acceptQueueAdd, listenerOf } from "./accept-queue";
import { sendSyn } from "./control";
import { addPending } from "./pending";
import { quickAck } from "./receive";
import { replyReset } from "./reply";
import { updateMss } from "./route";
import { updateMinRtt, updateRtt } from "./rtt";
import { Segment, SegmentOption } from "./segment";
import { tuneSendBuffer } from "./send-queue";
import { announce, enter, fail } from "./state";
import { Tcb, TcpFlag, TcpState, TimerKind } from "./tcb";
import { armRetransmit, clearRetransmit, setLinger, setRetransmit } from "./timer";
import { timestampNow } from "./transmit";
import { startWindow } from "./window";
import { EVENTS_ALL, EVENTS_IN } from "../wait/events";

const ECONNREFUSED: u32 = 111;
const QUICK_ACKS: u32 = 16;
const SECOND_NANOS: u64 = 1000000000;
/** How soon a SYN goes again behind a reset of ours; Linux's TCP_TIMEOUT_MIN. */
const SYN_AGAIN_NANOS: u64 = 2000000;

/** Takes what the peer's SYN says over, RFC 9293 3.10.7.3 and RFC 7323 2. */
export function takeSyn(tcb: Tcb, segment: Segment, pathMtu: u32): void {
  tcb.irs = segment.seq;
  tcb.rcvNxt = segment.seq + 1;
  tcb.copiedSeq = tcb.rcvNxt;
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.sndWl1 = segment.seq;
  // The window of a SYN is not scaled.
  tcb.sndWnd = segment.window;
  tcb.maxWindow = segment.window;
  tcb.peerMss = (segment.options & SegmentOption.Mss) != 0 ? segment.mss : 0;
  if ((segment.options & SegmentOption.WindowScale) != 0 && tcb.has(TcpFlag.WindowScale)) {
    tcb.sndWscale = <u8>segment.windowScale;
  } else {
    tcb.flags &= ~TcpFlag.WindowScale;
    tcb.sndWscale = 0;
    tcb.rcvWscale = 0;
  }
  if (segment.hasTimestamps && tcb.has(TcpFlag.Timestamps)) {
    tcb.tsRecent = segment.tsVal;
    tcb.tsRecentNanos = segment.now;
  } else {
    tcb.flags &= ~TcpFlag.Timestamps;
  }
  if ((segment.options & SegmentOption.SackPermitted) == 0) tcb.flags &= ~TcpFlag.SackPermitted;
  updateMss(tcb, pathMtu);
}

/** RFC 9293 3.10.7.3: a segment in SYN-SENT. */
export function synSentInput(index: u32): void {
  const tcb = Tcb.at(index);
  const segment = Segment.get();
  const hasAck = segment.has(TCP_ACK);
  if (hasAck && !isAckOfSyn(tcb, segment)) {
    if (!segment.has(TCP_RST)) replyReset();
    // A peer that still had an old connection has none now: it will take the SYN.
    if (tcb.retransmits == 0) {
      setRetransmit(index, tcb, TimerKind.Retransmit, segment.now + SYN_AGAIN_NANOS);
    }
    return;
  }
  if (segment.has(TCP_RST)) {
    if (hasAck) {
      RegionHeader.get().rxResets += 1;
      fail(index, ECONNREFUSED);
    }
    return;
  }
  if (!segment.has(TCP_SYN)) return;
  const wantsEcn = tcb.has(TcpFlag.Ecn);
  takeSyn(tcb, segment, tcb.pathMtu);
  tcb.flags &= ~TcpFlag.Ecn;
  const marks = segment.flags & (TCP_ECE | TCP_CWR);
  if (!hasAck) {
    // Simultaneous open, RFC 9293 3.5 figure 7.
    if (wantsEcn && marks == (TCP_ECE | TCP_CWR)) tcb.flags |= TcpFlag.Ecn;
    enter(tcb, TcpState.SynReceived);
    tcb.rcvAdv = tcb.rcvNxt;
    // If it can't go now, the timer that runs for our SYN sends it.
    sendSyn(index, segment.now);
    return;
  }
  if (wantsEcn && marks == TCP_ECE) tcb.flags |= TcpFlag.Ecn;
  tcb.sndUna = segment.ack;
  tcb.sndWl2 = segment.ack;
  tcb.rcvAdv = tcb.rcvNxt + min<u32>(tcb.rcvSsthresh, 65535);
  becomeEstablished(index, tcb, segment);
  tcb.flags |= TcpFlag.AckNow;
  addPending(index);
  announce(index, EVENTS_ALL);
}

/** RFC 9293 3.10.7.3 first, and RFC 7323 3.2: an echo of a time that we did not send is none. */
function isAckOfSyn(tcb: Tcb, segment: Segment): bool {
  if (seqBeforeEq(segment.ack, tcb.iss) || seqAfter(segment.ack, tcb.sndNxt)) return false;
  if (!segment.hasTimestamps || segment.tsEcr == 0 || !tcb.has(TcpFlag.Timestamps)) return true;
  return <i32>(timestampNow(tcb, segment.now) - segment.tsEcr) >= 0;
}

/**
 * An acknowledgment in SYN-RECEIVED. False if the segment is not to be looked at any further: it
 * was not acceptable, or the listener has no room for the connection yet.
 */
export function establish(index: u32, tcb: Tcb, segment: Segment): bool {
  if (seqBeforeEq(segment.ack, tcb.sndUna) || seqAfter(segment.ack, tcb.sndNxt)) {
    replyReset();
    return false;
  }
  if (tcb.has(TcpFlag.Embryo)) {
    const listener = listenerOf(tcb);
    if (listener == 0) {
      replyReset();
      return false;
    }
    const owner = Tcb.at(listener);
    const isBare = segment.payloadBytes == 0 && (segment.flags & 1) == 0;
    // TCP_DEFER_ACCEPT: the handshake's last acknowledgment alone is not enough.
    if (owner.deferAcceptSeconds != 0 && isBare && isDeferred(tcb, owner, segment)) return false;
    if (owner.acceptCount > owner.backlog) {
      RegionHeader.get().tcpListenDrops += 1;
      return false;
    }
    if (owner.synQueueCount > 0) owner.synQueueCount -= 1;
    acceptQueueAdd(listener, index);
    RegionHeader.get().tcpPassiveOpens += 1;
    announce(listener, EVENTS_IN);
  }
  tcb.sndUna = segment.ack;
  // RFC 7323 2.2: the window of a SYN is never scaled.
  tcb.sndWnd = segment.has(TCP_SYN) ? segment.window : segment.window << (<u32>tcb.sndWscale);
  tcb.maxWindow = max<u32>(tcb.maxWindow, tcb.sndWnd);
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = segment.ack;
  if (segment.hasTimestamps && tcb.has(TcpFlag.Timestamps)) {
    tcb.tsRecent = segment.tsVal;
    tcb.tsRecentNanos = segment.now;
  }
  becomeEstablished(index, tcb, segment);
  announce(index, EVENTS_ALL);
  return true;
}

function isDeferred(tcb: Tcb, owner: Tcb, segment: Segment): bool {
  const limit = <u64>owner.deferAcceptSeconds * SECOND_NANOS;
  return segment.now - tcb.startedNanos < limit;
}

/** Both sides have the other's SYN. */
export function becomeEstablished(index: u32, tcb: Tcb, segment: Segment): void {
  const now = segment.now;
  enter(tcb, tcb.has(TcpFlag.ShutSend) ? TcpState.FinWait1 : TcpState.Established);
  clearRetransmit(tcb);
  if (tcb.retransmits == 0 && tcb.startedNanos != 0) {
    updateMinRtt(tcb, now - tcb.startedNanos, now);
    updateRtt(tcb, now - tcb.startedNanos);
  } else if (tcb.retransmits > 0) {
    // RFC 6298 5.7 and RFC 5681 3.1: the path lost a SYN.
    tcb.rtoNanos = 3 * SECOND_NANOS;
    // One may have been late only: the first timeout is short (as Linux has it).
    if (tcb.retransmits > 1) tcb.cwnd = 1;
    measureByEcho(tcb, segment);
  }
  tcb.retransmits = 0;
  tcb.backoff = 0;
  tcb.highSeq = tcb.sndUna;
  tcb.lastReceivedNanos = now;
  tcb.lastAckReceivedNanos = now;
  tcb.lastDataSentNanos = now;
  quickAck(tcb, QUICK_ACKS);
  startWindow(tcb, now);
  tuneSendBuffer(index);
  startKeepalive(index, tcb, now);
  if (tcb.sendHead != 0) addPending(index);
}

/** A timestamp tells which of several SYNs was answered. */
function measureByEcho(tcb: Tcb, segment: Segment): void {
  if (!tcb.has(TcpFlag.Timestamps) || segment.tsEcr == 0) return;
  const elapsed = timestampNow(tcb, segment.now) - segment.tsEcr;
  if (elapsed > 60000) return;
  updateMinRtt(tcb, <u64>max<u32>(elapsed, 1) * 1000000, segment.now);
  updateRtt(tcb, <u64>max<u32>(elapsed, 1) * 1000000);
}

/** Keepalive runs from the handshake on, if it is switched on. */
export function startKeepalive(index: u32, tcb: Tcb, now: u64): void {
  if (!tcb.has(TcpFlag.KeepAlive) || tcb.has(TcpFlag.Orphan)) return;
  setLinger(index, tcb, now + <u64>tcb.keepIdleSeconds * SECOND_NANOS);
}

/** Sends the SYN as soon as there is a way, and starts its timer. */
export function startSyn(index: u32, now: u64): void {
  const tcb = Tcb.at(index);
  tcb.startedNanos = now;
  armRetransmit(index, tcb, now);
  addPending(index);
}
