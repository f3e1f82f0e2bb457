/*
 * A socket's way into the stack, and what is mirrored there: addresses and options. The kernel
 * socket, its twin, is always asked first, and its answer is the program's.
 */
#include "stream.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

/* From ExaNIC Sockets' <exasock/socket.h>. */
enum { SOL_EXASOCK = 0x200, SO_EXA_NO_ACCEL = 1 };
/* A datagram is counted a little before it can be received: look for it this long. */
#define TWIN_HOT_NANOS 200000u
/* And now and then in any case: a pending error is not counted. */
#define TWIN_ASK_NANOS 1000000u

/* What to do about an option of the kernel socket. */
enum Action {
  /* The stack's copy follows. */
  MIRROR,
  RECEIVE_TIMEOUT,
  SEND_TIMEOUT,
  DEVICE,
  /* The stack can't do this: the kernel has to, when the value is not 0, or in any case. */
  KERNEL_IF_SET,
  KERNEL,
};

struct Option {
  int level;
  int name;
  enum Action action;
  /* For MIRROR, a SocketOption. */
  uint32_t mirror;
  const char *text;
};

static const struct Option options[] = {
    {SOL_SOCKET, SO_REUSEADDR, MIRROR, SocketOption_ReuseAddress, NULL},
    {SOL_SOCKET, SO_REUSEPORT, MIRROR, SocketOption_ReusePort, NULL},
    {SOL_SOCKET, SO_BROADCAST, MIRROR, SocketOption_Broadcast, NULL},
    {SOL_SOCKET, SO_RCVBUF, MIRROR, SocketOption_ReceiveBuffer, NULL},
    {SOL_SOCKET, SO_SNDBUF, MIRROR, SocketOption_SendBuffer, NULL},
    {SOL_SOCKET, SO_TIMESTAMP, MIRROR, SocketOption_Timestamp, NULL},
    {SOL_SOCKET, SO_TIMESTAMPNS, MIRROR, SocketOption_TimestampNanos, NULL},
    {IPPROTO_IP, IP_TTL, MIRROR, SocketOption_Ttl, NULL},
    {IPPROTO_IP, IP_TOS, MIRROR, SocketOption_Tos, NULL},
    {IPPROTO_IP, IP_PKTINFO, MIRROR, SocketOption_PacketInfo, NULL},
    {IPPROTO_IP, IP_RECVTTL, MIRROR, SocketOption_ReceiveTtl, NULL},
    {IPPROTO_IP, IP_RECVTOS, MIRROR, SocketOption_ReceiveTos, NULL},
    {SOL_SOCKET, SO_RCVTIMEO, RECEIVE_TIMEOUT, 0, NULL},
    {SOL_SOCKET, SO_SNDTIMEO, SEND_TIMEOUT, 0, NULL},
    {SOL_SOCKET, SO_BINDTODEVICE, DEVICE, 0, NULL},
    {SOL_SOCKET, SO_BINDTOIFINDEX, DEVICE, 0, NULL},
    {SOL_SOCKET, SO_MARK, KERNEL_IF_SET, 0, "SO_MARK"},
    {SOL_SOCKET, SO_DONTROUTE, KERNEL_IF_SET, 0, "SO_DONTROUTE"},
    {SOL_SOCKET, SO_NO_CHECK, KERNEL_IF_SET, 0, "SO_NO_CHECK"},
    {SOL_SOCKET, SO_RXQ_OVFL, KERNEL_IF_SET, 0, "SO_RXQ_OVFL"},
    {SOL_SOCKET, SO_TIMESTAMPING, KERNEL_IF_SET, 0, "SO_TIMESTAMPING"},
    {SOL_SOCKET, SO_PEEK_OFF, KERNEL, 0, "SO_PEEK_OFF"},
    {SOL_SOCKET, SO_TXTIME, KERNEL, 0, "SO_TXTIME"},
    {SOL_SOCKET, SO_ATTACH_FILTER, KERNEL, 0, "SO_ATTACH_FILTER"},
    {SOL_SOCKET, SO_ATTACH_BPF, KERNEL, 0, "SO_ATTACH_BPF"},
    {SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, KERNEL, 0, "SO_ATTACH_REUSEPORT_CBPF"},
    {SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, KERNEL, 0, "SO_ATTACH_REUSEPORT_EBPF"},
    {IPPROTO_IP, IP_OPTIONS, KERNEL, 0, "IP_OPTIONS"},
    {IPPROTO_IP, IP_RECVERR, KERNEL_IF_SET, 0, "IP_RECVERR"},
    {IPPROTO_IP, IP_RECVOPTS, KERNEL_IF_SET, 0, "IP_RECVOPTS"},
    {IPPROTO_IP, IP_RETOPTS, KERNEL_IF_SET, 0, "IP_RETOPTS"},
    {IPPROTO_IP, IP_RECVORIGDSTADDR, KERNEL_IF_SET, 0, "IP_RECVORIGDSTADDR"},
    {IPPROTO_IP, IP_CHECKSUM, KERNEL_IF_SET, 0, "IP_CHECKSUM"},
    {IPPROTO_IP, IP_MINTTL, KERNEL_IF_SET, 0, "IP_MINTTL"},
    {IPPROTO_IP, IP_PASSSEC, KERNEL_IF_SET, 0, "IP_PASSSEC"},
    {IPPROTO_IP, IP_UNICAST_IF, KERNEL_IF_SET, 0, "IP_UNICAST_IF"},
    {IPPROTO_IP, IP_RECVFRAGSIZE, KERNEL_IF_SET, 0, "IP_RECVFRAGSIZE"},
    {IPPROTO_UDP, UDP_CORK, KERNEL_IF_SET, 0, "UDP_CORK"},
    {IPPROTO_UDP, UDP_ENCAP, KERNEL_IF_SET, 0, "UDP_ENCAP"},
    {IPPROTO_UDP, UDP_SEGMENT, KERNEL_IF_SET, 0, "UDP_SEGMENT"},
    {IPPROTO_UDP, UDP_GRO, KERNEL_IF_SET, 0, "UDP_GRO"},
};
enum { OPTIONS = sizeof options / sizeof options[0] };

