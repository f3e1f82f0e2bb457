/*
 * Readable descriptors as JavaScript callbacks, on Node's own event loop.
 *
 * Node offers no way to wait for a descriptor that is not a stream; its libuv does. The few
 * functions needed are declared here, because the headers of Node-API do not include libuv's: they
 * have not changed since libuv 1.19 and can't within version 1. A thread with a poll() of its own
 * was the alternative: two more context switches per event.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "addon.h"

enum { LIBUV_POLL = 8, LIBUV_READABLE = 1, LIBUV_DISCONNECT = 4 };

extern size_t uv_handle_size(int type);
extern int uv_poll_init(void *loop, void *handle, int fd);
extern int uv_poll_start(void *handle, int events, void (*callback)(void *, int, int));
extern int uv_poll_stop(void *handle);
extern void uv_close(void *handle, void (*callback)(void *));
extern void *uv_handle_get_data(const void *handle);
extern void uv_handle_set_data(void *handle, void *data);

struct watch {
  napi_env env;
  napi_ref callback;
  void *handle;
};

static void readable(void *handle, int status, int events) {
  (void)status;
  (void)events;
  struct watch *watch = uv_handle_get_data(handle);
  if (!watch->callback) return;
  napi_env env = watch->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value function;
  napi_value global;
  napi_value error;
  napi_get_reference_value(env, watch->callback, &function);
  napi_get_global(env, &global);
  if (napi_make_callback(env, NULL, global, function, 0, NULL, NULL) == napi_pending_exception) {
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static void closed(void *handle) {
  free(uv_handle_get_data(handle));
  free(handle);
}

static struct watch *watch_of(napi_env env, napi_callback_info info) {
  napi_value value;
  void *watch = NULL;
  if (arguments(env, info, "v", &value)) return NULL;
  napi_get_value_external(env, value, &watch);
  return watch;
}

/* watchOpen(fd, callback): a paused watch, or -errno. Close it before closing the descriptor. */
static napi_value watch_open(napi_env env, napi_callback_info info) {
  int fd;
  napi_value callback;
  void *loop = NULL;
  if (arguments(env, info, "iv", &fd, &callback)) return NULL;
  if (napi_get_uv_event_loop(env, (struct uv_loop_s **)&loop) != napi_ok) {
    return number(env, -ENOSYS);
  }
  struct watch *watch = calloc(1, sizeof *watch);
  void *handle = calloc(1, uv_handle_size(LIBUV_POLL));
  if (!watch || !handle) abort();
  int result = uv_poll_init(loop, handle, fd);
  if (result < 0) {
    free(watch);
    free(handle);
    return number(env, result);
  }
  *watch = (struct watch){.env = env, .handle = handle};
  uv_handle_set_data(handle, watch);
  napi_create_reference(env, callback, 1, &watch->callback);
  napi_value external = NULL;
  napi_create_external(env, watch, NULL, NULL, &external);
  return external;
}

/* watchStart(watch): calls back for as long as the descriptor is readable or hung up. */
static napi_value watch_start(napi_env env, napi_callback_info info) {
  struct watch *watch = watch_of(env, info);
  if (!watch) return NULL;
  return number(env, uv_poll_start(watch->handle, LIBUV_READABLE | LIBUV_DISCONNECT, readable));
}

/* watchStop(watch) */
static napi_value watch_stop(napi_env env, napi_callback_info info) {
  struct watch *watch = watch_of(env, info);
  if (!watch) return NULL;
  return number(env, uv_poll_stop(watch->handle));
}

/* watchClose(watch): once; the watch must not be used after that. */
static napi_value watch_close(napi_env env, napi_callback_info info) {
  struct watch *watch = watch_of(env, info);
  if (!watch) return NULL;
  napi_delete_reference(env, watch->callback);
  watch->callback = NULL;
  uv_close(watch->handle, closed);
  return number(env, 0);
}

void export_watch(napi_env env, napi_value exports) {
  export_function(env, exports, "watchOpen", watch_open);
  export_function(env, exports, "watchStart", watch_start);
  export_function(env, exports, "watchStop", watch_stop);
  export_function(env, exports, "watchClose", watch_close);
}
