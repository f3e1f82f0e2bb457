// The system calls of TCP sockets, as stack/index.ts exports them.

import { isWildcard } from "../base/address";
import { MAX_BACKLOG, VIA_KERNEL } from "../config";
import { removeItemsOf } from "../epoll/lists";
import { Destination, DestinationState, isLocalDestination } from "../link/destination";
import { isUsable, lookupDestination } from "../link/destination";
import { stopTaking } from "../local/stream";
import { isPortShared } from "../link/steering";
import { FrameMark } from "../region/frames";
import { RegionHeader } from "../region/header";
import { notifySocket } from "../wait/waiter";
import { adoptCookie, place, unsteer } from "../socket/table";
import { wantEnds } from "../socket/ends";
import { isSocket, Socket, SocketState } from "../socket/socket";
import { demuxLocal } from "../udp/demux";
import { PROTOCOL_TCP } from "../wire/tcp";
import { acceptQueueTake, listenerOf } from "./accept-queue";
import { waitForFin } from "./closing";
import { findConnection, insertConnection } from "./connections";
import { sendReset } from "./control";
import { TcpFrame } from "./frame";
import { startSyn } from "./handshake";
import { initialSequence, nextInitialSequence, timestampOffset } from "./initial-sequence";
import { output } from "./output";
import { acquirePort } from "./port";
import { advertisedMss } from "./route";
import { commit, dropEmptyTail, isWriteable, queueFin, reserve } from "./send-queue";
import { announce, enter, fail, finish, followOwnFin, prepareTcb, release } from "./state";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { isAtUrgent } from "./urgent";
import { initWindow } from "./window";
import { Interface } from "../link/interface";
import { EVENTS_ALL } from "../wait/events";

const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;
const EPIPE: i32 = 32;
const ENOSPC: i32 = 28;
const EADDRNOTAVAIL: i32 = 99;
const ECONNRESET: i32 = 104;
const EISCONN: i32 = 106;
const ENOTCONN: i32 = 107;
/** Linux's tcp_tw_reuse: so old must the last segment of a connection in TIME-WAIT be. */
const REUSE_NANOS: u64 = 1000000000;
const OFFERED: u32 = TcpFlag.SackPermitted | TcpFlag.Timestamps | TcpFlag.WindowScale;
/** Bits of tcpPush's flags. */
const PUSH_MORE: u32 = 1;
const PUSH_URGENT: u32 = 2;
const SHUT_RD: u32 = 0;
const SHUT_WR: u32 = 1;
const SHUT_RDWR: u32 = 2;

/** True for the index of a TCP socket. */
export function isTcp(index: u32): bool {
  return isSocket(index) && <u32>Socket.at(index).protocol == PROTOCOL_TCP;
}

/** Region offset of the way there, -EAGAIN while it is being asked for, -VIA_KERNEL. */
export function route(
  hi: u64,
  lo: u64,
  portNet: u32,
  sourceHi: u64,
  sourceLo: u64,
  ifindex: u32,
): i32 {
  const at = lookupDestination(hi, lo, sourceHi, sourceLo, ifindex);
  const entry = Destination.at(at - 1);
  isUsable(entry);
  if (entry.routeEpoch != RegionHeader.get().routeEpoch) return -EAGAIN;
  switch (entry.state) {
    case DestinationState.NoNeighbor:
    case DestinationState.Reachable:
      return <i32>changetype<usize>(entry);
    case DestinationState.Local:
      return listensHere(lo, portNet, entry) ? <i32>changetype<usize>(entry) : -VIA_KERNEL;
    case DestinationState.Rejected:
      return -VIA_KERNEL;
    default:
      return -EAGAIN;
  }
}

/** True if a listener of the region would get a connection to this address of the host. */
function listensHere(lo: u64, portNet: u32, entry: Destination): bool {
  if (isPortShared(PROTOCOL_TCP, portNet)) return false;
  const listener = demuxLocal(lo, entry.sourceLo, portNet, PROTOCOL_TCP);
  return listener != 0 && Tcb.at(listener).state == <u8>TcpState.Listen;
}

