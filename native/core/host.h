/*
 * What stack/host.ts declares. Included in front of the generated stack.c, so that each call
 * becomes one instruction. The host pointer is the region's first byte.
 */
#ifndef EXASOCK_HOST_H
#define EXASOCK_HOST_H

#include <stdint.h>

struct w2c_host;

static inline uint32_t *host_word(struct w2c_host *host, uint32_t at) {
  return (uint32_t *)(void *)((uint8_t *)host + at);
}

static inline uint32_t w2c_host_loadAcquire32(struct w2c_host *host, uint32_t at) {
  return __atomic_load_n(host_word(host, at), __ATOMIC_ACQUIRE);
}

static inline void w2c_host_storeRelease32(struct w2c_host *host, uint32_t at, uint32_t value) {
  __atomic_store_n(host_word(host, at), value, __ATOMIC_RELEASE);
}

static inline void w2c_host_fence(struct w2c_host *host) {
  (void)host;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void w2c_host_barrier(struct w2c_host *host) {
  (void)host;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Prints the fault's number (stack/fault.ts) and aborts. */
__attribute__((noreturn)) void core_fault(uint32_t code);

static inline void w2c_host_fault(struct w2c_host *host, uint32_t code) {
  (void)host;
  core_fault(code);
}

#endif
