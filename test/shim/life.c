// Programs whose threads and processes use their sockets while others come and go.
//
//   life forks ADDRESS CHILDREN    two threads echo on a connection each, while the main thread
//                                  forks children one after the other, which use an inherited
//                                  socket, a connection and one of their own
//   life client ADDRESS PORT BYTES two connections, each echoing so many bytes, compared
//   life daemon ADDRESS DATAGRAMS  becomes a daemon with a bound socket and echoes datagrams
//
// The servers write `port N` when they listen.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNECTIONS = 2, CHUNK = 16384, PATIENCE_SECONDS = 30 };

static void fail(const char *what) {
  fprintf(stderr, "life: %s: %s\n", what, strerror(errno));
  _exit(1);
}

static struct sockaddr_in name_of(const char *address, int port) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, address, &name.sin_addr);
  return name;
}

static int bound_socket(const char *address, int type) {
  struct sockaddr_in name = name_of(address, 0);
  socklen_t bytes = sizeof name;
  int fd = socket(AF_INET, type, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) != 0) fail("bind");
  if (type == SOCK_STREAM && listen(fd, 8) != 0) fail("listen");
  getsockname(fd, (struct sockaddr *)&name, &bytes);
  if (type == SOCK_STREAM) printf("port %d\n", ntohs(name.sin_port));
  fflush(stdout);
  return fd;
}

static void *echo(void *argument) {
  int fd = (int)(intptr_t)argument;
  char data[CHUNK];
  long total = 0;
  for (ssize_t got; (got = recv(fd, data, sizeof data, 0)) != 0; total += got) {
    if (got < 0) fail("recv");
    for (ssize_t sent = 0, more; sent < got; sent += more) {
      more = send(fd, data + sent, (size_t)(got - sent), 0);
      if (more < 0) fail("send");
    }
  }
  if (shutdown(fd, SHUT_WR) != 0) fail("shutdown");
  return (void *)total;
}

/** What a child does with what it has inherited, and with a socket of its own. */
static int child(const char *address, int udp, int connection) {
  char byte;
  struct sockaddr_in name;
  socklen_t bytes = sizeof name;
  if (getsockname(connection, (struct sockaddr *)&name, &bytes) != 0) return 2;
  if (recv(udp, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN) return 3;
  int own = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in any = name_of(address, 0);
  if (own < 0 || bind(own, (struct sockaddr *)&any, sizeof any) != 0) return 4;
  if (recv(own, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN) return 5;
  return close(own) == 0 && close(udp) == 0 && close(connection) == 0 ? 0 : 6;
}

static int forks(const char *address, int children) {
  int udp = bound_socket(address, SOCK_DGRAM);
  int listener = bound_socket(address, SOCK_STREAM);
  pthread_t threads[CONNECTIONS];
  int connections[CONNECTIONS];
  for (int i = 0; i < CONNECTIONS; i++) {
    connections[i] = accept(listener, NULL, NULL);
    if (connections[i] < 0) fail("accept");
    pthread_create(&threads[i], NULL, echo, (void *)(intptr_t)connections[i]);
  }
  int good = 0;
  for (int i = 0; i < children; i++) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) _exit(child(address, udp, connections[i % CONNECTIONS]));
    if (pid < 0 || waitpid(pid, &status, 0) != pid) fail("fork");
    if (status == 0) good++;
    else fprintf(stderr, "life: a child ended with %x\n", (unsigned)status);
  }
  long total = 0;
  for (int i = 0; i < CONNECTIONS; i++) {
    void *bytes;
    pthread_join(threads[i], &bytes);
    total += (long)bytes;
  }
  printf("%d children, %ld bytes\n", good, total);
  return 0;
}

static unsigned char pattern(int which, long at) {
  return (unsigned char)(at * 31 + at / 251 + which * 7);
}

struct Flow {
  int fd;
  int which;
  long bytes;
};

static void *send_flow(void *argument) {
  const struct Flow *flow = argument;
  unsigned char data[CHUNK];
  for (long at = 0; at < flow->bytes;) {
    size_t room = flow->bytes - at < CHUNK ? (size_t)(flow->bytes - at) : CHUNK;
    for (size_t i = 0; i < room; i++) data[i] = pattern(flow->which, at + (long)i);
    ssize_t sent = send(flow->fd, data, room, 0);
    if (sent < 0) fail("send");
    at += sent;
  }
  shutdown(flow->fd, SHUT_WR);
  return NULL;
}

static int client(const char *address, int port, long bytes) {
  struct Flow flows[CONNECTIONS];
  pthread_t senders[CONNECTIONS];
  struct sockaddr_in to = name_of(address, port);
  for (int i = 0; i < CONNECTIONS; i++) {
    flows[i] = (struct Flow){socket(AF_INET, SOCK_STREAM, 0), i, bytes};
    if (connect(flows[i].fd, (struct sockaddr *)&to, sizeof to) != 0) fail("connect");
  }
  for (int i = 0; i < CONNECTIONS; i++) {
    pthread_create(&senders[i], NULL, send_flow, &flows[i]);
  }
  long wrong = 0, total = 0;
  long at[CONNECTIONS] = {0};
  struct pollfd fds[CONNECTIONS];
  for (int i = 0; i < CONNECTIONS; i++) fds[i] = (struct pollfd){flows[i].fd, POLLIN, 0};
  for (int open = CONNECTIONS; open > 0;) {
    if (poll(fds, CONNECTIONS, PATIENCE_SECONDS * 1000) <= 0) fail("poll");
    for (int i = 0; i < CONNECTIONS; i++) {
      unsigned char data[CHUNK];
      if (fds[i].revents == 0) continue;
      ssize_t got = recv(fds[i].fd, data, sizeof data, 0);
      if (got < 0) fail("recv");
      if (got == 0) open--, fds[i].fd = -1;
      for (ssize_t n = 0; n < got; n++) wrong += data[n] != pattern(i, at[i] + n);
      at[i] += got;
      total += got;
    }
  }
  printf("%ld bytes came back, %ld wrong\n", total, wrong);
  return 0;
}

static int become_daemon(const char *address, int datagrams) {
  struct sockaddr_in name;
  socklen_t bytes = sizeof name;
  int fd = bound_socket(address, SOCK_DGRAM);
  if (daemon(0, 1) != 0) fail("daemon");
  alarm(PATIENCE_SECONDS);
  getsockname(fd, (struct sockaddr *)&name, &bytes);
  printf("port %d\n", ntohs(name.sin_port));
  fflush(stdout);
  for (int i = 0; i < datagrams; i++) {
    char data[2048];
    bytes = sizeof name;
    ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&name, &bytes);
    if (got < 0) fail("recvfrom");
    if (sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&name, bytes) != got) fail("sendto");
  }
  printf("%d datagrams\n", datagrams);
  return 0;
}

int main(int count, char **arguments) {
  if (count == 4 && !strcmp(arguments[1], "forks")) return forks(arguments[2], atoi(arguments[3]));
  if (count == 5 && !strcmp(arguments[1], "client")) {
    return client(arguments[2], atoi(arguments[3]), atol(arguments[4]));
  }
  if (count == 4 && !strcmp(arguments[1], "daemon")) {
    return become_daemon(arguments[2], atoi(arguments[3]));
  }
  fprintf(stderr, "life: see the head of life.c\n");
  return 2;
}