/** Makes way for a connection between the same ends. False: there is one that lives. */
function replaceOld(index: u32): u32 {
  const socket = Socket.at(index);
  const old = findConnection(socket.localLo, socket.remoteLo, socket.portsNet);
  if (old == 0) return 1;
  const tcb = Tcb.at(old);
  if (tcb.state != <u8>TcpState.TimeWait) return 0;
  // RFC 6191 2: only a clock that has moved on tells old segments from new ones.
  const age = RegionHeader.get().clockNanos - tcb.tsRecentNanos;
  if (!tcb.has(TcpFlag.Timestamps) || age < REUSE_NANOS) return 0;
  const first = nextInitialSequence(tcb.sndNxt);
  finish(old);
  return first;
}

/** RFC 9293 3.10.1, active. The socket's addresses are set. */
function open(index: u32, now: u64): i32 {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  const first = replaceOld(index);
  if (first == 0) return -EADDRNOTAVAIL;
  tcb.port = acquirePort(socket.localHi, socket.localLo, <u32>socket.localPortNet);
  if (tcb.port == 0) return -ENOSPC;
  tcb.iss =
    first != 1 ? first : initialSequence(socket.localLo, socket.remoteLo, socket.portsNet, now);
  tcb.tsOffset = timestampOffset(socket.localLo, socket.remoteLo);
  tcb.sndUna = tcb.iss;
  tcb.sndNxt = tcb.iss;
  tcb.writeSeq = tcb.iss + 1;
  tcb.rcvNxt = 0;
  tcb.rcvAdv = 0;
  tcb.lastAckSent = 0;
  tcb.copiedSeq = 0;
  tcb.highSeq = tcb.iss;
  tcb.flags |= OFFERED;
  if (RegionHeader.get().ecnMode == 1) tcb.flags |= TcpFlag.Ecn;
  initWindow(tcb, tcb.advMss);
  socket.state = <u8>SocketState.Connected;
  enter(tcb, TcpState.SynSent);
  insertConnection(index);
  RegionHeader.get().tcpActiveOpens += 1;
  startSyn(index, now);
  output(index, false, now);
  return 0;
}

export function connect(
  index: u32,
  localHi: u64,
  localLo: u64,
  localPortNet: u32,
  remoteHi: u64,
  remoteLo: u64,
  remotePortNet: u32,
  anySource: u32,
  now: u64,
): i32 {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  if (tcb.state != <u8>TcpState.Closed) return -EISCONN;
  if (localPortNet == 0 || remotePortNet == 0 || isWildcard(localHi, localLo)) return -EINVAL;
  const isAny = anySource != 0;
  const fromHi = isAny ? 0 : localHi;
  const fromLo = isAny ? 0 : localLo;
  const at = lookupDestination(remoteHi, remoteLo, fromHi, fromLo, socket.ifindex);
  const entry = Destination.at(at - 1);
  if (entry.state == DestinationState.Rejected) return -VIA_KERNEL;
  if (isLocalDestination(entry) && !listensHere(remoteLo, remotePortNet, entry)) {
    return -VIA_KERNEL;
  }
  prepareTcb(index);
  socket.localHi = localHi;
  socket.localLo = localLo;
  socket.localPortNet = <u16>localPortNet;
  socket.remoteHi = remoteHi;
  socket.remoteLo = remoteLo;
  socket.remotePortNet = <u16>remotePortNet;
  socket.destination = at;
  socket.destinationGeneration = entry.generation;
  socket.error = 0;
  if (isAny) tcb.flags |= TcpFlag.AnySource;
  const mtu = entry.mtu != 0 ? entry.mtu : 1500;
  tcb.pathMtu = mtu;
  tcb.advMss = advertisedMss(tcb, max<u32>(Interface.at(entry.interfaceSlot).mtu, mtu));
  return open(index, now);
}