static const struct Option *find_option(int level, int name) {
  if (level == SOL_SOCKET && name == SO_RCVBUFFORCE) name = SO_RCVBUF;
  if (level == SOL_SOCKET && name == SO_SNDBUFFORCE) name = SO_SNDBUF;
  for (unsigned i = 0; i < OPTIONS; i++) {
    if (options[i].level == level && options[i].name == name) return &options[i];
  }
  return NULL;
}

static int get_int(int fd, int level, int name) {
  int value = 0;
  socklen_t bytes = sizeof value;
  return real.getsockopt(fd, level, name, &value, &bytes) == 0 ? value : 0;
}

static uint64_t get_timeout(int fd, int name) {
  struct timeval value = {0};
  socklen_t bytes = sizeof value;
  real.getsockopt(fd, SOL_SOCKET, name, &value, &bytes);
  return (uint64_t)value.tv_sec * 1000000000u + (uint64_t)value.tv_usec * 1000u;
}

/* Brings the stack's copy of one option up to date with the kernel socket. */
static void mirror(int fd, const struct Endpoint *endpoint, const struct Option *option) {
  if (option->action == MIRROR) {
    uint32_t value = (uint32_t)get_int(fd, option->level, option->name);
    if (!stack_lock()) return;
    w2c_stack_socketSetOption(stack, endpoint->index, option->mirror, value);
    stack_unlock();
  } else if (option->action == RECEIVE_TIMEOUT) {
    region_socket(endpoint->index)->receiveTimeoutNanos = get_timeout(fd, SO_RCVTIMEO);
  } else if (option->action == SEND_TIMEOUT) {
    region_socket(endpoint->index)->sendTimeoutNanos = get_timeout(fd, SO_SNDTIMEO);
  }
}

void socket_set_nonblocking(struct Endpoint *endpoint, bool on) {
  endpoint->nonblocking = on;
  if (!socket_is_accelerated(endpoint) || !process_usable() || !stack_lock()) return;
  w2c_stack_socketSetOption(stack, endpoint->index, SocketOption_NonBlocking, on);
  stack_unlock();
}

void socket_share(struct Endpoint *endpoint) {
  endpoint->shared = true;
  if (!socket_is_accelerated(endpoint) || !process_usable() || !stack_lock()) return;
  w2c_stack_socketSetOption(stack, endpoint->index, SocketOption_Shared, 1);
  stack_unlock();
}

