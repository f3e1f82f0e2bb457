/* dprintf(3), whose write inside libc we can't stand before: the text is made, then written by us. */
#include "shim.h"

#include <stdlib.h>

extern int __vasprintf_chk(char **text, int flag, const char *format, va_list list);

static int write_text(int fd, char *text, int bytes) {
  if (bytes < 0) return -1;
  int done = 0;
  while (done < bytes) {
    ssize_t written = write(fd, text + done, (size_t)(bytes - done));
    if (written < 0) break;
    done += (int)written;
  }
  free(text);
  return done < bytes ? -1 : bytes;
}

int shim_vdprintf(int fd, const char *format, va_list list) {
  char *text = NULL;
  int bytes = vasprintf(&text, format, list);
  return write_text(fd, text, bytes);
}

int shim_vdprintf_chk(int fd, int flag, const char *format, va_list list) {
  char *text = NULL;
  int bytes = __vasprintf_chk(&text, flag, format, list);
  return write_text(fd, text, bytes);
}

#define EXPORTED __attribute__((visibility("default"), used))
EXPORTED int call_dprintf(int fd, const char *format, ...) __asm__("dprintf");
EXPORTED int call___dprintf_chk(int fd, int flag, const char *format, ...) __asm__("__dprintf_chk");

int call_dprintf(int fd, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int result = fd_socket(fd) != NULL ? shim_vdprintf(fd, format, list)
                                     : real.vdprintf(fd, format, list);
  va_end(list);
  return result;
}

int call___dprintf_chk(int fd, int flag, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int result = fd_socket(fd) != NULL ? shim_vdprintf_chk(fd, flag, format, list)
                                     : real.__vdprintf_chk(fd, flag, format, list);
  va_end(list);
  return result;
}
