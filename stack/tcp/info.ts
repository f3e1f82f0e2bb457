// What TCP_INFO reports: struct tcp_info of <linux/tcp.h>, with Linux's units.

import { TCP_INFO_BYTES, TCP_INFO_OFFSET } from "../layout";
import { syncReceived } from "../local/stream";
import { Tcb, TcpFlag, TcpState } from "./tcb";
import { TIMESTAMPS_OPTION_BYTES } from "../wire/tcp";

const NANOS_PER_MICRO: u64 = 1000;
const NANOS_PER_MILLI: u64 = 1000000;

/** TCPI_OPT_ bits. */
const OPTION_TIMESTAMPS: u32 = 1;
const OPTION_SACK: u32 = 2;
const OPTION_WSCALE: u32 = 4;
const OPTION_ECN: u32 = 8;
const OPTION_ECN_SEEN: u32 = 16;

/** Behind tcpi_total_rto_time, the last field of Linux 6.7 and later. */
const INFO_BYTES: u32 = 248;
/** "Not limited", and "no sample yet". */
const NO_RATE: u64 = 0xffffffffffffffff;
const NO_SAMPLE: u32 = 0xffffffff;

/** Times are in microseconds where the name of the field in Linux does not say last_. */
@final
@unmanaged
export class TcpInfo {
  state: u8;
  congestionState: u8;
  retransmits: u8;
  probes: u8;
  backoff: u8;
  options: u8;
  /** Ours for sending in the low half, for receiving in the high half. */
  windowScales: u8;
  /** delivery_rate_app_limited, fastopen_client_fail. */
  bits: u8;
  rto: u32;
  ato: u32;
  sndMss: u32;
  rcvMss: u32;
  unacked: u32;
  sacked: u32;
  lost: u32;
  retrans: u32;
  fackets: u32;
  lastDataSentMillis: u32;
  lastAckSentMillis: u32;
  lastDataReceivedMillis: u32;
  lastAckReceivedMillis: u32;
  pathMtu: u32;
  rcvSsthresh: u32;
  rtt: u32;
  rttvar: u32;
  sndSsthresh: u32;
  sndCwnd: u32;
  advMss: u32;
  reordering: u32;
  rcvRtt: u32;
  rcvSpace: u32;
  totalRetrans: u32;
  pacingRate: u64;
  maxPacingRate: u64;
  bytesAcked: u64;
  bytesReceived: u64;
  segsOut: u32;
  segsIn: u32;
  notSentBytes: u32;
  minRtt: u32;
  dataSegsIn: u32;
  dataSegsOut: u32;
  deliveryRate: u64;
  busyTime: u64;
  rwndLimited: u64;
  sndbufLimited: u64;
  delivered: u32;
  deliveredCe: u32;
  bytesSent: u64;
  bytesRetrans: u64;
  dsackDups: u32;
  reordSeen: u32;
  rcvOooPack: u32;
  sndWnd: u32;
  rcvWnd: u32;
  rehash: u32;
  totalRto: u16;
  totalRtoRecoveries: u16;
  totalRtoTime: u32;
}

/** Linux's numbers of the states. */
function linuxState(state: u32): u32 {
  switch (state) {
    case TcpState.Established:
      return 1;
    case TcpState.SynSent:
      return 2;
    case TcpState.SynReceived:
      return 3;
    case TcpState.FinWait1:
      return 4;
    case TcpState.FinWait2:
      return 5;
    case TcpState.TimeWait:
      return 6;
    case TcpState.CloseWait:
      return 8;
    case TcpState.LastAck:
      return 9;
    case TcpState.Listen:
      return 10;
    case TcpState.Closing:
      return 11;
    default:
      return 7;
  }
}

function micros(nanos: u64): u32 {
  return <u32>(nanos / NANOS_PER_MICRO);
}

/** Milliseconds from then until now; Linux, too, takes the start of the clock for "never". */
function millisSince(then: u64, now: u64): u32 {
  return <u32>((now - then) / NANOS_PER_MILLI);
}

/** Writes the connection's figures; their region offset. What is not measured is 0. */
export function fillTcpInfo(index: u32, now: u64): u32 {
  const tcb = Tcb.at(index);
  if (tcb.localPeer != 0) syncReceived(index, tcb);
  memory.fill(<usize>TCP_INFO_OFFSET, 0, <usize>INFO_BYTES);
  const info = changetype<TcpInfo>(<usize>TCP_INFO_OFFSET);
  info.state = <u8>linuxState(<u32>tcb.state);
  info.pacingRate = NO_RATE;
  info.maxPacingRate = NO_RATE;
  info.reordering = tcb.reordering;
  info.sndCwnd = tcb.cwnd;
  if (tcb.state == <u8>TcpState.Listen) {
    info.unacked = tcb.acceptCount;
    info.sacked = tcb.backlog;
    return TCP_INFO_OFFSET;
  }
  fillAgreement(info, tcb);
  fillSender(info, tcb, now);
  fillReceiver(info, tcb, now);
  fillCounters(info, tcb);
  return TCP_INFO_OFFSET;
}

