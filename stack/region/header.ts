import { HEADER_BYTES, HEADER_OFFSET } from "../layout";

/** "exasock1" little-endian: written last by regionFormat, checked first by regionJoin. */
export const REGION_MAGIC: u64 = 0x316b636f73617865;

/** What the holder of the lock was doing, for whoever takes the lock over from the dead. */
export const enum Intent {
  None = 0,
  /** Posting frames: descriptors from intentIndex on were written to the fill ring. */
  Fill = 1,
  /** Queueing one frame on the transmit ring at intentIndex. */
  Transmit = 2,
}

/**
 * The region's first object. Everything but the lock is written with the lock held; readers
 * without it (status, the wait loop) use loadAcquire32 or tolerate a torn u64 counter.
 *
 *    0  geometry, constant after format
 *   64  the lock, and what changes with nearly every message: whoever has the lock has its line
 *  128  hot state of the stack
 *  256  orphan recovery
 *  320  counters
 */
@final
@unmanaged
export class RegionHeader {
  magic: u64;
  buildHash: u64;
  regionBytes: u64;
  frameBytes: u32;
  /** log2(frameBytes) */
  frameShift: u32;
  frameCount: u32;
  /** Stack of free frame indices, u32 each. */
  freeListOffset: u32;
  frameMetaOffset: u32;
  framePoolOffset: u32;
  /** Starts of the tables: variables, so that the addresses of fields need no arithmetic. */
  socketsOffset: u32;
  destinationsOffset: u32;
  queuesOffset: u32;
  interfacesOffset: u32;

  /** 0 free; else client slot + 1, with bit 31 set when somebody sleeps on it (futex). */
  lock: u32;
  /** Connection that is being changed: what it would lose by a crash is lost by it alone. */
  changing: u32;
  /** The latest time that any caller has given: see region/clock.ts. */
  clockNanos: u64;
  /** udpReserve's frame index + 1, until udpSubmit or udpAbort. */
  reservedFrame: u32;
  /** Region offset of the reserved frame's Ethernet header; 0: it stays on this host. */
  reservedStart: u32;
  /** Datagrams that this host sent to itself, without a device or the kernel: stack/local/. */
  localDatagrams: u64;
  /** Bytes of connections within this host that needed no segments. */
  localStreamBytes: u64;
  /** Bytes at the offset that tcpReserve or tcpChunk returned. */
  chunkBytes: u32;
  /** 1 if tcpChunk stopped at the urgent mark: a call that receives ends there. */
  chunkEndsAtMark: u32;
  reserved1: u64;
  /** An Ends: whether exasockd hears of the ends of kernel sockets. Read without the lock. */
  ends: u32;
  reserved2: u32;

  /** Queues whose TX ring wants a sendto(), one bit each. */
  kickQueues: u64;
  /** Queues whose fill ring wants a wake-up. */
  rxKickQueues: u64;
  /** Interest bits of sleepers that something happened for since the last nextWakeup(). */
  wakeMask: u64;
  /** Counts calls of poll(): unchanged means that nobody pumps. */
  pollEpoch: u32;
  /** Waiters that sleep now, and those of them that sleep for sockets, not only in an epoll set. */
  sleepers: u32;
  maskSleepers: u32;
  /** Waiter that sleeps on the AF_XDP sockets, slot + 1; 0 nobody. */
  leader: u32;
  /** Waiter to wake so that it takes over as leader, slot + 1; 0 nobody. */
  successor: u32;
  /** 1 when exasockd has something to do (a destination to resolve). */
  daemonWanted: u32;
  /** Waiters whose doorbells are to be rung, slot + 1. */
  wakeHead: u32;
  /** Where nextWakeup() goes on. */
  wakeCursor: u32;
  /** Waiter slots above this were never used. */
  waiterHigh: u32;
  queueHigh: u32;
  socketHigh: u32;
  destinationHigh: u32;
  /** Newest destination that waits for exasockd, index + 1. */
  requestHead: u32;
  /** Destinations resolved in another epoch are out of date. */
  routeEpoch: u32;
  freeFrames: u32;
  /** Frames from this index on were never handed out; their memory is untouched. */
  freshFrames: u32;
  freeSocketHead: u32;
  /** Sends that met a full ring or buffer since completions were last looked at. */
  blockedSenders: u32;
  destinationHand: u32;
  /** Segments that this host sent to itself. */
  localSegments: u64;

  intent: u32;
  intentQueue: u32;
  /** Producer index of the ring before the operation. */
  intentIndex: u32;
  /** Fill: behind the last entry that was written. */
  intentEnd: u32;
  /** Changes when a queue starts or stops: programs fetch the AF_XDP sockets anew. */
  queueEpoch: u32;
  /** Until when the ICMP errors that were sent are paid for (link/icmp-output.ts). */
  icmpPaidNanos: u64;
  /** The IPv4 address that a wildcard socket's datagram was last for; 0 when none is known. */
  lastLocalLo: u64;
  /** 1 once a socket asked for arrival timestamps: whoever polls then takes the exact time. */
  timestampsWanted: u32;
  /** Start of the table of TCP control blocks. */
  tcbsOffset: u32;
  /** Counts sockets created: orders them, and tells reused slots apart. */
  socketSequence: u64;

