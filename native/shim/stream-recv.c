/* Receiving on a connection, as Linux's tcp_recvmsg. */
#include "stream.h"

#include <limits.h>
#include <sched.h>
#include <string.h>

/* Nothing more comes than what is there. */
#define ENDED (TcpFlag_PeerClosed | TcpFlag_ShutReceive)

struct StreamReceive {
  struct Endpoint *endpoint;
  uint32_t generation;
  int flags;
  struct Cursor to;
  size_t wanted;
  /* The call may return with so many. */
  size_t target;
  size_t done;
  /* Errno, when nothing came. */
  int error;
  bool over;
};

/* Something to say without waiting: bytes, the end of them, or an error. */
static inline bool has_news(uint32_t index) {
  const struct Tcb *tcb = region_tcb(index);
  return region_socket(index)->readableBytes != 0 || (tcb->flags & ENDED) != 0 ||
         region_socket(index)->error != 0 || tcb->state == TcpState_Closed;
}

/* Copies what is readable, in one hold of the lock. True if it stops at the urgent mark. */
static bool drain(struct StreamReceive *receiving, uint32_t index, uint64_t now) {
  size_t budget = HOLD_BYTES;
  bool peek = (receiving->flags & MSG_PEEK) != 0;
  while (receiving->done < receiving->wanted && budget > 0) {
    uint32_t skip = peek ? (uint32_t)receiving->done : 0;
    uint32_t at = w2c_stack_tcpChunk(stack, index, skip);
    if (at == 0) return core_header()->chunkEndsAtMark != 0 && receiving->done > 0;
    size_t bytes = core_header()->chunkBytes;
    bool mark = core_header()->chunkEndsAtMark != 0 &&
                bytes <= receiving->wanted - receiving->done;
    size_t room = receiving->wanted - receiving->done;
    if (bytes > room) bytes = room;
    if ((receiving->flags & MSG_TRUNC) == 0 &&
        !cursor_copy(&receiving->to, region_at(at), bytes, true)) {
      receiving->error = EFAULT;
      receiving->over = true;
      return false;
    }
    if (!peek) w2c_stack_tcpConsume(stack, index, (uint32_t)bytes, now);
    receiving->done += bytes;
    if (UNLIKELY(mark)) return true;
    budget = bytes < budget ? budget - bytes : 0;
  }
  return false;
}

/* Whether the call ends now, with what it has. */
static void judge(struct StreamReceive *receiving, uint32_t index) {
  const struct Tcb *tcb = region_tcb(index);
  struct Socket *socket = region_socket(index);
  bool nothingMore = (tcb->flags & ENDED) != 0 ||
                     socket->error != 0 || tcb->state == TcpState_Closed;
  if (receiving->done >= receiving->target) receiving->over = true;
  if (!nothingMore || receiving->over) return;
  receiving->over = true;
  if (receiving->done > 0 || (tcb->flags & TcpFlag_PeerClosed) != 0) return;
  if (socket->error != 0) receiving->error = (int)w2c_stack_socketTakeError(stack, index);
}

/* Frames of received data to copy from, and how many bytes they have. */
static uint32_t take_out(const struct StreamReceive *receiving, uint32_t index, uint32_t *bytes) {
  size_t wanted = receiving->wanted - receiving->done;
  if (wanted < LENT_BYTES_MIN) return 0;
  if (wanted > UINT32_MAX) wanted = UINT32_MAX;
  uint32_t first = w2c_stack_tcpTakeOut(stack, index, (uint32_t)wanted, process.client,
                                        now_coarse());
  *bytes = core_header()->chunkBytes;
  return first;
}

