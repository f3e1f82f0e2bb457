/*
 * How a blocked call waits: it spins as long as spin.c says, looking at the rings itself, then
 * sleeps in ppoll() on its kernel descriptors and a doorbell that whoever has something for it
 * rings. One sleeper of all, the leader, sleeps on the AF_XDP sockets too.
 */
#include "shim.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>

/* Spinning threads look at what needs a system call this often. */
#define SLOW_CHECK_NANOS 1000000u
/* The same for signals that are blocked but for the time of the call. */
#define MASK_CHECK_NANOS 20000u
/*
 * Turns of the spin between two looks at the clock, which cost as much as a turn, and between two
 * offers of the CPU to others by a thread that only spins, which cost ten.
 */
enum { CLOCK_TURNS = 8, YIELD_TURNS = 256, POLL_BUDGET = 64, SIGNALS_BYTES = 8 };

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

bool wait_leave(void) {
  if (self.cleanup != NULL) __pthread_unregister_cancel(self.cleanup);
  self.cleanup = NULL;
  bool was = self.armed;
  int saved = errno;
  wait_disarm();
  errno = saved;
  return was;
}

void wait_ring_self(void) {
  if (self.waiter == 0) return;
  int saved = errno;
  struct sockaddr_un name;
  socklen_t bytes = core_bell_address(&name, process.stackName, self.waiter);
  real.sendto(process.wires.bell, "", 1, MSG_DONTWAIT, (struct sockaddr *)&name, bytes);
  errno = saved;
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

static bool take_slot(void) {
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

/* Gives this thread a waiter slot and a doorbell. False: there is none left, or no descriptor. */
static bool become_waiter(void) {
  if (LIKELY(self.waiter != 0)) return true;
  hold();
  bool became = take_slot();
  unhold();
  return became;
}

void wait_enter(uint32_t set) {
  if (!become_waiter() || !stack_lock()) return;
  w2c_stack_waiterEnter(stack, self.waiter, set);
  self.armed = true;
  stack_unlock();
}

/* What a thread sleeps on beside the caller's descriptors. */
struct Sleep {
  /* The doorbell was armed, if that was possible. */
  bool begun;
  nfds_t count;
  /* Of the stack's timers, if they are this thread's to watch. */
  uint64_t until;
};

/*
 * Arms this thread's doorbell, if there is one to be had. What came before rang no doorbell, so
 * whoever calls this looks again before it sleeps. The leader sleeps no longer than to the stack's
 * next timer.
 */
static void arm(struct Waiting *waiting, struct Sleep *sleep) {
  struct pollfd *more = &waiting->fds[waiting->count];
  *sleep = (struct Sleep){.begun = true, .until = FOREVER};
  if (!process_usable() || !become_waiter() || !stack_lock()) return;
  /* Without exasockd nobody notices a leader that dies: then every sleeper is one. */
  bool leads = w2c_stack_waiterArm(stack, self.waiter, waiting->interest, waiting->set) != 0;
  leads = leads || process.control < 0;
  self.armed = true;
  stack_unlock();
  more[sleep->count++] = (struct pollfd){.fd = self.doorbell, .events = POLLIN};
  more[sleep->count++] = (struct pollfd){.fd = process.control, .events = POLLIN};
  if (leads) sleep->until = core_header()->nextTimerNanos;
  for (uint32_t queue = 0; leads && queue < MAX_QUEUES; queue++) {
    int fd = process.wires.xsk[queue];
    if (fd >= 0) more[sleep->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
  }
}

static int sleep_in_kernel(struct pollfd *fds, nfds_t count, uint64_t deadline,
                           const sigset_t *mask) {
  struct timespec left = {0};
  uint64_t now = now_nanos();
  if (deadline > now) {
    left.tv_sec = (time_t)((deadline - now) / 1000000000u);
    left.tv_nsec = (long)((deadline - now) % 1000000000u);
  }
  int result;
  pthread_cleanup_push(disarm_on_cancel, NULL);
  self.cleanup = &__cancel_buf;
  result = real.ppoll(fds, count, deadline == FOREVER ? NULL : &left, mask);
  self.cleanup = NULL;
  pthread_cleanup_pop(0);
  return result;
}

/* Whether a handler ran since the wait began. */
static bool was_handled(const struct Waiting *waiting) {
  return self.interrupts != waiting->interrupts || self.restarts != waiting->restarted;
}

/* Sleeps as one whom nobody can wake: it has to look itself, and signals must not slip past. */
static int sleep_alone(struct Waiting *waiting) {
  uint64_t until = process_usable() ? deadline_after(SLOW_CHECK_NANOS) : FOREVER;
  if (waiting->deadline < until) until = waiting->deadline;
  sigset_t every;
  sigset_t before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  if (was_handled(waiting)) until = 0;
  const sigset_t *mask = waiting->mask != NULL ? waiting->mask : &before;
  int result = sleep_in_kernel(waiting->fds, waiting->count, until, mask);
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = error;
  return result;
}

/* One sleep. True if the kernel is worth asking why it ended. */
static bool sleep_once(struct Waiting *waiting, struct Sleep *sleep, bool *interrupted) {
  struct pollfd *more = &waiting->fds[waiting->count];
  uint64_t until = waiting->deadline < sleep->until ? waiting->deadline : sleep->until;
  nfds_t count = waiting->count + sleep->count;
  int result = sleep->count == 0 ? sleep_alone(waiting)
                                 : sleep_in_kernel(waiting->fds, count, until, waiting->mask);
  *interrupted = result < 0 && errno == EINTR;
  if (result <= 0) return true;
  for (nfds_t i = 0; i < sleep->count; i++) result -= more[i].revents != 0;
  if (sleep->count > 0 && more[0].revents != 0) {
    char byte[8];
    real.recv(self.doorbell, byte, sizeof byte, MSG_DONTWAIT);
    /* It rings once for each time that it is armed. */
    sleep->begun = false;
  }
  if (sleep->count > 0 && more[1].revents != 0) process_check_daemon();
  return result > 0;
}

/* A thread that spins never waits for the lock: it looks itself whether the owner lives. */
static void bury_owner(void) {
  hold();
  process_bury();
  unhold();
}

/* Looks at what needs a system call. */
static void check_slowly(uint64_t now) {
  /* A poll that finds nothing still tells exasockd that it need not pump. */
  if (stack_trylock()) {
    w2c_stack_poll(stack, now, POLL_BUDGET);
    stack_unlock();
  } else {
    bury_owner();
  }
  process_check_daemon();
  pthread_testcancel();
}

static bool must_end(const struct Waiting *waiting, bool interrupted) {
  bool partial = waiting->progress != NULL && *waiting->progress != 0;
  bool restarted = self.restarts != waiting->restarted || interrupted;
  bool ends = restarted && (!waiting->restarts || partial);
  return self.interrupts != waiting->interrupts || ends;
}

/*
 * Whether a signal came that only the call's own mask lets through. The kernel swaps the masks and
 * runs the handler, as in a call of its own.
 */
static bool lets_through(const sigset_t *mask) {
  const struct timespec none = {0};
  sigset_t pending;
  if (real.syscall(SYS_rt_sigpending, (long)(uintptr_t)&pending, SIGNALS_BYTES, 0, 0, 0, 0) != 0) {
    return false;
  }
  uint64_t bits[2];
  memcpy(&bits[0], &pending, SIGNALS_BYTES);
  memcpy(&bits[1], mask, SIGNALS_BYTES);
  return (bits[0] & ~bits[1]) != 0 && real.ppoll(NULL, 0, &none, mask) < 0 && errno == EINTR;
}

static int wait_loop(struct Waiting *waiting) {
  uint64_t now = now_nanos();
  uint64_t slowCheck = now + SLOW_CHECK_NANOS;
  uint64_t maskCheck = waiting->mask != NULL ? 0 : FOREVER;
  struct Sleep sleep = {.begun = false};
  bool ask = false;
  bool interrupted = false;
  bool slept = false;
  struct Spin spin;
  spin_begin(&spin, now);
  for (unsigned turn = 1;; turn++) {
    if (turn % CLOCK_TURNS == 0 || spin.shares) {
      /* A pause takes as long as a whole turn on some processors: one for several turns. */
      pause_cpu();
      now = spin_look(&spin, now_nanos());
    }
    bool late = now >= waiting->deadline;
    int done = waiting->ready(waiting->context, now, ask || late);
    if (done != 0 || (late && slept)) spin_end(&spin, now, slept);
    if (done != 0) return done;
    if (must_end(waiting, interrupted)) return -EINTR;
    if (UNLIKELY(waiting->mask != NULL) && (late || now >= maskCheck)) {
      if (lets_through(waiting->mask)) return -EINTR;
      maskCheck = now + MASK_CHECK_NANOS;
    }
    if (late) return 0;
    ask = interrupted = false;
    if (now < spin.until && process_usable()) {
      if (!spin.adaptive && turn % YIELD_TURNS == 0) sched_yield();
      if (now < slowCheck) continue;
      slowCheck = now + SLOW_CHECK_NANOS;
      ask = true;
      check_slowly(now);
    } else if (!sleep.begun || (sleep.count > 0 && !self.armed)) {
      spin.until = 0;
      arm(waiting, &sleep);
      now = now_nanos();
    } else {
      ask = sleep_once(waiting, &sleep, &interrupted);
      slept = true;
      now = now_nanos();
      /* A timer may be what ended the sleep. */
      stack_pump(now);
    }
  }
}

/*
 * While the thread spins, what the call's mask blocks is blocked in addition, and what it lets
 * through is looked for: so a handler that it alone lets run never runs in a call that succeeds.
 */
static int wait_masked(struct Waiting *waiting) {
  sigset_t before;
  long address = (long)(uintptr_t)waiting->mask;
  long saved = (long)(uintptr_t)&before;
  long changed = real.syscall(SYS_rt_sigprocmask, SIG_BLOCK, address, saved, SIGNALS_BYTES, 0, 0);
  if (changed != 0) return -errno;
  int result = wait_loop(waiting);
  real.syscall(SYS_rt_sigprocmask, SIG_SETMASK, saved, 0, SIGNALS_BYTES, 0, 0);
  return result;
}

int wait_until(struct Waiting *waiting) {
  int saved = errno;
  waiting->interrupts = self.interrupts;
  waiting->restarted = self.restarts;
  int result = waiting->mask != NULL ? wait_masked(waiting) : wait_loop(waiting);
  wait_disarm();
  errno = saved;
  return result;
}
