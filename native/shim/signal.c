/*
 * Signals. A blocked call that waits in user space has to learn that a handler ran, so once this
 * process has joined a stack a trampoline stands before every handler. It also keeps handlers from
 * running while this thread holds the region's lock: a handler may call recv or jump out.
 *
 * Signals that report this thread's own faults are never touched.
 */
#include "shim.h"

#include <pthread.h>
#include <string.h>
#include <ucontext.h>

__thread struct Thread self __attribute__((tls_model("initial-exec"))) = {.doorbell = -1};

/* What the program believes is installed. */
static struct sigaction actions[NSIG];
static bool wrapped;
/* Signals that siginterrupt made to interrupt, for signal(). */
static _Atomic uint64_t interrupting;

static bool is_wrappable(int number) {
  switch (number) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGABRT:
    case SIGSYS:
    case SIGKILL:
    case SIGSTOP:
      return false;
    default:
      return number > 0 && number < NSIG;
  }
}

/*
 * Puts the signal off until unhold(): what it interrupted goes on with all signals blocked, so that
 * one place is enough and those that follow keep their order.
 */
static void defer(const siginfo_t *info, ucontext_t *context) {
  uint64_t blocked = 0;
  for (int number = 1; number < NSIG; number++) {
    if (is_wrappable(number)) blocked |= UINT64_C(1) << (number - 1);
  }
  memcpy(&self.maskBefore, &context->uc_sigmask, sizeof self.maskBefore);
  memcpy(&context->uc_sigmask, &blocked, sizeof blocked);
  self.deferred = *info;
  self.hasDeferred = true;
}

void raise_deferred(void) {
  int saved = errno;
  siginfo_t info = self.deferred;
  uint64_t mask = self.maskBefore;
  self.hasDeferred = false;
  real.syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), info.si_signo, (long)(uintptr_t)&info, 0,
               0);
  real.syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)(uintptr_t)&mask, 0, sizeof mask, 0, 0);
  errno = saved;
}

/*
 * Of a thread that lets itself be cancelled anywhere: in there it must not be. The type is changed,
 * not the state, at which glibc 2.36 does not look when the signal for it is on its way already.
 */
void hold_cancellation(void) {
  if (self.held == 1) real.pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
}

void allow_cancellation(void) {
  pthread_testcancel();
  real.pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}

int shim_pthread_setcanceltype(int type, int *old) {
  int result = real.pthread_setcanceltype(type, old);
  if (result == 0) self.asynchronous = type == PTHREAD_CANCEL_ASYNCHRONOUS;
  return result;
}

static bool has_handler(const struct sigaction *action) {
  return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

static void trampoline(int number, siginfo_t *info, void *context) {
  struct sigaction action = actions[number];
  if (self.held != 0) {
    if ((action.sa_flags & (int)SA_RESETHAND) != 0) shim_sigaction(number, &action, NULL);
    defer(info, context);
    return;
  }
  if ((action.sa_flags & SA_RESTART) != 0) self.restarts++;
  else self.interrupts++;
  /* The handler may not come back: nothing of a sleep must be left that it ended. */
  bool slept = wait_leave();
  if ((action.sa_flags & (int)SA_RESETHAND) != 0) actions[number].sa_handler = SIG_DFL;
  /* Another thread may just have taken the handler away. */
  if (has_handler(&action)) {
    if ((action.sa_flags & SA_SIGINFO) != 0) action.sa_sigaction(number, info, context);
    else action.sa_handler(number);
  }
  /* Behind the handler, in which a wait of its own would take the ring for its own. */
  if (slept) wait_ring_self();
}

static struct sigaction with_trampoline(const struct sigaction *action) {
  struct sigaction ours = *action;
  if (!has_handler(action)) return ours;
  ours.sa_sigaction = trampoline;
  ours.sa_flags |= SA_SIGINFO;
  return ours;
}

void signals_wrap(void) {
  for (int number = 1; number < NSIG; number++) {
    struct sigaction action;
    if (!is_wrappable(number) || real.sigaction(number, NULL, &action) != 0) continue;
    actions[number] = action;
    if (!has_handler(&action)) continue;
    struct sigaction ours = with_trampoline(&action);
    real.sigaction(number, &ours, NULL);
  }
  wrapped = true;
}

int shim_sigaction(int number, const struct sigaction *action, struct sigaction *old) {
  if (!wrapped || !is_wrappable(number)) return real.sigaction(number, action, old);
  struct sigaction before = actions[number];
  struct sigaction kernel;
  struct sigaction ours;
  /* A vfork child sets its own handlers (to their defaults, usually), not its parent's. */
  bool notes = action != NULL && !fd_borrowed();
  if (action != NULL) ours = notes ? with_trampoline(action) : *action;
  if (notes) actions[number] = *action;
  if (real.sigaction(number, action != NULL ? &ours : NULL, &kernel) != 0) {
    if (notes) actions[number] = before;
    return -1;
  }
  /* Where the kernel has another handler, somebody installed it without us. */
  bool isOurs = has_handler(&kernel) && kernel.sa_sigaction == trampoline;
  if (old != NULL) *old = isOurs ? before : kernel;
  return 0;
}

sighandler_t shim_signal(int number, sighandler_t handler) {
  if (!wrapped || !is_wrappable(number) || handler == SIG_ERR) return real.signal(number, handler);
  struct sigaction action = {.sa_handler = handler};
  struct sigaction old;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, number);
  bool interrupts = (atomic_load(&interrupting) >> (number - 1) & 1) != 0;
  action.sa_flags = interrupts ? 0 : SA_RESTART;
  return shim_sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

int shim_siginterrupt(int number, int interrupt) {
  if (!is_wrappable(number)) return real.siginterrupt(number, interrupt);
  struct sigaction action;
  uint64_t bit = 1ull << (number - 1);
  if (interrupt != 0) atomic_fetch_or(&interrupting, bit);
  else atomic_fetch_and(&interrupting, ~bit);
  if (!wrapped) return real.siginterrupt(number, interrupt);
  if (shim_sigaction(number, NULL, &action) != 0) return -1;
  if (interrupt != 0) action.sa_flags &= ~SA_RESTART;
  else action.sa_flags |= SA_RESTART;
  return shim_sigaction(number, &action, NULL);
}
