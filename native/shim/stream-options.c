/*
 * Options of TCP sockets. The kernel socket is asked first, for whether the call is valid; the
 * stack's copy follows what came of it. A connection that was accepted has a kernel socket that
 * never saw the listener: what Linux lets it inherit is set on it.
 */
#include "stream.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

/* Newer than some of the headers that this is built with. */
#ifndef TCP_TX_DELAY
#define TCP_TX_DELAY 37
#endif
#ifndef SO_TXTIME
#define SO_TXTIME 61
#endif

enum Action {
  /* An int that tcpSetOption takes, one that socketSetOption takes. */
  TCP,
  SOCKET,
  LINGER,
  CONGESTION,
  RECEIVE_TIMEOUT,
  SEND_TIMEOUT,
  /* The stack asks the kernel socket when it needs it. */
  TWIN,
  /* The stack can't do this: a socket that has it set, or set to something, is the kernel's. */
  KERNEL,
  KERNEL_IF_SET,
};

struct StreamOption {
  int level;
  int name;
  enum Action action;
  uint32_t mirror;
  const char *text;
};

static const struct StreamOption options[] = {
    {SOL_SOCKET, SO_REUSEADDR, SOCKET, SocketOption_ReuseAddress, NULL},
    {SOL_SOCKET, SO_REUSEPORT, SOCKET, SocketOption_ReusePort, NULL},
    {SOL_SOCKET, SO_KEEPALIVE, TCP, TcpOption_KeepAlive, NULL},
    {SOL_SOCKET, SO_OOBINLINE, TCP, TcpOption_OobInline, NULL},
    {SOL_SOCKET, SO_RCVLOWAT, TCP, TcpOption_ReceiveLowat, NULL},
    {SOL_SOCKET, SO_RCVBUF, TCP, TcpOption_ReceiveBuffer, NULL},
    {SOL_SOCKET, SO_SNDBUF, TCP, TcpOption_SendBuffer, NULL},
    {SOL_SOCKET, SO_LINGER, LINGER, 0, NULL},
    {SOL_SOCKET, SO_RCVTIMEO, RECEIVE_TIMEOUT, 0, NULL},
    {SOL_SOCKET, SO_SNDTIMEO, SEND_TIMEOUT, 0, NULL},
    {SOL_SOCKET, SO_PRIORITY, TWIN, 0, NULL},
    {SOL_SOCKET, SO_BINDTODEVICE, TWIN, 0, NULL},
    {SOL_SOCKET, SO_BINDTOIFINDEX, TWIN, 0, NULL},
    {IPPROTO_IP, IP_TTL, SOCKET, SocketOption_Ttl, NULL},
    {IPPROTO_IP, IP_TOS, SOCKET, SocketOption_Tos, NULL},
    {IPPROTO_TCP, TCP_NODELAY, TCP, TcpOption_NoDelay, NULL},
    {IPPROTO_TCP, TCP_CORK, TCP, TcpOption_Cork, NULL},
    {IPPROTO_TCP, TCP_QUICKACK, TCP, TcpOption_QuickAck, NULL},
    {IPPROTO_TCP, TCP_KEEPIDLE, TCP, TcpOption_KeepIdle, NULL},
    {IPPROTO_TCP, TCP_KEEPINTVL, TCP, TcpOption_KeepInterval, NULL},
    {IPPROTO_TCP, TCP_KEEPCNT, TCP, TcpOption_KeepCount, NULL},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, TCP, TcpOption_UserTimeout, NULL},
    {IPPROTO_TCP, TCP_MAXSEG, TCP, TcpOption_MaxSegment, NULL},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, TCP, TcpOption_DeferAccept, NULL},
    {IPPROTO_TCP, TCP_SYNCNT, TCP, TcpOption_SynCount, NULL},
    {IPPROTO_TCP, TCP_LINGER2, TCP, TcpOption_Linger2, NULL},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, TCP, TcpOption_WindowClamp, NULL},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, TCP, TcpOption_NotSentLowat, NULL},
    {IPPROTO_TCP, TCP_CONGESTION, CONGESTION, 0, NULL},
    {SOL_SOCKET, SO_MARK, KERNEL_IF_SET, 0, "SO_MARK"},
    {SOL_SOCKET, SO_DONTROUTE, KERNEL_IF_SET, 0, "SO_DONTROUTE"},
    {SOL_SOCKET, SO_TIMESTAMP, KERNEL_IF_SET, 0, "SO_TIMESTAMP"},
    {SOL_SOCKET, SO_TIMESTAMPNS, KERNEL_IF_SET, 0, "SO_TIMESTAMPNS"},
    {SOL_SOCKET, SO_TIMESTAMPING, KERNEL_IF_SET, 0, "SO_TIMESTAMPING"},
    {SOL_SOCKET, SO_ZEROCOPY, KERNEL_IF_SET, 0, "SO_ZEROCOPY"},
    {SOL_SOCKET, SO_PEEK_OFF, KERNEL, 0, "SO_PEEK_OFF"},
    {SOL_SOCKET, SO_TXTIME, KERNEL, 0, "SO_TXTIME"},
    {SOL_SOCKET, SO_ATTACH_FILTER, KERNEL, 0, "SO_ATTACH_FILTER"},
    {SOL_SOCKET, SO_ATTACH_BPF, KERNEL, 0, "SO_ATTACH_BPF"},
    {SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, KERNEL, 0, "SO_ATTACH_REUSEPORT_CBPF"},
    {SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, KERNEL, 0, "SO_ATTACH_REUSEPORT_EBPF"},
    {IPPROTO_IP, IP_OPTIONS, KERNEL, 0, "IP_OPTIONS"},
    {IPPROTO_IP, IP_RECVERR, KERNEL_IF_SET, 0, "IP_RECVERR"},
    {IPPROTO_IP, IP_MINTTL, KERNEL_IF_SET, 0, "IP_MINTTL"},
    {IPPROTO_IP, IP_TRANSPARENT, KERNEL_IF_SET, 0, "IP_TRANSPARENT"},
    {IPPROTO_TCP, TCP_MD5SIG, KERNEL, 0, "TCP_MD5SIG"},
    {IPPROTO_TCP, TCP_REPAIR, KERNEL_IF_SET, 0, "TCP_REPAIR"},
    {IPPROTO_TCP, TCP_FASTOPEN_CONNECT, KERNEL_IF_SET, 0, "TCP_FASTOPEN_CONNECT"},
    {IPPROTO_TCP, TCP_ULP, KERNEL, 0, "TCP_ULP"},
    {IPPROTO_TCP, TCP_SAVE_SYN, KERNEL_IF_SET, 0, "TCP_SAVE_SYN"},
    {IPPROTO_TCP, TCP_INQ, KERNEL_IF_SET, 0, "TCP_INQ"},
    {IPPROTO_TCP, TCP_TX_DELAY, KERNEL_IF_SET, 0, "TCP_TX_DELAY"},
};
enum { OPTIONS = sizeof options / sizeof options[0], TEXT_BYTES = 16 };
_Static_assert(OPTIONS <= 64, "Endpoint.optionsSet has a bit for each");

