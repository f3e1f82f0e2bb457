// How soon a wait that spins notices an ordinary descriptor beside a socket: another thread writes
// the time into a pipe, again and again; the waiting one compares. Prints microseconds: the median,
// nine tenths, and how many of a thousand took longer than 50.
//
//   notice ADDRESS poll|select|epoll MODE COUNT
#include "waits.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { LIMIT_NANOS = 50000, GAP_NANOS = 120000 };

static int ends[2];
static unsigned count;
static _Atomic unsigned done;

static void *write_times(void *unused) {
  uint32_t seed = 3;
  for (unsigned n = 1; n <= count; n++) {
    while (done < n) sched_yield();
    spin_for(random_below(&seed, GAP_NANOS));
    uint64_t now = nanos_now();
    CHECK(write(ends[1], &now, sizeof now) == sizeof now);
  }
  return unused;
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a;
  uint64_t y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

int main(int words, char **arguments) {
  CHECK(words == 5);
  CHECK(inet_pton(AF_INET, arguments[1], &host) == 1);
  const char *way = arguments[2];
  count = (unsigned)atoi(arguments[4]);
  wait_by(arguments[3]);
  int fd = bound_socket(SOCK_DGRAM);
  CHECK(pipe(ends) == 0);
  int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
  uint64_t *took = calloc(count, sizeof *took);
  pthread_t thread;
  CHECK(took != NULL && pthread_create(&thread, NULL, write_times, NULL) == 0);
  for (unsigned n = 0; n < count; n++) {
    struct pollfd two[2] = {{.fd = fd, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    FD_SET(ends[0], &set);
    done = n + 1;
    if (strcmp(way, "poll") == 0) CHECK(poll(two, 2, -1) == 1);
    if (strcmp(way, "select") == 0) CHECK(select(ends[0] + 1, &set, NULL, NULL, NULL) == 1);
    if (strcmp(way, "epoll") == 0) CHECK(epoll_wait(epoll, &event, 1, -1) == 1);
    uint64_t now = nanos_now();
    uint64_t then;
    CHECK(read(ends[0], &then, sizeof then) == sizeof then);
    took[n] = now - then;
  }
  qsort(took, count, sizeof *took, compare);
  unsigned late = 0;
  while (late < count && took[count - 1 - late] > LIMIT_NANOS) late++;
  printf("%.1f %.1f %.1f\n", (double)took[count / 2] / 1000, (double)took[count / 10 * 9] / 1000,
         late * 1000.0 / count);
  return 0;
}
