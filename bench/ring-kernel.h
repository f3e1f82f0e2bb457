// The kernel of the instruction benchmarks: rings in plain memory instead of a network card. Takes
// frames from the fill and TX rings and puts them into the RX and completion rings.
#ifndef BENCH_RING_KERNEL_H
#define BENCH_RING_KERNEL_H
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "build-hash.h"
#include "core.h"

enum { FRAMES = 4096, FRAME_BYTES = 2048, CLIENT = 1, XDP_HEADROOM_BYTES = 256 };
enum { PRODUCER = 0, CONSUMER = 64, FLAGS = 128, DESCRIPTORS = 192 };

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint32_t options;
};

static uint32_t interface_slot, queue;

static inline void check(bool fine, const char *what) {
  if (fine) return;
  fprintf(stderr, "instructions: %s failed\n", what);
  exit(1);
}

static inline uint64_t mapped(uint32_t address_net) {
  return (uint64_t)address_net << 32 | 0xffff0000u;
}

static inline uint32_t *word(unsigned ring, uint32_t part) {
  return core_at(RINGS_OFFSET + queue * QUEUE_WINDOW_BYTES + ring * RING_WINDOW_BYTES + part);
}

static inline void *entry(unsigned ring, uint32_t index, uint32_t entries, size_t bytes) {
  return (char *)word(ring, DESCRIPTORS) + (index & (entries - 1)) * bytes;
}

static inline uint16_t sum16(const void *data, size_t bytes, uint32_t sum) {
  const unsigned char *at = data;
  for (size_t i = 0; i + 1 < bytes; i += 2) sum += (uint32_t)at[i] << 8 | at[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

static inline void put16(unsigned char *at, uint16_t value) {
  at[0] = (unsigned char)(value >> 8);
  at[1] = (unsigned char)value;
}

/** A region with one interface, whose MAC address is 02:00:00:00:00:01. */
static inline void make_region(bool is_virtual) {
  uint64_t bytes = w2c_stack_regionBytes(NULL, FRAME_BYTES, FRAMES);
  int region = memfd_create("instructions", 0);
  check(region >= 0 && ftruncate(region, (off_t)bytes) == 0, "memfd");
  check(core_map(region, bytes) == 0, "core_map");
  check(w2c_stack_regionFormat(stack, bytes, FRAME_BYTES, FRAMES, BUILD_HASH) == 0, "format");
  check(w2c_stack_clientAdd(stack, (uint32_t)getpid()) == CLIENT, "clientAdd");
  uint32_t flags = InterfaceFlag_Up | (is_virtual ? InterfaceFlag_Virtual : 0);
  interface_slot = w2c_stack_interfaceAdd(stack, 2, 1500, 2, 0x0100, flags);
  queue = w2c_stack_queueAdd(stack, interface_slot, 0);
  for (uint32_t ring = Ring_Rx; ring <= Ring_Completion; ring++) {
    w2c_stack_queueRing(stack, queue, ring, PRODUCER, CONSUMER, DESCRIPTORS, FLAGS);
  }
  check(w2c_stack_queueStart(stack, queue, 512) == 512, "queueStart");
}

/** Answers the stack's question about a destination, as exasockd would: 02:00:00:00:00:02. */
static inline void resolve(uint32_t local, uint32_t remote) {
  uint32_t request = w2c_stack_destinationNextRequest(stack);
  check((int32_t)request >= 0, "destinationNextRequest");
  w2c_stack_destinationResolve(stack, request, interface_slot, 0, mapped(local), 0,
                               mapped(remote), 1500);
  w2c_stack_neighborSet(stack, interface_slot, 0, mapped(remote), 2, 0x0200, 1);
}

/** Takes a posted frame for `bytes` to receive into; ring_received() then hands it over. */
static inline unsigned char *ring_frame(uint32_t bytes) {
  uint32_t from = *word(Ring_Fill, CONSUMER), to = *word(Ring_Rx, PRODUCER);
  check(from != *word(Ring_Fill, PRODUCER), "a posted frame");
  uint64_t address = *(uint64_t *)entry(Ring_Fill, from, FILL_RING_ENTRIES, sizeof address);
  struct descriptor *received = entry(Ring_Rx, to, RX_RING_ENTRIES, sizeof *received);
  address += XDP_HEADROOM_BYTES;
  *received = (struct descriptor){.address = address, .length = bytes};
  *word(Ring_Fill, CONSUMER) = from + 1;
  return core_at(core_header()->framePoolOffset + (uint32_t)address);
}

static inline void ring_received(void) { *word(Ring_Rx, PRODUCER) += 1; }

/** The next frame in the TX ring, or NULL; ring_sent() then completes it. */
static inline struct descriptor *ring_next_sent(void) {
  uint32_t from = *word(Ring_Tx, CONSUMER);
  if (from == *word(Ring_Tx, PRODUCER)) return NULL;
  return entry(Ring_Tx, from, TX_RING_ENTRIES, sizeof(struct descriptor));
}

static inline void ring_sent(const struct descriptor *one) {
  uint32_t to = *word(Ring_Completion, PRODUCER);
  *(uint64_t *)entry(Ring_Completion, to, COMPLETION_RING_ENTRIES, sizeof(uint64_t)) =
      one->address;
  *word(Ring_Tx, CONSUMER) += 1;
  *word(Ring_Completion, PRODUCER) = to + 1;
}
#endif