static const struct StreamOption *find_option(int level, int name) {
  if (level == SOL_SOCKET && name == SO_RCVBUFFORCE) name = SO_RCVBUF;
  if (level == SOL_SOCKET && name == SO_SNDBUFFORCE) name = SO_SNDBUF;
  for (unsigned i = 0; i < OPTIONS; i++) {
    if (options[i].level == level && options[i].name == name) return &options[i];
  }
  return NULL;
}

/* TCP_CONGESTION's value, if the stack has that algorithm; else -1. */
static int congestion_number(const void *name, socklen_t bytes) {
  char text[TEXT_BYTES] = {0};
  memcpy(text, name, bytes < TEXT_BYTES - 1 ? bytes : TEXT_BYTES - 1);
  if (strcmp(text, "cubic") == 0) return CongestionControl_Cubic;
  return strcmp(text, "reno") == 0 ? CongestionControl_Reno : -1;
}

static void set_in_stack(uint32_t index, bool tcp, uint32_t option, int value) {
  if (!stack_lock()) return;
  if (tcp) w2c_stack_tcpSetOption(stack, index, option, (uint32_t)value, now_nanos());
  else w2c_stack_socketSetOption(stack, index, option, (uint32_t)value);
  stack_unlock();
}

static uint64_t timeout_nanos(int fd, int name) {
  struct timeval value = {0};
  socklen_t bytes = sizeof value;
  real.getsockopt(fd, SOL_SOCKET, name, &value, &bytes);
  return (uint64_t)value.tv_sec * 1000000000u + (uint64_t)value.tv_usec * 1000u;
}

