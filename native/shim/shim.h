/*
 * What the parts of the preload library share. Nothing in this folder knows a protocol: a socket
 * call becomes an export of the stack, or goes to the kernel.
 */
#ifndef EXASOCK_SHIM_H
#define EXASOCK_SHIM_H

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core.h"
#include "exasock/extensions.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* libc's functions, which come after ours in the search order. */
struct Real {
#define CALL(type, name, prototype, arguments, kind, handler, number) type(*name) prototype;
#include "calls.def"
#undef CALL
};
extern struct Real real;

/* Our answers to them. */
#define HANDLER_FD(type, handler, prototype) type shim_##handler prototype;
#define HANDLER_SOCKET HANDLER_FD
#define HANDLER_EPOLL HANDLER_FD
#define HANDLER_STATE HANDLER_FD
#define HANDLER_ALWAYS HANDLER_FD
#define HANDLER_EXTENSION HANDLER_FD
#define HANDLER_RESOLVER(type, handler, prototype)
#define HANDLER_VARIADIC(type, handler, prototype)
#define HANDLER_ASM(type, handler, prototype)
#define CALL(type, name, prototype, arguments, kind, handler, number) \
  HANDLER_##kind(type, handler, prototype)
#include "calls.def"
#undef CALL

/* --- Descriptors (fd-table.c) --- */

/* Descriptors from here on are the kernel's: RLIMIT_NOFILE can be 2^30, no table follows it. */
enum { FD_MAX = 1 << 20 };

enum FdState {
  /* Never looked at: inherited by exec, or opened by a call that we do not see. */
  FD_UNKNOWN,
  FD_PLAIN,
  /* A UDP or TCP socket of this process, accelerated or to be (struct Endpoint). */
  FD_SOCKET,
  /* An epoll instance with such sockets in it (struct Epoll). */
  FD_EPOLL,
  /* The library's own. For the program it does not exist. */
  FD_PRIVATE,
};

extern uint8_t fd_state[FD_MAX];

/* What this process knows about a socket beside the region; duplicates of a descriptor share it. */
struct Endpoint {
  _Atomic bool used;
  /* Changes with every use of the slot. */
  uint32_t generation;
  /* Our own descriptor of it while nobody but `waiters` has it; else -1. */
  int held;
  /* Descriptors of this process that refer to it. A new use is zero from here on. */
  _Atomic uint32_t references;
  /* Threads that are blocked in a call for it: it lives on for them when the last descriptor goes. */
  _Atomic uint32_t waiters;
  /* In the region; 0 while it is not accelerated. */
  uint32_t index;
  /* Of the region's socket when this one joined it: tells a reused index apart. */
  uint64_t sequence;
  /* Region offset of the counter of datagrams that reached the kernel socket. */
  uint32_t arrivalsOffset;
  uint32_t arrivalsSeen;
  uint64_t twinHotUntil;
  uint64_t twinAskedNanos;
  /* SO_PEEK_OFF + 1 for what is still queued in the stack; 0 while it is off. */
  uint32_t peekOffset;
  uint32_t sends;
  /* The counter works; otherwise the kernel socket is asked every time. */
  bool counted;
  bool twinMaybe;
  /* The kernel holds pieces of a datagram (MSG_MORE) that the next send completes. */
  bool corked;
  /* The stack delivered last, so it is the kernel socket's turn when both have something. */
  bool twinTurn;
  /* Other processes may hold the socket: its end is for exasockd to notice. */
  bool shared;
  /* The stack has nothing to do with it any more, but datagrams may wait in its queue. */
  bool released;
  /* SO_EXA_NO_ACCEL, or EXASOCK_DEFAULT_DISABLE. */
  bool disabled;
  bool disabledByProgram;
  /* O_NONBLOCK. */
  bool nonblocking;
  /* TCP. The stack has it (index is not 0) while it listens or is connected. */
  bool stream;
  /* Opened as an IPv6 socket: the program sees v4-mapped addresses. */
  bool six;
  /* connect(2) has begun, and has not told yet how it went. */
  bool connecting;
  /* The kernel socket has a port: the program's choice, or ours for a connection. */
  bool bound;
  bool autobound;
  /* What the program set, one bit for each of the options of stream-options.c. */
  uint64_t optionsSet;
  /* A descriptor of it, the first. */
  int fd;
  /* Epoll instances that have it while the stack does not know it (epoll.h). */
  struct Registration *registrations;
};