/** What the two ends agreed upon. */
function fillAgreement(info: TcpInfo, tcb: Tcb): void {
  let options: u32 = 0;
  if (tcb.has(TcpFlag.Timestamps)) options |= OPTION_TIMESTAMPS;
  if (tcb.has(TcpFlag.SackPermitted)) options |= OPTION_SACK;
  if (tcb.has(TcpFlag.WindowScale)) options |= OPTION_WSCALE;
  if (tcb.has(TcpFlag.Ecn)) options |= OPTION_ECN;
  if (tcb.deliveredCe > 0 || tcb.has(TcpFlag.EcnEcho)) options |= OPTION_ECN_SEEN;
  info.options = <u8>options;
  info.windowScales = <u8>(<u32>tcb.sndWscale | ((<u32>tcb.rcvWscale) << 4));
  info.pathMtu = tcb.pathMtu;
  // Linux counts the options of every segment as part of the header.
  const optionBytes = tcb.has(TcpFlag.Timestamps) ? TIMESTAMPS_OPTION_BYTES : 0;
  info.advMss = tcb.advMss - min<u32>(optionBytes, tcb.advMss);
}

function fillSender(info: TcpInfo, tcb: Tcb, now: u64): void {
  info.congestionState = tcb.congestionState;
  info.retransmits = tcb.retransmits;
  info.probes = tcb.probesOut;
  info.backoff = tcb.backoff;
  info.rto = micros(tcb.rtoNanos);
  info.sndMss = tcb.sndMss;
  info.unacked = tcb.packetsOut;
  info.sacked = tcb.sackedOut;
  info.lost = tcb.lostOut;
  info.retrans = tcb.retransOut;
  info.lastDataSentMillis = millisSince(tcb.lastDataSentNanos, now);
  info.rtt = micros(tcb.srttNanos);
  info.rttvar = micros(tcb.rttvarNanos);
  info.minRtt = tcb.minRttNanos == 0 ? NO_SAMPLE : micros(tcb.minRttNanos);
  info.sndSsthresh = tcb.ssthresh;
  const unsent = <i32>(tcb.writeSeq - tcb.sndNxt);
  info.notSentBytes = <u32>max<i32>(unsent, 0);
  info.sndWnd = tcb.sndWnd;
}

function fillReceiver(info: TcpInfo, tcb: Tcb, now: u64): void {
  info.ato = micros(tcb.ackTimeoutNanos);
  info.rcvMss = tcb.rcvMss;
  info.lastDataReceivedMillis = millisSince(tcb.lastDataReceivedNanos, now);
  info.lastAckReceivedMillis = millisSince(tcb.lastAckReceivedNanos, now);
  info.rcvSsthresh = tcb.rcvSsthresh;
  info.rcvRtt = micros(tcb.rcvRttNanos);
  info.rcvSpace = tcb.rcvSpace;
  const offered = <i32>(tcb.rcvAdv - tcb.rcvNxt);
  info.rcvWnd = <u32>max<i32>(offered, 0);
}

function fillCounters(info: TcpInfo, tcb: Tcb): void {
  info.totalRetrans = tcb.totalRetransmits;
  info.bytesAcked = tcb.bytesAcked;
  info.bytesReceived = tcb.bytesReceived;
  info.segsOut = tcb.segmentsOut;
  info.segsIn = tcb.segmentsIn;
  info.dataSegsIn = tcb.dataSegmentsIn;
  info.dataSegsOut = tcb.dataSegmentsOut;
  info.delivered = tcb.delivered;
  info.deliveredCe = tcb.deliveredCe;
  info.bytesSent = tcb.bytesSent;
  info.bytesRetrans = tcb.bytesRetransmitted;
  info.dsackDups = tcb.dsacksReceived;
  info.reordSeen = tcb.reorderSeen;
  info.rcvOooPack = tcb.oooReceived;
  info.totalRto = <u16>min<u32>(tcb.timeouts, 0xffff);
}

export function checkTcpInfoLayout(): void {
  if (offsetof<TcpInfo>("rto") != 8) ERROR("TcpInfo.rto moved");
  if (offsetof<TcpInfo>("unacked") != 24) ERROR("TcpInfo.unacked moved");
  if (offsetof<TcpInfo>("pathMtu") != 60) ERROR("TcpInfo.pathMtu moved");
  if (offsetof<TcpInfo>("pacingRate") != 104) ERROR("TcpInfo.pacingRate moved");
  if (offsetof<TcpInfo>("deliveryRate") != 160) ERROR("TcpInfo.deliveryRate moved");
  if (offsetof<TcpInfo>("bytesSent") != 200) ERROR("TcpInfo.bytesSent moved");
  if (offsetof<TcpInfo>("totalRto") != 240) ERROR("TcpInfo.totalRto moved");
  if (offsetof<TcpInfo>() != INFO_BYTES) ERROR("TcpInfo is not as long as Linux's");
  if (INFO_BYTES > TCP_INFO_BYTES) ERROR("TcpInfo is larger than its area");
}
