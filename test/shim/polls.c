// What poll, select and their kind answer at their edges. Everything that is printed is the same on
// the kernel and under exasock.
//
//   polls ADDRESS MODE
#include "waits.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

enum { MANY = 3000, SHORT_MILLIS = 30 };

static int pair[2];
static volatile sig_atomic_t handled;

static void count_signal(int number) {
  (void)number;
  handled++;
}

static void say(const char *what, long result) {
  int error = result < 0 ? errno : 0;
  printf("%s: %ld %s, handled %d\n", what, result, error != 0 ? strerror(error) : "",
         (int)handled);
}

static void take_signal(int flags) {
  struct sigaction action = {.sa_handler = count_signal, .sa_flags = flags};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

static int is_blocked(int number) {
  sigset_t now;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
  return sigismember(&now, number);
}

static void fill(void) { CHECK(send(pair[1], "data", 4, 0) == 4); }

static void wait_readable(void) {
  struct pollfd one = {.fd = pair[0], .events = POLLIN};
  CHECK(poll(&one, 1, -1) == 1);
}

static void drain(void) {
  char bytes[16];
  CHECK(recv(pair[0], bytes, sizeof bytes, 0) == 4);
}

/** A signal is pending, and only the mask of the call would let it through. */
static void masks(void) {
  const struct timespec none = {0};
  struct pollfd one = {.fd = pair[0], .events = POLLIN};
  sigset_t mine;
  sigset_t open;
  sigemptyset(&mine);
  sigaddset(&mine, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &mine, &open) == 0);
  take_signal(0);
  raise(SIGUSR1);
  fill();
  wait_readable();
  say("ppoll with data there", ppoll(&one, 1, NULL, &open));
  printf("blocked afterwards: %d\n", is_blocked(SIGUSR1));
  drain();
  one.revents = 99;
  say("ppoll that takes no time", ppoll(&one, 1, &none, &open));
  printf("revents %d, blocked afterwards: %d\n", one.revents, is_blocked(SIGUSR1));
  say("ppoll once more", ppoll(&one, 1, &none, &open));
  raise(SIGUSR1);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pair[0], &set);
  say("pselect that waits", pselect(pair[0] + 1, &set, NULL, NULL, NULL, &open));
  printf("in the set: %d, blocked afterwards: %d\n", FD_ISSET(pair[0], &set), is_blocked(SIGUSR1));
  int closed = dup(pair[0]);
  close(closed);
  FD_SET(closed, &set);
  say("pselect of a closed one", pselect(closed + 1, &set, NULL, NULL, NULL, &open));
  printf("blocked afterwards: %d\n", is_blocked(SIGUSR1));
  int source = signalfd(-1, &mine, 0);
  struct signalfd_siginfo info;
  raise(SIGUSR1);
  struct pollfd two[2] = {one, {.fd = source, .events = POLLIN}};
  say("poll with a signalfd", poll(two, 2, -1));
  say("read of it", read(source, &info, sizeof info));
  raise(SIGUSR1);
  siginfo_t taken;
  say("sigtimedwait", sigtimedwait(&mine, &taken, &none));
  close(source);
  CHECK(pthread_sigmask(SIG_SETMASK, &open, NULL) == 0);
}

static void numbers(void) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = MANY + 1000;
  CHECK(limit.rlim_max >= limit.rlim_cur && setrlimit(RLIMIT_NOFILE, &limit) == 0);
  size_t room = limit.rlim_cur + 1;
  struct pollfd *fds = calloc(room, sizeof *fds);
  CHECK(fds != NULL);
  for (size_t i = 0; i < room; i++) fds[i] = (struct pollfd){.fd = pair[0], .events = POLLIN};
  say("poll of more than there may be", poll(fds, room, 0));
  for (size_t i = 0; i < MANY; i++) fds[i].fd = i % 3 == 0 ? -(int)i - 1 : dup(pair[i % 2]);
  fill();
  wait_readable();
  say("poll of thousands", poll(fds, MANY, 0));
  int nval = 0;
  for (size_t i = 0; i < MANY; i += 7) close(fds[i].fd);
  say("poll of thousands, some closed", poll(fds, MANY, 0));
  for (size_t i = 0; i < MANY; i++) nval += fds[i].revents == POLLNVAL;
  printf("%d are not open\n", nval);
  drain();
  int high = dup2(pair[0], 2500);
  size_t bytes = 4096 / 8;
  fd_set *set = calloc(1, bytes);
  ((unsigned long *)set)[high / 64] |= 1ul << (high % 64);
  fill();
  wait_readable();
  say("select beyond FD_SETSIZE", syscall(SYS_pselect6, high + 1, set, NULL, NULL, NULL, NULL));
  drain();
  for (int fd = 40; fd < MANY + 200; fd++) close(fd);
  free(set);
  free(fds);
  say("select of a negative number", select(-1, NULL, NULL, NULL, NULL));
}

