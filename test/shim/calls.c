// A server of libc calls. The scenarios of test/shim are written in TypeScript; this small program
// is their hand inside a C process: it makes exactly the calls that it is told to, by name, through
// the dynamic linker, as any program would. Each command is one line, `TAG VERB …`; each answer is
// `TAG RESULT ERRNO`. Memory that calls read or write lies in an arena at a fixed address, so that
// the TypeScript side knows every pointer.
//
//   TAG call NAME ARG…        makes the call; ARG: integer, @SYMBOL (its address), *SYMBOL (what is
//                             there), $N (the result of the N-th call before it in the same batch)
//   TAG thread NAME ARG…      the same in a new thread; the answer comes when the call returns
//   TAG fork COMMAND;…        a child runs the commands (each with its own TAG) and exits
//   TAG WAY COMMAND;…         the same for other ways to fork: _Fork, clone and syscall(2)'s three
//   TAG vfork COMMAND;…       the same by vfork, so the commands should end in an exec
//   TAG poke ADDRESS HEX      writes memory        TAG peek ADDRESS LENGTH   reads it: TAG HEX
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE_BYTES = 1 << 18, ARGUMENTS_MAX = 7, BATCH_MAX = 16, ARENA_BYTES = 64 << 20 };
#define ARENA_ADDRESS ((char *)0x200000000000)

// The integer calling convention of x86-64 and AArch64 is the same for all these calls, variadic
// ones included, as long as every argument is a whole word.
typedef long (*call_function)(long, long, long, long, long, long, long);

static char line[LINE_BYTES];
static char text[LINE_BYTES + 64];

/** Counts signals in the first word of the arena; scenarios install it as @on_signal. */
__attribute__((visibility("default"))) void on_signal(int number) {
  (void)number;
  __atomic_add_fetch((long *)ARENA_ADDRESS, 1, __ATOMIC_RELAXED);
}

static void print(const char *from, size_t length) {
  while (length > 0) {
    ssize_t written = write(STDOUT_FILENO, from, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) _exit(3);
    from += written;
    length -= (size_t)written;
  }
}

static void answer(const char *tag, long result, int error) {
  char reply[128];
  int length = snprintf(reply, sizeof reply, "%s %ld %d\n", tag, result, error);
  print(reply, (size_t)length);
}

static void *symbol(const char *name) {
  void *found = dlsym(RTLD_DEFAULT, name);
  if (found) return found;
  fprintf(stderr, "calls: no function %s\n", name);
  _exit(3);
}

static long value(const char *word, const long *results, int count) {
  if (word[0] == '@') return (long)symbol(word + 1);
  if (word[0] == '*') return *(long *)symbol(word + 1);
  if (word[0] == '$') {
    int back = atoi(word + 1);
    return back >= 1 && back <= count ? results[count - back] : -1;
  }
  return (long)(word[0] == '-' ? (uint64_t)strtoll(word, NULL, 0) : strtoull(word, NULL, 0));
}

/** `NAME ARG…` is made as a call and answered; returns its result. */
static long make_call(const char *tag, char *rest, const long *results, int count) {
  char *state = NULL;
  char *name = strtok_r(rest, " ", &state);
  long arguments[ARGUMENTS_MAX] = {0};
  char *word;
  for (int i = 0; i < ARGUMENTS_MAX && (word = strtok_r(NULL, " ", &state)) != NULL; i++) {
    arguments[i] = value(word, results, count);
  }
  call_function function = (call_function)symbol(name ? name : "");
  errno = 0;
  long result = function(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                         arguments[5], arguments[6]);
  answer(tag, result, errno);
  return result;
}

struct thread_call {
  char tag[32];
  char rest[512];
};

static void *thread_main(void *argument) {
  struct thread_call *call = argument;
  make_call(call->tag, call->rest, NULL, 0);
  free(call);
  return NULL;
}

static void start_thread(const char *tag, const char *rest) {
  struct thread_call *call = calloc(1, sizeof *call);
  if (!call) _exit(3);
  snprintf(call->tag, sizeof call->tag, "%s", tag);
  snprintf(call->rest, sizeof call->rest, "%s", rest);
  pthread_t thread;
  if (pthread_create(&thread, NULL, thread_main, call) != 0) _exit(3);
  pthread_detach(thread);
}

