// SPDX-License-Identifier: Apache-2.0
//
// Purpose: output files that are whole or absent.
// Data owned: one descriptor, one buffer, and the name that the signal handler removes (one file at a time in a process).
// Threads: one writes; the handler only unlinks and leaves. Not here: what is written.
#include "convert/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

#define BUFFER_BYTES ((size_t)1 << 20)
#define SPARE_BYTES ((int64_t)16 << 20)  // what a file system keeps for itself while a file grows

static char part_to_remove[4104];
static volatile sig_atomic_t part_is_there;

static void on_signal(int number) {
  if (part_is_there) (void)unlink(part_to_remove);
  // A failed assertion goes on to end the process by itself.
  if (number != SIGABRT) _exit(128 + number);
}

static void watch_signals(const char *part) {
  part_is_there = 0;
  (void)rh_text_copy(part_to_remove, sizeof part_to_remove, part);
  part_is_there = 1;
  struct sigaction action = {.sa_handler = on_signal};
  (void)sigaction(SIGINT, &action, NULL);
  (void)sigaction(SIGTERM, &action, NULL);
  (void)sigaction(SIGHUP, &action, NULL);
  (void)sigaction(SIGABRT, &action, NULL);
  // A limit on file sizes becomes an error of write(), and a reader who left one of printing.
  (void)signal(SIGXFSZ, SIG_IGN);
  (void)signal(SIGPIPE, SIG_IGN);
}

static rh_status fail_write(const rh_writer *self, int number, rh_error *error) {
  bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  return rh_fail(error, full ? RH_NO_SPACE : RH_IO, "cannot write %s: %s%s", self->path, strerror(number),
                 full ? "; make room on the disk, nothing is left of this attempt" : "");
}

static rh_status check_space(const rh_writer *self, int64_t bytes, rh_error *error) {
  char folder[4096];
  (void)rh_text_copy(folder, sizeof folder, self->path);
  char *slash = strrchr(folder, '/');
  if (slash == NULL) {
    (void)rh_text_copy(folder, sizeof folder, ".");
  } else {
    slash[slash == folder ? 1 : 0] = '\0';
  }
  int64_t free_bytes = rh_file_free_bytes(folder);
  if (bytes == 0 || free_bytes < 0 || free_bytes >= bytes + SPARE_BYTES) return RH_OK;
  char need[32], have[32];
  rh_text_format_bytes(need, sizeof need, (uint64_t)bytes);
  rh_text_format_bytes(have, sizeof have, (uint64_t)free_bytes);
  return rh_fail(error, RH_NO_SPACE, "%s needs %s, but only %s are free in %s", self->path, need, have, folder);
}

rh_status rh_writer_begin_foreign(rh_writer *self, const char *path, int64_t bytes, rh_error *error) {
  *self = (rh_writer){.fd = -1};
  if (!rh_text_copy(self->path, sizeof self->path, path))
    return rh_fail(error, RH_INVALID, "the output's path is too long");
  struct stat about;
  if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
    return rh_fail(error, RH_INVALID, "%s is there and is no file; name a file to be written", path);
  (void)snprintf(self->part, sizeof self->part, "%s.part", path);
  rh_status status = check_space(self, bytes, error);
  if (status != RH_OK) {
    self->part[0] = '\0';
    return status;
  }
  watch_signals(self->part);
  return RH_OK;
}

rh_status rh_writer_open(rh_writer *self, const char *path, int64_t bytes, rh_error *error) {
  rh_status status = rh_writer_begin_foreign(self, path, bytes, error);
  if (status != RH_OK) return status;
  self->buffer = malloc(BUFFER_BYTES);
  if (self->buffer == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the output's buffer");
  self->fd = open(self->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (self->fd < 0) return rh_fail(error, RH_IO, "cannot create %s: %s", self->part, strerror(errno));
  return RH_OK;
}

static rh_status flush(rh_writer *self, rh_error *error) {
  size_t done = 0;
  while (done < self->buffered) {
    ssize_t count = write(self->fd, self->buffer + done, self->buffered - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_write(self, errno, error);
    done += (size_t)count;
  }
  self->buffered = 0;
  return RH_OK;
}

rh_status rh_writer_put(rh_writer *self, const void *bytes, size_t length, rh_error *error) {
  const uint8_t *from = bytes;
  self->written += (int64_t)length;
  while (length > 0) {
    size_t room = BUFFER_BYTES - self->buffered, part = length < room ? length : room;
    memcpy(self->buffer + self->buffered, from, part);
    self->buffered += part;
    from += part;
    length -= part;
    if (self->buffered < BUFFER_BYTES) continue;
    rh_status status = flush(self, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

rh_status rh_writer_pad(rh_writer *self, size_t alignment, rh_error *error) {
  static const uint8_t zeros[256];
  size_t over = (size_t)self->written % alignment;
  return over == 0 ? RH_OK : rh_writer_put(self, zeros, alignment - over, error);
}

static rh_status rename_part(rh_writer *self, rh_error *error) {
  part_is_there = 0;
  if (rename(self->part, self->path) != 0) {
    part_is_there = 1;
    return rh_fail(error, RH_IO, "cannot rename %s to %s: %s", self->part, self->path, strerror(errno));
  }
  self->part[0] = '\0';
  return RH_OK;
}

rh_status rh_writer_finish(rh_writer *self, rh_error *error) {
  rh_status status = flush(self, error);
  if (status != RH_OK) return status;
  int failed = fsync(self->fd) != 0 ? errno : 0;
  if (close(self->fd) != 0 && failed == 0) failed = errno;
  self->fd = -1;
  if (failed != 0) return fail_write(self, failed, error);
  return rename_part(self, error);
}

rh_status rh_writer_finish_foreign(rh_writer *self, rh_error *error) {
  int fd = open(self->part, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return rh_fail(error, RH_IO, "cannot open %s: %s", self->part, strerror(errno));
  struct stat about;
  int failed = fsync(fd) != 0 || fstat(fd, &about) != 0 ? errno : 0;
  close(fd);
  if (failed != 0) return fail_write(self, failed, error);
  self->written = about.st_size;
  return rename_part(self, error);
}

void rh_writer_abandon(rh_writer *self) {
  if (self->fd >= 0) close(self->fd);
  if (self->part[0] != '\0') (void)unlink(self->part);
  part_is_there = 0;
  free(self->buffer);
  *self = (rh_writer){.fd = -1};
}
