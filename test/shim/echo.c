// A server that returns every datagram in capitals until it is told to quit. The tests build it in
// several ways: fortified, with 64-bit file offsets, statically. The sizes come from outside, so
// that the compiler can't prove them harmless and keeps the checking entry points of libc.
#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[2048];

/** The three ways to receive take turns. */
static ssize_t receive(int fd, size_t size, int turn, struct sockaddr_in *from) {
  socklen_t length = sizeof *from;
  if (turn % 3 == 0) return recvfrom(fd, buffer, size, 0, (struct sockaddr *)from, &length);
  if (recvfrom(fd, buffer, 0, MSG_PEEK, (struct sockaddr *)from, &length) < 0) return -1;
  return turn % 3 == 1 ? recv(fd, buffer, size, 0) : read(fd, buffer, size);
}

int main(int count, char **arguments) {
  size_t size = count > 1 ? (size_t)atoi(arguments[1]) : sizeof buffer;
  nfds_t descriptors = count > 2 ? (nfds_t)atoi(arguments[2]) : 1;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr *)&address, length) < 0) return 1;
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return 1;
  if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) return 1;
  printf("port %d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (int turn = 0;; turn++) {
    struct pollfd entries[4] = {{.fd = fd, .events = POLLIN}};
    struct sockaddr_in from;
    if (poll(entries, descriptors, -1) < 0) return 1;
    ssize_t got = receive(fd, size, turn, &from);
    if (got < 0) return 1;
    if (got == 4 && memcmp(buffer, "quit", 4) == 0) return 0;
    for (ssize_t i = 0; i < got; i++) buffer[i] = (char)toupper((unsigned char)buffer[i]);
    // Not every sender can be answered: nothing in a datagram proves where it came from.
    if (sendto(fd, buffer, (size_t)got, 0, (struct sockaddr *)&from, sizeof from) < 0) continue;
  }
}
