/* What this process knows of its epoll instances, and how members change halves: see epoll.h. */
#include "epoll.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "stream.h"

enum { EPOLLS_MAX = 1 << 14 };

static struct Epoll epolls[EPOLLS_MAX];
static _Atomic uint32_t epollsHigh;
static atomic_flag lock = ATOMIC_FLAG_INIT;
/* Of the child that is about to be, or of this process until it has joined. */
static uint32_t ticket;
/* exasockd does not know processes by the numbers that they have here. */
static bool foreign;
/* Ends waits that began before this process had a region. */
static int poke = -1;
_Atomic uint32_t epollOneShots;

void epolls_acquire(void) {
  /* A child joins before: what follows a join needs this lock. */
  if (process.joined) process_usable();
  hold();
  while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) sched_yield();
}

void epolls_release(void) {
  atomic_flag_clear_explicit(&lock, memory_order_release);
  unhold();
}

struct Epoll *epoll_record(int fd) {
  struct Epoll *epoll = fd_epoll(fd);
  if (epoll != NULL) return epoll;
  for (uint32_t slot = 0; slot < EPOLLS_MAX; slot++) {
    bool used = false;
    epoll = &epolls[slot];
    if (!atomic_compare_exchange_strong(&epoll->used, &used, true)) continue;
    if (atomic_load(&epollsHigh) <= slot) atomic_store(&epollsHigh, slot + 1);
    *epoll = (struct Epoll){.used = true, .generation = epoll->generation + 1, .references = 1,
                            .fd = fd, .ghost = -1};
    fd_set_epoll(fd, epoll);
    return epoll;
  }
  return NULL;
}

int epoll_descriptor(struct Epoll *epoll) {
  if (atomic_load(&epoll->references) == 0) return epoll->ghost;
  return epoll->fd = fd_of_epoll(epoll, epoll->fd);
}

uint32_t epoll_set(struct Epoll *epoll) {
  if (epoll->set != 0 || !process.joined || !process_usable() || !stack_lock()) return epoll->set;
  int set = (int)w2c_stack_epollCreate(stack, process.client);
  stack_unlock();
  if (set > 0) epoll->set = (uint32_t)set;
  return epoll->set;
}

struct Target epoll_target(struct Endpoint *endpoint, struct Epoll *inner) {
  struct Target target = {.endpoint = endpoint, .inner = inner, .half = Half_Whole};
  if (!process.joined || !process_usable()) return target;
  if (inner != NULL) {
    target.index = inner->set;
  } else if (endpoint->stream) {
    enum StreamKind kind = stream_kind(endpoint);
    if (kind == STREAM_CONNECTION) target.half = Half_None;
    if (kind == STREAM_CONNECTION || kind == STREAM_LISTENER) target.index = endpoint->index;
  } else if (endpoint->index != 0 &&
             region_socket(endpoint->index)->sequence == endpoint->sequence) {
    target.index = endpoint->index;
    bool kernels = region_socket(endpoint->index)->state == SocketState_Kernel;
    if (!kernels) target.half = Half_WithoutOut;
  }
  return target;
}

/* --- Members that the stack knows --- */

static uint32_t kind_of(const struct Target *target) {
  return (uint32_t)target->half | (target->inner != NULL ? 4u : 0);
}

static int add_item(struct Epoll *epoll, int fd, const struct Target *target,
                    const struct epoll_event *event) {
  uint32_t set = epoll->set;
  uint64_t data = event->data.u64;
  if (!stack_lock()) return -ENOMEM;
  int item = (int)w2c_stack_epollAdd(stack, set, (uint32_t)fd, target->index, kind_of(target),
                                     event->events, data);
  bool alone = target->half == Half_None;
  if (item > 0 && alone) w2c_stack_epollArm(stack, (uint32_t)item, event->events, data);
  stack_unlock();
  if (item <= 0 || alone) return item < 0 ? item : 0;
  struct epoll_event kernels = kernel_event((uint32_t)item, fd, target->half, event->events);
  int failed = real.epoll_ctl(epoll_descriptor(epoll), EPOLL_CTL_ADD, fd, &kernels);
  int result = failed != 0 ? -errno : 0;
  if (!stack_lock()) return result;
  if (result == 0) {
    w2c_stack_epollArm(stack, (uint32_t)item, event->events, data);
  } else {
    w2c_stack_epollDelete(stack, set, (uint32_t)fd, target->index, target->inner != NULL);
  }
  stack_unlock();
  return result;
}

