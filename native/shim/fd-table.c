/*
 * Which descriptors are ours, and everything that copies, replaces or closes descriptors.
 *
 * The tables are reserved, not used, memory: a process touches the pages of the numbers it has.
 * They change only in the process that owns them: a vfork child runs in its parent's memory, so
 * every change first compares the owner with getpid(), which asks the kernel.
 */
#include "shim.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>

enum { ENDPOINTS_MAX = 1 << 16, PRIVATE_ROOM = 192, PRIVATE_CEILING = 4096 };

uint8_t fd_state[FD_MAX];
/* The Endpoint or Epoll of a descriptor, or the variable that holds a private one. */
static void *fd_object[FD_MAX];
static struct Endpoint endpoints[ENDPOINTS_MAX];
static _Atomic uint32_t endpointsHigh;
/* Where the search for a free one begins. */
static _Atomic uint32_t endpointsNext;
/* Above every descriptor in state SOCKET, EPOLL or PRIVATE. */
static _Atomic int fdHigh;

bool fd_borrowed(void) {
  pid_t pid = getpid();
  if (process.pid == 0) process.pid = pid;
  return pid != process.pid;
}

static void set(int fd, enum FdState state, void *object) {
  fd_object[fd] = object;
  fd_state[fd] = (uint8_t)state;
  int high = atomic_load(&fdHigh);
  while (state >= FD_SOCKET && high <= fd) {
    if (atomic_compare_exchange_weak(&fdHigh, &high, fd + 1)) break;
  }
}

struct Endpoint *fd_endpoint(int fd) { return fd_object[fd]; }

struct Endpoint *fd_socket(int fd) {
  return !fd_is_plain(fd) && fd_is(&fd, FD_SOCKET) ? fd_object[fd] : NULL;
}

struct Epoll *fd_epoll(int fd) {
  return (unsigned)fd < FD_MAX && fd_state[fd] == FD_EPOLL ? fd_object[fd] : NULL;
}

struct Endpoint *endpoint_new(void) {
  uint32_t first = atomic_load(&endpointsNext);
  for (uint32_t n = 0; n < ENDPOINTS_MAX; n++) {
    uint32_t slot = (first + n) % ENDPOINTS_MAX;
    struct Endpoint *endpoint = &endpoints[slot];
    bool used = false;
    if (!atomic_compare_exchange_strong(&endpoint->used, &used, true)) continue;
    /* `used` stays as it is: another thread may be looking for a slot. */
    endpoint->generation++;
    endpoint->held = -1;
    memset(&endpoint->references, 0, sizeof *endpoint - offsetof(struct Endpoint, references));
    endpoint->disabled = process.disabled;
    atomic_store(&endpointsNext, slot + 1);
    uint32_t high = atomic_load(&endpointsHigh);
    while (high <= slot && !atomic_compare_exchange_weak(&endpointsHigh, &high, slot + 1)) continue;
    return endpoint;
  }
  return NULL;
}

struct Endpoint *endpoint_next(const struct Endpoint *before) {
  uint32_t slot = before == NULL ? 0 : (uint32_t)(before - endpoints) + 1;
  uint32_t high = atomic_load(&endpointsHigh);
  while (slot < high && !endpoints[slot].used) slot++;
  return slot < high ? &endpoints[slot] : NULL;
}

static void endpoint_end(struct Endpoint *endpoint) {
  endpoint->generation++;
  socket_last_close(endpoint);
  atomic_store(&endpoint->used, false);
  atomic_store(&endpointsNext, (uint32_t)(endpoint - endpoints));
}

/* Between the last close and the calls that are blocked then. */
static atomic_flag ending = ATOMIC_FLAG_INIT;

static void ending_acquire(void) {
  hold();
  while (atomic_flag_test_and_set_explicit(&ending, memory_order_acquire)) sched_yield();
}

static void ending_release(void) {
  atomic_flag_clear_explicit(&ending, memory_order_release);
  unhold();
}

