// Two threads or processes of one host hand a token over, each waiting for it in its own mode. A
// wake-up that is lost stops them, and the watchdog says where.
//
//   handover ADDRESS udp|tcp threads|processes MODE MODE COUNT
#include "waits.h"

#include <sys/epoll.h>
#include <poll.h>
#include <sys/wait.h>

enum { WATCHDOG_SECONDS = 50, WAYS = 4, PER_SECOND = 4000 };

static uint32_t count;
static volatile uint32_t reached;

struct Side {
  int fd;
  const char *mode;
  int first;
};

static void stuck(int number) {
  (void)number;
  char text[64];
  int length = snprintf(text, sizeof text, "stuck at %u\n", reached);
  if (write(STDERR_FILENO, text, (size_t)length) < 0) _exit(2);
  _exit(1);
}

/** Waits in turn by the call itself, poll, and epoll; then takes the token. */
static void take(int fd, int epoll, uint32_t expected) {
  struct pollfd one = {.fd = fd, .events = POLLIN};
  struct epoll_event event;
  uint32_t token = 0;
  unsigned way = expected % WAYS;
  if (way == 1) CHECK(poll(&one, 1, -1) == 1);
  if (way == 2) CHECK(epoll_wait(epoll, &event, 1, -1) == 1);
  CHECK(recv(fd, &token, sizeof token, MSG_WAITALL) == sizeof token);
  CHECK(token == expected);
}

static void *play(void *argument) {
  const struct Side *side = argument;
  int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, side->fd, &event) == 0);
  wait_by(side->mode);
  for (uint32_t n = 0; n < count; n++) {
    if (n % 2 == (uint32_t)!side->first) take(side->fd, epoll, n);
    else CHECK(send(side->fd, &n, sizeof n, 0) == sizeof n);
    reached = n;
  }
  close(epoll);
  return NULL;
}

int main(int words, char **arguments) {
  CHECK(words == 7);
  CHECK(inet_pton(AF_INET, arguments[1], &host) == 1);
  count = (uint32_t)atoi(arguments[6]);
  int pair[2];
  make_pair(strcmp(arguments[2], "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM, pair);
  struct Side sides[2] = {{pair[0], arguments[4], 1}, {pair[1], arguments[5], 0}};
  signal(SIGALRM, stuck);
  if (strcmp(arguments[3], "threads") == 0) {
    alarm(WATCHDOG_SECONDS + count / PER_SECOND);
    pthread_t other;
    CHECK(pthread_create(&other, NULL, play, &sides[1]) == 0);
    play(&sides[0]);
    pthread_join(other, NULL);
  } else {
    pid_t child = fork();
    CHECK(child >= 0);
    alarm(WATCHDOG_SECONDS + count / PER_SECOND);
    play(&sides[child == 0]);
    if (child == 0) return 0;
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  printf("%u hand-overs\n", count);
  return 0;
}
