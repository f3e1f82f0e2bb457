/* Sockets, memory files and limits for TypeScript: one system call each, no policy. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"

/* memfdCreate(name, bytes): a close-on-exec memory file of that length. */
static napi_value memfd_create_sized(napi_env env, napi_callback_info info) {
  char name[TEXT_BYTES];
  int64_t bytes;
  if (arguments(env, info, "sd", name, &bytes)) return NULL;
  int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, bytes) == 0) return result_or_errno(env, fd);
  int error = errno;
  close(fd);
  return number(env, -error);
}

/* close(fd) */
static napi_value close_fd(napi_env env, napi_callback_info info) {
  int fd;
  if (arguments(env, info, "i", &fd)) return NULL;
  return result_or_errno(env, close(fd));
}

/* socket(domain, type, protocol): close-on-exec and non-blocking. */
static napi_value open_socket(napi_env env, napi_callback_info info) {
  int domain;
  int type;
  int protocol;
  if (arguments(env, info, "iii", &domain, &type, &protocol)) return NULL;
  return result_or_errno(env, socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
}

/* bind(fd, address): address as the bytes of the sockaddr. */
static napi_value bind_socket(napi_env env, napi_callback_info info) {
  int fd;
  struct bytes address;
  if (arguments(env, info, "ib", &fd, &address)) return NULL;
  return result_or_errno(env, bind(fd, (void *)address.at, (socklen_t)address.length));
}

/* connect(fd, address) */
static napi_value connect_socket(napi_env env, napi_callback_info info) {
  int fd;
  struct bytes address;
  if (arguments(env, info, "ib", &fd, &address)) return NULL;
  return result_or_errno(env, connect(fd, (void *)address.at, (socklen_t)address.length));
}

/* listen(fd, backlog) */
static napi_value listen_socket(napi_env env, napi_callback_info info) {
  int fd;
  int backlog;
  if (arguments(env, info, "ii", &fd, &backlog)) return NULL;
  return result_or_errno(env, listen(fd, backlog));
}

/* accept(fd): close-on-exec and non-blocking. */
static napi_value accept_socket(napi_env env, napi_callback_info info) {
  int fd;
  if (arguments(env, info, "i", &fd)) return NULL;
  return result_or_errno(env, accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

/* receive(fd, into, flags): bytes received; with MSG_TRUNC in flags the real length. */
static napi_value receive(napi_env env, napi_callback_info info) {
  int fd;
  int flags;
  struct bytes into;
  if (arguments(env, info, "ibi", &fd, &into, &flags)) return NULL;
  return result_or_errno(env, recv(fd, into.at, into.length, flags | MSG_DONTWAIT));
}

/* send(fd, data, fds, address or null): one message, with descriptors passed along if any. */
static napi_value send_message(napi_env env, napi_callback_info info) {
  int fd;
  struct bytes data;
  struct bytes address;
  struct integers fds;
  if (arguments(env, info, "ibab", &fd, &data, &fds, &address)) return NULL;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof fds.at)];
  } control;
  memset(&control, 0, sizeof control);
  struct iovec part = {.iov_base = data.at, .iov_len = data.length};
  struct msghdr message = {.msg_name = address.at,
                           .msg_namelen = (socklen_t)address.length,
                           .msg_iov = &part,
                           .msg_iovlen = 1};
  if (fds.count > 0) {
    size_t payload = fds.count * sizeof fds.at[0];
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(payload);
    memcpy(CMSG_DATA(&control.header), fds.at, payload);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(payload);
  }
  return result_or_errno(env, sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/* getSocketOption(fd, level, name, into): bytes written; -ERANGE when `into` is too short. */
static napi_value get_option(napi_env env, napi_callback_info info) {
  int fd;
  int level;
  int name;
  struct bytes into;
  if (arguments(env, info, "iiib", &fd, &level, &name, &into)) return NULL;
  socklen_t length = (socklen_t)into.length;
  int result = getsockopt(fd, level, name, into.at, &length);
  return result_or_errno(env, result < 0 ? result : (int64_t)length);
}

/* setSocketOption(fd, level, name, value) */
static napi_value set_option(napi_env env, napi_callback_info info) {
  int fd;
  int level;
  int name;
  struct bytes value;
  if (arguments(env, info, "iiib", &fd, &level, &name, &value)) return NULL;
  return result_or_errno(env, setsockopt(fd, level, name, value.at, (socklen_t)value.length));
}

void export_system(napi_env env, napi_value exports) {
  export_function(env, exports, "memfdCreate", memfd_create_sized);
  export_function(env, exports, "close", close_fd);
  export_function(env, exports, "socket", open_socket);
  export_function(env, exports, "bind", bind_socket);
  export_function(env, exports, "connect", connect_socket);
  export_function(env, exports, "listen", listen_socket);
  export_function(env, exports, "accept", accept_socket);
  export_function(env, exports, "receive", receive);
  export_function(env, exports, "send", send_message);
  export_function(env, exports, "getSocketOption", get_option);
  export_function(env, exports, "setSocketOption", set_option);
}