static inline bool fd_is_plain(int fd) {
  return (unsigned)fd >= FD_MAX || fd_state[fd] == FD_PLAIN;
}

/*
 * An address that no object of a program can have: such a call is for the kernel to refuse with
 * EFAULT. Other bad pointers end the program, as they do in a call of libc's own.
 */
static inline bool is_nowhere(const void *pointer) {
  return (uintptr_t)pointer - 65536 > UINT64_C(0x7fffffff0000) - 65536;
}

/* Slow half of the dispatch: looks at unknown descriptors, hides private ones (-1 in *fd). */
bool fd_is(int *fd, enum FdState wanted);
/* The endpoint behind a descriptor in state FD_SOCKET. */
struct Endpoint *fd_endpoint(int fd);
void fd_set_plain(int fd);
struct Epoll *fd_epoll(int fd);
/* A descriptor that refers to this epoll instance, or -1. */
int fd_of_epoll(const struct Epoll *epoll, int guess);
/* The same for any descriptor; NULL if it has none. */
struct Endpoint *fd_socket(int fd);
/* The endpoint in use behind this one; NULL begins and ends. */
struct Endpoint *endpoint_next(const struct Endpoint *before);
void fd_make_plain(int fd);
/* The same, after a look at descriptors that are unknown yet. Both NULL: libc's business. */
static inline bool fd_is_ours(int fd) {
  return UNLIKELY(!fd_is_plain(fd)) && fd_is(&fd, FD_PLAIN);
}
void fd_set_endpoint(int fd, struct Endpoint *endpoint);
void fd_set_epoll(int fd, struct Epoll *epoll);
/* A new endpoint without descriptors; NULL when all are used. */
struct Endpoint *endpoint_new(void);
/*
 * Around a call that blocks: as the kernel's calls do, it keeps the socket though another thread
 * closes the descriptor. The number to use meanwhile is endpoint_fd()'s.
 */
static inline void endpoint_hold(struct Endpoint *endpoint) {
  atomic_fetch_add(&endpoint->waiters, 1);
}
void endpoint_release(struct Endpoint *endpoint);
/* The threads of the parent that were blocked are not there. */
void endpoints_after_fork(void);
static inline int endpoint_fd(const struct Endpoint *endpoint, int fd) {
  return LIKELY(endpoint->held < 0) ? fd : endpoint->held;
}
/* True in a vfork child, which must not touch its parent's tables. */
bool fd_borrowed(void);
/* Marks every socket as held by other processes too. */
void fd_share_all(void);
/* A number that came from elsewhere: it is looked at when it is used. */
void fd_appeared(int fd);
/* Descriptors arrived by SCM_RIGHTS, or go out. */
void fd_received(const struct msghdr *message);
void fd_sent(const struct msghdr *message);
/* Moves the descriptor in a variable of ours out of the program's way. False if that failed. */
bool fd_make_private(int *variable);
/* Closes it, if there is one, and sets the variable to -1. */
void fd_close_private(int *variable);
void fd_close_all_private(void);

/* --- This process and its connection to exasockd (join.c, process.c) --- */

struct Process {
  /* As getpid() said when the tables became this process's own. */
  pid_t pid;
  bool debug;
  bool trace;
  bool quiet;
  bool disabled;
  bool require;
  /* How threads wait that set nothing else. */
  enum exasock_wait_mode wait;
  char stackName[64];
  /* The region is mapped. */
  bool joined;
  /* exasockd ended the region: what is queued is delivered, all else is the kernel's. */
  bool orphaned;
  /* After fork: the mapping is there, but the region knows only the parent. */
  bool stale;
  uint32_t client;
  /* What the lock word says while this process holds the lock. */
  uint32_t owner;
  /* When it was looked last whether exasockd lives. */
  uint64_t watchedNanos;
  /* The header's queueEpoch when the queues' descriptors were fetched last. */
  uint32_t queuesEpoch;
  /* The connection to exasockd; -1 while there is none to be had. */
  int control;
  int arrivalsProgram;
  /* What keeps the region's parts alive without exasockd (src/daemon/vault.ts). */
  int vault[2];
  struct CoreWires wires;
};
extern struct Process process;