bool socket_is_shared(const struct Endpoint *endpoint) {
  if (endpoint->shared || endpoint->index == 0) return endpoint->shared;
  return (region_socket(endpoint->index)->flags & SocketFlag_Shared) != 0;
}

bool socket_is_nonblocking(int fd, const struct Endpoint *endpoint) {
  if (endpoint->index == 0 && endpoint->stream) return endpoint->nonblocking;
  if (endpoint->index == 0) return (real.fcntl(fd, F_GETFL, NULL) & O_NONBLOCK) != 0;
  return (region_socket(endpoint->index)->flags & SocketFlag_NonBlocking) != 0;
}

static uint32_t stream_ready(struct Endpoint *endpoint) {
  enum StreamKind kind = stream_kind(endpoint);
  if (kind == STREAM_KERNEL) return 0;
  if (LIKELY(kind != STREAM_LOST)) return w2c_stack_socketReadiness(stack, endpoint->index);
  uint32_t error = endpoint->released ? 0 : EPOLLERR;
  return error | EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP;
}

bool socket_is_alone(struct Endpoint *endpoint) {
  if (!endpoint->stream || endpoint->index == 0) return false;
  enum StreamKind kind = stream_kind(endpoint);
  return kind == STREAM_CONNECTION || kind == STREAM_LOST;
}

uint32_t socket_ready(struct Endpoint *endpoint) {
  if (endpoint->index == 0) return 0;
  if (endpoint->stream) return stream_ready(endpoint);
  const struct Socket *socket = region_socket(endpoint->index);
  if (socket->sequence != endpoint->sequence) return 0;
  /* Another process may have handed it over. */
  if (socket->state == SocketState_Kernel) endpoint->released = true;
  uint32_t bits = w2c_stack_socketReadiness(stack, endpoint->index);
  /* A pending error alone is POLLERR, not POLLIN. */
  if ((bits & EPOLLERR) != 0 && socket->receiveCount == 0) bits &= ~(uint32_t)EPOLLIN;
  return bits;
}

static uint32_t arrivals(const struct Endpoint *endpoint) {
  return __atomic_load_n((uint32_t *)region_at(endpoint->arrivalsOffset), __ATOMIC_ACQUIRE);
}

bool socket_twin_worth(struct Endpoint *endpoint, uint64_t now) {
  if (!endpoint->counted) return true;
  uint32_t seen = arrivals(endpoint);
  if (seen != endpoint->arrivalsSeen) {
    endpoint->arrivalsSeen = seen;
    endpoint->twinHotUntil = now_nanos() + TWIN_HOT_NANOS;
    endpoint->twinMaybe = true;
  }
  /* `now` may be a coarse clock's, a little before the time at which the twin was asked. */
  int64_t age = (int64_t)(now - endpoint->twinAskedNanos);
  return endpoint->twinMaybe || (now != 0 && age > (int64_t)TWIN_ASK_NANOS);
}

void socket_twin_empty(struct Endpoint *endpoint) {
  uint64_t now = now_nanos();
  endpoint->twinAskedNanos = now;
  if (now >= endpoint->twinHotUntil) endpoint->twinMaybe = false;
}

uint64_t socket_cookie(int fd) {
  uint64_t cookie = 0;
  socklen_t bytes = sizeof cookie;
  return real.getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0 ? cookie : 0;
}

void socket_adopt(struct Endpoint *endpoint, uint32_t index) {
  endpoint->sequence = region_socket(index)->sequence;
  endpoint->released = region_socket(index)->state == SocketState_Kernel;
  endpoint->index = index;
}

void socket_abandon(struct Endpoint *endpoint) { endpoint->index = 0; }

void socket_count_arrivals(int fd, struct Endpoint *endpoint, uint64_t cookie) {
  endpoint->arrivalsOffset =
      ARRIVALS_OFFSET + (uint32_t)(cookie & (ARRIVAL_COUNTERS - 1)) * (uint32_t)sizeof(uint64_t);
  endpoint->arrivalsSeen = arrivals(endpoint);
  endpoint->counted = real.setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &process.arrivalsProgram,
                                      sizeof process.arrivalsProgram) == 0;
  /* What arrived before the counter was attached. */
  endpoint->twinMaybe = true;
}

