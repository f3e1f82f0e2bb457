/* The Node addon: entry point and argument parsing. See addon.h for the conventions. */
#define _GNU_SOURCE
#include "addon.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

enum { ARGUMENTS_MAX = 12 };

static bool read_bytes(napi_env env, napi_value value, struct bytes *out) {
  napi_valuetype type;
  if (napi_typeof(env, value, &type) != napi_ok) return false;
  out->at = NULL;
  out->length = 0;
  if (type == napi_null) return true;
  bool typed = false;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return false;
  napi_typedarray_type kind;
  void *data = NULL;
  if (napi_get_typedarray_info(env, value, &kind, &out->length, &data, NULL, NULL) != napi_ok) {
    return false;
  }
  out->at = data;
  return kind == napi_uint8_array;
}

static bool read_integers(napi_env env, napi_value value, struct integers *out) {
  uint32_t count = 0;
  if (napi_get_array_length(env, value, &count) != napi_ok || count > INTEGERS_MAX) return false;
  out->count = count;
  for (uint32_t i = 0; i < count; i++) {
    napi_value item;
    if (napi_get_element(env, value, i, &item) != napi_ok) return false;
    if (napi_get_value_int32(env, item, &out->at[i]) != napi_ok) return false;
  }
  return true;
}

static bool read_text(napi_env env, napi_value value, char *out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return false;
  if (length >= TEXT_BYTES) return false;
  return napi_get_value_string_utf8(env, value, out, TEXT_BYTES, &length) == napi_ok;
}

static bool read_one(napi_env env, napi_value value, char kind, void *out) {
  bool lossless = true;
  switch (kind) {
    case 'i':
      return napi_get_value_int32(env, value, out) == napi_ok;
    case 'd':
      return napi_get_value_int64(env, value, out) == napi_ok;
    case 'q':
      return napi_get_value_bigint_uint64(env, value, out, &lossless) == napi_ok && lossless;
    case 'b':
      return read_bytes(env, value, out);
    case 's':
      return read_text(env, value, out);
    case 'a':
      return read_integers(env, value, out);
    default:
      *(napi_value *)out = value;
      return true;
  }
}

int arguments(napi_env env, napi_callback_info info, const char *format, ...) {
  napi_value values[ARGUMENTS_MAX];
  size_t count = ARGUMENTS_MAX;
  if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok) return -1;
  va_list list;
  va_start(list, format);
  bool good = true;
  for (size_t i = 0; format[i] != '\0' && good; i++) {
    good = i < count && read_one(env, values[i], format[i], va_arg(list, void *));
  }
  va_end(list);
  if (good) return 0;
  napi_throw_type_error(env, NULL, "exasock addon: wrong argument");
  return -1;
}

napi_value number(napi_env env, int64_t result) {
  napi_value value = NULL;
  napi_create_int64(env, result, &value);
  return value;
}

napi_value number_pair(napi_env env, int64_t first, int64_t second) {
  napi_value pair = NULL;
  napi_create_array_with_length(env, 2, &pair);
  napi_set_element(env, pair, 0, number(env, first));
  napi_set_element(env, pair, 1, number(env, second));
  return pair;
}

napi_value result_or_errno(napi_env env, int64_t result) {
  return number(env, result < 0 ? -(int64_t)errno : result);
}

void export_function(napi_env env, napi_value exports, const char *name, napi_callback function) {
  napi_value value;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value) == napi_ok) {
    napi_set_named_property(env, exports, name, value);
  }
}

NAPI_MODULE_INIT() {
  export_system(env, exports);
  export_bpf(env, exports);
  export_watch(env, exports);
  export_process(env, exports);
  export_core(env, exports);
  return exports;
}
