/*
 * Processes that transfer data among themselves and with a peer on another host, every byte of
 * which is checked, while one after the other is killed with SIGKILL at a random instant.
 *
 *   storm peer ADDRESS                        echoes; prints "ports TCP UDP"
 *   storm mother ADDRESS PEER TCP UDP WORKERS KILLS SEED PAUSE_MICROS
 *   storm stepper ADDRESS PEER TCP UDP KILLS SEED FIRST STRIDE LOCK CLIENTS
 *
 * The stepper's victims are killed while they hold the region's lock: the n-th one (from 0) after
 * FIRST + n * STRIDE instructions of its own under it. LOCK and CLIENTS are offsets in the region.
 *
 * Both print what happened for the test to judge (storm.ts): "killed SLOT LIFE", "hurt SLOT LIFE
 * PARTNER PARTNER_LIFE ERRNO" for a connection that ended, "ended SLOT LIFE" for one that the peer
 * lost, and "wrong …" for what must never be. Slots below SURVIVORS are never killed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "step.h"

enum {
  WORKERS_MAX = 64,
  SURVIVORS = 2,
  LINKS = 3,
  LINES_MAX = 1024,
  BUFFER_BYTES = 16384,
  AHEAD_BYTES = 32768,
  CHUNK_BYTES = 4096,
  PEER = -1,
  NOBODY = -2,
  TICK_MILLIS = 50,
  STALL_SECONDS = 10,
  BACKLOG = 128,
  /* Of the stepper: its victim's slot, and how long that runs first. */
  VICTIM = SURVIVORS,
  FREE_MICROS = 30000,
};

/* The first bytes each way: who speaks. */
struct Hello {
  int32_t slot;
  uint32_t life;
  uint64_t seed;
};

struct Worker {
  pid_t pid;
  uint32_t life;
  _Atomic uint16_t port;
  _Atomic uint64_t bytes;
};

/* One connection. Who opened it sends a stream, the other sends it back. */
struct Line {
  int fd;
  bool opener;
  bool greeted;
  struct Hello own;
  struct Hello other;
  unsigned heard;
  unsigned said;
  uint64_t seed;
  uint64_t sent;
  uint64_t received;
  unsigned held;
  time_t moved;
  uint8_t buffer[BUFFER_BYTES];
};

static struct Worker *workers;
static struct Line *lines[LINES_MAX];
static struct Hello self;
static uint64_t randomState;

static uint64_t next_random(void) {
  randomState += 0x9e3779b97f4a7c15u;
  uint64_t z = randomState;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static uint8_t byte_at(uint64_t seed, uint64_t at) {
  return (uint8_t)((seed + at) * 0x9e3779b97f4a7c15u >> 56);
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...) {
  char line[128];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(3);
}

static void die(const char *what) {
  perror(what);
  _exit(2);
}

static time_t seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec;
}

static struct sockaddr_in address_of(const char *text, uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1) die(text);
  return address;
}

static uint16_t port_of(int fd) {
  struct sockaddr_in address;
  socklen_t bytes = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0) die("getsockname");
  return ntohs(address.sin_port);
}

static int open_bound(const char *at, int type) {
  struct sockaddr_in address = address_of(at, 0);
  int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) die("bind");
  if (type == SOCK_STREAM && listen(fd, BACKLOG) != 0) die("listen");
  return fd;
}

static struct Line *add_line(int fd, bool opener) {
  for (unsigned i = 0; i < LINES_MAX; i++) {
    if (lines[i] != NULL) continue;
    struct Line *line = calloc(1, sizeof *line);
    if (line == NULL) die("calloc");
    line->fd = fd;
    line->opener = opener;
    line->own = self;
    line->own.seed = next_random();
    line->other.slot = NOBODY;
    line->moved = seconds();
    lines[i] = line;
    return line;
  }
  close(fd);
  return NULL;
}

static void drop(unsigned which) {
  close(lines[which]->fd);
  free(lines[which]);
  lines[which] = NULL;
}

