/*
 * TCP sockets. Until one connects or listens it is its kernel socket and nothing else. A connection
 * is the stack's alone, its kernel socket only holds the port and the descriptor; a listener has
 * both. What the stack can't reach is connected by the kernel, and this library forgets it.
 */
#ifndef EXASOCK_STREAM_H
#define EXASOCK_STREAM_H

#include "shim.h"

enum StreamKind {
  /* Every call is libc's. */
  STREAM_KERNEL,
  STREAM_LISTENER,
  STREAM_CONNECTION,
  /* It was the stack's, and exasockd died: the connection is no more. */
  STREAM_LOST,
};

static inline struct Tcb *region_tcb(uint32_t index) {
  return region_at(TCBS_OFFSET + index * TCB_BYTES);
}

/* stream.c */
enum StreamKind stream_kind_slow(struct Endpoint *endpoint);
static inline enum StreamKind stream_kind(struct Endpoint *endpoint) {
  if (endpoint->index != 0 && LIKELY(!process.orphaned)) {
    const struct Socket *socket = region_socket(endpoint->index);
    bool same = socket->sequence == endpoint->sequence;
    if (LIKELY(same && socket->state == SocketState_Connected)) return STREAM_CONNECTION;
  }
  return stream_kind_slow(endpoint);
}
/* Between the first SYN and the end of the handshake. */
static inline bool stream_is_opening(uint32_t index) {
  uint8_t state = region_tcb(index)->state;
  return state == TcpState_SynSent || state == TcpState_SynReceived;
}
/* Gives the kernel socket one in the region, with all its options. False: not possible. */
bool stream_enter(int fd, struct Endpoint *endpoint, uint64_t cookie);
/* Ends what the stack has; the socket goes on as the kernel's. `reset`: without a FIN. */
void stream_leave(struct Endpoint *endpoint, bool reset);
/* Why it must not be accelerated, before anything else is known; NULL if nothing is in the way. */
const char *stream_obstacle(const struct Endpoint *endpoint, struct in_addr address);
void stream_stays(int fd, struct Endpoint *endpoint, const char *why);
void stream_last_close(struct Endpoint *endpoint);
int stream_shutdown(int fd, struct Endpoint *endpoint, int how);
/* The kernel socket's address gets a port, by the kernel's choice, if it has none. 0 or -errno. */
int stream_reserve_port(int fd, struct Endpoint *endpoint, struct sockaddr_in *local);

/* Another one than the kernel chose, which only a socket that listened gives back. */
bool stream_change_port(int fd, const struct Endpoint *endpoint, struct sockaddr_in *local);

/* stream-names.c */
/* The IPv4 address that a name means. False: it means none. The wildcards are one. */
bool stream_read_name(const struct sockaddr *name, socklen_t bytes, struct sockaddr_in *to);
/* Of the kernel socket; -EAFNOSUPPORT if it speaks no IPv4, or another -errno. */
int stream_local_name(int fd, const struct Endpoint *endpoint, struct sockaddr_in *local);
/* Binds the kernel socket to the wildcard and a port of the kernel's choice. 0 or -errno. */
int stream_bind_any(int fd, const struct Endpoint *endpoint);
/* Writes an address of the region in the socket's own family. 0 or -errno. */
int stream_put_name(const struct Endpoint *endpoint, uint64_t lo, uint16_t portNet,
                    struct sockaddr *address, socklen_t *bytes);

/* stream-connect.c: 0 or -errno. */
int stream_connect(int fd, struct Endpoint *endpoint, const struct sockaddr *address,
                   socklen_t bytes);

/* stream-accept.c: SO_RCVTIMEO of a listening kernel socket is short while the stack listens, too. */
void stream_limit_twin(int fd, bool limited, uint64_t nanos);

/* stream-options.c */
/* SO_BINDTODEVICE, as an interface index; 0 for none. */
uint32_t stream_device(int fd, const struct Endpoint *endpoint);
void stream_mirror_all(int fd, struct Endpoint *endpoint);
void stream_inherit(int fd, struct Endpoint *endpoint, int listener,
                    const struct Endpoint *parent);
int stream_setsockopt(int fd, struct Endpoint *endpoint, int level, int name, const void *value,
                      socklen_t bytes);
int stream_getsockopt(int fd, struct Endpoint *endpoint, int level, int name, void *value,
                      socklen_t *bytes);
int stream_ioctl(int fd, struct Endpoint *endpoint, unsigned long request, void *argument);

/* stream-send.c and stream-recv.c: bytes, or -errno. */
ssize_t stream_send(int fd, struct Endpoint *endpoint, const struct msghdr *message, int flags);
ssize_t stream_receive(int fd, struct Endpoint *endpoint, struct msghdr *message, int flags);
/* The same for one buffer without anything else. */
ssize_t stream_send_bytes(int fd, struct Endpoint *endpoint, const void *data, size_t bytes,
                          int flags);
ssize_t stream_receive_bytes(int fd, struct Endpoint *endpoint, void *data, size_t bytes,
                             int flags);

/* A place in a vector of buffers. */
struct Cursor {
  const struct iovec *vector;
  size_t count;
  /* In the first part of `vector`. */
  size_t offset;
};
/* Copies between the region and the vector. False: a part lies nowhere (EFAULT). */
bool cursor_copy(struct Cursor *cursor, void *region, size_t bytes, bool toVector);
/* Bytes in the vector, at most what Linux takes in one call; -1 if the kernel is to refuse it. */
ssize_t cursor_bytes(const struct msghdr *message);

/* The time for a call of the stack's: within this host nothing is measured by it. */
static inline uint64_t stream_now(uint32_t index) {
  return region_tcb(index)->localPeer != 0 ? now_coarse() : now_nanos();
}
/* Whether so many bytes are worth being copied without the lock, which both ends then do at once. */
static inline bool stream_is_bulk(uint32_t index, size_t bytes) {
  return UNLIKELY(bytes >= LENT_BYTES_MIN) && region_tcb(index)->localPeer != 0;
}
/* Copies between lent frames and the vector. False: a part lies nowhere. */
bool stream_copy_lent(struct Cursor *cursor, uint32_t link, size_t bytes, bool toVector);

/* Bytes moved in one hold of the lock. */
enum { HOLD_BYTES = 32768, STREAM_BUDGET = 64 };

#endif
