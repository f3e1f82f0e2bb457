/*
 * A bad piece of cable: forwards frames between two interfaces and loses, doubles, delays and
 * reorders some. `impair FIRST SECOND`; a line "set …" on standard input says how (struct settings,
 * in that order, in decimal) and starts counters and random numbers anew; it and any other line are
 * answered by a line of counters. src/lab/impairment.ts drives it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 16384, FRAME_BYTES_MAX = 4096, BATCH = 64, RECEIVE_BUFFER_BYTES = 64 << 20 };
/* When the other end takes no more, it is asked again after this long. */
enum { RETRY_NANOS = 20000, LINE_BYTES = 512 };
static const uint64_t SECOND_NANOS = 1000000000u;

/* Shares are of 2^32; a rate of 0 is no limit. */
struct settings {
  uint64_t seed, loss, duplicate, reorder, reorder_nanos, delay_nanos, jitter_nanos;
  uint64_t rate_bits, queue_bytes;
};

struct waiting {
  uint64_t due, order;
  uint32_t slot;
};

struct counters {
  uint64_t received, lost, duplicated, reordered, overflowed, sent;
};

/* One of the two ways. */
struct way {
  int in, out;
  unsigned char (*frames)[FRAME_BYTES_MAX];
  uint32_t lengths[SLOTS], free[SLOTS], free_count;
  /* A binary heap: the frame that is due first lies at 0. */
  struct waiting heap[SLOTS];
  uint32_t count;
  uint64_t order, random, idle_at, retry_at;
  struct counters counters;
};

static struct settings settings;
static struct way ways[2];

static void must(int fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(1);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SECOND_NANOS + (uint64_t)t.tv_nsec;
}

/* splitmix64: 32 random bits. */
static uint64_t draw(struct way *way) {
  uint64_t z = way->random += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (z ^ (z >> 31)) >> 32;
}

static int open_packet(int interface) {
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
  must(fd >= 0, "socket");
  const int bytes = RECEIVE_BUFFER_BYTES, yes = 1;
  must(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) == 0, "SO_RCVBUFFORCE");
  must(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) == 0, "outgoing");
  must(setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes) == 0, "queues");
  struct packet_mreq all = {.mr_ifindex = interface, .mr_type = PACKET_MR_PROMISC};
  must(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) == 0, "promiscuous");
  struct sockaddr_ll at = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = interface};
  must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0, "bind");
  return fd;
}

