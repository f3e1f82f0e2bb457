/*
 * The table made into code: pointers to libc's functions, and the functions that stand before them.
 *
 * A pointer starts out at a small function that looks its name up, so that a call made before our
 * constructor (from another library's, or from malloc inside dlsym) finds its way too. Exported
 * functions get their names by assembler labels: libc's headers declare some with other prototypes.
 */
#include "shim.h"

#include <dlfcn.h>
#include <sched.h>

enum { NONE = -1 };

static long missing(void) {
  errno = ENOSYS;
  return -1;
}

static void *look_up(const char *name) {
  void *function = dlsym(RTLD_NEXT, name);
  return function != NULL ? function : (void *)(uintptr_t)missing;
}

#define CALL(type, name, prototype, arguments, kind, handler, number) \
  static type resolve_##name prototype {                              \
    real.name = (type(*) prototype)(uintptr_t)look_up(#name);         \
    return real.name arguments;                                       \
  }
#include "calls.def"
#undef CALL

struct Real real = {
#define CALL(type, name, prototype, arguments, kind, handler, number) .name = resolve_##name,
#include "calls.def"
#undef CALL
};

void shim_resolve_all(void) {
#define CALL(type, name, prototype, arguments, kind, handler, number) \
  real.name = (type(*) prototype)(uintptr_t)look_up(#name);
#include "calls.def"
#undef CALL
}

#define EXPORTED(type, name, prototype)                                                     \
  __attribute__((visibility("default"), used)) type call_##name prototype __asm__(#name); \
  type call_##name prototype

#define BY_STATE(type, name, prototype, arguments, handler, state)                           \
  EXPORTED(type, name, prototype) {                                                          \
    if (LIKELY(fd_is_plain(fd))) return real.name arguments;                                 \
    if (fd_state[fd] != state && !fd_is(&fd, state)) return real.name arguments;             \
    if (LIKELY(!process.trace)) return shim_##handler arguments;                             \
    type returned = shim_##handler arguments;                                                \
    trace_result(#name, fd, (long)returned);                                                 \
    return returned;                                                                         \
  }
#define BODY_SOCKET(type, name, prototype, arguments, handler) \
  BY_STATE(type, name, prototype, arguments, handler, FD_SOCKET)
#define BODY_EPOLL(type, name, prototype, arguments, handler) \
  BY_STATE(type, name, prototype, arguments, handler, FD_EPOLL)
/* FD_PLAIN stands for "any that is ours" here. */
#define BODY_FD(type, name, prototype, arguments, handler) \
  BY_STATE(type, name, prototype, arguments, handler, FD_PLAIN)
#define BODY_STATE(type, name, prototype, arguments, handler) \
  EXPORTED(type, name, prototype) {                           \
    if (LIKELY(fd_is_plain(fd))) return real.name arguments;  \
    return shim_##handler arguments;                          \
  }
#define BODY_ALWAYS(type, name, prototype, arguments, handler) \
  EXPORTED(type, name, prototype) { return shim_##handler arguments; }
#define BODY_EXTENSION BODY_ALWAYS
#define BODY_RESOLVER(type, name, prototype, arguments, handler) \
  EXPORTED(type, name, prototype) {                              \
    self.resolving++;                                            \
    type returned = real.name arguments;                         \
    self.resolving--;                                            \
    return returned;                                             \
  }
#define BODY_VARIADIC BODY_ASM
#define BODY_ASM(type, name, prototype, arguments, handler) \
  extern type call_##name prototype __asm__(#name);

#define CALL(type, name, prototype, arguments, kind, handler, number) \
  BODY_##kind(type, name, prototype, arguments, handler)
#include "calls.def"
#undef CALL

/*
 * vfork: the child runs on this stack frame's memory, so no C function may be left between the two
 * returns. Marks every socket as shared (its child may exec with them), then jumps into libc.
 */
void *shim_before_vfork(void);
void *shim_before_vfork(void) {
  fd_share_all();
  static void *function;
  if (function == NULL) function = dlsym(RTLD_NEXT, "vfork");
  return function;
}
#if defined(__x86_64__)
__asm__(".text\n.globl vfork\n.type vfork, @function\nvfork:\n"
        "  sub $8, %rsp\n  call shim_before_vfork\n  add $8, %rsp\n  jmp *%rax\n"
        ".size vfork, . - vfork\n");
#elif defined(__aarch64__)
__asm__(".text\n.globl vfork\n.type vfork, %function\nvfork:\n"
        "  stp x29, x30, [sp, -16]!\n  bl shim_before_vfork\n  ldp x29, x30, [sp], 16\n"
        "  br x0\n.size vfork, . - vfork\n");
#else
#error "vfork is not written for this processor"
#endif

/* syscall(2): a number that one of our functions stands for is answered by it. */
static long raw_call(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  if (result > -4096 && result < 0) {
    errno = (int)-result;
    return -1;
  }
  return result;
#else
  return real.syscall(number, a, b, c, d, e, f);
#endif
}

/* Hides from the compiler which function it is: gcc refuses a call through another type. */
static inline uintptr_t any_function(uintptr_t address) {
  __asm__("" : "+r"(address));
  return address;
}

/* Of a system call that makes a process or a thread; 0 for fork. */
#define NOT_A_CLONE UINT64_MAX
static uint64_t clone_flags(long number, long first) {
  if (number == SYS_clone) return (uint64_t)first;
  if (number == SYS_clone3) return is_nowhere((void *)first) ? 0 : *(const uint64_t *)first;
#ifdef SYS_fork
  if (number == SYS_fork) return 0;
#endif
  return NOT_A_CLONE;
}

/* System calls that do more than libc's functions of the same name. False: it is not for us. */
static bool waits_by_number(long number, const long *a, long *result) {
  if (number == SYS_ppoll) {
    return poll_by_number((void *)a[0], (nfds_t)a[1], (void *)a[2], (void *)a[3], (size_t)a[4],
                          result);
  }
  fd_set *const sets[3] = {(void *)a[1], (void *)a[2], (void *)a[3]};
  return number == SYS_pselect6 &&
         select_by_number((int)a[0], sets, (void *)a[4], (void *)a[5], result);
}

long shim_syscall(long number, long a, long b, long c, long d, long e, long f) {
  /* While held, the caller is this library. */
  if (self.held != 0) return raw_call(number, a, b, c, d, e, f);
  /* Called with six words whatever it takes: the calling convention ignores those left over. */
#define CALL(type, name, prototype, arguments, kind, handler, system)            \
  if (system != NONE && number == system) {                                      \
    uintptr_t function = any_function((uintptr_t)call_##name);                   \
    return (long)((type(*)(long, long, long, long, long, long))function)(a, b, c, d, e, f); \
  }
#include "calls.def"
#undef CALL
  long result;
  if (waits_by_number(number, (const long[]){a, b, c, d, e, f}, &result)) return result;
  uint64_t flags = clone_flags(number, a);
  if ((flags & CLONE_THREAD) != 0 || flags == NOT_A_CLONE) {
    return raw_call(number, a, b, c, d, e, f);
  }
  process_before_fork();
  result = raw_call(number, a, b, c, d, e, f);
  if (result == 0 && (flags & CLONE_VM) == 0) process_in_child();
  return result;
}
