// Calls that block, what ends them, and streams of stdio over sockets. Everything that is printed
// is the same on the kernel and under exasock.
//
//   blocking ADDRESS MODE
#include "waits.h"

#include <poll.h>
#include <sys/syscall.h>

enum { SHORT_MILLIS = 30, FILL_BYTES = 1 << 16 };

static int pair[2];
static volatile sig_atomic_t handled;
static uint64_t started;
static char buffer[FILL_BYTES];

static void count_signal(int number) {
  (void)number;
  handled++;
}

static void say(const char *what, long result) {
  int error = result < 0 ? errno : 0;
  int kept = nanos_now() - started >= SHORT_MILLIS * 1000000u;
  printf("%s: %ld %s, handled %d%s\n", what, result, error != 0 ? strerror(error) : "",
         (int)handled, kept ? ", after a while" : "");
  started = nanos_now();
}

static void limit(int fd, int option, int millis) {
  struct timeval time = {0, millis * 1000};
  CHECK(setsockopt(fd, SOL_SOCKET, option, &time, sizeof time) == 0);
}

enum Deed { SHUT_READ, SHUT_BOTH, PEER_ENDS, PEER_RESETS, SIGNAL, CONNECT };

struct Other {
  enum Deed deed;
  int fd;
  pthread_t thread;
};