static bool has_peer(int fd, struct sockaddr_in *peer) {
  socklen_t bytes = sizeof *peer;
  return real.getpeername(fd, (struct sockaddr *)peer, &bytes) == 0;
}

/* The kernel socket's address. NULL, or why the stack has no use for it. */
static const char *local_address(int fd, struct sockaddr_in *local) {
  socklen_t bytes = sizeof *local;
  if (real.getsockname(fd, (struct sockaddr *)local, &bytes) != 0) return "it has no address";
  uint32_t address = ntohl(local->sin_addr.s_addr);
  return address >> 28 >= 14 ? "bound to a multicast or broadcast address" : NULL;
}

/* Packets for other addresses (a subnet's broadcast address) are the kernel's. */
static bool is_of_this_host(uint64_t lo) {
  for (uint32_t slot = 0; slot < MAX_ADDRESSES; slot++) {
    const struct HostAddress *address = region_at(ADDRESSES_OFFSET + slot * ADDRESS_BYTES);
    if (address->references != 0 && address->hi == 0 && address->lo == lo) return true;
  }
  return lo == 0 || (lo >> 32 & 0xff) == IN_LOOPBACKNET;
}

/* Gives the region's socket the addresses that the kernel socket has. NULL, or why not. */
static const char *place(int fd, uint32_t index) {
  struct sockaddr_in local;
  struct sockaddr_in peer;
  const char *why = local_address(fd, &local);
  if (why != NULL) return why;
  if (!is_of_this_host(mapped(local.sin_addr))) return "bound to an address of no interface";
  bool connected = has_peer(fd, &peer);
  uint32_t device = (uint32_t)get_int(fd, SOL_SOCKET, SO_BINDTOIFINDEX);
  if (!stack_lock()) return "exasockd is gone";
  uint32_t state = region_socket(index)->state;
  int result = 0;
  if (!connected && state == SocketState_Connected) {
    result = (int)w2c_stack_socketDisconnect(stack, index, 0, mapped(local.sin_addr),
                                             local.sin_port);
  } else if (!connected || device != region_socket(index)->ifindex) {
    result = (int)w2c_stack_socketBind(stack, index, 0, mapped(local.sin_addr), local.sin_port,
                                       device);
  }
  if (result == 0 && connected) {
    result = (int)w2c_stack_socketConnect(stack, index, 0, mapped(local.sin_addr), local.sin_port,
                                          0, mapped(peer.sin_addr), peer.sin_port);
  }
  stack_unlock();
  return result == 0 ? NULL : "the stack has no room for its address";
}

static void leave_stack(struct Endpoint *endpoint) {
  uint32_t index = endpoint->index;
  bool shared = socket_is_shared(endpoint);
  socket_abandon(endpoint);
  if (shared || !process_usable() || !stack_lock()) return;
  if (region_socket(index)->sequence == endpoint->sequence) w2c_stack_socketDestroy(stack, index);
  stack_unlock();
}

static const char *enter_stack(int fd, struct Endpoint *endpoint) {
  struct sockaddr_in local;
  if (endpoint->disabled) return "acceleration is switched off for it";
  const char *why = local_address(fd, &local);
  if (why != NULL) return why;
  if (!process_join() || !process_usable()) return "no stack to join";
  uint64_t cookie = socket_cookie(fd);
  if (cookie == 0) return "it has no cookie";
  if (!stack_lock()) return "exasockd is gone";
  int index = (int)w2c_stack_socketCreate(stack, cookie, IPPROTO_UDP, process.client);
  stack_unlock();
  if (index <= 0) return "the stack has no socket left";
  socket_adopt(endpoint, (uint32_t)index);
  socket_count_arrivals(fd, endpoint, cookie);
  for (unsigned i = 0; i < OPTIONS; i++) mirror(fd, endpoint, &options[i]);
  socket_set_nonblocking(endpoint, (real.fcntl(fd, F_GETFL, NULL) & O_NONBLOCK) != 0);
  if (endpoint->shared) socket_share(endpoint), process_await_ends();
  why = place(fd, (uint32_t)index);
  if (why != NULL) leave_stack(endpoint);
  return why;
}