static int modify_item(struct Epoll *epoll, int fd, const struct Target *target,
                       const struct epoll_event *event) {
  if (!stack_lock()) return -ENOMEM;
  int item = (int)w2c_stack_epollModify(stack, epoll->set, (uint32_t)fd, target->index,
                                        kind_of(target), event->events, event->data.u64);
  stack_unlock();
  if (item < 0 || target->half == Half_None) return item < 0 ? item : 0;
  struct epoll_event kernels = kernel_event((uint32_t)item, fd, target->half, event->events);
  return real.epoll_ctl(epoll_descriptor(epoll), EPOLL_CTL_MOD, fd, &kernels) == 0 ? 0 : -errno;
}

static int delete_item(struct Epoll *epoll, int fd, const struct Target *target) {
  struct epoll_event nothing = {0};
  if (!stack_lock()) return -ENOMEM;
  int result = (int)w2c_stack_epollDelete(stack, epoll->set, (uint32_t)fd, target->index,
                                          target->inner != NULL);
  stack_unlock();
  if (result == 0 && target->half != Half_None) {
    real.epoll_ctl(epoll_descriptor(epoll), EPOLL_CTL_DEL, fd, &nothing);
  }
  return result;
}

int epoll_change_item(struct Epoll *epoll, int operation, int fd, const struct Target *target,
                      const struct epoll_event *event) {
  if (operation == EPOLL_CTL_ADD) return add_item(epoll, fd, target, event);
  if (operation == EPOLL_CTL_MOD) return modify_item(epoll, fd, target, event);
  return operation == EPOLL_CTL_DEL ? delete_item(epoll, fd, target) : -EINVAL;
}

/* --- Members that it does not know --- */

static struct Registration **list_of(const struct Target *target) {
  return target->inner != NULL ? &target->inner->registrations : &target->endpoint->registrations;
}

static void unregister(struct Registration **at) {
  struct Registration *gone = *at;
  *at = gone->next;
  if ((gone->event.events & EPOLLONESHOT) != 0) atomic_fetch_sub(&epollOneShots, 1);
  free(gone);
}

/* The kernel has it with this. Without memory it stays the kernel's alone. */
static void note(struct Epoll *epoll, int fd, const struct Target *target,
                 const struct epoll_event *event) {
  struct Registration **at = list_of(target);
  while (*at != NULL && ((*at)->epoll != epoll || (*at)->fd != fd)) at = &(*at)->next;
  if (*at != NULL) unregister(at);
  struct Registration *one = event != NULL ? malloc(sizeof *one) : NULL;
  if (one == NULL) return;
  *one = (struct Registration){.next = *at, .epoll = epoll, .fd = fd, .event = *event};
  if ((event->events & EPOLLONESHOT) != 0) atomic_fetch_add(&epollOneShots, 1);
  *at = one;
}

int epoll_change_registration(struct Epoll *epoll, int operation, int fd,
                              const struct Target *target, struct epoll_event *event) {
  if (real.epoll_ctl(epoll_descriptor(epoll), operation, fd, event) != 0) return -errno;
  note(epoll, fd, target, operation == EPOLL_CTL_DEL ? NULL : event);
  return 0;
}

static void each_list(void (*visit)(struct Registration **list, void *context), void *context) {
  uint32_t high = atomic_load(&epollsHigh);
  for (uint32_t slot = 0; slot < high; slot++) {
    if (epolls[slot].registrations != NULL) visit(&epolls[slot].registrations, context);
  }
  struct Endpoint *endpoint = NULL;
  while ((endpoint = endpoint_next(endpoint)) != NULL) {
    if (endpoint->registrations != NULL) visit(&endpoint->registrations, context);
  }
}

struct Fired {
  const struct Epoll *epoll;
  uint64_t data;
};

static void mark_fired(struct Registration **list, void *context) {
  const struct Fired *fired = context;
  for (struct Registration *one = *list; one != NULL; one = one->next) {
    bool same = one->epoll == fired->epoll && one->event.data.u64 == fired->data;
    if (same && (one->event.events & EPOLLONESHOT) != 0) one->fired = true;
  }
}

void epoll_note_fired(const struct Epoll *epoll, uint64_t data) {
  struct Fired fired = {epoll, data};
  epolls_acquire();
  each_list(mark_fired, &fired);
  epolls_release();
}

static void drop_of_epoll(struct Registration **at, void *context) {
  while (*at != NULL) {
    if ((*at)->epoll == context) unregister(at);
    else at = &(*at)->next;
  }
}

void epoll_forget(struct Endpoint *endpoint) {
  if (LIKELY(endpoint->registrations == NULL)) return;
  epolls_acquire();
  while (endpoint->registrations != NULL) unregister(&endpoint->registrations);
  epolls_release();
}

/* --- From one half to the other --- */

