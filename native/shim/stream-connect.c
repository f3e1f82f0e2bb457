/*
 * connect(2), as Linux's inet_stream_connect. Whether the stack can reach the destination is known
 * once exasockd has answered, which takes a fraction of a millisecond for a new one: that is waited
 * for, within a bound, even by a socket that does not block.
 */
#include "stream.h"

#include <string.h>

/* An exasockd that takes longer is left out: the kernel connects. */
#define ROUTE_WAIT_NANOS 100000000u
enum { PORT_TRIES = 8 };
/* Between two looks for exasockd's answer, which needs the lock to be given. */
#define ROUTE_LOOK_NANOS 20000u

struct Routing {
  uint64_t remoteLo;
  uint32_t remotePortNet;
  /* What the program bound to, then what the route says. */
  uint64_t sourceLo;
  uint32_t ifindex;
  int32_t result;
  uint64_t lookNanos;
};

static void look_for_route(struct Routing *routing) {
  routing->result = -VIA_KERNEL;
  if (!process_usable() || !stack_lock()) return;
  int32_t at = (int32_t)w2c_stack_tcpRoute(stack, 0, routing->remoteLo, routing->remotePortNet,
                                           0, routing->sourceLo, routing->ifindex);
  if (at > 0 && routing->sourceLo == 0) {
    routing->sourceLo = ((const struct Destination *)region_at((uint32_t)at))->sourceLo;
  }
  routing->result = at;
  stack_unlock();
}

static int try_route(void *context, uint64_t now, bool askKernel) {
  struct Routing *routing = context;
  stack_pump(now);
  if (now - routing->lookNanos < ROUTE_LOOK_NANOS && !askKernel) return 0;
  routing->lookNanos = now;
  look_for_route(routing);
  return routing->result != -EAGAIN;
}

/* False: only the kernel knows a way. */
static bool find_route(struct Routing *routing) {
  look_for_route(routing);
  uint64_t deadline = deadline_after(ROUTE_WAIT_NANOS);
  /* Without exasockd there will be no answer. */
  while (routing->result == -EAGAIN && process.control >= 0) {
    struct pollfd fds[WAIT_EXTRA_FDS];
    struct Waiting waiting = {.ready = try_route,
                              .context = routing,
                              .deadline = deadline,
                              .interest = ~0ull,
                              .fds = fds,
                              .restarts = true};
    if (wait_until(&waiting) == 0) break;
  }
  return routing->result > 0;
}

struct Opening {
  struct Endpoint *endpoint;
  uint32_t generation;
};

static int try_open(void *context, uint64_t now, bool askKernel) {
  const struct Opening *opening = context;
  struct Endpoint *endpoint = opening->endpoint;
  (void)askKernel;
  if (endpoint->generation != opening->generation) return -EBADF;
  stack_pump(now);
  if (stream_kind(endpoint) != STREAM_CONNECTION) return 1;
  return !stream_is_opening(endpoint->index);
}

/* How the connection that was begun came out; `pending` while that is not known. */
static int outcome(struct Endpoint *endpoint, int pending) {
  struct Opening opening = {endpoint, endpoint->generation};
  if (!try_open(&opening, now_nanos(), false)) {
    if (socket_is_nonblocking(-1, endpoint)) return pending;
    uint64_t timeout = region_socket(endpoint->index)->sendTimeoutNanos;
    struct pollfd fds[WAIT_EXTRA_FDS];
    struct Waiting waiting = {.ready = try_open,
                              .context = &opening,
                              .deadline = timeout != 0 ? deadline_after(timeout) : FOREVER,
                              .interest = socket_interest(endpoint),
                              .fds = fds,
                              .restarts = timeout == 0};
    int done = wait_until(&waiting);
    if (done == 0) return pending;
    if (done < 0) return done;
  }
  endpoint->connecting = false;
  if (stream_kind(endpoint) != STREAM_CONNECTION) return -ECONNABORTED;
  if (region_tcb(endpoint->index)->state != TcpState_Closed) return 0;
  int error = 0;
  if (stack_lock()) {
    error = (int)w2c_stack_socketTakeError(stack, endpoint->index);
    stack_unlock();
  }
  stream_leave(endpoint, true);
  return error != 0 ? -error : -ECONNABORTED;
}

static int by_kernel(int fd, struct Endpoint *endpoint, const struct sockaddr *address,
                     socklen_t bytes, const char *why) {
  int result = real.connect(fd, address, bytes) == 0 ? 0 : -errno;
  bool begun = result == 0 || result == -EINPROGRESS || result == -EALREADY || result == -EINTR;
  if (begun) stream_stays(fd, endpoint, why);
  return result;
}

