/*
 * poll and select over descriptors of both kinds. The kernel is asked about all of them (twins
 * included) in one call, but only when that may tell something new; the stack's sockets are asked
 * by plain loads.
 */
#include "shim.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#define OUT_EVENTS (POLLOUT | POLLWRNORM | POLLWRBAND)
/* While sockets of the stack are ready all the time, the others get a look this often. */
#define KERNEL_ASK_NANOS 20000u
enum { LOCAL_FDS = 128, KERNEL_SIGSET_BYTES = 8 };

struct Polling {
  /* A copy of the caller's; revents is the merged answer. */
  struct pollfd *fds;
  nfds_t count;
  /* Descriptors that only the kernel knows about. */
  bool mixed;
  uint64_t askedNanos;
};

/*
 * A connection of the stack is hidden from the kernel, to which its socket is one that never
 * connected: negative numbers are ignored. -1 stands for all those of the caller's.
 */
static int number_of(const struct pollfd *one) {
  return one->fd < -1 ? (int)((unsigned)one->fd ^ (1u << 31)) : one->fd;
}

/* An accelerated socket whose readiness is the stack's and its twin's together. */
static struct Endpoint *merged(int fd) {
  if ((unsigned)fd >= FD_MAX || fd_state[fd] != FD_SOCKET) return NULL;
  struct Endpoint *endpoint = fd_endpoint(fd);
  return endpoint != NULL && endpoint->index != 0 ? endpoint : NULL;
}

static void hide_connection(struct pollfd *one) {
  int fd = number_of(one);
  struct Endpoint *endpoint = merged(fd);
  bool hidden = endpoint != NULL && socket_is_alone(endpoint);
  one->fd = hidden ? (int)((unsigned)fd | 1u << 31) : fd;
}

static short stack_events(struct Endpoint *endpoint, short wanted) {
  uint32_t bits = socket_ready(endpoint);
  short events = 0;
  if ((bits & EPOLLIN) != 0) events |= POLLIN | POLLRDNORM;
  if ((bits & EPOLLOUT) != 0) events |= POLLOUT | POLLWRNORM;
  /* These have the same values. */
  events |= (short)(bits & (EPOLLPRI | EPOLLRDHUP));
  return (short)((events & wanted) | (short)(bits & (EPOLLERR | EPOLLHUP)));
}

/* Asks the kernel, in place. Writability of an accelerated socket is the stack's alone to say. */
static void ask_kernel(struct Polling *polling, uint64_t now) {
  nfds_t count = polling->count;
  short wanted[LOCAL_FDS];
  bool restore = count <= LOCAL_FDS;
  for (nfds_t i = 0; restore && i < count; i++) {
    struct Endpoint *endpoint = merged(number_of(&polling->fds[i]));
    wanted[i] = polling->fds[i].events;
    if (endpoint == NULL || !socket_is_accelerated(endpoint)) continue;
    polling->fds[i].events = (short)(wanted[i] & ~OUT_EVENTS);
  }
  real.poll(polling->fds, count, 0);
  for (nfds_t i = 0; i < count; i++) {
    struct pollfd *one = &polling->fds[i];
    struct Endpoint *endpoint = merged(number_of(one));
    if (restore) one->events = wanted[i];
    if (endpoint == NULL || one->fd < 0) continue;
    if ((one->revents & (POLLIN | POLLERR)) == 0 && (one->events & POLLIN) != 0) {
      socket_twin_empty(endpoint);
    }
    if (!restore && socket_is_accelerated(endpoint)) {
      one->revents = (short)(one->revents & ~OUT_EVENTS);
    }
  }
  polling->askedNanos = now;
}

