// What the stress programs of this folder share: failing loudly, sockets that know each other, and
// the choice of how a thread waits. Without exasock that choice changes nothing.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) {                                                                 \
      fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
      exit(1);                                                                          \
    }                                                                                   \
  } while (0)

static struct in_addr host;

/** adaptive, spin or sleep, as in <exasock/extensions.h>. */
static inline void wait_by(const char *mode) {
  int (*set)(int) = (int (*)(int))(uintptr_t)dlsym(RTLD_DEFAULT, "exasock_set_wait_mode");
  int number = strcmp(mode, "adaptive") == 0 ? 1 : strcmp(mode, "spin") == 0 ? 2 : 3;
  if (set != NULL) CHECK(set(number) == 0);
}

static inline struct sockaddr_in name_of(int fd) {
  struct sockaddr_in name;
  socklen_t bytes = sizeof name;
  CHECK(getsockname(fd, (struct sockaddr *)&name, &bytes) == 0);
  return name;
}

static inline int bound_socket(int type) {
  int fd = socket(AF_INET, type, 0);
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = host};
  CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
  return fd;
}

/** Two sockets of this host that are connected with each other. */
static inline void make_pair(int type, int pair[2]) {
  pair[0] = bound_socket(type);
  if (type == SOCK_DGRAM) {
    pair[1] = bound_socket(type);
    struct sockaddr_in names[2] = {name_of(pair[0]), name_of(pair[1])};
    for (int i = 0; i < 2; i++) {
      CHECK(connect(pair[i], (struct sockaddr *)&names[1 - i], sizeof names[0]) == 0);
    }
    return;
  }
  int listener = pair[0];
  struct sockaddr_in name = name_of(listener);
  CHECK(listen(listener, 1) == 0);
  pair[0] = socket(AF_INET, type, 0);
  CHECK(connect(pair[0], (struct sockaddr *)&name, sizeof name) == 0);
  pair[1] = accept(listener, NULL, NULL);
  CHECK(pair[1] >= 0);
  close(listener);
  int on = 1;
  for (int i = 0; i < 2; i++) setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline uint64_t nanos_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/** A number below `limit` that the seed leads to. */
static inline unsigned random_below(uint32_t *seed, unsigned limit) {
  *seed = *seed * 1664525u + 1013904223u;
  return (unsigned)(((uint64_t)(*seed >> 8) * limit) >> 24);
}

static inline void spin_for(uint64_t nanos) {
  for (uint64_t end = nanos_now() + nanos; nanos_now() < end;) continue;
}
