// SPDX-License-Identifier: Apache-2.0
//
// Removing, copying and checking stored models. Owns nothing between calls. One thread a handle; safe against other
// processes through the lock of the name that changes.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "store/internal.h"

#define TRIES_MAX 50

rh_status rh_store_remove(rh_store *store, const rh_model_ref *ref, rh_error *error) {
  assert(store != NULL && ref != NULL);
  rh_stored found;
  rh_status status = rh_store_find(store, ref, &found, error);
  if (status != RH_OK) return status;
  char *lock_path;
  rh_lock lock;
  status = rh_lock_of_model(store, &found.ref, &lock_path, error);
  if (status == RH_OK) status = rh_lock_wait(lock_path, &lock, error);
  if (status == RH_OK) {
    status = rh_store_discard(store, found.folder, error);
    if (status == RH_NOT_FOUND) {
      status = rh_fail_param(error, RH_NOT_FOUND, "model", "%s:%s was removed by another process meanwhile",
                             found.ref.name, found.ref.version);
    }
    rh_lock_release(&lock);
  }
  if (status == RH_OK) rh_store_tell_changed(store);
  rh_stored_release(&found);
  return status;
}

// --- copy -----------------------------------------------------------------------------------------------------------

static rh_status copy_file(const rh_stored *from, const rh_draft *draft, const char *name, rh_error *error) {
  char *source = rh_store_join(from->folder, name);
  char *target = rh_store_join(rh_draft_folder(draft), name);
  rh_status status = RH_OK;
  if (source == NULL || target == NULL) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory to copy a model");
  } else if (strchr(name, '/') != NULL) {
    char *folder = strdup(target);
    if (folder != NULL) *strrchr(folder, '/') = '\0';
    status = folder == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory to copy a model")
                            : rh_file_make_folders(folder, RH_STORE_FOLDER_MODE, error);
    free(folder);
  }
  if (status == RH_OK) status = rh_file_link_or_copy(source, target, error);
  free(source);
  free(target);
  return status;
}

static bool is_there(const rh_store *store, const rh_model_ref *ref) {
  char *path = rh_store_model_path(store, "models", ref);
  struct stat info;
  bool there = path != NULL && lstat(path, &info) == 0;
  free(path);
  return there;
}

// Is `path` still the folder that was opened? While it is open, no other can get its number.
static bool is_same_folder(int fd, const char *path) {
  struct stat opened, there;
  return fstat(fd, &opened) == 0 && stat(path, &there) == 0 && opened.st_ino == there.st_ino &&
         opened.st_dev == there.st_dev;
}