/* The stack knows the target now. */
static void adopt(const struct Registration *one, const struct Target *target) {
  int fd = epoll_descriptor(one->epoll);
  if (epoll_set(one->epoll) == 0 || !stack_lock()) return;
  uint32_t events = one->event.events;
  int item = (int)w2c_stack_epollAdd(stack, one->epoll->set, (uint32_t)one->fd, target->index,
                                     kind_of(target), events, one->event.data.u64);
  stack_unlock();
  if (item <= 0) return;
  struct epoll_event kernels =
      kernel_event((uint32_t)item, one->fd, target->half, one->fired ? EPOLLONESHOT : events);
  bool alone = target->half == Half_None;
  real.epoll_ctl(fd, alone ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, one->fd, &kernels);
  if (one->fired || !stack_lock()) return;
  w2c_stack_epollArm(stack, (uint32_t)item, events, one->event.data.u64);
  stack_unlock();
}

static void adopt_all(const struct Target *target) {
  struct Registration **list = list_of(target);
  while (target->index != 0 && *list != NULL) {
    adopt(*list, target);
    unregister(list);
  }
}

void epoll_follow(struct Endpoint *endpoint) {
  if (LIKELY(endpoint->registrations == NULL)) return;
  int saved = errno;
  struct Target target = epoll_target(endpoint, NULL);
  epolls_acquire();
  adopt_all(&target);
  epolls_release();
  errno = saved;
}

static struct Epoll *find_set(uint32_t set) {
  uint32_t high = atomic_load(&epollsHigh);
  for (uint32_t slot = 0; slot < high; slot++) {
    if (epolls[slot].used && epolls[slot].set == set) return &epolls[slot];
  }
  return NULL;
}

/* Whether the number under which it was added still means it: to the kernel that is half a name. */
static bool is_named(const struct EpollItem *item) {
  const struct Epoll *inner = fd_epoll((int)item->fd);
  const struct Endpoint *endpoint = fd_socket((int)item->fd);
  if ((item->flags & ItemFlag_Inner) != 0) return inner != NULL && inner->set == item->target;
  return endpoint != NULL && endpoint->index == item->target;
}

void epoll_return(struct Endpoint *endpoint) {
  uint32_t index = endpoint->index;
  if (index == 0 || LIKELY(region_socket(index)->items == 0) || !process_usable()) return;
  struct Target target = {.endpoint = endpoint};
  epolls_acquire();
  while (stack_lock()) {
    uint32_t at = region_socket(index)->items;
    struct EpollItem item = {0};
    bool named = false;
    if (at != 0 && at < MAX_EPOLL_ITEMS) {
      item = *region_item(at);
      named = is_named(&item);
      w2c_stack_epollDelete(stack, item.set, item.fd, index, 0);
    }
    stack_unlock();
    if (item.set == 0) break;
    struct Epoll *epoll = find_set(item.set);
    if (epoll == NULL || !named) continue;
    struct epoll_event event = {item.events, {.u64 = item.data}};
    int operation = item.half == Half_None ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    real.epoll_ctl(epoll_descriptor(epoll), operation, (int)item.fd, &event);
    note(epoll, (int)item.fd, &target, &event);
  }
  epolls_release();
}

void epoll_follow_item(struct Epoll *epoll, uint32_t at) {
  struct EpollItem *item = region_item(at);
  bool armed = (item->events & ~EPOLL_PRIVATE) != 0;
  if (item->half == Half_None || !is_named(item)) return;
  bool behind = item->half == Half_WithoutOut && (item->flags & ItemFlag_Inner) == 0 &&
                region_socket(item->target)->state == SocketState_Kernel;
  if (armed && !behind) return;
  if (behind) item->half = Half_Whole;
  struct epoll_event event =
      kernel_event(at, (int)item->fd, item->half, armed ? item->events : EPOLLONESHOT);
  real.epoll_ctl(epoll_descriptor(epoll), EPOLL_CTL_MOD, (int)item->fd, &event);
}

void epoll_released(const struct Endpoint *endpoint) {
  uint32_t first = region_socket(endpoint->index)->items;
  uint32_t at = first;
  for (uint32_t steps = 0; at != 0 && at < MAX_EPOLL_ITEMS && steps < MAX_EPOLL_ITEMS; steps++) {
    struct Epoll *epoll = find_set(region_item(at)->set);
    if (epoll != NULL) epoll_follow_item(epoll, at);
    at = region_item(at)->targetNext;
    if (at == first) break;
  }
}

/* --- Descriptors, processes --- */

void epoll_reference(struct Epoll *epoll) { atomic_fetch_add(&epoll->references, 1); }

