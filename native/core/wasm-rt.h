/*
 * The runtime contract of the C that wasm2c 1.0.39 generates, for one module without tables,
 * threads or SIMD. The memory is an array inside the instance, not a pointer: every access becomes
 * [instance + constant + offset], without a load (docs/decisions/0001-toolchain.md).
 */
#ifndef EXASOCK_WASM_RT_H
#define EXASOCK_WASM_RT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef __has_builtin
#define __has_builtin(x) 0
#endif
#ifndef LIKELY
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#endif
#define wasm_rt_memcpy memcpy
#define wasm_rt_unreachable() __builtin_unreachable()
#define WASM_RT_NO_RETURN __attribute__((noreturn))
#define WABT_BIG_ENDIAN 0
#define WASM_RT_USE_SEGUE 0
/* Addresses are 32 bits and offsets 32 bits: 8 GiB cover every access, no check is needed. */
#define WASM_RT_MEMCHECK_GUARD_PAGES 1
#define WASM_RT_USE_MMAP 1

typedef enum {
  WASM_RT_TRAP_NONE,
  WASM_RT_TRAP_OOB,
  WASM_RT_TRAP_INT_OVERFLOW,
  WASM_RT_TRAP_DIV_BY_ZERO,
  WASM_RT_TRAP_INVALID_CONVERSION,
  WASM_RT_TRAP_UNREACHABLE,
  WASM_RT_TRAP_CALL_INDIRECT,
  WASM_RT_TRAP_UNCAUGHT_EXCEPTION,
  WASM_RT_TRAP_UNALIGNED,
  WASM_RT_TRAP_NULL_REF,
  WASM_RT_TRAP_EXHAUSTION
} wasm_rt_trap_t;

typedef enum {
  WASM_RT_I32,
  WASM_RT_I64,
  WASM_RT_F32,
  WASM_RT_F64,
  WASM_RT_V128,
  WASM_RT_FUNCREF,
  WASM_RT_EXTERNREF
} wasm_rt_type_t;

typedef const char *wasm_rt_func_type_t;
typedef void (*wasm_rt_function_ptr_t)(void);
typedef struct {
  void (*fn)(void);
} wasm_rt_tailcallee_t;
typedef struct {
  wasm_rt_func_type_t func_type;
  wasm_rt_function_ptr_t func;
  wasm_rt_tailcallee_t func_tailcallee;
  void *module_instance;
} wasm_rt_funcref_t;
typedef void *wasm_rt_externref_t;
static const wasm_rt_funcref_t wasm_rt_funcref_null_value;
static const wasm_rt_externref_t wasm_rt_externref_null_value;
typedef struct {
  wasm_rt_funcref_t *data;
  uint32_t max_size, size;
} wasm_rt_funcref_table_t;
typedef struct {
  wasm_rt_externref_t *data;
  uint32_t max_size, size;
} wasm_rt_externref_table_t;

#define WASM_RT_REACH_BYTES (8ull << 30)

typedef struct {
  _Alignas(65536) uint8_t data[WASM_RT_REACH_BYTES];
  /* Bytes that are mapped: what memory.copy and memory.fill check against. */
  uint64_t size;
  uint64_t pages, max_pages, page_size;
  bool is64;
} wasm_rt_memory_t;

/* Prints one line and aborts: the stack is corrupt or has a bug, there is nothing to return to. */
WASM_RT_NO_RETURN void wasm_rt_trap(wasm_rt_trap_t trap);
bool wasm_rt_is_initialized(void);
void wasm_rt_allocate_memory(wasm_rt_memory_t *, uint64_t, uint64_t, bool, uint32_t);
static inline void wasm_rt_free_memory(wasm_rt_memory_t *memory) { (void)memory; }

#endif
