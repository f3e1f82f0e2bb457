/* Sending on a connection, as Linux's tcp_sendmsg: all of it, unless the socket may not block. */
#include "stream.h"

#include <limits.h>
#include <string.h>

/* stack/tcp's tcpPush: more follows; the last byte is urgent. */
enum { PUSH_MORE = 1, PUSH_URGENT = 2 };
/* Linux's MAX_RW_COUNT: one call moves no more. */
#define RW_BYTES_MAX ((size_t)INT_MAX & ~(size_t)4095)

ssize_t cursor_bytes(const struct msghdr *message) {
  size_t total = 0;
  if (message->msg_iovlen > IOV_MAX) return -1;
  if (message->msg_iovlen != 0 && is_nowhere(message->msg_iov)) return -1;
  for (size_t i = 0; i < message->msg_iovlen; i++) {
    size_t bytes = message->msg_iov[i].iov_len;
    if ((ssize_t)bytes < 0) return -1;
    total = bytes > RW_BYTES_MAX - total ? RW_BYTES_MAX : total + bytes;
  }
  return (ssize_t)total;
}

bool cursor_copy(struct Cursor *cursor, void *region, size_t bytes, bool toVector) {
  uint8_t *at = region;
  while (bytes > 0 && cursor->count > 0) {
    size_t left = cursor->vector->iov_len - cursor->offset;
    size_t piece = left < bytes ? left : bytes;
    if (piece > 0) {
      if (UNLIKELY(is_nowhere(cursor->vector->iov_base))) return false;
      uint8_t *ours = (uint8_t *)cursor->vector->iov_base + cursor->offset;
      if (toVector) memcpy(ours, at, piece);
      else memcpy(at, ours, piece);
    }
    at += piece;
    bytes -= piece;
    cursor->offset += piece;
    if (cursor->offset < cursor->vector->iov_len) continue;
    cursor->vector++;
    cursor->count--;
    cursor->offset = 0;
  }
  return true;
}

bool stream_copy_lent(struct Cursor *cursor, uint32_t link, size_t bytes, bool toVector) {
  const struct RegionHeader *header = core_header();
  size_t room = header->frameBytes - TCP_HEADROOM_BYTES;
  while (bytes > 0 && link - 1 < header->frameCount) {
    uint32_t at = header->frameMetaOffset + (link - 1) * FRAME_META_BYTES;
    const struct FrameMeta *meta = region_at(at);
    size_t here = toVector ? meta->payloadBytes : room;
    if (here > bytes) here = bytes;
    if (!cursor_copy(cursor, region_at(meta->payloadOffset), here, toVector)) return false;
    bytes -= here;
    link = meta->next;
  }
  return true;
}

struct StreamSend {
  struct Endpoint *endpoint;
  uint32_t generation;
  int flags;
  struct Cursor from;
  size_t left;
  size_t done;
  /* Errno, when nothing more can be sent. */
  int error;
};

/* Copies what there is room for, in one hold of the lock. False: a part lies nowhere. */
static bool fill(struct StreamSend *sending, uint32_t index) {
  size_t budget = HOLD_BYTES;
  while (sending->left > 0 && budget > 0) {
    size_t wanted = sending->left < budget ? sending->left : budget;
    int32_t at = (int32_t)w2c_stack_tcpReserve(stack, index, (uint32_t)wanted);
    if (at <= 0) {
      if (at != -EAGAIN) sending->error = EPIPE;
      return true;
    }
    uint32_t room = core_header()->chunkBytes;
    if (!cursor_copy(&sending->from, region_at((uint32_t)at), room, false)) {
      w2c_stack_tcpCommit(stack, index, 0);
      return false;
    }
    w2c_stack_tcpCommit(stack, index, room);
    sending->left -= room;
    sending->done += room;
    budget -= room;
  }
  return true;
}

/* Why nothing can be sent now: an errno for good, or 0 and the call may wait. */
static int refusal(const struct Socket *socket, const struct Tcb *tcb) {
  if (socket->error != 0) return (int)socket->error;
  if ((tcb->flags & TcpFlag_ShutSend) != 0) return EPIPE;
  return tcb->state == TcpState_Closed ? EPIPE : 0;
}