/** Runs `TAG call NAME ARG…;…`: all that a child process does. */
static void run_batch(char *commands) {
  long results[BATCH_MAX];
  int count = 0;
  char *state = NULL;
  for (char *command = strtok_r(commands, ";", &state); command && count < BATCH_MAX;
       command = strtok_r(NULL, ";", &state)) {
    char *words = NULL;
    char *tag = strtok_r(command, " ", &words);
    strtok_r(NULL, " ", &words);
    if (tag) results[count] = make_call(tag, words, results, count);
    count++;
  }
}

static void poke(const char *tag, char *rest) {
  char *hex = NULL;
  char *to = (char *)strtoull(rest, &hex, 0);
  for (hex++; hex[0] && hex[1]; hex += 2) {
    char digits[3] = {hex[0], hex[1], 0};
    *to++ = (char)strtol(digits, NULL, 16);
  }
  answer(tag, 0, 0);
}

static void peek(const char *tag, char *rest) {
  char *after = NULL;
  const unsigned char *from = (const unsigned char *)strtoull(rest, &after, 0);
  unsigned long length = strtoul(after, NULL, 0);
  size_t used = (size_t)snprintf(text, sizeof text, "%s ", tag);
  for (unsigned long i = 0; i < length && used + 4 < sizeof text; i++) {
    used += (size_t)snprintf(text + used, 3, "%02x", from[i]);
  }
  text[used++] = '\n';
  print(text, used);
}

/** Reads one line byte by byte: nothing may be left in a buffer when the process execs itself. */
static int read_line(void) {
  for (size_t used = 0; used + 1 < sizeof line; used++) {
    ssize_t got = read(STDIN_FILENO, line + used, 1);
    if (got < 0 && errno == EINTR) {
      used--;
      continue;
    }
    if (got <= 0) return 0;
    if (line[used] == '\n') {
      line[used] = 0;
      return 1;
    }
  }
  return 0;
}

static int run_clone(void *commands) {
  run_batch(commands);
  return 0;
}

/** The ways to fork beside vfork, whose child must not leave the function that called it. */
static pid_t start_child(const char *way, char *commands) {
  static char stack[1 << 16] __attribute__((aligned(16)));
  struct clone_args args = {.exit_signal = SIGCHLD};
  pid_t child = -2;
  if (!strcmp(way, "clone")) return clone(run_clone, stack + sizeof stack, SIGCHLD, commands);
  if (!strcmp(way, "fork")) child = fork();
  if (!strcmp(way, "_Fork")) child = _Fork();
#ifdef SYS_fork
  if (!strcmp(way, "syscall-fork")) child = (pid_t)syscall(SYS_fork);
#endif
  if (!strcmp(way, "syscall-clone")) child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (!strcmp(way, "syscall-clone3")) child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  if (child != 0) return child;
  run_batch(commands);
  _exit(0);
}

static void run_line(void) {
  char *state = NULL;
  char *tag = strtok_r(line, " ", &state);
  char *verb = strtok_r(NULL, " ", &state);
  if (!tag || !verb) return;
  if (!strcmp(verb, "call")) make_call(tag, state, NULL, 0);
  if (!strcmp(verb, "thread")) start_thread(tag, state);
  if (!strcmp(verb, "poke")) poke(tag, state);
  if (!strcmp(verb, "peek")) peek(tag, state);
  pid_t started = start_child(verb, state);
  if (started != -2) answer(tag, started, errno);
  if (!strcmp(verb, "vfork")) {
    pid_t child = vfork();
    if (child == 0) {
      run_batch(state);
      _exit(0);
    }
    answer(tag, child, errno);
  }
}

int main(void) {
  void *arena = mmap(ARENA_ADDRESS, ARENA_BYTES, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (arena != ARENA_ADDRESS) {
    perror("calls: mmap");
    return 3;
  }
  answer("ready", 0, 0);
  while (read_line()) run_line();
  return 0;
}
