// SPDX-License-Identifier: Apache-2.0
//
// The decision log: whole lines at the end of a file, which is rotated by its size to PATH.1, PATH.2, ... Owns the descriptor;
// the ledger's thread. Several daemons may write to one path: all writing and rotating happens under flock(2) of the file, and who
// gets the lock looks whether the path still leads to the file that it has open. A line is never cut: what could not be written
// whole is taken back.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "ledger/ledger_private.h"

#define FILES_MAX 1000
#define BYTES_MIN 4096
#define LOCK_TRIES 100  // of 10 ms
#define REOPEN_MAX 8    // rotations by others while we try to get hold of the file

struct rh_decision_log {
  char *path;
  int fd;  // -1 = not open
  int64_t bytes_max;
  int64_t files;
  bool checked;  // that the file ends with a whole line
};

rh_decision_log *rh_decision_log_new(const char *path, uint64_t bytes_max, int64_t files) {
  rh_decision_log *log = calloc(1, sizeof *log);
  if (log == NULL) return NULL;
  *log = (rh_decision_log){.path = strdup(path), .fd = -1};
  log->bytes_max = bytes_max == 0                      ? INT64_MAX
                   : bytes_max < BYTES_MIN             ? BYTES_MIN
                   : bytes_max > (uint64_t)(INT64_MAX) ? INT64_MAX
                                                       : (int64_t)bytes_max;
  log->files = files < 0 ? 0 : files > FILES_MAX ? FILES_MAX : files;
  if (log->path == NULL) {
    free(log);
    return NULL;
  }
  return log;
}

static void close_file(rh_decision_log *log) {
  if (log->fd >= 0) close(log->fd);  // which drops the lock
  log->fd = -1;
}

void rh_decision_log_free(rh_decision_log *log) {
  if (log == NULL) return;
  close_file(log);
  free(log->path);
  free(log);
}

static rh_status make_parent(const char *path, rh_error *error) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL || slash == path) return RH_OK;
  char *folder = strndup(path, (size_t)(slash - path));
  if (folder == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to open %s", path);
  rh_status status = rh_file_make_folders(folder, 0700, error);
  free(folder);
  return status;
}

static rh_status open_file(rh_decision_log *log, rh_error *error) {
  if (log->fd >= 0) return RH_OK;
  rh_status status = make_parent(log->path, error);
  if (status != RH_OK) return status;
  // O_NONBLOCK: a named pipe would hold us here. It says what people asked for: nobody else's business.
  int fd = open(log->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0600);
  if (fd < 0) return rh_file_fail(error, errno, "open the decision log", log->path);
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return rh_fail(error, RH_INVALID, "the decision log %s is not a plain file", log->path);
  }
  if (info.st_uid == geteuid() && (info.st_mode & 077) != 0) (void)fchmod(fd, 0600);
  log->fd = fd;
  log->checked = false;
  return RH_OK;
}

static rh_status lock_file(rh_decision_log *log, rh_error *error) {
  for (int i = 0; i < LOCK_TRIES; i++) {
    if (flock(log->fd, LOCK_EX | LOCK_NB) == 0) return RH_OK;
    if (errno != EWOULDBLOCK && errno != EINTR) return rh_file_fail(error, errno, "lock the decision log", log->path);
    (void)nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000L}, NULL);
  }
  return rh_fail(error, RH_UNAVAILABLE, "the decision log %s is locked by another process", log->path);
}

// Opens and locks the file that the path leads to now.
static rh_status take_file(rh_decision_log *log, int64_t *size, rh_error *error) {
  for (int i = 0; i < REOPEN_MAX; i++) {
    rh_status status = open_file(log, error);
    if (status == RH_OK) status = lock_file(log, error);
    if (status != RH_OK) return status;
    struct stat ours, named;
    bool same = fstat(log->fd, &ours) == 0 && stat(log->path, &named) == 0 && ours.st_dev == named.st_dev &&
                ours.st_ino == named.st_ino;
    *size = ours.st_size;
    if (same) return RH_OK;
    close_file(log);  // another one rotated it, or somebody moved it away
  }
  return rh_fail(error, RH_UNAVAILABLE, "the decision log %s is moved away again and again", log->path);
}

