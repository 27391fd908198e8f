// SPDX-License-Identifier: Apache-2.0
//
// Locks between processes: flock(2) on files below FOLDER/locks. A lock dies with its process, so nothing is ever stuck.
// A lock file is deleted by its holder when it lets go; who waited for the deleted one notices and tries again. Any
// thread; blocking. It deliberately offers no lock for reading: readers need none, since everything changes by rename.
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

#include "base/clock.h"
#include "store/internal.h"

#define TRIES_MAX 100
#define PAUSE_MS 10

rh_status rh_lock_of_model(const rh_store *store, const rh_model_ref *ref, char **path, rh_error *error) {
  char whole[RH_MODEL_NAME_MAX + 1], name[RH_MODEL_NAME_MAX + 1];
  assert(ref->version[0] != '\0');
  *path = NULL;
  if (rh_model_ref_format(ref, whole, sizeof whole) != RH_OK) {
    return rh_fail(error, RH_INVALID, "the name %s:%s is longer than %d characters", ref->name, ref->version,
                   RH_MODEL_NAME_MAX);
  }
  rh_model_ref_to_folder(whole, name, sizeof name);
  if (asprintf(path, "%s/locks/%s", store->folder, name) >= 0) return RH_OK;
  *path = NULL;
  return rh_fail(error, RH_NO_MEMORY, "no memory to lock %s", whole);
}

// True when the file that is locked is still the one that others would open.
static bool is_current(int fd, const char *path) {
  struct stat mine, there;
  return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

static void sign(int fd) {
  char text[32];
  int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
  // Only for messages: a full disk must not keep anybody from deleting models.
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) < 0) return;
}

// One attempt: RH_OK, RH_AGAIN (somebody has it), or RH_NOT_FOUND (the file was deleted under us: try again).
static rh_status attempt(const char *path, int *out, rh_error *error) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, RH_STORE_FILE_MODE);
  if (fd < 0) {
    rh_status status = rh_file_fail(error, errno, "open the lock", path);
    return status == RH_NOT_FOUND ? RH_IO : status;  // the folder of locks is not there; trying again will not help
  }
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    int number = errno;
    close(fd);
    if (number == EWOULDBLOCK || number == EINTR) return RH_AGAIN;
    return rh_file_fail(error, number, "lock", path);
  }
  if (!is_current(fd, path)) {
    close(fd);
    return RH_NOT_FOUND;
  }
  sign(fd);
  *out = fd;
  return RH_OK;
}

rh_status rh_lock_try(char *path, rh_lock *out, rh_error *error) {
  *out = (rh_lock){.fd = -1};
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a lock");
  rh_status status = RH_NOT_FOUND;
  for (int i = 0; status == RH_NOT_FOUND && i < TRIES_MAX; i++) status = attempt(path, &out->fd, error);
  if (status == RH_OK) {
    out->path = path;
  } else {
    free(path);
  }
  return status == RH_NOT_FOUND ? RH_AGAIN : status;
}

static void pause_ms(long ms) {
  struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  (void)nanosleep(&pause, NULL);
}

rh_status rh_lock_wait(char *path, rh_lock *out, rh_error *error) {
  *out = (rh_lock){.fd = -1};
  uint64_t until = rh_clock_now_ns() + RH_STORE_LOCK_WAIT_MS * RH_NS_PER_MS;
  for (;;) {
    char *again = path == NULL ? NULL : strdup(path);
    rh_status status = rh_lock_try(again, out, error);
    if (status == RH_AGAIN && rh_clock_now_ns() < until) {
      pause_ms(PAUSE_MS);
      continue;
    }
    if (status == RH_AGAIN) {
      status = rh_fail(error, RH_CONFLICT, "another process (%lld) is at work on this; the lock is %s",
                       (long long)rh_lock_holder(path), path);
    }
    free(path);
    return status;
  }
}

void rh_lock_release(rh_lock *lock) {
  if (lock->fd < 0) return;
  // While it is still held: nobody else can have it, and who opens it now will find that it is not current.
  (void)unlink(lock->path);
  close(lock->fd);
  free(lock->path);
  *lock = (rh_lock){.fd = -1};
}

int64_t rh_lock_holder(const char *path) {
  char text[32] = "";
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return 0;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  return got > 0 ? strtoll(text, NULL, 10) : 0;
}
