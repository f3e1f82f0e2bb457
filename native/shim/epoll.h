/* The lists that epoll instances keep of members the stack may know; see epoll.c. */
#ifndef EXASOCK_EPOLL_H
#define EXASOCK_EPOLL_H

#include "shim.h"

#define IN_EVENTS ((uint32_t)(EPOLLIN | EPOLLRDNORM))
#define OUT_EVENTS ((uint32_t)(EPOLLOUT | EPOLLWRNORM))

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

/*
 * Whether a scan has to look at a member. A connection is looked at if something happened to a
 * socket of its class (the region's activity counters), or if it is hot: new, changed, or ready
 * when it was looked at last. All others always are.
 */
enum Tag { TAG_CLASS = 63, TAG_ALWAYS = 64, TAG_HOT = 128 };

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
  /* A Tag for each. */
  uint8_t *tags;
  /* Index + 1 of the member with each descriptor, and how many descriptors have a place. */
  uint32_t *places;
  uint32_t placeRoom;
  uint64_t askedNanos;
  /* Waiter that sleeps in it: rung when a member is added. */
  _Atomic uint32_t sleeper;
  /* The activity counters at the last scan. */
  uint32_t seen[ACTIVITY_CLASSES];
};

/* The lock of all lists. */
void epolls_acquire(void);
void epolls_release(void);

/* The rest needs it. The instance's record, made if it has none; NULL without memory. */
struct Epoll *epoll_record(int fd);
struct Member *epoll_find(struct Epoll *epoll, int fd);
/* Adds a member, or replaces the one with its descriptor. False without memory. */
bool epoll_put(struct Epoll *epoll, const struct Member *member);
void epoll_remove(struct Epoll *epoll, const struct Member *member);
/* What the kernel is to know of a member now. */
enum Half epoll_half(const struct Member *member);
/* Brings the kernel's registration in line with that. */
void epoll_sync(int fd, struct Epoll *epoll, struct Member *member);
/* A sleeper in the instance does not know of a change. */
void epoll_wake_sleeper(struct Epoll *epoll);

#endif