/* The hello each way first. False: the line ended, errno says how. */
static bool greet(struct Line *line) {
  uint8_t *own = (uint8_t *)&line->own;
  uint8_t *other = (uint8_t *)&line->other;
  while (line->said < sizeof line->own) {
    ssize_t bytes = send(line->fd, own + line->said, sizeof line->own - line->said, MSG_NOSIGNAL);
    if (bytes < 0) return errno == EAGAIN || errno == ENOTCONN;
    line->said += (unsigned)bytes;
  }
  while (line->heard < sizeof line->other) {
    ssize_t bytes = recv(line->fd, other + line->heard, sizeof line->other - line->heard, 0);
    if (bytes == 0) return errno = 0, false;
    if (bytes < 0) return errno == EAGAIN;
    line->heard += (unsigned)bytes;
  }
  line->greeted = true;
  line->seed = line->opener ? line->own.seed : line->other.seed;
  line->moved = seconds();
  return true;
}

static bool verify(struct Line *line, const uint8_t *data, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    if (data[i] == byte_at(line->seed, line->received + i)) continue;
    tell("wrong byte: slot %d life %u from %d life %u at %d\n", self.slot, self.life,
         line->other.slot, line->other.life, (int)(line->received + i));
    _exit(4);
  }
  line->received += bytes;
  line->moved = seconds();
  return true;
}

static bool open_side(struct Line *line) {
  uint8_t data[CHUNK_BYTES];
  while (line->sent - line->received < AHEAD_BYTES) {
    size_t bytes = 1 + next_random() % CHUNK_BYTES;
    for (size_t i = 0; i < bytes; i++) data[i] = byte_at(line->seed, line->sent + i);
    ssize_t done = send(line->fd, data, bytes, MSG_NOSIGNAL);
    if (done < 0 && errno != EAGAIN) return false;
    if (done < 0) break;
    line->sent += (uint64_t)done;
  }
  ssize_t got = recv(line->fd, line->buffer, BUFFER_BYTES, 0);
  if (got == 0) return errno = 0, false;
  if (got < 0) return errno == EAGAIN;
  if (workers != NULL) workers[self.slot].bytes += (uint64_t)got;
  return verify(line, line->buffer, (size_t)got);
}

static bool echo_side(struct Line *line) {
  if (line->held == 0) {
    ssize_t got = recv(line->fd, line->buffer, BUFFER_BYTES, 0);
    if (got == 0) return errno = 0, false;
    if (got < 0) return errno == EAGAIN;
    verify(line, line->buffer, (size_t)got);
    line->held = (unsigned)got;
  }
  ssize_t done = send(line->fd, line->buffer, line->held, MSG_NOSIGNAL);
  if (done < 0) return errno == EAGAIN;
  line->held -= (unsigned)done;
  memmove(line->buffer, line->buffer + done, line->held);
  return true;
}

static bool serve(struct Line *line) {
  if (!line->greeted && (!greet(line) || !line->greeted)) return line->greeted || errno == EAGAIN;
  return line->opener ? open_side(line) : echo_side(line);
}

/* How the end of a line is told: the peer's, and the workers'. */
static void ended(const struct Line *line, int error) {
  const struct Hello *other = &line->other;
  if (self.slot != PEER) {
    tell("hurt %d %u %d %u %d\n", self.slot, self.life, other->slot, other->life, error);
  } else if (line->greeted) {
    tell("ended %d %u %d %u %d\n", other->slot, other->life, PEER, 0u, error);
  }
}

static void serve_all(const struct pollfd *fds, const unsigned *which, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    struct Line *line = lines[which[i]];
    if (fds[i].revents == 0 || line == NULL || line->fd != fds[i].fd) continue;
    if (serve(line)) continue;
    ended(line, errno);
    drop(which[i]);
  }
}

static void look_for_stalls(void) {
  time_t now = seconds();
  for (unsigned i = 0; i < LINES_MAX; i++) {
    struct Line *line = lines[i];
    if (line == NULL || !line->opener || now - line->moved < STALL_SECONDS) continue;
    tell("wrong: stalled, slot %d life %u to %d life %u greeted %d\n", self.slot, self.life,
         line->other.slot, line->other.life, line->greeted);
    drop(i);
  }
}

