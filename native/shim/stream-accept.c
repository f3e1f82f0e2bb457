/*
 * listen(2) and accept(2). A listener has two queues of connections, the stack's and its kernel
 * twin's, which serves what comes by other ways. A connection of the stack gets a kernel socket of
 * its own, to be a descriptor.
 */
#include "stream.h"

#include <string.h>
#include <sys/time.h>

/* A jiffy: so long accept may wait in the kernel for what another process has taken. */
static const struct timeval brief = {0, 1};

/* Otherwise it is the program's, in nanoseconds. */
void stream_limit_twin(int fd, bool limited, uint64_t nanos) {
  struct timeval own = {(time_t)(nanos / 1000000000u), (suseconds_t)(nanos % 1000000000u / 1000)};
  real.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, limited ? &brief : &own, sizeof own);
}

/* NULL, or why only the kernel can listen there. Precondition: the socket has a port. */
static const char *listen_in_stack(int fd, struct Endpoint *endpoint, int backlog) {
  struct sockaddr_in local = {0};
  if (stream_local_name(fd, endpoint, &local) != 0) return "it has no IPv4 address";
  const char *why = stream_obstacle(endpoint, local.sin_addr);
  if (why != NULL) return why;
  process_check_daemon();
  if (!process_join() || !process_usable()) return "no stack to join";
  uint64_t cookie = socket_cookie(fd);
  if (!stream_enter(fd, endpoint, cookie)) return "the stack has no socket left";
  uint32_t device = stream_device(fd, endpoint);
  int result = -VIA_KERNEL;
  if (stack_lock()) {
    result = (int)w2c_stack_tcpListen(stack, endpoint->index, 0, mapped(local.sin_addr),
                                      local.sin_port, device, (uint32_t)backlog);
    stack_unlock();
  }
  if (result == 0) {
    socket_count_arrivals(fd, endpoint, cookie);
    return NULL;
  }
  stream_leave(endpoint, true);
  return "the stack has no room for its address";
}

int shim_listen(int fd, int backlog) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (!endpoint->stream) return real.listen(fd, backlog);
  enum StreamKind kind = stream_kind(endpoint);
  if (kind == STREAM_CONNECTION || kind == STREAM_LOST) return (int)answer(-EINVAL);
  if (kind == STREAM_LISTENER) {
    if (real.listen(fd, backlog) != 0) return -1;
    if (!stack_lock()) return 0;
    const struct Socket *socket = region_socket(endpoint->index);
    w2c_stack_tcpListen(stack, endpoint->index, 0, socket->localLo, socket->localPortNet,
                        socket->ifindex, (uint32_t)backlog);
    stack_unlock();
    return 0;
  }
  struct sockaddr_in local;
  int reserved = stream_reserve_port(fd, endpoint, &local);
  if (reserved != 0 && reserved != -EAFNOSUPPORT) return (int)answer(reserved);
  endpoint->autobound = false;
  endpoint->bound = true;
  /* First the stack: a handshake that the kernel began would be cut off by the steering. */
  const char *why = listen_in_stack(fd, endpoint, backlog);
  bool refused = why != NULL && process.require && !endpoint->disabled && !process_join();
  int result = refused ? (int)answer(-ENETDOWN) : real.listen(fd, backlog);
  if (result != 0 || why != NULL) {
    int saved = errno;
    stream_leave(endpoint, true);
    if (result == 0) stream_stays(fd, endpoint, why);
    errno = saved;
    return result;
  }
  stream_limit_twin(fd, true, 0);
  if (process.debug) say("enabled bypass on fd %d", fd);
  epoll_follow(endpoint);
  return 0;
}

struct Accepting {
  struct Endpoint *endpoint;
  uint32_t generation;
  int fd;
  int flags;
  /* The kernel socket for what the stack has, made before the lock is taken. */
  int twin;
  uint64_t cookie;
  uint32_t index;
  /* In the family of the listener, and the length of it. */
  struct sockaddr_in6 peer;
  socklen_t peerBytes;
  /* A descriptor, or -errno. */
  int result;
  /* Of a call that waits. */
  struct pollfd *fds;
};