/* Receives as much as frames are lent for. What else there is, is left to drain(). */
static void receive_in_bulk(struct StreamReceive *receiving) {
  struct Endpoint *endpoint = receiving->endpoint;
  uint32_t index = endpoint->index;
  uint32_t bytes = 0;
  if (!stack_lock()) return;
  bool same = region_socket(index)->sequence == endpoint->sequence;
  uint32_t lent = same ? take_out(receiving, index, &bytes) : 0;
  stack_unlock();
  while (lent != 0) {
    bool good = stream_copy_lent(&receiving->to, lent, bytes, true);
    if (good) receiving->done += bytes;
    uint32_t next = 0;
    if (!stack_lock()) return;
    w2c_stack_framesTakeBack(stack, lent, process.client);
    if (good && region_socket(index)->sequence == endpoint->sequence) {
      next = take_out(receiving, index, &bytes);
    }
    stack_unlock();
    if (!good) receiving->error = EFAULT;
    if (!good) receiving->over = true;
    lent = next;
  }
}

static int try_receive(void *context, uint64_t now, bool askKernel) {
  struct StreamReceive *receiving = context;
  struct Endpoint *endpoint = receiving->endpoint;
  uint32_t index = endpoint->index;
  (void)askKernel;
  if (UNLIKELY(endpoint->generation != receiving->generation)) return -EBADF;
  if (UNLIKELY(stream_kind(endpoint) != STREAM_CONNECTION || !process_usable())) {
    /* Told once, as a reset is; then the stream has ended. */
    if (!process.orphaned) receiving->error = ENOTCONN;
    else if (!endpoint->released) receiving->error = ECONNRESET;
    endpoint->released = true;
    return 1;
  }
  bool news = has_news(index);
  bool pump = !news && stack_has_work(now);
  if (!news && !pump) {
    process_watch(now);
    return 0;
  }
  bool plain = (receiving->flags & (MSG_PEEK | MSG_TRUNC)) == 0;
  if (plain && stream_is_bulk(index, region_socket(index)->readableBytes)) {
    receive_in_bulk(receiving);
    if (receiving->done >= receiving->target || receiving->over) return receiving->over = true;
  }
  if (news) region_prefetch(region_socket(index)->receiveHead, TCP_HEADROOM_BYTES);
  if (news ? !stack_lock() : !stack_trylock()) return 0;
  if (pump) w2c_stack_poll(stack, now, STREAM_BUDGET);
  for (;;) {
    if (UNLIKELY(region_socket(index)->sequence != endpoint->sequence)) {
      receiving->error = ENOTCONN;
      receiving->over = true;
      break;
    }
    size_t before = receiving->done;
    bool mark = drain(receiving, index, now);
    if (mark) receiving->over = true;
    bool more = receiving->done - before >= HOLD_BYTES && receiving->done < receiving->wanted;
    if (LIKELY(!more || receiving->over)) break;
    /* Others get the lock between two holds. */
    stack_unlock();
    if (!stack_lock()) return receiving->over = true;
  }
  if (!receiving->over) judge(receiving, index);
  /* Of nothing wanted, as soon as there is something. */
  if (receiving->wanted == 0 && region_socket(index)->readableBytes != 0) receiving->over = true;
  stack_unlock();
  return receiving->over;
}

static ssize_t conclude(const struct StreamReceive *receiving, int done) {
  if (receiving->done > 0) return (ssize_t)receiving->done;
  if (done < 0) return done;
  return receiving->error != 0 ? -receiving->error : 0;
}

