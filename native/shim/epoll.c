/*
 * epoll with accelerated members. The kernel's registration of the twin stays, without EPOLLOUT for
 * UDP; a TCP connection of the stack has none. Beside it each instance keeps a list of its members
 * that the stack may know. epoll_wait asks both and merges what concerns the same member, found by
 * the program's own data.
 *
 * One lock for all lists, held for a scan: handlers of signals wait meanwhile.
 */
#include "shim.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/un.h>

#define IN_EVENTS ((uint32_t)(EPOLLIN | EPOLLRDNORM))
#define OUT_EVENTS ((uint32_t)(EPOLLOUT | EPOLLWRNORM))
#define KERNEL_ASK_NANOS 20000u
/* How deep Linux lets instances nest (EP_MAX_NESTS). */
enum { NESTS_MAX = 4 };

/* What the kernel's instance knows of a member. */
enum Half { HALF_WHOLE, HALF_WITHOUT_OUT, HALF_NONE };

struct Member {
  int fd;
  /* One of these two. */
  struct Endpoint *endpoint;
  struct Epoll *inner;
  struct epoll_event event;
  /* What was reported last, for EPOLLET. */
  uint64_t arrivals;
  uint32_t blockedSends;
  bool reported;
  bool reportedOut;
  bool reportedError;
  /* After EPOLLONESHOT, until EPOLL_CTL_MOD. */
  bool disarmed;
  enum Half half;
};

struct Epoll {
  struct Epoll *next;
  /* A descriptor of it, when last looked at. */
  int fd;
  uint32_t references;
  uint32_t count;
  uint32_t room;
  /* Where the next scan begins, so that nobody starves. */
  uint32_t cursor;
  struct Member *members;
  uint64_t askedNanos;
  /* Waiter that sleeps in it: rung when a member is added. */
  _Atomic uint32_t sleeper;
};

static struct Epoll *all;
static atomic_flag lock = ATOMIC_FLAG_INIT;

static void acquire(void) {
  hold();
  while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) sched_yield();
}

static void release(void) {
  atomic_flag_clear_explicit(&lock, memory_order_release);
  unhold();
}

void epoll_after_fork(void) { atomic_flag_clear(&lock); }

void epoll_reference(struct Epoll *epoll) {
  acquire();
  epoll->references++;
  release();
}

static void remove_member(struct Epoll *epoll, uint32_t at) {
  struct Endpoint *endpoint = epoll->members[at].endpoint;
  if (endpoint != NULL) endpoint->memberships--;
  epoll->members[at] = epoll->members[--epoll->count];
}

/* Removes a socket, or an inner instance, from every instance. Precondition: the lock is held. */
static void forget(const struct Endpoint *endpoint, const struct Epoll *inner) {
  for (struct Epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
    for (uint32_t i = epoll->count; i > 0; i--) {
      struct Member *member = &epoll->members[i - 1];
      if (member->endpoint == endpoint && member->inner == inner) remove_member(epoll, i - 1);
    }
  }
}

void epoll_drop(struct Epoll *epoll) {
  acquire();
  bool last = --epoll->references == 0;
  if (last) forget(NULL, epoll);
  for (struct Epoll **at = &all; last && *at != NULL; at = &(*at)->next) {
    if (*at != epoll) continue;
    *at = epoll->next;
    break;
  }
  release();
  if (!last) return;
  free(epoll->members);
  free(epoll);
}

void epoll_forget(struct Endpoint *endpoint) {
  if (LIKELY(endpoint->memberships == 0)) return;
  acquire();
  forget(endpoint, NULL);
  release();
}

static struct Member *find_member(struct Epoll *epoll, int fd) {
  for (uint32_t i = 0; i < epoll->count; i++) {
    if (epoll->members[i].fd == fd) return &epoll->members[i];
  }
  return NULL;
}