/** Does something to a socket while the main thread waits in a call on it. */
static void *act(void *argument) {
  const struct Other *other = argument;
  struct linger now = {1, 0};
  spin_for(SHORT_MILLIS * 1000000u);
  if (other->deed == SHUT_READ) shutdown(other->fd, SHUT_RD);
  if (other->deed == SHUT_BOTH) shutdown(other->fd, SHUT_RDWR);
  if (other->deed == PEER_ENDS) shutdown(other->fd, SHUT_WR);
  if (other->deed == PEER_RESETS) {
    setsockopt(other->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(other->fd);
  }
  if (other->deed == SIGNAL) pthread_kill(other->thread, SIGUSR1);
  if (other->deed == CONNECT) {
    struct sockaddr_in name = name_of(other->fd);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  }
  return NULL;
}

static pthread_t begin(struct Other *other, enum Deed deed, int fd) {
  pthread_t thread;
  *other = (struct Other){deed, fd, pthread_self()};
  started = nanos_now();
  CHECK(pthread_create(&thread, NULL, act, other) == 0);
  return thread;
}

static void end(pthread_t thread) { pthread_join(thread, NULL); }

static void ends(int type, const char *name) {
  static const char *const deeds[] = {"shut for reading", "shut", "the peer ends", "it resets"};
  for (enum Deed deed = SHUT_READ; deed <= PEER_RESETS; deed++) {
    if (type == SOCK_DGRAM && deed > SHUT_BOTH) continue;
    struct Other other;
    char byte;
    make_pair(type, pair);
    pthread_t thread = begin(&other, deed, pair[deed >= PEER_ENDS]);
    printf("%s, %s: ", name, deeds[deed]);
    say("recv", recv(pair[0], &byte, 1, 0));
    end(thread);
    say("recv again", recv(pair[0], &byte, 1, MSG_DONTWAIT));
    close(pair[0]);
    if (deed != PEER_RESETS) close(pair[1]);
  }
}

/** Until nothing goes out for a while: what is on its way makes room. */
static void fill(int fd) {
  struct pollfd room = {.fd = fd, .events = POLLOUT};
  do {
    while (send(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0) continue;
  } while (poll(&room, 1, 4 * SHORT_MILLIS) == 1);
}

/** Timeouts: they end a call, and take SA_RESTART's effect from it. */
static void timeouts(void) {
  struct Other other;
  char byte;
  make_pair(SOCK_STREAM, pair);
  limit(pair[0], SO_RCVTIMEO, SHORT_MILLIS);
  limit(pair[0], SO_SNDTIMEO, SHORT_MILLIS);
  int small = FILL_BYTES / 2;
  CHECK(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
  CHECK(setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
  started = nanos_now();
  say("recv with a limit", recv(pair[0], &byte, 1, 0));
  fill(pair[0]);
  started = nanos_now();
  say("send without room, with a limit", send(pair[0], buffer, sizeof buffer, 0));
  limit(pair[0], SO_SNDTIMEO, 900);
  limit(pair[0], SO_RCVTIMEO, 900);
  for (int restart = 0; restart < 2; restart++) {
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = restart ? SA_RESTART : 0};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pthread_t thread = begin(&other, SIGNAL, -1);
    say("recv with a limit and a signal", recv(pair[0], &byte, 1, 0));
    end(thread);
    fill(pair[0]);
    thread = begin(&other, SIGNAL, -1);
    long sent = send(pair[0], buffer, sizeof buffer, 0);
    /* Or it ended with what the kernel found a little room for. */
    say("send with a limit and a signal", sent > 0 || errno == EINTR);
    end(thread);
  }
  close(pair[0]);
  close(pair[1]);
}

static void accepts(void) {
  struct Other other;
  int listener = bound_socket(SOCK_STREAM);
  CHECK(listen(listener, 4) == 0);
  limit(listener, SO_RCVTIMEO, SHORT_MILLIS);
  started = nanos_now();
  say("accept with a limit", accept(listener, NULL, NULL));
  limit(listener, SO_RCVTIMEO, 0);
  struct sigaction action = {.sa_handler = count_signal};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  pthread_t thread = begin(&other, SIGNAL, -1);
  say("accept and a signal", accept(listener, NULL, NULL));
  end(thread);
  thread = begin(&other, CONNECT, listener);
  say("accept", accept(listener, NULL, NULL) >= 0);
  end(thread);
  thread = begin(&other, SHUT_BOTH, listener);
  say("accept, shut", accept(listener, NULL, NULL));
  end(thread);
  close(listener);
}

static void streams(void) {
  char line[64];
  char *all = NULL;
  size_t room = 0;
  make_pair(SOCK_STREAM, pair);
  FILE *out = fdopen(pair[0], "w");
  FILE *in = fdopen(pair[1], "r+");
  CHECK(out != NULL && in != NULL);
  say("setvbuf", setvbuf(out, NULL, _IOLBF, 0));
  say("fprintf", fprintf(out, "one %d\ntwo %s\n", 1, "2"));
  printf("fgets: %s", fgets(line, sizeof line, in));
  say("getline", getline(&all, &room, in));
  say("dprintf", dprintf(pair[0], "three %d\n", 3));
  int number = 0;
  say("fscanf", fscanf(in, "three %d", &number));
  printf("%d then %d, the end %d\n", number, fgetc(in), feof(in));
  say("fputs and fflush", fputs("back\n", in) >= 0 && fflush(in) == 0);
  say("recv", recv(pair[0], line, sizeof line, 0));
  printf("descriptors: %d %d\n", fileno(out) == pair[0], fileno(in) == pair[1]);
  fputs("the last line", out);
  say("fclose", fclose(out));
  say("recv of a closed one", recv(pair[0], line, 1, 0));
  say("fread", (long)fread(line, 1, sizeof line, in));
  printf("%.13s, the end %d, an error %d\n", line, feof(in), ferror(in));
  FILE *child = popen("cat", "w");
  CHECK(child != NULL && fputs("through a pipe\n", child) >= 0);
  fflush(stdout);
  long closed = pclose(child);
  started = nanos_now();
  say("pclose", closed);
  fclose(in);
  free(all);
}

int main(int words, char **arguments) {
  CHECK(words == 3);
  CHECK(inet_pton(AF_INET, arguments[1], &host) == 1);
  signal(SIGPIPE, SIG_IGN);
  wait_by(arguments[2]);
  ends(SOCK_DGRAM, "udp");
  ends(SOCK_STREAM, "tcp");
  timeouts();
  accepts();
  streams();
  return 0;
}