static uint32_t borrow(const struct StreamSend *sending, uint32_t index, uint32_t *bytes) {
  size_t wanted = sending->left < UINT32_MAX ? sending->left : UINT32_MAX;
  uint32_t first = w2c_stack_tcpLend(stack, index, (uint32_t)wanted, process.client);
  *bytes = core_header()->chunkBytes;
  return first;
}

/* Sends as much as frames are lent for. What comes in between is left to attempt(). */
static void send_in_bulk(struct StreamSend *sending) {
  struct Endpoint *endpoint = sending->endpoint;
  uint32_t index = endpoint->index;
  const struct Socket *socket = region_socket(index);
  uint32_t bytes = 0;
  if (!stack_lock()) return;
  bool same = socket->sequence == endpoint->sequence && socket->error == 0;
  uint32_t lent = same ? borrow(sending, index, &bytes) : 0;
  stack_unlock();
  while (lent != 0) {
    struct Cursor start = sending->from;
    bool good = stream_copy_lent(&sending->from, lent, bytes, false);
    uint32_t next = 0;
    if (!stack_lock()) return;
    same = good && socket->sequence == endpoint->sequence;
    uint32_t more = (sending->flags & MSG_MORE) != 0 && bytes == sending->left ? PUSH_MORE : 0;
    if (same && w2c_stack_tcpHandIn(stack, index, lent, bytes, process.client, more,
                                    now_coarse()) == 0) {
      sending->left -= bytes;
      sending->done += bytes;
      if (sending->left >= LENT_BYTES_MIN) next = borrow(sending, index, &bytes);
    } else {
      sending->from = start;
      if (!same) w2c_stack_framesTakeBack(stack, lent, process.client);
    }
    stack_unlock();
    lent = next;
  }
}

/* One attempt. True when the call is over. */
static bool attempt(struct StreamSend *sending, bool pump) {
  struct Endpoint *endpoint = sending->endpoint;
  uint32_t index = endpoint->index;
  bool ours = LIKELY(stream_kind(endpoint) == STREAM_CONNECTION) && process_usable();
  size_t sent = sending->done;
  if (ours && stream_is_bulk(index, sending->left) && (sending->flags & MSG_OOB) == 0) {
    send_in_bulk(sending);
    if (sending->left == 0 && sent != sending->done) return true;
  }
  uint64_t now = ours ? stream_now(index) : 0;
  if (!ours || !stack_lock()) {
    sending->error = EPIPE;
    return true;
  }
  if (pump) w2c_stack_poll(stack, now, STREAM_BUDGET);
  size_t before = sending->done;
  bool good = true;
  struct Socket *socket = region_socket(index);
  if (UNLIKELY(socket->sequence != endpoint->sequence)) {
    sending->error = EPIPE;
  } else {
    sending->error = refusal(socket, region_tcb(index));
    if (LIKELY(sending->error == 0) && !stream_is_opening(index)) {
      good = fill(sending, index);
      uint32_t flags = (sending->flags & MSG_MORE) != 0 || sending->left > 0 ? PUSH_MORE : 0;
      if ((sending->flags & MSG_OOB) != 0 && sending->left == 0) flags |= PUSH_URGENT;
      if (sending->done != before) w2c_stack_tcpPush(stack, index, flags, now);
    }
    /* An error that is told is told once; behind a part that was sent it waits. */
    if (socket->error != 0 && sending->done == 0 && sending->error != 0) {
      w2c_stack_socketTakeError(stack, index);
    }
  }
  stack_unlock();
  if (UNLIKELY(!good)) sending->error = EFAULT;
  return sending->error != 0 || sending->left == 0;
}