/* The instance's record, made if it has none. Precondition: the lock is held. */
static struct Epoll *record(int fd) {
  struct Epoll *epoll = fd_epoll(fd);
  if (epoll != NULL) return epoll;
  epoll = calloc(1, sizeof *epoll);
  if (epoll == NULL) return NULL;
  epoll->references = 1;
  epoll->fd = fd;
  epoll->next = all;
  all = epoll;
  fd_set_epoll(fd, epoll);
  return epoll;
}

static bool add_member(struct Epoll *epoll, const struct Member *member) {
  if (epoll->count == epoll->room) {
    uint32_t room = epoll->room == 0 ? 8 : epoll->room * 2;
    struct Member *members = realloc(epoll->members, room * sizeof *members);
    if (members == NULL) return false;
    epoll->members = members;
    epoll->room = room;
  }
  epoll->members[epoll->count++] = *member;
  if (member->endpoint != NULL) member->endpoint->memberships++;
  return true;
}

/* Once this process has joined, a wait in any instance may have to end for a socket added later. */
static int created(int fd) {
  if (fd < 0 || fd >= FD_MAX || !process.joined || fd_borrowed()) return fd;
  acquire();
  record(fd);
  release();
  return fd;
}

int shim_epoll_create(int size) { return created(real.epoll_create(size)); }
int shim_epoll_create1(int flags) { return created(real.epoll_create1(flags)); }

/* What the kernel is to know of it now. */
static enum Half half_of(const struct Member *member) {
  struct Endpoint *endpoint = member->endpoint;
  if (endpoint == NULL) return HALF_WHOLE;
  if (endpoint->stream) return socket_is_alone(endpoint) ? HALF_NONE : HALF_WHOLE;
  return socket_is_accelerated(endpoint) ? HALF_WITHOUT_OUT : HALF_WHOLE;
}

/* Brings the kernel's registration in line with who reports what. */
static void sync_kernel(int fd, struct Member *member) {
  enum Half half = half_of(member);
  if (LIKELY(half == member->half)) return;
  struct epoll_event event = member->event;
  if (half == HALF_WITHOUT_OUT) event.events &= ~OUT_EVENTS;
  if (member->disarmed) event.events = EPOLLONESHOT;
  int operation = member->half == HALF_NONE ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (half == HALF_NONE) operation = EPOLL_CTL_DEL;
  real.epoll_ctl(fd, operation, member->fd, &event);
  member->half = half;
}

/* A sleeper in the instance does not know of the change. */
static void wake_sleeper(struct Epoll *epoll) {
  uint32_t waiter = atomic_exchange(&epoll->sleeper, 0);
  if (waiter == 0 || process.wires.bell < 0) return;
  struct sockaddr_un name;
  socklen_t bytes = core_bell_address(&name, process.stackName, waiter);
  real.sendto(process.wires.bell, "", 1, MSG_DONTWAIT, (struct sockaddr *)&name, bytes);
}

/* Records what the kernel accepted. */
static void note_change(int fd, int operation, const struct Member *change) {
  struct Epoll *epoll = operation == EPOLL_CTL_DEL ? fd_epoll(fd) : record(fd);
  if (epoll == NULL) return;
  struct Member *member = find_member(epoll, change->fd);
  if (operation == EPOLL_CTL_DEL) {
    if (member != NULL) remove_member(epoll, (uint32_t)(member - epoll->members));
    return;
  }
  if (member != NULL && member->endpoint != change->endpoint) {
    /* The number was closed and given out again, and the old socket lives on under another. */
    remove_member(epoll, (uint32_t)(member - epoll->members));
    member = NULL;
  }
  if (member == NULL) add_member(epoll, change);
  else *member = *change;
  wake_sleeper(epoll);
}

void epoll_follow(struct Endpoint *endpoint) {
  if (LIKELY(endpoint->memberships == 0)) return;
  int saved = errno;
  acquire();
  for (struct Epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
    for (uint32_t i = 0; i < epoll->count; i++) {
      if (epoll->members[i].endpoint != endpoint) continue;
      epoll->fd = fd_of_epoll(epoll, epoll->fd);
      sync_kernel(epoll->fd, &epoll->members[i]);
      epoll->members[i].reported = false;
      wake_sleeper(epoll);
    }
  }
  release();
  errno = saved;
}