static bool take_from_stack(struct Accepting *accepting) {
  uint32_t listener = accepting->endpoint->index;
  if (accepting->twin < 0) {
    int type = SOCK_STREAM | (accepting->flags & (SOCK_NONBLOCK | SOCK_CLOEXEC));
    accepting->twin = real.socket(accepting->endpoint->six ? AF_INET6 : AF_INET, type, 0);
    if (accepting->twin < 0 || accepting->twin >= FD_MAX) {
      accepting->result = accepting->twin < 0 ? -errno : -EMFILE;
      return true;
    }
    accepting->cookie = socket_cookie(accepting->twin);
  }
  if (!stack_lock()) return false;
  int index = (int)w2c_stack_tcpAccept(stack, listener, accepting->cookie, process.client);
  if (index > 0) {
    const struct Socket *socket = region_socket((uint32_t)index);
    accepting->peerBytes = sizeof accepting->peer;
    stream_put_name(accepting->endpoint, socket->remoteLo, socket->remotePortNet,
                    (struct sockaddr *)&accepting->peer, &accepting->peerBytes);
  }
  stack_unlock();
  if (index <= 0) return false;
  accepting->index = (uint32_t)index;
  accepting->result = accepting->twin;
  accepting->endpoint->twinTurn = true;
  return true;
}

static bool take_from_kernel(struct Accepting *accepting) {
  struct Endpoint *endpoint = accepting->endpoint;
  struct pollfd one = {.fd = accepting->fd, .events = POLLIN};
  if (real.poll(&one, 1, 0) <= 0) {
    socket_twin_empty(endpoint);
    return false;
  }
  accepting->peerBytes = sizeof accepting->peer;
  int fd = real.accept4(accepting->fd, (struct sockaddr *)&accepting->peer,
                        &accepting->peerBytes, accepting->flags);
  if (fd < 0 && errno == EAGAIN) return false;
  accepting->result = fd >= 0 ? fd : -errno;
  endpoint->twinTurn = false;
  if (fd < 0) return true;
  /* It inherited what the library has put on the listener. */
  stream_limit_twin(fd, false, region_socket(endpoint->index)->receiveTimeoutNanos);
  int unused = 0;
  if (endpoint->counted) {
    real.setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
  }
  fd_set_plain(fd);
  return true;
}

static int try_accept(void *context, uint64_t now, bool askKernel) {
  struct Accepting *accepting = context;
  struct Endpoint *endpoint = accepting->endpoint;
  if (UNLIKELY(endpoint->generation != accepting->generation)) return -EBADF;
  stack_pump(now);
  if (stream_kind(endpoint) != STREAM_LISTENER) {
    accepting->result = process.orphaned ? -VIA_KERNEL : -EINVAL;
    return 1;
  }
  bool has = region_tcb(endpoint->index)->acceptCount != 0;
  bool worth = askKernel || socket_twin_worth(endpoint, now);
  bool kernelFirst = worth && (endpoint->twinTurn || !has);
  if (kernelFirst && take_from_kernel(accepting)) return 1;
  if (has && take_from_stack(accepting)) return 1;
  return worth && !kernelFirst && take_from_kernel(accepting);
}

/* The connection that was taken from the stack becomes a descriptor of the program's. */
static int adopt(const struct Accepting *accepting) {
  int fd = accepting->twin;
  struct Endpoint *endpoint = endpoint_new();
  if (endpoint == NULL) {
    if (stack_lock()) {
      w2c_stack_tcpClose(stack, accepting->index, now_nanos());
      stack_unlock();
    }
    real.close(fd);
    return -ENFILE;
  }
  endpoint->stream = true;
  endpoint->six = accepting->endpoint->six;
  endpoint->nonblocking = (accepting->flags & SOCK_NONBLOCK) != 0;
  socket_adopt(endpoint, accepting->index);
  if (endpoint->nonblocking) socket_set_nonblocking(endpoint, true);
  stream_inherit(fd, endpoint, accepting->fd, accepting->endpoint);
  fd_set_endpoint(fd, endpoint);
  if (process.debug) say("enabled bypass on fd %d", fd);
  return fd;
}

