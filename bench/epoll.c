// What epoll_wait costs with one ready socket of many: `epoll ADDRESS MEMBERS ROUNDS`. The set has
// MEMBERS members, UDP sockets, at most SOCKETS_MAX of them sockets of their own. The others are
// the same sockets under other numbers, and a number serves for many: a member is a file and the
// number that it was added with, and lives as long as the file. In each round one of a few sockets,
// which lie evenly in the set and are members once, gets a datagram from this very process. Prints
// the median in nanoseconds.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { SOCKETS_MAX = 8000, ROUNDS_MAX = 100000, READY = 8, NUMBERS_FROM = 15000 };

static struct sockaddr_in name = {.sin_family = AF_INET};

static int make_socket(void) {
  struct sockaddr_in any = name;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0) exit(1);
  return fd;
}

static void add(int set, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0) exit(1);
}

/* Fills the set; returns the sockets that will be ready, in `ready`. */
static void fill(int set, int members, int *ready) {
  static int idle[SOCKETS_MAX];
  int sockets = 0, chosen = 0, others = 0;
  for (int i = 0; i < members; i++) {
    int fd;
    if (chosen < READY && i >= (long)members * chosen / READY) {
      fd = ready[chosen++] = make_socket();
    } else if (sockets < SOCKETS_MAX) {
      fd = idle[sockets++] = make_socket();
    } else {
      fd = dup2(idle[others % SOCKETS_MAX], NUMBERS_FROM + others / SOCKETS_MAX);
      others++;
    }
    if (fd < 0) exit(1);
    add(set, fd);
  }
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  int members = atoi(arguments[2]), rounds = atoi(arguments[3]);
  if (members <= READY || rounds > ROUNDS_MAX) return 2;
  inet_pton(AF_INET, arguments[1], &name.sin_addr);
  int set = epoll_create1(0), sender = make_socket(), ready[READY];
  fill(set, members, ready);
  struct sockaddr_in to[READY];
  for (int i = 0; i < READY; i++) {
    socklen_t bytes = sizeof to[i];
    if (getsockname(ready[i], (struct sockaddr *)&to[i], &bytes) != 0) return 1;
  }
  static uint64_t took[ROUNDS_MAX];
  for (int i = 0; i < rounds; i++) {
    char byte = 0;
    struct epoll_event events[16];
    const struct sockaddr *there = (const struct sockaddr *)&to[i % READY];
    if (sendto(sender, &byte, 1, 0, there, sizeof to[0]) != 1) return 1;
    uint64_t begin = now();
    int found = epoll_wait(set, events, 16, -1);
    took[i] = now() - begin;
    if (found != 1 || events[0].data.fd != ready[i % READY]) return 1;
    if (recv(events[0].data.fd, &byte, 1, 0) != 1) return 1;
  }
  printf("%lu\n", median(took, rounds));
  return 0;
}
