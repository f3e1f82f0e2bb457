// A connection's beginning and end: its defaults, its transitions, and giving back all that it has.

import { removeItemsOf } from "../epoll/lists";
import { MAX_TIME_WAIT } from "../config";
import { storeRelease32 } from "../host";
import { TCB_BYTES } from "../layout";
import { RegionHeader } from "../region/header";
import { isThisHost } from "../local/address";
import { partLocal } from "../local/stream";
import { drainQueue, forgetCookie, freeSlot, unsteer } from "../socket/table";
import { wantEnds } from "../socket/ends";
import { Socket } from "../socket/socket";
import { notifySocket } from "../wait/waiter";
import { leaveSynQueue } from "./accept-queue";
import { initCongestion } from "./congestion";
import { removeConnection } from "./connections";
import { sendAck } from "./control";
import { dropFrame, TcpFrame } from "./frame";
import { removePending } from "./pending";
import { countTimeWait, releasePort } from "./port";
import { INITIAL_RTO_NANOS } from "./rtt";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { NEVER, wheelRemove } from "./wheel";
import { EVENTS_ALL } from "../wait/events";

/** Defaults of tcp(7). */
const KEEP_IDLE_SECONDS: u32 = 7200;
const KEEP_INTERVAL_SECONDS: u32 = 75;
const KEEP_PROBES: u32 = 9;
const SYN_RETRIES: u32 = 6;
const LINGER2_SECONDS: i32 = 60;

/** Options that outlive a connection that failed keep their values; all else begins anew. */
const OPTION_FLAGS: u32 =
  TcpFlag.NoDelay |
  TcpFlag.Cork |
  TcpFlag.OobInline |
  TcpFlag.KeepAlive |
  TcpFlag.ReceiveBufferLocked |
  TcpFlag.SendBufferLocked;

/** The control block of a new socket. */
export function initTcb(index: u32): void {
  const header = RegionHeader.get();
  const tcb = Tcb.at(index);
  memory.fill(changetype<usize>(tcb), 0, <usize>TCB_BYTES);
  tcb.wheelAt = NEVER;
  tcb.keepIdleSeconds = KEEP_IDLE_SECONDS;
  tcb.keepIntervalSeconds = KEEP_INTERVAL_SECONDS;
  tcb.keepCount = KEEP_PROBES;
  tcb.synCount = SYN_RETRIES;
  tcb.linger2Seconds = LINGER2_SECONDS;
  tcb.lingerSeconds = -1;
  tcb.receiveLowat = 1;
  tcb.notSentLowat = 0xffffffff;
  tcb.rcvBuf = header.tcpReceiveBufferBytes;
  const socket = Socket.at(index);
  socket.receiveBufferBytes = header.tcpReceiveBufferBytes;
  socket.sendBufferBytes = header.tcpSendBufferBytes;
  prepareTcb(index);
}

/** Makes a closed control block ready for a connection, keeping its options. */
export function prepareTcb(index: u32): void {
  const tcb = Tcb.at(index);
  tcb.flags &= OPTION_FLAGS;
  tcb.rtoNanos = INITIAL_RTO_NANOS;
  tcb.srttNanos = 0;
  tcb.rttvarNanos = 0;
  tcb.minRttNanos = 0;
  tcb.backoff = 0;
  tcb.retransmits = 0;
  tcb.probesOut = 0;
  tcb.windowClamp = 0;
  tcb.reordering = 3;
  tcb.retransmitAt = 0;
  tcb.delackAt = 0;
  tcb.lingerAt = 0;
  tcb.softError = 0;
  tcb.rcvWscale = 0;
  tcb.sndWscale = 0;
  tcb.maxWindow = 0;
  tcb.sackBlocks = 0;
  tcb.hasDsack = 0;
  Socket.at(index).readableBytes = 0;
  tcb.sendQueuedBytes = 0;
  tcb.congestionState = 0;
  initCongestion(tcb);
}

/** RFC 9293 3.3.2, with what else depends on the state. */
export function enter(tcb: Tcb, state: TcpState): void {
  storeRelease8(changetype<usize>(tcb) + offsetof<Tcb>("state"), <u8>state);
}

/** One byte, behind everything that was written before: readers have no lock. */
function storeRelease8(at: usize, value: u8): void {
  const word = at & ~(<usize>3);
  const shift = (<u32>(at & 3)) << 3;
  const kept = load<u32>(word) & ~((<u32>0xff) << shift);
  storeRelease32(word, kept | ((<u32>value) << shift));
}

/** The FIN is in the send queue: everything else follows from that, also after a death. */
export function followOwnFin(tcb: Tcb): void {
  if (tcb.state == <u8>TcpState.Established) enter(tcb, TcpState.FinWait1);
  if (tcb.state == <u8>TcpState.CloseWait) enter(tcb, TcpState.LastAck);
  tcb.flags |= TcpFlag.ShutSend;
}

