/*
 * How long a waiting thread spins before it sleeps, and when it gives way: docs/waiting.md has the
 * reasons and docs/decisions/0015-adaptive-waiting.md what was measured.
 */
#include "shim.h"

#include <sched.h>

/* Longer than the wake-up that sleeping costs, short enough not to be seen in top. */
#define SPIN_NANOS 60000u
/* A wait that was slept through counts as short up to here: what is more, the wake-up took. */
#define SHORT_NANOS 90000u
/* A wait in which others have the CPU in turn is given up after so long. */
#define SHARED_NANOS 1000000u
/* A turn never takes so long: the thread was off its CPU. */
#define GAP_NANOS 30000u
/* An offer of the CPU that nobody takes is over sooner. */
#define OFFER_NANOS 2000u
/* The first offer of the CPU in a wait, at the earliest, and the time between two. */
#define OFFER_FIRST_NANOS 5000u
#define OFFER_AGAIN_NANOS 20000u
/* Who keeps the CPU for so long does not wait in turn: sleepers get it back sooner. */
#define HOG_NANOS 1000000u
/* So long a thread sleeps at once that keeps meeting such. */
#define HOGGED_NANOS 50000000u

enum {
  /* Waits for which a spin was, or would have been, in vain: so many, and there is none. */
  LOST_MAX = 16,
  /* How many of them one makes good for which it paid. */
  PAID = 3,
  /* Others who took the CPU, against waits without: from the limit on it is offered all the time. */
  CROWD_MET = 8,
  CROWD_LIMIT = 24,
  CROWD_MAX = 32,
  /* Waits in a row in which somebody kept it for long. */
  HOGS_LIMIT = 4,
  /* One wait of so many begins with a spin even then. */
  PROBE_WAITS = 16,
};

void spin_begin(struct Spin *spin, uint64_t now) {
  enum exasock_wait_mode mode = wait_mode();
  *spin = (struct Spin){.began = now, .looked = now, .adaptive = mode == EXASOCK_WAIT_ADAPTIVE};
  if (mode == EXASOCK_WAIT_SPIN) spin->until = FOREVER;
  if (!spin->adaptive || self.lostWaits >= LOST_MAX || now < self.hoggedUntil) return;
  spin->until = now + SPIN_NANOS;
  spin->spun = true;
  spin->shares = self.crowd >= CROWD_LIMIT && ++self.probe % PROBE_WAITS != 0;
  uint64_t usual = 2 * (uint64_t)self.usualNanos;
  spin->offerAt = now + (usual > OFFER_FIRST_NANOS ? usual : OFFER_FIRST_NANOS);
}

/* Somebody else had this CPU. */
static void meet(struct Spin *spin, uint64_t now, uint64_t nanos) {
  spin->shares = spin->met = true;
  self.crowd = self.crowd + CROWD_MET < CROWD_MAX ? self.crowd + CROWD_MET : CROWD_MAX;
  /* What others had of the CPU is not this thread's spinning. */
  if (now - spin->began < SHARED_NANOS) spin->until += nanos;
  if (nanos < HOG_NANOS) return;
  spin->hogged = true;
  if (++self.hogs < HOGS_LIMIT) return;
  self.hoggedUntil = now + HOGGED_NANOS;
  spin->until = 0;
}

uint64_t spin_look(struct Spin *spin, uint64_t now) {
  if (!spin->adaptive || spin->until == 0) return now;
  if (now - spin->looked > GAP_NANOS) meet(spin, now, now - spin->looked);
  if (spin->until != 0 && (spin->shares || now >= spin->offerAt)) {
    sched_yield();
    uint64_t after = now_nanos();
    spin->offerAt = after + OFFER_AGAIN_NANOS;
    if (after - now > OFFER_NANOS) meet(spin, after, after - now);
    now = after;
  }
  spin->looked = now;
  return now;
}

/* Learns from a wait without a sleep. */
static void learn(const struct Spin *spin, uint64_t nanos) {
  self.usualNanos = (uint32_t)((7 * (uint64_t)self.usualNanos + nanos) / 8);
  if (!spin->hogged) self.hogs = 0;
  if (spin->met || spin->shares) return;
  /* The other side runs at the same time: that is better than to take turns. */
  uint32_t less = self.crowd >= CROWD_LIMIT ? CROWD_MET : 1;
  self.crowd = self.crowd > less ? self.crowd - less : 0;
}

void spin_end(const struct Spin *spin, uint64_t now, bool slept) {
  if (!spin->adaptive) return;
  uint64_t nanos = now - spin->began;
  bool paid = !slept || (!spin->spun && nanos < SHORT_NANOS);
  if (paid) self.lostWaits = self.lostWaits > PAID ? self.lostWaits - PAID : 0;
  else if (self.lostWaits < LOST_MAX) self.lostWaits++;
  if (!slept) learn(spin, nanos);
}
