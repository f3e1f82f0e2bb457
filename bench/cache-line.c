// How long a cache line takes from one CPU to another: two threads on CPUs 0 and 1 answer each
// other through one word. Prints the median of one way in nanoseconds, over batches of round trips.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

enum { BATCHES = 401, ROUND_TRIPS = 1000 };

static _Alignas(128) atomic_uint word;

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) exit(1);
}

static void wait_for(unsigned value) {
  while (atomic_load_explicit(&word, memory_order_acquire) != value) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

static void *answer(void *unused) {
  (void)unused;
  pin(1);
  for (unsigned n = 0; n < BATCHES * ROUND_TRIPS; n++) {
    wait_for(2 * n + 1);
    atomic_store_explicit(&word, 2 * n + 2, memory_order_release);
  }
  return NULL;
}

int main(void) {
  static uint64_t times[BATCHES];
  pthread_t other;
  pin(0);
  if (pthread_create(&other, NULL, answer, NULL) != 0) return 1;
  for (unsigned batch = 0, n = 0; batch < BATCHES; batch++) {
    uint64_t start = now();
    for (unsigned i = 0; i < ROUND_TRIPS; i++, n++) {
      atomic_store_explicit(&word, 2 * n + 1, memory_order_release);
      wait_for(2 * n + 2);
    }
    times[batch] = now() - start;
  }
  pthread_join(other, NULL);
  printf("%.1f\n", (double)median(times, BATCHES) / ROUND_TRIPS / 2);
  return 0;
}
