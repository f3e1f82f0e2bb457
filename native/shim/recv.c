/*
 * Receiving. A socket has two queues, the stack's and its kernel twin's; every call takes from
 * whichever has something, in turn when both have.
 */
#include "stream.h"

#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

enum {
  FLAGS_KNOWN = MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC | MSG_WAITALL | MSG_NOSIGNAL |
                MSG_CMSG_CLOEXEC | MSG_WAITFORONE,
  POLL_BUDGET = 64,
};

/* __recv_chk and its like were told the size of the buffer, and found it too small. */
extern void __chk_fail(void) __attribute__((noreturn));

struct Receiving {
  struct Endpoint *endpoint;
  uint32_t generation;
  int fd;
  struct msghdr *message;
  int flags;
  ssize_t result;
  /* Of a call that waits. */
  struct pollfd *fds;
};

/* Bytes copied, or -EFAULT. */
static ssize_t scatter(const struct msghdr *message, const uint8_t *from, size_t bytes) {
  size_t done = 0;
  for (size_t i = 0; i < message->msg_iovlen && done < bytes; i++) {
    const struct iovec *part = &message->msg_iov[i];
    size_t piece = part->iov_len < bytes - done ? part->iov_len : bytes - done;
    if (piece == 0) continue;
    if (is_nowhere(part->iov_base)) return -EFAULT;
    memcpy(part->iov_base, from + done, piece);
    done += piece;
  }
  return (ssize_t)done;
}

/* As the kernel's put_cmsg(): what does not fit is cut short, and MSG_CTRUNC says so. */
static void put_control(struct msghdr *message, size_t *used, int level, int type,
                        const void *data, size_t bytes) {
  size_t room = message->msg_controllen - *used;
  struct cmsghdr header = {.cmsg_len = CMSG_LEN(bytes), .cmsg_level = level, .cmsg_type = type};
  if (message->msg_control == NULL || room < sizeof header) {
    message->msg_flags |= MSG_CTRUNC;
    return;
  }
  if (room < header.cmsg_len) {
    message->msg_flags |= MSG_CTRUNC;
    header.cmsg_len = room;
  }
  uint8_t *at = (uint8_t *)message->msg_control + *used;
  memcpy(at, &header, sizeof header);
  memcpy(at + CMSG_LEN(0), data, header.cmsg_len - CMSG_LEN(0));
  *used += room < CMSG_SPACE(bytes) ? room : CMSG_SPACE(bytes);
}

static void put_timestamp(struct msghdr *message, size_t *used, uint32_t flags, uint64_t arrival) {
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  uint64_t age = now_nanos() - arrival;
  uint64_t nanos = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec - age;
  struct timespec precise = {(time_t)(nanos / 1000000000u), (long)(nanos % 1000000000u)};
  struct timeval coarse = {precise.tv_sec, precise.tv_nsec / 1000};
  if ((flags & SocketFlag_TimestampNanos) != 0) {
    put_control(message, used, SOL_SOCKET, SO_TIMESTAMPNS, &precise, sizeof precise);
  } else {
    put_control(message, used, SOL_SOCKET, SO_TIMESTAMP, &coarse, sizeof coarse);
  }
}

