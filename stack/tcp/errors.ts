// ICMP errors about segments that connections sent: RFC 1122 4.2.3.9, RFC 5461, RFC 5927, and path
// MTU discovery, RFC 1191.

import { seqAfter } from "../base/seq";
import { Destination } from "../link/destination";
import { FrameMark } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import { findConnection } from "./connections";
import { TcpFrame } from "./frame";
import { markLost } from "./loss";
import { addPending } from "./pending";
import { MIN_PATH_MTU, updateMss } from "./route";
import { fail } from "./state";
import { CongestionState, Tcb, TcpFlag, TcpState } from "./tcb";
import { isOutstanding } from "./timeouts";

/**
 * An error about the segment that began with `seq` between these ends. `errno` is 0 for one that
 * says that the packet was too big for a link of `mtu` bytes. False: it concerns no connection.
 */
export function tcpError(
  localLo: u64,
  remoteLo: u64,
  portsNet: u32,
  seq: u32,
  errno: u32,
  mtu: u32,
): bool {
  const index = findConnection(localLo, remoteLo, portsNet);
  if (index == 0) return false;
  const tcb = Tcb.at(index);
  const state = <u32>tcb.state;
  // RFC 5927 4.1: who can't name a segment that is out knows nothing of the connection.
  if (state == TcpState.TimeWait || !isOutstanding(tcb, seq)) return false;
  if (errno == 0) {
    lowerMtu(index, tcb, mtu);
  } else if (state == TcpState.SynSent || state == TcpState.SynReceived) {
    // Before the connection stands, such an error is the answer.
    if (tcb.has(TcpFlag.Embryo)) tcb.flags |= TcpFlag.Orphan;
    fail(index, errno);
  } else {
    tcb.softError = errno;
  }
  return true;
}

/** RFC 1191 6: what is out and too big goes again in smaller segments; nothing else changes. */
function lowerMtu(index: u32, tcb: Tcb, mtu: u32): void {
  const path = max<u32>(mtu, MIN_PATH_MTU);
  if (path >= tcb.pathMtu) return;
  updateMss(tcb, path);
  const known = Socket.at(index).destination;
  if (known != 0) {
    const entry = Destination.at(known - 1);
    entry.mtu = min<u32>(entry.mtu, path);
  }
  let link = tcb.sendHead;
  while (link != 0 && link != tcb.sendNext) {
    const frame = TcpFrame.of(link);
    const isTooBig = <u32>frame.payloadBytes > tcb.sndMss && seqAfter(frame.endSeq, tcb.sndUna);
    if (isTooBig && !frame.is(FrameMark.Sacked)) markLost(tcb, frame);
    link = frame.next;
  }
  if (tcb.lostOut == 0) return;
  // As Linux: repaired as after a timeout, but the window stays (RFC 1191 6.4).
  if (tcb.congestionState != <u8>CongestionState.Loss) {
    tcb.congestionState = <u8>CongestionState.Loss;
    tcb.highSeq = tcb.sndNxt;
    tcb.undoMarker = 0;
    tcb.frtoStep = 0;
  }
  addPending(index);
}

/** The kernel has found out that a next hop does not answer: who waits for it is told. */
export function failUnreachable(interfaceSlot: u32, hi: u64, lo: u64, errno: u32): void {
  const header = RegionHeader.get();
  for (let index: u32 = 1; index < header.socketHigh; index++) {
    const tcb = Tcb.at(index);
    if (tcb.state != <u8>TcpState.SynSent || tcb.sndNxt != tcb.iss) continue;
    const known = Socket.at(index).destination;
    if (known == 0) continue;
    const entry = Destination.at(known - 1);
    if (entry.interfaceSlot != interfaceSlot || entry.nextHopLo != lo) continue;
    if (entry.nextHopHi == hi) fail(index, errno);
  }
}
