// The transmission control block, RFC 9293 3.3.1: what a TCP socket has beside its Socket record of
// the same index. Fields are written with the lock held; those that are read without it say so.

import { TCB_BYTES } from "../layout";
import { RegionHeader } from "../region/header";

/** RFC 9293 3.3.2. Listen and Closed sockets have a Tcb, too. */
export const enum TcpState {
  Closed = 0,
  Listen = 1,
  SynSent = 2,
  SynReceived = 3,
  Established = 4,
  FinWait1 = 5,
  FinWait2 = 6,
  CloseWait = 7,
  Closing = 8,
  LastAck = 9,
  TimeWait = 10,
}

/** Bits of Tcb.flags. */
export const enum TcpFlag {
  /** Negotiated: RFC 2018, RFC 7323 (both parts), RFC 3168. */
  SackPermitted = 1,
  Timestamps = 2,
  WindowScale = 4,
  Ecn = 8,
  /** TCP_NODELAY, TCP_CORK, SO_OOBINLINE, SO_KEEPALIVE. */
  NoDelay = 16,
  Cork = 32,
  OobInline = 64,
  KeepAlive = 128,
  /** A congestion mark was received, and is echoed until the peer reacts. */
  EcnEcho = 256,
  /** The window was reduced, and the peer is told so with the next data. */
  EcnReduced = 512,
  /** No program holds it any more: the stack finishes the connection by itself. */
  Orphan = 1024,
  /** The peer's FIN is in sequence; what is in the queue is all there is. Read without the lock. */
  PeerClosed = 2048,
  /** shutdown(2) for reading, for writing. */
  ShutReceive = 4096,
  ShutSend = 8192,
  /** The FIN was sent at least once; it is at finSeq. */
  FinSent = 16384,
  /** In the list of connections that have something to send (tcp/pending.ts). */
  OutputPending = 32768,
  /** An acknowledgment is to be sent at the next opportunity. */
  AckNow = 65536,
  /** The route was looked up without a source address: the kernel socket had none. */
  AnySource = 131072,
  /** It was made from a SYN and waits to be accepted (or in SynReceived). */
  Embryo = 262144,
  /** Waits in the listener's accept queue. */
  InAcceptQueue = 524288,
  /** Something is to be sent, but there is no way there yet. */
  RouteWait = 1048576,
  /** SO_RCVBUF / SO_SNDBUF were set by the program: no automatic tuning. */
  ReceiveBufferLocked = 2097152,
  SendBufferLocked = 4194304,
  /** The congestion window, not the program, limited what was sent (RFC 7661). */
  CwndLimited = 8388608,
  /** RACK has seen reordering; D-SACK arrived in this round. */
  ReorderingSeen = 16777216,
  DsackSeen = 33554432,
  /** A tail loss probe is out (RFC 8985 7). */
  ProbeOut = 67108864,
  /** Interactive: acknowledgments may wait for data to go with them. */
  PingPong = 134217728,
  /** An urgent byte was announced, at rcvUrg. */
  UrgentValid = 268435456,
  /** The urgent byte was delivered, or skipped. */
  UrgentRead = 536870912,
  /** There is urgent data to announce to the peer (sndUp). */
  UrgentSend = 1073741824,
}

/**
 * So many answers soon after data make a connection interactive: acknowledgments wait for the next.
 * Linux's net.ipv4.tcp_pingpong_thresh.
 */
export const PING_PONG: u8 = 1;

/** What the shared retransmission timer is for. */
export const enum TimerKind {
  None = 0,
  Retransmit = 1,
  LossProbe = 2,
  Reorder = 3,
  WindowProbe = 4,
}

/** Congestion state, as Linux's tcp_ca_state. */
export const enum CongestionState {
  Open = 0,
  Disorder = 1,
  /** Window reduced for ECN. */
  Reduced = 2,
  Recovery = 3,
  Loss = 4,
}

/** TCP_CONGESTION. */
export const enum CongestionControl {
  Cubic = 0,
  Reno = 1,
}

/**
 * Sequence numbers are u32 and compared through base/seq.ts only. Queues of frames are chains of
 * frame index + 1 through FrameMeta.next; counts of segments are counts of frames.
 *
 *     0 sequence space   64 send queue   128 timers   192 round trip, RACK   256 congestion
 *   384 receive side     512 options     576 lists    640 statistics
 */
@final
@unmanaged
export class Tcb {
  /** Next sequence number expected; everything before it was received. Read without the lock. */
  rcvNxt: u32;
  /** Oldest byte that the program has not read. */
  copiedSeq: u32;
  /** Right edge of the window that was advertised last. */
  rcvAdv: u32;
  /** ACK number sent last. */
  lastAckSent: u32;
  sndUna: u32;
  /** Next to be sent for the first time. */
  sndNxt: u32;
  /** Behind the last byte in the send queue. */
  writeSeq: u32;
  /** Peer's window in bytes, and the segment that set it. */
  sndWnd: u32;
  sndWl1: u32;
  sndWl2: u32;
  iss: u32;
  irs: u32;
  /** TcpFlag bits. Read without the lock. */
  flags: u32;
  /** Largest window that the peer ever advertised. */
  maxWindow: u32;
  /** A TcpState. Read without the lock. */
  state: u8;
  sndWscale: u8;
  rcvWscale: u8;
  /** A CongestionState. */
  congestionState: u8;
  /** Sequence number of our FIN, when FinSent. */
  finSeq: u32;

