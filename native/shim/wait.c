/*
 * How a blocked call waits: it spins for a while, looking at the rings itself, then sleeps in
 * ppoll() on its kernel descriptors and a doorbell that whoever has something for it rings. One
 * sleeper of all, the leader, sleeps on the AF_XDP sockets too.
 */
#include "shim.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>

/* Longer than the wake-up that sleeping costs, short enough not to be seen in top. */
#define SPIN_NANOS 60000u
/* Spinning threads look at what needs a system call this often. */
#define SLOW_CHECK_NANOS 1000000u
/*
 * Turns of the spin between two looks at the clock, which cost as much as a turn, and between two
 * offers of the CPU to others, which cost ten.
 */
enum { CLOCK_TURNS = 8, YIELD_TURNS = 1024, POLL_BUDGET = 64 };

uint64_t now_nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t now_coarse(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t deadline_after(uint64_t nanos) {
  uint64_t now = now_nanos();
  return nanos > FOREVER - now ? FOREVER : now + nanos;
}

bool deadline_from(const struct timespec *timeout, uint64_t *deadline) {
  *deadline = FOREVER;
  if (timeout == NULL) return true;
  if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999) return false;
  if (timeout->tv_sec > INT32_MAX) return true;
  *deadline = deadline_after((uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec);
  return true;
}

void stack_pump(uint64_t now) {
  process_watch(now);
  if (!process_usable() || !stack_has_work(now) || !stack_trylock()) return;
  w2c_stack_poll(stack, now, POLL_BUDGET);
  stack_unlock();
}

static bool abandon(void) {
  process_check_daemon();
  if (process.orphaned) return true;
  process_bury();
  return false;
}

bool stack_lock(void) {
  hold();
  for (;;) {
    if (!core_lock(process.owner, abandon)) {
      unhold();
      return false;
    }
    if (LIKELY(core_header()->queueEpoch == process.queuesEpoch) || process.orphaned) return true;
    core_unlock();
    process_refresh_queues();
  }
}

bool stack_trylock(void) {
  hold();
  if (core_try_lock(process.owner)) {
    if (LIKELY(core_header()->queueEpoch == process.queuesEpoch)) return true;
    core_unlock();
    process_refresh_queues();
  }
  unhold();
  return false;
}

void stack_unlock(void) {
  core_release(&process.wires, process.owner);
  unhold();
}

void wait_disarm(void) {
  if (!self.armed) return;
  self.armed = false;
  if (!stack_lock()) return;
  w2c_stack_waiterDisarm(stack, self.waiter);
  stack_unlock();
}

static void disarm_on_cancel(void *unused) {
  (void)unused;
  wait_disarm();
}

void wait_ring_self(void) {
  if (self.waiter == 0) return;
  struct sockaddr_un name;
  socklen_t bytes = core_bell_address(&name, process.stackName, self.waiter);
  real.sendto(process.wires.bell, "", 1, MSG_DONTWAIT, (struct sockaddr *)&name, bytes);
}

static pthread_key_t threadEnd;

static void thread_ends(void *unused) {
  (void)unused;
  if (self.waiter != 0 && process_usable() && stack_lock()) {
    w2c_stack_waiterRemove(stack, self.waiter);
    stack_unlock();
  }
  wait_forget_thread();
}

void wait_prepare(void) { pthread_key_create(&threadEnd, thread_ends); }

void wait_forget_thread(void) {
  self.armed = false;
  self.waiter = 0;
  fd_close_private(&self.doorbell);
}

/* Gives this thread a waiter slot and a doorbell. False: there is none left, or no descriptor. */
static bool become_waiter(void) {
  if (self.waiter != 0) return true;
  if (!stack_lock()) return false;
  int slot = (int)w2c_stack_waiterAdd(stack, process.client);
  stack_unlock();
  if (slot <= 0) return false;
  self.doorbell = real.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_un name;
  socklen_t bytes = core_bell_address(&name, process.stackName, (uint32_t)slot);
  if (self.doorbell >= 0 && real.bind(self.doorbell, (struct sockaddr *)&name, bytes) == 0 &&
      fd_make_private(&self.doorbell)) {
    self.waiter = (uint32_t)slot;
    pthread_setspecific(threadEnd, &self);
    return true;
  }
  if (self.doorbell >= 0) real.close(self.doorbell);
  self.doorbell = -1;
  if (stack_lock()) {
    w2c_stack_waiterRemove(stack, (uint32_t)slot);
    stack_unlock();
  }
  return false;
}

/*
 * Arms this thread's doorbell and adds what it has to sleep on. Returns how many descriptors. The
 * leader sleeps no longer than to the stack's next timer.
 */
static nfds_t arm(struct Waiting *waiting, uint64_t *until) {
  struct pollfd *more = &waiting->fds[waiting->count];
  if (!stack_lock()) return 0;
  /* Without exasockd nobody notices a leader that dies: then every sleeper is one. */
  bool leads = w2c_stack_waiterArm(stack, self.waiter, waiting->interest, waiting->set) != 0;
  leads = leads || process.control < 0;
  self.armed = true;
  stack_unlock();
  nfds_t count = 0;
  more[count++] = (struct pollfd){.fd = self.doorbell, .events = POLLIN};
  more[count++] = (struct pollfd){.fd = process.control, .events = POLLIN};
  if (leads && core_header()->nextTimerNanos < *until) *until = core_header()->nextTimerNanos;
  for (uint32_t queue = 0; leads && queue < MAX_QUEUES; queue++) {
    int fd = process.wires.xsk[queue];
    if (fd >= 0) more[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
  }
  return count;
}

static int sleep_in_kernel(struct pollfd *fds, nfds_t count, uint64_t deadline) {
  struct timespec left = {0};
  uint64_t now = now_nanos();
  if (deadline > now) {
    left.tv_sec = (time_t)((deadline - now) / 1000000000u);
    left.tv_nsec = (long)((deadline - now) % 1000000000u);
  }
  int result;
  pthread_cleanup_push(disarm_on_cancel, NULL);
  result = real.ppoll(fds, count, deadline == FOREVER ? NULL : &left, NULL);
  pthread_cleanup_pop(0);
  return result;
}

/* One sleep. Non-zero as `ready` says; 0 when it is time to look again. */
static int sleep_once(struct Waiting *waiting, bool *interrupted) {
  bool usable = process_usable() && become_waiter();
  uint64_t until = waiting->deadline;
  nfds_t extra = usable ? arm(waiting, &until) : 0;
  /* What came between the last look and the arming rang no doorbell. */
  int done = waiting->ready(waiting->context, now_nanos(), true);
  if (done != 0) {
    wait_disarm();
    return done;
  }
  if (extra == 0 && process_usable()) {
    /* Nobody can wake this thread: it has to look itself. */
    uint64_t soon = deadline_after(SLOW_CHECK_NANOS);
    if (soon < until) until = soon;
  }
  int result = sleep_in_kernel(waiting->fds, waiting->count + extra, until);
  *interrupted = result < 0 && errno == EINTR;
  wait_disarm();
  char byte[8];
  struct pollfd *more = &waiting->fds[waiting->count];
  if (result > 0 && extra > 0) {
    if (more[0].revents != 0) real.recv(self.doorbell, byte, sizeof byte, MSG_DONTWAIT);
    if (more[1].revents != 0) process_check_daemon();
  }
  return 0;
}

/* A thread that spins never waits for the lock: it looks itself whether the owner lives. */
static void bury_owner(void) {
  hold();
  process_bury();
  unhold();
}

static int wait_loop(struct Waiting *waiting, unsigned interrupts, unsigned restarts) {
  uint64_t now = now_nanos();
  uint64_t spinUntil = process.wait == WAIT_SPIN    ? FOREVER
                       : process.wait == WAIT_SLEEP ? 0
                                                    : now + SPIN_NANOS;
  uint64_t slowCheck = now + SLOW_CHECK_NANOS;
  bool ask = false;
  bool interrupted = false;
  for (unsigned turn = 1;; turn++) {
    if (turn % CLOCK_TURNS == 0) {
      /* A pause takes as long as a whole turn on some processors: one for several turns. */
      pause_cpu();
      now = now_nanos();
    }
    bool late = now >= waiting->deadline;
    int done = waiting->ready(waiting->context, now, ask || late);
    if (done != 0) return done;
    bool restarted = self.restarts != restarts || interrupted;
    bool partial = waiting->progress != NULL && *waiting->progress != 0;
    bool ends = restarted && (!waiting->restarts || partial);
    if (self.interrupts != interrupts || ends) return -EINTR;
    if (late) return 0;
    ask = interrupted = false;
    if (now < spinUntil && process_usable()) {
      if (turn % YIELD_TURNS == 0) sched_yield();
      if (now < slowCheck) continue;
      slowCheck = now + SLOW_CHECK_NANOS;
      ask = true;
      /* A poll that finds nothing still tells exasockd that it need not pump. */
      if (stack_trylock()) {
        w2c_stack_poll(stack, now, POLL_BUDGET);
        stack_unlock();
      } else {
        bury_owner();
      }
      process_check_daemon();
      pthread_testcancel();
      continue;
    }
    done = sleep_once(waiting, &interrupted);
    if (done != 0) return done;
    now = now_nanos();
    ask = true;
    /* A timer may be what ended the sleep. */
    stack_pump(now);
  }
}

int wait_until(struct Waiting *waiting) {
  unsigned interrupts = self.interrupts;
  unsigned restarts = self.restarts;
  sigset_t before;
  if (waiting->mask != NULL) pthread_sigmask(SIG_SETMASK, waiting->mask, &before);
  int result = wait_loop(waiting, interrupts, restarts);
  if (waiting->mask != NULL) {
    int saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved;
  }
  return result;
}
