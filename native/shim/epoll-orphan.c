/*
 * Epoll after exasockd's death: the region is nobody's, so the kernel gets every member of the set,
 * under its tag. A lost connection's kernel socket hangs up there, as it should.
 */
#include "epoll.h"

/* What a lost connection is ready for. */
#define LOST_EVENTS \
  ((uint32_t)(EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLERR | EPOLLHUP | EPOLLRDHUP))

static uint32_t next_item(const struct Epoll *epoll, uint32_t at) {
  uint32_t next = at == 0 ? region_set(epoll->set)->items : region_item(at)->setNext;
  return next < MAX_EPOLL_ITEMS && region_item(next)->set == epoll->set ? next : 0;
}

static void hand_over(struct Epoll *epoll) {
  int fd = epoll_descriptor(epoll);
  uint32_t steps = 0;
  for (uint32_t at = next_item(epoll, 0); at != 0 && steps++ < MAX_EPOLL_ITEMS;
       at = next_item(epoll, at)) {
    const struct EpollItem *item = region_item(at);
    bool armed = (item->events & ~EPOLL_PRIVATE) != 0;
    struct epoll_event event =
        kernel_event(at, (int)item->fd, Half_Whole, armed ? item->events : EPOLLONESHOT);
    int operation = item->half == Half_None ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    real.epoll_ctl(fd, operation, (int)item->fd, &event);
  }
}

/* Datagrams that were queued in the stack, which nothing tells of. */
static int look_at_queues(const struct Epoll *epoll, struct epoll_event *events, int room) {
  int found = 0;
  uint32_t steps = 0;
  for (uint32_t at = next_item(epoll, 0); at != 0 && found < room && steps++ < MAX_EPOLL_ITEMS;
       at = next_item(epoll, at)) {
    const struct EpollItem *item = region_item(at);
    uint32_t wanted = item->events & (EPOLLIN | EPOLLRDNORM);
    if ((item->flags & ItemFlag_Inner) != 0 || item->half == Half_None || wanted == 0) continue;
    if (item->target >= MAX_SOCKETS || region_socket(item->target)->receiveCount == 0) continue;
    events[found++] = (struct epoll_event){wanted, {.u64 = item->data}};
  }
  return found;
}

int epoll_look_orphaned(struct Epoll *epoll, struct epoll_event *events, int room) {
  if (epoll->set != 0 && !epoll->orphaned) hand_over(epoll);
  epoll->orphaned = true;
  int count = real.epoll_wait(epoll_descriptor(epoll), events, room, 0);
  if (count < 0) return -errno;
  int kept = 0;
  for (int i = 0; i < count; i++) {
    uint32_t at = tag_item(events[i].data.u64);
    if (!tag_is(events[i].data.u64)) {
      events[kept++] = events[i];
    } else if (at != 0 && at < MAX_EPOLL_ITEMS && region_item(at)->set == epoll->set) {
      const struct EpollItem *item = region_item(at);
      uint32_t lost = item->half == Half_None ? LOST_EVENTS & item->events : 0;
      events[kept++] = (struct epoll_event){lost | events[i].events, {.u64 = item->data}};
    }
  }
  return kept == 0 && epoll->set != 0 ? look_at_queues(epoll, events, room) : kept;
}