/* Waits for something to do on a listener, a UDP socket and all lines. */
static void turn(int listener, int udp, void (*datagram)(int fd)) {
  static struct pollfd fds[LINES_MAX + 2];
  static unsigned which[LINES_MAX];
  unsigned count = 0;
  for (unsigned i = 0; i < LINES_MAX; i++) {
    struct Line *line = lines[i];
    if (line == NULL) continue;
    bool writes = !line->greeted ? line->said < sizeof line->own
                  : line->opener ? line->sent - line->received < AHEAD_BYTES
                                 : line->held != 0;
    short events = line->greeted && !line->opener && line->held != 0 ? 0 : POLLIN;
    fds[count] = (struct pollfd){line->fd, (short)(events | (writes ? POLLOUT : 0)), 0};
    which[count++] = i;
  }
  fds[count] = (struct pollfd){listener, POLLIN, 0};
  fds[count + 1] = (struct pollfd){udp, POLLIN, 0};
  if (poll(fds, count + 2, TICK_MILLIS) < 0 && errno != EINTR) die("poll");
  if (fds[count + 1].revents != 0) datagram(udp);
  serve_all(fds, which, count);
  if (fds[count].revents == 0) return;
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) add_line(fd, false);
}

static void echo_datagram(int fd) {
  uint8_t data[2048];
  struct sockaddr_in from;
  socklen_t bytes = sizeof from;
  ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &bytes);
  if (got > 0) sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&from, bytes);
}

static int run_peer(const char *at) {
  int listener = open_bound(at, SOCK_STREAM);
  int udp = open_bound(at, SOCK_DGRAM);
  self = (struct Hello){.slot = PEER};
  tell("ports %u %u\n", port_of(listener), port_of(udp));
  for (;;) turn(listener, udp, echo_datagram);
}

/* A datagram that came back says in its first bytes what the others have to be. */
static void check_datagram(int fd) {
  uint64_t data[128];
  ssize_t got = recv(fd, data, sizeof data, 0);
  if (got < 16 || got % 8 != 0) return;
  bool mine = data[0] == ((uint64_t)self.slot << 32 | self.life);
  for (ssize_t i = 2; mine && i < got / 8; i++) mine = data[i] == data[1] + (uint64_t)i;
  if (!mine) tell("wrong datagram: slot %d life %u, %d bytes\n", self.slot, self.life, (int)got);
}

static void send_datagram(int fd, const struct sockaddr_in *to) {
  uint64_t data[128] = {(uint64_t)self.slot << 32 | self.life, next_random()};
  unsigned words = 2 + (unsigned)(next_random() % 126);
  for (unsigned i = 2; i < words; i++) data[i] = data[1] + i;
  sendto(fd, data, words * 8, 0, (const struct sockaddr *)to, sizeof *to);
}

static void open_line(const char *at, uint16_t port) {
  struct sockaddr_in to = address_of(at, port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS) {
    add_line(fd, true);
  } else {
    close(fd);
  }
}

/* One line to the peer, the others to other workers. */
static void keep_lines(const char *own, const char *peer, uint16_t port, unsigned count) {
  unsigned opened = 0;
  for (unsigned i = 0; i < LINES_MAX; i++) opened += lines[i] != NULL && lines[i]->opener;
  for (; opened < LINKS; opened++) {
    unsigned other = (unsigned)(next_random() % count);
    uint16_t there = workers[other].port;
    if (opened == 0) open_line(peer, port);
    else if ((int)other != self.slot && there != 0) open_line(own, there);
  }
}

struct Places {
  const char *own;
  const char *peer;
  uint16_t tcp;
  uint16_t udp;
  unsigned count;
};

static void run_worker(const struct Places *places) {
  int listener = open_bound(places->own, SOCK_STREAM);
  int udp = open_bound(places->own, SOCK_DGRAM);
  struct sockaddr_in to = address_of(places->peer, places->udp);
  workers[self.slot].port = port_of(listener);
  for (unsigned n = 0;; n++) {
    keep_lines(places->own, places->peer, places->tcp, places->count);
    if (n % 8 == 0) send_datagram(udp, &to);
    turn(listener, udp, check_datagram);
    if (n % 64 == 0) look_for_stalls();
  }
}

static void start_worker(const struct Places *places, int slot, bool isTraced) {
  struct Worker *worker = &workers[slot];
  worker->life++;
  worker->port = 0;
  uint64_t seed = next_random();
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid != 0) {
    worker->pid = pid;
    return;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (isTraced && (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0)) _exit(2);
  randomState = seed;
  self = (struct Hello){.slot = slot, .life = worker->life};
  run_worker(places);
}

