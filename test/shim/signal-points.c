// Signals aimed at every point of a wait, under a watchdog. Each way prints what it counted, so
// that the kernel and exasock can be compared.
//
//   signal-points ADDRESS MODE masks|jumps|handlers|cancel|cancel-anywhere COUNT
#include "waits.h"

#include <poll.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { WATCHDOG_SECONDS = 50, WINDOW_NANOS = 150000 };

static const char *mode;
static int pair[2];
static int epoll;
static pthread_t waiter;
static _Atomic unsigned round_number;
static _Atomic unsigned done_number;
static _Atomic unsigned handled;
static sigjmp_buf back;
static volatile sig_atomic_t may_jump;

static void stuck(int number) {
  (void)number;
  static const char text[] = "stuck\n";
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(2);
  _exit(1);
}

static void count_signal(int number) {
  (void)number;
  handled++;
}

static void jump(int number) {
  (void)number;
  handled++;
  if (may_jump) siglongjmp(back, 1);
}

/** The handler's own wait: what it sends to itself it receives at once. */
static void converse(int number) {
  (void)number;
  int saved = errno;
  char byte = 'x';
  struct pollfd one = {.fd = pair[0], .events = POLLIN};
  CHECK(send(pair[1], &byte, 1, 0) == 1);
  CHECK(poll(&one, 1, -1) == 1 && recv(pair[0], &byte, 1, 0) == 1 && byte == 'x');
  handled++;
  errno = saved;
}

static void take_signal(int number, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler};
  CHECK(sigaction(number, &action, NULL) == 0);
}

/** Sends one signal for each round that the waiter begins, a random while later. */
static void *aim(void *argument) {
  unsigned count = *(unsigned *)argument;
  uint32_t seed = 1;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  for (unsigned n = 1; n <= count; n++) {
    while (round_number < n) sched_yield();
    if (n % 4 != 0) spin_for(random_below(&seed, WINDOW_NANOS / (n % 3 + 1)));
    pthread_kill(waiter, SIGUSR1);
    while (done_number < n) sched_yield();
  }
  return NULL;
}

/** One wait for ever that only the signal can end. */
static int wait_masked(unsigned way, const sigset_t *mask) {
  struct pollfd one = {.fd = pair[0], .events = POLLIN};
  struct epoll_event event;
  fd_set set;
  if (way % 3 == 0) return ppoll(&one, 1, NULL, mask);
  if (way % 3 == 1) return epoll_pwait(epoll, &event, 1, -1, mask);
  FD_ZERO(&set);
  FD_SET(pair[0], &set);
  return pselect(pair[0] + 1, &set, NULL, NULL, NULL, mask);
}

/** A signal that only the call's mask lets through ends it, and its handler runs once. */
static void masks(unsigned count) {
  sigset_t mine;
  sigset_t open;
  sigemptyset(&mine);
  sigaddset(&mine, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &mine, &open) == 0);
  take_signal(SIGUSR1, count_signal);
  for (unsigned n = 1; n <= count; n++) {
    round_number = n;
    CHECK(wait_masked(n, &open) == -1 && errno == EINTR);
    CHECK(handled == n);
    done_number = n;
  }
}

static void *feed(void *argument) {
  unsigned count = *(unsigned *)argument;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  for (unsigned n = 1; n <= count; n++) {
    while (round_number < n) sched_yield();
    CHECK(send(pair[1], &n, sizeof n, 0) == sizeof n);
  }
  return NULL;
}

