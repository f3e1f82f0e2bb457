// The stack as the preload library has it, with rings in plain memory instead of a network card:
// counts what a packet costs. `instructions receive|send|sendto COUNT BATCH VIRTUAL` makes the
// calls that a program's recv, send (connected) and sendto make; callgrind counts inside measured()
// only.
#include "ring-kernel.h"

enum { PAYLOAD_BYTES = 64, PORT = 7777, PACKET_BYTES = 42 + 64 };

static uint32_t local, remote;
static uint32_t udp;
/** What send and sendto give to udpReserve: no address for a connected socket. */
static uint64_t to_address;
static uint16_t to_port;
static char payload[PAYLOAD_BYTES];

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

static void set_up(bool is_virtual, bool is_connected) {
  make_region(is_virtual);
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
  w2c_stack_udpReserve(stack, udp, 0, to_address, to_port, 0, 0, PAYLOAD_BYTES);
  resolve(local, remote);
}

/** The kernel receives: a posted frame, filled, goes to the RX ring. */
static void kernel_receives(bool finished) {
  make_packet(ring_frame(PACKET_BYTES), finished);
  ring_received();
}

/** The kernel sends: whatever lies in the TX ring is on its way and completed. */
static unsigned kernel_sends(void) {
  unsigned sent = 0;
  for (struct descriptor *one; (one = ring_next_sent()); sent++) {
    check(one->length == PACKET_BYTES, "a whole frame in the TX ring");
    ring_sent(one);
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
