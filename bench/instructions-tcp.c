// A TCP connection of the stack to itself, as the preload library has it, with rings in plain
// memory for a wire: counts what a data segment costs each end. `instructions-tcp SEGMENTS BATCH
// PAYLOAD VIRTUAL`; callgrind counts in the functions measured_…(), after a warm-up that opens the
// window.
//
// Both ends are sockets of one region. The wire exchanges the last address bytes, so that each end
// sees a peer that is not of this host: 1 talks to 4, who is 2 talking to 3. Sums stay as they are.
#include "ring-kernel.h"

enum { PORT = 7777, IP_AT = 14, SOURCE_AT = 26, DESTINATION_AT = 30, TCP_AT = 34, SUM_AT = 50 };
enum { WARM_UP_ROUNDS = 200, STEP_NANOS = 20000, LAST_BYTE = 3, FULL_BYTES = 1448 };

static uint64_t now = 1000000000u;
static uint32_t sender, receiver, received_bytes;
static unsigned batch, payload;
/** Full segments by one call; else a call for each, and TCP_NODELAY. */
static bool is_bulk;
static bool is_unfinished;
static unsigned data_frames, ack_frames;

static uint32_t host(unsigned last) {
  const unsigned char bytes[] = {10, 0, 0, (unsigned char)last};
  uint32_t address;
  memcpy(&address, bytes, sizeof address);
  return address;
}

/** What the wire makes of an address's last byte: 1 and 3, 2 and 4 are the same host. */
static unsigned char exchanged(unsigned char last) {
  return (unsigned char)(last > 2 ? last - 2 : last + 2);
}

/** A kernel that leaves checksums to the card writes the pseudo header's sum. */
static void leave_unfinished(unsigned char *frame) {
  uint16_t length = (uint16_t)((frame[IP_AT + 2] << 8 | frame[IP_AT + 3]) - 20);
  put16(frame + SUM_AT, sum16(frame + SOURCE_AT, 8, 6u + length));
}