static int is_before(const struct waiting *a, const struct waiting *b) {
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void push(struct way *way, uint32_t slot, uint64_t due) {
  struct waiting one = {due, way->order++, slot};
  uint32_t at = way->count++;
  for (; at > 0 && is_before(&one, &way->heap[(at - 1) / 2]); at = (at - 1) / 2) {
    way->heap[at] = way->heap[(at - 1) / 2];
  }
  way->heap[at] = one;
}

static void pop(struct way *way) {
  struct waiting last = way->heap[--way->count];
  uint32_t at = 0;
  for (uint32_t child = 1; child < way->count; child = 2 * at + 1) {
    if (child + 1 < way->count && is_before(&way->heap[child + 1], &way->heap[child])) child++;
    if (!is_before(&way->heap[child], &last)) break;
    way->heap[at] = way->heap[child];
    at = child;
  }
  way->heap[at] = last;
}

/* When a frame leaves a sender of limited rate; 0 if its queue is full. */
static uint64_t leaves(struct way *way, uint32_t bytes, uint64_t time) {
  if (settings.rate_bits == 0) return time;
  uint64_t start = way->idle_at > time ? way->idle_at : time;
  uint64_t queue_nanos = settings.queue_bytes * 8 * SECOND_NANOS / settings.rate_bits;
  if (start - time > queue_nanos) return 0;
  way->idle_at = start + bytes * 8 * SECOND_NANOS / settings.rate_bits;
  return way->idle_at;
}

/*
 * Decides what happens to a frame that has arrived. All IPv4 takes the same number of draws; what
 * the hosts' kernels say besides, at times of their own, takes none and suffers nothing but delay.
 */
static void accept_frame(struct way *way, uint32_t slot, uint64_t time) {
  struct counters *counters = &way->counters;
  const struct ether_header *ethernet = (const void *)way->frames[slot];
  int is_lost = 0, is_double = 0, is_late = 0;
  uint64_t delay = settings.delay_nanos;
  if (ethernet->ether_type == htons(ETHERTYPE_IP)) {
    is_lost = draw(way) < settings.loss;
    is_double = draw(way) < settings.duplicate;
    is_late = draw(way) < settings.reorder;
    delay += draw(way) * settings.jitter_nanos >> 32;
  }
  counters->received++;
  uint64_t left = is_lost ? 0 : leaves(way, way->lengths[slot], time);
  if (left == 0) {
    if (is_lost) counters->lost++;
    else counters->overflowed++;
    way->free[way->free_count++] = slot;
    return;
  }
  if (is_late) counters->reordered++;
  push(way, slot, left + delay + (is_late ? settings.reorder_nanos : 0));
  if (!is_double || way->free_count == 0) return;
  counters->duplicated++;
  uint32_t copy = way->free[--way->free_count];
  memcpy(way->frames[copy], way->frames[slot], way->lengths[slot]);
  way->lengths[copy] = way->lengths[slot];
  push(way, copy, left + delay);
}

static void receive(struct way *way) {
  struct mmsghdr messages[BATCH];
  struct iovec vectors[BATCH];
  uint32_t slots[BATCH], room = way->free_count < BATCH ? way->free_count : BATCH;
  if (room == 0) return;
  for (uint32_t i = 0; i < room; i++) {
    slots[i] = way->free[--way->free_count];
    vectors[i] = (struct iovec){way->frames[slots[i]], FRAME_BYTES_MAX};
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
  int got = recvmmsg(way->in, messages, room, MSG_DONTWAIT, NULL);
  must(got >= 0 || errno == EAGAIN || errno == ENETDOWN, "recvmmsg");
  uint32_t count = got > 0 ? (uint32_t)got : 0;
  for (uint32_t i = room; i-- > count;) way->free[way->free_count++] = slots[i];
  uint64_t time = now();
  for (uint32_t i = 0; i < count; i++) {
    way->lengths[slots[i]] = messages[i].msg_len;
    accept_frame(way, slots[i], time);
  }
}

/* Sends what is due; stops for a while where the other end takes no more. */
static void forward(struct way *way, uint64_t time) {
  if (time < way->retry_at) return;
  while (way->count > 0 && way->heap[0].due <= time) {
    uint32_t slot = way->heap[0].slot;
    if (send(way->out, way->frames[slot], way->lengths[slot], MSG_DONTWAIT) < 0) {
      must(errno == ENOBUFS || errno == EAGAIN || errno == ENETDOWN, "send");
      way->retry_at = time + RETRY_NANOS;
      return;
    }
    way->counters.sent++;
    pop(way);
    way->free[way->free_count++] = slot;
  }
}

/* Prints what was counted on one way. */
static void report(struct way *way, char end) {
  struct tpacket_stats missed;
  socklen_t length = sizeof missed;
  must(getsockopt(way->in, SOL_PACKET, PACKET_STATISTICS, &missed, &length) == 0, "statistics");
  way->counters.received += missed.tp_drops;
  way->counters.overflowed += missed.tp_drops;
  const struct counters *c = &way->counters;
  printf("%lu %lu %lu %lu %lu %lu %u%c", c->received, c->lost, c->duplicated, c->reordered,
         c->overflowed, c->sent, way->count, end);
}

/* Frames that wait go on, and count as received: they will be sent. */
static void start_anew(struct way *way, uint64_t index) {
  way->counters = (struct counters){.received = way->count};
  way->random = settings.seed * 2 + index;
  way->idle_at = 0;
}

/* Does what a line says; the end of the input is the end. */
static void obey(void) {
  char line[LINE_BYTES];
  struct settings new;
  if (!fgets(line, sizeof line, stdin)) exit(0);
  int got = sscanf(line, "set %lu %lu %lu %lu %lu %lu %lu %lu %lu", &new.seed, &new.loss,
                   &new.duplicate, &new.reorder, &new.reorder_nanos, &new.delay_nanos,
                   &new.jitter_nanos, &new.rate_bits, &new.queue_bytes);
  report(&ways[0], ' ');
  report(&ways[1], '\n');
  fflush(stdout);
  if (got != 9) return;
  settings = new;
  for (int i = 0; i < 2; i++) start_anew(&ways[i], (uint64_t)i);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  int fds[2];
  for (int i = 0; i < 2; i++) fds[i] = open_packet((int)if_nametoindex(arguments[i + 1]));
  for (int i = 0; i < 2; i++) {
    struct way *way = &ways[i];
    way->in = fds[i];
    way->out = fds[1 - i];
    way->frames = mmap(NULL, (size_t)SLOTS * FRAME_BYTES_MAX, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(way->frames != MAP_FAILED, "mmap");
    while (way->free_count < SLOTS) {
      way->free[way->free_count] = way->free_count;
      way->free_count++;
    }
  }
  must(prctl(PR_SET_TIMERSLACK, 1UL) == 0, "timer slack");
  struct pollfd polled[] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}, {0, POLLIN, 0}};
  for (;;) {
    uint64_t time = now(), wake = time + SECOND_NANOS - 1;
    for (int i = 0; i < 2; i++) {
      uint64_t due = ways[i].count > 0 ? ways[i].heap[0].due : wake;
      if (due < ways[i].retry_at) due = ways[i].retry_at;
      if (due < wake) wake = due;
      polled[i].fd = ways[i].free_count > 0 ? fds[i] : -1;
    }
    struct timespec wait = {0, wake > time ? (long)(wake - time) : 0};
    must(ppoll(polled, 3, &wait, NULL) >= 0 || errno == EINTR, "ppoll");
    if (polled[2].revents) obey();
    for (int i = 0; i < 2; i++) receive(&ways[i]);
    time = now();
    for (int i = 0; i < 2; i++) forward(&ways[i], time);
  }
}
