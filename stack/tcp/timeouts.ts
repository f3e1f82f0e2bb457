// What happens when a connection's timer fires.

import { seqAfter, seqBefore } from "../base/seq";
import { Destination } from "../link/destination";
import { settle } from "../local/segments";
import { passOn } from "../local/stream";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { enterLoss, prrWindow } from "./congestion";
import { sendAck, sendProbe, sendSyn } from "./control";
import { TcpFrame } from "./frame";
import { FrameMark } from "../region/frames";
import { detectLoss, markAllLost } from "./loss";
import { output, retransmitFrame, sendFrame } from "./output";
import { addPending, nextPending } from "./pending";
import { startRecovery } from "./recovery";
import { updateMss, usableRoute } from "./route";
import { backedOffRto, MAX_RTO_NANOS } from "./rtt";
import { inFlight, splitFrame } from "./send-queue";
import { fail, finish } from "./state";
import { CongestionState, PING_PONG, Tcb, TcpFlag, TcpState, TimerKind } from "./tcb";
import { armRetransmit, armWindowProbe, clearRetransmit, setDelayedAck, setLinger } from "./timer";
import { NEVER, wheelCover, wheelExpire } from "./wheel";
import { sendReset } from "./control";

const ETIMEDOUT: u32 = 110;
/** tcp(7): tcp_retries2, tcp_orphan_retries, tcp_synack_retries. */
const RETRIES_MAX: u32 = 15;
const ORPHAN_RETRIES_MAX: u32 = 8;
const SYN_ACK_RETRIES_MAX: u32 = 5;
/** Linux's tcp_syn_linear_timeouts: so many SYNs go out before the timeout doubles. */
const SYN_LINEAR_TIMEOUTS: u32 = 4;
/** tcp_retries1: from then on the path's MTU is suspected (RFC 4821 7.7, black hole detection). */
const BLACK_HOLE_TIMEOUTS: u32 = 3;
const BLACK_HOLE_MTU: u32 = 1064;
const MIN_BLACK_HOLE_MTU: u32 = 552;
const SECOND_NANOS: u64 = 1000000000;
const MILLI_NANOS: u64 = 1000000;
/** Connections handled in one poll(): more wait for the next. */
const EXPIRES_MAX: u32 = 1024;
const OUTPUTS_MAX: u32 = 4096;

/** Runs every timer that is due, then sends what is pending. */
export function tcpPoll(now: u64): void {
  const header = RegionHeader.get();
  if (header.nextTimerNanos <= now) {
    for (let count: u32 = 0; count < EXPIRES_MAX; count++) {
      const index = wheelExpire(now);
      if (index == 0) break;
      header.changing = index;
      fire(index, now);
      header.changing = 0;
    }
  }
  outputPending(now);
  settle();
}

/** Sends what is pending. */
export function outputPending(now: u64): void {
  const header = RegionHeader.get();
  if (header.pendingHead == 0) return;
  // What can't be sent now puts itself into the list again: one round only.
  const last = header.pendingTail;
  for (let count: u32 = 0; count < OUTPUTS_MAX; count++) {
    const index = nextPending();
    if (index == 0) break;
    header.changing = index;
    output(index, false, now);
    header.changing = 0;
    if (index == last) break;
  }
}

function fire(index: u32, now: u64): void {
  const tcb = Tcb.at(index);
  if (tcb.delackAt != 0 && tcb.delackAt <= now) delayedAck(index, tcb, now);
  if (tcb.retransmitAt != 0 && tcb.retransmitAt <= now) retransmission(index, tcb, now);
  if (tcb.lingerAt != 0 && tcb.lingerAt <= now) linger(index, tcb, now);
  const state = <u32>tcb.state;
  if (state == TcpState.Closed || state == TcpState.Listen) return;
  const next = nextDeadline(tcb);
  if (next != NEVER) wheelCover(index, next);
}

/** The first of the connection's deadlines. */
export function nextDeadline(tcb: Tcb): u64 {
  let next: u64 = NEVER;
  if (tcb.delackAt != 0) next = tcb.delackAt;
  if (tcb.retransmitAt != 0) next = min<u64>(next, tcb.retransmitAt);
  if (tcb.lingerAt != 0) next = min<u64>(next, tcb.lingerAt);
  return next;
}

