/*
 * Addresses of TCP sockets. To the stack they are IPv4; a program may have opened its socket as an
 * IPv6 one, which speaks IPv4 by v4-mapped addresses unless IPV6_V6ONLY is set (ipv6(7)).
 */
#include "stream.h"

#include <string.h>

bool stream_read_name(const struct sockaddr *name, socklen_t bytes, struct sockaddr_in *to) {
  if (name->sa_family == AF_INET && bytes >= sizeof *to) {
    memcpy(to, name, sizeof *to);
    return true;
  }
  struct sockaddr_in6 six;
  /* scope_id may be missing: RFC 2133's structure. */
  if (name->sa_family != AF_INET6 || bytes < offsetof(struct sockaddr_in6, sin6_scope_id)) {
    return false;
  }
  memcpy(&six, name, offsetof(struct sockaddr_in6, sin6_scope_id));
  bool any = IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr);
  if (!any && !IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) return false;
  *to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = six.sin6_port};
  if (!any) memcpy(&to->sin_addr, &six.sin6_addr.s6_addr[12], sizeof to->sin_addr);
  return true;
}

int stream_local_name(int fd, const struct Endpoint *endpoint, struct sockaddr_in *local) {
  struct sockaddr_in6 name;
  socklen_t room = sizeof name;
  int only = 0;
  if (real.getsockname(fd, (struct sockaddr *)&name, &room) != 0) return -errno;
  room = room < sizeof name ? room : sizeof name;
  if (!stream_read_name((struct sockaddr *)&name, room, local)) return -EAFNOSUPPORT;
  room = sizeof only;
  if (endpoint->six) real.getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &room);
  return only ? -EAFNOSUPPORT : 0;
}

int stream_bind_any(int fd, const struct Endpoint *endpoint) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6};
  struct sockaddr_in four = {.sin_family = AF_INET};
  int result = endpoint->six ? real.bind(fd, (struct sockaddr *)&six, sizeof six)
                             : real.bind(fd, (struct sockaddr *)&four, sizeof four);
  return result == 0 ? 0 : -errno;
}

int stream_put_name(const struct Endpoint *endpoint, uint64_t lo, uint16_t portNet,
                    struct sockaddr *address, socklen_t *bytes) {
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = portNet};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = portNet};
  if (is_nowhere(bytes)) return -EFAULT;
  if ((int)*bytes < 0) return -EINVAL;
  if (*bytes != 0 && is_nowhere(address)) return -EFAULT;
  /* The upper half of the v4-mapped form, as the region has it. */
  memcpy(&four.sin_addr, (const uint8_t *)&lo + 4, sizeof four.sin_addr);
  memcpy(&six.sin6_addr.s6_addr[8], &lo, sizeof lo);
  const void *name = endpoint->six ? (const void *)&six : (const void *)&four;
  socklen_t size = endpoint->six ? sizeof six : sizeof four;
  memcpy(address, name, *bytes < size ? *bytes : size);
  *bytes = size;
  return 0;
}

int shim_getsockname(int fd, struct sockaddr *address, socklen_t *bytes) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (!endpoint->stream || stream_kind(endpoint) != STREAM_CONNECTION) {
    return real.getsockname(fd, address, bytes);
  }
  const struct Socket *socket = region_socket(endpoint->index);
  uint16_t port = socket->localPortNet;
  return (int)answer(stream_put_name(endpoint, socket->localLo, port, address, bytes));
}

int shim_getpeername(int fd, struct sockaddr *address, socklen_t *bytes) {
  struct Endpoint *endpoint = fd_endpoint(fd);
  if (!endpoint->stream || stream_kind(endpoint) != STREAM_CONNECTION) {
    return real.getpeername(fd, address, bytes);
  }
  const struct Socket *socket = region_socket(endpoint->index);
  uint8_t state = region_tcb(endpoint->index)->state;
  if (state == TcpState_Closed || state == TcpState_SynSent) return (int)answer(-ENOTCONN);
  uint16_t port = socket->remotePortNet;
  return (int)answer(stream_put_name(endpoint, socket->remoteLo, port, address, bytes));
}
