// The stack as the preload library has it, with rings in plain memory instead of a network card:
// counts what a packet costs. `instructions receive|send|sendto COUNT BATCH VIRTUAL` makes the
// calls that a program's recv, send (connected) and sendto make; callgrind counts inside measured()
// only. This file plays the kernel: it takes frames from the fill and TX rings and puts them into
// the RX and completion rings.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "build-hash.h"
#include "core.h"

enum { FRAMES = 4096, FRAME_BYTES = 2048, PAYLOAD_BYTES = 64, PORT = 7777, CLIENT = 1 };
enum { PRODUCER = 0, CONSUMER = 64, FLAGS = 128, DESCRIPTORS = 192, PACKET_BYTES = 42 + 64 };

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint32_t options;
};

static uint32_t local, remote;
static uint32_t queue, udp;
/** What send and sendto give to udpReserve: no address for a connected socket. */
static uint64_t to_address;
static uint16_t to_port;
static char payload[PAYLOAD_BYTES];

static void check(bool fine, const char *what) {
  if (fine) return;
  fprintf(stderr, "instructions: %s failed\n", what);
  exit(1);
}

static uint64_t mapped(uint32_t address_net) { return (uint64_t)address_net << 32 | 0xffff0000u; }

static uint32_t *word(unsigned ring, uint32_t part) {
  return core_at(RINGS_OFFSET + queue * QUEUE_WINDOW_BYTES + ring * RING_WINDOW_BYTES + part);
}

static void *entry(unsigned ring, uint32_t index, uint32_t entries, size_t bytes) {
  return (char *)word(ring, DESCRIPTORS) + (index & (entries - 1)) * bytes;
}