static struct timeval to_timeval(uint64_t nanos) {
  return (struct timeval){(time_t)(nanos / 1000000000u),
                          (suseconds_t)(nanos % 1000000000u / 1000)};
}

/* Brings the stack's copy of an option up to date with the kernel socket. */
static void mirror(int fd, const struct Endpoint *endpoint, const struct StreamOption *option) {
  uint32_t index = endpoint->index;
  union {
    int number;
    struct linger linger;
    char text[TEXT_BYTES];
  } value = {0};
  socklen_t bytes = sizeof value;
  if (option->action == RECEIVE_TIMEOUT) {
    region_socket(index)->receiveTimeoutNanos = timeout_nanos(fd, SO_RCVTIMEO);
  } else if (option->action == SEND_TIMEOUT) {
    region_socket(index)->sendTimeoutNanos = timeout_nanos(fd, SO_SNDTIMEO);
  } else if (option->action <= CONGESTION &&
             real.getsockopt(fd, option->level, option->name, &value, &bytes) == 0) {
    if (option->action == LINGER) {
      int seconds = value.linger.l_onoff != 0 ? value.linger.l_linger : -1;
      set_in_stack(index, true, TcpOption_Linger, seconds);
    } else if (option->action == CONGESTION) {
      int number = congestion_number(value.text, bytes);
      if (number >= 0) set_in_stack(index, true, TcpOption_Congestion, number);
    } else {
      set_in_stack(index, option->action == TCP, option->mirror, value.number);
    }
  }
}

void stream_mirror_all(int fd, struct Endpoint *endpoint) {
  for (unsigned i = 0; i < OPTIONS; i++) {
    if ((endpoint->optionsSet >> i & 1) != 0) mirror(fd, endpoint, &options[i]);
  }
}

void stream_inherit(int fd, struct Endpoint *endpoint, int listener,
                    const struct Endpoint *parent) {
  endpoint->optionsSet = parent->optionsSet;
  for (unsigned i = 0; i < OPTIONS; i++) {
    const struct StreamOption *option = &options[i];
    /* These two are answered from the region. */
    bool reuse = option->level == SOL_SOCKET &&
                 (option->name == SO_REUSEADDR || option->name == SO_REUSEPORT);
    if ((parent->optionsSet >> i & 1) == 0 || reuse) continue;
    uint8_t value[64];
    socklen_t bytes = sizeof value;
    if (option->action == RECEIVE_TIMEOUT || option->action == SEND_TIMEOUT) {
      const struct Socket *from = region_socket(parent->index);
      bool receives = option->action == RECEIVE_TIMEOUT;
      uint64_t nanos = receives ? from->receiveTimeoutNanos : from->sendTimeoutNanos;
      struct timeval timeout = to_timeval(nanos);
      memcpy(value, &timeout, bytes = sizeof timeout);
      if (receives) region_socket(endpoint->index)->receiveTimeoutNanos = nanos;
      else region_socket(endpoint->index)->sendTimeoutNanos = nanos;
    } else if (real.getsockopt(listener, option->level, option->name, value, &bytes) != 0) {
      continue;
    }
    /* Sizes of buffers are told doubled, as they are accounted. */
    if (option->name == SO_RCVBUF || option->name == SO_SNDBUF) {
      if (option->level == SOL_SOCKET) *(int *)(void *)value /= 2;
    }
    real.setsockopt(fd, option->level, option->name, value, bytes);
  }
}

