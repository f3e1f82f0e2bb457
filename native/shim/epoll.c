/* The calls of epoll: see epoll.h. */
#include "epoll.h"

/* While the stack has nothing, the kernel is asked this often; at once where it had something. */
#define KERNEL_ASK_NANOS 20000u
/* As many as Linux allows in one call (EP_MAX_EVENTS). */
#define EVENTS_MAX (INT_MAX / (int)sizeof(struct epoll_event))

static int created(int fd) {
  if (fd < 0 || fd >= FD_MAX || fd_borrowed()) return fd;
  epolls_acquire();
  struct Epoll *epoll = epoll_record(fd);
  if (epoll != NULL) epoll_set(epoll);
  epolls_release();
  return fd;
}

int shim_epoll_create(int size) { return created(real.epoll_create(size)); }
int shim_epoll_create1(int flags) { return created(real.epoll_create1(flags)); }

/* Whether it is an epoll instance at all: 0, or -errno as the kernel says. */
static int check_instance(int fd, int target) {
  struct epoll_event nothing = {0};
  if (fd_epoll(fd) != NULL) return 0;
  if (real.epoll_ctl(fd, EPOLL_CTL_ADD, target, &nothing) != 0) return -errno;
  real.epoll_ctl(fd, EPOLL_CTL_DEL, target, &nothing);
  return 0;
}

int shim_epoll_ctl(int fd, int operation, int member, struct epoll_event *event) {
  if (LIKELY(!fd_is_ours(member)) || fd_borrowed() || (unsigned)fd >= FD_MAX ||
      (operation != EPOLL_CTL_DEL && is_nowhere(event))) {
    return real.epoll_ctl(fd, operation, member, event);
  }
  int instance = fd;
  if (!fd_is_plain(fd)) fd_is(&instance, FD_EPOLL);
  struct Endpoint *endpoint = fd_socket(member);
  struct Epoll *inner = fd_epoll(member);
  bool itself = inner != NULL && inner == fd_epoll(fd);
  if ((endpoint == NULL && inner == NULL) || itself) {
    return real.epoll_ctl(fd, operation, member, event);
  }
  if (operation == EPOLL_CTL_ADD) {
    int checked = check_instance(fd, member);
    if (checked != 0) return (int)answer(checked);
  } else if (fd_epoll(fd) == NULL) {
    return real.epoll_ctl(fd, operation, member, event);
  }
  struct Target target = epoll_target(endpoint, inner);
  int saved = errno;
  epolls_acquire();
  struct Epoll *epoll = epoll_record(fd);
  bool known = epoll != NULL && target.index != 0 && epoll_set(epoll) != 0;
  int result = epoll == NULL ? -ENOMEM
               : known ? epoll_change_item(epoll, operation, member, &target, event)
                       : epoll_change_registration(epoll, operation, member, &target, event);
  epolls_release();
  errno = saved;
  return (int)answer(result);
}

bool epoll_ready(struct Epoll *epoll) {
  if (epoll->set == 0 || region_set(epoll->set)->readyCount == 0) return false;
  if (!process_usable() || !stack_lock()) return false;
  bool ready = w2c_stack_epollReady(stack, epoll->set) != 0;
  stack_unlock();
  return ready;
}

struct EpollWaiting {
  struct Epoll *epoll;
  struct pollfd *fds;
  struct epoll_event *events;
  int room;
};

/* The word that ends early waits, of which there may be none left. */
static void take_poke(struct Epoll *epoll, uint64_t data) {
  struct epoll_event nothing = {0};
  if (!epoll_is_poke(data) || epoll->early != 0) return;
  real.epoll_ctl(epoll_descriptor(epoll), EPOLL_CTL_DEL, tag_fd(data), &nothing);
}

/*
 * Gives the tagged ones of `count` events to the set; the others stay, in front. Returns how many.
 * Precondition: the region is locked.
 */
static int deliver(const struct EpollWaiting *waiting, int from, int count) {
  struct epoll_event *events = waiting->events + from;
  struct Epoll *epoll = waiting->epoll;
  int kept = 0;
  for (int i = 0; i < count; i++) {
    uint64_t data = events[i].data.u64;
    if (LIKELY(!tag_is(data))) {
      events[kept++] = events[i];
    } else if (w2c_stack_epollDeliver(stack, epoll->set, tag_item(data), tag_generation(data),
                                      (uint32_t)tag_fd(data), events[i].events) == 0) {
      take_poke(epoll, data);
    }
  }
  return kept;
}

