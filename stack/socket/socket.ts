import { MAX_SOCKETS } from "../config";
import { SOCKET_BYTES } from "../layout";
import { RegionHeader } from "../region/header";

export const enum SocketState {
  Free = 0,
  /** Known by its cookie; nothing is steered to it. */
  Created = 1,
  Bound = 2,
  Connected = 3,
  /** No longer accelerated: what is queued can be read, nothing new arrives. */
  Kernel = 4,
}

/** Bits of Socket.flags; each mirrors an option of the kernel socket. */
export const enum SocketFlag {
  ReuseAddress = 1,
  ReusePort = 2,
  Broadcast = 4,
  NonBlocking = 8,
  PacketInfo = 16,
  ReceiveTtl = 32,
  ReceiveTos = 64,
  Timestamp = 128,
  TimestampNanos = 256,
  /** Other processes may hold it: its last close is learnt from the kernel. */
  Shared = 512,
}

/** Options for socketSetOption; the first take 0 or 1, as the flag of the same name. */
export const enum SocketOption {
  ReuseAddress = 0,
  ReusePort = 1,
  Broadcast = 2,
  NonBlocking = 3,
  PacketInfo = 4,
  ReceiveTtl = 5,
  ReceiveTos = 6,
  Timestamp = 7,
  TimestampNanos = 8,
  Shared = 9,
  /** Time to live of unicast datagrams, 1..255. */
  Ttl = 16,
  /** Type of service, 0..255. */
  Tos = 17,
  /** Bytes, as getsockopt(SO_RCVBUF) reports them. */
  ReceiveBuffer = 18,
  /** Bytes, as getsockopt(SO_SNDBUF) reports them. */
  SendBuffer = 19,
}

/**
 * A socket that programs share. Its kernel twin is found by the cookie, and it by the twin.
 *
 *    0 identity and addresses   64 both queues   128 options   168 chains   192 the sender's own
 */
@final
@unmanaged
export class Socket {
  /** SO_COOKIE of the kernel socket; 0 marks a free slot. */
  cookie: u64;
  localHi: u64;
  localLo: u64;
  remoteHi: u64;
  remoteLo: u64;
  /** Order of creation; tells a reused slot apart. */
  sequence: u64;
  reserved2: u64;
  /** Datagrams that did not fit into the receive buffer. */
  drops: u64;

  /** Oldest queued frame, index + 1. */
  receiveHead: u32;
  receiveTail: u32;
  /** Datagrams in the queue; read without the lock. */
  receiveCount: u32;
  /** Charged to the receive buffer. */
  receiveBytes: u32;
  receiveBufferBytes: u32;
  /** Pending errno (positive); read without the lock. */
  error: u32;
  /** Ring of its items in epoll sets; 0 none. */
  items: u32;
  /** Of a connection: bytes in the receive queue, in sequence. Read without the lock: FIONREAD. */
  readableBytes: u32;

  sendBufferBytes: u32;
  /** Charged to the send buffer: frames that the kernel has not sent yet. */
  sendBytes: u32;
  /** Destination of the connected peer, or of the last datagram; index + 1, and its generation. */
  destination: u32;
  destinationGeneration: u32;
  /** Datagrams ever queued. */
  arrivals: u64;
  /** Of a connection within this host: charged bytes that it takes directly; 0 none. */
  localLimit: u32;
  /** A frame that came from this host, kept for what is sent next; index + 1. */
  spareFrame: u32;

  /** Read together by portsNet. */
  localPortNet: u16;
  remotePortNet: u16;
  /** IP protocol number. */
  protocol: u8;
  /** A SocketState. */
  state: u8;
  /** Read together by ttlAndTos. */
  ttl: u8;
  tos: u8;
  /** SocketFlag bits. */
  flags: u32;
  /** SO_BINDTODEVICE, kernel index; 0 any interface. */
  ifindex: u32;
  /** Client that created it. */
  client: u32;
  reserved1: u32;
  /** SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds; 0 for ever. Written by the shim. */
  receiveTimeoutNanos: u64;
  sendTimeoutNanos: u64;

  /** Chains of the demultiplexer and of the cookie table, index; 0 ends. */
  demuxNext: u32;
  cookieNext: u32;
  reserved3: u64;
  reserved4: u64;

  /** Datagrams sent: what only the sender writes has a cache line of its own. */
  sent: u64;
  sentViaKernel: u64;

  /** The IPv4 addresses of v4-mapped ones. */
  get localNet(): u32 {
    return load<u32>(changetype<usize>(this), offsetof<Socket>("localLo") + 4);
  }
  get remoteNet(): u32 {
    return load<u32>(changetype<usize>(this), offsetof<Socket>("remoteLo") + 4);
  }

  /** Both ports as a datagram that it sends has them: local in the lower, remote in the upper half. */
  get portsNet(): u32 {
    return load<u32>(changetype<usize>(this), offsetof<Socket>("localPortNet"));
  }

  get ttlAndTos(): u32 {
    return <u32>load<u16>(changetype<usize>(this), offsetof<Socket>("ttl"));
  }

  /** As Linux's __udp_enqueue_schedule_skb: one is let in while the buffer is not yet full. */
  get hasReceiveRoom(): bool {
    return this.receiveBytes <= this.receiveBufferBytes;
  }

  static at(index: u32): Socket {
    return changetype<Socket>(<usize>(RegionHeader.get().socketsOffset + index * SOCKET_BYTES));
  }
}

/** True for the index of a live socket; anything a program hands over is checked by this. */
export function isSocket(index: u32): bool {
  return index != 0 && index < MAX_SOCKETS && Socket.at(index).state != <u8>SocketState.Free;
}

export function checkSocketLayout(): void {
  if (offsetof<Socket>("receiveHead") != 64) ERROR("Socket.receiveHead moved");
  if (offsetof<Socket>("sendBufferBytes") != 96) ERROR("Socket.sendBufferBytes moved");
  if (offsetof<Socket>("localPortNet") != 128) ERROR("Socket.localPortNet moved");
  if (offsetof<Socket>("sent") != 192) ERROR("Socket.sent moved");
  if (offsetof<Socket>() > SOCKET_BYTES) ERROR("Socket is larger than its slot");
}