static uint64_t started;

static void begin(void) { started = nanos_now(); }

/** Whether a timeout was kept, and what is left of it. */
static void say_left(const char *what, long result, uint64_t nanos, struct timespec left) {
  uint64_t rest = (uint64_t)left.tv_sec * 1000000000u + (uint64_t)left.tv_nsec;
  uint64_t took = nanos_now() - started;
  say(what, result);
  printf("took its time: %d, left: %s\n", took >= nanos,
         rest == 0 ? "nothing" : rest == nanos ? "all" : rest < nanos ? "some" : "more");
}

static void *signal_soon(void *thread) {
  spin_for(SHORT_MILLIS / 3 * 1000000u);
  pthread_kill(*(pthread_t *)thread, SIGUSR1);
  return NULL;
}

static void timeouts(void) {
  const struct timespec limits[] = {
      {0, 0}, {0, 1}, {0, 700}, {0, 40000}, {0, SHORT_MILLIS * 1000000}};
  struct pollfd one = {.fd = pair[0], .events = POLLIN};
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    struct timespec left = limits[i];
    uint64_t nanos = (uint64_t)left.tv_nsec;
    begin();
    say_left("ppoll", ppoll(&one, 1, &left, NULL), nanos, left);
    begin();
    say_left("ppoll by number", syscall(SYS_ppoll, &one, 1, &left, NULL, 8), nanos, left);
  }
  struct timespec bad = {0, 1000000000};
  say("ppoll with a bad time", ppoll(&one, 1, &bad, NULL));
  sigset_t none;
  sigemptyset(&none);
  say("ppoll with a bad size of its mask", syscall(SYS_ppoll, &one, 1, &limits[0], &none, 7));
  fd_set set;
  pthread_t me = pthread_self();
  pthread_t other;
  take_signal(SA_RESTART);
  for (int way = 0; way < 3; way++) {
    FD_ZERO(&set);
    FD_SET(pair[0], &set);
    struct timeval time = {2, 0};
    struct timespec precise = {2, 0};
    CHECK(pthread_create(&other, NULL, signal_soon, &me) == 0);
    begin();
    long result = way == 0   ? select(pair[0] + 1, &set, NULL, NULL, &time)
                  : way == 1 ? syscall(SYS_pselect6, pair[0] + 1, &set, NULL, NULL, &precise, NULL)
                             : syscall(SYS_ppoll, &one, 1, &precise, NULL, 8);
    if (way == 0) precise = (struct timespec){time.tv_sec, time.tv_usec * 1000};
    say("interrupted", result);
    printf("left: %s, in the set: %d\n", precise.tv_sec == 1 ? "some" : "otherwise",
           FD_ISSET(pair[0], &set));
    pthread_join(other, NULL);
  }
  struct timeval time = {0, SHORT_MILLIS * 1000};
  begin();
  FD_ZERO(&set);
  FD_SET(pair[0], &set);
  long result = select(pair[0] + 1, &set, NULL, NULL, &time);
  say_left("select", result, SHORT_MILLIS * 1000000u, (struct timespec){0, time.tv_usec * 1000});
}

int main(int words, char **arguments) {
  CHECK(words == 3);
  CHECK(inet_pton(AF_INET, arguments[1], &host) == 1);
  make_pair(SOCK_DGRAM, pair);
  wait_by(arguments[2]);
  masks();
  timeouts();
  numbers();
  return 0;
}