bool socket_accelerate(int fd, struct Endpoint *endpoint) {
  int saved = errno;
  const char *why = enter_stack(fd, endpoint);
  if (why == NULL) {
    if (process.debug) say("enabled bypass on fd %d", fd);
    epoll_follow(endpoint);
  } else {
    if (process.debug) say("fd %d stays on the kernel: %s", fd, why);
    endpoint->released = true;
    /* Without a stack, and unless the program may ask, the library has no more to do with it. */
    bool mayAsk = process.joined || endpoint->disabled;
    if (endpoint->references == 1 && !mayAsk) fd_make_plain(fd);
  }
  errno = saved;
  return why == NULL;
}

void socket_release(int fd, struct Endpoint *endpoint, const char *why) {
  if (endpoint->released || (endpoint->stream && endpoint->index != 0)) return;
  if (process.debug) say("fd %d stays on the kernel: %s", fd, why);
  if (endpoint->index == 0) {
    endpoint->disabled = true;
    return;
  }
  if (process_usable() && stack_lock()) {
    w2c_stack_socketToKernel(stack, endpoint->index);
    epoll_released(endpoint);
    stack_unlock();
  }
  endpoint->released = true;
}

void socket_last_close(struct Endpoint *endpoint) {
  epoll_forget(endpoint);
  if (endpoint->index != 0 && endpoint->stream) stream_last_close(endpoint);
  else if (endpoint->index != 0) leave_stack(endpoint);
}

int shim_socket(int domain, int type, int protocol) {
  int fd = real.socket(domain, type, protocol);
  bool stream = (type & 0xf) == SOCK_STREAM;
  bool six = domain == AF_INET6 && stream;
  if (fd < 0 || (domain != AF_INET && !six) || fd >= FD_MAX) return fd;
  if (!stream && (type & 0xf) != SOCK_DGRAM) return fd;
  bool known = protocol == 0 || protocol == (stream ? IPPROTO_TCP : IPPROTO_UDP);
  if (!known || self.resolving != 0 || fd_borrowed()) return fd;
  struct Endpoint *endpoint = endpoint_new();
  if (endpoint != NULL) {
    endpoint->stream = stream;
    endpoint->six = six;
    endpoint->nonblocking = (type & SOCK_NONBLOCK) != 0;
    fd_set_endpoint(fd, endpoint);
  }
  trace_result("socket", fd, 0);
  return fd;
}

/* The kernel socket got an address: the stack's follows, or comes to be. */
static int follow(int fd, struct Endpoint *endpoint) {
  if (endpoint->released) return 0;
  if (endpoint->index == 0) {
    if (socket_accelerate(fd, endpoint) || !process.require || endpoint->disabled) return 0;
    /* A socket that the stack would not serve anyway is no reason to fail: no stack is. */
    if (process_join()) return 0;
    errno = ENETDOWN;
    return -1;
  }
  const char *why = process_usable() ? place(fd, endpoint->index) : "exasockd is gone";
  if (why != NULL) socket_release(fd, endpoint, why);
  return 0;
}

int shim_bind(int fd, const struct sockaddr *address, socklen_t bytes) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  int result = real.bind(fd, address, bytes);
  if (result != 0) return result;
  endpoint->bound = true;
  return endpoint->stream ? 0 : follow(fd, endpoint);
}

void socket_autobind(int fd, struct Endpoint *endpoint) {
  struct sockaddr_in any = {.sin_family = AF_INET};
  int saved = errno;
  if (real.bind(fd, (struct sockaddr *)&any, sizeof any) == 0) follow(fd, endpoint);
  errno = saved;
}

int shim_connect(int fd, const struct sockaddr *address, socklen_t bytes) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return (int)answer(stream_connect(fd, endpoint, address, bytes));
  int result = real.connect(fd, address, bytes);
  if (result != 0) return result;
  bool dissolves = address->sa_family == AF_UNSPEC;
  if (dissolves && !socket_is_accelerated(endpoint)) return 0;
  struct sockaddr_in local = {0};
  socklen_t room = sizeof local;
  real.getsockname(fd, (struct sockaddr *)&local, &room);
  if (local.sin_port != 0) return follow(fd, endpoint);
  /* A port that connect had chosen is free again: the socket is as new. */
  if (endpoint->shared) socket_release(fd, endpoint, "disconnected");
  else epoll_return(endpoint), leave_stack(endpoint);
  return 0;
}