/* Attempts until there is no room. */
static int try_send(void *context, uint64_t now, bool askKernel) {
  struct StreamSend *sending = context;
  (void)now;
  (void)askKernel;
  if (sending->endpoint->generation != sending->generation) return -EBADF;
  process_watch(now);
  /* A reader on this host needs the lock to make room: it is left alone until it has. */
  uint32_t index = sending->endpoint->index;
  bool local = stream_kind(sending->endpoint) == STREAM_CONNECTION &&
               region_tcb(index)->localPeer != 0;
  if (local && (w2c_stack_socketReadiness(stack, index) & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
    stack_pump(now);
    return 0;
  }
  size_t before;
  do {
    before = sending->done;
    if (attempt(sending, stack_has_work(now))) return 1;
  } while (sending->done != before);
  return 0;
}

static int wait_for_room(struct StreamSend *sending) {
  struct Endpoint *endpoint = sending->endpoint;
  uint64_t timeout = region_socket(endpoint->index)->sendTimeoutNanos;
  struct pollfd fds[WAIT_EXTRA_FDS];
  struct Waiting waiting = {.ready = try_send,
                            .context = sending,
                            .deadline = timeout != 0 ? deadline_after(timeout) : FOREVER,
                            .interest = socket_interest(endpoint),
                            .fds = fds,
                            .restarts = timeout == 0,
                            .progress = &sending->done};
  endpoint_hold(endpoint);
  int done = wait_until(&waiting);
  endpoint_release(endpoint);
  return done == 0 ? -EAGAIN : done;
}

static ssize_t conclude(const struct StreamSend *sending, int error) {
  if (sending->done > 0) return (ssize_t)sending->done;
  if (error == EPIPE && (sending->flags & MSG_NOSIGNAL) == 0) raise(SIGPIPE);
  return -error;
}

static ssize_t send_all(int fd, struct StreamSend *sending) {
  if (LIKELY(attempt(sending, false))) {
    return LIKELY(sending->error == 0) ? (ssize_t)sending->done
                                       : conclude(sending, sending->error);
  }
  int done = try_send(sending, now_nanos(), false);
  if (done == 0) {
    bool blocks = (sending->flags & MSG_DONTWAIT) == 0;
    done = blocks && !socket_is_nonblocking(fd, sending->endpoint) ? wait_for_room(sending)
                                                                  : -EAGAIN;
  }
  return done < 0 ? conclude(sending, -done)
                  : sending->error != 0 ? conclude(sending, sending->error)
                                        : (ssize_t)sending->done;
}

ssize_t stream_send(int fd, struct Endpoint *endpoint, const struct msghdr *message, int flags) {
  enum StreamKind kind = stream_kind(endpoint);
  ssize_t bytes = cursor_bytes(message);
  bool opens = (flags & MSG_FASTOPEN) != 0 && message->msg_name != NULL;
  if (opens && bytes >= 0 && (kind == STREAM_KERNEL || kind == STREAM_CONNECTION)) {
    int result = stream_connect(fd, endpoint, message->msg_name, message->msg_namelen);
    if (result != 0) return result;
    flags &= ~MSG_FASTOPEN;
    kind = fd_is_plain(fd) ? STREAM_KERNEL : stream_kind(endpoint);
  }
  if (UNLIKELY(bytes < 0 || kind == STREAM_KERNEL || kind == STREAM_LISTENER)) {
    ssize_t result = real.sendmsg(fd, message, flags);
    return result >= 0 ? result : -errno;
  }
  struct StreamSend sending = {.endpoint = endpoint,
                               .generation = endpoint->generation,
                               .flags = flags,
                               .from = {message->msg_iov, message->msg_iovlen, 0},
                               .left = (size_t)bytes};
  return send_all(fd, &sending);
}

ssize_t stream_send_bytes(int fd, struct Endpoint *endpoint, const void *data, size_t bytes,
                          int flags) {
  struct iovec part = {(void *)(uintptr_t)data, bytes};
  if (UNLIKELY(stream_kind(endpoint) != STREAM_CONNECTION || bytes > RW_BYTES_MAX)) {
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return stream_send(fd, endpoint, &message, flags);
  }
  struct StreamSend sending = {.endpoint = endpoint,
                               .generation = endpoint->generation,
                               .flags = flags,
                               .from = {&part, 1, 0},
                               .left = bytes};
  return send_all(fd, &sending);
}