/* Before the last descriptor, `fd`, goes: blocked calls get one of their own. */
static void keep_for_waiters(struct Endpoint *endpoint, int fd) {
  if (LIKELY(endpoint->waiters == 0) || endpoint->references != 1) return;
  ending_acquire();
  if (endpoint->waiters != 0 && endpoint->held < 0) {
    endpoint->held = real.fcntl(fd, F_DUPFD_CLOEXEC, NULL);
    if (endpoint->held >= 0) fd_make_private(&endpoint->held);
  }
  ending_release();
}

static void endpoint_drop(struct Endpoint *endpoint) {
  if (atomic_fetch_sub(&endpoint->references, 1) != 1) return;
  if (LIKELY(endpoint->held < 0)) endpoint_end(endpoint);
  else endpoint_hold(endpoint), endpoint_release(endpoint);
}

void endpoints_after_fork(void) {
  atomic_flag_clear(&ending);
  for (struct Endpoint *one = endpoint_next(NULL); one != NULL; one = endpoint_next(one)) {
    one->waiters = 0;
  }
}

void endpoint_release(struct Endpoint *endpoint) {
  /* A handler may have forked meanwhile. */
  if (UNLIKELY(endpoint->waiters == 0)) return;
  if (atomic_fetch_sub(&endpoint->waiters, 1) != 1 || LIKELY(endpoint->held < 0)) return;
  ending_acquire();
  bool ends = endpoint->waiters == 0 && endpoint->references == 0 && endpoint->held >= 0;
  int held = endpoint->held;
  if (ends) endpoint->held = -1;
  ending_release();
  if (!ends) return;
  endpoint_end(endpoint);
  fd_close_private(&held);
}

/* Before the kernel closes the descriptor, so that nothing is steered to a closed socket. */
static void forget_open(int fd, bool open) {
  enum FdState was = fd_state[fd];
  void *object = fd_object[fd];
  fd_state[fd] = FD_PLAIN;
  fd_object[fd] = NULL;
  if (was == FD_SOCKET && open) keep_for_waiters(object, fd);
  if (was == FD_SOCKET) endpoint_drop(object);
  if (was == FD_EPOLL) epoll_drop(object, open ? fd : -1);
}

static void forget(int fd) { forget_open(fd, true); }

void fd_make_plain(int fd) {
  if (!fd_borrowed()) forget(fd);
}

void fd_set_endpoint(int fd, struct Endpoint *endpoint) {
  if (atomic_fetch_add(&endpoint->references, 1) == 0) endpoint->fd = fd;
  set(fd, FD_SOCKET, endpoint);
}

/* The kernel just gave the number out. */
void fd_set_plain(int fd) {
  if (fd < FD_MAX) fd_state[fd] = FD_PLAIN;
}

void fd_set_epoll(int fd, struct Epoll *epoll) { set(fd, FD_EPOLL, epoll); }

int fd_of_epoll(const struct Epoll *epoll, int guess) {
  if (fd_epoll(guess) == epoll) return guess;
  int high = atomic_load(&fdHigh);
  for (int fd = 0; fd < high; fd++) {
    if (fd_epoll(fd) == epoll) return fd;
  }
  return -1;
}

/* `copy` has just become a duplicate of `fd`, whatever it was before. */
static int duplicated(int fd, int copy) {
  if (copy < 0 || fd_borrowed()) return copy;
  enum FdState state = (unsigned)fd < FD_MAX ? fd_state[fd] : FD_PLAIN;
  if (copy >= FD_MAX) {
    if (state == FD_SOCKET) socket_release(fd, fd_object[fd], "duplicated beyond the table");
    return copy;
  }
  if (fd_state[copy] >= FD_SOCKET) forget_open(copy, false);
  if (state == FD_SOCKET) fd_set_endpoint(copy, fd_object[fd]);
  else if (state == FD_EPOLL) epoll_reference(fd_object[fd]), set(copy, FD_EPOLL, fd_object[fd]);
  else fd_state[copy] = (uint8_t)state;
  return copy;
}

