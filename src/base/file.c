// SPDX-License-Identifier: Apache-2.0
//
// Whole small files, atomic replacement, folders and trees. Owns nothing between calls; blocking; any thread. Copies are in
// file_copy.c, digests in sha256.c. It deliberately knows no file's meaning, takes no locks, and never follows a link
// when it deletes.
#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/text.h"

#define READ_BYTES ((size_t)64 * 1024)
#define ST_BLOCK_BYTES 512  // the unit of st_blocks, whatever the file system's own block is

rh_status rh_file_status_from_errno(int number) {
  switch (number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return RH_NO_SPACE;
    case ENOENT: return RH_NOT_FOUND;
    case ENOMEM: return RH_NO_MEMORY;
    default: return RH_IO;
  }
}

rh_status rh_file_fail(rh_error *error, int number, const char *what, const char *path) {
  rh_status status = rh_file_status_from_errno(number);
  const char *advice = status == RH_NO_SPACE ? "; free some space and try again" : "";
  return rh_fail(error, status, "cannot %s %s: %s%s", what, path, strerror(number), advice);
}

static rh_status read_all(int fd, const char *path, rh_dynbuf *out, rh_error *error) {
  for (;;) {
    size_t room = out->max - out->length;
    // One byte more than fits is asked for, so that a file of exactly the largest size is told from a larger one.
    size_t wanted = room < READ_BYTES ? room : READ_BYTES;
    char probe;
    char *to = wanted == 0 ? &probe : rh_dynbuf_reserve(out, wanted);
    if (to == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read %s", path);
    ssize_t got = read(fd, to, wanted == 0 ? 1 : wanted);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return rh_file_fail(error, errno, "read", path);
    if (got == 0) return RH_OK;
    if (wanted == 0) {
      return rh_fail(error, RH_TOO_LARGE, "%s is larger than the %zu bytes that are read of such a file", path,
                     out->max);
    }
    rh_dynbuf_grow(out, (size_t)got);
  }
}

rh_status rh_file_read(const char *path, rh_dynbuf *out, rh_error *error) {
  assert(path != NULL && out != NULL && !out->failed);
  // Without O_NONBLOCK a named pipe would hold us until somebody writes to it.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return rh_file_fail(error, errno, "open", path);
  struct stat info;
  rh_status status;
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    status = rh_fail(error, RH_INVALID, "%s is a folder, not a file", path);
  } else {
    status = read_all(fd, path, out, error);
  }
  close(fd);
  return status;
}

rh_status rh_file_sync(const char *path, rh_error *error) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return rh_file_fail(error, errno, "open", path);
  int number = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // Some file systems cannot sync a folder; there is nothing else that we could do about it.
  if (number == 0 || number == EINVAL || number == EROFS) return RH_OK;
  return rh_file_fail(error, number, "flush to disk", path);
}

