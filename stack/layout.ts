// The memory map of the region: each area starts where the one before it ends. Areas that other
// descriptors are mapped over (MAP_FIXED) are whole multiples of 64 KiB.

import {
  ARRIVAL_COUNTERS,
  CONNECTION_BUCKETS,
  COOKIE_BUCKETS,
  DEMUX_BUCKETS,
  DESTINATION_BUCKETS,
  EPOLL_BUCKETS,
  EPOLL_EVENTS_MAX,
  MAX_ADDRESSES,
  MAX_CLIENTS,
  MAX_DESTINATIONS,
  MAX_EPOLL_ITEMS,
  MAX_EPOLL_REFERENCES,
  MAX_EPOLL_SETS,
  MAX_FORK_TICKETS,
  MAX_INTERFACES,
  MAX_PORTS,
  MAX_QUEUES,
  MAX_SOCKETS,
  MAX_WAITERS,
  PORT_BUCKETS,
  STEERING_BUCKET_KEYS,
  STEERING_BUCKETS,
} from "./config";

export const PAGE_BYTES: u32 = 4096;
/** mmap granularity of the windows: large enough for every page size that Linux has. */
export const WINDOW_ALIGN_BYTES: u32 = 65536;

export const CLIENT_BYTES: u32 = 32;
export const WAITER_BYTES: u32 = 64;
export const INTERFACE_BYTES: u32 = 128;
export const QUEUE_BYTES: u32 = 256;
export const ADDRESS_BYTES: u32 = 32;
export const DESTINATION_BYTES: u32 = 128;
export const SOCKET_BYTES: u32 = 256;
export const FRAME_META_BYTES: u32 = 64;
export const TCB_BYTES: u32 = 1024;
export const PORT_BYTES: u32 = 32;
export const EPOLL_SET_BYTES: u32 = 64;
export const EPOLL_ITEM_BYTES: u32 = 64;
export const EPOLL_REFERENCE_BYTES: u32 = 16;
export const EPOLL_EVENT_BYTES: u32 = 16;
export const FORK_TICKET_BYTES: u32 = 8;
/** The segment that is being handled (tcp/segment.ts), and what TCP_INFO reports. */
export const SEGMENT_BYTES: u32 = 256;
export const TCP_INFO_BYTES: u32 = 512;
/** Two levels of slots, u32 each, then a bit for each slot that is not empty. */
export const WHEEL_SLOTS: u32 = 1024;
export const WHEEL_BYTES: u32 = 2 * WHEEL_SLOTS * 4 + 2 * (WHEEL_SLOTS / 8);

/** The first page stays empty, so that offset 0 is never an object. */
export const HEADER_OFFSET: u32 = PAGE_BYTES;
export const HEADER_BYTES: u32 = PAGE_BYTES;

