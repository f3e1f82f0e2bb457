// Ping-pong of several threads, for bench/waiting.ts: each pair has a TCP connection of its own.
//
//   pairs server ADDRESS PORT COUNT           `ready`, then echoes until its peers are gone
//   pairs client ADDRESS PORT COUNT SECONDS   prints the round trips of all pairs per second
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { MESSAGE_BYTES = 64, PAIRS_MAX = 64 };

static struct sockaddr_in address;
static double seconds;

static void check(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

static int new_socket(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  check(fd >= 0, "socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static int whole(int fd, char *message) {
  return recv(fd, message, MESSAGE_BYTES, MSG_WAITALL) == MESSAGE_BYTES;
}

static void *serve(void *argument) {
  int fd = (int)(long)argument;
  char message[MESSAGE_BYTES];
  while (whole(fd, message)) check(send(fd, message, MESSAGE_BYTES, 0) > 0, "send");
  close(fd);
  return NULL;
}

static void *ask(void *argument) {
  int fd = (int)(long)argument;
  char message[MESSAGE_BYTES] = {0};
  long trips = 0;
  for (double end = now_seconds() + seconds; now_seconds() < end; trips++) {
    check(send(fd, message, MESSAGE_BYTES, 0) > 0, "send");
    check(whole(fd, message), "recv");
  }
  close(fd);
  return (void *)trips;
}

static int open_one(int server) {
  int fd = server >= 0 ? accept(server, NULL, NULL) : new_socket();
  if (server < 0) {
    check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
  }
  check(fd >= 0, "accept");
  return fd;
}

int main(int count, char **arguments) {
  check(count >= 5, "arguments");
  int isServer = strcmp(arguments[1], "server") == 0;
  address = (struct sockaddr_in){.sin_family = AF_INET,
                                 .sin_port = htons((unsigned short)atoi(arguments[3]))};
  inet_pton(AF_INET, arguments[2], &address.sin_addr);
  int pairs = atoi(arguments[4]);
  seconds = count > 5 ? atof(arguments[5]) : 0;
  int server = -1;
  if (isServer) {
    server = new_socket();
    check(bind(server, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(server, PAIRS_MAX) == 0, "listen");
    puts("ready");
    fflush(stdout);
  }
  pthread_t threads[PAIRS_MAX];
  int fds[PAIRS_MAX];
  for (int i = 0; i < pairs; i++) fds[i] = open_one(server);
  for (int i = 0; i < pairs; i++) {
    pthread_create(&threads[i], NULL, isServer ? serve : ask, (void *)(long)fds[i]);
  }
  long trips = 0;
  for (int i = 0; i < pairs; i++) {
    void *result = NULL;
    pthread_join(threads[i], &result);
    trips += (long)result;
  }
  if (!isServer) printf("%.0f\n", (double)trips / seconds);
  return 0;
}
