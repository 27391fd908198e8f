// SPDX-License-Identifier: Apache-2.0
//
// A model being made: its lock, its folder below FOLDER/partial, and the commit that makes it appear. Owns the lock.
// One thread a draft. It deliberately knows nothing of where files come from, nor of the states a pull keeps beside them.
//
// Order of a commit, so that a crash leaves the old model or the new one: everything that is not listed goes; every file
// and folder is flushed; the manifest is written and flushed; one rename; the folders around it are flushed.
#include <assert.h>
#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/internal.h"

#define WAIT_STEP_MS 100
#define WAITING_STEPS 10  // between two calls of `waiting`
#define TRIES_MAX 20

struct rh_draft {
  rh_store *store;
  rh_model_ref ref;
  rh_lock lock;
  char *folder, *note;
};

char *rh_store_note_path(const rh_store *store, const rh_model_ref *ref) {
  char name[RH_MODEL_NAME_MAX + 1], version[RH_MODEL_NAME_MAX + 1];
  rh_model_ref_to_folder(ref->name, name, sizeof name);
  rh_model_ref_to_folder(ref->version, version, sizeof version);
  char *path = NULL;
  return asprintf(&path, "%s/partial/%s/.source+%s", store->folder, name, version) < 0 ? NULL : path;
}

static rh_status take_lock(rh_store *store, const rh_model_ref *ref, bool wait, bool (*waiting)(void *ctx), void *ctx,
                           rh_lock *out, rh_error *error) {
  *out = (rh_lock){.fd = -1};
  for (unsigned step = 0;; step++) {
    char *path;
    rh_status status = rh_lock_of_model(store, ref, &path, error);
    if (status != RH_OK) return status;
    char *name = strdup(path);
    if ((status = rh_lock_try(path, out, error)) == RH_AGAIN && !wait) {
      status = rh_fail(error, RH_CONFLICT, "another process (%lld) is getting, changing or removing %s:%s right now",
                       (long long)(name == NULL ? 0 : rh_lock_holder(name)), ref->name, ref->version);
    }
    free(name);
    if (status != RH_AGAIN) return status;
    if (step % WAITING_STEPS == 0 && waiting != NULL && !waiting(ctx)) {
      return rh_fail(error, RH_CANCELLED, "waiting for another process that gets %s:%s was given up", ref->name,
                     ref->version);
    }
    struct timespec pause = {.tv_nsec = WAIT_STEP_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
  }
}

static bool is_from(const char *note, const char digest[RH_SHA256_HEX]) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, RH_SHA256_HEX);
  bool same = rh_file_read(note, &text, NULL) == RH_OK && strcmp(rh_dynbuf_data(&text), digest) == 0;
  rh_dynbuf_free(&text);
  return same;
}

static bool has_manifest(const char *folder) {
  char *path = rh_store_join(folder, RH_STORE_MANIFEST);
  struct stat info;
  bool there = path != NULL && lstat(path, &info) == 0;
  free(path);
  return there;
}