static void put_controls(struct msghdr *message, uint32_t flags, const struct FrameMeta *meta) {
  size_t used = 0;
  if ((flags & (SocketFlag_Timestamp | SocketFlag_TimestampNanos)) != 0) {
    put_timestamp(message, &used, flags, meta->arrivalNanos);
  }
  if ((flags & SocketFlag_PacketInfo) != 0) {
    const struct Interface *at =
        region_at(INTERFACES_OFFSET + meta->interfaceSlot % MAX_INTERFACES * INTERFACE_BYTES);
    bool local = meta->interfaceSlot == LOCAL_INTERFACE;
    struct in_pktinfo info = {.ipi_ifindex = (int)(local ? LOOPBACK_IFINDEX : at->ifindex)};
    info.ipi_addr.s_addr = (in_addr_t)(meta->destinationLo >> 32);
    info.ipi_spec_dst = info.ipi_addr;
    put_control(message, &used, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  }
  if ((flags & SocketFlag_ReceiveTtl) != 0) {
    int ttl = meta->ttl;
    put_control(message, &used, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
  }
  if ((flags & SocketFlag_ReceiveTos) != 0) {
    put_control(message, &used, IPPROTO_IP, IP_TOS, &meta->tos, sizeof meta->tos);
  }
  message->msg_controllen = used;
}

/* Where a receive call begins in the datagram, and what SO_PEEK_OFF becomes by it. */
static uint32_t begin_at(const struct Receiving *receiving, uint32_t bytes) {
  struct Endpoint *endpoint = receiving->endpoint;
  if (LIKELY(endpoint->peekOffset == 0)) return 0;
  uint32_t offset = endpoint->peekOffset - 1;
  if ((receiving->flags & MSG_PEEK) == 0) {
    endpoint->peekOffset = 1 + (offset > bytes ? offset - bytes : 0);
    return 0;
  }
  size_t room = 0;
  const struct msghdr *message = receiving->message;
  for (size_t i = 0; i < message->msg_iovlen; i++) room += message->msg_iov[i].iov_len;
  if (offset > bytes) offset = bytes;
  endpoint->peekOffset = 1 + offset + (uint32_t)(room < bytes - offset ? room : bytes - offset);
  return offset;
}

static ssize_t deliver(const struct Receiving *receiving, uint32_t options,
                       const struct FrameMeta *meta) {
  struct msghdr *message = receiving->message;
  int flags = receiving->flags;
  uint32_t skip = begin_at(receiving, meta->payloadBytes);
  ssize_t bytes = (ssize_t)(meta->payloadBytes - skip);
  ssize_t copied = scatter(message, region_at(meta->payloadOffset + skip), (size_t)bytes);
  if (copied < 0) return copied;
  if (message->msg_name != NULL) {
    if (is_nowhere(message->msg_name)) return -EFAULT;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = meta->sourcePortNet};
    from.sin_addr.s_addr = (in_addr_t)(meta->sourceLo >> 32);
    size_t room = message->msg_namelen < sizeof from ? message->msg_namelen : sizeof from;
    memcpy(message->msg_name, &from, room);
    message->msg_namelen = sizeof from;
  }
  message->msg_flags = copied < bytes ? MSG_TRUNC : 0;
  message->msg_flags |= flags & MSG_CMSG_CLOEXEC;
  put_controls(message, options, meta);
  return (flags & MSG_TRUNC) != 0 ? bytes : copied;
}

/* From the stack's queue. False if there is nothing; else `result` is bytes or -errno. */
static bool take_from_stack(struct Receiving *receiving, bool has, uint64_t now) {
  bool pump = !has && process_usable() && w2c_stack_hasWork(stack) != 0;
  if (!has && !pump) return false;
  if (UNLIKELY(process.stale) && !process_usable()) return false;
  if (has) region_prefetch(region_socket(receiving->endpoint->index)->receiveHead, 0);
  if (has ? !stack_lock() : !stack_trylock()) return false;
  if (pump) w2c_stack_poll(stack, arrival_time(now), POLL_BUDGET);
  const struct Socket *socket = region_socket(receiving->endpoint->index);
  bool done = false;
  if (LIKELY(socket->sequence == receiving->endpoint->sequence)) {
    uint32_t at = w2c_stack_udpPeek(stack, receiving->endpoint->index);
    if (at != 0 && socket->error == 0) {
      receiving->result = deliver(receiving, socket->flags, region_at(at));
      if ((receiving->flags & MSG_PEEK) == 0) {
        w2c_stack_udpConsume(stack, receiving->endpoint->index);
      }
      done = true;
    } else if (socket->error != 0) {
      receiving->result = -(int)w2c_stack_socketTakeError(stack, receiving->endpoint->index);
      done = true;
    }
  }
  stack_unlock();
  if (done) receiving->endpoint->twinTurn = true;
  return done;
}

static bool take_from_kernel(struct Receiving *receiving) {
  ssize_t result =
      real.recvmsg(receiving->fd, receiving->message, receiving->flags | MSG_DONTWAIT);
  if (result < 0 && errno == EAGAIN) {
    socket_twin_empty(receiving->endpoint);
    return false;
  }
  receiving->result = result >= 0 ? result : -errno;
  receiving->endpoint->twinTurn = false;
  return true;
}

static int try_receive(void *context, uint64_t now, bool askKernel) {
  struct Receiving *receiving = context;
  struct Endpoint *endpoint = receiving->endpoint;
  if (UNLIKELY(endpoint->generation != receiving->generation)) {
    receiving->result = -EBADF;
    return 1;
  }
  bool has = (socket_ready(endpoint) & (EPOLLIN | EPOLLERR)) != 0;
  if (!has && now == 0) now = now_coarse();
  bool worth = askKernel || socket_twin_worth(endpoint, has ? 0 : now);
  bool kernelFirst = worth && (endpoint->twinTurn || !has);
  if (kernelFirst && has) {
    /* Both have something. What a stack that nobody feeds any more holds is the older. */
    process_check_daemon();
    kernelFirst = !process.orphaned && !endpoint->released;
  }
  if (kernelFirst && take_from_kernel(receiving)) return 1;
  if (take_from_stack(receiving, has, now)) return 1;
  return worth && !kernelFirst && take_from_kernel(receiving);
}

static ssize_t receive_by_kernel(const struct Receiving *receiving) {
  ssize_t result = real.recvmsg(receiving->fd, receiving->message, receiving->flags);
  return result >= 0 ? result : -errno;
}

/* For a call that blocks: leaves the wait when the socket becomes the kernel's. */
static int try_receive_blocked(void *context, uint64_t now, bool askKernel) {
  struct Receiving *receiving = context;
  int fd = endpoint_fd(receiving->endpoint, receiving->fd);
  if (UNLIKELY(fd != receiving->fd)) receiving->fd = receiving->fds[0].fd = fd;
  if (try_receive(context, now, askKernel)) return 1;
  if (LIKELY(!receiving->endpoint->released && process_usable())) return 0;
  receiving->result = -VIA_KERNEL;
  return 1;
}

static ssize_t receive_message(int fd, struct msghdr *message, int flags) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return stream_receive(fd, endpoint, message, flags);
  struct Receiving receiving = {.endpoint = endpoint,
                                .generation = endpoint->generation,
                                .fd = fd,
                                .message = message,
                                .flags = flags};
  uint64_t asked = endpoint->twinAskedNanos;
  bool ours = endpoint->index != 0 && (flags & ~FLAGS_KNOWN) == 0;
  if (message->msg_iovlen > IOV_MAX) ours = false;
  if (message->msg_iovlen != 0 && is_nowhere(message->msg_iov)) ours = false;
  if (ours && LIKELY(try_receive(&receiving, 0, false))) return receiving.result;
  if (!ours || endpoint->released || !process_usable()) return receive_by_kernel(&receiving);
  if ((flags & MSG_DONTWAIT) != 0 || socket_is_nonblocking(fd, endpoint)) {
    /* A program that polls like this spins: with more of them than CPUs, others have to run. */
    if (endpoint->twinAskedNanos != asked) {
      process_check_daemon();
      sched_yield();
    }
    return -EAGAIN;
  }
  uint64_t timeout = region_socket(endpoint->index)->receiveTimeoutNanos;
  struct pollfd fds[1 + WAIT_EXTRA_FDS] = {{.fd = fd, .events = POLLIN}};
  struct Waiting waiting = {.ready = try_receive_blocked,
                            .context = &receiving,
                            .deadline = timeout != 0 ? deadline_after(timeout) : FOREVER,
                            .interest = socket_interest(endpoint),
                            .fds = fds,
                            .count = 1,
                            .restarts = timeout == 0};
  receiving.fds = fds;
  endpoint_hold(endpoint);
  ssize_t done = wait_until(&waiting);
  if (done == 0) done = -EAGAIN;
  if (done > 0) done = receiving.result;
  if (done == -VIA_KERNEL) done = receive_by_kernel(&receiving);
  endpoint_release(endpoint);
  return done;
}