static int try_poll(void *context, uint64_t now, bool askKernel) {
  struct Polling *polling = context;
  stack_pump(now);
  bool ready = false;
  for (nfds_t i = 0; i < polling->count; i++) {
    struct pollfd *one = &polling->fds[i];
    struct Endpoint *endpoint = merged(number_of(one));
    one->revents = 0;
    if (endpoint == NULL) continue;
    if (endpoint->stream) hide_connection(one);
    if (stack_events(endpoint, one->events) != 0) ready = true;
    bool twin = one->fd >= 0 && (one->events & POLLIN) != 0;
    if (twin && socket_twin_worth(endpoint, now)) askKernel = true;
  }
  uint64_t age = now - polling->askedNanos;
  if (askKernel || (polling->mixed && (ready || age > KERNEL_ASK_NANOS))) ask_kernel(polling, now);
  int count = 0;
  for (nfds_t i = 0; i < polling->count; i++) {
    struct pollfd *one = &polling->fds[i];
    struct Endpoint *endpoint = merged(number_of(one));
    struct Epoll *epoll = fd_epoll(one->fd);
    if (endpoint != NULL) one->revents |= stack_events(endpoint, one->events);
    if (epoll != NULL && epoll_ready(epoll)) {
      one->revents |= (short)(one->events & (POLLIN | POLLRDNORM));
    }
    if (one->revents != 0) count++;
  }
  return count;
}

/* Counts the caller's descriptors that are ready; -errno. `fds` has WAIT_EXTRA_FDS to spare. */
static int wait_for_fds(struct pollfd *fds, nfds_t count, uint64_t deadline,
                        const sigset_t *mask) {
  struct Polling polling = {.fds = fds, .count = count};
  struct Waiting waiting = {.ready = try_poll,
                            .context = &polling,
                            .deadline = deadline,
                            .fds = fds,
                            .count = count,
                            .mask = mask};
  for (nfds_t i = 0; i < count; i++) {
    if (fds[i].fd < 0) fds[i].fd = -1;
    struct Endpoint *endpoint = merged(fds[i].fd);
    if (endpoint != NULL) waiting.interest |= socket_interest(endpoint);
    else if (fds[i].fd >= 0) polling.mixed = true;
    if (fd_epoll(fds[i].fd) != NULL) waiting.interest = ~0ull;
  }
  return wait_until(&waiting);
}

/* Whether any of them needs more than the kernel's answer. */
static bool concerns_us(const struct pollfd *fds, nfds_t count) {
  if (count == 0 || is_nowhere(fds)) return false;
  for (nfds_t i = 0; i < count; i++) {
    if (fd_is_ours(fds[i].fd)) return true;
  }
  return false;
}

static size_t room_bytes(nfds_t count) { return (count + WAIT_EXTRA_FDS) * sizeof(struct pollfd); }

/* More descriptors than the process may have are for the kernel to refuse. */
static bool is_too_many(nfds_t count) {
  struct rlimit limit;
  return count > LOCAL_FDS && getrlimit(RLIMIT_NOFILE, &limit) == 0 && count > limit.rlim_cur;
}

/* Room for a copy: on the stack if it is small, since poll() may be called in signal handlers. */
static struct pollfd *make_room(struct pollfd *local, nfds_t count) {
  if (count <= LOCAL_FDS) return local;
  void *at = mmap(NULL, room_bytes(count), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                  0);
  return at == MAP_FAILED ? NULL : at;
}

static int poll_ours(struct pollfd *fds, nfds_t count, uint64_t deadline, const sigset_t *mask) {
  struct pollfd local[LOCAL_FDS + WAIT_EXTRA_FDS];
  struct pollfd *copy = make_room(local, count);
  if (copy == NULL) return -ENOMEM;
  memcpy(copy, fds, count * sizeof *fds);
  int result = wait_for_fds(copy, count, deadline, mask);
  /* As in Linux also when a signal ended the call: then there are none. */
  for (nfds_t i = 0; i < count; i++) fds[i].revents = result < 0 ? 0 : copy[i].revents;
  if (copy != local) munmap(copy, room_bytes(count));
  return result;
}