static void end_worker(int slot) {
  struct Worker *worker = &workers[slot];
  int status;
  tell("killed %d %u\n", slot, worker->life);
  kill(worker->pid, SIGKILL);
  if (waitpid(worker->pid, &status, 0) != worker->pid) die("waitpid");
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
    tell("wrong: slot %d life %u ended by itself, status %d\n", slot, worker->life, status);
  }
}

static void rest_micros(uint64_t micros) {
  struct timespec rest = {(time_t)(micros / 1000000), (long)(micros % 1000000 * 1000)};
  nanosleep(&rest, NULL);
}

static void make_workers(unsigned count) {
  workers = mmap(NULL, WORKERS_MAX * sizeof *workers, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (workers == MAP_FAILED || count > WORKERS_MAX || count <= SURVIVORS) die("workers");
}

static int finish(unsigned count) {
  uint64_t bytes = 0;
  for (unsigned slot = 0; slot < count; slot++) end_worker((int)slot);
  for (unsigned slot = 0; slot < count; slot++) bytes += workers[slot].bytes;
  tell("done, %d MiB\n", (int)(bytes >> 20));
  /* Until the test has looked at what is left. */
  for (char byte; read(STDIN_FILENO, &byte, 1) > 0;) continue;
  return 0;
}

static struct Places places_of(char **arguments) {
  return (struct Places){.own = arguments[0],
                         .peer = arguments[1],
                         .tcp = (uint16_t)atoi(arguments[2]),
                         .udp = (uint16_t)atoi(arguments[3])};
}

static int run_stepper(char **arguments) {
  struct Places places = places_of(arguments);
  unsigned kills = (unsigned)atoi(arguments[4]);
  unsigned first = (unsigned)atoi(arguments[6]);
  unsigned stride = (unsigned)atoi(arguments[7]);
  uint64_t lockOffset = strtoull(arguments[8], NULL, 0);
  uint64_t clients = strtoull(arguments[9], NULL, 0);
  int status;
  places.count = VICTIM + 1;
  randomState = strtoull(arguments[5], NULL, 0);
  make_workers(places.count);
  for (int slot = 0; slot < SURVIVORS; slot++) start_worker(&places, slot, false);
  for (unsigned n = 0; n < kills; n++) {
    start_worker(&places, VICTIM, true);
    pid_t pid = workers[VICTIM].pid;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) die("the victim");
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    rest_micros(next_random() % FREE_MICROS);
    kill(pid, SIGSTOP);
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) die("the victim");
    unsigned wanted = first + n * stride;
    unsigned held = step(pid, wanted, lockOffset, clients);
    tell("stepped %u of %u\n", held, wanted);
    if (n + 1 < kills) end_worker(VICTIM);
  }
  return finish(places.count);
}

static int run_mother(char **arguments) {
  struct Places places = places_of(arguments);
  places.count = (unsigned)atoi(arguments[4]);
  unsigned kills = (unsigned)atoi(arguments[5]);
  randomState = strtoull(arguments[6], NULL, 0);
  uint64_t pause = strtoull(arguments[7], NULL, 0);
  make_workers(places.count);
  /* A mother that has joined the stack has other children than one that has not. */
  if (randomState % 2 == 1) open_bound(places.own, SOCK_DGRAM);
  for (unsigned slot = 0; slot < places.count; slot++) start_worker(&places, (int)slot, false);
  for (unsigned n = 0; n < kills; n++) {
    rest_micros(next_random() % (2 * pause + 1));
    int slot = SURVIVORS + (int)(next_random() % (places.count - SURVIVORS));
    end_worker(slot);
    start_worker(&places, slot, false);
  }
  return finish(places.count);
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  if (count == 3 && strcmp(arguments[1], "peer") == 0) return run_peer(arguments[2]);
  if (count == 10 && strcmp(arguments[1], "mother") == 0) return run_mother(arguments + 2);
  if (count == 12 && strcmp(arguments[1], "stepper") == 0) return run_stepper(arguments + 2);
  return 2;
}