/* Whether it is an epoll instance at all: 0, or -errno as the kernel says. */
static int check_instance(int fd, int target) {
  struct epoll_event nothing = {0};
  if (fd_epoll(fd) != NULL) return 0;
  if (real.epoll_ctl(fd, EPOLL_CTL_ADD, target, &nothing) != 0) return -errno;
  real.epoll_ctl(fd, EPOLL_CTL_DEL, target, &nothing);
  return 0;
}

/* epoll_ctl for what the kernel does not know. 0 or -errno. Precondition: the lock is held. */
static int change_ours(int fd, int operation, const struct Member *change) {
  struct Epoll *epoll = fd_epoll(fd);
  struct Member *member = epoll != NULL ? find_member(epoll, change->fd) : NULL;
  if (operation == EPOLL_CTL_ADD) {
    if (member != NULL) return -EEXIST;
    if (epoll == NULL) epoll = record(fd);
    if (epoll == NULL || !add_member(epoll, change)) return -ENOMEM;
    wake_sleeper(epoll);
    return 0;
  }
  if (operation != EPOLL_CTL_MOD && operation != EPOLL_CTL_DEL) return -EINVAL;
  if (member == NULL) return -ENOENT;
  if (operation == EPOLL_CTL_DEL) {
    remove_member(epoll, (uint32_t)(member - epoll->members));
    return 0;
  }
  if (((change->event.events | member->event.events) & EPOLLEXCLUSIVE) != 0) return -EINVAL;
  *member = *change;
  wake_sleeper(epoll);
  return 0;
}

int shim_epoll_ctl(int fd, int operation, int target, struct epoll_event *event) {
  struct Member change = {.fd = target};
  if (LIKELY(!fd_is_ours(target)) || fd_borrowed() || (unsigned)fd >= FD_MAX ||
      (operation != EPOLL_CTL_DEL && is_nowhere(event))) {
    return real.epoll_ctl(fd, operation, target, event);
  }
  change.endpoint = fd_socket(target);
  change.inner = fd_epoll(target);
  change.half = half_of(&change);
  struct epoll_event kernels = {0};
  if (operation != EPOLL_CTL_DEL) kernels = change.event = *event;
  if (change.half == HALF_WITHOUT_OUT) kernels.events &= ~OUT_EVENTS;
  if (change.half == HALF_NONE) {
    int checked = check_instance(fd, target);
    if (checked != 0) return (int)answer(checked);
    acquire();
    int changed = change_ours(fd, operation, &change);
    release();
    return (int)answer(changed);
  }
  int result = real.epoll_ctl(fd, operation, target, &kernels);
  if (result != 0) return result;
  int saved = errno;
  acquire();
  note_change(fd, operation, &change);
  release();
  errno = saved;
  return 0;
}

static uint32_t member_events(struct Member *member, bool peek, unsigned depth);

static bool has_ready_member(struct Epoll *epoll, unsigned depth) {
  for (uint32_t i = 0; i < epoll->count; i++) {
    if (member_events(&epoll->members[i], true, depth) != 0) return true;
  }
  return false;
}

bool epoll_ready(struct Epoll *epoll) {
  acquire();
  bool ready = has_ready_member(epoll, 0);
  release();
  return ready;
}

/*
 * The same for a TCP socket. As in Linux an edge is a wake-up: whatever is true then is reported,
 * whether it was before or not.
 */
