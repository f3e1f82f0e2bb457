/*
 * epoll with accelerated members. The kernel's registration of the twin stays, without EPOLLOUT for
 * UDP; a TCP connection of the stack has none. Beside it each instance keeps a list of its members
 * that the stack may know. epoll_wait asks both and merges what concerns the same member, found by
 * the program's own data.
 *
 * One lock for all lists, held for a scan: handlers of signals wait meanwhile.
 */
#include "epoll.h"

#define KERNEL_ASK_NANOS 20000u
enum {
  /* How deep Linux lets instances nest (EP_MAX_NESTS). */
  NESTS_MAX = 4,
  /* So few members are all looked at: that costs less than to find out which are worth it. */
  FEW_MEMBERS = 16,
};

/* Once this process has joined, a wait in any instance may have to end for a socket added later. */
static int created(int fd) {
  if (fd < 0 || fd >= FD_MAX || !process.joined || fd_borrowed()) return fd;
  epolls_acquire();
  epoll_record(fd);
  epolls_release();
  return fd;
}

int shim_epoll_create(int size) { return created(real.epoll_create(size)); }
int shim_epoll_create1(int flags) { return created(real.epoll_create1(flags)); }

/* Records what the kernel accepted. */
static void note_change(int fd, int operation, const struct Member *change) {
  struct Epoll *epoll = operation == EPOLL_CTL_DEL ? fd_epoll(fd) : epoll_record(fd);
  if (epoll == NULL) return;
  const struct Member *member = epoll_find(epoll, change->fd);
  if (operation != EPOLL_CTL_DEL) {
    epoll_put(epoll, change);
    epoll_wake_sleeper(epoll);
  } else if (member != NULL) {
    epoll_remove(epoll, member);
  }
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
  struct Epoll *epoll = epoll_record(fd);
  if (epoll == NULL) return -ENOMEM;
  const struct Member *member = epoll_find(epoll, change->fd);
  if (member != NULL && member->endpoint != change->endpoint) member = NULL;
  switch (operation) {
    case EPOLL_CTL_ADD:
      if (member != NULL) return -EEXIST;
      break;
    case EPOLL_CTL_MOD:
      if (member == NULL) return -ENOENT;
      if (((change->event.events | member->event.events) & EPOLLEXCLUSIVE) != 0) return -EINVAL;
      break;
    case EPOLL_CTL_DEL:
      if (member == NULL) return -ENOENT;
      epoll_remove(epoll, member);
      return 0;
    default:
      return -EINVAL;
  }
  if (!epoll_put(epoll, change)) return -ENOMEM;
  epoll_wake_sleeper(epoll);
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
  change.half = epoll_half(&change);
  struct epoll_event kernels = {0};
  if (operation != EPOLL_CTL_DEL) kernels = change.event = *event;
  if (change.half == HALF_WITHOUT_OUT) kernels.events &= ~OUT_EVENTS;
  if (change.half == HALF_NONE) {
    int checked = check_instance(fd, target);
    if (checked != 0) return (int)answer(checked);
    epolls_acquire();
    int changed = change_ours(fd, operation, &change);
    epolls_release();
    return (int)answer(changed);
  }
  int result = real.epoll_ctl(fd, operation, target, &kernels);
  if (result != 0) return result;
  int saved = errno;
  epolls_acquire();
  note_change(fd, operation, &change);
  epolls_release();
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
  epolls_acquire();
  bool ready = has_ready_member(epoll, 0);
  epolls_release();
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

/* Classes of sockets that something happened to since the last scan, one bit each. */
static uint64_t active_classes(struct Epoll *epoll) {
  if (epoll->count <= FEW_MEMBERS || process.orphaned) return ~UINT64_C(0);
  const uint32_t *activity = region_at(ACTIVITY_OFFSET);
  uint64_t active = 0;
  for (unsigned n = 0; n < ACTIVITY_CLASSES; n++) {
    uint32_t count = __atomic_load_n(&activity[n], __ATOMIC_ACQUIRE);
    active |= (uint64_t)(count != epoll->seen[n]) << n;
    epoll->seen[n] = count;
  }
  return active;
}

/* Fired: the kernel's half must not fire as well. */
static void disarm(int fd, struct Member *member) {
  struct epoll_event nothing = {EPOLLONESHOT, member->event.data};
  if (member->half != HALF_NONE) real.epoll_ctl(fd, EPOLL_CTL_MOD, member->fd, &nothing);
  member->disarmed = true;
}

/* One pass over the members. Returns the events written; says if the kernel is worth asking. */
static int scan(const struct EpollWaiting *waiting, struct Epoll *epoll, uint64_t now, bool *ask) {
  int found = 0;
  uint64_t active = active_classes(epoll);
  uint32_t at = epoll->count != 0 ? epoll->cursor % epoll->count : 0;
  for (uint32_t n = 0; n < epoll->count; n++, at = at + 1 < epoll->count ? at + 1 : 0) {
    uint8_t tag = epoll->tags[at];
    if ((tag & (TAG_ALWAYS | TAG_HOT)) == 0 && (active >> (tag & TAG_CLASS) & 1) == 0) continue;
    struct Member *member = &epoll->members[at];
    epoll_sync(waiting->fd, epoll, member);
    struct Endpoint *endpoint = member->endpoint;
    bool twin = endpoint != NULL && endpoint->index != 0 && member->half != HALF_NONE;
    if (twin && socket_twin_worth(endpoint, now)) *ask = true;
    uint32_t events = found < waiting->room ? member_events(member, false, 0) : 0;
    /* What was not looked at, or is ready, is looked at again. */
    if (member->half == HALF_NONE) {
      bool hot = events != 0 || found == waiting->room;
      epoll->tags[at] = (uint8_t)((hot ? TAG_HOT : 0) | (endpoint->index & TAG_CLASS));
    }
    if (events == 0) continue;
    waiting->events[found++] = (struct epoll_event){events, member->event.data};
    epoll->cursor = at + 1;
    if ((member->event.events & EPOLLONESHOT) != 0) disarm(waiting->fd, member);
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
    if ((epoll->tags[i] & TAG_ALWAYS) == 0) continue;
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
  epolls_acquire();
  struct Epoll *epoll = fd_epoll(waiting->fd);
  if (epoll == NULL) {
    epolls_release();
    return -EBADF;
  }
  if (self.armed) atomic_store(&epoll->sleeper, self.waiter);
  else if (atomic_load(&epoll->sleeper) == self.waiter) atomic_store(&epoll->sleeper, 0);
  int found = scan(waiting, epoll, now, &askKernel);
  if (askKernel || now - epoll->askedNanos > KERNEL_ASK_NANOS) {
    epoll->askedNanos = now;
    found = add_kernel(waiting, epoll, found);
  }
  epolls_release();
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
