// The way to a connection's peer: a destination, as UDP has it, and what its MTU allows.

import { Destination, isLocalDestination, isUsable } from "../link/destination";
import { lookupDestination } from "../link/destination";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { IPV4_MIN_HEADER_BYTES } from "../wire/ipv4";
import { TCP_HEADER_BYTES, TIMESTAMPS_OPTION_BYTES } from "../wire/tcp";
import { LOOPBACK_MTU, TCP_HEADROOM_BYTES } from "../config";
import { addPending } from "./pending";
import { Tcb, TcpFlag, TcpState } from "./tcb";

const HEADERS_BYTES: u32 = IPV4_MIN_HEADER_BYTES + TCP_HEADER_BYTES;
/** RFC 9293 3.7.1: what a peer takes that sent no MSS option. */
export const DEFAULT_MSS: u32 = 536;
/** No path carries less: Linux's TCP_MIN_SND_MSS and TCP_MIN_MSS. */
const MIN_MSS: u32 = 48;
/** Linux's net.ipv4.route.min_pmtu. */
export const MIN_PATH_MTU: u32 = 552;

/** The connection's destination; its index + 1. */
function destinationOf(socket: Socket, tcb: Tcb): u32 {
  const known = socket.destination;
  if (known != 0 && Destination.at(known - 1).generation == socket.destinationGeneration) {
    return known;
  }
  const isAny = tcb.has(TcpFlag.AnySource);
  const at = lookupDestination(
    socket.remoteHi,
    socket.remoteLo,
    isAny ? 0 : socket.localHi,
    isAny ? 0 : socket.localLo,
    socket.ifindex,
  );
  socket.destination = at;
  socket.destinationGeneration = Destination.at(at - 1).generation;
  return at;
}

/** Index + 1 of the destination if the stack can send there now, else 0: it is asked for. */
export function usableRoute(socket: Socket, tcb: Tcb): u32 {
  const at = destinationOf(socket, tcb);
  const entry = Destination.at(at - 1);
  return isUsable(entry) || isLocalDestination(entry) ? at : 0;
}

/** Notes that something is to be sent as soon as there is a way. */
export function waitForRoute(tcb: Tcb): void {
  if (tcb.has(TcpFlag.RouteWait)) return;
  tcb.flags |= TcpFlag.RouteWait;
  const header = RegionHeader.get();
  header.routeWaits += 1;
  // exasockd has the kernel look for the neighbour, if that is what is missing.
  if (header.daemonWanted == 0) header.daemonWanted = 1;
}

/** A way became known, or can be asked for: who waited for one tries again. */
export function retryRoutes(): void {
  const header = RegionHeader.get();
  if (header.routeWaits == 0) return;
  header.routeWaits = 0;
  for (let index: u32 = 1; index < header.socketHigh; index++) {
    const tcb = Tcb.at(index);
    if (!tcb.has(TcpFlag.RouteWait)) continue;
    tcb.flags &= ~TcpFlag.RouteWait;
    if (tcb.state != <u8>TcpState.Closed) addPending(index);
  }
}

/** MSS that the interface's MTU allows us to receive: what our SYN says (RFC 6691). */
export function advertisedMss(tcb: Tcb, mtu: u32): u32 {
  const room = mtu >= LOOPBACK_MTU ? mtu : frameRoom();
  const mss = min<u32>(max<u32>(mtu, HEADERS_BYTES + MIN_MSS) - HEADERS_BYTES, room);
  return tcb.userMss != 0 ? min<u32>(mss, tcb.userMss) : mss;
}

/** Computes sndMss anew from the path's MTU and what the peer takes. */
export function updateMss(tcb: Tcb, pathMtu: u32): void {
  tcb.pathMtu = pathMtu;
  let mss = max<u32>(pathMtu, HEADERS_BYTES + MIN_MSS) - HEADERS_BYTES;
  mss = min<u32>(mss, tcb.peerMss != 0 ? tcb.peerMss : DEFAULT_MSS);
  if (tcb.userMss != 0) mss = min<u32>(mss, tcb.userMss);
  mss = max<u32>(mss, MIN_MSS);
  if (tcb.has(TcpFlag.Timestamps)) mss -= TIMESTAMPS_OPTION_BYTES;
  tcb.sndMss = min<u32>(mss, segmentRoom(pathMtu));
}

/** Payload that a frame has room for. */
export function frameRoom(): u32 {
  return RegionHeader.get().frameBytes - TCP_HEADROOM_BYTES;
}

/**
 * A segment lies in one frame; within this host there is none to be put into a frame. Over lo,
 * Linux uses half of the first window.
 */
function segmentRoom(mtu: u32): u32 {
  return mtu >= LOOPBACK_MTU ? LOOPBACK_MTU >> 1 : frameRoom();
}

/** Payload to put into one segment: never more than half of the peer's largest window. */
export function currentMss(tcb: Tcb): u32 {
  const mss = tcb.sndMss;
  const largest = tcb.maxWindow;
  // As Linux's tcp_bound_to_half_wnd: a tiny window is used whole.
  const bound = largest > DEFAULT_MSS ? largest >> 1 : largest;
  return bound != 0 && mss > bound ? max<u32>(bound, 68 - HEADERS_BYTES) : mss;
}
