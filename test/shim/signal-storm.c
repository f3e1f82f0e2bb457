// Transfers in a storm of signals, a thousand a second: every byte arrives, in its place.
//
//   signal-storm ADDRESS udp|tcp MODE restart|interrupt [PORT]
//   signal-storm ADDRESS echo            prints the port; serves one connection
//
// With a port, the other side is `signal-storm ADDRESS echo`; else it is a thread of this program.
#include "waits.h"

#include <sys/time.h>

enum { STREAM_BYTES = 8 << 20, PIECE_BYTES = 7001, DATAGRAMS = 20000, STORM_MICROS = 1000 };

static const char *mode;
static int restart;
static int pair[2];
static _Atomic unsigned handled;

static void count_signal(int number) {
  (void)number;
  handled++;
}

/** Whether a call that failed is to be made again: not if the signal should have restarted it. */
static int is_again(ssize_t result) { return result < 0 && errno == EINTR && !restart; }

static uint8_t byte_at(size_t n) { return (uint8_t)(n * 7 + n / 251); }

static void *write_stream(void *unused) {
  uint8_t piece[PIECE_BYTES];
  wait_by(mode);
  for (size_t at = 0; at < STREAM_BYTES;) {
    size_t bytes = STREAM_BYTES - at < PIECE_BYTES ? STREAM_BYTES - at : PIECE_BYTES;
    for (size_t i = 0; i < bytes; i++) piece[i] = byte_at(at + i);
    ssize_t sent = send(pair[1], piece, bytes, 0);
    if (is_again(sent)) continue;
    CHECK(sent > 0);
    at += (size_t)sent;
  }
  return unused;
}

static void read_stream(int fd) {
  uint8_t piece[PIECE_BYTES];
  for (size_t at = 0; at < STREAM_BYTES;) {
    ssize_t got = recv(fd, piece, sizeof piece, 0);
    if (is_again(got)) continue;
    CHECK(got > 0);
    for (size_t i = 0; i < (size_t)got; i++) CHECK(piece[i] == byte_at(at + i));
    at += (size_t)got;
  }
}

static void exchange(int fd, int first) {
  for (unsigned n = 0; n < DATAGRAMS; n++) {
    unsigned got = ~0u;
    ssize_t result;
    if (n % 2 == (unsigned)first) {
      do result = send(fd, &n, sizeof n, 0);
      while (is_again(result));
      CHECK(result == sizeof n);
    } else {
      do result = recv(fd, &got, sizeof got, 0);
      while (is_again(result));
      CHECK(result == sizeof got && got == n);
    }
  }
}

static void *answer(void *unused) {
  wait_by(mode);
  exchange(pair[1], 1);
  return unused;
}

static int serve(void) {
  static char piece[1 << 16];
  int listener = bound_socket(SOCK_STREAM);
  CHECK(listen(listener, 1) == 0);
  printf("port %d\n", ntohs(name_of(listener).sin_port));
  fflush(stdout);
  int fd = accept(listener, NULL, NULL);
  CHECK(fd >= 0);
  for (ssize_t got; (got = recv(fd, piece, sizeof piece, 0)) > 0;) {
    CHECK(send(fd, piece, (size_t)got, 0) == got);
  }
  return 0;
}

int main(int words, char **arguments) {
  CHECK(words >= 3);
  CHECK(inet_pton(AF_INET, arguments[1], &host) == 1);
  if (strcmp(arguments[2], "echo") == 0) return serve();
  CHECK(words >= 5);
  int udp = strcmp(arguments[2], "udp") == 0;
  mode = arguments[3];
  restart = strcmp(arguments[4], "restart") == 0;
  wait_by(mode);
  if (words > 5) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = host};
    name.sin_port = htons((uint16_t)atoi(arguments[5]));
    pair[0] = pair[1] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(pair[0], (struct sockaddr *)&name, sizeof name) == 0);
  } else {
    make_pair(udp ? SOCK_DGRAM : SOCK_STREAM, pair);
  }
  struct sigaction action = {.sa_handler = count_signal, .sa_flags = restart ? SA_RESTART : 0};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval storm = {{0, STORM_MICROS}, {0, STORM_MICROS}};
  CHECK(setitimer(ITIMER_REAL, &storm, NULL) == 0);
  pthread_t other;
  CHECK(pthread_create(&other, NULL, udp ? answer : write_stream, NULL) == 0);
  if (udp) exchange(pair[0], 0);
  else read_stream(pair[0]);
  pthread_join(other, NULL);
  printf("%s: all there, a storm: %d\n", arguments[2], handled > 1);
  return 0;
}
