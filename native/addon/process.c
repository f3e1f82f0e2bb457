/* Resource limits, and becoming another program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "addon.h"

/* setLimit(resource, soft, hard): -1 stands for RLIM_INFINITY. */
static napi_value set_limit(napi_env env, napi_callback_info info) {
  int resource;
  int64_t soft;
  int64_t hard;
  if (arguments(env, info, "idd", &resource, &soft, &hard)) return NULL;
  struct rlimit limit = {.rlim_cur = (rlim_t)soft, .rlim_max = (rlim_t)hard};
  return result_or_errno(env, setrlimit((__rlimit_resource_t)resource, &limit));
}

/* getLimit(resource, hard): the soft (0) or hard (1) limit; -1 for RLIM_INFINITY. */
static napi_value get_limit(napi_env env, napi_callback_info info) {
  int resource;
  int hard;
  struct rlimit limit;
  if (arguments(env, info, "ii", &resource, &hard)) return NULL;
  if (getrlimit((__rlimit_resource_t)resource, &limit)) return number(env, -errno);
  rlim_t value = hard ? limit.rlim_max : limit.rlim_cur;
  return number(env, value == RLIM_INFINITY ? -1 : (int64_t)value);
}

/*
 * The bytes of a JavaScript string whose characters stand for one byte each ("latin1"): arguments
 * and environment of a program are bytes and need not be UTF-8. NULL when that fails.
 */
static char *byte_string(napi_env env, napi_value value) {
  size_t length = 0;
  if (napi_get_value_string_latin1(env, value, NULL, 0, &length) != napi_ok) return NULL;
  char *string = malloc(length + 1);
  if (string) napi_get_value_string_latin1(env, value, string, length + 1, &length);
  return string;
}

/* A NULL-terminated array of byte strings out of a JavaScript array; NULL when that fails. */
static char **string_array(napi_env env, napi_value array) {
  uint32_t count = 0;
  if (napi_get_array_length(env, array, &count) != napi_ok) return NULL;
  char **strings = calloc((size_t)count + 1, sizeof *strings);
  for (uint32_t i = 0; strings && i < count; i++) {
    napi_value item;
    if (napi_get_element(env, array, i, &item) != napi_ok) return NULL;
    strings[i] = byte_string(env, item);
    if (!strings[i]) return NULL;
  }
  return strings;
}

/* Bit n-1 of a mask stands for signal n, as in /proc/PID/status. */
static void restore_signals(uint64_t ignored, uint64_t blocked) {
  sigset_t mask;
  sigemptyset(&mask);
  for (int which = 1; which <= 64; which++) {
    uint64_t bit = UINT64_C(1) << (which - 1);
    (void)signal(which, ignored & bit ? SIG_IGN : SIG_DFL);
    if (blocked & bit) (void)sigaddset(&mask, which);
  }
  (void)sigprocmask(SIG_SETMASK, &mask, NULL);
}

/*
 * execute(path, argv, env, fileLimit, ignored, blocked): becomes the program; returns
 * -errno only when that fails. The strings are bytes (see byte_string).
 *
 * Node changes things that a program inherits across exec, and they are set back here: it raises
 * the soft RLIMIT_NOFILE to the hard one (fileLimit; < 0 leaves it), ignores SIGPIPE, stops
 * ignoring what its parent had it ignore (nohup), and may block signals. Nothing is freed on
 * failure: the launcher ends then.
 */
static napi_value execute(napi_env env, napi_callback_info info) {
  napi_value path_value;
  napi_value argv_value;
  napi_value env_value;
  int64_t file_limit;
  uint64_t ignored;
  uint64_t blocked;
  if (arguments(env, info, "vvvdqq", &path_value, &argv_value, &env_value, &file_limit, &ignored,
                &blocked)) {
    return NULL;
  }
  char *path = byte_string(env, path_value);
  char **argv = string_array(env, argv_value);
  char **environment = string_array(env, env_value);
  if (!path || !argv || !environment) return number(env, -ENOMEM);
  struct rlimit limit;
  if (file_limit >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = (rlim_t)file_limit;
    if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
  restore_signals(ignored, blocked);
  execve(path, argv, environment);
  return number(env, -errno);
}

/* setCloseOnExec(fd, on): whether the programs that this process starts or becomes get it. */
static napi_value set_close_on_exec(napi_env env, napi_callback_info info) {
  int fd;
  int on;
  if (arguments(env, info, "ii", &fd, &on)) return NULL;
  return result_or_errno(env, fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0));
}

/* hasCapabilities(path): 1 when the file carries capabilities of its own (setcap), else 0. */
static napi_value has_capabilities(napi_env env, napi_callback_info info) {
  napi_value path_value;
  if (arguments(env, info, "v", &path_value)) return NULL;
  char *path = byte_string(env, path_value);
  if (!path) return number(env, -ENOMEM);
  ssize_t length = getxattr(path, "security.capability", NULL, 0);
  free(path);
  return number(env, length > 0);
}

void export_process(napi_env env, napi_value exports) {
  export_function(env, exports, "setLimit", set_limit);
  export_function(env, exports, "getLimit", get_limit);
  export_function(env, exports, "execute", execute);
  export_function(env, exports, "setCloseOnExec", set_close_on_exec);
  export_function(env, exports, "hasCapabilities", has_capabilities);
}
