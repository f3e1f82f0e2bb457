/*
 * epoll. An instance has two halves: the region's set, which knows the stack's sockets and inner
 * instances, and the kernel's instance, which has everything else, and the kernel sockets of what
 * has both. What is registered there for a member of the set carries a tag in place of the
 * program's data, so that both halves of one member are one.
 */
#ifndef EXASOCK_EPOLL_H
#define EXASOCK_EPOLL_H

#include <limits.h>

#include "shim.h"

#define OUT_EVENTS ((uint32_t)(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND))

/* An instance, as this process has it. Slots are used again, never freed: see `generation`. */
struct Epoll {
  _Atomic bool used;
  uint32_t generation;
  /* Descriptors of this process. */
  _Atomic uint32_t references;
  /* Threads in a wait, and those of them that began it before this process had a region. */
  _Atomic uint32_t waiting;
  _Atomic uint32_t early;
  /* A descriptor of it, when last looked at, or what the last waiters have after the last close. */
  int fd;
  int ghost;
  /* Of the region; 0 while there is none. */
  uint32_t set;
  /* When the kernel was asked last; whether it had something; whose turn it is. */
  uint64_t askedNanos;
  bool hot;
  uint32_t turn;
  /* After exasockd's death: the kernel has the members that the region had. */
  bool orphaned;
  /* Outer instances that have it, while it has no set. */
  struct Registration *registrations;
};

/* A member that the stack does not know yet; the kernel does, with the program's data. */
struct Registration {
  struct Registration *next;
  struct Epoll *epoll;
  int fd;
  /* EPOLLONESHOT has fired. */
  bool fired;
  struct epoll_event event;
};

/* What a descriptor is to the region. */
struct Target {
  /* One of these two. */
  struct Endpoint *endpoint;
  struct Epoll *inner;
  /* A socket, or the inner set; 0: unknown to it. */
  uint32_t index;
  uint32_t half;
};

/* The lock of all records and registrations. The rest is called with it. */
void epolls_acquire(void);
void epolls_release(void);
/* The record of a descriptor, made if it has none; NULL: none is left. */
struct Epoll *epoll_record(int fd);
/* Its set in the region, made if it has none; 0: it can't have one. */
uint32_t epoll_set(struct Epoll *epoll);
/* A descriptor of it now, or -1. */
int epoll_descriptor(struct Epoll *epoll);
struct Target epoll_target(struct Endpoint *endpoint, struct Epoll *inner);
/* epoll_ctl for members that the stack knows, and for others. 0 or -errno. */
int epoll_change_item(struct Epoll *epoll, int operation, int fd, const struct Target *target,
                      const struct epoll_event *event);
int epoll_change_registration(struct Epoll *epoll, int operation, int fd,
                              const struct Target *target, struct epoll_event *event);
/* The kernel reported this data word for a member that is registered with EPOLLONESHOT. */
void epoll_note_fired(const struct Epoll *epoll, uint64_t data);
extern _Atomic uint32_t epollOneShots;

/*
 * The kernel's instance follows an item that has fired once, or whose socket is the kernel's now.
 * Precondition: the region is locked.
 */
void epoll_follow_item(struct Epoll *epoll, uint32_t at);
/* Words that only end a wait: see epoll_joined. */
bool epoll_is_poke(uint64_t data);
/* A thread's wait is over. */
void epoll_leave(struct Epoll *epoll);
/* What there is once exasockd is gone: how many events, or -errno. */
int epoll_look_orphaned(struct Epoll *epoll, struct epoll_event *events, int room);

/* The tag: a mark that no address has in front, generation, descriptor, item. */
enum { TAG_MARK = 0xe9a5, TAG_FD_BITS = 20, TAG_ITEM_BITS = 20, TAG_GENERATION_BITS = 8 };
static inline struct EpollItem *region_item(uint32_t item) {
  return region_at(EPOLL_ITEMS_OFFSET + item * EPOLL_ITEM_BYTES);
}
static inline struct EpollSet *region_set(uint32_t set) {
  return region_at(EPOLL_SETS_OFFSET + set * EPOLL_SET_BYTES);
}
static inline bool tag_is(uint64_t data) { return data >> 48 == TAG_MARK; }
static inline uint32_t tag_item(uint64_t data) { return data & ((1u << TAG_ITEM_BITS) - 1); }
static inline int tag_fd(uint64_t data) {
  return (int)(data >> TAG_ITEM_BITS & ((1u << TAG_FD_BITS) - 1));
}
static inline uint32_t tag_generation(uint64_t data) { return data >> 40 & 255; }
static inline uint64_t tag_make(uint32_t item, int fd) {
  uint64_t generation = region_item(item)->generation & 255;
  uint64_t mark = (uint64_t)TAG_MARK << 48 | generation << 40;
  return mark | (uint64_t)(uint32_t)fd << TAG_ITEM_BITS | item;
}
/* What the kernel's instance is told of an item. */
static inline struct epoll_event kernel_event(uint32_t item, int fd, uint32_t half,
                                              uint32_t events) {
  if (half == Half_WithoutOut) events &= ~OUT_EVENTS;
  return (struct epoll_event){events, {.u64 = tag_make(item, fd)}};
}

#endif
