// Answers to segments that are for no connection: a reset (RFC 9293 3.10.7.1), or a SYN-ACK whose
// sequence number is a cookie (RFC 4987 3.6). They are made from the segment alone.

import { mappedToNet } from "../base/address";
import { DEFAULT_TTL, RESERVED_FRAMES } from "../config";
import { isLocal } from "../link/steering";
import { transmit, transmitRoom } from "../link/queue";
import { sendLocal } from "../local/segments";
import { availableFrames, FrameMeta, frameOffset } from "../region/frames";
import { RegionHeader } from "../region/header";
import { ETHERNET_HEADER_BYTES, EthernetHeader } from "../wire/ethernet";
import { IPV4_MIN_HEADER_BYTES } from "../wire/ipv4";
import { TCP_ACK, TCP_HEADER_BYTES, TCP_RST, TcpHeader } from "../wire/tcp";
import { newControlFrame, TcpFrame } from "./frame";
import { Segment } from "./segment";
import { seal, writeIpv4 } from "./transmit";

const LINK_AND_NETWORK_BYTES: u32 = ETHERNET_HEADER_BYTES + IPV4_MIN_HEADER_BYTES;
/** Where the Ethernet header lies in the frame of an answer. */
const START_OFFSET: u32 = 64;

/** Link of a frame for an answer to the segment, or 0: there is none, or nobody to answer as. */
function answerFrame(segment: Segment): u32 {
  // Answers must not take the frames that connections need.
  if (availableFrames() <= RESERVED_FRAMES) return 0;
  if (segment.isLocal != 0) return newControlFrame();
  if (!isLocal(0, segment.localLo) || transmitRoom(segment.queueSlot) == 0) return 0;
  return newControlFrame();
}

/** Region offset of the TCP header in an answer's frame. */
export function answerHeader(link: u32): u32 {
  return frameOffset(link - 1) + START_OFFSET + LINK_AND_NETWORK_BYTES;
}

/** Sends an answer whose TCP header and options are written; the way is the segment's, back. */
function sendAnswer(link: u32, segment: Segment, tcpBytes: u32): void {
  const tcpAt = <usize>answerHeader(link);
  const start = tcpAt - <usize>LINK_AND_NETWORK_BYTES;
  const sourceNet = mappedToNet(segment.localLo);
  const destinationNet = mappedToNet(segment.remoteLo);
  seal(changetype<TcpHeader>(tcpAt), tcpBytes, sourceNet, destinationNet);
  const ip = start + <usize>ETHERNET_HEADER_BYTES;
  store<u8>(ip, 0x45);
  writeIpv4(ip, DEFAULT_TTL, tcpBytes, sourceNet, destinationNet);
  const frame = TcpFrame.of(link);
  if (segment.isLocal != 0) {
    sendLocal(frame, <u32>ip, IPV4_MIN_HEADER_BYTES + tcpBytes);
    return;
  }
  const received = changetype<EthernetHeader>(<usize>(segment.ipOffset - ETHERNET_HEADER_BYTES));
  changetype<EthernetHeader>(start).writeReply(received);
  frame.interfaceSlot = <u8>segment.queueSlot;
  const meta = changetype<FrameMeta>(changetype<usize>(frame));
  transmit(segment.queueSlot, meta, <u32>start, LINK_AND_NETWORK_BYTES + tcpBytes);
  RegionHeader.get().txSegments += 1;
}

/** RFC 9293 3.5.2 group 1: a reset that the sender will believe. None for a reset. */
export function replyReset(): void {
  const segment = Segment.get();
  if (segment.has(TCP_RST)) return;
  const link = answerFrame(segment);
  if (link == 0) return;
  const hasAck = segment.has(TCP_ACK);
  const tcp = changetype<TcpHeader>(<usize>answerHeader(link));
  const flags = hasAck ? TCP_RST : TCP_RST | TCP_ACK;
  const seq = hasAck ? segment.ack : 0;
  const ack = hasAck ? 0 : segment.endSeq;
  tcp.write(segment.portsNet, seq, ack, TCP_HEADER_BYTES, flags, 0, 0);
  sendAnswer(link, segment, TCP_HEADER_BYTES);
  RegionHeader.get().txResets += 1;
}

/** A frame for a SYN-ACK that nothing remembers, or 0. */
export function cookieFrame(): u32 {
  return answerFrame(Segment.get());
}

/** Sends it, with `tcpBytes` of header and options at answerHeader(). */
export function sendCookie(link: u32, tcpBytes: u32): void {
  sendAnswer(link, Segment.get(), tcpBytes);
}