ssize_t shim_recvfrom(int fd, void *data, size_t bytes, int flags, struct sockaddr *from,
                      socklen_t *fromBytes) {
  if (from != NULL && (is_nowhere(fromBytes) || *fromBytes > INT_MAX)) {
    return real.recvfrom(fd, data, bytes, flags, from, fromBytes);
  }
  struct iovec part = {data, bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (from != NULL) {
    message.msg_name = from;
    message.msg_namelen = *fromBytes;
  }
  ssize_t result = answer(receive_message(fd, &message, flags));
  if (result >= 0 && from != NULL) *fromBytes = message.msg_namelen;
  return result;
}

ssize_t shim_recvfrom_chk(int fd, void *data, size_t bytes, size_t room, int flags,
                          struct sockaddr *from, socklen_t *fromBytes) {
  if (bytes > room) __chk_fail();
  return shim_recvfrom(fd, data, bytes, flags, from, fromBytes);
}

ssize_t shim_recv(int fd, void *data, size_t bytes, int flags) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return answer(stream_receive_bytes(fd, endpoint, data, bytes, flags));
  return shim_recvfrom(fd, data, bytes, flags, NULL, NULL);
}

ssize_t shim_recv_chk(int fd, void *data, size_t bytes, size_t room, int flags) {
  if (bytes > room) __chk_fail();
  return shim_recv(fd, data, bytes, flags);
}

