/* A TCP socket's way into the stack and out of it, its end, and its names. */
#include "stream.h"

#include <string.h>

/* Another process that has the socket may have connected it, or listens on it. */
static bool find_shared(struct Endpoint *endpoint) {
  int fd = endpoint->fd;
  if (!process.joined || !process_usable() || fd_socket(fd) != endpoint) return false;
  uint64_t cookie = socket_cookie(fd);
  if (cookie == 0 || !stack_lock()) return false;
  int index = (int)w2c_stack_socketFind(stack, cookie);
  stack_unlock();
  if (index <= 0) return false;
  socket_adopt(endpoint, (uint32_t)index);
  if (region_socket((uint32_t)index)->state == SocketState_Bound) {
    socket_count_arrivals(fd, endpoint, cookie);
  }
  epoll_follow(endpoint);
  return true;
}

enum StreamKind stream_kind_slow(struct Endpoint *endpoint) {
  if (endpoint->index == 0 && !(endpoint->shared && find_shared(endpoint))) return STREAM_KERNEL;
  uint32_t index = endpoint->index;
  const struct Socket *socket = region_socket(index);
  bool same = socket->sequence == endpoint->sequence;
  if (process.orphaned) {
    return same && socket->state == SocketState_Bound ? STREAM_KERNEL : STREAM_LOST;
  }
  if (!same) return STREAM_KERNEL;
  if (socket->state == SocketState_Bound) return STREAM_LISTENER;
  return socket->state == SocketState_Connected ? STREAM_CONNECTION : STREAM_KERNEL;
}

const char *stream_obstacle(const struct Endpoint *endpoint, struct in_addr address) {
  if (endpoint->disabled) return "acceleration is switched off for it";
  uint32_t host = ntohl(address.s_addr);
  if (host >> 28 >= 14) return "a multicast or broadcast address";
  return NULL;
}

void stream_stays(int fd, struct Endpoint *endpoint, const char *why) {
  if (process.debug) say("fd %d stays on the kernel: %s", fd, why);
  /* Unless the program may ask, or other numbers refer to it, the library is done with it. */
  if (endpoint->references == 1 && !endpoint->disabled) fd_make_plain(fd);
}

bool stream_enter(int fd, struct Endpoint *endpoint, uint64_t cookie) {
  if (cookie == 0 || !stack_lock()) return false;
  int index = (int)w2c_stack_socketCreate(stack, cookie, IPPROTO_TCP, process.client);
  stack_unlock();
  if (index <= 0) return false;
  socket_adopt(endpoint, (uint32_t)index);
  if (endpoint->optionsSet != 0) stream_mirror_all(fd, endpoint);
  if (endpoint->nonblocking) socket_set_nonblocking(endpoint, true);
  if (endpoint->shared) socket_share(endpoint), process_await_ends();
  return true;
}

/* Closes it in the region, if it is still the one that the endpoint meant. */
static void close_in_stack(uint32_t index, uint64_t sequence, bool reset) {
  if (!process_usable() || !stack_lock()) return;
  if (region_socket(index)->sequence == sequence) {
    uint64_t now = now_nanos();
    if (reset) w2c_stack_tcpSetOption(stack, index, TcpOption_Linger, 0, now);
    w2c_stack_tcpClose(stack, index, now);
  }
  stack_unlock();
}

void stream_leave(struct Endpoint *endpoint, bool reset) {
  uint32_t index = endpoint->index;
  if (index == 0) return;
  bool limited = stream_kind(endpoint) == STREAM_LISTENER && fd_socket(endpoint->fd) == endpoint;
  if (limited) {
    stream_limit_twin(endpoint->fd, false, region_socket(index)->receiveTimeoutNanos);
  }
  epoll_return(endpoint);
  socket_abandon(endpoint);
  endpoint->connecting = false;
  close_in_stack(index, endpoint->sequence, reset);
}

struct Lingering {
  uint32_t index;
  uint64_t sequence;
};

static int try_lingering(void *context, uint64_t now, bool askKernel) {
  const struct Lingering *lingering = context;
  (void)askKernel;
  stack_pump(now);
  if (process.orphaned) return 1;
  return w2c_stack_tcpIsDone(stack, lingering->index, lingering->sequence) != 0;
}

void stream_last_close(struct Endpoint *endpoint) {
  struct Lingering lingering = {endpoint->index, endpoint->sequence};
  bool connection = stream_kind(endpoint) == STREAM_CONNECTION;
  int seconds = connection ? (int)region_tcb(lingering.index)->lingerSeconds : -1;
  bool shared = socket_is_shared(endpoint);
  socket_abandon(endpoint);
  if (shared) return;
  close_in_stack(lingering.index, lingering.sequence, false);
  if (seconds <= 0) return;
  struct pollfd fds[WAIT_EXTRA_FDS];
  struct Waiting waiting = {.ready = try_lingering,
                            .context = &lingering,
                            .deadline = deadline_after((uint64_t)seconds * 1000000000u),
                            .interest = 1ull << (lingering.index & 63),
                            .fds = fds};
  wait_until(&waiting);
}

int stream_shutdown(int fd, struct Endpoint *endpoint, int how) {
  enum StreamKind kind = stream_kind(endpoint);
  if (how < SHUT_RD || how > SHUT_RDWR || kind == STREAM_KERNEL) return real.shutdown(fd, how);
  if (kind == STREAM_LOST) return (int)answer(-ENOTCONN);
  bool opening = kind == STREAM_CONNECTION && stream_is_opening(endpoint->index);
  if (opening || (kind == STREAM_LISTENER && how != SHUT_WR)) {
    /* Linux disconnects: the socket is as new. */
    if (kind == STREAM_LISTENER) real.shutdown(fd, how);
    stream_leave(endpoint, true);
    return 0;
  }
  if (kind == STREAM_LISTENER) return 0;
  endpoint->connecting = false;
  if (!stack_lock()) return (int)answer(-ENOTCONN);
  int result = (int)w2c_stack_tcpShutdown(stack, endpoint->index, (uint32_t)how, now_nanos());
  stack_unlock();
  return (int)answer(result);
}

int stream_reserve_port(int fd, struct Endpoint *endpoint, struct sockaddr_in *local) {
  struct sockaddr_in6 name = {.sin6_family = endpoint->six ? AF_INET6 : AF_INET};
  socklen_t room = endpoint->six ? sizeof name : sizeof *local;
  if (endpoint->bound || endpoint->autobound) {
    if (real.getsockname(fd, (struct sockaddr *)&name, &room) != 0) return -errno;
    /* The port is at the same place in both. */
    if (name.sin6_port != 0) return stream_local_name(fd, endpoint, local);
  }
  /* A port is what is wanted: not to be put off until connect. */
  int late = 0;
  socklen_t bytes = sizeof late;
  if (endpoint->bound) real.getsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, &bytes);
  int off = 0;
  if (late) real.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &off, sizeof off);
  int result = real.bind(fd, (struct sockaddr *)&name, room) == 0 ? 0 : -errno;
  if (late) real.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &late, sizeof late);
  if (result != 0) return result;
  endpoint->autobound = !endpoint->bound;
  return stream_local_name(fd, endpoint, local);
}

bool stream_change_port(int fd, const struct Endpoint *endpoint, struct sockaddr_in *local) {
  static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
  return real.listen(fd, 1) == 0 && real.connect(fd, &nobody, sizeof nobody) == 0 &&
         stream_bind_any(fd, endpoint) == 0 && stream_local_name(fd, endpoint, local) == 0;
}
