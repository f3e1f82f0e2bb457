/*
 * The stack as a C program sees it: the region mapped at the generated module's memory, its lock,
 * and what has to be done outside the lock (kicking rings, ringing doorbells). Linked into the
 * preload library and into exasockd's addon.
 */
#ifndef EXASOCK_CORE_H
#define EXASOCK_CORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "layout.h"
#include "stack.h"

/* The module instance; its memory is the region. Set by core_map(). */
extern w2c_stack *stack;

/*
 * Reserves 8 GiB of addresses and maps the region file there. 0 or -errno (ENOMEM: the program
 * runs with a limit on its address space). A second call replaces the mapping.
 */
int core_map(int region_fd, uint64_t region_bytes);

/* Maps `length` bytes of another descriptor over a window of the region. 0 or -errno. */
int core_map_window(uint32_t offset, size_t length, int fd, off_t fd_offset);

/* Maps one ring of a queue's AF_XDP socket into its window. 0 or -errno. */
int core_map_ring(uint32_t queue, uint32_t ring, int xsk_fd);

static inline void *core_at(uint32_t offset) { return &stack->w2c_memory.data[offset]; }
static inline struct RegionHeader *core_header(void) { return core_at(HEADER_OFFSET); }

/*
 * Who lives. A process that uses a client slot (0 is exasockd's) holds a record lock on the region
 * file's byte of that number. The kernel takes it back when all threads of the process are gone,
 * and says so to anybody in whichever pid namespace.
 */

/* The region's file while this process has it open, else -1. Closing any copy ends the claim. */
extern int core_memory;
/* Claims a slot for this process. False: another one lives there. */
bool core_claim(uint32_t slot);
/* The pid of the process that lives there, as this one sees it; 0 nobody, or this process. */
int core_claimant(uint32_t slot);

/*
 * What the lock word says while a slot's user holds the lock: the slot and how often it was given
 * away, so that a dead user and the living one who got its slot are told apart.
 */
enum { OWNER_SLOT_BITS = 11 };
static inline uint32_t core_owner(uint32_t slot) {
  const struct Client *client = core_at(CLIENTS_OFFSET + slot * CLIENT_BYTES);
  return (client->generation << OWNER_SLOT_BITS & 0x7fffffffu) | (slot + 1);
}

/*
 * The region's lock. `owner` is what core_owner() said. A caller that can't get it spins for some
 * microseconds, then sleeps; each time that it slept for long, `abandon` (may be NULL) is asked.
 * False if that said yes: the lock is not held.
 */
bool core_lock(uint32_t owner, bool (*abandon)(void));
bool core_try_lock(uint32_t owner);
void core_unlock(void);

/* How a process reaches the kernel's side of the region. */
struct CoreWires {
  /* AF_XDP sockets by queue slot; -1 where this process has none. */
  int xsk[MAX_QUEUES];
  /* AF_UNIX datagram socket to ring doorbells with; -1 none. */
  int bell;
  /* Name of the stack, as in the abstract socket names. */
  const char *stack_name;
  /* Queues that a kick was wanted for, but whose socket this process does not have. */
  uint64_t missing;
};

/* Releases the lock, then kicks and rings what the stack asked for meanwhile. Keeps errno. */
void core_release(struct CoreWires *wires, uint32_t owner);

/*
 * Repairs the region and frees the lock if a process that is gone holds it. Precondition: all
 * queues of the region are mapped as it has them.
 */
bool core_bury(struct CoreWires *wires, uint32_t owner);

/* Fills in the abstract address of a waiter's doorbell; returns its length. */
struct sockaddr_un;
unsigned core_bell_address(struct sockaddr_un *address, const char *stack_name, uint32_t waiter);

#endif