/** RFC 1122 4.2.3.2. Nothing went with it: the traffic is less interactive than it seemed. */
function delayedAck(index: u32, tcb: Tcb, now: u64): void {
  tcb.delackAt = 0;
  if (tcb.pingPong >= PING_PONG) {
    tcb.pingPong = 0;
    tcb.ackTimeoutNanos = 40 * MILLI_NANOS;
  } else {
    tcb.ackTimeoutNanos = min<u64>(tcb.ackTimeoutNanos << 1, tcb.rtoNanos);
  }
  if (!sendAck(index, now)) setDelayedAck(index, tcb, now + 10 * MILLI_NANOS);
}

function retransmission(index: u32, tcb: Tcb, now: u64): void {
  const kind = <u32>tcb.timerKind;
  tcb.retransmitAt = 0;
  const state = <u32>tcb.state;
  if (state == TcpState.SynSent) synTimeout(index, tcb, now);
  else if (state == TcpState.SynReceived) synAckTimeout(index, tcb, now);
  else if (kind == TimerKind.WindowProbe) windowProbe(index, tcb, now);
  else if (kind == TimerKind.LossProbe) lossProbe(index, tcb, now);
  else if (kind == TimerKind.Reorder) reorderTimeout(index, tcb, now);
  else retransmissionTimeout(index, tcb, now);
}

/** True if the program's own limit has passed (TCP_USER_TIMEOUT, tcp(7)). */
function isUserTimeout(tcb: Tcb, since: u64, now: u64): bool {
  const limit = tcb.userTimeoutMillis;
  return limit != 0 && since != 0 && now - since >= <u64>limit * MILLI_NANOS;
}

function giveUp(index: u32, tcb: Tcb): void {
  fail(index, tcb.softError != 0 ? tcb.softError : ETIMEDOUT);
}

function synTimeout(index: u32, tcb: Tcb, now: u64): void {
  if (tcb.retransmitsSinceNanos == 0) tcb.retransmitsSinceNanos = tcb.startedNanos;
  // As Linux since 6.5: TCP_SYNCNT counts those whose timeout doubles.
  const limit = min<u32>(tcb.synCount, 127) + SYN_LINEAR_TIMEOUTS;
  const isLate = isUserTimeout(tcb, tcb.retransmitsSinceNanos, now);
  if (<u32>tcb.retransmits >= limit || isLate) {
    giveUp(index, tcb);
    return;
  }
  tcb.retransmits += 1;
  RegionHeader.get().tcpTimeouts += 1;
  if (<u32>tcb.retransmits > SYN_LINEAR_TIMEOUTS) tcb.backoff += 1;
  // RFC 3168 6.1.1.1: the second SYN asks for nothing that a middlebox could dislike.
  if (tcb.retransmits > 1) tcb.flags &= ~TcpFlag.Ecn;
  if (sendSyn(index, now)) tcb.sndNxt = tcb.iss + 1;
  armRetransmit(index, tcb, now);
}

function synAckTimeout(index: u32, tcb: Tcb, now: u64): void {
  if (<u32>tcb.retransmits >= SYN_ACK_RETRIES_MAX) {
    if (tcb.has(TcpFlag.Embryo)) {
      tcb.flags |= TcpFlag.Orphan;
      finish(index);
    } else {
      giveUp(index, tcb);
    }
    return;
  }
  tcb.retransmits += 1;
  tcb.backoff += 1;
  RegionHeader.get().tcpTimeouts += 1;
  if (sendSyn(index, now)) tcb.sndNxt = tcb.iss + 1;
  armRetransmit(index, tcb, now);
}