ssize_t shim_read(int fd, void *data, size_t bytes) {
  /* Unlike recv, a read of nothing takes nothing. */
  if (bytes == 0) return real.read(fd, data, 0);
  return shim_recv(fd, data, bytes, 0);
}

ssize_t shim_read_chk(int fd, void *data, size_t bytes, size_t room) {
  if (bytes > room) __chk_fail();
  return shim_read(fd, data, bytes);
}

ssize_t shim_readv(int fd, const struct iovec *vector, int count) {
  if (count <= 0 || count > IOV_MAX) return real.readv(fd, vector, count);
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector,
                           .msg_iovlen = (size_t)count};
  return answer(receive_message(fd, &message, 0));
}

/* At the end, where a socket is: as readv. */
ssize_t shim_preadv2(int fd, const struct iovec *vector, int count, off_t offset, int flags) {
  bool plain = offset == -1 && (flags & ~(RWF_NOWAIT | RWF_HIPRI)) == 0;
  if (!plain || count <= 0 || count > IOV_MAX || fd_endpoint(fd)->index == 0) {
    return real.preadv2(fd, vector, count, offset, flags);
  }
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector,
                           .msg_iovlen = (size_t)count};
  return answer(receive_message(fd, &message, (flags & RWF_NOWAIT) != 0 ? MSG_DONTWAIT : 0));
}

ssize_t shim_recvmsg(int fd, struct msghdr *message, int flags) {
  if (fd_socket(fd) == NULL || is_nowhere(message)) {
    ssize_t received = real.recvmsg(fd, message, flags);
    if (received >= 0 && message->msg_controllen != 0) fd_received(message);
    return received;
  }
  ssize_t result = answer(receive_message(fd, message, flags));
  trace_result("recvmsg", fd, result);
  return result;
}

int shim_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                  struct timespec *timeout) {
  uint64_t deadline;
  if (fd_socket(fd) == NULL || is_nowhere(messages) || !deadline_from(timeout, &deadline)) {
    int received = real.recvmmsg(fd, messages, count, flags, timeout);
    for (int i = 0; i < received; i++) {
      if (messages[i].msg_hdr.msg_controllen != 0) fd_received(&messages[i].msg_hdr);
    }
    return received;
  }
  if (count > IOV_MAX) count = IOV_MAX;
  unsigned done = 0;
  ssize_t result = 0;
  while (done < count) {
    result = receive_message(fd, &messages[done].msg_hdr, flags);
    if (result < 0) break;
    messages[done++].msg_len = (unsigned)result;
    if ((flags & MSG_WAITFORONE) != 0) flags |= MSG_DONTWAIT;
    /* As in Linux, the timeout is looked at between datagrams only. */
    if (timeout != NULL && now_nanos() >= deadline) break;
  }
  if (timeout != NULL) {
    uint64_t now = now_nanos();
    uint64_t left = deadline > now ? deadline - now : 0;
    *timeout = (struct timespec){(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
  }
  return done > 0 || count == 0 ? (int)done : (int)answer(result);
}
