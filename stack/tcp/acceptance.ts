// Whether a segment may touch the connection: RFC 9293 3.10.7.4 first to fourth, PAWS (RFC 7323 5),
// and what RFC 5961 asks for against forged segments.

import { seqAfter, seqBefore } from "../base/seq";
import { sipHash2 } from "../base/siphash";
import { RegionHeader } from "../region/header";
import { TCP_RST, TCP_SYN } from "../wire/tcp";
import { noteDuplicate } from "./sack-blocks";
import { addPending } from "./pending";
import { quickAck } from "./receive";
import { Segment } from "./segment";
import { fail, finish } from "./state";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { sendAck } from "./control";

const EPIPE: u32 = 32;
const ECONNRESET: u32 = 104;
/** Linux's net.ipv4.tcp_invalid_ratelimit. */
const INVALID_ACK_NANOS: u64 = 500000000;
/** RFC 5961 7: challenges of the whole host in a second. */
const CHALLENGES_PER_SECOND: u32 = 1000;
/** By so many at most, fewer: a mask. */
const CHALLENGES_VARIED: u32 = 511;
const SECOND_NANOS: u64 = 1000000000;
/** RFC 7323 5.5: after 24 days the peer's clock may have wrapped. */
const PAWS_NANOS: u64 = 2073600000000000;
const QUICK_ACKS: u32 = 16;

/** True if the segment passes; otherwise what has to be said was said. */
export function isAcceptable(index: u32, tcb: Tcb, segment: Segment): bool {
  const header = RegionHeader.get();
  if (isOldTimestamp(tcb, segment) && !segment.has(TCP_RST)) {
    header.rxDropTcpPaws += 1;
    answerOutOfWindow(index, tcb, segment);
    return false;
  }
  if (isInSequence(tcb, segment)) return true;
  header.rxDropTcpWindow += 1;
  if (segment.has(TCP_RST)) return false;
  if (segment.has(TCP_SYN)) {
    challenge(index, tcb, segment);
    return false;
  }
  if (seqBefore(segment.endSeq, tcb.lastAckSent) && segment.payloadBytes != 0) {
    if (tcb.has(TcpFlag.SackPermitted)) noteDuplicate(tcb, segment.seq, segment.endSeq);
    quickAck(tcb, QUICK_ACKS);
  }
  answerOutOfWindow(index, tcb, segment);
  return false;
}

/** RFC 7323 5.3 R1. */
function isOldTimestamp(tcb: Tcb, segment: Segment): bool {
  if (!tcb.has(TcpFlag.Timestamps) || !segment.hasTimestamps) return false;
  if (<i32>(tcb.tsRecent - segment.tsVal) <= 0) return false;
  return segment.now - tcb.tsRecentNanos < PAWS_NANOS;
}

/** As Linux's tcp_sequence: some of it is in the window, or just before. */
function isInSequence(tcb: Tcb, segment: Segment): bool {
  const window: u32 = <i32>(tcb.rcvAdv - tcb.rcvNxt) < 0 ? 0 : tcb.rcvAdv - tcb.rcvNxt;
  return !seqBefore(segment.endSeq, tcb.lastAckSent) && !seqAfter(segment.seq, tcb.rcvNxt + window);
}

/** An acknowledgment for what is out of window; for bare ones at a bounded rate, against loops. */
export function answerOutOfWindow(index: u32, tcb: Tcb, segment: Segment): void {
  const hasData = segment.endSeq != segment.seq && !segment.has(TCP_SYN);
  if (!hasData) {
    const since = segment.now - tcb.lastOowAckNanos;
    if (tcb.lastOowAckNanos != 0 && since < INVALID_ACK_NANOS) return;
    tcb.lastOowAckNanos = segment.now;
  }
  tcb.flags |= TcpFlag.AckNow;
  addPending(index);
}

/** RFC 5961 3, 4, 5: an acknowledgment that tells a peer what the truth is, and a forger nothing. */
export function challenge(index: u32, tcb: Tcb, segment: Segment): void {
  const since = segment.now - tcb.lastOowAckNanos;
  if (tcb.lastOowAckNanos != 0 && since < INVALID_ACK_NANOS) return;
  const header = RegionHeader.get();
  if (segment.now - header.challengeNanos >= SECOND_NANOS) {
    header.challengeNanos = segment.now;
    // Not the same number in every second: it would tell others what somebody else was sent.
    header.challengeCount = <u32>sipHash2(segment.now, CHALLENGES_PER_SECOND) & CHALLENGES_VARIED;
  }
  if (header.challengeCount >= CHALLENGES_PER_SECOND) return;
  header.challengeCount += 1;
  header.txChallenges += 1;
  tcb.lastOowAckNanos = segment.now;
  sendAck(index, segment.now);
}

/** RFC 5961 3.2: believed only where the next byte is expected. */
export function takeReset(index: u32, tcb: Tcb, segment: Segment): void {
  if (segment.seq != tcb.rcvNxt && !isSackEdge(tcb, segment)) {
    challenge(index, tcb, segment);
    return;
  }
  reset(index);
}

/** As Linux: or behind what was received last, when something before that is missing. */
function isSackEdge(tcb: Tcb, segment: Segment): bool {
  if (tcb.sackBlocks == 0) return false;
  let edge = tcb.sackEnd0;
  if (tcb.sackBlocks > 1 && seqAfter(tcb.sackEnd1, edge)) edge = tcb.sackEnd1;
  if (tcb.sackBlocks > 2 && seqAfter(tcb.sackEnd2, edge)) edge = tcb.sackEnd2;
  if (tcb.sackBlocks > 3 && seqAfter(tcb.sackEnd3, edge)) edge = tcb.sackEnd3;
  return segment.seq == edge;
}

/** The peer has aborted the connection, RFC 9293 3.10.7.4 second. */
export function reset(index: u32): void {
  const tcb = Tcb.at(index);
  RegionHeader.get().rxResets += 1;
  const state = <u32>tcb.state;
  if (state == TcpState.SynReceived && tcb.has(TcpFlag.Embryo)) {
    tcb.flags |= TcpFlag.Orphan;
    finish(index);
    return;
  }
  fail(index, state == TcpState.CloseWait ? EPIPE : ECONNRESET);
}