static uint32_t stream_events(struct Member *member, bool peek) {
  struct Endpoint *endpoint = member->endpoint;
  uint32_t wanted = member->event.events;
  uint64_t arrivals = region_socket(endpoint->index)->arrivals;
  uint32_t bits = socket_ready(endpoint);
  uint32_t events = bits & (wanted | EPOLLERR | EPOLLHUP);
  if ((bits & EPOLLIN) != 0) events |= wanted & IN_EVENTS;
  if ((bits & EPOLLOUT) != 0) events |= wanted & OUT_EVENTS;
  bool room = (bits & EPOLLOUT) != 0 && endpoint->blockedSends != member->blockedSends;
  bool edge = !member->reported || arrivals != member->arrivals || room;
  if ((wanted & EPOLLET) != 0 && !edge) return 0;
  if (peek || events == 0) return events;
  member->reported = true;
  member->arrivals = arrivals;
  if ((bits & EPOLLOUT) != 0) member->blockedSends = endpoint->blockedSends;
  return events;
}

/* What the stack has for a member now. Unless `peek`, it counts as reported. */
static uint32_t member_events(struct Member *member, bool peek, unsigned depth) {
  struct Endpoint *endpoint = member->endpoint;
  uint32_t wanted = member->event.events;
  if (member->disarmed) return 0;
  if (member->inner != NULL) {
    bool ready = depth < NESTS_MAX && has_ready_member(member->inner, depth + 1);
    return ready ? wanted & IN_EVENTS : 0;
  }
  if (endpoint->index == 0) return 0;
  if (endpoint->stream) return stream_events(member, peek);
  uint32_t bits = socket_ready(endpoint);
  uint32_t events = 0;
  bool edges = (wanted & EPOLLET) != 0;
  uint64_t arrivals = region_socket(endpoint->index)->arrivals;
  bool error = (bits & EPOLLERR) != 0;
  bool in = (bits & EPOLLIN) != 0 && (!edges || arrivals != member->arrivals || error);
  bool out = (bits & EPOLLOUT) != 0 &&
             (!edges || !member->reportedOut || endpoint->blockedSends != member->blockedSends);
  if (in) events |= wanted & IN_EVENTS;
  if (out) events |= wanted & OUT_EVENTS;
  if (error && (!edges || !member->reportedError)) events |= EPOLLERR;
  if (peek) return events;
  if (in) member->arrivals = arrivals;
  member->reportedError = error;
  if (out) {
    member->reportedOut = true;
    member->blockedSends = endpoint->blockedSends;
  }
  return events;
}

struct EpollWaiting {
  int fd;
  struct epoll_event *events;
  int room;
};

/* One pass over the members. Returns the events written; says if the kernel is worth asking. */
static int scan(const struct EpollWaiting *waiting, struct Epoll *epoll, uint64_t now, bool *ask) {
  int found = 0;
  uint32_t start = epoll->count != 0 ? epoll->cursor % epoll->count : 0;
  for (uint32_t n = 0; n < epoll->count; n++) {
    struct Member *member = &epoll->members[(start + n) % epoll->count];
    sync_kernel(waiting->fd, member);
    struct Endpoint *endpoint = member->endpoint;
    bool twin = endpoint != NULL && endpoint->index != 0 && member->half != HALF_NONE;
    if (twin && socket_twin_worth(endpoint, now)) *ask = true;
    if (found == waiting->room) continue;
    uint32_t events = member_events(member, false, 0);
    if (events == 0) continue;
    waiting->events[found++] = (struct epoll_event){events, member->event.data};
    epoll->cursor = (start + n + 1) % epoll->count;
    if ((member->event.events & EPOLLONESHOT) == 0) continue;
    /* Fired: the kernel's half must not fire as well. */
    struct epoll_event nothing = {EPOLLONESHOT, member->event.data};
    if (member->half != HALF_NONE) {
      real.epoll_ctl(waiting->fd, EPOLL_CTL_MOD, member->fd, &nothing);
    }
    member->disarmed = true;
  }
  return found;
}

static struct Member *member_by_data(struct Epoll *epoll, uint64_t data) {
  for (uint32_t i = 0; i < epoll->count; i++) {
    if (epoll->members[i].event.data.u64 == data) return &epoll->members[i];
  }
  return NULL;
}