static ssize_t receive_all(int fd, struct StreamReceive *receiving) {
  struct Endpoint *endpoint = receiving->endpoint;
  uint32_t lowat = region_tcb(endpoint->index)->receiveLowat;
  bool all = (receiving->flags & MSG_WAITALL) != 0;
  receiving->target = all || receiving->wanted < lowat ? receiving->wanted : lowat;
  if (receiving->target == 0) receiving->target = 1;
  int done = try_receive(receiving, stream_now(endpoint->index), false);
  if (LIKELY(done != 0)) return conclude(receiving, done);
  if ((receiving->flags & MSG_DONTWAIT) != 0 || socket_is_nonblocking(fd, endpoint)) {
    /* A program that polls like this spins: with more of them than CPUs, others have to run. */
    if (receiving->done == 0 && UNLIKELY(++endpoint->sends % 64 == 0)) sched_yield();
    return conclude(receiving, -EAGAIN);
  }
  uint64_t timeout = region_socket(endpoint->index)->receiveTimeoutNanos;
  struct pollfd fds[WAIT_EXTRA_FDS];
  struct Waiting waiting = {.ready = try_receive,
                            .context = receiving,
                            .deadline = timeout != 0 ? deadline_after(timeout) : FOREVER,
                            .interest = socket_interest(endpoint),
                            .fds = fds,
                            .restarts = timeout == 0,
                            .progress = &receiving->done};
  endpoint_hold(endpoint);
  done = wait_until(&waiting);
  ssize_t result = conclude(receiving, done == 0 ? -EAGAIN : done);
  endpoint_release(endpoint);
  return result;
}

/* MSG_OOB: the urgent byte, as Linux's tcp_recv_urg. */
static ssize_t receive_urgent(struct Endpoint *endpoint, struct msghdr *message, ssize_t bytes,
                              int flags) {
  if (!process_usable() || !stack_lock()) return -ENOTCONN;
  int32_t found = (int32_t)w2c_stack_tcpUrgent(stack, endpoint->index, (flags & MSG_PEEK) != 0);
  const struct Tcb *tcb = region_tcb(endpoint->index);
  bool ended = tcb->state == TcpState_Closed ||
               (tcb->flags & ENDED) != 0;
  stack_unlock();
  if (found == -EAGAIN && ended) return 0;
  if (found < 0) return found;
  message->msg_flags |= bytes > 0 ? MSG_OOB : MSG_OOB | MSG_TRUNC;
  if (bytes == 0) return 0;
  uint8_t byte = (uint8_t)found;
  struct Cursor to = {message->msg_iov, message->msg_iovlen, 0};
  bool copied = (flags & MSG_TRUNC) != 0 || cursor_copy(&to, &byte, 1, true);
  return copied ? 1 : -EFAULT;
}

ssize_t stream_receive(int fd, struct Endpoint *endpoint, struct msghdr *message, int flags) {
  enum StreamKind kind = stream_kind(endpoint);
  ssize_t bytes = cursor_bytes(message);
  if (bytes < 0 || kind == STREAM_KERNEL || kind == STREAM_LISTENER ||
      (flags & MSG_ERRQUEUE) != 0) {
    ssize_t result = real.recvmsg(fd, message, flags);
    return result >= 0 ? result : -errno;
  }
  message->msg_flags = flags & MSG_CMSG_CLOEXEC;
  ssize_t result;
  if ((flags & MSG_OOB) != 0) {
    result = receive_urgent(endpoint, message, bytes, flags);
  } else {
    struct StreamReceive receiving = {.endpoint = endpoint,
                                      .generation = endpoint->generation,
                                      .flags = flags,
                                      .to = {message->msg_iov, message->msg_iovlen, 0},
                                      .wanted = (size_t)bytes};
    result = receive_all(fd, &receiving);
  }
  if (result < 0) return result;
  message->msg_namelen = 0;
  message->msg_controllen = 0;
  return result;
}

ssize_t stream_receive_bytes(int fd, struct Endpoint *endpoint, void *data, size_t bytes,
                             int flags) {
  struct iovec part = {data, bytes};
  if (UNLIKELY(stream_kind(endpoint) != STREAM_CONNECTION || bytes > INT_MAX ||
               (flags & (MSG_OOB | MSG_ERRQUEUE)) != 0)) {
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return stream_receive(fd, endpoint, &message, flags);
  }
  struct StreamReceive receiving = {.endpoint = endpoint,
                                    .generation = endpoint->generation,
                                    .flags = flags,
                                    .to = {&part, 1, 0},
                                    .wanted = bytes};
  return receive_all(fd, &receiving);
}
