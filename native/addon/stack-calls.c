/*
 * The region and the stack's exports for exasockd. Each call takes the lock as client 0, and does
 * after releasing it what the stack asked for meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "addon.h"
#include "build-hash.h"
#include "core.h"

enum { DAEMON_SLOT = 0, ARGUMENTS_MAX = 12, STACK_NAME_BYTES = 64 };

static char stack_name[STACK_NAME_BYTES];
static struct CoreWires wires = {.bell = -1, .stack_name = stack_name};
static uint64_t mapped_bytes;
/* What this process writes into the lock word. */
static uint32_t owner;

/* Asked while the lock can't be had: is its owner dead? The event loop would not tell meanwhile. */
static bool bury_owner(void) { return core_bury(&wires, owner); }

static void lock(void) {
  while (!core_lock(owner, bury_owner)) continue;
}

/* One export: how it is called, and what JavaScript type its result has. */
struct call {
  const char *name;
  uint64_t (*run)(const uint64_t *a);
  char result; /* i int32_t, u uint32_t, q uint64_t, v nothing */
  unsigned count;
};

/* A wrapper for every export of the stack. */
#define W(n) ((uint32_t)a[n])
#define EXPORT(name, result, count, ...)                                 \
  static uint64_t run_##name(const uint64_t *a) {                        \
    (void)a;                                                             \
    return (uint64_t)w2c_stack_##name(stack __VA_OPT__(, ) __VA_ARGS__); \
  }
#define EXPORT_VOID(name, count, ...)                   \
  static uint64_t run_##name(const uint64_t *a) {       \
    (void)a;                                            \
    w2c_stack_##name(stack __VA_OPT__(, ) __VA_ARGS__); \
    return 0;                                           \
  }
#include "exports.def"
#undef EXPORT
#undef EXPORT_VOID

/* socketForget(cookie): find and destroy in one hold of the lock: the slot may be reused. */
static uint64_t run_socketForget(const uint64_t *a) {
  int32_t index = (int32_t)w2c_stack_socketFind(stack, a[0]);
  if (index <= 0) return 0;
  w2c_stack_socketDestroy(stack, (uint32_t)index);
  return 1;
}

#define EXPORT(name, result, count, ...) {#name, run_##name, result, count},
#define EXPORT_VOID(name, count, ...) {#name, run_##name, 'v', count},
static const struct call CALLS[] = {
#include "exports.def"
    {"socketForget", run_socketForget, 'i', 1},
};

/* A Number or a BigInt as 64 bits. */
static bool read_integer(napi_env env, napi_value value, uint64_t *out) {
  bool lossless;
  int64_t narrow;
  if (napi_get_value_bigint_uint64(env, value, out, &lossless) == napi_ok) return lossless;
  if (napi_get_value_int64(env, value, &narrow) != napi_ok) return false;
  *out = (uint64_t)narrow;
  return true;
}

static napi_value result_value(napi_env env, char kind, uint64_t result) {
  napi_value value = NULL;
  if (kind == 'q') napi_create_bigint_uint64(env, result, &value);
  if (kind == 'u') napi_create_uint32(env, (uint32_t)result, &value);
  if (kind == 'i') napi_create_int32(env, (int32_t)(uint32_t)result, &value);
  return value;
}

/* Any of CALLS: which one is the function's data. */
static napi_value stack_call(napi_env env, napi_callback_info info) {
  napi_value values[ARGUMENTS_MAX];
  uint64_t integers[ARGUMENTS_MAX];
  size_t count = ARGUMENTS_MAX;
  void *data = NULL;
  if (napi_get_cb_info(env, info, &count, values, NULL, &data) != napi_ok) return NULL;
  const struct call *call = data;
  bool good = stack != NULL && count == call->count;
  for (unsigned i = 0; good && i < count; i++) good = read_integer(env, values[i], &integers[i]);
  if (!good) {
    napi_throw_type_error(env, NULL, call->name);
    return NULL;
  }
  lock();
  uint64_t result = call->run(integers);
  core_release(&wires, owner);
  return result_value(env, call->result, result);
}

/* coreMap(fd, bytes, stackName): the region as an ArrayBuffer, or -errno. Once per process. */
static napi_value map_region(napi_env env, napi_callback_info info) {
  int fd;
  uint64_t bytes;
  char name[TEXT_BYTES];
  napi_value buffer = NULL;
  if (arguments(env, info, "iqs", &fd, &bytes, name)) return NULL;
  if (mapped_bytes != 0 || strlen(name) >= sizeof stack_name) return number(env, -EINVAL);
  strcpy(stack_name, name);
  int result = core_map(fd, bytes);
  if (result < 0) return number(env, result);
  mapped_bytes = bytes;
  core_memory = fd;
  owner = core_owner(DAEMON_SLOT);
  for (unsigned i = 0; i < MAX_QUEUES; i++) wires.xsk[i] = -1;
  wires.bell = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (wires.bell < 0) return number(env, -errno);
  napi_create_external_arraybuffer(env, core_at(0), bytes, NULL, NULL, &buffer);
  return buffer;
}