int shim_shutdown(int fd, int how) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return stream_shutdown(fd, endpoint, how);
  int result = real.shutdown(fd, how);
  if (result == 0) socket_release(fd, endpoint, "shut down");
  return result;
}

static int set_exasock(int fd, struct Endpoint *endpoint, int name, const void *value,
                       socklen_t bytes) {
  int number;
  errno = 0;
  if (name != SO_EXA_NO_ACCEL) errno = ENOPROTOOPT;
  else if (value == NULL) errno = EFAULT;
  else if (bytes < sizeof number) errno = EINVAL;
  if (errno != 0) return -1;
  memcpy(&number, value, sizeof number);
  bool refused = number != 0 ? socket_is_accelerated(endpoint) : endpoint->disabledByProgram;
  if (refused) {
    errno = EPERM;
    return -1;
  }
  endpoint->disabled = number != 0;
  endpoint->disabledByProgram = number != 0;
  if (number != 0 && process.debug) say("fd %d stays on the kernel: SO_EXA_NO_ACCEL", fd);
  return 0;
}

int shim_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (level == SOL_EXASOCK) return set_exasock(fd, endpoint, name, value, bytes);
  bool isFilter = level == SOL_SOCKET && (name == SO_DETACH_FILTER || name == SO_DETACH_BPF);
  if (isFilter && socket_is_accelerated(endpoint) && !socket_is_alone(endpoint)) {
    /* The only filter there is ours. */
    errno = ENOENT;
    return -1;
  }
  if (endpoint->stream) return stream_setsockopt(fd, endpoint, level, name, value, bytes);
  int result = real.setsockopt(fd, level, name, value, bytes);
  const struct Option *option = find_option(level, name);
  if (result != 0 || option == NULL || endpoint->released) return result;
  int saved = errno;
  if (level == SOL_SOCKET && name == SO_PEEK_OFF) {
    endpoint->peekOffset = (uint32_t)get_int(fd, level, name) + 1;
  }
  bool set = bytes < sizeof(int) || *(const int *)value != 0;
  if (option->action == KERNEL || (option->action == KERNEL_IF_SET && set)) {
    socket_release(fd, endpoint, option->text);
  } else if (endpoint->index != 0 && process_usable()) {
    if (option->action == DEVICE) follow(fd, endpoint);
    else mirror(fd, endpoint, option);
    /* Either of these two takes the other's place. */
    if (name == SO_TIMESTAMP) mirror(fd, endpoint, find_option(level, SO_TIMESTAMPNS));
    if (name == SO_TIMESTAMPNS) mirror(fd, endpoint, find_option(level, SO_TIMESTAMP));
  }
  errno = saved;
  return result;
}

int shim_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (level == SOL_EXASOCK) {
    if (name != SO_EXA_NO_ACCEL || bytes == NULL || *bytes < sizeof(int)) {
      errno = name != SO_EXA_NO_ACCEL ? ENOPROTOOPT : EINVAL;
      return -1;
    }
    *(int *)value = endpoint->disabled || endpoint->released;
    *bytes = sizeof(int);
    return 0;
  }
  if (endpoint->stream) return stream_getsockopt(fd, endpoint, level, name, value, bytes);
  int result = real.getsockopt(fd, level, name, value, bytes);
  if (result != 0 || level != SOL_SOCKET || name != SO_ERROR || *bytes < sizeof(int)) return result;
  if (*(int *)value == 0 && (socket_ready(endpoint) & EPOLLERR) != 0 && stack_lock()) {
    *(int *)value = (int)w2c_stack_socketTakeError(stack, endpoint->index);
    stack_unlock();
  }
  return result;
}

int shim_ioctl(int fd, unsigned long request, void *argument) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (endpoint->stream) return stream_ioctl(fd, endpoint, request, argument);
  if (request == FIONREAD && (socket_ready(endpoint) & EPOLLIN) != 0 && stack_lock()) {
    uint32_t at = w2c_stack_udpPeek(stack, endpoint->index);
    if (at != 0) *(int *)argument = ((struct FrameMeta *)region_at(at))->payloadBytes;
    stack_unlock();
    if (at != 0) return 0;
  }
  int result = real.ioctl(fd, request, argument);
  if (result == 0 && request == FIONBIO) socket_set_nonblocking(endpoint, *(int *)argument != 0);
  return result;
}