uint32_t stream_device(int fd, const struct Endpoint *endpoint) {
  uint32_t device = 0;
  socklen_t bytes = sizeof device;
  if (endpoint->optionsSet == 0) return 0;
  real.getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &device, &bytes);
  return device;
}

/* What the stack can't do, of a value that is about to be set. */
static bool is_kernels(const struct StreamOption *option, const void *value, socklen_t bytes) {
  if (option->action == KERNEL) return true;
  if (option->action == CONGESTION) return congestion_number(value, bytes) < 0;
  if (option->action != KERNEL_IF_SET) return false;
  return bytes < sizeof(int) || *(const int *)value != 0;
}

int stream_setsockopt(int fd, struct Endpoint *endpoint, int level, int name, const void *value,
                      socklen_t bytes) {
  enum StreamKind kind = stream_kind(endpoint);
  const struct StreamOption *option = find_option(level, name);
  bool ours = kind == STREAM_CONNECTION || kind == STREAM_LISTENER;
  bool kernels = option != NULL && !is_nowhere(value) && is_kernels(option, value, bytes);
  /* What would have no effect is refused, where programs are prepared for that. */
  if (kind == STREAM_CONNECTION && kernels) {
    if (option->action == CONGESTION) return (int)answer(-ENOENT);
    if (level == SOL_SOCKET && name == SO_ZEROCOPY) return (int)answer(-EOPNOTSUPP);
  }
  int result = real.setsockopt(fd, level, name, value, bytes);
  if (result != 0 || option == NULL) return result;
  int saved = errno;
  endpoint->optionsSet |= 1ull << (option - options);
  if (kernels && kind == STREAM_KERNEL) {
    socket_release(fd, endpoint, option->text != NULL ? option->text : "TCP_CONGESTION");
  } else if (kernels && kind == STREAM_LISTENER) {
    if (process.debug) say("fd %d goes on by the kernel: %s", fd, option->text);
    stream_leave(endpoint, true);
  } else if (ours && process_usable()) {
    mirror(fd, endpoint, option);
    bool limited = kind == STREAM_LISTENER && option->action == RECEIVE_TIMEOUT;
    if (limited) stream_limit_twin(fd, true, 0);
    /* What waits in the queue may be enough now. */
  }
  errno = saved;
  return result;
}

/* The answers at level SOL_SOCKET that only the stack has. Bytes of the answer, or 0. */
static size_t socket_answer(uint32_t index, int name, bool listens, void *into) {
  const struct Socket *socket = region_socket(index);
  struct timeval timeout = to_timeval(socket->receiveTimeoutNanos);
  int *number = into;
  switch (name) {
    case SO_REUSEADDR:
      *number = (socket->flags & SocketFlag_ReuseAddress) != 0;
      return sizeof(int);
    case SO_REUSEPORT:
      *number = (socket->flags & SocketFlag_ReusePort) != 0;
      return sizeof(int);
    case SO_RCVBUF:
      *number = (int)region_tcb(index)->rcvBuf;
      return listens ? 0 : sizeof(int);
    case SO_SNDBUF:
      *number = (int)socket->sendBufferBytes;
      return listens ? 0 : sizeof(int);
    case SO_RCVTIMEO:
      memcpy(into, &timeout, sizeof timeout);
      return listens ? sizeof timeout : 0;
    default:
      return 0;
  }
}