/* A descriptor that was inherited or passed: is it a socket that the stack knows? */
static void look(int fd) {
  int protocol = 0;
  int domain = 0;
  uint64_t cookie = 0;
  socklen_t bytes = sizeof(int);
  if (real.getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &bytes) != 0) {
    if (errno == ENOTSOCK) fd_state[fd] = FD_PLAIN;
    return;
  }
  fd_state[fd] = FD_PLAIN;
  real.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes);
  bool known = protocol == IPPROTO_UDP || protocol == IPPROTO_TCP;
  bool six = domain == AF_INET6 && protocol == IPPROTO_TCP;
  if (!known || (domain != AF_INET && !six) || !process_join()) return;
  bytes = sizeof cookie;
  if (real.getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) != 0) return;
  if (!stack_lock()) return;
  int index = (int)w2c_stack_socketFind(stack, cookie);
  stack_unlock();
  struct Endpoint *endpoint = index > 0 ? endpoint_new() : NULL;
  if (endpoint == NULL) return;
  endpoint->stream = protocol == IPPROTO_TCP;
  endpoint->six = six;
  socket_adopt(endpoint, (uint32_t)index);
  /* For the other holders, too: one that did not send it (pidfd_getfd) believes it its own. */
  socket_share(endpoint);
  bool listens = region_socket((uint32_t)index)->state == SocketState_Bound;
  if (!endpoint->stream || listens) socket_count_arrivals(fd, endpoint, cookie);
  fd_set_endpoint(fd, endpoint);
}

bool fd_is(int *fd, enum FdState wanted) {
  int saved = errno;
  bool unknown = fd_state[*fd] == FD_UNKNOWN && !fd_borrowed();
  if (unknown && wanted == FD_EPOLL) epoll_look(*fd);
  if (unknown && fd_state[*fd] == FD_UNKNOWN) look(*fd);
  errno = saved;
  enum FdState state = fd_state[*fd];
  /* While held, the caller is this library. */
  if (state == FD_PRIVATE && self.held == 0 && !fd_borrowed()) *fd = -1;
  if (state == FD_PRIVATE || state == FD_UNKNOWN) return false;
  return wanted == FD_PLAIN ? state != FD_PLAIN : state == wanted;
}

void fd_share_all(void) {
  if (fd_borrowed()) return;
  for (struct Endpoint *one = endpoint_next(NULL); one != NULL; one = endpoint_next(one)) {
    if (!one->shared) socket_share(one);
  }
  process_await_ends();
}

static void each_passed(const struct msghdr *message, void (*visit)(int fd)) {
  if (is_nowhere(message->msg_control)) return;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL;
       c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      if (fd >= 0 && fd < FD_MAX) visit(fd);
    }
  }
}

void fd_appeared(int fd) {
  if (fd < FD_MAX && fd_state[fd] == FD_PLAIN && !fd_borrowed()) fd_state[fd] = FD_UNKNOWN;
}

static void leaving(int fd) {
  struct Endpoint *endpoint = fd_socket(fd);
  if (endpoint != NULL && !endpoint->shared) socket_share(endpoint);
}

void fd_received(const struct msghdr *message) { each_passed(message, fd_appeared); }
void fd_sent(const struct msghdr *message) {
  each_passed(message, leaving);
  process_await_ends();
}

/*
 * Our own descriptors lie high, where programs that number theirs (dup2, select's limit) do not
 * look: under the soft limit, and low enough that the kernel's table for it stays small.
 */
bool fd_make_private(int *variable) {
  struct rlimit limit = {.rlim_cur = PRIVATE_CEILING};
  getrlimit(RLIMIT_NOFILE, &limit);
  int from = limit.rlim_cur < PRIVATE_CEILING ? (int)limit.rlim_cur : PRIVATE_CEILING;
  from = from > 2 * PRIVATE_ROOM ? from - PRIVATE_ROOM : from / 2;
  int fd = real.fcntl(*variable, F_DUPFD_CLOEXEC, (void *)(intptr_t)from);
  if (fd < 0 || fd >= FD_MAX) return false;
  int old = *variable;
  *variable = fd;
  set(fd, FD_PRIVATE, variable);
  real.close(old);
  /* The kernel took the close for the end of the claim. */
  if (variable == &core_memory && process.owner != 0) core_claim(process.client);
  return true;
}

