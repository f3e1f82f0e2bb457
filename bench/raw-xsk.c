// The floor: a 106-byte frame goes to and fro between two AF_XDP sockets, without a stack, without
// libxdp. `raw-xsk INTERFACE server|client COUNT CPU`; the client prints half round trips in
// nanoseconds, one per line. Both ends spin; each send needs a system call, as veth always does.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { FRAMES = 4096, FRAME_BYTES = 2048, RING = 2048, SENT_BYTES = 106 };
enum { ETHER_TYPE_AT = 12, EXPERIMENTAL_HIGH = 0x88, EXPERIMENTAL_LOW = 0xb5 };

struct ring {
  uint32_t *producer, *consumer;
  void *entries;
};

static struct ring rx, tx, fill, completion;
static char *pool;
static int xsk;

static void must(bool fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(1);
}

static struct ring map_ring(const struct xdp_ring_offset *at, off_t page, size_t entry_bytes) {
  char *base = mmap(NULL, at->desc + RING * entry_bytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, xsk, page);
  must(base != MAP_FAILED, "mmap");
  return (struct ring){(uint32_t *)(void *)(base + at->producer),
                       (uint32_t *)(void *)(base + at->consumer), base + at->desc};
}

/** r0 = bpf_redirect_map(xsks, ctx->rx_queue_index, XDP_PASS): all frames are ours. */
static void attach(int interface) {
  int map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "xsks", 4, 4, 1, NULL);
  must(map >= 0, "bpf_map_create");
  uint32_t key = 0;
  must(bpf_map_update_elem(map, &key, &xsk, BPF_ANY) == 0, "bpf_map_update_elem");
  struct bpf_insn program[] = {
      {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = 16},
      {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map},
      {.imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
      {.code = BPF_JMP | BPF_EXIT},
  };
  size_t count = sizeof program / sizeof *program;
  int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "raw_xsk", "GPL", program, count, NULL);
  must(fd >= 0, "bpf_prog_load");
  LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
  must(bpf_link_create(fd, interface, BPF_XDP, &options) >= 0, "bpf_link_create");
}

static void open_xsk(int interface) {
  xsk = socket(AF_XDP, SOCK_RAW, 0);
  must(xsk >= 0, "socket");
  pool = mmap(NULL, FRAMES * FRAME_BYTES, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  must(pool != MAP_FAILED, "mmap");
  struct xdp_umem_reg umem = {
      .addr = (uintptr_t)pool, .len = FRAMES * FRAME_BYTES, .chunk_size = FRAME_BYTES};
  must(setsockopt(xsk, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem) == 0, "XDP_UMEM_REG");
  const int entries = RING;
  const int rings[] = {XDP_RX_RING, XDP_TX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING};
  for (size_t i = 0; i < 4; i++) {
    must(setsockopt(xsk, SOL_XDP, rings[i], &entries, sizeof entries) == 0, "ring size");
  }
  struct xdp_mmap_offsets at;
  socklen_t length = sizeof at;
  must(getsockopt(xsk, SOL_XDP, XDP_MMAP_OFFSETS, &at, &length) == 0, "XDP_MMAP_OFFSETS");
  rx = map_ring(&at.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc));
  tx = map_ring(&at.tx, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc));
  fill = map_ring(&at.fr, (off_t)XDP_UMEM_PGOFF_FILL_RING, sizeof(uint64_t));
  completion = map_ring(&at.cr, (off_t)XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t));
  for (uint32_t i = 0; i < RING; i++) ((uint64_t *)fill.entries)[i] = i * FRAME_BYTES;
  __atomic_store_n(fill.producer, RING, __ATOMIC_RELEASE);
  struct sockaddr_xdp to = {.sxdp_family = AF_XDP,
                            .sxdp_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
                            .sxdp_ifindex = (uint32_t)interface};
  // The last user of the queue may still be on its way out.
  for (int tries = 0; bind(xsk, (struct sockaddr *)&to, sizeof to) != 0; tries++) {
    must(errno == EBUSY && tries < 1000, "bind");
    usleep(1000);
  }
}

static void send_frame(void) {
  static uint32_t sent;
  struct xdp_desc *one = (struct xdp_desc *)tx.entries + (sent & (RING - 1));
  one->addr = (RING + (sent & (RING - 1))) * (uint64_t)FRAME_BYTES;
  one->len = SENT_BYTES;
  one->options = 0;
  char *frame = pool + one->addr;
  memset(frame, 0xff, ETHER_TYPE_AT);
  frame[ETHER_TYPE_AT] = (char)EXPERIMENTAL_HIGH;
  frame[ETHER_TYPE_AT + 1] = (char)EXPERIMENTAL_LOW;
  __atomic_store_n(tx.producer, ++sent, __ATOMIC_RELEASE);
  sendto(xsk, NULL, 0, MSG_DONTWAIT, NULL, 0);
  uint32_t done = __atomic_load_n(completion.producer, __ATOMIC_ACQUIRE);
  __atomic_store_n(completion.consumer, done, __ATOMIC_RELEASE);
}

/** Takes what has arrived and posts its frames again; true if the other end's was among it. */
static bool receive_frame(void) {
  uint32_t from = *rx.consumer, to = __atomic_load_n(rx.producer, __ATOMIC_ACQUIRE);
  bool hit = false;
  for (; from != to; from++) {
    const struct xdp_desc *one = (struct xdp_desc *)rx.entries + (from & (RING - 1));
    const unsigned char *type = (unsigned char *)pool + one->addr + ETHER_TYPE_AT;
    hit = hit || (type[0] == EXPERIMENTAL_HIGH && type[1] == EXPERIMENTAL_LOW);
    uint32_t posted = *fill.producer;
    uint64_t frame = one->addr & ~(uint64_t)(FRAME_BYTES - 1);
    ((uint64_t *)fill.entries)[posted & (RING - 1)] = frame;
    __atomic_store_n(fill.producer, posted + 1, __ATOMIC_RELEASE);
  }
  __atomic_store_n(rx.consumer, from, __ATOMIC_RELEASE);
  return hit;
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  int interface = (int)if_nametoindex(arguments[1]);
  bool server = strcmp(arguments[2], "server") == 0;
  uint32_t rounds = (uint32_t)atoi(arguments[3]);
  cpu_set_t cpu;
  CPU_ZERO(&cpu);
  CPU_SET(atoi(arguments[4]), &cpu);
  must(sched_setaffinity(0, sizeof cpu, &cpu) == 0, "sched_setaffinity");
  open_xsk(interface);
  attach(interface);
  if (server) {
    printf("ready\n");
    fflush(stdout);
    for (;;) {
      if (receive_frame()) send_frame();
    }
  }
  uint64_t *halves = calloc(rounds, sizeof *halves);
  must(halves != NULL, "calloc");
  for (uint32_t i = 0; i < rounds; i++) {
    uint64_t start = now();
    send_frame();
    for (uint32_t turns = 1; !receive_frame(); turns++) {
      if (turns % 4096 == 0 && now() - start > 1000000000u) return 3;
    }
    halves[i] = (now() - start) / 2;
  }
  for (uint32_t i = 0; i < rounds; i++) printf("%lu\n", halves[i]);
  return 0;
}
