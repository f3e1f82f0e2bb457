// TIME-WAIT, RFC 9293 3.10.7.4 and 3.6.1, with the early reuse by a new SYN of RFC 6191.

import { seqAfter } from "../base/seq";
import { demuxLookup } from "../udp/demux";
import { PROTOCOL_TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from "../wire/tcp";
import { isAcceptable } from "./acceptance";
import { nextInitialSequence } from "./initial-sequence";
import { handBack } from "./hand-back";
import { listenInput } from "./listen";
import { addPending } from "./pending";
import { Segment } from "./segment";
import { finish, TIME_WAIT_NANOS } from "./state";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { setLinger } from "./timer";

export function timeWaitInput(index: u32): void {
  const tcb = Tcb.at(index);
  const segment = Segment.get();
  const isSyn = (segment.flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_SYN;
  if (isSyn && isNewConnection(tcb, segment)) {
    if (hand(index, segment) || handBack(segment)) return;
  }
  if (!isAcceptable(index, tcb, segment)) return;
  if (segment.has(TCP_RST)) {
    // RFC 1337 would ignore it; Linux does not, unless told to.
    finish(index);
    return;
  }
  if (segment.has(TCP_SYN) || segment.endSeq != segment.seq) {
    tcb.flags |= TcpFlag.AckNow;
    addPending(index);
  }
  // Our acknowledgment of the FIN was lost: 2 MSL begin anew.
  if (segment.has(TCP_FIN)) setLinger(index, tcb, segment.now + TIME_WAIT_NANOS);
}

/** RFC 6191 2: newer than anything of the old connection. */
function isNewConnection(tcb: Tcb, segment: Segment): bool {
  if (segment.hasTimestamps && tcb.has(TcpFlag.Timestamps)) {
    if (<i32>(segment.tsVal - tcb.tsRecent) < 0) return false;
    if (segment.tsVal != tcb.tsRecent) return true;
  }
  return seqAfter(segment.seq, tcb.rcvNxt);
}

/** Makes way for the new connection. False if nobody listens for it. */
function hand(index: u32, segment: Segment): bool {
  const listener = demuxLookup(
    0,
    segment.localLo,
    segment.portsNet & 0xffff,
    0,
    segment.remoteLo,
    segment.portsNet >> 16,
    PROTOCOL_TCP,
    segment.ifindex,
  );
  if (listener == 0 || Tcb.at(listener).state != <u8>TcpState.Listen) return false;
  segment.firstSeq = nextInitialSequence(Tcb.at(index).sndNxt);
  finish(index);
  listenInput(listener);
  return true;
}