/** RFC 6298 5.4 to 5.7. */
function retransmissionTimeout(index: u32, tcb: Tcb, now: u64): void {
  if (tcb.packetsOut == 0 || tcb.sendHead == 0) return;
  const header = RegionHeader.get();
  if (tcb.retransmitsSinceNanos == 0) {
    tcb.retransmitsSinceNanos = TcpFrame.of(tcb.sendHead).nanos;
  }
  const isOrphan = tcb.has(TcpFlag.Orphan);
  const limit = isOrphan ? ORPHAN_RETRIES_MAX : RETRIES_MAX;
  // A peer that has closed its window but answers is waited for without end, by programs.
  const isHeard = now - tcb.lastReceivedNanos < MAX_RTO_NANOS;
  const isAlive = tcb.sndWnd == 0 && isHeard && !isOrphan;
  const isLate = isUserTimeout(tcb, tcb.retransmitsSinceNanos, now);
  if ((<u32>tcb.retransmits >= limit && !isAlive) || isLate) {
    giveUp(index, tcb);
    return;
  }
  header.tcpTimeouts += 1;
  tcb.timeouts += 1;
  const isFresh = tcb.retransmits == 0;
  enterLoss(tcb);
  tcb.frtoStep = isFresh && tcb.has(TcpFlag.SackPermitted) ? 1 : 0;
  tcb.flags &= ~TcpFlag.ProbeOut;
  markAllLost(tcb, now);
  if (tcb.retransmits < 255) tcb.retransmits += 1;
  if (tcb.backoff < 16) tcb.backoff += 1;
  suspectPath(tcb);
  retransmitHead(index, tcb, now);
  armRetransmit(index, tcb, now);
}

/** RFC 4821 7.7: big segments that vanish without a word may be too big. */
function suspectPath(tcb: Tcb): void {
  if (<u32>tcb.retransmits < BLACK_HOLE_TIMEOUTS) return;
  const head = TcpFrame.of(tcb.sendHead);
  if (<u32>head.payloadBytes + 52 <= MIN_BLACK_HOLE_MTU) return;
  const next = tcb.pathMtu > BLACK_HOLE_MTU ? BLACK_HOLE_MTU : MIN_BLACK_HOLE_MTU;
  if (next < tcb.pathMtu) updateMss(tcb, next);
}

/** Sends the oldest segment again, whatever the congestion window says. */
function retransmitHead(index: u32, tcb: Tcb, now: u64): void {
  const at = usableRoute(Socket.at(index), tcb);
  let link = tcb.sendHead;
  while (link != 0 && TcpFrame.of(link).is(FrameMark.Sacked)) link = TcpFrame.of(link).next;
  if (at == 0 || link == 0 || link == tcb.sendNext) return;
  retransmitFrame(index, link, Destination.at(at - 1), now);
}

/** RFC 8985 7.3: new data if there is some, else the last segment again. */
function lossProbe(index: u32, tcb: Tcb, now: u64): void {
  const at = usableRoute(Socket.at(index), tcb);
  if (at != 0 && tcb.packetsOut != 0 && !tcb.has(TcpFlag.ProbeOut)) {
    const entry = Destination.at(at - 1);
    tcb.probeRepeated = 0;
    let sent = false;
    const next = tcb.sendNext;
    if (next != 0 && !seqAfter(TcpFrame.of(next).endSeq, tcb.sndUna + tcb.sndWnd)) {
      sent = sendFrame(index, Socket.at(index), tcb, entry, TcpFrame.of(next), now);
    } else {
      tcb.probeRepeated = 1;
      sent = retransmitFrame(index, lastSent(tcb), entry, now);
    }
    if (sent) {
      tcb.flags |= TcpFlag.ProbeOut;
      tcb.probeHighSeq = tcb.sndNxt;
    }
  }
  armRetransmit(index, tcb, now);
}

/** The last frame that was sent. Precondition: one is out. */
function lastSent(tcb: Tcb): u32 {
  let link = tcb.sendHead;
  let next = TcpFrame.of(link).next;
  while (next != 0 && next != tcb.sendNext) {
    link = next;
    next = TcpFrame.of(link).next;
  }
  return link;
}

/** RFC 8985 6.3: what was only late so far is lost now. */
function reorderTimeout(index: u32, tcb: Tcb, now: u64): void {
  clearRetransmit(tcb);
  const found = detectLoss(index, tcb, now);
  if (found > 0) {
    const state = <u32>tcb.congestionState;
    if (state < <u32>CongestionState.Recovery) {
      startRecovery(tcb);
      prrWindow(tcb, 1, inFlight(tcb), false, found);
    }
    addPending(index);
  }
  if (tcb.retransmitAt == 0 && tcb.packetsOut > 0) armRetransmit(index, tcb, now);
}