  /** Secret of sequence numbers, cookies and timestamps (RFC 6528), from exasockd. */
  secret0: u64;
  secret1: u64;
  /** When a timer is due, CLOCK_MONOTONIC ns; all ones: none runs. Read without the lock. */
  nextTimerNanos: u64;
  /** Tick of the timer wheel up to which everything was done. */
  wheelTick: u64;
  /** First and last connection with something to send (tcp/pending.ts). */
  pendingHead: u32;
  pendingTail: u32;
  portHigh: u32;
  freePortHead: u32;
  timeWaits: u32;
  /** Connections that wait for a way to their peer. */
  routeWaits: u32;
  /** Connections in the wheel. */
  wheelCount: u32;
  /** net.ipv4.tcp_ecn: 0 never, 1 always, 2 when the peer asks. */
  ecnMode: u32;
  /** Epoll sets, items and references above these were never used; those that are free again. */
  setHigh: u32;
  itemHigh: u32;
  referenceHigh: u32;
  freeSetHead: u32;
  freeItemHead: u32;
  freeReferenceHead: u32;
  tcpReceiveBufferBytes: u32;
  tcpReceiveBufferBytesMax: u32;
  tcpSendBufferBytes: u32;
  tcpSendBufferBytesMax: u32;
  /** Challenge ACKs sent in the second that began at challengeNanos (RFC 5961 7). */
  challengeCount: u32;
  challengeNanos: u64;
  /** 1 once exasockd ended on purpose: programs go on by the kernel. Read without the lock. */
  closed: u32;
  reserved8: u32;
  /** Segments from this host to itself that were not handled yet, frame index + 1. */
  localHead: u32;
  localTail: u32;

  rxFrames: u64;
  rxDropDescriptor: u64;
  rxDropTruncated: u64;
  rxDropNotOurMac: u64;
  rxDropEtherType: u64;
  rxDropIpHeader: u64;
  rxDropIpChecksum: u64;
  rxDropFragment: u64;
  rxDropMartian: u64;
  rxDropProtocol: u64;
  rxDropUdpLength: u64;
  rxDropUdpChecksum: u64;
  rxDropNoSocket: u64;
  rxDropQueueFull: u64;
  rxDropNoFrames: u64;
  rxDatagrams: u64;
  rxDatagramBytes: u64;
  /** ICMP errors sent, and withheld because of the rate or for want of room. */
  txIcmpErrors: u64;
  txIcmpLimited: u64;
  rxIcmpErrors: u64;
  rxIcmpIgnored: u64;
  txDatagrams: u64;
  txViaKernel: u64;
  txNoFrames: u64;
  txRingFull: u64;
  txBufferFull: u64;
  txDropDescriptor: u64;
  destinationRequests: u64;
  destinationsReplaced: u64;
  socketsCreated: u64;
  socketsDestroyed: u64;
  steeringFull: u64;
  wakeups: u64;
  recoveries: u64;
  recoveredFrames: u64;
  rxSegments: u64;
  txSegments: u64;
  rxDropTcpHeader: u64;
  rxDropTcpChecksum: u64;
  rxDropTcpNoFrames: u64;
  rxDropTcpWindow: u64;
  rxDropTcpPaws: u64;
  rxOutOfOrder: u64;
  rxCoalesced: u64;
  txRetransmits: u64;
  txResets: u64;
  rxResets: u64;
  txChallenges: u64;
  tcpTimeouts: u64;
  tcpActiveOpens: u64;
  tcpPassiveOpens: u64;
  tcpSynCookiesSent: u64;
  tcpSynCookiesRight: u64;
  tcpSynCookiesWrong: u64;
  tcpListenDrops: u64;
  tcpTimeWaitOverflow: u64;
  tcpAborts: u64;
  /** Connections that were being changed by somebody who died, and were put in order. */
  tcpMended: u64;

  static get(): RegionHeader {
    return changetype<RegionHeader>(<usize>HEADER_OFFSET);
  }
}

/** Region offset of the lock word, for the host. */
export const LOCK_OFFSET: u32 = HEADER_OFFSET + 64;

export function checkHeaderLayout(): void {
  if (offsetof<RegionHeader>("lock") != 64) ERROR("RegionHeader.lock moved");
  if (offsetof<RegionHeader>("kickQueues") != 128) ERROR("RegionHeader.kickQueues moved");
  if (offsetof<RegionHeader>() > HEADER_BYTES) ERROR("RegionHeader is larger than its page");
}