// PATH.N-1 -> PATH.N, ..., PATH -> PATH.1; with no old files kept it begins anew.
static rh_status rotate(rh_decision_log *log, rh_error *error) {
  char *from = NULL, *to = NULL;
  rh_status status = RH_OK;
  for (int64_t i = log->files; i >= 1 && status == RH_OK; i--) {
    int made = i == 1 ? asprintf(&from, "%s", log->path) : asprintf(&from, "%s.%lld", log->path, (long long)i - 1);
    if (made < 0 || asprintf(&to, "%s.%lld", log->path, (long long)i) < 0) {
      free(made < 0 ? NULL : from);
      return rh_fail(error, RH_NO_MEMORY, "no memory to rotate %s", log->path);
    }
    if (rename(from, to) != 0 && errno != ENOENT) status = rh_file_fail(error, errno, "rotate", from);
    free(from);
    free(to);
    from = to = NULL;
  }
  if (log->files == 0 && ftruncate(log->fd, 0) != 0) return rh_file_fail(error, errno, "empty", log->path);
  close_file(log);
  return status;
}

// A crash of the machine may have left a line without its end: ours must not be glued to it.
static void end_last_line(rh_decision_log *log, int64_t *size) {
  if (log->checked) return;
  log->checked = true;
  char last = '\n';
  if (*size > 0 && pread(log->fd, &last, 1, (off_t)(*size - 1)) == 1 && last != '\n') {
    if (write(log->fd, "\n", 1) == 1) (*size)++;
  }
}

// As many whole lines as fit into `room`; at least one.
static size_t whole_lines(const char *lines, size_t length, int64_t room) {
  if ((int64_t)length <= room) return length;
  size_t fits = room > 0 ? (size_t)room : 0;
  while (fits > 0 && lines[fits - 1] != '\n') fits--;
  while (fits == 0 || lines[fits - 1] != '\n') fits++;
  assert(fits <= length);
  return fits;
}

static rh_status append(rh_decision_log *log, const char *bytes, size_t length, int64_t size, rh_error *error) {
  size_t done = 0;
  while (done < length) {
    ssize_t n = write(log->fd, bytes + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int number = n < 0 ? errno : ENOSPC;
      // Nobody else writes while we hold the lock.
      if (ftruncate(log->fd, (off_t)size) != 0) log->checked = false;
      return rh_file_fail(error, number, "write the decision log", log->path);
    }
    done += (size_t)n;
  }
  return RH_OK;
}

static uint64_t count_lines(const char *lines, size_t length) {
  uint64_t count = 0;
  for (size_t i = 0; i < length; i++) count += lines[i] == '\n';
  return count;
}

rh_status rh_decision_log_write(rh_decision_log *log, const char *lines, size_t length, uint64_t *lost,
                                rh_error *error) {
  assert(lines != NULL && length > 0 && lines[length - 1] == '\n');
  rh_status status = RH_OK;
  while (length > 0 && status == RH_OK) {
    int64_t size = 0;
    status = take_file(log, &size, error);
    if (status != RH_OK) break;
    end_last_line(log, &size);
    size_t piece = whole_lines(lines, length, log->bytes_max - size);
    if (size > 0 && (int64_t)piece > log->bytes_max - size) {
      status = rotate(log, error);
      continue;
    }
    status = append(log, lines, piece, size, error);
    (void)flock(log->fd, LOCK_UN);
    if (status != RH_OK) break;
    lines += piece;
    length -= piece;
  }
  if (status != RH_OK) close_file(log);
  *lost = count_lines(lines, length);
  return status;
}

rh_status rh_decision_log_try(rh_decision_log *log, rh_error *error) { return open_file(log, error); }
