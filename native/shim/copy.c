/*
 * sendfile(2) and splice(2) with a connection of the stack at one end: a copy through a buffer.
 * Nothing is taken from the source before the destination has room for it.
 */
#include "stream.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { COPY_BYTES = 65536 };
/* A pipe that can be written to has room for so much. */
#define PIPE_PIECE_BYTES ((size_t)PIPE_BUF)
#define MOVE_BYTES_MAX ((size_t)0x7ffff000)

static struct Endpoint *connection(int fd) {
  struct Endpoint *endpoint = fd_socket(fd);
  bool ours = endpoint != NULL && endpoint->stream;
  return ours && stream_kind(endpoint) == STREAM_CONNECTION ? endpoint : NULL;
}

/* Bytes, 0 at the end of the file, or -errno. The place in the file moves by what was sent. */
static ssize_t send_piece(int out, struct Endpoint *endpoint, int in, off_t at, void *buffer,
                          size_t bytes) {
  ssize_t got = pread(in, buffer, bytes, at);
  if (got <= 0) return got == 0 ? 0 : -errno;
  return stream_send_bytes(out, endpoint, buffer, (size_t)got, 0);
}

ssize_t shim_sendfile(int out, int in, off_t *offset, size_t count) {
  struct Endpoint *endpoint = connection(out);
  struct stat status;
  bool file = endpoint != NULL && fstat(in, &status) == 0 &&
              (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
  /* Anything else is not for sendfile, or the kernel knows better. */
  if (!file || (offset != NULL && (is_nowhere(offset) || *offset < 0)) || count == 0) {
    return real.sendfile(out, in, offset, count);
  }
  if (count > MOVE_BYTES_MAX) count = MOVE_BYTES_MAX;
  off_t at = offset != NULL ? *offset : lseek(in, 0, SEEK_CUR);
  void *buffer = malloc(COPY_BYTES);
  if (buffer == NULL) return answer(-ENOMEM);
  size_t done = 0;
  ssize_t result = 0;
  while (done < count) {
    size_t piece = count - done < COPY_BYTES ? count - done : COPY_BYTES;
    result = send_piece(out, endpoint, in, at + (off_t)done, buffer, piece);
    if (result <= 0) break;
    done += (size_t)result;
    if ((size_t)result < piece && socket_is_nonblocking(out, endpoint)) break;
  }
  free(buffer);
  if (done == 0 && result < 0) return answer(result);
  if (offset != NULL) *offset = at + (off_t)done;
  else lseek(in, at + (off_t)done, SEEK_SET);
  return (ssize_t)done;
}

static bool is_ready(int fd, short events, int millis) {
  struct pollfd one = {.fd = fd, .events = events};
  return real.poll(&one, 1, millis) > 0 && (one.revents & (events | POLLERR | POLLHUP)) != 0;
}

/* Bytes that a pipe took, or -errno. Waits for room only while nothing was moved. */
static ssize_t fill_pipe(int pipe, const uint8_t *from, size_t bytes, bool blocks) {
  size_t done = 0;
  while (done < bytes) {
    bool waits = blocks && done == 0;
    if (!is_ready(pipe, POLLOUT, waits ? -1 : 0)) {
      if (done > 0) break;
      return waits ? -EINTR : -EAGAIN;
    }
    size_t piece = bytes - done < PIPE_PIECE_BYTES ? bytes - done : PIPE_PIECE_BYTES;
    ssize_t written = real.write(pipe, from + done, piece);
    if (written < 0) return done > 0 ? (ssize_t)done : -errno;
    done += (size_t)written;
  }
  return (ssize_t)done;
}

static ssize_t to_pipe(int in, struct Endpoint *endpoint, int pipe, void *buffer, size_t bytes,
                       bool blocks) {
  if (!is_ready(pipe, POLLOUT, blocks ? -1 : 0)) return blocks ? -EINTR : -EAGAIN;
  ssize_t got = stream_receive_bytes(in, endpoint, buffer, bytes, MSG_PEEK);
  if (got <= 0) return got;
  ssize_t moved = fill_pipe(pipe, buffer, (size_t)got, blocks);
  if (moved > 0) stream_receive_bytes(in, endpoint, buffer, (size_t)moved, MSG_TRUNC);
  return moved;
}

static ssize_t from_pipe(int pipe, int out, struct Endpoint *endpoint, void *buffer, size_t bytes,
                         bool blocks) {
  if (!blocks && !is_ready(pipe, POLLIN, 0)) return -EAGAIN;
  /* What is taken from the pipe has to go: no more of it than there is room for. */
  const struct Socket *socket = region_socket(endpoint->index);
  uint32_t limit = socket->sendBufferBytes;
  uint32_t used = socket->sendBytes;
  size_t room = used < limit ? limit - used : 0;
  bool waits = blocks && !socket_is_nonblocking(out, endpoint);
  if (room == 0 && !waits) {
    if (endpoint->stream) region_tcb(endpoint->index)->noSpace = 1;
    return -EAGAIN;
  }
  if (!waits && bytes > room) bytes = room;
  ssize_t got = real.read(pipe, buffer, bytes);
  if (got <= 0) return got < 0 ? -errno : 0;
  size_t done = 0;
  while (done < (size_t)got) {
    struct pollfd one = {.fd = out, .events = POLLOUT};
    ssize_t sent = stream_send_bytes(out, endpoint, (uint8_t *)buffer + done,
                                     (size_t)got - done, 0);
    if (sent == -EAGAIN || sent == -EINTR) shim_poll(&one, 1, -1);
    else if (sent < 0) return done > 0 ? (ssize_t)done : sent;
    else done += (size_t)sent;
  }
  return (ssize_t)done;
}

static bool is_pipe(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

ssize_t shim_splice(int in, off_t *inOffset, int out, off_t *outOffset, size_t bytes,
                    unsigned int flags) {
  struct Endpoint *source = connection(in);
  struct Endpoint *sink = connection(out);
  int pipe = source != NULL ? out : in;
  bool ours = (source == NULL) != (sink == NULL) && is_pipe(pipe);
  if (!ours || inOffset != NULL || outOffset != NULL || bytes == 0) {
    return real.splice(in, inOffset, out, outOffset, bytes, flags);
  }
  int pipeFlags = real.fcntl(pipe, F_GETFL, NULL);
  bool blocks = (flags & SPLICE_F_NONBLOCK) == 0 && (pipeFlags & O_NONBLOCK) == 0;
  void *buffer = malloc(COPY_BYTES);
  if (buffer == NULL) return answer(-ENOMEM);
  if (bytes > COPY_BYTES) bytes = COPY_BYTES;
  ssize_t result = source != NULL ? to_pipe(in, source, out, buffer, bytes, blocks)
                                  : from_pipe(in, out, sink, buffer, bytes, blocks);
  free(buffer);
  return answer(result);
}