/* What the set has, behind `found` events. Returns all. Precondition: the region is locked. */
static int collect(const struct EpollWaiting *waiting, int found) {
  uint32_t room = (uint32_t)(waiting->room - found);
  uint32_t count = w2c_stack_epollCollect(stack, waiting->epoll->set, room);
  const struct EpollEvent *from = region_at(EPOLL_EVENTS_OFFSET);
  for (uint32_t i = 0; i < count; i++) {
    epoll_follow_item(waiting->epoll, from[i].item);
    if (from[i].events == 0) continue;
    waiting->events[found++] = (struct epoll_event){from[i].events, {.u64 = from[i].data}};
  }
  return found;
}

/* What the kernel has, behind `found` events, at most `room`: how many, or -errno. */
static int ask_kernel(const struct EpollWaiting *waiting, int found, int room) {
  struct Epoll *epoll = waiting->epoll;
  struct epoll_event *events = waiting->events + found;
  int count = real.epoll_wait(epoll_descriptor(epoll), events, room, 0);
  if (count < 0) return -errno;
  epoll->hot = count != 0;
  for (int i = 0; UNLIKELY(epollOneShots != 0) && i < count; i++) {
    epoll_note_fired(epoll, events[i].data.u64);
  }
  return count;
}

static bool has_tags(const struct epoll_event *events, int count) {
  for (int i = 0; i < count; i++) {
    if (tag_is(events[i].data.u64)) return true;
  }
  return false;
}

/* Both halves, each with its share of the room while both have something. */
static int look(struct EpollWaiting *waiting, uint32_t ready, bool ask) {
  struct Epoll *epoll = waiting->epoll;
  int share = ready == 0 ? waiting->room : (waiting->room + (int)(epoll->turn++ & 1)) / 2;
  int count = ask && share != 0 ? ask_kernel(waiting, 0, share) : 0;
  if (count < 0) return count;
  bool tagged = has_tags(waiting->events, count);
  if (!tagged && ready == 0) return count;
  if (epoll->set == 0 || !process_usable() || !stack_lock()) return count;
  int found = collect(waiting, deliver(waiting, 0, count));
  stack_unlock();
  if (!ask || found == waiting->room || (share != 0 && count < share)) return found;
  /* There may be more in the kernel. */
  int more = ask_kernel(waiting, found, waiting->room - found);
  if (more <= 0 || !has_tags(waiting->events + found, more)) return found + (more > 0 ? more : 0);
  if (!stack_lock()) return found;
  bool first = found == 0;
  found += deliver(waiting, found, more);
  /* What the set has reported in this call it must not report again. */
  if (first) found = collect(waiting, found);
  stack_unlock();
  return found;
}

/* Where EPOLLEXCLUSIVE is used, it matters who waits: a thread that spins is in the set's list. */
static void stand_in(uint32_t set) {
  const struct Waiter *waiter = region_at(WAITERS_OFFSET + self.waiter * WAITER_BYTES);
  if (!self.armed || waiter->set != set) wait_enter(set);
}

static int try_epoll(void *context, uint64_t now, bool askKernel) {
  struct EpollWaiting *waiting = context;
  struct Epoll *epoll = waiting->epoll;
  stack_pump(now);
  if (UNLIKELY(process.orphaned)) return epoll_look_orphaned(epoll, waiting->events, waiting->room);
  uint32_t ready = 0;
  if (epoll->set != 0) {
    ready = __atomic_load_n(&region_set(epoll->set)->readyCount, __ATOMIC_ACQUIRE);
  }
  if (!askKernel && epoll->set != 0 && ready == 0 && region_set(epoll->set)->exclusives != 0) {
    stand_in(epoll->set);
  }
  bool ask = askKernel || epoll->hot || now - epoll->askedNanos > KERNEL_ASK_NANOS;
  if (ready == 0 && !ask) return 0;
  if (ask) {
    epoll->askedNanos = now;
    waiting->fds[0].fd = epoll_descriptor(epoll);
  }
  return look(waiting, ready, ask);
}

