// Every limit and size of the stack, with its unit in the name. What happens at each bound is
// written beside the code that enforces it, and tested.

/** Programs (processes) that share one region; slot 0 is exasockd. */
export const MAX_CLIENTS: u32 = 1024;
/** Threads that may sleep at the same time; slot 0 is exasockd's doorbell. */
export const MAX_WAITERS: u32 = 4096;
/** Epoll instances of all programs together; those beyond are the kernel's alone. */
export const MAX_EPOLL_SETS: u32 = 16384;
/** Sockets and inner sets in them; one more is ENOSPC (fs.epoll.max_user_watches). */
export const MAX_EPOLL_ITEMS: u32 = 262144;
/** Chains of the table of items; a power of two. */
export const EPOLL_BUCKETS: u32 = 65536;
/** Processes that have an instance, for all instances together. */
export const MAX_EPOLL_REFERENCES: u32 = 65536;
/** Children that have not joined yet, of processes that have instances. */
export const MAX_FORK_TICKETS: u32 = 4096;
/** Events that one epoll_wait gets from the stack; the rest stays ready. */
export const EPOLL_EVENTS_MAX: u32 = 1024;
export const MAX_INTERFACES: u32 = 32;
/** AF_XDP sockets of all interfaces together; one bit each in a kick mask. */
export const MAX_QUEUES: u32 = 64;
/** Accelerated sockets of all programs together; slot 0 is "no socket". */
export const MAX_SOCKETS: u32 = 65536;
/** Addresses of this host that packets are accepted for. */
export const MAX_ADDRESSES: u32 = 1024;
/** Cached destinations (route + neighbour); the oldest is replaced when all are used. */
export const MAX_DESTINATIONS: u32 = 16384;

/** Chains of the socket table; a power of two. */
export const DEMUX_BUCKETS: u32 = 65536;
/** Chains of the cookie table; a power of two. */
export const COOKIE_BUCKETS: u32 = 65536;
/** Chains of the destination cache; a power of two. */
export const DESTINATION_BUCKETS: u32 = 16384;

/** Chains of the table of TCP connections; a power of two. */
export const CONNECTION_BUCKETS: u32 = 65536;
/** Local addresses and ports of TCP connections; when all are used, the kernel has the rest. */
export const MAX_PORTS: u32 = 65536;
/** Chains of the table of these; a power of two. */
export const PORT_BUCKETS: u32 = 16384;

/** Buckets of the table that the XDP program reads; each holds STEERING_BUCKET_KEYS keys. */
export const STEERING_BUCKETS: u32 = 8192;
export const STEERING_BUCKET_KEYS: u32 = 8;
/** Counters of datagrams that reached kernel sockets, indexed by cookie modulo this. */
export const ARRIVAL_COUNTERS: u32 = 65536;

export const RX_RING_ENTRIES: u32 = 2048;
export const TX_RING_ENTRIES: u32 = 2048;
export const FILL_RING_ENTRIES: u32 = 4096;
export const COMPLETION_RING_ENTRIES: u32 = 2048;
/** Frames that one queue keeps posted for the kernel to receive into. */
export const FILL_TARGET_FRAMES: u32 = 1024;

/** Frames that a queue lets the kernel use up before it posts new ones. */
export const REFILL_BATCH_FRAMES: u32 = 16;
/** Sent frames that a queue lets pile up before it takes them back. */
export const REAP_BATCH_FRAMES: u32 = 16;

/** Smallest frame of the pool that AF_XDP allows in aligned mode. */
export const MIN_FRAME_BYTES: u32 = 2048;
/** Largest: one page. */
export const MAX_FRAME_BYTES: u32 = 4096;
/** Room in front of every packet that is sent for what the kernel is asked to do with it. */
export const TX_METADATA_BYTES: u32 = 16;
/** Room for link, network and transport header in front of a payload that is being sent. */
export const TX_HEADROOM_BYTES: u32 = 64;
/** The same for TCP, with all of its options. */
export const TCP_HEADROOM_BYTES: u32 = 128;
/** Frames kept back from socket queues, so that rings can always be refilled. */
export const RESERVED_FRAMES: u32 = 64;
/** While frames are short, so many are left for those that send little. */
export const SPARED_FRAMES: u32 = 4 * RESERVED_FRAMES;

/** What a queued datagram costs beyond its payload, as Linux's sk_buff: SO_RCVBUF counts it. */
export const DATAGRAM_OVERHEAD_BYTES: u32 = 768;
/** net.core.rmem_default and wmem_default of Linux, used until the program's own are known. */
export const DEFAULT_BUFFER_BYTES: u32 = 212992;

/** net.ipv4.tcp_rmem and tcp_wmem of Linux: at first, and at most by automatic tuning. */
export const TCP_RECEIVE_BUFFER_BYTES: u32 = 131072;
export const TCP_RECEIVE_BUFFER_BYTES_MAX: u32 = 6291456;
export const TCP_SEND_BUFFER_BYTES: u32 = 87040;
export const TCP_SEND_BUFFER_BYTES_MAX: u32 = 4194304;
/** What one end of a connection within this host takes at least before its program reads. */
export const LOCAL_BUFFER_BYTES: u32 = 262144;
/** Most that is lent at a time for copying without the lock; less is not worth two holds of it. */
export const LENT_BYTES_MAX: u32 = 65536;
export const LENT_BYTES_MIN: u32 = 4096;
/** No connection's buffer grows beyond this part of the pool. */
export const TCP_BUFFER_POOL_SHARE: u32 = 8;
/** When fewer than this part of the pool is left, buffers do not grow. */
export const TCP_PRESSURE_SHARE: u32 = 8;
/** Frames that every connection may queue for sending, even then. */
export const TCP_FRAMES_MIN: u32 = 4;
/** Connections in TIME-WAIT; one more is forgotten at once (net.ipv4.tcp_max_tw_buckets). */
export const MAX_TIME_WAIT: u32 = 16384;
/** SYNs that one listener remembers, whatever its backlog (net.ipv4.tcp_max_syn_backlog). */
export const MAX_SYN_QUEUE: u32 = 4096;
/** Longest accept queue (net.core.somaxconn). */
export const MAX_BACKLOG: u32 = 4096;

/** Default time to live, RFC 1700; Linux's net.ipv4.ip_default_ttl. */
export const DEFAULT_TTL: u32 = 64;

/** ICMP errors sent: one per this time, after a burst (Linux's icmp_msgs_per_sec and _burst). */
export const ICMP_MESSAGE_NANOS: u64 = 1000000;
export const ICMP_BURST_MESSAGES: u32 = 50;

/** The kernel's index of lo, the same in every network namespace: its own traffic comes by it. */
export const LOOPBACK_IFINDEX: u32 = 1;
/** MTU of lo, and so of every way that does not leave the host. */
export const LOOPBACK_MTU: u32 = 65536;
/** FrameMeta.interfaceSlot of what this host sent to itself. */
export const LOCAL_INTERFACE: u32 = 64;

/** Returned by udpReserve: the kernel's path has to send this datagram. */
export const VIA_KERNEL: i32 = 4096;
