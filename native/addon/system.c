/* Sockets, memory files and limits for TypeScript: one system call each, no policy. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "addon.h"

/*
 * memfdCreate(name, bytes): a close-on-exec memory file of that length for ever: whoever could cut
 * it short would kill all who have it mapped.
 */
static napi_value memfd_create_sized(napi_env env, napi_callback_info info) {
  char name[TEXT_BYTES];
  int64_t bytes;
  if (arguments(env, info, "sd", name, &bytes)) return NULL;
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (fd < 0) return result_or_errno(env, fd);
  if (ftruncate(fd, bytes) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0) return number(env, fd);
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

/*
 * receiveWithFds(fd, into, flags): [bytes, descriptors...] of one message, or -errno. The
 * descriptors are close-on-exec and the caller's.
 */
static napi_value receive_with_fds(napi_env env, napi_callback_info info) {
  int fd;
  int flags;
  struct bytes into;
  if (arguments(env, info, "ibi", &fd, &into, &flags)) return NULL;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int[INTEGERS_MAX]))];
  } control;
  struct iovec part = {.iov_base = into.at, .iov_len = into.length};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  ssize_t bytes = recvmsg(fd, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (bytes < 0) return number(env, -errno);
  napi_value all = NULL;
  napi_create_array(env, &all);
  napi_set_element(env, all, 0, number(env, bytes));
  uint32_t count = 1;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < fds; i++) {
      int one;
      memcpy(&one, CMSG_DATA(c) + i * sizeof one, sizeof one);
      napi_set_element(env, all, count++, number(env, one));
    }
  }
  return all;
}

/* socketPair(domain, type): two connected sockets, close-on-exec and non-blocking, or -errno. */
static napi_value socket_pair(napi_env env, napi_callback_info info) {
  int domain;
  int type;
  int fds[2];
  if (arguments(env, info, "ii", &domain, &type)) return NULL;
  if (socketpair(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) {
    return number(env, -errno);
  }
  return number_pair(env, fds[0], fds[1]);
}

/* pidfdOpen(pid): a descriptor of a process. */
static napi_value pidfd_open_process(napi_env env, napi_callback_info info) {
  int pid;
  if (arguments(env, info, "i", &pid)) return NULL;
  return result_or_errno(env, syscall(SYS_pidfd_open, pid, 0));
}

/* pidfdGetfd(pidfd, fd): a copy of one of its descriptors. */
static napi_value pidfd_getfd_copy(napi_env env, napi_callback_info info) {
  int pidfd;
  int fd;
  if (arguments(env, info, "ii", &pidfd, &fd)) return NULL;
  return result_or_errno(env, syscall(SYS_pidfd_getfd, pidfd, fd, 0));
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
  export_function(env, exports, "receiveWithFds", receive_with_fds);
  export_function(env, exports, "socketPair", socket_pair);
  export_function(env, exports, "pidfdOpen", pidfd_open_process);
  export_function(env, exports, "pidfdGetfd", pidfd_getfd_copy);
  export_function(env, exports, "getSocketOption", get_option);
  export_function(env, exports, "setSocketOption", set_option);
}
