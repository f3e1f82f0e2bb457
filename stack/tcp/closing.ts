// The states behind ESTABLISHED: what our FIN's acknowledgment and the peer's FIN lead to, RFC 9293
// 3.6 and 3.10.7.4, and how Linux ends connections that no program has any more.

import { seqAfter } from "../base/seq";
import { isThisHost } from "../local/address";
import { RegionHeader } from "../region/header";
import { wantEnds } from "../socket/ends";
import { Socket } from "../socket/socket";
import { TCP_FIN } from "../wire/tcp";
import { replyReset } from "./reply";
import { purgeOutOfOrder, announce, enter, enterTimeWait, finish, TIME_WAIT_NANOS } from "./state";
import { Segment } from "./segment";
import { PING_PONG, Tcb, TcpFlag, TcpState } from "./tcb";
import { setLinger } from "./timer";
import { addPending } from "./pending";
import { EVENTS_ALL } from "../wait/events";

const SECOND_NANOS: u64 = 1000000000;

/** True once the peer has everything including our FIN. */
function isFinAcked(tcb: Tcb): bool {
  return tcb.has(TcpFlag.FinSent) && tcb.sndUna == tcb.writeSeq;
}

/** After takeAck(): false if the connection is over or nothing else of the segment counts. */
export function followAck(index: u32, tcb: Tcb, segment: Segment): bool {
  if (!isFinAcked(tcb)) return true;
  switch (<u32>tcb.state) {
    case TcpState.FinWait1:
      enterFinWait2(index, tcb, segment);
      return tcb.state != <u8>TcpState.Closed;
    case TcpState.Closing:
      enterTimeWait(index, segment.now);
      if (tcb.state == <u8>TcpState.TimeWait) setLinger(index, tcb, segment.now + TIME_WAIT_NANOS);
      announceEnd(index, tcb);
      return false;
    case TcpState.LastAck:
      finish(index);
      return false;
    default:
      return true;
  }
}

function announceEnd(index: u32, tcb: Tcb): void {
  if (tcb.state != <u8>TcpState.Closed) announce(index, EVENTS_ALL);
}

/** Nothing but the peer's FIN is waited for; not for ever, if no program has the socket. */
function enterFinWait2(index: u32, tcb: Tcb, segment: Segment): void {
  enter(tcb, TcpState.FinWait2);
  tcb.retransmitAt = 0;
  if (!tcb.has(TcpFlag.Orphan)) {
    announce(index, EVENTS_ALL);
    return;
  }
  if (tcb.linger2Seconds < 0) {
    replyReset();
    finish(index);
    return;
  }
  waitForFin(index, tcb, segment.now);
}

/** TCP_LINGER2, tcp(7): how long an orphan waits in FIN-WAIT-2. */
export function waitForFin(index: u32, tcb: Tcb, now: u64): void {
  const seconds = tcb.linger2Seconds == 0 ? 60 : tcb.linger2Seconds;
  // Its port outlives the kernel socket, and the kernel might give that out.
  const socket = Socket.at(index);
  if (!isThisHost(socket.remoteHi, socket.remoteLo)) wantEnds();
  setLinger(index, tcb, now + <u64>seconds * SECOND_NANOS);
}

/** True in the states in which the peer's data is taken. */
export function isReceiving(tcb: Tcb): bool {
  const state = <u32>tcb.state;
  return state == TcpState.Established || state == TcpState.FinWait1 || state == TcpState.FinWait2;
}

/**
 * RFC 1122 4.2.2.13: data for a program that has closed the socket is answered by a reset. True if
 * that was so: the connection is over.
 */
export function rejectLateData(index: u32, tcb: Tcb, segment: Segment): bool {
  const state = <u32>tcb.state;
  if (state != TcpState.FinWait1 && state != TcpState.FinWait2) return false;
  if (!tcb.has(TcpFlag.Orphan | TcpFlag.ShutReceive)) return false;
  const fin = segment.flags & TCP_FIN;
  if (segment.payloadBytes == 0 || !seqAfter(segment.endSeq - fin, tcb.rcvNxt)) return false;
  RegionHeader.get().tcpAborts += 1;
  replyReset();
  finish(index);
  return true;
}

/** The peer's FIN came into sequence. */
export function followFin(index: u32, tcb: Tcb, segment: Segment): void {
  purgeOutOfOrder(index);
  switch (<u32>tcb.state) {
    case TcpState.SynReceived:
    case TcpState.Established:
      enter(tcb, TcpState.CloseWait);
      // Its acknowledgment may go with what the program says to it.
      tcb.pingPong = PING_PONG;
      break;
    case TcpState.FinWait1:
      enter(tcb, TcpState.Closing);
      tcb.flags |= TcpFlag.AckNow;
      addPending(index);
      break;
    case TcpState.FinWait2:
      enterTimeWait(index, segment.now);
      if (tcb.state == <u8>TcpState.TimeWait) {
        setLinger(index, tcb, segment.now + TIME_WAIT_NANOS);
        tcb.flags |= TcpFlag.AckNow;
        addPending(index);
      }
      break;
    default:
      break;
  }
  announceEnd(index, tcb);
}
