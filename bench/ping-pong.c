// Two programs that send each other 64 bytes by turns. `ping-pong udp|tcp serve ADDRESS PORT block`
// answers until it is killed; `ping-pong udp|tcp ask ADDRESS PORT block COUNT` asks so often and
// prints the median of half a round trip in nanoseconds. With `spin` instead of `block`, receiving
// does not wait but is tried again and again. sockperf can't be used for this: it gives up beyond
// 600,000 round trips a second.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { MESSAGE_BYTES = 64, WARM_UP = 20000 };

static void must(bool fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(1);
}

/** A whole message; false at the end of the stream. */
static bool take(int fd, char *message, bool spins, struct sockaddr_in *from) {
  socklen_t bytes = sizeof *from;
  size_t done = 0;
  while (done < MESSAGE_BYTES) {
    ssize_t got = recvfrom(fd, message + done, MESSAGE_BYTES - done, spins ? MSG_DONTWAIT : 0,
                           (struct sockaddr *)from, from != NULL ? &bytes : NULL);
    if (got == 0) return false;
    must(got > 0 || errno == EAGAIN, "recvfrom");
    if (got > 0) done += (size_t)got;
  }
  return true;
}

static void ask(int fd, bool spins, unsigned count) {
  char message[MESSAGE_BYTES] = "ping";
  uint64_t *times = malloc(count * sizeof *times);
  must(times != NULL, "malloc");
  for (unsigned n = 0; n < WARM_UP + count; n++) {
    uint64_t start = now();
    must(send(fd, message, sizeof message, 0) == MESSAGE_BYTES, "send");
    must(take(fd, message, spins, NULL), "an answer");
    if (n >= WARM_UP) times[n - WARM_UP] = now() - start;
  }
  printf("%.1f\n", (double)median(times, (int)count) / 2);
}

static void serve(int fd, bool spins, bool tcp) {
  char message[MESSAGE_BYTES];
  struct sockaddr_in from;
  while (take(fd, message, spins, tcp ? NULL : &from)) {
    ssize_t sent = tcp ? send(fd, message, sizeof message, 0)
                       : sendto(fd, message, sizeof message, 0, (struct sockaddr *)&from,
                                sizeof from);
    must(sent == MESSAGE_BYTES, "send");
  }
}

int main(int count, char **arguments) {
  if (count < 6) return 2;
  bool tcp = strcmp(arguments[1], "tcp") == 0, asks = strcmp(arguments[2], "ask") == 0;
  bool spins = strcmp(arguments[5], "spin") == 0;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[4]))};
  must(inet_pton(AF_INET, arguments[3], &at.sin_addr) == 1, "address");
  int fd = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0), yes = 1;
  must(fd >= 0, "socket");
  if (tcp) must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0, "TCP_NODELAY");
  if (asks) {
    must(connect(fd, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    ask(fd, spins, (unsigned)atoi(arguments[6]));
    return 0;
  }
  must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0, "SO_REUSEADDR");
  must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0, "bind");
  if (tcp) must(listen(fd, 8) == 0, "listen");
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    int one = tcp ? accept(fd, NULL, NULL) : fd;
    must(one >= 0, "accept");
    serve(one, spins, tcp);
    if (tcp) close(one);
  }
}
