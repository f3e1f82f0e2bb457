// Segments without payload: acknowledgments, SYNs, resets, probes.

import { seqAfter } from "../base/seq";
import { Destination } from "../link/destination";
import { syncReceived } from "../local/stream";
import { frameOffset } from "../region/frames";
import { RegionHeader } from "../region/header";
import { Socket } from "../socket/socket";
import {
  OPTION_MSS,
  OPTION_NOP,
  OPTION_SACK_PERMITTED,
  OPTION_TIMESTAMPS,
  OPTION_WINDOW_SCALE,
  TCP_ACK,
  TCP_CWR,
  TCP_ECE,
  TCP_HEADER_BYTES,
  TCP_RST,
  TCP_SYN,
  TcpHeader,
} from "../wire/tcp";
import { newControlFrame, TcpFrame } from "./frame";
import { usableRoute, waitForRoute } from "./route";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { roomyQueue, sealAndSend, sendSegment, timestampNow } from "./transmit";

const MAX_UNSCALED_WINDOW: u32 = 65535;
/** Where the TCP header of a segment without payload lies in its frame: room for all in front. */
const CONTROL_HEADER_OFFSET: u32 = 64;

/** The destination if a segment can be queued now, else 0. */
function way(socket: Socket, tcb: Tcb): u32 {
  const at = usableRoute(socket, tcb);
  if (at == 0) {
    waitForRoute(tcb);
    return 0;
  }
  return roomyQueue(Destination.at(at - 1)) == 0 ? 0 : at;
}

/** Sends an empty segment with this sequence number. False: there was no way, frame or room. */
export function sendEmpty(index: u32, seq: u32, flags: u32, now: u64): bool {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  const at = way(socket, tcb);
  if (at == 0) return false;
  const link = newControlFrame();
  if (link == 0) return false;
  if (tcb.localPeer != 0) syncReceived(index, tcb);
  sendSegment(socket, tcb, Destination.at(at - 1), TcpFrame.of(link), seq, flags, now);
  return true;
}

/** An acknowledgment of everything in sequence. If it can't go now, the peer sends again. */
export function sendAck(index: u32, now: u64): bool {
  const tcb = Tcb.at(index);
  const sent = sendEmpty(index, tcb.sndNxt, 0, now);
  if (sent && tcb.quickAcks > 0) tcb.quickAcks -= 1;
  return sent;
}

/** RFC 9293 3.8.6.1, as Linux probes: a sequence number that the peer has makes it answer. */
export function sendProbe(index: u32, now: u64): bool {
  return sendEmpty(index, Tcb.at(index).sndUna - 1, 0, now);
}

/** Aborts: RFC 9293 3.10.5. The connection's state is the caller's business. */
export function sendReset(index: u32, now: u64): void {
  const tcb = Tcb.at(index);
  if (sendEmpty(index, tcb.sndNxt, TCP_RST, now)) RegionHeader.get().txResets += 1;
}

function writeMss(at: usize, mss: u32): void {
  store<u32>(at, OPTION_MSS | (4 << 8) | ((bswap<u32>(mss) >> 16) << 16));
}

/** The options of a SYN or SYN-ACK in the order that Linux writes them; their length. */
function writeSynOptions(tcb: Tcb, at: usize, now: u64, echo: u32): u32 {
  let to = at;
  writeMss(to, tcb.advMss);
  to += 4;
  const hasSack = tcb.has(TcpFlag.SackPermitted);
  if (tcb.has(TcpFlag.Timestamps)) {
    const pad = hasSack ? OPTION_SACK_PERMITTED | (2 << 8) : OPTION_NOP | (OPTION_NOP << 8);
    store<u32>(to, pad | (OPTION_TIMESTAMPS << 16) | (10 << 24));
    store<u32>(to, bswap<u32>(timestampNow(tcb, now)), 4);
    store<u32>(to, bswap<u32>(echo), 8);
    to += 12;
  } else if (hasSack) {
    const nops = OPTION_NOP | (OPTION_NOP << 8);
    store<u32>(to, nops | (OPTION_SACK_PERMITTED << 16) | (2 << 24));
    to += 4;
  }
  if (tcb.has(TcpFlag.WindowScale)) {
    const scale = <u32>tcb.rcvWscale;
    store<u32>(to, OPTION_NOP | (OPTION_WINDOW_SCALE << 8) | (3 << 16) | (scale << 24));
    to += 4;
  }
  return <u32>(to - at);
}

/** Sends our SYN, or SYN-ACK in SYN-RECEIVED. False: there was no way, frame or room. */
export function sendSyn(index: u32, now: u64): bool {
  const socket = Socket.at(index);
  const tcb = Tcb.at(index);
  const at = way(socket, tcb);
  if (at == 0) return false;
  const link = newControlFrame();
  if (link == 0) return false;
  const frame = TcpFrame.of(link);
  const tcpAt = <usize>(frameOffset(link - 1) + CONTROL_HEADER_OFFSET);
  const isAnswer = tcb.state == <u8>TcpState.SynReceived;
  const optionsAt = tcpAt + <usize>TCP_HEADER_BYTES;
  const optionBytes = writeSynOptions(tcb, optionsAt, now, isAnswer ? tcb.tsRecent : 0);
  const headerBytes = TCP_HEADER_BYTES + optionBytes;
  let flags = TCP_SYN;
  if (isAnswer) {
    flags |= TCP_ACK;
    if (tcb.has(TcpFlag.Ecn)) flags |= TCP_ECE;
  } else if (tcb.has(TcpFlag.Ecn)) {
    flags |= TCP_ECE | TCP_CWR;
  }
  // RFC 7323 2.2: the window of a SYN is never scaled.
  const window = min<u32>(tcb.rcvSsthresh, MAX_UNSCALED_WINDOW);
  const ack = isAnswer ? tcb.rcvNxt : 0;
  const tcp = changetype<TcpHeader>(tcpAt);
  tcp.write(socket.portsNet, tcb.iss, ack, headerBytes, flags, window, 0);
  if (isAnswer) {
    const edge = tcb.rcvNxt + window;
    if (seqAfter(edge, tcb.rcvAdv)) tcb.rcvAdv = edge;
    tcb.lastAckSent = tcb.rcvNxt;
  } else {
    tcb.rcvAdv = window;
  }
  sealAndSend(socket, Destination.at(at - 1), frame, tcp, headerBytes, <u32>socket.tos);
  tcb.segmentsOut += 1;
  return true;
}