/** RFC 9293 3.10.1, passive. */
export function listen(
  index: u32,
  hi: u64,
  lo: u64,
  portNet: u32,
  ifindex: u32,
  backlog: u32,
): i32 {
  const tcb = Tcb.at(index);
  // listen(2): a negative backlog is none.
  tcb.backlog = <i32>backlog < 0 ? 0 : min<u32>(backlog, MAX_BACKLOG);
  if (tcb.state == <u8>TcpState.Listen) return 0;
  if (tcb.state != <u8>TcpState.Closed || portNet == 0) return -EINVAL;
  if (!place(index, hi, lo, portNet, ifindex, SocketState.Bound)) return -ENOSPC;
  enter(tcb, TcpState.Listen);
  return 0;
}

export function accept(listener: u32, cookie: u64, client: u32): i32 {
  if (Tcb.at(listener).state != <u8>TcpState.Listen) return -EINVAL;
  const index = acceptQueueTake(listener);
  if (index == 0) return -EAGAIN;
  adoptCookie(index, cookie, client);
  Tcb.at(index).listener = 0;
  return <i32>index;
}

/** The error, if any, that sending or receiving now has. */
export function sendError(tcb: Tcb): i32 {
  const state = <u32>tcb.state;
  if (tcb.has(TcpFlag.ShutSend)) return -EPIPE;
  if (state == TcpState.Established || state == TcpState.CloseWait) return 0;
  if (state == TcpState.SynSent || state == TcpState.SynReceived) return -EAGAIN;
  return -EPIPE;
}

export function reserveStream(index: u32, wanted: u32): i32 {
  const error = sendError(Tcb.at(index));
  if (error != 0) return error;
  const at = reserve(index, wanted);
  if (at == -EAGAIN) Tcb.at(index).noSpace = 1;
  return at;
}

export function commitStream(index: u32, bytes: u32): void {
  if (bytes == 0) dropEmptyTail(index);
  else commit(index, bytes);
}

export function push(index: u32, flags: u32, now: u64): void {
  const header = RegionHeader.get();
  const tcb = Tcb.at(index);
  if ((flags & PUSH_URGENT) != 0) {
    tcb.sndUp = tcb.writeSeq;
    tcb.flags |= TcpFlag.UrgentSend;
  }
  const more = (flags & PUSH_MORE) != 0;
  if (tcb.sendTail != 0 && !more) TcpFrame.of(tcb.sendTail).marks |= FrameMark.Push;
  header.changing = index;
  output(index, more, now);
  header.changing = 0;
}

/** RFC 9293 3.10.4 as far as the send side goes. */
function closeSend(index: u32, tcb: Tcb, now: u64): void {
  if (tcb.has(TcpFlag.ShutSend)) return;
  const state = <u32>tcb.state;
  const isOpen = state == TcpState.Established || state == TcpState.CloseWait;
  if (!isOpen && state != TcpState.SynReceived) return;
  if (!queueFin(index)) {
    // Without a frame there can be no orderly end.
    sendReset(index, now);
    finish(index);
    return;
  }
  followOwnFin(tcb);
  output(index, false, now);
}

export function shutdown(index: u32, how: u32, now: u64): i32 {
  const tcb = Tcb.at(index);
  const state = <u32>tcb.state;
  if (how > SHUT_RDWR) return -EINVAL;
  if (state == TcpState.Listen) {
    if (how != SHUT_WR) stopListening(index, now);
    return 0;
  }
  if (state == TcpState.Closed || state == TcpState.TimeWait) return -ENOTCONN;
  if (state == TcpState.SynSent) {
    finish(index);
    return 0;
  }
  if (how != SHUT_WR) {
    tcb.flags |= TcpFlag.ShutReceive;
    stopTaking(index);
  }
  if (how != SHUT_RD) closeSend(index, tcb, now);
  announce(index, EVENTS_ALL);
  return 0;
}

/** Every connection that nobody has accepted is reset. */
function stopListening(index: u32, now: u64): void {
  const tcb = Tcb.at(index);
  for (;;) {
    const waiting = acceptQueueTake(index);
    if (waiting == 0) break;
    abandon(waiting, now);
  }
  if (tcb.synQueueCount != 0) dropEmbryos(index);
  tcb.synQueueCount = 0;
  unsteer(index);
  Socket.at(index).state = <u8>SocketState.Created;
  enter(tcb, TcpState.Closed);
  announce(index, EVENTS_ALL);
}