/* The same of a connection at level IPPROTO_TCP. */
static size_t tcp_answer(uint32_t index, int name, void *into) {
  const struct Tcb *tcb = region_tcb(index);
  int *number = into;
  if (name == TCP_MAXSEG) {
    *number = (int)tcb->sndMss;
    return tcb->sndMss != 0 ? sizeof(int) : 0;
  }
  if (name == TCP_CONGESTION) {
    bool reno = tcb->congestionControl == CongestionControl_Reno;
    memset(into, 0, TEXT_BYTES);
    strcpy(into, reno ? "reno" : "cubic");
    return TEXT_BYTES;
  }
  if (name != TCP_INFO || !stack_lock()) return 0;
  uint32_t at = w2c_stack_tcpInfo(stack, index, now_nanos());
  if (at != 0) memcpy(into, region_at(at), TCP_INFO_BYTES);
  stack_unlock();
  return at != 0 ? TCP_INFO_BYTES : 0;
}

int stream_getsockopt(int fd, struct Endpoint *endpoint, int level, int name, void *value,
                      socklen_t *bytes) {
  enum StreamKind kind = stream_kind(endpoint);
  bool ours = kind == STREAM_CONNECTION || kind == STREAM_LISTENER;
  socklen_t room = ours && !is_nowhere(bytes) ? *bytes : 0;
  int result = real.getsockopt(fd, level, name, value, bytes);
  if (result != 0 || !ours) return result;
  if (level == SOL_SOCKET && name == SO_ERROR && room >= sizeof(int)) {
    if (*(int *)value == 0 && region_socket(endpoint->index)->error != 0 && stack_lock()) {
      *(int *)value = (int)w2c_stack_socketTakeError(stack, endpoint->index);
      stack_unlock();
    }
    return 0;
  }
  _Alignas(8) uint8_t found[TCP_INFO_BYTES];
  bool listens = kind == STREAM_LISTENER;
  size_t has = 0;
  if (level == SOL_SOCKET) has = socket_answer(endpoint->index, name, listens, found);
  else if (level == IPPROTO_TCP && !listens) has = tcp_answer(endpoint->index, name, found);
  if (has == 0) return 0;
  /* As long as the kernel's, which knows what this program was told of the structure. */
  if (has < *bytes) *bytes = (socklen_t)has;
  memcpy(value, found, *bytes);
  return 0;
}

/* As Linux's tcp_inq: bytes up to the urgent one, if there is one ahead. */
static int readable_bytes(uint32_t index) {
  const struct Tcb *tcb = region_tcb(index);
  uint32_t readable = region_socket(index)->readableBytes;
  uint32_t ahead = tcb->rcvUrg - tcb->copiedSeq;
  bool urgent = (tcb->flags & TcpFlag_UrgentValid) != 0 && (tcb->flags & TcpFlag_OobInline) == 0;
  return (int)(urgent && ahead < readable ? ahead : readable);
}

int stream_ioctl(int fd, struct Endpoint *endpoint, unsigned long request, void *argument) {
  if (stream_kind(endpoint) == STREAM_CONNECTION && !is_nowhere(argument)) {
    const struct Tcb *tcb = region_tcb(endpoint->index);
    bool opening = stream_is_opening(endpoint->index);
    switch (request) {
      case SIOCINQ:
        *(int *)argument = opening ? 0 : readable_bytes(endpoint->index);
        return 0;
      case SIOCOUTQ:
        *(int *)argument = opening ? 0 : (int)tcb->sendQueuedBytes;
        return 0;
      case SIOCOUTQNSD:
        *(int *)argument = opening ? 0 : (int)(tcb->writeSeq - tcb->sndNxt);
        return 0;
      case SIOCATMARK:
        if (!stack_lock()) break;
        *(int *)argument = w2c_stack_tcpAtMark(stack, endpoint->index) != 0;
        stack_unlock();
        return 0;
      default:
        break;
    }
  }
  int result = real.ioctl(fd, request, argument);
  if (result == 0 && request == FIONBIO) socket_set_nonblocking(endpoint, *(int *)argument != 0);
  return result;
}

int shim_sockatmark(int fd) {
  int mark = 0;
  return shim_ioctl(fd, SIOCATMARK, &mark) == 0 ? mark : -1;
}
