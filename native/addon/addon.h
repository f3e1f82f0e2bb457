/*
 * What the files of the Node addon share: argument parsing, results, registration.
 *
 * Convention of every function offered to TypeScript: a number >= 0 on success, -errno on failure,
 * an exception only for arguments of a wrong type (a mistake in our own code).
 */
#ifndef EXASOCK_ADDON_H
#define EXASOCK_ADDON_H

#include <stddef.h>
#include <stdint.h>

#include <node_api.h>

struct bytes {
  uint8_t *at; /* NULL when null was given */
  size_t length;
};

/* As many descriptors as one message can have (SCM_MAX_FD of Linux). */
enum { INTEGERS_MAX = 253 };

struct integers {
  int32_t at[INTEGERS_MAX];
  size_t count;
};

enum { TEXT_BYTES = 4096 };

/*
 * Reads the arguments of a call. One letter of `format` per argument, one pointer each:
 *   i int32_t   d int64_t (a Number)   q uint64_t (a BigInt)   b struct bytes (Uint8Array or null)
 *   s char[TEXT_BYTES]   a struct integers (array)   v napi_value as it is
 * Returns 0, or -1 with an exception pending.
 */
int arguments(napi_env env, napi_callback_info info, const char *format, ...);

/* A Number; with `result` < 0 an errno of that value. */
napi_value number(napi_env env, int64_t result);

/* An array of two Numbers. */
napi_value number_pair(napi_env env, int64_t first, int64_t second);

/* number(-errno) when `result` is negative, number(result) otherwise. */
napi_value result_or_errno(napi_env env, int64_t result);

void export_function(napi_env env, napi_value exports, const char *name, napi_callback function);

void export_system(napi_env env, napi_value exports);
void export_bpf(napi_env env, napi_value exports);
void export_watch(napi_env env, napi_value exports);
void export_process(napi_env env, napi_value exports);
void export_core(napi_env env, napi_value exports);

#endif
