// Prints what the functions of <exasock/extensions.h> say, with exasock and without.
#include <exasock/extensions.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

static void try_mode(int mode) {
  errno = 0;
  int result = exasock_set_wait_mode((enum exasock_wait_mode)mode);
  int error = errno;
  printf("set %d: %d %d, get %d\n", mode, result, error, exasock_get_wait_mode());
}

static void *other(void *unused) {
  printf("another thread: %d\n", exasock_get_wait_mode());
  return unused;
}

int main(void) {
  const char *text = exasock_version_text();
  printf("loaded %d, version %u, text %s\n", exasock_loaded(), exasock_version_code(),
         text ? text : "none");
  printf("at first: %d\n", exasock_get_wait_mode());
  for (int mode = EXASOCK_WAIT_SLEEP; mode >= -1; mode--) try_mode(mode);
  try_mode(EXASOCK_WAIT_SLEEP + 1);
  try_mode(EXASOCK_WAIT_SLEEP);
  pthread_t thread;
  pthread_create(&thread, NULL, other, NULL);
  pthread_join(thread, NULL);
  return 0;
}