/* Adds the kernel's events to `found` of the stack's. Returns all, or -errno. */
static int add_kernel(const struct EpollWaiting *waiting, struct Epoll *epoll, int found) {
  struct epoll_event *events = waiting->events;
  int more = waiting->room > found
                 ? real.epoll_wait(waiting->fd, events + found, waiting->room - found, 0)
                 : 0;
  if (more < 0) return found > 0 ? found : -errno;
  for (uint32_t i = 0; more == 0 && waiting->room > found && i < epoll->count; i++) {
    struct Member *member = &epoll->members[i];
    bool levels = (member->event.events & (EPOLLET | EPOLLONESHOT)) == 0;
    bool twin = member->endpoint != NULL && member->half != HALF_NONE &&
                socket_is_accelerated(member->endpoint);
    if (levels && twin && (member->event.events & EPOLLIN) != 0) {
      socket_twin_empty(member->endpoint);
    }
  }
  int total = found;
  for (int i = found; i < found + more; i++) {
    struct Member *member = member_by_data(epoll, events[i].data.u64);
    if (member != NULL && (member->event.events & EPOLLONESHOT) != 0) member->disarmed = true;
    int same = 0;
    while (same < found && events[same].data.u64 != events[i].data.u64) same++;
    if (member != NULL && same < found) events[same].events |= events[i].events;
    else events[total++] = events[i];
  }
  return total;
}

static int try_epoll(void *context, uint64_t now, bool askKernel) {
  const struct EpollWaiting *waiting = context;
  stack_pump(now);
  acquire();
  struct Epoll *epoll = fd_epoll(waiting->fd);
  if (epoll == NULL) {
    release();
    return -EBADF;
  }
  if (self.armed) atomic_store(&epoll->sleeper, self.waiter);
  int found = scan(waiting, epoll, now, &askKernel);
  if (askKernel || now - epoll->askedNanos > KERNEL_ASK_NANOS) {
    epoll->askedNanos = now;
    found = add_kernel(waiting, epoll, found);
  }
  release();
  return found;
}

/* Whether the kernel's answer alone would do. */
static bool is_kernels(int room) {
  return room <= 0 || !process.joined;
}

static int wait_for_events(int fd, struct epoll_event *events, int room, uint64_t deadline,
                           const sigset_t *mask) {
  struct epoll_event spare;
  bool writable = !is_nowhere(events);
  struct EpollWaiting context = {fd, writable ? events : &spare, writable ? room : 1};
  struct pollfd fds[1 + WAIT_EXTRA_FDS] = {{.fd = fd, .events = POLLIN}};
  struct Waiting waiting = {.ready = try_epoll,
                            .context = &context,
                            .deadline = deadline,
                            .interest = ~0ull,
                            .fds = fds,
                            .count = 1,
                            .mask = mask};
  int result = wait_until(&waiting);
  if (result > 0 && !writable) result = -EFAULT;
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

static uint64_t deadline_millis(int millis) {
  return millis < 0 ? FOREVER : deadline_after((uint64_t)millis * 1000000u);
}

int shim_epoll_wait(int fd, struct epoll_event *events, int room, int millis) {
  if (is_kernels(room)) return real.epoll_wait(fd, events, room, millis);
  return wait_for_events(fd, events, room, deadline_millis(millis), NULL);
}

int shim_epoll_pwait(int fd, struct epoll_event *events, int room, int millis,
                     const sigset_t *mask) {
  if (is_kernels(room)) return real.epoll_pwait(fd, events, room, millis, mask);
  return wait_for_events(fd, events, room, deadline_millis(millis), mask);
}

int shim_epoll_pwait2(int fd, struct epoll_event *events, int room,
                      const struct timespec *timeout, const sigset_t *mask) {
  uint64_t deadline;
  if (is_kernels(room) || !deadline_from(timeout, &deadline)) {
    return real.epoll_pwait2(fd, events, room, timeout, mask);
  }
  return wait_for_events(fd, events, room, deadline, mask);
}