/* No descriptor, and nobody waits. */
static void end(struct Epoll *epoll) {
  epolls_acquire();
  bool last = epoll->used && epoll->references == 0 && epoll->waiting == 0;
  if (last) {
    each_list(drop_of_epoll, epoll);
    while (epoll->registrations != NULL) unregister(&epoll->registrations);
    if (epoll->set != 0 && process_usable() && stack_lock()) {
      w2c_stack_epollClose(stack, epoll->set, process.client);
      stack_unlock();
    }
    fd_close_private(&epoll->ghost);
    epoll->generation++;
    atomic_store(&epoll->used, false);
  }
  epolls_release();
}

void epoll_drop(struct Epoll *epoll, int fd) {
  /* Who waits in it goes on: to the kernel, too, it is open as long as that. */
  bool last = epoll->references == 1;
  if (last && epoll->waiting != 0 && fd >= 0) {
    epoll->ghost = real.dup(fd);
    if (epoll->ghost >= 0) fd_make_private(&epoll->ghost);
  }
  if (atomic_fetch_sub(&epoll->references, 1) == 1) end(epoll);
}

void epoll_leave(struct Epoll *epoll) {
  if (atomic_fetch_sub(&epoll->waiting, 1) == 1 && epoll->references == 0) end(epoll);
}

/* Ends the waits in the kernel of those that do not know that there is a region. */
static void end_early(struct Epoll *epoll) {
  if (epoll->early == 0) return;
  if (poke < 0) {
    poke = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    if (poke < 0 || !fd_make_private(&poke)) return;
  }
  struct epoll_event event = {EPOLLIN, {.u64 = tag_make(0, poke)}};
  real.epoll_ctl(epoll_descriptor(epoll), EPOLL_CTL_ADD, poke, &event);
}

bool epoll_is_poke(uint64_t data) { return tag_is(data) && tag_item(data) == 0; }

void epoll_look(int fd) {
  char line[256];
  snprintf(line, sizeof line, "/proc/self/fdinfo/%d", fd);
  FILE *file = fopen(line, "re");
  uint64_t tag = 0;
  while (file != NULL && !tag_is(tag) && fgets(line, sizeof line, file) != NULL) {
    const char *data = strstr(line, "data:");
    if (data != NULL) tag = strtoull(data + 5, NULL, 16);
  }
  if (file != NULL) fclose(file);
  if (!tag_is(tag) || !process_join()) return;
  epolls_acquire();
  if (stack_lock()) {
    uint32_t at = tag_item(tag);
    const struct EpollItem *item = region_item(at < MAX_EPOLL_ITEMS ? at : 0);
    bool same = (int)item->fd == tag_fd(tag) && (item->generation & 255) == tag_generation(tag);
    uint32_t set = same ? item->set : 0;
    struct Epoll *known = set != 0 ? find_set(set) : NULL;
    if (known == NULL && set != 0) w2c_stack_epollRefer(stack, set, process.client);
    stack_unlock();
    struct Epoll *epoll = known != NULL ? known : epoll_record(fd);
    if (known != NULL) epoll_reference(known), fd_set_epoll(fd, known);
    else if (epoll != NULL) epoll->set = set;
  }
  epolls_release();
}

void epoll_joined(void) {
  uint32_t high = atomic_load(&epollsHigh);
  if (LIKELY(high == 0)) return;
  epolls_acquire();
  if (ticket != 0 && stack_lock()) {
    w2c_stack_epollForked(stack, ticket, process.client);
    stack_unlock();
    ticket = 0;
  }
  for (uint32_t slot = 0; slot < high; slot++) {
    struct Epoll *epoll = &epolls[slot];
    if (!epoll->used) continue;
    epoll_set(epoll);
    end_early(epoll);
  }
  for (uint32_t slot = 0; slot < high; slot++) {
    struct Target target = epoll_target(NULL, &epolls[slot]);
    if (epolls[slot].used) adopt_all(&target);
  }
  epolls_release();
}

void epoll_before_fork(void) {
  if (LIKELY(atomic_load(&epollsHigh) == 0) || !process.joined) return;
  if (!process_usable() || !stack_lock()) return;
  ticket = w2c_stack_epollFork(stack, process.client);
  const struct Client *client = region_at(CLIENTS_OFFSET + process.client * CLIENT_BYTES);
  foreign = client->pid != (uint32_t)process.pid;
  stack_unlock();
}

void epoll_after_fork(void) {
  uint32_t high = atomic_load(&epollsHigh);
  atomic_flag_clear(&lock);
  for (uint32_t slot = 0; slot < high; slot++) {
    epolls[slot].waiting = 0;
    epolls[slot].early = 0;
  }
  if (ticket == 0) return;
  struct ForkTicket *mine = region_at(FORK_TICKETS_OFFSET + ticket * FORK_TICKET_BYTES);
  uint32_t pid = foreign ? UINT32_MAX : (uint32_t)process.pid;
  __atomic_store_n(&mine->pid, pid, __ATOMIC_RELEASE);
}