/* coreBuild(): the build that the addon is of, 16 hexadecimal digits. */
static napi_value build_hash(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value text = NULL;
  napi_create_string_utf8(env, BUILD_HASH_TEXT, NAPI_AUTO_LENGTH, &text);
  return text;
}

/* coreAddress(): where region offset 0 is in this process. */
static napi_value region_address(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value value = NULL;
  napi_create_bigint_uint64(env, stack ? (uint64_t)(uintptr_t)core_at(0) : 0, &value);
  return value;
}

/* coreMapWindow(fd, fileOffset, offset, bytes): lays a descriptor's memory over the region. */
static napi_value map_window(napi_env env, napi_callback_info info) {
  int fd;
  uint64_t file_offset;
  int64_t offset;
  int64_t bytes;
  if (arguments(env, info, "iqdd", &fd, &file_offset, &offset, &bytes)) return NULL;
  if (offset < 0 || bytes <= 0 || (uint64_t)(offset + bytes) > mapped_bytes) {
    return number(env, -EINVAL);
  }
  return number(env, core_map_window((uint32_t)offset, (size_t)bytes, fd, (off_t)file_offset));
}

/* coreMapRing(queue, ring, xskFd): one ring of an AF_XDP socket into its window. */
static napi_value map_ring(napi_env env, napi_callback_info info) {
  int queue;
  int ring;
  int fd;
  if (arguments(env, info, "iii", &queue, &ring, &fd)) return NULL;
  return number(env, core_map_ring((uint32_t)queue, (uint32_t)ring, fd));
}

/* coreSetQueue(slot, fd): the AF_XDP socket to kick for a queue; -1 for none. */
static napi_value set_queue(napi_env env, napi_callback_info info) {
  int slot;
  int fd;
  if (arguments(env, info, "ii", &slot, &fd)) return NULL;
  if (slot < 0 || (unsigned)slot >= MAX_QUEUES) return number(env, -EINVAL);
  wires.xsk[slot] = fd;
  return number(env, 0);
}

/* coreClaim(): from now on this process is exasockd. -EBUSY while another one lives. */
static napi_value claim(napi_env env, napi_callback_info info) {
  (void)info;
  if (stack == NULL || !core_claim(DAEMON_SLOT)) return number(env, -EBUSY);
  w2c_stack_daemonAdd(stack);
  owner = core_owner(DAEMON_SLOT);
  return number(env, 0);
}

/* coreClaimant(slot): pid of the process that uses a client slot; 0 nobody, -1 one without a pid. */
static napi_value claimant(napi_env env, napi_callback_info info) {
  int slot;
  if (arguments(env, info, "i", &slot)) return NULL;
  if (slot <= 0 || (unsigned)slot >= MAX_CLIENTS) return number(env, -EINVAL);
  return number(env, core_claimant((uint32_t)slot));
}

/* coreLock(): holds the region's lock until coreUnlock(), for a look at all of it. */
static napi_value lock_region(napi_env env, napi_callback_info info) {
  (void)info;
  if (stack == NULL) return number(env, -EINVAL);
  lock();
  return number(env, 0);
}

/* coreUnlock() */
static napi_value unlock_region(napi_env env, napi_callback_info info) {
  (void)info;
  core_release(&wires, owner);
  return number(env, 0);
}

/* coreBury(): repairs the region if a process that is gone holds the lock. 1 if so. */
static napi_value bury(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, stack != NULL && bury_owner());
}

void export_core(napi_env env, napi_value exports) {
  export_function(env, exports, "coreBuild", build_hash);
  export_function(env, exports, "coreMap", map_region);
  export_function(env, exports, "coreAddress", region_address);
  export_function(env, exports, "coreMapWindow", map_window);
  export_function(env, exports, "coreMapRing", map_ring);
  export_function(env, exports, "coreSetQueue", set_queue);
  export_function(env, exports, "coreClaim", claim);
  export_function(env, exports, "coreClaimant", claimant);
  export_function(env, exports, "coreLock", lock_region);
  export_function(env, exports, "coreUnlock", unlock_region);
  export_function(env, exports, "coreBury", bury);
  napi_value calls;
  if (napi_create_object(env, &calls) != napi_ok) return;
  for (size_t i = 0; i < sizeof CALLS / sizeof CALLS[0]; i++) {
    napi_value function;
    if (napi_create_function(env, CALLS[i].name, NAPI_AUTO_LENGTH, stack_call, (void *)&CALLS[i],
                             &function) != napi_ok) {
      return;
    }
    napi_set_named_property(env, calls, CALLS[i].name, function);
  }
  napi_set_named_property(env, exports, "stack", calls);
}