/* A call of one of the three, as it came. */
struct Call {
  int fd;
  struct epoll_event *events;
  int room;
  /* epoll_pwait2's, or the others'. */
  bool precise;
  const struct timespec *timeout;
  int millis;
  const sigset_t *mask;
};

static int wait_for_events(struct Epoll *epoll, const struct Call *call, uint64_t deadline) {
  struct epoll_event spare;
  bool writable = !is_nowhere(call->events);
  struct pollfd fds[1 + WAIT_EXTRA_FDS] = {{.fd = epoll->fd, .events = POLLIN}};
  struct EpollWaiting context = {epoll, fds, writable ? call->events : &spare,
                                 writable ? call->room : 1};
  struct Waiting waiting = {.ready = try_epoll,
                            .context = &context,
                            .deadline = deadline,
                            .set = epoll->set,
                            .fds = fds,
                            .count = 1,
                            .mask = call->mask};
  int result = wait_until(&waiting);
  if (result <= 0 && epoll->set != 0 && region_set(epoll->set)->readyCount != 0 && stack_lock()) {
    w2c_stack_epollPass(stack, epoll->set);
    stack_unlock();
  }
  return result > 0 && !writable ? -EFAULT : result;
}

/* The same before there is a region. VIA_KERNEL: there is one now. */
static int wait_early(struct Epoll *epoll, const struct Call *call) {
  struct epoll_event *events = call->events;
  int fd = call->fd;
  atomic_fetch_add(&epoll->early, 1);
  int count = -(int)VIA_KERNEL;
  if (!process.joined) {
    count = call->precise ? real.epoll_pwait2(fd, events, call->room, call->timeout, call->mask)
                          : real.epoll_pwait(fd, events, call->room, call->millis, call->mask);
    if (count < 0) count = -errno;
  }
  atomic_fetch_sub(&epoll->early, 1);
  int kept = 0;
  for (int i = 0; i < count; i++) {
    if (epoll_is_poke(events[i].data.u64)) continue;
    if (UNLIKELY(epollOneShots != 0)) epoll_note_fired(epoll, events[i].data.u64);
    events[kept++] = events[i];
  }
  if (count > 0) return kept > 0 ? kept : -(int)VIA_KERNEL;
  return count;
}

static int wait_in(const struct Call *call, uint64_t deadline) {
  struct Epoll *epoll = fd_epoll(call->fd);
  if (epoll == NULL) return (int)answer(-EBADF);
  atomic_fetch_add(&epoll->waiting, 1);
  int result = -EBADF;
  if (epoll->references != 0) {
    result = -(int)VIA_KERNEL;
    if (!process.joined) result = wait_early(epoll, call);
    if (result == -(int)VIA_KERNEL) result = wait_for_events(epoll, call, deadline);
  }
  epoll_leave(epoll);
  return (int)answer(result);
}

/* Whether the kernel has more to say to the arguments than we do. */
static bool is_kernels(int room) { return room <= 0 || room > EVENTS_MAX; }

int shim_epoll_pwait(int fd, struct epoll_event *events, int room, int millis,
                     const sigset_t *mask) {
  if (is_kernels(room)) return real.epoll_pwait(fd, events, room, millis, mask);
  struct Call call = {.fd = fd, .events = events, .room = room, .millis = millis, .mask = mask};
  return wait_in(&call, millis < 0 ? FOREVER : deadline_after((uint64_t)millis * 1000000u));
}

int shim_epoll_wait(int fd, struct epoll_event *events, int room, int millis) {
  return shim_epoll_pwait(fd, events, room, millis, NULL);
}

int shim_epoll_pwait2(int fd, struct epoll_event *events, int room,
                      const struct timespec *timeout, const sigset_t *mask) {
  uint64_t deadline;
  if (is_kernels(room) || !deadline_from(timeout, &deadline)) {
    return real.epoll_pwait2(fd, events, room, timeout, mask);
  }
  struct Call call = {.fd = fd, .events = events, .room = room, .precise = true,
                      .timeout = timeout, .mask = mask};
  return wait_in(&call, deadline);
}
