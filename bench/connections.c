// TCP connections that carry nothing. `connections serve ADDRESS PORT` accepts and closes at once;
// `connections keep ADDRESS PORT COUNT` accepts that many, says so, and keeps them until the input
// ends. `connections rate ADDRESS PORT SECONDS BATCH` opens so many at a time, waits until the
// other end has closed each, closes too, and prints how many a second; `connections hold ADDRESS
// PORT COUNT` opens that many and keeps them.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { BATCH_MAX = 256, BACKLOG = 4096, SPARE_DESCRIPTORS = 64 };

static void must(bool fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(1);
}

static int listen_at(const struct sockaddr_in *at) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  must(fd >= 0, "socket");
  must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0, "SO_REUSEADDR");
  must(bind(fd, (const struct sockaddr *)at, sizeof *at) == 0, "bind");
  must(listen(fd, BACKLOG) == 0, "listen");
  printf("ready\n");
  fflush(stdout);
  return fd;
}

static int open_one(const struct sockaddr_in *to, int flags) {
  int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  must(fd >= 0, "socket");
  int result = connect(fd, (const struct sockaddr *)to, sizeof *to);
  must(result == 0 || errno == EINPROGRESS, "connect");
  return fd;
}

/** Waits for the end of the stream of each, whatever order they end in. */
static void close_when_closed(const int *fds, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    struct pollfd one = {fds[i], POLLIN, 0};
    char byte;
    ssize_t got;
    while ((got = recv(fds[i], &byte, 1, MSG_DONTWAIT)) < 0) {
      must(errno == EAGAIN, "recv");
      must(poll(&one, 1, 10000) == 1, "poll");
    }
    must(got == 0, "end of file");
    close(fds[i]);
  }
}

static void rate(const struct sockaddr_in *to, double seconds, unsigned batch) {
  int fds[BATCH_MAX];
  must(batch > 0 && batch <= BATCH_MAX, "batch");
  double start = now_seconds(), end = start + seconds, time = start;
  uint64_t done = 0;
  for (; time < end; done += batch, time = now_seconds()) {
    for (unsigned i = 0; i < batch; i++) fds[i] = open_one(to, batch > 1 ? SOCK_NONBLOCK : 0);
    close_when_closed(fds, batch);
  }
  printf("%.0f\n", (double)done / (time - start));
}

static void allow_descriptors(unsigned count) {
  struct rlimit limit = {count + SPARE_DESCRIPTORS, count + SPARE_DESCRIPTORS};
  must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "RLIMIT_NOFILE");
}

static void wait_for_end_of_input(unsigned count) {
  printf("%u connections\n", count);
  fflush(stdout);
  while (getchar() != EOF) continue;
}

int main(int count, char **arguments) {
  if (count < 4) return 2;
  const char *role = arguments[1];
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[3]))};
  must(inet_pton(AF_INET, arguments[2], &at.sin_addr) == 1, "address");
  unsigned many = count > 4 ? (unsigned)atoi(arguments[4]) : 0;
  if (strcmp(role, "serve") == 0) {
    for (int fd = listen_at(&at);;) {
      int one = accept(fd, NULL, NULL);
      must(one >= 0, "accept");
      close(one);
    }
  }
  if (strcmp(role, "rate") == 0) {
    rate(&at, many, count > 5 ? (unsigned)atoi(arguments[5]) : 1);
    return 0;
  }
  allow_descriptors(many);
  if (strcmp(role, "keep") == 0) {
    int fd = listen_at(&at);
    for (unsigned i = 0; i < many; i++) must(accept(fd, NULL, NULL) >= 0, "accept");
  } else {
    for (unsigned i = 0; i < many; i++) open_one(&at, 0);
  }
  wait_for_end_of_input(many);
  return 0;
}