/** Counts what the peer did, and wakes who waits for these events. */
export function announce(index: u32, events: u32): void {
  Socket.at(index).arrivals += 1;
  notifySocket(index, events);
}

function dropChain(head: u32): void {
  let at = head;
  for (let steps: u32 = RegionHeader.get().frameCount; at != 0 && steps > 0; steps--) {
    const next = TcpFrame.of(at).next;
    dropFrame(at);
    at = next;
  }
}

/** Forgets everything that was to be sent. */
export function purgeSendQueue(index: u32): void {
  const head = Tcb.at(index).sendHead;
  forgetSendQueue(index);
  dropChain(head);
}

/** Empties the send queue without a look at its frames. */
export function forgetSendQueue(index: u32): void {
  const tcb = Tcb.at(index);
  tcb.sendHead = 0;
  tcb.sendTail = 0;
  forgetSendCounts(index);
}

/** What is counted of the send queue, and where in it is the next to be sent. */
export function forgetSendCounts(index: u32): void {
  const tcb = Tcb.at(index);
  tcb.sendNext = 0;
  tcb.sendFrames = 0;
  tcb.sendQueuedBytes = 0;
  tcb.packetsOut = 0;
  tcb.sackedOut = 0;
  tcb.lostOut = 0;
  tcb.retransOut = 0;
  Socket.at(index).sendBytes = 0;
}

export function purgeOutOfOrder(index: u32): void {
  const tcb = Tcb.at(index);
  const head = tcb.oooHead;
  tcb.oooHead = 0;
  tcb.oooTail = 0;
  tcb.oooFrames = 0;
  tcb.sackBlocks = 0;
  dropChain(head);
}

/**
 * The connection is over: it is found by no packet any more. What was received stays readable; an
 * orphan's slot is free again.
 */
export function finish(index: u32): void {
  const tcb = Tcb.at(index);
  const state = <u32>tcb.state;
  if (state == TcpState.Closed || state == TcpState.Listen) return;
  if (state == TcpState.TimeWait) {
    RegionHeader.get().timeWaits -= 1;
    countTimeWait(tcb.port, -1);
  }
  // One that can be accepted stays in the queue: accept(2) hands out its error, too.
  if (tcb.has(TcpFlag.Embryo) && !tcb.has(TcpFlag.InAcceptQueue)) leaveSynQueue(tcb);
  partLocal(index, tcb);
  removeConnection(index);
  releasePort(tcb.port);
  tcb.port = 0;
  wheelRemove(index);
  removePending(index);
  tcb.retransmitAt = 0;
  tcb.delackAt = 0;
  tcb.lingerAt = 0;
  purgeSendQueue(index);
  purgeOutOfOrder(index);
  enter(tcb, TcpState.Closed);
  if (tcb.has(TcpFlag.Orphan)) release(index);
  else announce(index, EVENTS_ALL);
}

/** The same with an error for the program. */
export function fail(index: u32, errno: u32): void {
  if (!Tcb.at(index).has(TcpFlag.Orphan)) {
    storeRelease32(changetype<usize>(Socket.at(index)) + offsetof<Socket>("error"), errno);
  }
  finish(index);
}

/** Frees the slot of a socket that no program and no packet knows any more. */
export function release(index: u32): void {
  const header = RegionHeader.get();
  if (header.changing == index) header.changing = 0;
  wheelRemove(index);
  removePending(index);
  unsteer(index);
  forgetCookie(index);
  drainQueue(index);
  Tcb.at(index).flags = 0;
  removeItemsOf(index, false);
  notifySocket(index, EVENTS_ALL);
  freeSlot(index);
  header.socketsDestroyed += 1;
}

/** RFC 9293 3.6.1: the connection stays for 2 MSL, or is over where too many do. */
export function enterTimeWait(index: u32, now: u64): void {
  const header = RegionHeader.get();
  const tcb = Tcb.at(index);
  const socket = Socket.at(index);
  // Within this host nothing is ever late: there is nothing to wait for.
  if (isThisHost(socket.remoteHi, socket.remoteLo)) {
    sendAck(index, now);
    finish(index);
    return;
  }
  if (header.timeWaits >= MAX_TIME_WAIT) {
    header.tcpTimeWaitOverflow += 1;
    finish(index);
    return;
  }
  if (tcb.state != <u8>TcpState.TimeWait) {
    header.timeWaits += 1;
    countTimeWait(tcb.port, 1);
  }
  enter(tcb, TcpState.TimeWait);
  if (tcb.has(TcpFlag.Orphan)) wantEnds();
  purgeSendQueue(index);
  tcb.retransmitAt = 0;
  tcb.delackAt = 0;
  tcb.lingerAt = now + TIME_WAIT_NANOS;
}

/** Linux's TCP_TIMEWAIT_LEN. */
export const TIME_WAIT_NANOS: u64 = 60000000000;