export const CLIENTS_OFFSET: u32 = HEADER_OFFSET + HEADER_BYTES;
export const WAITERS_OFFSET: u32 = CLIENTS_OFFSET + MAX_CLIENTS * CLIENT_BYTES;
export const INTERFACES_OFFSET: u32 = WAITERS_OFFSET + MAX_WAITERS * WAITER_BYTES;
export const QUEUES_OFFSET: u32 = INTERFACES_OFFSET + MAX_INTERFACES * INTERFACE_BYTES;
export const ADDRESSES_OFFSET: u32 = QUEUES_OFFSET + MAX_QUEUES * QUEUE_BYTES;
export const DEMUX_OFFSET: u32 = ADDRESSES_OFFSET + MAX_ADDRESSES * ADDRESS_BYTES;
export const COOKIES_OFFSET: u32 = DEMUX_OFFSET + DEMUX_BUCKETS * 4;
export const DESTINATION_CHAINS_OFFSET: u32 = COOKIES_OFFSET + COOKIE_BUCKETS * 4;
export const DESTINATIONS_OFFSET: u32 = DESTINATION_CHAINS_OFFSET + DESTINATION_BUCKETS * 4;
export const SOCKETS_OFFSET: u32 = DESTINATIONS_OFFSET + MAX_DESTINATIONS * DESTINATION_BYTES;
export const TCBS_OFFSET: u32 = SOCKETS_OFFSET + MAX_SOCKETS * SOCKET_BYTES;
export const CONNECTIONS_OFFSET: u32 = TCBS_OFFSET + MAX_SOCKETS * TCB_BYTES;
export const PORT_CHAINS_OFFSET: u32 = CONNECTIONS_OFFSET + CONNECTION_BUCKETS * 4;
export const PORTS_OFFSET: u32 = PORT_CHAINS_OFFSET + PORT_BUCKETS * 4;
export const WHEEL_OFFSET: u32 = PORTS_OFFSET + MAX_PORTS * PORT_BYTES;
export const SEGMENT_OFFSET: u32 = WHEEL_OFFSET + WHEEL_BYTES;
export const TCP_INFO_OFFSET: u32 = SEGMENT_OFFSET + SEGMENT_BYTES;
/** What epollCollect reports. */
export const EPOLL_EVENTS_OFFSET: u32 = TCP_INFO_OFFSET + TCP_INFO_BYTES;
export const EPOLL_CHAINS_OFFSET: u32 = EPOLL_EVENTS_OFFSET + EPOLL_EVENTS_MAX * EPOLL_EVENT_BYTES;
export const EPOLL_SETS_OFFSET: u32 = EPOLL_CHAINS_OFFSET + EPOLL_BUCKETS * 4;
export const EPOLL_ITEMS_OFFSET: u32 = EPOLL_SETS_OFFSET + MAX_EPOLL_SETS * EPOLL_SET_BYTES;
export const EPOLL_REFERENCES_OFFSET: u32 = EPOLL_ITEMS_OFFSET + MAX_EPOLL_ITEMS * EPOLL_ITEM_BYTES;
export const FORK_TICKETS_OFFSET: u32 =
  EPOLL_REFERENCES_OFFSET + MAX_EPOLL_REFERENCES * EPOLL_REFERENCE_BYTES;
/** One bit for each key of the steering table: recovery notes there which are wanted. */
export const STEERING_MARKS_OFFSET: u32 =
  FORK_TICKETS_OFFSET + MAX_FORK_TICKETS * FORK_TICKET_BYTES;
export const STEERING_MARKS_BYTES: u32 = (STEERING_BUCKETS * STEERING_BUCKET_KEYS) / 8;
const TABLES_END: u32 = STEERING_MARKS_OFFSET + STEERING_MARKS_BYTES;

/**
 * Window: the steering table, a BPF array map shared with the XDP programs. What is behind the
 * buckets begins with the number of shared ports.
 */
export const STEERING_OFFSET: u32 =
  (TABLES_END + WINDOW_ALIGN_BYTES - 1) & ~(WINDOW_ALIGN_BYTES - 1);
export const STEERING_SHARED_OFFSET: u32 =
  STEERING_OFFSET + STEERING_BUCKETS * STEERING_BUCKET_KEYS * 8;
export const STEERING_BYTES: u32 = STEERING_BUCKETS * STEERING_BUCKET_KEYS * 8 + WINDOW_ALIGN_BYTES;
/** Window: the arrival counters, a BPF array map shared with the socket filter. */
export const ARRIVALS_OFFSET: u32 = STEERING_OFFSET + STEERING_BYTES;
export const ARRIVALS_BYTES: u32 = ARRIVAL_COUNTERS * 8;
/** Windows: the rings of every AF_XDP socket. */
export const RING_WINDOW_BYTES: u32 = WINDOW_ALIGN_BYTES;
export const QUEUE_WINDOW_BYTES: u32 = 4 * RING_WINDOW_BYTES;
export const RINGS_OFFSET: u32 = ARRIVALS_OFFSET + ARRIVALS_BYTES;
export const RINGS_BYTES: u32 = MAX_QUEUES * QUEUE_WINDOW_BYTES;

/** What follows depends on the number of frames: free list, frame records, then the frames. */
export const FRAME_TABLES_OFFSET: u32 = RINGS_OFFSET + RINGS_BYTES;