// The draft's folder, with what an earlier pull of the same source left in it.
static rh_status prepare(rh_draft *draft, const char *source, rh_error *error) {
  char digest[RH_SHA256_HEX];
  rh_sha256 *hash = rh_sha256_new();
  if (hash == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a new model");
  rh_sha256_update(hash, source, strlen(source));
  rh_sha256_finish(hash, digest);
  rh_store_recover(draft->store, &draft->ref);
  if (!is_from(draft->note, digest) || has_manifest(draft->folder)) {
    rh_status status = rh_store_discard(draft->store, draft->folder, error);
    if (status != RH_OK && status != RH_NOT_FOUND) return status;
  }
  rh_status status = RH_NOT_FOUND;
  // The folder of the name may go with another version of it, between our two steps.
  for (int i = 0; status == RH_NOT_FOUND && i < TRIES_MAX; i++) {
    status = rh_file_make_folders(draft->folder, RH_STORE_FOLDER_MODE, error);
    if (status == RH_OK) {
      status = rh_file_write_atomic(draft->note, digest, strlen(digest), RH_STORE_FILE_MODE, error);
    }
  }
  return status;
}

static void draft_free(rh_draft *draft) {
  rh_lock_release(&draft->lock);
  free(draft->folder);
  free(draft->note);
  free(draft);
}

rh_status rh_store_draft_begin(rh_store *store, const rh_model_ref *ref, const char *source, bool wait,
                               bool (*waiting)(void *ctx), void *ctx, rh_draft **out, rh_error *error) {
  assert(store != NULL && ref != NULL && source != NULL && out != NULL);
  *out = NULL;
  rh_draft *draft = calloc(1, sizeof *draft);
  if (draft == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a new model");
  draft->store = store;
  draft->lock.fd = -1;
  rh_status status = rh_store_complete_ref(ref, &draft->ref, error);
  if (status == RH_OK) status = take_lock(store, &draft->ref, wait, waiting, ctx, &draft->lock, error);
  if (status == RH_OK) {
    draft->folder = rh_store_model_path(store, "partial", &draft->ref);
    draft->note = rh_store_note_path(store, &draft->ref);
    status = draft->folder == NULL || draft->note == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory for a new model")
                                                          : prepare(draft, source, error);
  }
  if (status != RH_OK) {
    draft_free(draft);
    return status;
  }
  *out = draft;
  return RH_OK;
}

const char *rh_draft_folder(const rh_draft *draft) { return draft->folder; }

static void forget_note(rh_draft *draft) {
  (void)unlink(draft->note);
  *strrchr(draft->note, '/') = '\0';
  (void)rmdir(draft->note);  // only when it is empty
}

void rh_draft_end(rh_draft *draft, bool keep) {
  if (draft == NULL) return;
  if (!keep) {
    (void)rh_store_discard(draft->store, draft->folder, NULL);
    forget_note(draft);
  }
  draft_free(draft);
}

// --- commit ---------------------------------------------------------------------------------------------------------

static int by_path(const void *a, const void *b) {
  return strcmp(((const rh_stored_file *)a)->path, ((const rh_stored_file *)b)->path);
}

static bool is_listed(const rh_stored *stored, const char *path) {
  rh_stored_file key = {.path = (char *)(uintptr_t)path};  // only compared
  return bsearch(&key, stored->files, stored->file_count, sizeof key, by_path) != NULL;
}

static rh_status check_file(const rh_draft *draft, rh_stored_file *file, rh_error *error) {
  char *path = rh_store_join(draft->folder, file->path);
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a new model");
  struct stat info;
  rh_status status = RH_OK;
  if (lstat(path, &info) != 0) {
    status = rh_file_fail(error, errno, "find the model's file", path);
  } else if (!S_ISREG(info.st_mode)) {
    status = rh_fail(error, RH_INVALID, "%s is no regular file", path);
  } else if (info.st_size != file->bytes) {
    status = rh_fail(error, RH_INVALID, "%s has %lld bytes, but %lld are expected", path, (long long)info.st_size,
                     (long long)file->bytes);
  } else if (file->sha256[0] == '\0') {
    status = rh_sha256_file(path, file->sha256, NULL, NULL, error);
  }
  free(path);
  return status;
}

// What the caller says must be true of what lies in the folder. Sorts the files.
static rh_status check(const rh_draft *draft, rh_stored *stored, rh_error *error) {
  if (stored->file_count == 0 || stored->file_count > RH_STORE_FILES_MAX) {
    return rh_fail(error, RH_INVALID, "a model has 1 to %d files, not %zu", RH_STORE_FILES_MAX, stored->file_count);
  }
  qsort(stored->files, stored->file_count, sizeof *stored->files, by_path);
  rh_status status = RH_OK;
  stored->bytes = 0;
  for (size_t i = 0; i < stored->file_count && status == RH_OK; i++) {
    rh_stored_file *file = &stored->files[i];
    if (!rh_manifest_path_is_safe(file->path) || strcmp(file->path, RH_STORE_MANIFEST) == 0 ||
        (i > 0 && strcmp(file->path, stored->files[i - 1].path) == 0)) {
      return rh_fail(error, RH_INVALID, "a model's file cannot be called \"%.200s\"%s", file->path,
                     strcmp(file->path, RH_STORE_MANIFEST) == 0 ? ", because the store's own file is called so" : "");
    }
    status = check_file(draft, file, error);
    stored->bytes += file->bytes;
  }
  bool has_entry = stored->entry[0] == '\0' || is_listed(stored, stored->entry);
  if (status == RH_OK && !has_entry) {
    status = rh_fail(error, RH_INVALID, "the model's main file \"%.200s\" is not among its files", stored->entry);
  }
  return status;
}

// Deletes what is not listed and flushes what is.
static rh_status settle_entry(const rh_draft *draft, const rh_stored *stored, const FTSENT *entry, rh_error *error) {
  const char *path = entry->fts_path + strlen(draft->folder);
  if (*path == '/') path++;
  switch (entry->fts_info) {
    case FTS_D: return RH_OK;
    case FTS_DP:
      if (*path != '\0' && rmdir(entry->fts_path) == 0) return RH_OK;  // nothing listed lies in it
      return rh_file_sync(entry->fts_path, error);
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS: return rh_file_fail(error, entry->fts_errno, "read", entry->fts_path);
    default: break;
  }
  if (is_listed(stored, path)) return rh_file_sync(entry->fts_path, error);
  return unlink(entry->fts_path) == 0 ? RH_OK : rh_file_fail(error, errno, "remove", entry->fts_path);
}

static rh_status settle(const rh_draft *draft, const rh_stored *stored, rh_error *error) {
  char *const roots[] = {draft->folder, NULL};
  FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
  if (tree == NULL) return rh_file_fail(error, errno, "read", draft->folder);
  rh_status status = RH_OK;
  const FTSENT *entry;
  while (status == RH_OK && (entry = fts_read(tree)) != NULL) status = settle_entry(draft, stored, entry, error);
  fts_close(tree);
  return status;
}

static rh_status commit(rh_draft *draft, rh_stored *stored, rh_error *error) {
  rh_status status = check(draft, stored, error);
  if (status == RH_OK) status = settle(draft, stored, error);
  if (status == RH_OK) status = rh_manifest_write(draft->folder, stored, error);
  if (status == RH_OK) status = rh_store_swap_in(draft->store, &draft->ref, draft->folder, error);
  if (status != RH_OK) {
    // Without its manifest the folder is a partial pull again, which can go on.
    char *manifest = rh_store_join(draft->folder, RH_STORE_MANIFEST);
    if (manifest != NULL) (void)unlink(manifest);
    free(manifest);
    return status;
  }
  forget_note(draft);
  rh_store_tell_changed(draft->store);
  return RH_OK;
}

rh_status rh_draft_commit(rh_draft *draft, const rh_stored *stored, rh_error *error) {
  assert(draft != NULL && stored != NULL && stored->entry != NULL);
  rh_stored copy;
  rh_status status = rh_stored_copy(stored, &copy, error);
  if (status == RH_OK) {
    copy.ref = draft->ref;
    if (copy.created_s == 0) copy.created_s = rh_clock_wall_s();
    status = commit(draft, &copy, error);
    rh_stored_release(&copy);
  }
  draft_free(draft);
  return status;
}
