/* The members of epoll instances, and what changes them from outside: see epoll.h. */
#include "epoll.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum { ROOM_FIRST = 8, PLACES_FIRST = 64 };

static struct Epoll *all;
static atomic_flag lock = ATOMIC_FLAG_INIT;

void epolls_acquire(void) {
  hold();
  while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) sched_yield();
}

void epolls_release(void) {
  atomic_flag_clear_explicit(&lock, memory_order_release);
  unhold();
}

void epoll_after_fork(void) { atomic_flag_clear(&lock); }

void epoll_reference(struct Epoll *epoll) {
  epolls_acquire();
  epoll->references++;
  epolls_release();
}

struct Epoll *epoll_record(int fd) {
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

struct Member *epoll_find(struct Epoll *epoll, int fd) {
  if ((unsigned)fd >= epoll->placeRoom || epoll->places[fd] == 0) return NULL;
  return &epoll->members[epoll->places[fd] - 1];
}

enum Half epoll_half(const struct Member *member) {
  struct Endpoint *endpoint = member->endpoint;
  if (endpoint == NULL) return HALF_WHOLE;
  if (endpoint->stream) return socket_is_alone(endpoint) ? HALF_NONE : HALF_WHOLE;
  return socket_is_accelerated(endpoint) ? HALF_WITHOUT_OUT : HALF_WHOLE;
}

static void tag(struct Epoll *epoll, const struct Member *member) {
  uint8_t value = TAG_ALWAYS;
  if (member->half == HALF_NONE) value = TAG_HOT | (member->endpoint->index & TAG_CLASS);
  epoll->tags[member - epoll->members] = value;
}

/* Makes the arrays long enough for one more member with this descriptor. */
static bool make_room(struct Epoll *epoll, int fd) {
  if ((unsigned)fd >= epoll->placeRoom) {
    uint32_t room = epoll->placeRoom == 0 ? PLACES_FIRST : epoll->placeRoom;
    while (room <= (unsigned)fd) room *= 2;
    uint32_t *places = realloc(epoll->places, room * sizeof *places);
    if (places == NULL) return false;
    memset(places + epoll->placeRoom, 0, (room - epoll->placeRoom) * sizeof *places);
    epoll->places = places;
    epoll->placeRoom = room;
  }
  if (epoll->count < epoll->room) return true;
  uint32_t room = epoll->room == 0 ? ROOM_FIRST : epoll->room * 2;
  struct Member *members = realloc(epoll->members, room * sizeof *members);
  if (members != NULL) epoll->members = members;
  uint8_t *tags = members != NULL ? realloc(epoll->tags, room) : NULL;
  if (tags == NULL) return false;
  epoll->tags = tags;
  epoll->room = room;
  return true;
}

void epoll_remove(struct Epoll *epoll, const struct Member *member) {
  uint32_t at = (uint32_t)(member - epoll->members);
  uint32_t last = --epoll->count;
  if (member->endpoint != NULL) member->endpoint->memberships--;
  epoll->places[member->fd] = 0;
  if (at == last) return;
  epoll->members[at] = epoll->members[last];
  epoll->tags[at] = epoll->tags[last];
  epoll->places[epoll->members[at].fd] = at + 1;
}

bool epoll_put(struct Epoll *epoll, const struct Member *member) {
  struct Member *old = epoll_find(epoll, member->fd);
  if (old != NULL && old->endpoint != member->endpoint) {
    /* The number was closed and given out again, and the old socket lives on under another. */
    epoll_remove(epoll, old);
    old = NULL;
  }
  if (old == NULL) {
    if (!make_room(epoll, member->fd)) return false;
    old = &epoll->members[epoll->count++];
    epoll->places[member->fd] = epoll->count;
    if (member->endpoint != NULL) member->endpoint->memberships++;
  }
  *old = *member;
  tag(epoll, old);
  return true;
}

/* Removes a socket, or an inner instance, from every instance. */
static void forget(struct Endpoint *endpoint, const struct Epoll *inner) {
  for (struct Epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
    struct Member *likely = endpoint != NULL ? epoll_find(epoll, endpoint->fd) : NULL;
    if (likely != NULL && likely->endpoint == endpoint) epoll_remove(epoll, likely);
    if (endpoint != NULL && endpoint->memberships == 0) return;
    for (uint32_t i = epoll->count; i > 0; i--) {
      struct Member *member = &epoll->members[i - 1];
      if (member->endpoint == endpoint && member->inner == inner) epoll_remove(epoll, member);
    }
  }
}

void epoll_drop(struct Epoll *epoll) {
  epolls_acquire();
  bool last = --epoll->references == 0;
  if (last) forget(NULL, epoll);
  for (uint32_t i = 0; last && i < epoll->count; i++) {
    struct Endpoint *endpoint = epoll->members[i].endpoint;
    if (endpoint != NULL) endpoint->memberships--;
  }
  for (struct Epoll **at = &all; last && *at != NULL; at = &(*at)->next) {
    if (*at != epoll) continue;
    *at = epoll->next;
    break;
  }
  epolls_release();
  if (!last) return;
  free(epoll->members);
  free(epoll->tags);
  free(epoll->places);
  free(epoll);
}

void epoll_forget(struct Endpoint *endpoint) {
  if (LIKELY(endpoint->memberships == 0)) return;
  epolls_acquire();
  forget(endpoint, NULL);
  epolls_release();
}

void epoll_sync(int fd, struct Epoll *epoll, struct Member *member) {
  enum Half half = epoll_half(member);
  if (LIKELY(half == member->half)) return;
  struct epoll_event event = member->event;
  if (half == HALF_WITHOUT_OUT) event.events &= ~OUT_EVENTS;
  if (member->disarmed) event.events = EPOLLONESHOT;
  int operation = member->half == HALF_NONE ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (half == HALF_NONE) operation = EPOLL_CTL_DEL;
  real.epoll_ctl(fd, operation, member->fd, &event);
  member->half = half;
  tag(epoll, member);
}

void epoll_wake_sleeper(struct Epoll *epoll) {
  if (LIKELY(atomic_load(&epoll->sleeper) == 0)) return;
  uint32_t waiter = atomic_exchange(&epoll->sleeper, 0);
  if (waiter == 0 || process.wires.bell < 0) return;
  struct sockaddr_un name;
  socklen_t bytes = core_bell_address(&name, process.stackName, waiter);
  real.sendto(process.wires.bell, "", 1, MSG_DONTWAIT, (struct sockaddr *)&name, bytes);
}

void epoll_follow(struct Endpoint *endpoint) {
  if (LIKELY(endpoint->memberships == 0)) return;
  int saved = errno;
  epolls_acquire();
  for (struct Epoll *epoll = all; epoll != NULL; epoll = epoll->next) {
    for (uint32_t i = 0; i < epoll->count; i++) {
      struct Member *member = &epoll->members[i];
      if (member->endpoint != endpoint) continue;
      epoll->fd = fd_of_epoll(epoll, epoll->fd);
      epoll_sync(epoll->fd, epoll, member);
      member->reported = false;
      tag(epoll, member);
      epoll_wake_sleeper(epoll);
    }
  }
  epolls_release();
  errno = saved;
}