void fd_close_private(int *variable) {
  int fd = *variable;
  *variable = -1;
  if (fd < 0) return;
  if (fd < FD_MAX) fd_state[fd] = FD_PLAIN;
  real.close(fd);
}

void fd_close_all_private(void) {
  int high = atomic_load(&fdHigh);
  for (int fd = 0; fd < high; fd++) {
    if (fd_state[fd] == FD_PRIVATE) fd_close_private(fd_object[fd]);
  }
}

int shim_close(int fd) {
  if (!fd_borrowed()) {
    if (fd_state[fd] == FD_PRIVATE) {
      errno = EBADF;
      return -1;
    }
    if (fd_state[fd] == FD_UNKNOWN) fd_state[fd] = FD_PLAIN;
    else forget(fd);
  }
  return real.close(fd);
}

/* Closes around our own descriptors, which for the program are not open. */
int shim_close_range(unsigned int first, unsigned int last, int flags) {
  bool closes = (flags & (int)CLOSE_RANGE_CLOEXEC) == 0;
  if (first > last || fd_borrowed() || !closes) return real.close_range(first, last, flags);
  unsigned int high = (unsigned int)atomic_load(&fdHigh);
  for (unsigned int fd = first; fd < high && fd <= last; fd++) {
    if (fd_state[fd] == FD_SOCKET || fd_state[fd] == FD_EPOLL) forget((int)fd);
    if (fd_state[fd] != FD_PRIVATE) continue;
    if (fd > first && real.close_range(first, fd - 1, flags) != 0) return -1;
    if (fd == last) return 0;
    first = fd + 1;
  }
  return real.close_range(first, last, flags);
}

int shim_closefrom(int first) {
  return shim_close_range(first < 0 ? 0 : (unsigned int)first, ~0u, 0);
}

int shim_dup(int fd) { return duplicated(fd, real.dup(fd)); }

/* Makes way for a descriptor that the program wants to have this number. */
static void vacate(int target) {
  if ((unsigned)target >= FD_MAX || fd_state[target] < FD_SOCKET || fd_borrowed()) return;
  if (fd_state[target] == FD_SOCKET) keep_for_waiters(fd_object[target], target);
  if (fd_state[target] == FD_PRIVATE) fd_make_private(fd_object[target]);
}

int shim_dup2(int fd, int target) {
  if (LIKELY(fd_is_plain(fd) && fd_is_plain(target))) return real.dup2(fd, target);
  if (!fd_is_plain(fd)) fd_is(&fd, FD_PLAIN);
  if (fd == target) return real.dup2(fd, target);
  vacate(target);
  return duplicated(fd, real.dup2(fd, target));
}

int shim_dup3(int fd, int target, int flags) {
  if (LIKELY(fd_is_plain(fd) && fd_is_plain(target))) return real.dup3(fd, target, flags);
  if (!fd_is_plain(fd)) fd_is(&fd, FD_PLAIN);
  vacate(target);
  return duplicated(fd, real.dup3(fd, target, flags));
}

int shim_fcntl(int fd, int command, void *argument) {
  int result = real.fcntl(fd, command, argument);
  struct Endpoint *endpoint = fd_socket(fd);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) return duplicated(fd, result);
  if (result == 0 && command == F_SETFL && endpoint != NULL) {
    int flags = (int)(intptr_t)argument;
    socket_set_nonblocking(endpoint, (flags & O_NONBLOCK) != 0);
    if ((flags & O_ASYNC) != 0) socket_release(fd, endpoint, "O_ASYNC");
  }
  return result;
}
