/* One translation unit with the generated stack: host calls are inlined into it. */
#include "host.h"

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"
#include "stack.c"
#pragma clang diagnostic pop

#include <errno.h>
#include <linux/if_xdp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core.h"

w2c_stack *stack;

enum { WASM_PAGE_BYTES = 65536 };

static void say_and_abort(const char *what, unsigned code) {
  char line[96];
  int length = snprintf(line, sizeof line, "exasock: %s %u, please report this\n", what, code);
  if (write(STDERR_FILENO, line, (size_t)length) < 0) abort();
  abort();
}

void core_fault(uint32_t code) {
  say_and_abort("internal fault", code);
  __builtin_unreachable();
}

void wasm_rt_trap(wasm_rt_trap_t trap) {
  say_and_abort("internal trap", (unsigned)trap);
  __builtin_unreachable();
}

bool wasm_rt_is_initialized(void) { return true; }

/* The memory is mapped by core_map() before the module is instantiated. */
void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, uint64_t initial, uint64_t max, bool is64,
                             uint32_t page_size) {
  (void)memory;
  (void)initial;
  (void)max;
  (void)is64;
  (void)page_size;
}

/* Address space for the instance: its first and last pages are private, the rest is no access. */
static w2c_stack *reserve(void) {
  size_t bytes = sizeof(w2c_stack);
  uint8_t *at = mmap(NULL, bytes + WASM_PAGE_BYTES, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return NULL;
  uintptr_t aligned = ((uintptr_t)at + WASM_PAGE_BYTES - 1) & ~(uintptr_t)(WASM_PAGE_BYTES - 1);
  w2c_stack *instance = (w2c_stack *)aligned;
  size_t tail = sizeof(w2c_stack) - offsetof(w2c_stack, w2c_memory.size);
  if (mprotect(instance, WASM_PAGE_BYTES, PROT_READ | PROT_WRITE) != 0 ||
      mprotect(&instance->w2c_memory.size, tail, PROT_READ | PROT_WRITE) != 0) {
    return NULL;
  }
  return instance;
}

int core_map(int region_fd, uint64_t region_bytes) {
  if (region_bytes == 0 || region_bytes > (4ull << 30)) return -EINVAL;
  struct stat status;
  if (fstat(region_fd, &status) != 0) return -errno;
  if ((uint64_t)status.st_size < region_bytes) return -EINVAL;
  w2c_stack *instance = stack ? stack : reserve();
  if (instance == NULL) return -ENOMEM;
  uint8_t *base = instance->w2c_memory.data;
  if (mmap(base, region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, region_fd, 0) ==
      MAP_FAILED) {
    return -errno;
  }
  wasm2c_stack_instantiate(instance, (struct w2c_host *)(void *)base);
  instance->w2c_memory.size = region_bytes;
  instance->w2c_memory.pages = region_bytes / WASM_PAGE_BYTES;
  stack = instance;
  return 0;
}

int core_map_window(uint32_t offset, size_t length, int fd, off_t fd_offset) {
  void *at = mmap(core_at(offset), length, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, fd_offset);
  return at == MAP_FAILED ? -errno : 0;
}

int core_map_ring(uint32_t queue, uint32_t ring, int xsk_fd) {
  struct xdp_mmap_offsets offsets;
  socklen_t length = sizeof offsets;
  if (queue >= MAX_QUEUES || ring > Ring_Completion) return -EINVAL;
  if (getsockopt(xsk_fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &length) != 0) return -errno;
  static const off_t pages[] = {
      [Ring_Rx] = XDP_PGOFF_RX_RING,
      [Ring_Tx] = XDP_PGOFF_TX_RING,
      [Ring_Fill] = (off_t)XDP_UMEM_PGOFF_FILL_RING,
      [Ring_Completion] = (off_t)XDP_UMEM_PGOFF_COMPLETION_RING,
  };
  const size_t sizes[] = {
      [Ring_Rx] = offsets.rx.desc + RX_RING_ENTRIES * sizeof(struct xdp_desc),
      [Ring_Tx] = offsets.tx.desc + TX_RING_ENTRIES * sizeof(struct xdp_desc),
      [Ring_Fill] = offsets.fr.desc + FILL_RING_ENTRIES * sizeof(uint64_t),
      [Ring_Completion] = offsets.cr.desc + COMPLETION_RING_ENTRIES * sizeof(uint64_t),
  };
  uint32_t window = RINGS_OFFSET + queue * QUEUE_WINDOW_BYTES + ring * RING_WINDOW_BYTES;
  return core_map_window(window, sizes[ring], xsk_fd, pages[ring]);
}