/** Persist timer, RFC 9293 3.8.6.1. It also ends what TCP_CORK holds back. */
function windowProbe(index: u32, tcb: Tcb, now: u64): void {
  const next = tcb.sendNext;
  if (tcb.packetsOut != 0 || next == 0) return;
  const isOrphan = tcb.has(TcpFlag.Orphan);
  const limit = isOrphan ? ORPHAN_RETRIES_MAX : RETRIES_MAX;
  // Nobody may keep an orphan by answering with a closed window for ever (as Linux).
  const isHostage =
    isOrphan && <u32>tcb.backoff >= ORPHAN_RETRIES_MAX && backedOffRto(tcb) >= MAX_RTO_NANOS;
  const isLate = isUserTimeout(tcb, tcb.retransmitsSinceNanos, now);
  if (<u32>tcb.probesOut >= limit || isLate || isHostage) {
    giveUp(index, tcb);
    return;
  }
  if (tcb.localPeer != 0 && passOn(index, tcb, false, now)) {
    if (tcb.sendNext == 0) return;
    if (tcb.backoff < 16) tcb.backoff += 1;
    armWindowProbe(index, tcb, now);
    return;
  }
  const frame = TcpFrame.of(next);
  const room = tcb.sndUna + tcb.sndWnd - frame.seq;
  const isOpen = tcb.sndWnd != 0 && <i32>room > 0;
  const at = usableRoute(Socket.at(index), tcb);
  if (isOpen && at != 0) {
    const bytes = min<u32>(room, tcb.sndMss);
    if (<u32>frame.payloadBytes > bytes && !splitFrame(index, next, bytes)) {
      armWindowProbe(index, tcb, now);
      return;
    }
    const isFitting = !seqAfter(frame.endSeq, tcb.sndUna + tcb.sndWnd);
    if (isFitting && sendFrame(index, Socket.at(index), tcb, Destination.at(at - 1), frame, now)) {
      armRetransmit(index, tcb, now);
      return;
    }
  }
  if (tcb.retransmitsSinceNanos == 0) tcb.retransmitsSinceNanos = now;
  if (sendProbe(index, now)) tcb.probesOut += 1;
  if (tcb.backoff < 16) tcb.backoff += 1;
  armWindowProbe(index, tcb, now);
}

/** Keepalive (RFC 9293 3.8.4), the end of TIME-WAIT, or of an orphan's FIN-WAIT-2. */
function linger(index: u32, tcb: Tcb, now: u64): void {
  tcb.lingerAt = 0;
  const state = <u32>tcb.state;
  if (state == TcpState.TimeWait) {
    finish(index);
  } else if (tcb.has(TcpFlag.Orphan)) {
    if (state == TcpState.FinWait2) finish(index);
  } else if (tcb.has(TcpFlag.KeepAlive)) {
    keepalive(index, tcb, now);
  }
}

function keepalive(index: u32, tcb: Tcb, now: u64): void {
  const idle = <u64>tcb.keepIdleSeconds * SECOND_NANOS;
  const state = <u32>tcb.state;
  if (state == TcpState.SynSent || state == TcpState.SynReceived) return;
  const since = max<u64>(tcb.lastReceivedNanos, tcb.lastAckReceivedNanos);
  // Data that is out, or waits for the window, has a timer of its own.
  const isBusy = tcb.packetsOut != 0 || tcb.sendNext != 0;
  if (isBusy || now - since < idle) {
    setLinger(index, tcb, (isBusy ? now : since) + idle);
    return;
  }
  const isLate = tcb.userTimeoutMillis != 0 && isUserTimeout(tcb, since, now) && tcb.probesOut > 0;
  const isSilent = tcb.userTimeoutMillis == 0 && <u32>tcb.probesOut >= tcb.keepCount;
  if (isLate || isSilent) {
    sendReset(index, now);
    giveUp(index, tcb);
    return;
  }
  if (sendProbe(index, now)) tcb.probesOut += 1;
  setLinger(index, tcb, now + <u64>tcb.keepIntervalSeconds * SECOND_NANOS);
}

/** True if `seq` was sent and is not acknowledged: what an ICMP error has to quote (RFC 5927 4.1). */
export function isOutstanding(tcb: Tcb, seq: u32): bool {
  return !seqBefore(seq, tcb.sndUna) && !seqAfter(seq, tcb.sndNxt);
}