int shim_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
               const sigset_t *mask) {
  uint64_t deadline;
  if (LIKELY(!concerns_us(fds, count)) || is_too_many(count) ||
      !deadline_from(timeout, &deadline)) {
    return real.ppoll(fds, count, timeout, mask);
  }
  return (int)answer(poll_ours(fds, count, deadline, mask));
}

int shim_poll(struct pollfd *fds, nfds_t count, int millis) {
  if (LIKELY(!concerns_us(fds, count)) || is_too_many(count)) {
    return real.poll(fds, count, millis);
  }
  struct timespec timeout = {millis / 1000, (long)(millis % 1000) * 1000000};
  return shim_ppoll(fds, count, millis < 0 ? NULL : &timeout, NULL);
}

int shim_poll_chk(struct pollfd *fds, nfds_t count, int millis, size_t room) {
  if (room / sizeof *fds < count) return real.__poll_chk(fds, count, millis, room);
  return shim_poll(fds, count, millis);
}

int shim_ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                   const sigset_t *mask, size_t room) {
  if (room / sizeof *fds < count) return real.__ppoll_chk(fds, count, timeout, mask, room);
  return shim_ppoll(fds, count, timeout, mask);
}

/* The events that select's three sets stand for, from Linux's fs/select.c. */
static const struct {
  short asked;
  short found;
} sets[3] = {
    {POLLIN | POLLRDNORM, POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR},
    {POLLOUT | POLLWRNORM, POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR},
    {POLLPRI, POLLPRI},
};

/* FD_ISSET and its like may be fortified: sets larger than FD_SETSIZE are legal here. */
static bool in_set(const fd_set *set, int fd) {
  const fd_mask *words = (const fd_mask *)set;
  return set != NULL && (words[fd / NFDBITS] >> (fd % NFDBITS) & 1) != 0;
}

static bool is_nowhere_but_null(const void *pointer) {
  return pointer != NULL && is_nowhere(pointer);
}

static nfds_t collect(struct pollfd *fds, int count, fd_set *const *asked) {
  nfds_t found = 0;
  for (int fd = 0; fd < count; fd++) {
    short events = 0;
    for (int i = 0; i < 3; i++) events |= in_set(asked[i], fd) ? sets[i].asked : 0;
    if (events == 0) continue;
    if (fds != NULL) fds[found] = (struct pollfd){.fd = fd, .events = events};
    found++;
  }
  return found;
}

static bool select_concerns_us(int count, fd_set *const *asked) {
  for (int i = 0; i < 3; i++) {
    if (asked[i] != NULL && is_nowhere(asked[i])) return false;
  }
  for (int fd = 0; fd < count && fd < FD_MAX; fd++) {
    if (LIKELY(fd_state[fd] == FD_PLAIN)) continue;
    if (!in_set(asked[0], fd) && !in_set(asked[1], fd) && !in_set(asked[2], fd)) continue;
    if (fd_is_ours(fd)) return true;
  }
  return false;
}

/* Writes the three sets of ready descriptors. Returns how many bits, or -EBADF. */
static int fill_sets(const struct pollfd *fds, nfds_t found, fd_set *const *asked) {
  int bits = 0;
  for (nfds_t n = 0; n < found; n++) {
    if ((fds[n].revents & POLLNVAL) != 0) return -EBADF;
  }
  fd_mask *words[3];
  for (int i = 0; i < 3; i++) words[i] = (fd_mask *)asked[i];
  for (nfds_t n = 0; n < found; n++) {
    int fd = number_of(&fds[n]);
    for (int i = 0; i < 3; i++) {
      if (words[i] == NULL || (words[i][fd / NFDBITS] >> (fd % NFDBITS) & 1) == 0) continue;
      if ((fds[n].revents & sets[i].found) != 0) bits++;
      else words[i][fd / NFDBITS] &= ~(fd_mask)(1ul << (fd % NFDBITS));
    }
  }
  return bits;
}

