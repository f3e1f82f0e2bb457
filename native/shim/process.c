/*
 * What concerns the process as a whole: settings, messages, fork and the starting of programs, and
 * stdio streams over sockets.
 */
#include "shim.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct Process process = {.control = -1,
                          .arrivalsProgram = -1,
                          .vault = {-1, -1},
                          .wait = EXASOCK_WAIT_ADAPTIVE,
                          .wires = {.bell = -1}};

/* So long exasockd takes at most to listen, if it lives. One that follows looks what it missed. */
#define ENDS_WAIT_NANOS 20000000u

void process_await_ends(void) {
  if (!process.joined || process.stale || process.orphaned || process.control < 0) return;
  const uint32_t *ends = &core_header()->ends;
  if (LIKELY(*ends != Ends_Wanted)) return;
  struct timespec pause = {.tv_nsec = 50000};
  uint64_t deadline = now_nanos() + ENDS_WAIT_NANOS;
  while (__atomic_load_n(ends, __ATOMIC_ACQUIRE) == Ends_Wanted && now_nanos() < deadline) {
    nanosleep(&pause, NULL);
  }
}

void process_before_fork(void) {
  fd_share_all();
  epoll_before_fork();
}

/* The child has its parent's memory, sockets and region, but the region knows only the parent. */
void process_in_child(void) {
  process.pid = getpid();
  self.armed = false;
  self.waiter = 0;
  endpoints_after_fork();
  process_join_after_fork();
  epoll_after_fork();
}

__attribute__((constructor)) void process_init(void) {
  static _Atomic bool done;
  if (atomic_exchange(&done, true)) return;
  process.pid = getpid();
  for (unsigned queue = 0; queue < MAX_QUEUES; queue++) process.wires.xsk[queue] = -1;
  process.debug = getenv("EXASOCK_DEBUG") != NULL;
  process.trace = getenv("EXASOCK_TRACE") != NULL;
  process.quiet = getenv("EXASOCK_NOWARN") != NULL;
  process.disabled = getenv("EXASOCK_DEFAULT_DISABLE") != NULL;
  const char *require = getenv("EXASOCK_REQUIRE");
  process.require = require != NULL && strcmp(require, "0") != 0;
  const char *wait = getenv("EXASOCK_WAIT");
  if (wait != NULL && strcmp(wait, "spin") == 0) process.wait = EXASOCK_WAIT_SPIN;
  if (wait != NULL && strcmp(wait, "sleep") == 0) process.wait = EXASOCK_WAIT_SLEEP;
  const char *name = getenv("EXASOCK_STACK");
  snprintf(process.stackName, sizeof process.stackName, "%s", name != NULL ? name : "default");
  shim_resolve_all();
  wait_prepare();
  pthread_atfork(process_before_fork, NULL, process_in_child);
}

void say(const char *format, ...) {
  char line[256] = "exasock: ";
  size_t prefix = strlen(line);
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line + prefix, sizeof line - prefix - 1, format, arguments);
  va_end(arguments);
  size_t bytes = prefix + (size_t)length;
  if (bytes > sizeof line - 2) bytes = sizeof line - 2;
  line[bytes++] = '\n';
  int saved = errno;
  if (real.write(STDERR_FILENO, line, bytes) < 0) errno = saved;
  errno = saved;
}

void trace_result(const char *name, int fd, long result) {
  if (!process.trace) return;
  if (result >= 0) say("[pid %d] %s(%d) = %ld", (int)getpid(), name, fd, result);
  else say("[pid %d] %s(%d) = -1 (%s)", (int)getpid(), name, fd, strerror(errno));
}

/*
 * Joining takes root's rights, which servers give up before they open their first socket, or in
 * workers that were forked with open ones: those join as long as they may.
 */
static void join_while_root(void) {
  if (geteuid() == 0) process_join();
}

int shim_setuid(uid_t user) {
  join_while_root();
  return real.setuid(user);
}

int shim_seteuid(uid_t user) {
  join_while_root();
  return real.seteuid(user);
}

int shim_setreuid(uid_t own, uid_t effective) {
  join_while_root();
  return real.setreuid(own, effective);
}

int shim_setresuid(uid_t own, uid_t effective, uid_t saved) {
  join_while_root();
  return real.setresuid(own, effective, saved);
}

/*
 * The ways to fork that run no handlers of pthread_atfork(3). A child that shares its parent's
 * memory (CLONE_VM) is a thread, or goes on as after vfork.
 */
pid_t shim__Fork(void) {
  process_before_fork();
  pid_t pid = real._Fork();
  if (pid == 0) process_in_child();
  return pid;
}

struct Clone {
  int (*run)(void *argument);
  void *argument;
};

static int run_clone(void *context) {
  const struct Clone *clone = context;
  process_in_child();
  return clone->run(clone->argument);
}

int shim_clone(int (*run)(void *), void *top, int flags, void *argument, pid_t *parent, void *tls,
               pid_t *child) {
  if ((flags & CLONE_THREAD) == 0) process_before_fork();
  if ((flags & CLONE_VM) != 0 || run == NULL) {
    return real.clone(run, top, flags, argument, parent, tls, child);
  }
  /* The child has a copy of this frame. */
  struct Clone clone = {run, argument};
  return real.clone(run_clone, top, flags, &clone, parent, tls, child);
}

/* Another process's descriptor: its holder does not know that it is shared. */
int shim_pidfd_getfd(int pidfd, int target, unsigned int flags) {
  int fd = real.pidfd_getfd(pidfd, target, flags);
  if (fd >= 0) fd_appeared(fd);
  return fd;
}

/* Programs started by these may inherit sockets: glibc clones inside, out of our sight. */
int shim_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const *argv, char *const *envp) {
  fd_share_all();
  return real.posix_spawn(pid, path, actions, attributes, argv, envp);
}

int shim_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const *argv, char *const *envp) {
  fd_share_all();
  return real.posix_spawnp(pid, file, actions, attributes, argv, envp);
}

int shim_system(const char *command) {
  fd_share_all();
  return real.system(command);
}

FILE *shim_popen(const char *command, const char *mode) {
  fd_share_all();
  return real.popen(command, mode);
}

/*
 * stdio calls read and write inside libc, where we can't stand in between: a stream over a socket
 * of ours calls these. Plain read, write and close here are the interposed ones.
 */
static ssize_t stream_read(void *cookie, char *data, size_t bytes) {
  return read((int)(intptr_t)cookie, data, bytes);
}

static ssize_t stream_write(void *cookie, const char *data, size_t bytes) {
  ssize_t written = write((int)(intptr_t)cookie, data, bytes);
  return written < 0 ? 0 : written;
}

static int stream_close(void *cookie) { return close((int)(intptr_t)cookie); }

FILE *shim_fdopen(int fd, const char *mode) {
  cookie_io_functions_t calls = {
      .read = stream_read, .write = stream_write, .close = stream_close};
  FILE *stream = fopencookie((void *)(intptr_t)fd, mode, calls);
  /* For fileno(), which glibc refuses for such streams. */
  if (stream != NULL) stream->_fileno = fd;
  return stream;
}

int shim_fileno(FILE *stream) {
  int saved = errno;
  int fd = real.fileno(stream);
  if (fd >= 0 || (unsigned)stream->_fileno >= FD_MAX) return fd;
  if (fd_state[stream->_fileno] != FD_SOCKET) return fd;
  errno = saved;
  return stream->_fileno;
}