void process_init(void);
/* Around every way to fork. */
void process_before_fork(void);
void process_in_child(void);
/* Until exasockd hears of the ends of kernel sockets, if it was just asked to. */
void process_await_ends(void);
/* Joins the stack if that was not tried yet. False: go on without it. */
bool process_join(void);
/* Fetches the AF_XDP sockets anew after exasockd changed them. */
void process_refresh_queues(void);
void process_join_after_fork(void);
/* Fills in the table `real`. */
void shim_resolve_all(void);
/* Looks whether exasockd is still there. */
void process_check_daemon(void);
/* Frees the region's lock if a process that is gone holds it. */
bool process_bury(void);
/* The same now and then, for programs that look at their sockets without ever waiting. */
#define DAEMON_WATCH_NANOS 1000000u
static inline void process_watch(uint64_t now) {
  /* A coarse clock's time may lie before that of the last look. */
  if (LIKELY((int64_t)(now - process.watchedNanos) < (int64_t)DAEMON_WATCH_NANOS)) return;
  process.watchedNanos = now;
  process_check_daemon();
}
/* Joined, with this process's own registration. exasockd may be dead: the region lives on. */
static inline bool process_usable(void) {
  return LIKELY(process.joined && !process.stale && !process.orphaned) ||
         (process.joined && process.stale && process_join());
}
/* One line on stderr, "exasock: " in front; safe in signal handlers. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace_result(const char *name, int fd, long result);

/* --- This thread (wait.c, spin.c, signal.c) --- */

struct Thread {
  /* Region waiter slot (0 none), its doorbell, and whether it is armed. */
  uint32_t waiter;
  int doorbell;
  bool armed;
  /* glibc's record of what to do should the thread be cancelled in its sleep. */
  void *cleanup;
  /* EXASOCK_WAIT_DEFAULT, or the program's choice for this thread. */
  enum exasock_wait_mode waitMode;
  /* What adaptive waiting knows of the waits so far: see spin.c. */
  uint32_t usualNanos;
  uint32_t lostWaits;
  uint32_t crowd;
  uint32_t probe;
  uint32_t hogs;
  uint64_t hoggedUntil;
  /* Nested sections in which the program's signal handlers must not run. */
  unsigned held;
  /* The resolver runs: sockets stay with the kernel. */
  unsigned resolving;
  /* Handlers that ran, with and without SA_RESTART. */
  unsigned restarts;
  unsigned interrupts;
  /* A signal that came meanwhile, and the mask before it: no other comes until it is raised. */
  bool hasDeferred;
  siginfo_t deferred;
  uint64_t maskBefore;
  /* PTHREAD_CANCEL_ASYNCHRONOUS, outside those sections. */
  bool asynchronous;
};
extern __thread struct Thread self __attribute__((tls_model("initial-exec")));

/* Between these two, signal handlers of the program and cancellation are put off (signal.c). */
void hold_cancellation(void);
void allow_cancellation(void);
void raise_deferred(void);
static inline void hold(void) {
  self.held++;
  atomic_signal_fence(memory_order_seq_cst);
  if (UNLIKELY(self.asynchronous)) hold_cancellation();
}
static inline void unhold(void) {
  atomic_signal_fence(memory_order_seq_cst);
  if (--self.held != 0) return;
  if (UNLIKELY(self.hasDeferred)) raise_deferred();
  if (UNLIKELY(self.asynchronous)) allow_cancellation();
}
/* Puts our trampoline before the program's handlers, from now on. */
void signals_wrap(void);

/*
 * The region's lock; false: exasockd is gone and so is the lock. Unlocking also rings doorbells and
 * kicks rings as the stack asks.
 */
bool stack_lock(void);
bool stack_trylock(void);
void stack_unlock(void);
/* Whether the stack's poll() would find a packet, or a timer that is due. */
static inline bool stack_has_work(uint64_t now) {
  return w2c_stack_hasWork(stack) != 0 || core_header()->nextTimerNanos <= now;
}
/* Lets it look if so. */
void stack_pump(uint64_t now);

