// Urgent data, RFC 9293 3.8.5, as Linux has it: one byte, out of band unless SO_OOBINLINE says
// otherwise, at the place before the one that the urgent pointer names (net.ipv4.tcp_stdurg 0).

import { seqAfter, seqAfterEq, seqBefore, seqBeforeEq } from "../base/seq";
import { Socket } from "../socket/socket";
import { TcpFrame } from "./frame";
import { takeBytes } from "./receive-queue";
import { Segment } from "./segment";
import { announce } from "./state";
import { Tcb, TcpFlag } from "./tcb";
import { EVENTS_IN } from "../wait/events";

const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;

/** Follows the urgent pointer of a segment. */
export function takeUrgent(index: u32, tcb: Tcb, segment: Segment): void {
  const pointer = segment.urgent != 0 ? segment.urgent - 1 : 0;
  const seq = segment.seq + pointer;
  if (seqAfter(tcb.copiedSeq, seq) || seqBefore(seq, tcb.rcvNxt)) return;
  if (tcb.has(TcpFlag.UrgentValid) && seqBeforeEq(seq, tcb.rcvUrg)) return;
  const socket = Socket.at(index);
  // Reading stands at the old mark, whose byte is not in line: that one must not become data.
  if (isAtUrgent(tcb) && !tcb.has(TcpFlag.OobInline) && socket.readableBytes != 0) {
    takeBytes(socket, tcb, 1);
  }
  tcb.rcvUrg = seq;
  tcb.flags = (tcb.flags | TcpFlag.UrgentValid) & ~TcpFlag.UrgentRead;
  announce(index, EVENTS_IN);
}

/** True if reading has come to an urgent byte that is not in line. */
export function isAtUrgent(tcb: Tcb): bool {
  return tcb.has(TcpFlag.UrgentValid) && tcb.rcvUrg == tcb.copiedSeq;
}

/** True if the urgent byte is here and was not taken by MSG_OOB: EPOLLPRI. */
export function hasUrgentByte(tcb: Tcb): bool {
  const isAnnounced = tcb.has(TcpFlag.UrgentValid) && !tcb.has(TcpFlag.UrgentRead);
  return isAnnounced && seqBefore(tcb.rcvUrg, tcb.rcvNxt);
}

/** What was read lies behind the mark: it is over. */
export function passUrgent(tcb: Tcb): void {
  if (!tcb.has(TcpFlag.UrgentValid) || !seqAfter(tcb.copiedSeq, tcb.rcvUrg)) return;
  tcb.flags &= ~(TcpFlag.UrgentValid | TcpFlag.UrgentRead);
}

/** recv(2) with MSG_OOB: the byte, or why there is none. */
export function readUrgent(index: u32, peek: bool): i32 {
  const tcb = Tcb.at(index);
  if (tcb.has(TcpFlag.OobInline) || !tcb.has(TcpFlag.UrgentValid)) return -EINVAL;
  if (tcb.has(TcpFlag.UrgentRead)) return -EINVAL;
  if (seqAfterEq(tcb.rcvUrg, tcb.rcvNxt)) return -EAGAIN;
  let link = Socket.at(index).receiveHead;
  while (link != 0) {
    const frame = TcpFrame.of(link);
    const offset = tcb.rcvUrg - frame.seq;
    if (offset < <u32>frame.payloadBytes) {
      if (!peek) tcb.flags |= TcpFlag.UrgentRead;
      return <i32>load<u8>(<usize>(frame.payloadOffset + offset));
    }
    link = frame.next;
  }
  return -EAGAIN;
}
