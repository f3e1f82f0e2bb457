/* Another process of the stack, one instruction after the other: for storm.c. */
#ifndef STORM_STEP_H
#define STORM_STEP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum {
  /* So many steps are enough. */
  STEPS_MAX = 2000000,
  CLIENTS_MAX = 1024,
  OWNER_SLOT_BITS = 11,
};

/* Where the region begins in another process, or 0. */
static uint64_t region_of(pid_t pid) {
  char line[512];
  unsigned long long start = 0;
  unsigned long long offset;
  snprintf(line, sizeof line, "/proc/%d/maps", pid);
  FILE *maps = fopen(line, "r");
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
    if (strstr(line, "memfd:exasock-region") == NULL) continue;
    if (sscanf(line, "%llx-%*x %*s %llx", &start, &offset) == 2 && offset == 0) break;
    start = 0;
  }
  if (maps != NULL) fclose(maps);
  return start;
}

static bool peek(pid_t pid, uint64_t at, void *into, size_t bytes) {
  struct iovec own = {into, bytes};
  struct iovec other = {(void *)(uintptr_t)at, bytes};
  return process_vm_readv(pid, &own, 1, &other, 1, 0) == (ssize_t)bytes;
}

/* What the lock word says while the process holds it (native/core/core.h), or 0. */
static uint32_t owner_of(pid_t pid, uint64_t region, uint64_t clients) {
  struct {
    uint32_t pid;
    uint32_t generation;
    uint32_t rest[6];
  } all[CLIENTS_MAX];
  if (region == 0 || !peek(pid, region + clients, all, sizeof all)) return 0;
  for (uint32_t slot = 1; slot < CLIENTS_MAX; slot++) {
    if (all[slot].pid != (uint32_t)pid) continue;
    return (all[slot].generation << OWNER_SLOT_BITS & 0x7fffffffu) | (slot + 1);
  }
  return 0;
}

/* Lets the victim make so many instructions under the lock. How many it made. */
static unsigned step(pid_t pid, unsigned wanted, uint64_t lockOffset, uint64_t clients) {
  uint64_t region = 0;
  uint32_t owner = 0;
  unsigned held = 0;
  int status;
  for (unsigned n = 0; n < STEPS_MAX && held < wanted; n++) {
    uint32_t word = 0;
    if (owner == 0 && n % 4096 == 0) {
      region = region_of(pid);
      owner = owner_of(pid, region, clients);
    }
    if (owner != 0 && peek(pid, region + lockOffset, &word, sizeof word)) {
      if ((word & 0x7fffffffu) == owner) held++;
    }
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) break;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) break;
  }
  return held;
}

#endif