/** Carries all frames that were sent to the other end; returns how many. */
static unsigned carry(void) {
  unsigned count = 0;
  for (struct descriptor *one; (one = ring_next_sent()); count++) {
    unsigned char *to = ring_frame(one->length);
    memcpy(to, core_at(core_header()->framePoolOffset + (uint32_t)one->address), one->length);
    memcpy(to, (const unsigned char[]){2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, 12);
    to[SOURCE_AT + LAST_BYTE] = exchanged(to[SOURCE_AT + LAST_BYTE]);
    to[DESTINATION_AT + LAST_BYTE] = exchanged(to[DESTINATION_AT + LAST_BYTE]);
    if (is_unfinished) leave_unfinished(to);
    ring_sent(one);
    ring_received();
  }
  return count;
}

static void poll_once(void) {
  if (!core_lock(CLIENT, NULL)) abort();
  w2c_stack_poll(stack, now, 256);
  core_unlock();
  w2c_stack_takeKicks(stack);
}

/** Everything that is on its way arrives, and what that causes. */
static void settle(void) {
  for (unsigned turns = 0; carry() > 0 && turns < 100; turns++) poll_once();
}

__attribute__((noinline)) static void send_batch(void) {
  if (!core_lock(CLIENT, NULL)) abort();
  for (uint32_t left = batch * payload; left > 0;) {
    int32_t at = (int32_t)w2c_stack_tcpReserve(stack, sender, is_bulk ? left : payload);
    check(at > 0, "tcpReserve");
    uint32_t room = core_header()->chunkBytes;
    w2c_stack_tcpCommit(stack, sender, room);
    left -= room;
    if (!is_bulk) w2c_stack_tcpPush(stack, sender, 0, now);
  }
  if (is_bulk) w2c_stack_tcpPush(stack, sender, 0, now);
  core_unlock();
  w2c_stack_takeKicks(stack);
}

__attribute__((noinline)) static void consume_all(void) {
  if (!core_lock(CLIENT, NULL)) abort();
  while (w2c_stack_tcpChunk(stack, receiver, 0) != 0) {
    uint32_t bytes = core_header()->chunkBytes;
    w2c_stack_tcpConsume(stack, receiver, bytes, now);
    received_bytes += bytes;
  }
  core_unlock();
  w2c_stack_takeKicks(stack);
}

// What callgrind counts. The payload itself is never copied.
__attribute__((noinline)) static void measured_send(void) { send_batch(); }
__attribute__((noinline)) static void measured_receive(void) { poll_once(); }
__attribute__((noinline)) static void measured_consume(void) { consume_all(); }
__attribute__((noinline)) static void measured_acknowledged(void) { poll_once(); }

/** A batch of segments from the sender to the receiver's program, and the acknowledgments back. */
static void round_trip(bool is_counted) {
  now += STEP_NANOS;
  if (is_counted) measured_send();
  else send_batch();
  unsigned count = carry();
  if (is_counted) check(count == batch, "the whole batch on its way at once");
  data_frames += count;
  now += STEP_NANOS;
  if (is_counted) measured_receive();
  else poll_once();
  ack_frames += carry();
  if (is_counted) measured_consume();
  else consume_all();
  now += STEP_NANOS;
  if (is_counted) measured_acknowledged();
  else poll_once();
  for (unsigned turns = 0; !is_counted && turns < 10; turns++) {
    settle();
    consume_all();
  }
}

static void set_up(bool is_virtual) {
  make_region(is_virtual);
  /* As over a virtual cable: the kernel finishes nothing, and nobody looks. */
  if (is_virtual) w2c_stack_queueOffload(stack, 0);
  w2c_stack_regionSeed(stack, 1, 2);
  for (unsigned last = 1; last <= 2; last++) {
    check(w2c_stack_addressAdd(stack, 0, mapped(host(last))) == 0, "addressAdd");
  }
  uint32_t listener = w2c_stack_socketCreate(stack, 1, 6, CLIENT);
  check(w2c_stack_tcpListen(stack, listener, 0, mapped(host(2)), htons(PORT), 0, 8) == 0, "listen");
  sender = w2c_stack_socketCreate(stack, 2, 6, CLIENT);
  w2c_stack_tcpRoute(stack, 0, mapped(host(4)), 0, mapped(host(1)), 0);
  resolve(host(1), host(4));
  check(w2c_stack_tcpConnect(stack, sender, 0, mapped(host(1)), htons(PORT + 1), 0,
                             mapped(host(4)), htons(PORT), 0, 0, now) == 0,
        "tcpConnect");
  poll_once();
  for (unsigned turns = 0; turns < 10; turns++) {
    settle();
    uint32_t request = w2c_stack_destinationNextRequest(stack);
    if ((int32_t)request >= 0) {
      w2c_stack_destinationResolve(stack, request, interface_slot, 0, mapped(host(2)), 0,
                                   mapped(host(3)), 1500);
      w2c_stack_neighborSet(stack, interface_slot, 0, mapped(host(3)), 2, 0x0200, 1);
    }
    now += STEP_NANOS;
    poll_once();
  }
  receiver = w2c_stack_tcpAccept(stack, listener, 3, CLIENT);
  check((int32_t)receiver >= 0, "tcpAccept");
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  unsigned segments = (unsigned)atoi(arguments[1]);
  batch = (unsigned)atoi(arguments[2]);
  payload = (unsigned)atoi(arguments[3]);
  is_unfinished = atoi(arguments[4]) != 0;
  is_bulk = payload == FULL_BYTES;
  set_up(is_unfinished);
  if (!is_bulk) w2c_stack_tcpSetOption(stack, sender, TcpOption_NoDelay, 1, now);
  for (unsigned i = 0; i < WARM_UP_ROUNDS; i++) round_trip(false);
  received_bytes = data_frames = ack_frames = 0;
  for (unsigned done = 0; done < segments; done += batch) round_trip(true);
  check(received_bytes == segments * payload, "all bytes received");
  printf("%u data segments, %u acknowledgments\n", data_frames, ack_frames);
  return 0;
}