static rh_status write_all(int fd, const char *path, const char *bytes, size_t length, rh_error *error) {
  size_t done = 0;
  while (done < length) {
    ssize_t n = write(fd, bytes + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return rh_file_fail(error, errno, "write", path);
    done += (size_t)n;
  }
  if (fsync(fd) != 0 && errno != EINVAL) return rh_file_fail(error, errno, "flush to disk", path);
  return RH_OK;
}

// "a/b" -> "a", "/b" -> "/", "b" -> ".". The caller frees; NULL when memory is short.
static char *parent_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (slash == NULL) return strdup(".");
  return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static rh_status write_and_rename(const char *path, const char *beside, const void *bytes, size_t length, mode_t mode,
                                  rh_error *error) {
  int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return rh_file_fail(error, errno, "create a file beside", path);
  rh_status status = write_all(fd, path, bytes, length, error);
  if (close(fd) != 0 && status == RH_OK) status = rh_file_fail(error, errno, "write", path);
  if (status == RH_OK && rename(beside, path) != 0) status = rh_file_fail(error, errno, "replace", path);
  if (status != RH_OK) (void)unlink(beside);
  return status;
}

rh_status rh_file_write_atomic(const char *path, const void *bytes, size_t length, mode_t mode, rh_error *error) {
  assert(path != NULL && (bytes != NULL || length == 0));
  char id[RH_ID_SIZE];
  rh_id_make(id, RH_FILE_TEMPORARY);
  char *folder = parent_of(path);
  char *beside = NULL;
  if (folder == NULL || asprintf(&beside, "%s/%s", folder, id) < 0) {
    free(folder);
    return rh_fail(error, RH_NO_MEMORY, "no memory to write %s", path);
  }
  rh_status status = write_and_rename(path, beside, bytes, length, mode, error);
  // The rename itself is on disk only when the folder is.
  if (status == RH_OK) status = rh_file_sync(folder, error);
  free(beside);
  free(folder);
  return status;
}

static rh_status make_folder(const char *path, mode_t mode, rh_error *error) {
  if (mkdir(path, mode) == 0) return RH_OK;
  int number = errno;
  struct stat info;
  if (stat(path, &info) == 0) {
    if (S_ISDIR(info.st_mode)) return RH_OK;
    return rh_fail(error, RH_IO, "cannot make the folder %s: there is a file of that name", path);
  }
  return rh_file_fail(error, number, "make the folder", path);
}

rh_status rh_file_make_folders(const char *path, mode_t mode, rh_error *error) {
  assert(path != NULL && path[0] != '\0');
  char *part = strdup(path);
  if (part == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to make the folder %s", path);
  rh_status status = RH_OK;
  for (char *at = part + 1; status == RH_OK && *at != '\0'; at++) {
    if (*at != '/' || at[-1] == '/') continue;
    *at = '\0';
    status = make_folder(part, mode, error);
    *at = '/';
  }
  if (status == RH_OK) status = make_folder(part, mode, error);
  free(part);
  return status;
}

static FTS *open_tree(const char *path) {
  // fts does not change what the array points to, but its type predates const.
  char *copy = strdup(path);
  if (copy == NULL) return NULL;
  char *const roots[] = {copy, NULL};
  FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
  free(copy);
  return tree;
}

// 0, or the errno that keeps this entry.
static int remove_entry(const FTSENT *entry) {
  switch (entry->fts_info) {
    case FTS_D: return 0;  // again on the way back, as FTS_DP
    case FTS_NS:
    case FTS_ERR: return entry->fts_errno == ENOENT ? 0 : entry->fts_errno;
    case FTS_DP:
    case FTS_DNR:
      if (rmdir(entry->fts_accpath) == 0 || errno == ENOENT) return 0;
      return entry->fts_info == FTS_DNR && entry->fts_errno != 0 ? entry->fts_errno : errno;
    default: return unlink(entry->fts_accpath) == 0 || errno == ENOENT ? 0 : errno;
  }
}

rh_status rh_file_remove_tree(const char *path, rh_error *error) {
  assert(path != NULL && path[0] != '\0');
  FTS *tree = open_tree(path);
  if (tree == NULL) return rh_file_fail(error, errno, "remove", path);
  rh_status status = RH_OK;
  FTSENT *entry;
  while ((entry = fts_read(tree)) != NULL) {
    int number = remove_entry(entry);
    // The first reason is the one that tells; the rest of the tree goes all the same.
    if (number != 0 && status == RH_OK) status = rh_file_fail(error, number, "remove", entry->fts_path);
  }
  fts_close(tree);
  return status;
}

typedef struct seen_inode {
  dev_t device;
  ino_t inode;
} seen_inode;

typedef struct seen_set {
  seen_inode *items;
  size_t count, capacity;  // capacity: 0 or a power of two, at most half full
} seen_set;

static size_t slot_of(const seen_set *set, seen_inode what) {
  uint64_t hash = ((uint64_t)what.inode ^ (uint64_t)what.device << 32) * UINT64_C(0x9E3779B97F4A7C15);
  size_t at = (size_t)(hash >> 32) & (set->capacity - 1);
  while (set->items[at].inode != 0 && (set->items[at].inode != what.inode || set->items[at].device != what.device)) {
    at = (at + 1) & (set->capacity - 1);
  }
  return at;
}

static bool enlarge_set(seen_set *set) {
  seen_set larger = {.capacity = set->capacity == 0 ? 64 : set->capacity * 2};
  larger.items = calloc(larger.capacity, sizeof *larger.items);
  if (larger.items == NULL) return false;
  for (size_t i = 0; i < set->capacity; i++) {
    if (set->items[i].inode != 0) larger.items[slot_of(&larger, set->items[i])] = set->items[i];
  }
  larger.count = set->count;
  free(set->items);
  *set = larger;
  return true;
}

// True the first time. Without memory everything is new: a sum that is too large is better than none.
static bool is_new(seen_set *set, const struct stat *info) {
  if (info->st_nlink < 2) return true;
  if (set->count * 2 >= set->capacity && !enlarge_set(set)) return true;
  seen_inode what = {info->st_dev, info->st_ino};
  size_t at = slot_of(set, what);
  if (set->items[at].inode != 0) return false;
  set->items[at] = what;
  set->count++;
  return true;
}

int64_t rh_file_tree_bytes(const char *path) {
  assert(path != NULL && path[0] != '\0');
  FTS *tree = open_tree(path);
  if (tree == NULL) return 0;
  seen_set seen = {0};
  int64_t bytes = 0;
  const FTSENT *entry;
  while ((entry = fts_read(tree)) != NULL) {
    bool counts = entry->fts_info == FTS_F || entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE;
    if (counts && is_new(&seen, entry->fts_statp)) bytes += (int64_t)entry->fts_statp->st_blocks * ST_BLOCK_BYTES;
  }
  fts_close(tree);
  free(seen.items);
  return bytes;
}

int64_t rh_file_free_bytes(const char *path) {
  assert(path != NULL && path[0] != '\0');
  struct statvfs info;
  char *at = strdup(path);
  int result = -1;
  // What does not exist yet will lie on the file system of its nearest parent.
  while (at != NULL && (result = statvfs(at, &info)) != 0 && errno == ENOENT) {
    bool top = strcmp(at, "/") == 0 || strcmp(at, ".") == 0;
    char *parent = top ? NULL : parent_of(at);
    free(at);
    at = parent;
  }
  free(at);
  if (result != 0) return -1;
  uint64_t bytes = (uint64_t)info.f_bavail * (info.f_frsize != 0 ? info.f_frsize : info.f_bsize);
  return bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
}
