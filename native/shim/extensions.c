/* The functions of <exasock/extensions.h>. */
#include "shim.h"

#include "version.h"

int shim_exasock_loaded(void) { return 1; }

uint32_t shim_exasock_version_code(void) {
  return EXASOCK_VERSION(VERSION_MAJOR, VERSION_MINOR, VERSION_REVISION);
}

const char *shim_exasock_version_text(void) { return VERSION_TEXT; }

int shim_exasock_set_wait_mode(enum exasock_wait_mode mode) {
  if ((unsigned)mode > EXASOCK_WAIT_SLEEP) return (int)answer(-EINVAL);
  self.waitMode = mode;
  return 0;
}

int shim_exasock_get_wait_mode(void) { return (int)wait_mode(); }