  /** Unacknowledged and unsent frames. */
  sendHead: u32;
  sendTail: u32;
  /** First frame that was never sent. */
  sendNext: u32;
  /** Frames in the queue, and their bytes (read without the lock: SIOCOUTQ). */
  sendFrames: u32;
  sendQueuedBytes: u32;
  /** Frames between sndUna and sndNxt; of these SACKed, presumed lost, retransmitted. */
  packetsOut: u32;
  sackedOut: u32;
  lostOut: u32;
  retransOut: u32;
  /** Payload of a full segment, options taken off. */
  sndMss: u32;
  /** What the peer's MSS option said; what ours says. */
  peerMss: u32;
  advMss: u32;
  /** TCP_MAXSEG, 0 unset. */
  userMss: u32;
  /** Path MTU that sndMss was computed from. */
  pathMtu: u32;
  /** Peer's urgent pointer as we send it: behind the urgent byte. */
  sndUp: u32;
  /** Bytes of unsent data above which the socket is not writable (TCP_NOTSENT_LOWAT). */
  notSentLowat: u32;

  /** CLOCK_MONOTONIC ns; 0 not running. */
  retransmitAt: u64;
  delackAt: u64;
  /** Keepalive; FIN-WAIT-2 and TIME-WAIT of orphans; SYN-ACK give-up. */
  lingerAt: u64;
  /** When the timer wheel looks at this connection next: never later than the first of the above. */
  wheelAt: u64;
  /** Chain of its slot in the wheel, index; and the slot + 1, 0 when it is in none. */
  wheelNext: u32;
  wheelPrev: u32;
  wheelSlot: u32;
  /** A TimerKind. */
  timerKind: u8;
  /** Exponent of the retransmission timer's backoff. */
  backoff: u8;
  /** Timeouts in a row without progress; window probes and keepalives unanswered. */
  retransmits: u8;
  probesOut: u8;
  /** First timeout in this row, for TCP_USER_TIMEOUT and the give-up (RFC 1122 4.2.3.5). */
  retransmitsSinceNanos: u64;
  /** When data or an acknowledgment came last, for keepalive. */
  lastReceivedNanos: u64;

  /** RFC 6298, in nanoseconds: smoothed, variance, timeout. */
  srttNanos: u64;
  rttvarNanos: u64;
  rtoNanos: u64;
  /** Minimum over the last minutes, and since when. */
  minRttNanos: u64;
  minRttAtNanos: u64;
  /** RFC 8985: send time and end of the most recently sent segment that was delivered. */
  rackSentNanos: u64;
  rackRttNanos: u64;
  rackEndSeq: u32;
  /** Multiplier of the reordering window, and rounds for which it is kept. */
  reoWindowSteps: u8;
  reoWindowPersist: u8;
  /** 1 when the loss probe that is out was a retransmission. */
  probeRepeated: u8;
  /** Somebody met a full send buffer, and is told when there is room (Linux's SOCK_NOSPACE). */
  noSpace: u8;

  /** In segments, as Linux counts them. */
  cwnd: u32;
  ssthresh: u32;
  /** Acknowledgments counted towards the next increase. */
  cwndCount: u32;
  /** Largest cwnd in use lately, and when. */
  cwndUsed: u32;
  cwndStampNanos: u64;
  /** cwnd and ssthresh before the reduction that may be undone. */
  priorCwnd: u32;
  priorSsthresh: u32;
  /** sndNxt when recovery began: it ends when this is acknowledged. */
  highSeq: u32;
  /** Where a reduction that may be undone began; 0 nothing to undo. */
  undoMarker: u32;
  /** Retransmissions that no D-SACK has accounted for yet. */
  undoRetrans: u32;
  /** RFC 6937: delivered and sent during recovery. */
  prrDelivered: u32;
  prrOut: u32;
  /** Degree of reordering, in segments. */
  reordering: u32;
  /** RFC 9438: window before the last reduction, time of the epoch, K, and the Reno estimate. */
  cubicEpochNanos: u64;
  cubicWMax: u32;
  cubicOrigin: u32;
  cubicK: u32;
  cubicRenoCwnd: u32;
  cubicAckCount: u32;
  cubicCount: u32;
  /** The other end's index while both are in the region and know it (local/stream.ts). */
  localPeer: u32;
  /** Tail loss probe: sequence it covers (RFC 8985 7.3). */
  probeHighSeq: u32;
  cubicLastNanos: u64;
  /** A CongestionControl. */
  congestionControl: u8;
  frtoStep: u8;
  reserved1: u16;