/* As try_accept, by the number that the listener has now. */
static int try_accept_blocked(void *context, uint64_t now, bool askKernel) {
  struct Accepting *accepting = context;
  int fd = endpoint_fd(accepting->endpoint, accepting->fd);
  if (UNLIKELY(fd != accepting->fd)) accepting->fd = accepting->fds[0].fd = fd;
  return try_accept(context, now, askKernel);
}

static int accept_one(struct Accepting *accepting) {
  struct Endpoint *endpoint = accepting->endpoint;
  int done = try_accept(accepting, now_nanos(), false);
  if (done == 0 && socket_is_nonblocking(accepting->fd, endpoint)) return -EAGAIN;
  if (done == 0) {
    uint64_t timeout = region_socket(endpoint->index)->receiveTimeoutNanos;
    struct pollfd fds[1 + WAIT_EXTRA_FDS] = {{.fd = accepting->fd, .events = POLLIN}};
    accepting->fds = fds;
    struct Waiting waiting = {.ready = try_accept_blocked,
                              .context = accepting,
                              .deadline = timeout != 0 ? deadline_after(timeout) : FOREVER,
                              .interest = socket_interest(endpoint),
                              .fds = fds,
                              .count = 1,
                              .restarts = timeout == 0};
    done = wait_until(&waiting);
    if (done == 0) return -EAGAIN;
  }
  return done < 0 ? done : accepting->result;
}

static int put_peer(const struct Accepting *accepting, struct sockaddr *address,
                    socklen_t *bytes) {
  if (address == NULL) return 0;
  if (is_nowhere(address) || is_nowhere(bytes)) return -EFAULT;
  if ((int)*bytes < 0) return -EINVAL;
  size_t room = *bytes < accepting->peerBytes ? *bytes : accepting->peerBytes;
  memcpy(address, &accepting->peer, room);
  *bytes = accepting->peerBytes;
  return 0;
}

int shim_accept4(int fd, struct sockaddr *address, socklen_t *bytes, int flags) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  enum StreamKind kind = endpoint->stream ? stream_kind(endpoint) : STREAM_KERNEL;
  if ((flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0) return (int)answer(-EINVAL);
  struct Accepting accepting = {.endpoint = endpoint,
                                .generation = endpoint->generation,
                                .fd = fd,
                                .flags = flags,
                                .twin = -1,
                                .result = -VIA_KERNEL};
  endpoint_hold(endpoint);
  if (kind == STREAM_LISTENER) accepting.result = accept_one(&accepting);
  if (accepting.twin >= 0 && accepting.result == accepting.twin) {
    accepting.result = adopt(&accepting);
  } else if (accepting.twin >= 0) {
    real.close(accepting.twin);
  }
  endpoint_release(endpoint);
  if (accepting.result == -VIA_KERNEL) {
    if (process.orphaned && endpoint->index != 0) {
      stream_limit_twin(fd, false, region_socket(endpoint->index)->receiveTimeoutNanos);
      if (endpoint->references == 1) fd_make_plain(fd);
    }
    return real.accept4(fd, address, bytes, flags);
  }
  if (accepting.result < 0) return (int)answer(accepting.result);
  int result = put_peer(&accepting, address, bytes);
  if (result == 0) return accepting.result;
  close(accepting.result);
  return (int)answer(result);
}

int shim_accept(int fd, struct sockaddr *address, socklen_t *bytes) {
  return shim_accept4(fd, address, bytes, 0);
}