/** Jumps out of calls wherever they are; afterwards everything still works. */
static void jumps(unsigned count) {
  take_signal(SIGUSR1, jump);
  for (volatile unsigned n = 1; n <= count; n++) {
    if (sigsetjmp(back, 1) == 0) {
      char bytes[16];
      struct pollfd one = {.fd = pair[0], .events = POLLIN};
      struct epoll_event event;
      may_jump = 1;
      round_number = n;
      for (;;) {
        if (n % 4 == 0) recv(pair[0], bytes, sizeof bytes, 0);
        if (n % 4 == 1) poll(&one, 1, -1);
        if (n % 4 == 2) epoll_wait(epoll, &event, 1, -1);
        if (n % 4 == 3) send(pair[0], bytes, 1, MSG_DONTWAIT);
        if (n % 4 == 3) recv(pair[1], bytes, sizeof bytes, MSG_DONTWAIT);
      }
    }
    may_jump = 0;
    CHECK(handled == n);
    done_number = n;
  }
  /* Nothing is left locked or asleep: another thread's data arrives. */
  round_number = 0;
  char rest[64];
  while (recv(pair[0], rest, sizeof rest, MSG_DONTWAIT) > 0) continue;
  while (recv(pair[1], rest, sizeof rest, MSG_DONTWAIT) > 0) continue;
  pthread_t other;
  unsigned more = 100;
  CHECK(pthread_create(&other, NULL, feed, &more) == 0);
  for (unsigned n = 1; n <= more; n++) {
    unsigned got = 0;
    round_number = n;
    CHECK(recv(pair[0], &got, sizeof got, MSG_WAITALL) == sizeof got && got == n);
  }
  pthread_join(other, NULL);
}

/** Handlers that send and wait themselves, in the middle of a wait on another socket. */
static void handlers(unsigned count) {
  int outer[2];
  make_pair(SOCK_DGRAM, outer);
  take_signal(SIGUSR1, converse);
  struct timeval limit = {.tv_usec = 300000};
  CHECK(setsockopt(outer[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  for (unsigned n = 1; n <= count; n++) {
    char byte;
    unsigned before = handled;
    round_number = n;
    /* A signal that came before the call does not end it. */
    while (handled == before) {
      CHECK(recv(outer[0], &byte, 1, 0) == -1 && (errno == EINTR || errno == EAGAIN));
    }
    done_number = n;
  }
}

static void *wait_until_cancelled(void *unused) {
  char byte;
  struct pollfd one = {.fd = pair[0], .events = POLLIN};
  wait_by(mode);
  round_number++;
  for (unsigned n = 0;; n++) {
    if (n % 2 == 0) poll(&one, 1, -1);
    else recv(pair[0], &byte, 1, 0);
  }
  return unused;
}

static void *run_until_cancelled(void *unused) {
  char byte = 'x';
  int peer[2];
  make_pair(SOCK_DGRAM, peer);
  wait_by(mode);
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
  round_number++;
  for (;;) {
    send(peer[1], &byte, 1, 0);
    recv(peer[0], &byte, 1, 0);
  }
  return unused;
}

/** Cancels threads in their calls; those that come after are not the worse for it. */
static void cancel(unsigned count, void *(*run)(void *)) {
  uint32_t seed = 2;
  for (unsigned n = 1; n <= count; n++) {
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
    while (round_number < n) sched_yield();
    spin_for(random_below(&seed, WINDOW_NANOS));
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
    handled++;
  }
  char byte = 'y';
  CHECK(send(pair[1], &byte, 1, 0) == 1 && recv(pair[0], &byte, 1, 0) == 1 && byte == 'y');
}

int main(int words, char **arguments) {
  CHECK(words == 5);
  CHECK(inet_pton(AF_INET, arguments[1], &host) == 1);
  mode = arguments[2];
  unsigned count = (unsigned)atoi(arguments[4]);
  const char *what = arguments[3];
  make_pair(SOCK_DGRAM, pair);
  epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event) == 0);
  signal(SIGALRM, stuck);
  alarm(WATCHDOG_SECONDS + count / 1000);
  wait_by(mode);
  waiter = pthread_self();
  pthread_t other;
  int aims = strncmp(what, "cancel", 6) != 0;
  if (aims) CHECK(pthread_create(&other, NULL, aim, &count) == 0);
  if (strcmp(what, "masks") == 0) masks(count);
  if (strcmp(what, "jumps") == 0) jumps(count);
  if (strcmp(what, "handlers") == 0) handlers(count);
  if (strcmp(what, "cancel") == 0) cancel(count, wait_until_cancelled);
  if (strcmp(what, "cancel-anywhere") == 0) cancel(count, run_until_cancelled);
  printf("%s: %u of %u\n", what, handled, count);
  return 0;
}
