// What may be sent now: lost segments first, then new ones, as windows and Nagle's algorithm allow
// (RFC 9293 3.8.6, RFC 5681, RFC 896, RFC 1122 4.2.3.4), then the acknowledgment if none of these
// carried it.

import { seqAfter, seqBefore } from "../base/seq";
import { Destination, isLocalDestination } from "../link/destination";
import { reapCompletions } from "../link/queue";
import { passOn, syncReceived } from "../local/stream";
import { FrameMark, FrameState } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { TCP_FIN, TCP_PSH } from "../wire/tcp";
import { noteCwndUse, restartAfterIdle } from "./congestion";
import { sendAck, sendSyn } from "./control";
import { TcpFrame } from "./frame";
import { addPending } from "./pending";
import { currentMss, usableRoute, waitForRoute } from "./route";
import { inFlight, splitFrame, trimFrame } from "./send-queue";
import { CongestionState, PING_PONG, Tcb, TcpFlag, TcpState, TimerKind } from "./tcb";
import { armLossProbe, armRetransmit, armWindowProbe } from "./timer";
import { roomyQueue, sendSegment, timestampNow } from "./transmit";

/** Sends everything that may be sent now. `more`: the program says that more is coming (MSG_MORE). */
export function output(index: u32, more: bool, now: u64): void {
  const tcb = Tcb.at(index);
  const state = <u32>tcb.state;
  if (state == TcpState.SynSent || state == TcpState.SynReceived) {
    if (tcb.sndNxt == tcb.iss && sendSyn(index, now)) tcb.sndNxt = tcb.iss + 1;
    if (tcb.has(TcpFlag.AckNow) && !sendAck(index, now)) retryAck(index, tcb);
    return;
  }
  if (tcb.sendHead != 0) sendQueue(index, tcb, more, now);
  if (tcb.has(TcpFlag.AckNow) && tcb.state != <u8>TcpState.Closed && !sendAck(index, now)) {
    retryAck(index, tcb);
  }
}

/** Whoever has something to acknowledge is in the list, or waits for a way. */
function retryAck(index: u32, tcb: Tcb): void {
  if (!tcb.has(TcpFlag.RouteWait)) addPending(index);
}

function sendQueue(index: u32, tcb: Tcb, more: bool, now: u64): void {
  if (tcb.localPeer != 0 && passQueue(index, tcb, more, now)) return;
  const wasOut = tcb.packetsOut;
  if (tcb.lostOut > 0 || tcb.sendNext != 0) {
    const at = usableRoute(Socket.at(index), tcb);
    if (at == 0) {
      waitForRoute(tcb);
    } else {
      const entry = Destination.at(at - 1);
      if (isLocalDestination(entry) && passQueue(index, tcb, more, now)) return;
      if (tcb.lostOut > tcb.retransOut) retransmitLost(index, tcb, entry, now);
      if (tcb.sendNext != 0) sendNew(index, tcb, entry, more, now);
    }
  }
  if (tcb.packetsOut == 0) {
    if (tcb.sendNext != 0 && tcb.retransmitAt == 0) armWindowProbe(index, tcb, now);
  } else if (wasOut == 0 || tcb.retransmitAt == 0) {
    scheduleRetransmit(index, tcb, now);
  } else if (tcb.packetsOut != wasOut && tcb.timerKind == <u8>TimerKind.LossProbe) {
    armLossProbe(index, tcb, now);
  }
}

/** To a peer on this host. False: by segments. */
function passQueue(index: u32, tcb: Tcb, more: bool, now: u64): bool {
  const holds = more || tcb.has(TcpFlag.Cork);
  if (!passOn(index, tcb, holds, now)) return false;
  // The peer's program makes room when it reads; but nothing is held back, or kept, for ever.
  const isTimed = holds || tcb.has(TcpFlag.Orphan);
  if (isTimed && tcb.sendNext != 0 && tcb.retransmitAt == 0) armWindowProbe(index, tcb, now);
  return true;
}

/** A loss probe where one is allowed (RFC 8985 7.2), else the retransmission timer. */
export function scheduleRetransmit(index: u32, tcb: Tcb, now: u64): void {
  const isCalm = <u32>tcb.congestionState <= <u32>CongestionState.Reduced;
  const mayProbe = isCalm && tcb.sackedOut == 0 && !tcb.has(TcpFlag.ProbeOut);
  if (mayProbe && tcb.has(TcpFlag.SackPermitted) && tcb.retransmits == 0) {
    armLossProbe(index, tcb, now);
  } else {
    armRetransmit(index, tcb, now);
  }
}

/** RFC 6675 5: what is lost goes again, oldest first, while the window has room. */
function retransmitLost(index: u32, tcb: Tcb, entry: Destination, now: u64): void {
  let link = tcb.sendHead;
  while (link != 0 && link != tcb.sendNext) {
    const frame = TcpFrame.of(link);
    const marks = frame.marks;
    if ((marks & FrameMark.Lost) != 0 && (marks & FrameMark.Retransmitted) == 0) {
      if (inFlight(tcb) >= tcb.cwnd) return;
      if (!retransmitFrame(index, link, entry, now)) return;
      if (tcb.lostOut <= tcb.retransOut) return;
    }
    link = frame.next;
  }
}