static inline void *region_at(uint32_t offset) { return core_at(offset); }
/* Starts to fetch what another CPU has written: a queue's first frame, before the lock is had. */
static inline void region_prefetch(uint32_t link, uint32_t payload) {
  const struct RegionHeader *header = core_header();
  uint32_t frame = link - 1;
  if (UNLIKELY(frame >= header->frameCount)) return;
  __builtin_prefetch(region_at(header->frameMetaOffset + frame * FRAME_META_BYTES), 1);
  __builtin_prefetch(region_at(header->framePoolOffset + (frame << header->frameShift) + payload));
}
static inline struct Socket *region_socket(uint32_t index) {
  return region_at(SOCKETS_OFFSET + index * SOCKET_BYTES);
}

/* Lower half of an address as the region has it: v4-mapped, and 0 for the wildcard. */
static inline uint64_t mapped(struct in_addr address) {
  return address.s_addr == 0 ? 0 : (uint64_t)address.s_addr << 32 | 0xffff0000u;
}

uint64_t now_nanos(void);
/* The same to the last tick of the kernel, some milliseconds ago at most, for a fifth of the cost. */
uint64_t now_coarse(void);
/* The time to give to the stack's poll(): exact where a program asked for timestamps. */
static inline uint64_t arrival_time(uint64_t now) {
  return UNLIKELY(core_header()->timestampsWanted != 0) ? now_nanos() : now;
}
static inline void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  atomic_signal_fence(memory_order_seq_cst);
#endif
}

static inline enum exasock_wait_mode wait_mode(void) {
  return self.waitMode != EXASOCK_WAIT_DEFAULT ? self.waitMode : process.wait;
}

/* The spinning of one wait. */
struct Spin {
  uint64_t began;
  /* No longer than to this time; 0: not at all, or not any more. */
  uint64_t until;
  /* The clock when it was last read. */
  uint64_t looked;
  /* When others are next offered the CPU. */
  uint64_t offerAt;
  bool adaptive;
  bool spun;
  /* Others want this CPU: it is offered to them all the time. */
  bool shares;
  /* They took it in this wait. */
  bool met;
  bool hogged;
};
void spin_begin(struct Spin *spin, uint64_t now);
/* The clock was read: offers the CPU to others if that is due. The time after that. */
uint64_t spin_look(struct Spin *spin, uint64_t now);
/* What was waited for is there, after a sleep or without one. */
void spin_end(const struct Spin *spin, uint64_t now, bool slept);

enum { WAIT_EXTRA_FDS = 2 + (int)MAX_QUEUES };
#define FOREVER UINT64_MAX

/* A blocked call. `ready` is tried until it returns non-zero, or the deadline passes. */
struct Waiting {
  /* `askKernel`: what only the kernel can tell may have changed. */
  int (*ready)(void *context, uint64_t now, bool askKernel);
  void *context;
  /* CLOCK_MONOTONIC, or FOREVER. */
  uint64_t deadline;
  /* Interest bits of the sockets that are waited for. */
  uint64_t interest;
  /* The region's epoll set that is waited in; 0 for none. */
  uint32_t set;
  /* Kernel descriptors to sleep on, with room for WAIT_EXTRA_FDS more behind them. */
  struct pollfd *fds;
  nfds_t count;
  /* The call goes on after a handler with SA_RESTART, unless it has made progress. */
  bool restarts;
  const size_t *progress;
  /* Signal mask during the wait, or NULL. */
  const sigset_t *mask;
  /* As they were when the wait began; of wait_until. */
  unsigned interrupts;
  unsigned restarted;
};
/* What `ready` returned; 0 at the deadline; -EINTR. */
int wait_until(struct Waiting *waiting);
/* Stops being a sleeper. */
void wait_disarm(void);
/* The same for a handler that may jump out of the sleep. True if the thread was about to sleep. */
bool wait_leave(void);
/* This thread spins in an epoll set, which keeps EPOLLEXCLUSIVE's events from others meanwhile. */
void wait_enter(uint32_t set);
/* Wakes this thread's own sleep. */
void wait_ring_self(void);
void wait_prepare(void);
/* Gives up this thread's slot and doorbell without a word to the region. */
void wait_forget_thread(void);
uint64_t deadline_after(uint64_t nanos);
/* From a timeout argument: FOREVER for NULL; false if it is not valid. */
bool deadline_from(const struct timespec *timeout, uint64_t *deadline);

