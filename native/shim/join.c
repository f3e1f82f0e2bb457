/*
 * The connection to exasockd: asking to join, mapping what it hands over, going on without it, and
 * with the next one. Joining is lazy: a program that opens no UDP socket never gets here.
 */
#include "shim.h"

#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "build-hash.h"

enum { FDS_FIXED = 6, FDS_MAX = FDS_FIXED + (int)MAX_QUEUES, REPLY_BYTES = 512, REPLY_SECONDS = 5 };

/* What exasockd answered: descriptors in the order of the control protocol. */
struct Reply {
  char text[REPLY_BYTES];
  int fds[FDS_MAX];
  unsigned fdCount;
  uint32_t client;
  uint64_t regionBytes;
  uint64_t queues;
};

static pthread_mutex_t joining = PTHREAD_MUTEX_INITIALIZER;
/* Of the thread that has it: a thread that is cancelled in there would keep it. */
static int cancelState;

static void begin_joining(void) {
  int before;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  pthread_mutex_lock(&joining);
  cancelState = before;
}

static void end_joining(void) {
  int before = cancelState;
  pthread_mutex_unlock(&joining);
  pthread_setcancelstate(before, NULL);
}

static bool tried;
/* Which region is mapped, so that a child after fork does not mistake another for it. */
static dev_t regionDevice;
static ino_t regionInode;

static void close_fds(const struct Reply *reply) {
  for (unsigned i = 0; i < reply->fdCount; i++) {
    if (reply->fds[i] >= 0) real.close(reply->fds[i]);
  }
}

enum Answer { GRANTED, REFUSED, UNHEARD };

static enum Answer ask(int control, const char *request, struct Reply *reply) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int[FDS_MAX]))];
  } control_data;
  struct iovec part = {reply->text, REPLY_BYTES - 1};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = &control_data,
                           .msg_controllen = sizeof control_data};
  memset(reply, 0, sizeof *reply);
  if (real.send(control, request, strlen(request), MSG_NOSIGNAL) < 0) return UNHEARD;
  ssize_t bytes;
  do bytes = real.recvmsg(control, &message, MSG_CMSG_CLOEXEC);
  while (bytes < 0 && errno == EINTR);
  if (bytes <= 0) return UNHEARD;
  reply->text[bytes] = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    reply->fdCount = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(reply->fds, CMSG_DATA(c), reply->fdCount * sizeof(int));
  }
  unsigned announced = 0;
  int parsed = sscanf(reply->text, "ok %" SCNu32 " %" SCNu64 " %u %" SCNx64, &reply->client,
                      &reply->regionBytes, &announced, &reply->queues);
  unsigned queues = (unsigned)__builtin_popcountll(reply->queues);
  if (parsed == 4 && announced == reply->fdCount && announced >= queues) return GRANTED;
  if (!process.quiet) {
    char *end = strchr(reply->text, '\n');
    if (end != NULL) *end = 0;
    bool isError = strncmp(reply->text, "error ", 6) == 0;
    say("not accelerated: %s", isError ? reply->text + 6 : "exasockd sent an unknown reply");
  }
  close_fds(reply);
  return REFUSED;
}