  /** Frames received out of order, by sequence number. */
  oooHead: u32;
  oooTail: u32;
  oooFrames: u32;
  reserved3: u32;
  /** Limit of what is held: grows with need up to the configured maximum. */
  rcvBuf: u32;
  /** Largest window to advertise (TCP_WINDOW_CLAMP, scale). */
  windowClamp: u32;
  /** Slow start of the advertised window. */
  rcvSsthresh: u32;
  /** Largest payload seen lately: what a full segment of the peer is. */
  rcvMss: u32;
  /** Receive-buffer tuning: copied up to where, since when, bytes per round trip. */
  rcvSpaceSeq: u32;
  rcvSpace: u32;
  rcvSpaceNanos: u64;
  /** Round trip as the receiver measures it, and its sample in progress. */
  rcvRttNanos: u64;
  rcvRttStartNanos: u64;
  rcvRttSeq: u32;
  /** RFC 2018: newest blocks first; sackBlocks of them. RFC 2883: block to report once. */
  sackStart0: u32;
  sackEnd0: u32;
  sackStart1: u32;
  sackEnd1: u32;
  sackStart2: u32;
  sackEnd2: u32;
  sackStart3: u32;
  sackEnd3: u32;
  dsackStart: u32;
  dsackEnd: u32;
  sackBlocks: u8;
  hasDsack: u8;
  /** Acknowledgments still to be sent at once (TCP_QUICKACK; a new connection). */
  quickAcks: u8;
  /** Interactive turns seen, up to the threshold of ping-pong mode. */
  pingPong: u8;
  /** RFC 7323: TS.Recent and its age; offset of our clock; our clock at the last segment. */
  tsRecent: u32;
  tsRecentNanos: u64;
  tsOffset: u32;
  /** Urgent byte's sequence number, when UrgentValid. */
  rcvUrg: u32;
  /** Delayed acknowledgment's timeout, adapted to the peer's pace. */
  ackTimeoutNanos: u64;

  /** TCP_KEEPIDLE and TCP_KEEPINTVL in seconds, TCP_KEEPCNT, TCP_SYNCNT. */
  keepIdleSeconds: u32;
  keepIntervalSeconds: u32;
  keepCount: u32;
  synCount: u32;
  userTimeoutMillis: u32;
  /** TCP_LINGER2 in seconds (negative: none); SO_LINGER in seconds, -1 off. */
  linger2Seconds: i32;
  lingerSeconds: i32;
  /** TCP_DEFER_ACCEPT in seconds. */
  deferAcceptSeconds: u32;
  /** SO_RCVLOWAT. */
  receiveLowat: u32;
  /** Errors that ICMP reported, for a connection that times out. */
  softError: u32;
  lastOowAckNanos: u64;

  /** Chain of the connection table, index. */
  chainNext: u32;
  /** Bucket of its local port (tcp/port.ts), index + 1. */
  port: u32;
  /** Lists: output pending; waiting for a route. */
  outputNext: u32;
  /** Of an embryo: its listener and the listener's Socket.sequence. Of a listener: its queue. */
  listener: u32;
  listenerSequence: u64;
  acceptHead: u32;
  acceptTail: u32;
  acceptNext: u32;
  /** Connections ready to be accepted. Read without the lock. */
  acceptCount: u32;
  synQueueCount: u32;
  backlog: u32;
  /** When SYN cookies were last sent: their answers are believed for a while. */
  cookiesSentNanos: u64;

  bytesAcked: u64;
  bytesReceived: u64;
  bytesSent: u64;
  bytesRetransmitted: u64;
  segmentsIn: u32;
  segmentsOut: u32;
  dataSegmentsIn: u32;
  dataSegmentsOut: u32;
  totalRetransmits: u32;
  delivered: u32;
  deliveredCe: u32;
  dsacksReceived: u32;
  reorderSeen: u32;
  oooReceived: u32;
  timeouts: u32;
  zeroWindows: u32;
  startedNanos: u64;
  lastDataSentNanos: u64;
  lastDataReceivedNanos: u64;
  lastAckReceivedNanos: u64;
  /** Behind the last segment shorter than sndMss (Minshall's variant of Nagle's algorithm). */
  sndSml: u32;
  /** Duplicate acknowledgments in a row, without SACK (RFC 5681 3.2). */
  dupAcks: u32;
  /** Our timestamp in the first retransmission of this recovery, for Eifel (RFC 3522); 0 none. */
  retransStamp: u32;
  /** Highest sequence number that was SACKed. */
  highestSacked: u32;
  /** Where the flight ends whose largest size maxPacketsOut is. */
  cwndUsageSeq: u32;
  maxPacketsOut: u32;
  reserved2: u64;

  static at(index: u32): Tcb {
    return changetype<Tcb>(<usize>(RegionHeader.get().tcbsOffset + index * TCB_BYTES));
  }

  has(flag: TcpFlag): bool {
    return (this.flags & flag) != 0;
  }
}

export function checkTcbLayout(): void {
  if (offsetof<Tcb>("sendHead") != 64) ERROR("Tcb.sendHead moved");
  if (offsetof<Tcb>() > TCB_BYTES) ERROR("Tcb is larger than its slot");
}