/* From a handler's result, which is -errno when it failed. */
static inline long answer(long result) {
  if (LIKELY(result >= 0)) return result;
  errno = (int)-result;
  return -1;
}

/* --- Sockets (socket.c, send.c, recv.c, poll.c, epoll.c) --- */

/* Accelerates the bound (or connected) kernel socket if that is possible; says why not. */
bool socket_accelerate(int fd, struct Endpoint *endpoint);
/* Attaches this process to a socket that is in the region already. */
void socket_adopt(struct Endpoint *endpoint, uint32_t index);
/* Looks from now on at the counter of what reaches the kernel socket. */
void socket_count_arrivals(int fd, struct Endpoint *endpoint, uint64_t cookie);
/* This process has nothing in the region for it any more. */
void socket_abandon(struct Endpoint *endpoint);
/* SO_COOKIE, or 0. */
uint64_t socket_cookie(int fd);
/* Hands the socket to the kernel; `why` is for EXASOCK_DEBUG. */
void socket_release(int fd, struct Endpoint *endpoint, const char *why);
/* Notes that other processes may hold the socket from now on. */
void socket_share(struct Endpoint *endpoint);
/* True if one of them does, or did: only the kernel knows which close is the last. */
bool socket_is_shared(const struct Endpoint *endpoint);
void socket_set_nonblocking(struct Endpoint *endpoint, bool on);
/* The last descriptor of this process is being closed. */
void socket_last_close(struct Endpoint *endpoint);
/* Binds the kernel socket to a port of its choice, as a first send does. */
void socket_autobind(int fd, struct Endpoint *endpoint);
static inline bool socket_is_accelerated(const struct Endpoint *endpoint) {
  return endpoint->index != 0 && !endpoint->released && !process.orphaned;
}
bool socket_is_nonblocking(int fd, const struct Endpoint *endpoint);
/* The stack's readiness bits, as those of epoll. */
uint32_t socket_ready(struct Endpoint *endpoint);
/* True when asking the kernel socket for datagrams may be worth a system call. */
bool socket_twin_worth(struct Endpoint *endpoint, uint64_t now);
void socket_twin_empty(struct Endpoint *endpoint);
/* True for a connection of the stack: its kernel socket must not be asked for readiness. */
bool socket_is_alone(struct Endpoint *endpoint);
static inline uint64_t socket_interest(const struct Endpoint *endpoint) {
  return 1ull << (endpoint->index & 63);
}

/* The system calls ppoll and pselect6: they write to the timeout. False: libc's business. */
bool poll_by_number(struct pollfd *fds, nfds_t count, struct timespec *timeout,
                    const sigset_t *mask, size_t maskBytes, long *result);
bool select_by_number(int count, fd_set *const *asked, struct timespec *timeout,
                      const void *mask, long *result);

/* True if an epoll instance has an accelerated member that is ready; for poll() on it. */
bool epoll_ready(struct Epoll *epoll);
/* The last descriptor of a socket that the stack does not know is being closed. */
void epoll_forget(struct Endpoint *endpoint);
/* The socket became the stack's: its entries in epoll instances follow. */
void epoll_follow(struct Endpoint *endpoint);
/* The same the other way round: it is about to be the kernel's alone. */
void epoll_return(struct Endpoint *endpoint);
/* The stack has given it to the kernel. Precondition: the region is locked. */
void epoll_released(const struct Endpoint *endpoint);
void epoll_reference(struct Epoll *epoll);
/* A descriptor of it is about to be closed, or (-1) was. */
void epoll_drop(struct Epoll *epoll, int fd);
/* A descriptor that came from elsewhere is waited in: is it an instance with members of ours? */
void epoll_look(int fd);
/* This process has a region now, or, after fork, has joined it on its own. */
void epoll_joined(void);
void epoll_before_fork(void);
void epoll_after_fork(void);

#endif
