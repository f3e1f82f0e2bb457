// What fork(2) costs a process with many sockets: `forks ADDRESS SOCKETS ROUNDS`. Prints medians in
// nanoseconds: until fork returns in the parent, until a child that does nothing has ended, and
// until one has ended that looked once for a datagram.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { ROUNDS_MAX = 10000 };

static void measure(int rounds, int fd, uint64_t *returned, uint64_t *ended) {
  for (int i = 0; i < rounds; i++) {
    char byte;
    uint64_t begin = now();
    pid_t pid = fork();
    if (pid == 0) {
      if (fd >= 0 && recv(fd, &byte, 1, MSG_DONTWAIT) >= 0) _exit(1);
      _exit(0);
    }
    returned[i] = now() - begin;
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) exit(1);
    ended[i] = now() - begin;
  }
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  int sockets = atoi(arguments[2]), rounds = atoi(arguments[3]);
  if (rounds > ROUNDS_MAX) return 2;
  struct sockaddr_in name = {.sin_family = AF_INET};
  inet_pton(AF_INET, arguments[1], &name.sin_addr);
  int fd = -1;
  for (int i = 0; i < sockets; i++) {
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) != 0) return 1;
  }
  static uint64_t returned[ROUNDS_MAX], idle[ROUNDS_MAX], used[ROUNDS_MAX], unused[ROUNDS_MAX];
  measure(rounds, -1, returned, idle);
  measure(rounds, fd, unused, used);
  printf("%lu %lu %lu\n", median(returned, rounds), median(idle, rounds), median(used, rounds));
  return 0;
}
