// Frames that reached the peer: by SACK (RFC 2018, RFC 2883) or by acknowledgment. Each is counted
// once, gives a round trip if it was sent once, and moves RACK's clock (RFC 8985 6.2).

import { seqAfter, seqAfterEq, seqBefore, seqBeforeEq } from "../base/seq";
import { FrameMark } from "../region/frames";
import { TcpFrame } from "./frame";
import { Segment } from "./segment";
import { Tcb, TcpFlag } from "./tcb";

/** Degree of reordering that is believed at most: Linux's net.ipv4.tcp_max_reordering. */
const MAX_REORDERING: u32 = 300;

/** Takes a frame's marks away, with what they count. */
export function clearMarks(tcb: Tcb, frame: TcpFrame): void {
  const marks = frame.marks;
  if ((marks & FrameMark.Sacked) != 0) tcb.sackedOut -= 1;
  if ((marks & FrameMark.Lost) != 0) tcb.lostOut -= 1;
  if ((marks & FrameMark.Retransmitted) != 0) tcb.retransOut -= 1;
  frame.marks = marks & ~(FrameMark.Sacked | FrameMark.Lost | FrameMark.Retransmitted);
}

/** A frame that was not known to have arrived has. Its marks are still as they were. */
export function noteDelivered(tcb: Tcb, segment: Segment, frame: TcpFrame): void {
  const rtt = segment.now - frame.nanos;
  tcb.delivered += 1;
  if (frame.is(FrameMark.EverRetransmitted)) {
    segment.retransmittedAcked = 1;
    // RFC 8985 6.2 step 2: too early to be the answer to the copy.
    if (rtt < tcb.minRttNanos) return;
  } else {
    segment.rttNanos = rtt;
    if (!seqAfter(frame.endSeq, tcb.highSeq)) segment.originalDelivered = 1;
    if (segment.priorSacked != 0 && seqBefore(frame.seq, segment.priorSacked)) {
      noteReordering(tcb, segment.priorSacked - frame.seq);
    }
  }
  const isNewer =
    frame.nanos > tcb.rackSentNanos ||
    (frame.nanos == tcb.rackSentNanos && seqAfter(frame.endSeq, tcb.rackEndSeq));
  if (!isNewer) return;
  tcb.rackSentNanos = frame.nanos;
  tcb.rackEndSeq = frame.endSeq;
  tcb.rackRttNanos = rtt;
}

/**
 * What was sent once arrived behind what was sent `bytes` later: the network changes the order.
 * Only an earlier acknowledgment proves that; one that tells of both may follow one that was lost.
 */
function noteReordering(tcb: Tcb, bytes: u32): void {
  const distance = bytes / max<u32>(tcb.sndMss, 1);
  tcb.reordering = min<u32>(max<u32>(tcb.reordering, distance), MAX_REORDERING);
  tcb.flags |= TcpFlag.ReorderingSeen;
  tcb.reorderSeen += 1;
}

/** RFC 2883 4: the first block reports what came twice. True if it does. */
function isDsack(segment: Segment): bool {
  const start = segment.sackStart0;
  const end = segment.sackEnd0;
  if (seqBefore(start, segment.ack)) return true;
  if (segment.sackBlocks < 2) return false;
  return !seqAfter(end, segment.sackEnd1) && !seqBefore(start, segment.sackStart1);
}

function takeDsack(tcb: Tcb, segment: Segment): void {
  segment.hasDsack = 1;
  tcb.dsacksReceived += 1;
  tcb.flags |= TcpFlag.DsackSeen;
  const end = segment.sackEnd0;
  // What was sent again in the last recovery lies between these two.
  const isSentAgain = seqAfter(end, tcb.undoMarker) && !seqAfter(end, tcb.highSeq);
  if (tcb.undoMarker != 0 && isSentAgain && tcb.undoRetrans > 0) tcb.undoRetrans -= 1;
}

/** Marks what the segment's SACK option says the peer has. */
export function takeSack(tcb: Tcb, segment: Segment): void {
  const blocks = segment.sackBlocks;
  if (blocks == 0) return;
  let first: u32 = 0;
  if (isDsack(segment)) {
    takeDsack(tcb, segment);
    first = 1;
  }
  for (let n = first; n < blocks; n++) takeBlock(tcb, segment, n);
}

function takeBlock(tcb: Tcb, segment: Segment, n: u32): void {
  const start = segment.sackStart(n);
  const end = segment.sackEnd(n);
  // A block that is not of this connection's data now is ignored.
  if (!seqAfter(end, start) || seqBeforeEq(end, tcb.sndUna) || seqAfter(end, tcb.sndNxt)) return;
  if (seqBefore(start, tcb.sndUna)) return;
  let link = tcb.sendHead;
  while (link != 0 && link != tcb.sendNext) {
    const frame = TcpFrame.of(link);
    if (seqAfterEq(frame.seq, end)) break;
    const isInside = seqAfterEq(frame.seq, start) && seqBeforeEq(frame.endSeq, end);
    if (isInside && !frame.is(FrameMark.Sacked)) {
      noteDelivered(tcb, segment, frame);
      clearMarks(tcb, frame);
      frame.marks |= FrameMark.Sacked;
      tcb.sackedOut += 1;
      segment.newlySacked += 1;
    }
    link = frame.next;
  }
  if (tcb.highestSacked == 0 || seqAfter(end, tcb.highestSacked)) tcb.highestSacked = end;
}
