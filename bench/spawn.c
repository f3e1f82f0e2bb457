// Starts a program many times, one after the other, and prints the mean time of one in
// nanoseconds: `spawn COUNT PRELOAD PROGRAM`; PRELOAD may be empty. A starter in C, because Node's
// own start of a process takes longer than what is to be measured.
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "clock.h"

int main(int count, char **arguments) {
  if (count != 4) return 2;
  static char preload[4096];
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", arguments[2]);
  char *environment[] = {arguments[2][0] ? preload : NULL, NULL};
  char *command[] = {arguments[3], NULL};
  unsigned starts = (unsigned)atoi(arguments[1]);
  uint64_t begin = now();
  for (unsigned i = 0; i < starts; i++) {
    pid_t pid;
    int status;
    if (posix_spawn(&pid, command[0], NULL, NULL, command, environment) != 0) return 1;
    if (waitpid(pid, &status, 0) != pid || status != 0) return 1;
  }
  printf("%lu\n", (now() - begin) / starts);
  return 0;
}
