// Sends Ethernet frames, good or bad, on an interface: reads each as its length (two bytes, lowest
// first) and its bytes from standard input. The tests make the frames in TypeScript.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char frame[65536];

int main(int count, char **arguments) {
  if (count != 2) return 2;
  // Protocol 0: only sends.
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll to = {.sll_family = AF_PACKET,
                           .sll_ifindex = (int)if_nametoindex(arguments[1])};
  if (fd < 0 || to.sll_ifindex == 0) {
    perror("send-frames");
    return 1;
  }
  unsigned sent = 0;
  unsigned char size[2];
  while (fread(size, sizeof size, 1, stdin) == 1) {
    size_t length = (size_t)(size[0] | size[1] << 8);
    if (fread(frame, 1, length, stdin) != length) return 1;
    while (sendto(fd, frame, length, 0, (struct sockaddr *)&to, sizeof to) < 0) {
      if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR) {
        perror("send-frames: sendto");
        return 1;
      }
      sched_yield();
    }
    sent++;
  }
  printf("sent %u frames\n", sent);
  return 0;
}