/** Sends a frame again. False if it can't be sent now. */
export function retransmitFrame(index: u32, link: u32, entry: Destination, now: u64): bool {
  const tcb = Tcb.at(index);
  const socket = Socket.at(index);
  const frame = TcpFrame.of(link);
  if (frame.state == <u8>FrameState.Transmit) {
    reapCompletions(<u32>frame.interfaceSlot);
    // Still not sent the last time: a copy behind it would not come earlier.
    if (frame.state == <u8>FrameState.Transmit) {
      RegionHeader.get().kickQueues |= (<u64>1) << (<u64>frame.interfaceSlot);
      return false;
    }
  }
  if (roomyQueue(entry) == 0) {
    addPending(index);
    return false;
  }
  if (seqBefore(frame.seq, tcb.sndUna)) trimFrame(index, frame, tcb.sndUna);
  if (<u32>frame.payloadBytes > tcb.sndMss && !splitFrame(index, link, tcb.sndMss)) return false;
  const seq = frame.seq;
  if (tcb.localPeer != 0) syncReceived(index, tcb);
  sendSegment(socket, tcb, entry, frame, seq, flagsOf(frame), now);
  frame.nanos = now;
  if ((frame.marks & FrameMark.Retransmitted) == 0) tcb.retransOut += 1;
  frame.marks |= FrameMark.Retransmitted | FrameMark.EverRetransmitted;
  if (tcb.retransStamp == 0) tcb.retransStamp = max<u32>(timestampNow(tcb, now), 1);
  tcb.undoRetrans += 1;
  tcb.prrOut += 1;
  tcb.totalRetransmits += 1;
  tcb.bytesRetransmitted += <u64>frame.payloadBytes;
  tcb.dataSegmentsOut += 1;
  RegionHeader.get().txRetransmits += 1;
  return true;
}

function flagsOf(frame: TcpFrame): u32 {
  let flags: u32 = 0;
  if (frame.is(FrameMark.Fin)) flags |= TCP_FIN;
  if (frame.is(FrameMark.Push)) flags |= TCP_PSH;
  return flags;
}

/** Sends what was never sent, in order. */
function sendNew(index: u32, tcb: Tcb, entry: Destination, more: bool, now: u64): void {
  const socket = Socket.at(index);
  if (tcb.packetsOut == 0) restartAfterIdle(tcb, now);
  let isCwndLimited = false;
  let hasSent = false;
  while (tcb.sendNext != 0) {
    const link = tcb.sendNext;
    const frame = TcpFrame.of(link);
    if (inFlight(tcb) >= tcb.cwnd) {
      isCwndLimited = true;
      break;
    }
    if (<u32>frame.payloadBytes > tcb.sndMss && !splitFrame(index, link, tcb.sndMss)) break;
    if (seqAfter(frame.endSeq, tcb.sndUna + tcb.sndWnd)) break;
    if (frame.next == 0 && isHeldBack(tcb, frame, more)) break;
    if (!sendFrame(index, socket, tcb, entry, frame, now)) break;
    hasSent = true;
  }
  if (inFlight(tcb) >= tcb.cwnd) isCwndLimited = true;
  if (hasSent || isCwndLimited) noteCwndUse(tcb, tcb.packetsOut, isCwndLimited, now);
}

/** Nagle's algorithm in Minshall's variant, and TCP_CORK. */
function isHeldBack(tcb: Tcb, frame: TcpFrame, more: bool): bool {
  if (<u32>frame.payloadBytes >= currentMss(tcb) || frame.is(FrameMark.Fin)) return false;
  if (more || tcb.has(TcpFlag.Cork)) return true;
  if (tcb.has(TcpFlag.NoDelay) || tcb.packetsOut == 0) return false;
  if (tcb.has(TcpFlag.UrgentSend) && seqBefore(frame.seq, tcb.sndUp)) return false;
  return seqAfter(tcb.sndSml, tcb.sndUna) && !seqAfter(tcb.sndSml, tcb.sndNxt);
}

/** Sends the first unsent frame. False: the ring is full, and the rest goes at the next poll. */
export function sendFrame(
  index: u32,
  socket: Socket,
  tcb: Tcb,
  entry: Destination,
  frame: TcpFrame,
  now: u64,
): bool {
  if (roomyQueue(entry) == 0) {
    addPending(index);
    return false;
  }
  if (tcb.localPeer != 0) syncReceived(index, tcb);
  sendSegment(socket, tcb, entry, frame, frame.seq, flagsOf(frame), now);
  frame.nanos = now;
  const bytes = <u32>frame.payloadBytes;
  tcb.sndNxt = frame.endSeq;
  tcb.sendNext = frame.next;
  tcb.packetsOut += 1;
  tcb.prrOut += 1;
  if (frame.is(FrameMark.Fin)) tcb.flags |= TcpFlag.FinSent;
  if (bytes < tcb.sndMss && bytes < currentMss(tcb)) tcb.sndSml = frame.endSeq;
  tcb.bytesSent += <u64>bytes;
  tcb.dataSegmentsOut += 1;
  if (tcb.quickAcks > 0) tcb.quickAcks -= 1;
  // Data soon after data: the program answers, and acknowledgments may go with its answers.
  if (now - tcb.lastDataReceivedNanos < tcb.ackTimeoutNanos && tcb.pingPong < PING_PONG) {
    tcb.pingPong += 1;
  }
  tcb.lastDataSentNanos = now;
  return true;
}