// Links all files of one version. RH_AGAIN: another process replaced it meanwhile, so that they are not of one piece.
static rh_status link_files(const rh_stored *found, const rh_draft *draft, rh_stored *from, rh_error *error) {
  *from = (rh_stored){.format = RH_FORMAT_UNKNOWN};
  int fd = open(found->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return rh_file_fail(error, errno, "open the model's folder", found->folder);
  rh_status status = rh_manifest_read(found->folder, &found->ref, from, error);
  for (size_t i = 0; i < from->file_count && status == RH_OK; i++) {
    status = copy_file(from, draft, from->files[i].path, error);
  }
  if (!is_same_folder(fd, found->folder)) status = RH_AGAIN;
  close(fd);
  return status;
}

static rh_status fill_and_commit(const rh_stored *found, rh_draft *draft, rh_error *error) {
  rh_stored from;
  rh_status status = link_files(found, draft, &from, error);
  if (status == RH_OK) {
    from.created_s = 0;  // now
    status = rh_draft_commit(draft, &from, error);
  } else {
    rh_draft_end(draft, false);
  }
  rh_stored_release(&from);
  return status;
}

static rh_status copy_once(rh_store *store, const rh_stored *found, const rh_model_ref *to, rh_error *error) {
  // A copy is made at once or not at all, so its source is never the same as that of a pull or of an earlier copy.
  char source[RH_ID_SIZE];
  rh_id_make(source, "copy-");
  rh_draft *draft;
  rh_status status = rh_store_draft_begin(store, to, source, false, NULL, NULL, &draft, error);
  if (status != RH_OK) return status;
  if (is_there(store, to)) {  // again, now that nobody else can make it
    rh_draft_end(draft, false);
    return rh_fail_param(error, RH_CONFLICT, "model", "there is a model %s:%s already; remove it first", to->name,
                         to->version);
  }
  status = fill_and_commit(found, draft, error);
  if (status == RH_OK || status == RH_AGAIN) return status;
  // Links are quickly made again: nothing is kept for later.
  if (rh_store_draft_begin(store, to, source, false, NULL, NULL, &draft, NULL) == RH_OK) rh_draft_end(draft, false);
  return status;
}

static rh_status copy_into(rh_store *store, const rh_stored *found, const rh_model_ref *to, rh_error *error) {
  rh_status status = RH_AGAIN;
  for (int i = 0; status == RH_AGAIN && i < TRIES_MAX; i++) {
    status = is_there(store, &found->ref)
                 ? copy_once(store, found, to, error)
                 : rh_fail_param(error, RH_NOT_FOUND, "model", "%s:%s was removed by another process meanwhile",
                                 found->ref.name, found->ref.version);
  }
  if (status != RH_AGAIN) return status;
  return rh_fail_param(error, RH_CONFLICT, "model", "%s:%s is being replaced again and again; try later",
                       found->ref.name, found->ref.version);
}

rh_status rh_store_copy(rh_store *store, const rh_model_ref *from, const rh_model_ref *to, rh_error *error) {
  assert(store != NULL && from != NULL && to != NULL);
  rh_model_ref target;
  rh_stored found;
  rh_status status = rh_store_complete_ref(to, &target, error);
  if (status == RH_OK && is_there(store, &target)) {  // before a partial pull of that name is touched
    status = rh_fail_param(error, RH_CONFLICT, "model", "there is a model %s:%s already; remove it first", target.name,
                           target.version);
  }
  if (status == RH_OK) status = rh_store_find(store, from, &found, error);
  if (status != RH_OK) return status;
  status = copy_into(store, &found, &target, error);
  rh_stored_release(&found);
  return status;
}

// --- verify ---------------------------------------------------------------------------------------------------------

typedef struct checking {
  bool (*progress)(void *ctx, const char *file, int64_t done, int64_t total);
  void *ctx;
  const char *file;
  int64_t before, total;
} checking;

static bool on_progress(void *ctx, int64_t done) {
  const checking *c = ctx;
  return c->progress == NULL || c->progress(c->ctx, c->file, c->before + done, c->total);
}

// What is wrong with one file, or NULL. *status is a failure that ends everything.
static const char *fault_of(const char *path, const rh_stored_file *file, checking *c, rh_status *status,
                            rh_error *error) {
  struct stat info;
  char digest[RH_SHA256_HEX];
  *status = RH_OK;
  if (stat(path, &info) != 0) return errno == ENOENT || errno == ENOTDIR ? "is missing" : strerror(errno);
  if (info.st_size != file->bytes) return info.st_size < file->bytes ? "is cut short" : "is too long";
  if (file->sha256[0] == '\0') return NULL;  // a cache that does not say: the length is all there is
  *status = rh_sha256_file(path, digest, on_progress, c, error);
  if (*status == RH_NOT_FOUND) return "is missing";
  if (*status == RH_IO) {
    *status = RH_OK;
    return "cannot be read";
  }
  return *status == RH_OK && strcmp(digest, file->sha256) != 0 ? "is damaged" : NULL;
}

// Files that are not what an old manifest says may be right by the one that is there now.
static bool was_replaced(const rh_stored *stored) {
  rh_stored now;
  if (stored->in_place) return false;
  if (rh_manifest_read(stored->folder, &stored->ref, &now, NULL) != RH_OK) return true;
  bool same = now.file_count == stored->file_count;
  for (size_t i = 0; same && i < now.file_count; i++) {
    same = strcmp(now.files[i].path, stored->files[i].path) == 0 &&
           strcmp(now.files[i].sha256, stored->files[i].sha256) == 0;
  }
  rh_stored_release(&now);
  return !same;
}

rh_status rh_store_verify(rh_store *store, const rh_stored *stored,
                          bool (*progress)(void *ctx, const char *file, int64_t done, int64_t total), void *ctx,
                          rh_error *error) {
  assert(store != NULL && stored != NULL);
  (void)store;
  checking c = {.progress = progress, .ctx = ctx};
  for (size_t i = 0; i < stored->file_count; i++) c.total += stored->files[i].bytes;
  rh_dynbuf faults;
  rh_dynbuf_init(&faults, 480);
  size_t bad = 0;
  rh_status status = RH_OK;
  for (size_t i = 0; i < stored->file_count && status == RH_OK; i++) {
    const rh_stored_file *file = &stored->files[i];
    c.file = file->path;
    char *path = rh_store_join(stored->folder, file->path);
    const char *fault = path == NULL ? "no memory" : fault_of(path, file, &c, &status, error);
    if (fault != NULL) {
      bad++;
      (void)rh_dynbuf_printf(&faults, "%s%s %s", bad == 1 ? "" : ", ", file->path, fault);
      if (status == RH_NOT_FOUND) status = RH_OK;
    }
    c.before += file->bytes;
    free(path);
  }
  if (status == RH_OK && bad > 0 && was_replaced(stored)) {
    status = rh_fail(error, RH_CONFLICT, "%s:%s was replaced or removed by another process meanwhile; check again",
                     stored->ref.name, stored->ref.version);
  } else if (status == RH_OK && bad > 0) {
    status = rh_fail(error, RH_INVALID, "%zu of %zu files of %s:%s: %s%s; pull it again", bad, stored->file_count,
                     stored->ref.name, stored->ref.version, rh_dynbuf_data(&faults), faults.failed ? ", ..." : "");
  }
  rh_dynbuf_free(&faults);
  return status;
}
