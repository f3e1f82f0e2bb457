/*
 * What programs can ask of exasock beyond the socket calls. Link with -lexasock_ext: a program that
 * runs without exasock finds functions there that fail as described; under exasock those of the
 * preloaded library come first.
 */
#ifndef EXASOCK_EXTENSIONS_H
#define EXASOCK_EXTENSIONS_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A version as exasock_version_code() gives it. */
#define EXASOCK_VERSION(major, minor, revision) (((major) << 16) + ((minor) << 8) + (revision))

/** 1 under exasock, 0 without. */
int exasock_loaded(void);

/** The version of exasock; 0 without it. */
uint32_t exasock_version_code(void);

/** The same as text, such as "1.2.0"; NULL without exasock. */
const char *exasock_version_text(void);

/** How a thread waits in a call that blocks: docs/waiting.md. */
enum exasock_wait_mode {
  /** As the program was started (`exasock --wait=...`). */
  EXASOCK_WAIT_DEFAULT = 0,
  /** Spins as long as that pays, then sleeps. */
  EXASOCK_WAIT_ADAPTIVE = 1,
  /** Spins until there is something: the lowest latency, for a CPU of its own. */
  EXASOCK_WAIT_SPIN = 2,
  /** Sleeps at once: an idle program takes no CPU time. */
  EXASOCK_WAIT_SLEEP = 3,
};

/**
 * Sets how the calling thread waits from now on. Other threads, and those that it starts, are not
 * concerned; the child of a fork is. Returns 0, or -1 and errno: EINVAL for a mode that there is
 * not, EOPNOTSUPP without exasock. May be called in a signal handler; a wait that goes on after it
 * keeps its mode.
 */
int exasock_set_wait_mode(enum exasock_wait_mode mode);

/**
 * How the calling thread waits: EXASOCK_WAIT_ADAPTIVE, _SPIN or _SLEEP; -1 and EOPNOTSUPP without
 * exasock.
 */
int exasock_get_wait_mode(void);

#ifdef __cplusplus
}
#endif

#endif
