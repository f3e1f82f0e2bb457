/*
 * Sending. Every call becomes a msghdr; the stack takes what it can send, the kernel socket the
 * rest, including every call whose arguments are wrong: its errors are the right ones.
 */
#include "stream.h"

#include <limits.h>
#include <string.h>

enum {
  /* The length of a UDP datagram fits 16 bits: anything longer is for the kernel to refuse. */
  PAYLOAD_MAX = 65507,
  FLAGS_KNOWN = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CONFIRM,
  /* A program that only sends notices now and then that exasockd died. */
  SENDS_PER_CHECK = 1024,
};

struct Sending {
  struct Endpoint *endpoint;
  int fd;
  const struct msghdr *message;
  int flags;
  uint32_t bytes;
  /* Of the destination; a zero port means the connected peer. */
  uint64_t remoteLo;
  uint32_t remotePortNet;
  ssize_t result;
};

/* Bytes in the vector, or -1 if the kernel should look at it. */
static int64_t total_bytes(const struct msghdr *message) {
  size_t total = 0;
  if (message->msg_iovlen > IOV_MAX) return -1;
  if (message->msg_iovlen != 0 && is_nowhere(message->msg_iov)) return -1;
  for (size_t i = 0; i < message->msg_iovlen; i++) {
    const struct iovec *part = &message->msg_iov[i];
    if (part->iov_len > PAYLOAD_MAX || (part->iov_len != 0 && is_nowhere(part->iov_base))) {
      return -1;
    }
    total += part->iov_len;
  }
  return total > PAYLOAD_MAX ? -1 : (int64_t)total;
}

/* Whether the stack can be asked at all; fills in the destination. */
static bool is_for_stack(struct Sending *sending) {
  const struct msghdr *message = sending->message;
  if ((sending->flags & ~FLAGS_KNOWN) != 0 || message->msg_controllen != 0) return false;
  if (sending->endpoint->corked) return false;
  if (message->msg_name != NULL && message->msg_namelen != 0) {
    struct sockaddr_in to;
    if (message->msg_namelen < sizeof to || is_nowhere(message->msg_name)) return false;
    if (message->msg_namelen > sizeof(struct sockaddr_storage)) return false;
    memcpy(&to, message->msg_name, sizeof to);
    if (to.sin_family != AF_INET || to.sin_port == 0 || to.sin_addr.s_addr == 0) return false;
    sending->remoteLo = (uint64_t)to.sin_addr.s_addr << 32 | 0xffff0000u;
    sending->remotePortNet = to.sin_port;
  } else if (region_socket(sending->endpoint->index)->state != SocketState_Connected) {
    return false;
  }
  int64_t bytes = total_bytes(message);
  sending->bytes = (uint32_t)bytes;
  return bytes >= 0;
}

static void gather(uint8_t *to, const struct msghdr *message) {
  for (size_t i = 0; i < message->msg_iovlen; i++) {
    const struct iovec *part = &message->msg_iov[i];
    if (part->iov_len != 0) memcpy(to, part->iov_base, part->iov_len);
    to += part->iov_len;
  }
}

static ssize_t send_by_kernel(struct Sending *sending) {
  ssize_t result = real.sendmsg(sending->fd, sending->message, sending->flags);
  if (result >= 0) sending->endpoint->corked = (sending->flags & MSG_MORE) != 0;
  return result >= 0 ? result : -errno;
}

/* What stays on this host arrives now. */
static void stamp(void) {
  const struct RegionHeader *header = core_header();
  uint32_t at = header->frameMetaOffset + (header->reservedFrame - 1) * FRAME_META_BYTES;
  ((struct FrameMeta *)region_at(at))->arrivalNanos = now_nanos();
}

/* One attempt; false if there is no room. Otherwise `result` holds bytes or -errno. */
static bool attempt(struct Sending *sending, bool pump) {
  uint32_t index = sending->endpoint->index;
  if (UNLIKELY(++sending->endpoint->sends % SENDS_PER_CHECK == 0)) process_check_daemon();
  if (!process_usable() || !stack_lock()) {
    sending->result = send_by_kernel(sending);
    return true;
  }
  if (pump) w2c_stack_poll(stack, now_nanos(), 64);
  int32_t at = -VIA_KERNEL;
  int error = 0;
  if (LIKELY(region_socket(index)->sequence == sending->endpoint->sequence)) {
    if (UNLIKELY(region_socket(index)->error != 0)) {
      error = (int)w2c_stack_socketTakeError(stack, index);
    }
    at = (int32_t)w2c_stack_udpReserve(stack, index, 0, sending->remoteLo, sending->remotePortNet,
                                       0, 0, sending->bytes);
  }
  if (at > 0 && error != 0) w2c_stack_udpAbort(stack);
  if (at > 0 && error == 0) {
    gather(region_at((uint32_t)at), sending->message);
    if (UNLIKELY(core_header()->timestampsWanted != 0)) stamp();
    w2c_stack_udpSubmit(stack);
  }
  stack_unlock();
  if (error != 0) sending->result = -error;
  else if (at > 0) sending->result = sending->bytes;
  else if (at == -EAGAIN) return false;
  else sending->result = send_by_kernel(sending);
  return true;
}

static int try_send(void *context, uint64_t now, bool askKernel) {
  (void)now;
  (void)askKernel;
  return attempt(context, true);
}