static uint16_t sum16(const void *data, size_t bytes, uint32_t sum) {
  const unsigned char *at = data;
  for (size_t i = 0; i + 1 < bytes; i += 2) sum += (uint32_t)at[i] << 8 | at[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

static void put16(unsigned char *at, uint16_t value) {
  at[0] = (unsigned char)(value >> 8);
  at[1] = (unsigned char)value;
}

/** A datagram for our socket, checksums as a card's or as a veth peer's kernel leaves them. */
static void make_packet(unsigned char *at, bool finished) {
  static const unsigned char start[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0};
  memset(at, 0, PACKET_BYTES);
  memcpy(at, start, sizeof start);
  put16(at + 16, PACKET_BYTES - 14);
  at[22] = 64;
  at[23] = 17;
  memcpy(at + 26, &remote, 4);
  memcpy(at + 30, &local, 4);
  put16(at + 24, (uint16_t)~sum16(at + 14, 20, 0));
  put16(at + 34, PORT + 1);
  put16(at + 36, PORT);
  put16(at + 38, 8 + PAYLOAD_BYTES);
  memcpy(at + 42, payload, PAYLOAD_BYTES);
  uint16_t pseudo = sum16(at + 26, 8, 17 + 8 + PAYLOAD_BYTES);
  put16(at + 40, finished ? (uint16_t)~sum16(at + 34, 8 + PAYLOAD_BYTES, pseudo) : pseudo);
}

/** Lets the destination be resolved, as exasockd would. */
static void resolve(uint32_t slot) {
  w2c_stack_udpReserve(stack, udp, 0, to_address, to_port, 0, 0, PAYLOAD_BYTES);
  uint32_t request = w2c_stack_destinationNextRequest(stack);
  check((int32_t)request >= 0, "destinationNextRequest");
  w2c_stack_destinationResolve(stack, request, slot, 0, mapped(local), 0, mapped(remote), 1500);
  w2c_stack_neighborSet(stack, slot, 0, mapped(remote), 2, 0x0200, 1);
}

static void set_up(bool is_virtual, bool is_connected) {
  uint64_t bytes = w2c_stack_regionBytes(NULL, FRAME_BYTES, FRAMES);
  int region = memfd_create("instructions", 0);
  check(region >= 0 && ftruncate(region, (off_t)bytes) == 0, "memfd");
  check(core_map(region, bytes) == 0, "core_map");
  check(w2c_stack_regionFormat(stack, bytes, FRAME_BYTES, FRAMES, BUILD_HASH) == 0, "format");
  check(w2c_stack_clientAdd(stack, (uint32_t)getpid()) == CLIENT, "clientAdd");
  uint32_t flags = InterfaceFlag_Up | (is_virtual ? InterfaceFlag_Virtual : 0);
  uint32_t slot = w2c_stack_interfaceAdd(stack, 2, 1500, 2, 0x0100, flags);
  queue = w2c_stack_queueAdd(stack, slot, 0);
  for (uint32_t ring = Ring_Rx; ring <= Ring_Completion; ring++) {
    w2c_stack_queueRing(stack, queue, ring, PRODUCER, CONSUMER, DESCRIPTORS, FLAGS);
  }
  check(w2c_stack_queueStart(stack, queue, 512) == 512, "queueStart");
  local = inet_addr("10.0.0.1");
  remote = inet_addr("10.0.0.2");
  check(w2c_stack_addressAdd(stack, 0, mapped(local)) == 0, "addressAdd");
  udp = w2c_stack_socketCreate(stack, 4711, 17, CLIENT);
  w2c_stack_socketSetOption(stack, udp, SocketOption_SendBuffer, 1 << 30);
  check(w2c_stack_socketBind(stack, udp, 0, mapped(local), htons(PORT), 0) == 0, "socketBind");
  if (is_connected) {
    w2c_stack_socketConnect(stack, udp, 0, mapped(local), htons(PORT), 0, mapped(remote),
                            htons(PORT + 1));
  } else {
    to_address = mapped(remote);
    to_port = htons(PORT + 1);
  }
  resolve(slot);
}

/** The kernel receives: a posted frame, filled, goes to the RX ring. */
static void kernel_receives(bool finished) {
  uint32_t from = *word(Ring_Fill, CONSUMER), to = *word(Ring_Rx, PRODUCER);
  check(from != *word(Ring_Fill, PRODUCER), "a posted frame");
  uint64_t address = *(uint64_t *)entry(Ring_Fill, from, FILL_RING_ENTRIES, sizeof address);
  struct descriptor *received = entry(Ring_Rx, to, RX_RING_ENTRIES, sizeof *received);
  address += 256; /* XDP_PACKET_HEADROOM */
  make_packet(core_at(core_header()->framePoolOffset + (uint32_t)address), finished);
  *received = (struct descriptor){.address = address, .length = PACKET_BYTES};
  *word(Ring_Fill, CONSUMER) = from + 1;
  *word(Ring_Rx, PRODUCER) = to + 1;
}

/** The kernel sends: whatever lies in the TX ring is on its way and completed. */
static unsigned kernel_sends(void) {
  unsigned sent = 0;
  for (; *word(Ring_Tx, CONSUMER) != *word(Ring_Tx, PRODUCER); sent++) {
    uint32_t from = *word(Ring_Tx, CONSUMER), to = *word(Ring_Completion, PRODUCER);
    struct descriptor *one = entry(Ring_Tx, from, TX_RING_ENTRIES, sizeof *one);
    uint64_t *done = entry(Ring_Completion, to, COMPLETION_RING_ENTRIES, sizeof *done);
    check(one->length == PACKET_BYTES, "a whole frame in the TX ring");
    *done = one->address;
    *word(Ring_Tx, CONSUMER) = from + 1;
    *word(Ring_Completion, PRODUCER) = to + 1;
  }
  return sent;
}

/** What callgrind counts: the lock, the stack's work for one batch, the unlock. */
__attribute__((noinline)) static void measured(bool sends, unsigned batch) {
  for (unsigned i = 0; i < (sends ? batch : 1); i++) {
    if (!core_lock(CLIENT, NULL)) abort();
    if (sends) {
      uint32_t at =
          w2c_stack_udpReserve(stack, udp, 0, to_address, to_port, 0, 0, PAYLOAD_BYTES);
      memcpy(core_at(at), payload, PAYLOAD_BYTES);
      w2c_stack_udpSubmit(stack);
    } else {
      w2c_stack_poll(stack, 1, batch);
    }
    core_unlock();
  }
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  bool sends = strcmp(arguments[1], "receive") != 0;
  unsigned packets = (unsigned)atoi(arguments[2]), batch = (unsigned)atoi(arguments[3]);
  bool is_virtual = atoi(arguments[4]) != 0;
  set_up(is_virtual, strcmp(arguments[1], "send") == 0);
  for (unsigned done = 0; done < packets; done += batch) {
    if (!sends) {
      for (unsigned i = 0; i < batch; i++) kernel_receives(!is_virtual);
    }
    measured(sends, batch);
    w2c_stack_takeKicks(stack);
    if (sends) check(kernel_sends() == batch, "all datagrams in the TX ring");
    for (unsigned i = 0; !sends && i < batch; i++) {
      check(w2c_stack_udpPeek(stack, udp) != 0, "a datagram in the queue");
      w2c_stack_udpConsume(stack, udp);
    }
  }
  printf("%u packets\n", packets);
  return 0;
}
