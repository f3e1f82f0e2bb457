/*
 * libexasock_ext.so: what programs that use <exasock/extensions.h> are linked with. These functions
 * are called only where exasock is not there; its preloaded library has others of the same names.
 */
#include <errno.h>
#include <exasock/extensions.h>

#define EXPORTED __attribute__((visibility("default")))

static int unsupported(void) {
  errno = EOPNOTSUPP;
  return -1;
}

EXPORTED int exasock_loaded(void) { return 0; }

EXPORTED uint32_t exasock_version_code(void) { return 0; }

EXPORTED const char *exasock_version_text(void) { return NULL; }

EXPORTED int exasock_set_wait_mode(enum exasock_wait_mode mode) {
  (void)mode;
  return unsupported();
}

EXPORTED int exasock_get_wait_mode(void) { return unsupported(); }