static ssize_t wait_for_room(struct Sending *sending) {
  struct Endpoint *endpoint = sending->endpoint;
  if (attempt(sending, true)) return sending->result;
  if ((sending->flags & MSG_DONTWAIT) != 0 || socket_is_nonblocking(sending->fd, endpoint)) {
    return -EAGAIN;
  }
  uint64_t timeout = region_socket(endpoint->index)->sendTimeoutNanos;
  struct pollfd fds[WAIT_EXTRA_FDS];
  struct Waiting waiting = {.ready = try_send,
                            .context = sending,
                            .deadline = timeout != 0 ? deadline_after(timeout) : FOREVER,
                            .interest = socket_interest(endpoint),
                            .fds = fds,
                            .restarts = timeout == 0};
  endpoint_hold(endpoint);
  int done = wait_until(&waiting);
  endpoint_release(endpoint);
  if (done == 0) return -EAGAIN;
  return done < 0 ? done : sending->result;
}

/* Bytes sent, or -errno. */
static ssize_t send_message(int fd, const struct msghdr *message, int flags) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return stream_send(fd, endpoint, message, flags);
  struct Sending sending = {.endpoint = endpoint, .fd = fd, .message = message, .flags = flags};
  bool hasName = message->msg_name != NULL && message->msg_namelen >= sizeof(struct sockaddr_in);
  if (endpoint->index == 0 && !endpoint->released && hasName) socket_autobind(fd, endpoint);
  if (!socket_is_accelerated(endpoint) || !is_for_stack(&sending)) return send_by_kernel(&sending);
  return LIKELY(attempt(&sending, false)) ? sending.result : wait_for_room(&sending);
}

static ssize_t send_one(int fd, const void *data, size_t bytes, int flags,
                        const struct sockaddr *to, socklen_t toBytes) {
  struct iovec part = {(void *)(uintptr_t)data, bytes};
  struct msghdr message = {.msg_name = (void *)(uintptr_t)to,
                           .msg_namelen = toBytes,
                           .msg_iov = &part,
                           .msg_iovlen = 1};
  return answer(send_message(fd, &message, flags));
}

ssize_t shim_send(int fd, const void *data, size_t bytes, int flags) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return answer(stream_send_bytes(fd, endpoint, data, bytes, flags));
  return send_one(fd, data, bytes, flags, NULL, 0);
}

ssize_t shim_sendto(int fd, const void *data, size_t bytes, int flags, const struct sockaddr *to,
                    socklen_t toBytes) {
  /* An error here, but not in sendmsg. */
  if (toBytes > sizeof(struct sockaddr_storage)) {
    return real.sendto(fd, data, bytes, flags, to, toBytes);
  }
  return send_one(fd, data, bytes, flags, to, to != NULL ? toBytes : 0);
}

ssize_t shim_write(int fd, const void *data, size_t bytes) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return answer(stream_send_bytes(fd, endpoint, data, bytes, 0));
  return send_one(fd, data, bytes, 0, NULL, 0);
}

ssize_t shim_writev(int fd, const struct iovec *vector, int count) {
  if (count < 0 || count > IOV_MAX) return real.writev(fd, vector, count);
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector,
                           .msg_iovlen = (size_t)count};
  return answer(send_message(fd, &message, 0));
}

/* At the end, where a socket is: as writev. */
ssize_t shim_pwritev2(int fd, const struct iovec *vector, int count, off_t offset, int flags) {
  bool plain = offset == -1 && (flags & ~(RWF_NOWAIT | RWF_HIPRI)) == 0;
  if (!plain || count < 0 || count > IOV_MAX || fd_endpoint(fd)->index == 0) {
    return real.pwritev2(fd, vector, count, offset, flags);
  }
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector,
                           .msg_iovlen = (size_t)count};
  return answer(send_message(fd, &message, (flags & RWF_NOWAIT) != 0 ? MSG_DONTWAIT : 0));
}

ssize_t shim_sendmsg(int fd, const struct msghdr *message, int flags) {
  if (LIKELY(fd_socket(fd) == NULL)) {
    if (!is_nowhere(message) && message->msg_controllen != 0) fd_sent(message);
    return real.sendmsg(fd, message, flags);
  }
  if (is_nowhere(message)) return real.sendmsg(fd, message, flags);
  ssize_t result = answer(send_message(fd, message, flags));
  trace_result("sendmsg", fd, result);
  return result;
}

int shim_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
  if (fd_socket(fd) == NULL || is_nowhere(messages)) {
    for (unsigned i = 0; !is_nowhere(messages) && i < count; i++) {
      if (messages[i].msg_hdr.msg_controllen != 0) fd_sent(&messages[i].msg_hdr);
    }
    return real.sendmmsg(fd, messages, count, flags);
  }
  if (count > IOV_MAX) count = IOV_MAX;
  for (unsigned done = 0; done < count; done++) {
    ssize_t result = send_message(fd, &messages[done].msg_hdr, flags);
    if (result < 0) return done > 0 ? (int)done : (int)answer(result);
    messages[done].msg_len = (unsigned)result;
    /* A stream that has no room for the rest of one has none for the next. */
    if (result < cursor_bytes(&messages[done].msg_hdr)) return (int)done + 1;
  }
  return (int)count;
}