/** Handshakes that are under way end without a word, as Linux ends them. */
function dropEmbryos(listener: u32): void {
  const high = RegionHeader.get().socketHigh;
  for (let index: u32 = 1; index < high; index++) {
    const tcb = Tcb.at(index);
    if (!tcb.has(TcpFlag.Embryo) || tcb.state != <u8>TcpState.SynReceived) continue;
    if (listenerOf(tcb) != listener) continue;
    tcb.flags |= TcpFlag.Orphan;
    finish(index);
  }
}

function abandon(index: u32, now: u64): void {
  const tcb = Tcb.at(index);
  tcb.flags |= TcpFlag.Orphan;
  if (tcb.state == <u8>TcpState.Closed) {
    release(index);
    return;
  }
  if (tcb.state != <u8>TcpState.TimeWait) sendReset(index, now);
  finish(index);
}

/** RFC 9293 3.10.4 and RFC 2525 2.17: the program has no more to do with it. */
export function close(index: u32, now: u64): void {
  const tcb = Tcb.at(index);
  const state = <u32>tcb.state;
  if (state == TcpState.Listen) stopListening(index, now);
  if (state == TcpState.Closed || state == TcpState.Listen) {
    release(index);
    return;
  }
  const isOver = state == TcpState.TimeWait;
  const isAborted = !isOver && (Socket.at(index).readableBytes != 0 || tcb.lingerSeconds == 0);
  tcb.flags |= TcpFlag.Orphan | TcpFlag.ShutReceive;
  stopTaking(index);
  orphan(index);
  if (state == TcpState.SynSent) {
    finish(index);
  } else if (isAborted) {
    sendReset(index, now);
    RegionHeader.get().tcpAborts += 1;
    finish(index);
  } else {
    closeSend(index, tcb, now);
    if (tcb.state != <u8>TcpState.FinWait2) return;
    if (tcb.linger2Seconds >= 0) {
      waitForFin(index, tcb, now);
    } else {
      sendReset(index, now);
      finish(index);
    }
  }
}

/** No program finds it any more; packets do. */
function orphan(index: u32): void {
  const tcb = Tcb.at(index);
  adoptCookie(index, 0, 0);
  removeItemsOf(index, false);
  // Keepalive is for programs.
  if (tcb.state != <u8>TcpState.TimeWait) tcb.lingerAt = 0;
  else wantEnds();
  notifySocket(index, EVENTS_ALL);
}

export function isDone(index: u32, sequence: u64): u32 {
  if (!isTcp(index) || Socket.at(index).sequence != sequence) return 1;
  const tcb = Tcb.at(index);
  const state = <u32>tcb.state;
  if (state == TcpState.Closed || state == TcpState.TimeWait) return 1;
  return tcb.has(TcpFlag.FinSent) && tcb.sndUna == tcb.writeSeq ? 1 : 0;
}

export function atMark(index: u32): u32 {
  return isAtUrgent(Tcb.at(index)) ? 1 : 0;
}

/** Where readiness for writing is asked for: see socket/readiness.ts. */
export function isWriteReady(index: u32): bool {
  const tcb = Tcb.at(index);
  const socket = Socket.at(index);
  const unsent = tcb.writeSeq - tcb.sndNxt;
  return isWriteable(socket) && unsent < tcb.notSentLowat;
}

/** Nobody will look after connections any more: their peers are told. */
export function resetAll(now: u64): void {
  const high = RegionHeader.get().socketHigh;
  for (let index: u32 = 1; index < high; index++) {
    if (!isTcp(index)) continue;
    const state = <u32>Tcb.at(index).state;
    if (state == TcpState.Closed || state == TcpState.Listen) continue;
    if (state != TcpState.TimeWait && state != TcpState.SynSent) sendReset(index, now);
    fail(index, <u32>ECONNRESET);
  }
}