struct Attempt {
  struct sockaddr_in to;
  /* 0 or -errno. */
  int result;
};

/* Makes the connection in the stack. NULL, or why the kernel has to. */
static const char *open_in_stack(int fd, struct Endpoint *endpoint, struct Attempt *attempt) {
  struct sockaddr_in local = {0};
  if (endpoint->bound && stream_local_name(fd, endpoint, &local) != 0) {
    return "it has no IPv4 address";
  }
  if (local.sin_addr.s_addr != 0) {
    const char *why = stream_obstacle(endpoint, local.sin_addr);
    if (why != NULL) return why;
  }
  uint32_t device = stream_device(fd, endpoint);
  bool any = local.sin_addr.s_addr == 0;
  struct Routing routing = {.remoteLo = mapped(attempt->to.sin_addr),
                            .remotePortNet = attempt->to.sin_port,
                            .sourceLo = mapped(local.sin_addr),
                            .ifindex = device};
  if (!find_route(&routing)) return "the stack has no way there";
  if (stream_reserve_port(fd, endpoint, &local) != 0) return "no port to reserve";
  if (!stream_enter(fd, endpoint, socket_cookie(fd))) return "the stack has no socket left";
  int opened = -VIA_KERNEL;
  for (unsigned tries = 0; tries < PORT_TRIES && stack_lock(); tries++) {
    opened = (int)w2c_stack_tcpConnect(stack, endpoint->index, 0, routing.sourceLo, local.sin_port,
                                       0, routing.remoteLo, attempt->to.sin_port, any, device,
                                       now_nanos());
    stack_unlock();
    /* The port is free for the kernel, but the stack still ends a connection that had it. */
    if (opened != -EADDRNOTAVAIL || !endpoint->autobound) break;
    if (!stream_change_port(fd, endpoint, &local)) break;
  }
  if (opened != 0) stream_leave(endpoint, true);
  if (opened == -ENOSPC || opened == -VIA_KERNEL) return "the stack has no room for it";
  attempt->result = opened;
  return NULL;
}

static int begin(int fd, struct Endpoint *endpoint, const struct sockaddr *name, socklen_t bytes) {
  struct Attempt attempt = {.result = 0};
  const struct sockaddr_in *to = &attempt.to;
  bool fits = name->sa_family == (endpoint->six ? AF_INET6 : AF_INET);
  if (!fits || !stream_read_name(name, bytes, &attempt.to)) {
    return by_kernel(fd, endpoint, name, bytes, "not an IPv4 address");
  }
  const char *why = stream_obstacle(endpoint, to->sin_addr);
  if (why == NULL && (to->sin_port == 0 || to->sin_addr.s_addr == 0)) why = "an odd address";
  if (why != NULL) return by_kernel(fd, endpoint, name, bytes, why);
  process_check_daemon();
  if (!process_join() || !process_usable()) {
    if (process.require) return -ENETDOWN;
    return by_kernel(fd, endpoint, name, bytes, "no stack to join");
  }
  why = open_in_stack(fd, endpoint, &attempt);
  if (why != NULL) return by_kernel(fd, endpoint, name, bytes, why);
  if (attempt.result != 0) return attempt.result;
  if (process.debug) say("enabled bypass on fd %d", fd);
  endpoint->connecting = true;
  epoll_follow(endpoint);
  /* However soon the peer answers: programs rely on that. */
  if (socket_is_nonblocking(fd, endpoint)) return -EINPROGRESS;
  return outcome(endpoint, -EINPROGRESS);
}

int stream_connect(int fd, struct Endpoint *endpoint, const struct sockaddr *address,
                   socklen_t bytes) {
  if (is_nowhere(address) || bytes < sizeof(sa_family_t) ||
      bytes > sizeof(struct sockaddr_storage)) {
    return real.connect(fd, address, bytes) == 0 ? 0 : -errno;
  }
  enum StreamKind kind = stream_kind(endpoint);
  if (address->sa_family == AF_UNSPEC) {
    stream_leave(endpoint, true);
    return real.connect(fd, address, bytes) == 0 ? 0 : -errno;
  }
  if (kind == STREAM_KERNEL) return begin(fd, endpoint, address, bytes);
  if (kind != STREAM_CONNECTION || !endpoint->connecting) return -EISCONN;
  return outcome(endpoint, -EALREADY);
}