/* A mapping keeps its AF_XDP socket alive, and the interface's queue taken: lets go of it. */
static void unmap_queues(uint32_t first, uint32_t count) {
  mmap(region_at(RINGS_OFFSET + first * QUEUE_WINDOW_BYTES), count * QUEUE_WINDOW_BYTES,
       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* Maps the rings and keeps the AF_XDP sockets, the last descriptors of the reply. */
static void take_queues(struct Reply *reply) {
  unsigned next = reply->fdCount - (unsigned)__builtin_popcountll(reply->queues);
  for (uint32_t queue = 0; queue < MAX_QUEUES; queue++) {
    if (process.wires.xsk[queue] >= 0) unmap_queues(queue, 1);
    fd_close_private(&process.wires.xsk[queue]);
    if ((reply->queues >> queue & 1) == 0) continue;
    int fd = reply->fds[next];
    reply->fds[next++] = -1;
    for (uint32_t ring = Ring_Rx; ring <= Ring_Completion; ring++) {
      int result = core_map_ring(queue, ring, fd);
      if (result != 0 && process.debug) {
        say("queue %u, ring %u: %s", queue, ring, strerror(-result));
      }
    }
    process.wires.xsk[queue] = fd;
    fd_make_private(&process.wires.xsk[queue]);
  }
  process.wires.missing = 0;
}

static void keep_private(struct Reply *reply, unsigned which, int *variable) {
  *variable = reply->fds[which];
  reply->fds[which] = -1;
  fd_make_private(variable);
}

static const char *take_region(struct Reply *reply) {
  struct stat status;
  if (reply->fdCount < FDS_FIXED || fstat(reply->fds[0], &status) != 0) return "no region came";
  if (!process.joined) {
    if (core_map(reply->fds[0], reply->regionBytes) != 0) return "no room for the region";
    int result = (int)w2c_stack_regionJoin(stack, BUILD_HASH);
    if (result == -EPROTO) return "exasockd runs another build: restart it";
    if (result != 0) return "what came is no region";
    if (core_map_window(STEERING_OFFSET, STEERING_BYTES, reply->fds[1], 0) != 0 ||
        core_map_window(ARRIVALS_OFFSET, ARRIVALS_BYTES, reply->fds[2], 0) != 0) {
      return "could not map exasockd's tables";
    }
    regionDevice = status.st_dev;
    regionInode = status.st_ino;
  } else if (status.st_dev != regionDevice || status.st_ino != regionInode) {
    return "exasockd was restarted";
  }
  /* From here on no other copy of the memory file's descriptor may be closed: see core_claim(). */
  keep_private(reply, 0, &core_memory);
  if (!core_claim(reply->client)) return "another program has its place";
  process.client = reply->client;
  process.owner = core_owner(process.client);
  keep_private(reply, 3, &process.arrivalsProgram);
  keep_private(reply, 4, &process.vault[0]);
  keep_private(reply, 5, &process.vault[1]);
  /* An epoch seen before the sockets are taken: a change meanwhile makes us ask again. */
  process.queuesEpoch = core_header()->queueEpoch;
  take_queues(reply);
  process.wires.stack_name = process.stackName;
  process.wires.bell = real.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  fd_make_private(&process.wires.bell);
  return NULL;
}

/* Anybody can take an abstract name. What comes over the connection is mapped and believed. */
static bool is_trusted(int control) {
  struct ucred peer;
  socklen_t bytes = sizeof peer;
  if (real.getsockopt(control, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return false;
  return peer.uid == 0 || peer.uid == geteuid();
}

static int connect_to_daemon(const char *failed) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "exasock/%s",
                        process.stackName);
  socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
  int fd = real.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  struct timeval limit = {.tv_sec = REPLY_SECONDS};
  if (fd < 0) return -1;
  real.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (real.connect(fd, (struct sockaddr *)&name, bytes) == 0) {
    if (is_trusted(fd)) return fd;
    if (!process.quiet) say("%s: what listens as exasockd belongs to another user", failed);
  } else if (process.debug) {
    say("%s: no exasockd here (%s)", failed, strerror(errno));
  }
  real.close(fd);
  return -1;
}

static bool join(void) {
  process_init();
  int control = connect_to_daemon("not accelerated");
  if (control < 0) return false;
  char request[128];
  snprintf(request, sizeof request, "{\"type\":\"join\",\"build\":\"%s\",\"pid\":%d}",
           BUILD_HASH_TEXT, (int)getpid());
  struct Reply reply;
  if (ask(control, request, &reply) != GRANTED) {
    real.close(control);
    return false;
  }
  const char *why = take_region(&reply);
  close_fds(&reply);
  process.control = control;
  fd_make_private(&process.control);
  if (why == NULL) return true;
  fd_close_all_private();
  if (!process.quiet) say("not accelerated: %s", why);
  return false;
}

bool process_join(void) {
  if (LIKELY(process.joined && !process.stale)) return !process.orphaned;
  if (fd_borrowed() || (tried && !process.stale)) return false;
  int saved = errno;
  /* Handlers wait, and calls of the core reach libc. */
  hold();
  bool joined = false;
  begin_joining();
  if (!tried || process.stale) {
    bool first = !tried;
    joined = join();
    tried = true;
    process.orphaned = process.stale && !joined;
    process.stale = false;
    process.joined = process.joined || joined;
    if (first && joined) signals_wrap();
  }
  end_joining();
  if (joined) epoll_joined();
  unhold();
  errno = saved;
  return process.joined && !process.orphaned;
}

/*
 * exasockd ended the region. The AF_XDP sockets go, so that another exasockd can have the queues. A
 * thread that is inside the stack sees empty rings from here on.
 */
static void become_orphan(const char *why) {
  process.orphaned = true;
  fd_close_private(&process.vault[0]);
  fd_close_private(&process.vault[1]);
  unmap_queues(0, MAX_QUEUES);
  for (uint32_t queue = 0; queue < MAX_QUEUES; queue++) {
    fd_close_private(&process.wires.xsk[queue]);
  }
  if (process.debug) say("%s: the kernel takes over", why);
}

/*
 * The connection ended. When exasockd was killed, nothing else is lost: the region and all that
 * belongs to it is held by the programs, which go on, and by and by meet the next exasockd.
 */
static void lose_daemon(void) {
  fd_close_private(&process.control);
  if (core_header()->closed != 0) become_orphan("exasockd ended");
  else if (process.debug) say("exasockd is gone: going on without");
}

/* Asks over the connection; if that is gone, makes a new one and says who this is. */
static enum Answer ask_again(struct Reply *reply) {
  if (process.control >= 0) {
    enum Answer answer = ask(process.control, "{\"type\":\"queues\"}", reply);
    if (answer != UNHEARD) return answer;
    lose_daemon();
  }
  if (process.orphaned) return UNHEARD;
  int control = connect_to_daemon("going on without exasockd");
  if (control < 0) return UNHEARD;
  char request[128];
  snprintf(request, sizeof request, "{\"type\":\"rejoin\",\"build\":\"%s\",\"slot\":%u}",
           BUILD_HASH_TEXT, process.client);
  enum Answer answer = ask(control, request, reply);
  if (answer != GRANTED) {
    real.close(control);
    return answer;
  }
  process.control = control;
  fd_make_private(&process.control);
  if (process.debug) say("met the next exasockd");
  return GRANTED;
}

void process_refresh_queues(void) {
  int saved = errno;
  begin_joining();
  uint32_t epoch = core_header()->queueEpoch;
  struct Reply reply;
  if (epoch != process.queuesEpoch && !process.orphaned) {
    enum Answer answer = ask_again(&reply);
    if (answer == GRANTED) {
      take_queues(&reply);
      close_fds(&reply);
    } else if (answer == REFUSED) {
      become_orphan("exasockd does not know this program");
    }
    process.queuesEpoch = epoch;
  }
  end_joining();
  errno = saved;
}

void process_check_daemon(void) {
  char byte;
  if (!process.joined || process.stale || process.orphaned || process.control < 0) return;
  int saved = errno;
  if (real.recv(process.control, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
    hold();
    begin_joining();
    if (!process.orphaned && process.control >= 0) lose_daemon();
    end_joining();
    unhold();
  }
  errno = saved;
}

bool process_bury(void) {
  /* Repairing takes all queues; those that it lacks are known to exasockd, which does it then. */
  if (core_header()->queueEpoch != process.queuesEpoch) return false;
  return core_bury(&process.wires, process.owner);
}

void process_join_after_fork(void) {
  pthread_mutex_init(&joining, NULL);
  fd_close_all_private();
  if (process.joined) unmap_queues(0, MAX_QUEUES);
  process.stale = process.joined && !process.orphaned;
}
