/* The region's lock and what follows its release. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core.h"

/* Somebody sleeps on the lock word. */
#define WAITERS 0x80000000u

enum {
  /* About 25 us: longer than any hold but recovery. */
  SPINS = 1000,
  /* A sleep on the lock that lasts this long makes the sleeper ask whether it is worth it. */
  SLEEP_NANOS = 20000000,
  /* One system call sends at most so many frames (TX_BATCH_SIZE in the kernel). */
  KICKS_MAX = 128,
  WAKEUPS_PER_HOLD = 16,
};

static uint32_t *lock_word(void) { return core_at(LOCK_OFFSET); }

static bool cas(uint32_t *word, uint32_t expected, uint32_t desired) {
  return __atomic_compare_exchange_n(word, &expected, desired, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED);
}

static void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

int core_memory = -1;

static struct flock claim_of(uint32_t slot) {
  return (struct flock){
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)slot, .l_len = 1};
}

bool core_claim(uint32_t slot) {
  struct flock claim = claim_of(slot);
  return syscall(SYS_fcntl, core_memory, F_SETLK, &claim) == 0;
}

int core_claimant(uint32_t slot) {
  struct flock claim = claim_of(slot);
  if (syscall(SYS_fcntl, core_memory, F_GETLK, &claim) != 0 || claim.l_type == F_UNLCK) return 0;
  /* A pid of another namespace reads as 0, or below. */
  return claim.l_pid > 0 ? claim.l_pid : -1;
}

bool core_try_lock(uint32_t owner) {
  uint32_t *word = lock_word();
  return __atomic_load_n(word, __ATOMIC_RELAXED) == 0 && cas(word, 0, owner);
}

static bool lock_slowly(uint32_t owner, bool (*abandon)(void)) {
  uint32_t *word = lock_word();
  for (unsigned n = 0; n < SPINS; n++) {
    if (core_try_lock(owner)) return true;
    pause_cpu();
  }
  const struct timespec limit = {0, SLEEP_NANOS};
  for (;;) {
    uint32_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);
    if (seen == 0) {
      /* Others may still sleep: keep the bit, so that our unlock wakes the next. */
      if (cas(word, 0, owner | WAITERS)) return true;
      continue;
    }
    if (!(seen & WAITERS) && !cas(word, seen, seen | WAITERS)) continue;
    long result = syscall(SYS_futex, word, FUTEX_WAIT, seen | WAITERS, &limit, NULL, 0);
    if (result != 0 && errno == ETIMEDOUT && abandon != NULL && abandon()) return false;
  }
}

bool core_lock(uint32_t owner, bool (*abandon)(void)) {
  if (__builtin_expect(cas(lock_word(), 0, owner), 1)) return true;
  int saved = errno;
  bool locked = lock_slowly(owner, abandon);
  errno = saved;
  return locked;
}

void core_unlock(void) {
  uint32_t *word = lock_word();
  uint32_t before = __atomic_exchange_n(word, 0, __ATOMIC_RELEASE);
  if (__builtin_expect((before & WAITERS) != 0, 0)) {
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    errno = saved;
  }
}

unsigned core_bell_address(struct sockaddr_un *address, const char *stack_name, uint32_t waiter) {
  address->sun_family = AF_UNIX;
  address->sun_path[0] = 0;
  int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "exasock/%s/bell/%u",
                        stack_name, waiter);
  return (unsigned)offsetof(struct sockaddr_un, sun_path) + 1u + (unsigned)length;
}

static void ring_bell(const struct CoreWires *wires, uint32_t waiter) {
  if (wires->bell < 0) return;
  struct sockaddr_un address;
  unsigned length = core_bell_address(&address, wires->stack_name, waiter);
  /* A full queue is as good as a ring; an absent owner is exasockd's business. */
  syscall(SYS_sendto, wires->bell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, &address, length);
}

static void kick(struct CoreWires *wires, uint64_t queues, bool receive) {
  while (queues != 0) {
    unsigned queue = (unsigned)__builtin_ctzll(queues);
    queues &= queues - 1;
    int fd = wires->xsk[queue];
    if (fd < 0) {
      wires->missing |= 1ull << queue;
      continue;
    }
    if (receive) {
      syscall(SYS_recvfrom, fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
      continue;
    }
    /* EAGAIN: the kernel sent one batch and has more. */
    for (unsigned n = 0; n < KICKS_MAX; n++) {
      if (syscall(SYS_sendto, fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 || errno != EAGAIN) break;
    }
  }
}

/* The stack's wakeupsPending(), without the call. */
static inline bool wants_wakeups(const struct RegionHeader *header) {
  if (header->wakeMask != 0 || header->wakeHead != 0) return true;
  return header->successor != 0 || header->daemonWanted == 1;
}

/* Unlocks, does what was asked, and says whether the stack had more wake-ups than fitted. */
static bool release_once(struct CoreWires *wires) {
  struct RegionHeader *header = core_header();
  uint64_t kicks = header->kickQueues;
  uint64_t rx_kicks = header->rxKickQueues;
  header->kickQueues = 0;
  header->rxKickQueues = 0;
  uint32_t wakeups[WAKEUPS_PER_HOLD];
  unsigned count = 0;
  bool more = false;
  if (wants_wakeups(header)) {
    more = true;
    while (count < WAKEUPS_PER_HOLD) {
      int32_t waiter = (int32_t)w2c_stack_nextWakeup(stack);
      if (waiter < 0) {
        more = false;
        break;
      }
      wakeups[count++] = (uint32_t)waiter;
    }
  }
  core_unlock();
  for (unsigned n = 0; n < count; n++) ring_bell(wires, wakeups[n]);
  kick(wires, kicks, false);
  kick(wires, rx_kicks, true);
  return more;
}

void core_release(struct CoreWires *wires, uint32_t owner) {
  const struct RegionHeader *header = core_header();
  uint64_t queues = header->kickQueues | header->rxKickQueues;
  if (queues == 0 && !wants_wakeups(header)) {
    core_unlock();
    return;
  }
  int saved = errno;
  while (release_once(wires)) {
    if (!core_lock(owner, NULL)) break;
  }
  errno = saved;
}

/* Whether the process that wrote this into the lock word is gone. */
static bool is_dead(uint32_t word, uint32_t self) {
  const uint32_t slot_mask = (1u << OWNER_SLOT_BITS) - 1;
  if (word == 0 || word == self) return false;
  /* A slot that is ours by now was given up by who is named here. */
  return (word & slot_mask) == (self & slot_mask) || core_claimant((word & slot_mask) - 1) == 0;
}

bool core_bury(struct CoreWires *wires, uint32_t owner) {
  uint32_t *word = lock_word();
  uint32_t dead = __atomic_load_n(word, __ATOMIC_ACQUIRE) & ~WAITERS;
  if (!is_dead(dead, owner)) return false;
  for (;;) {
    uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    if ((seen & ~WAITERS) != dead) return false;
    /* With the bit: whoever slept while the owner died is woken by our unlock. */
    if (cas(word, seen, owner | WAITERS)) break;
  }
  w2c_stack_regionRecover(stack);
  core_release(wires, owner);
  return true;
}