static int select_ours(int count, fd_set *const *asked, uint64_t deadline, const sigset_t *mask) {
  nfds_t found = collect(NULL, count, asked);
  struct pollfd local[LOCAL_FDS + WAIT_EXTRA_FDS];
  struct pollfd *fds = make_room(local, found);
  if (fds == NULL) return -ENOMEM;
  collect(fds, count, asked);
  int result = wait_for_fds(fds, found, deadline, mask);
  if (result >= 0) result = fill_sets(fds, found, asked);
  if (fds != local) munmap(fds, room_bytes(found));
  return result;
}

int shim_pselect(int count, fd_set *in, fd_set *out, fd_set *except,
                 const struct timespec *timeout, const sigset_t *mask) {
  fd_set *const asked[3] = {in, out, except};
  uint64_t deadline;
  if (LIKELY(!select_concerns_us(count, asked)) || !deadline_from(timeout, &deadline)) {
    return real.pselect(count, in, out, except, timeout, mask);
  }
  return (int)answer(select_ours(count, asked, deadline, mask));
}

int shim_select(int count, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout) {
  fd_set *const asked[3] = {in, out, except};
  bool valid = timeout == NULL || (timeout->tv_sec >= 0 && timeout->tv_usec >= 0);
  if (LIKELY(!select_concerns_us(count, asked)) || !valid) {
    return real.select(count, in, out, except, timeout);
  }
  uint64_t deadline = FOREVER;
  if (timeout != NULL) {
    struct timespec precise = {timeout->tv_sec + timeout->tv_usec / 1000000,
                               timeout->tv_usec % 1000000 * 1000};
    deadline_from(&precise, &deadline);
  }
  int result = select_ours(count, asked, deadline, NULL);
  if (timeout != NULL) {
    uint64_t now = now_nanos();
    uint64_t left = deadline > now ? deadline - now : 0;
    *timeout = (struct timeval){(time_t)(left / 1000000000u), (long)(left % 1000000000u / 1000)};
  }
  return (int)answer(result);
}

/* What is left of a timeout, as the system calls leave it and libc's functions do not. */
static void put_left(struct timespec *timeout, uint64_t deadline) {
  if (timeout == NULL || (timeout->tv_sec == 0 && timeout->tv_nsec == 0)) return;
  if (deadline == FOREVER) return;
  uint64_t now = now_nanos();
  uint64_t left = deadline > now ? deadline - now : 0;
  *timeout = (struct timespec){(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
}

bool poll_by_number(struct pollfd *fds, nfds_t count, struct timespec *timeout,
                    const sigset_t *mask, size_t maskBytes, long *result) {
  uint64_t deadline;
  if (!concerns_us(fds, count) || is_too_many(count)) return false;
  if (is_nowhere_but_null(timeout) || !deadline_from(timeout, &deadline)) return false;
  if (mask != NULL && maskBytes != KERNEL_SIGSET_BYTES) return false;
  *result = answer(poll_ours(fds, count, deadline, mask));
  put_left(timeout, deadline);
  return true;
}

/* The last argument of the system call. */
struct SelectMask {
  const sigset_t *mask;
  size_t bytes;
};

bool select_by_number(int count, fd_set *const *asked, struct timespec *timeout,
                      const void *last, long *result) {
  uint64_t deadline;
  struct SelectMask mask = {NULL, KERNEL_SIGSET_BYTES};
  if (!select_concerns_us(count, asked) || is_nowhere_but_null(last)) return false;
  if (is_nowhere_but_null(timeout) || !deadline_from(timeout, &deadline)) return false;
  if (last != NULL) memcpy(&mask, last, sizeof mask);
  if (mask.mask != NULL && mask.bytes != KERNEL_SIGSET_BYTES) return false;
  *result = answer(select_ours(count, asked, deadline, mask.mask));
  put_left(timeout, deadline);
  return true;
}
