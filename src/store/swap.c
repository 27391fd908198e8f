// SPDX-License-Identifier: Apache-2.0
//
// How a model's folder appears, is replaced and disappears: always by one rename, never half. Owns nothing between calls.
// The caller holds the lock of the model's name, except for rh_store_clean, which takes those it needs and skips what
// somebody works on.
//
// Replacing exchanges both folders in one step (renameat2 with RENAME_EXCHANGE). A file system without it gets two
// renames with the old version under ".old+VERSION" in between; rh_store_recover brings that back after a crash.
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "store/internal.h"

#define TRIES_MAX 20
#define TEMPORARY_AGE_S 3600  // an unfinished small file may be somebody's who is writing it right now

// What cannot be deleted now (another process is at it, or it is not ours) costs nothing but disk, and the next who opens
// the store tries again.
static void delete_quietly(const char *path) {
  rh_error reason = {0};
  if (rh_file_remove_tree(path, &reason) != RH_OK) {
    RH_LOG(RH_LOG_DEBUG, "a leftover of the store could not be deleted", rh_log_str("reason", reason.message));
  }
}

// The folder of a name goes with its last version.
static void remove_if_empty(const char *path) {
  char *folder = strdup(path);
  char *slash = folder == NULL ? NULL : strrchr(folder, '/');
  if (slash != NULL) {
    *slash = '\0';
    (void)rmdir(folder);
  }
  free(folder);
}

rh_status rh_store_discard(rh_store *store, const char *path, rh_error *error) {
  char id[RH_ID_SIZE];
  rh_id_make(id, "");
  char *trash = NULL;
  if (asprintf(&trash, "%s/trash/%s", store->folder, id) < 0) {
    return rh_fail(error, RH_NO_MEMORY, "no memory to remove %s", path);
  }
  rh_status status = rename(path, trash) == 0 ? RH_OK : rh_file_fail(error, errno, "remove", path);
  if (status == RH_OK) {
    remove_if_empty(path);
    delete_quietly(trash);
  }
  free(trash);
  return status;
}

static char *old_path(const rh_store *store, const rh_model_ref *ref) {
  char name[RH_MODEL_NAME_MAX + 1], version[RH_MODEL_NAME_MAX + 1];
  rh_model_ref_to_folder(ref->name, name, sizeof name);
  rh_model_ref_to_folder(ref->version, version, sizeof version);
  char *path = NULL;
  return asprintf(&path, "%s/models/%s/.old+%s", store->folder, name, version) < 0 ? NULL : path;
}

void rh_store_recover(rh_store *store, const rh_model_ref *ref) {
  char *old = old_path(store, ref);
  char *path = rh_store_model_path(store, "models", ref);
  struct stat info;
  if (old != NULL && path != NULL && lstat(old, &info) == 0) {
    if (lstat(path, &info) == 0 || rename(old, path) != 0) {
      if (rh_store_discard(store, old, NULL) == RH_OK) rh_store_tell_changed(store);
    } else {
      rh_store_tell_changed(store);
    }
  }
  free(old);
  free(path);
}

static rh_status sync_parent(const char *path, rh_error *error) {
  char *folder = strdup(path);
  if (folder == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to write %s", path);
  *strrchr(folder, '/') = '\0';
  rh_status status = rh_file_sync(folder, error);
  free(folder);
  return status;
}

// Two renames, where the file system cannot exchange.
static int replace_in_two_steps(rh_store *store, const rh_model_ref *ref, const char *from, const char *to) {
  char *old = old_path(store, ref);
  if (old == NULL) return ENOMEM;
  int number = 0;
  if (rename(to, old) != 0) {
    number = errno;
  } else if (rename(from, to) != 0) {
    number = errno;
    if (rename(old, to) != 0) number = errno;
  } else {
    (void)rh_store_discard(store, old, NULL);
  }
  free(old);
  return number;
}

// One attempt; 0 or an errno. *exchanged: what was there lies at `from` now.
static int swap(rh_store *store, const rh_model_ref *ref, const char *from, const char *to, bool *exchanged) {
  *exchanged = false;
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno == EINVAL || errno == ENOSYS) {  // a file system without the flags of renameat2
    struct stat info;
    if (lstat(to, &info) == 0) return replace_in_two_steps(store, ref, from, to);
    return rename(from, to) == 0 ? 0 : errno;
  }
  if (errno != EEXIST) return errno;
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) {
    *exchanged = true;
    return 0;
  }
  return errno == EINVAL || errno == ENOSYS ? replace_in_two_steps(store, ref, from, to) : errno;
}

rh_status rh_store_swap_in(rh_store *store, const rh_model_ref *ref, const char *from, rh_error *error) {
  char *to = rh_store_model_path(store, "models", ref);
  if (to == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to write the model %s", ref->name);
  char *folder = strdup(to);
  if (folder != NULL) *strrchr(folder, '/') = '\0';
  bool exchanged = false;
  rh_status status = folder == NULL ? RH_NO_MEMORY : RH_NOT_FOUND;
  // Who removes the last version of a name removes its folder, perhaps between our two steps.
  for (int i = 0; status == RH_NOT_FOUND && i < TRIES_MAX; i++) {
    status = rh_file_make_folders(folder, RH_STORE_FOLDER_MODE, error);
    if (status != RH_OK) continue;
    int number = swap(store, ref, from, to, &exchanged);
    if (number != 0) status = rh_file_fail(error, number, "put the model in place at", to);
  }
  if (status == RH_OK) {
    status = sync_parent(to, error);
    if (status == RH_OK) status = sync_parent(folder, error);
    if (exchanged) (void)rh_store_discard(store, from, NULL);
    remove_if_empty(from);
  }
  free(folder);
  free(to);
  return status;
}

// --- leftovers ------------------------------------------------------------------------------------------------------

static bool exists(const char *folder, const char *name) {
  char *path = rh_store_join(folder, name);
  struct stat info;
  bool there = path != NULL && lstat(path, &info) == 0;
  free(path);
  return there;
}

// A partial folder with a manifest is what was exchanged for a newer one, or a commit that did not come to its rename;
// one without a note of its source can never go on.
static bool clean_partial(void *ctx, const rh_model_ref *ref, const char *path) {
  rh_store *store = ctx;
  rh_lock lock;
  char *lock_path;
  char *note = rh_store_note_path(store, ref);
  struct stat info;
  bool useless = exists(path, RH_STORE_MANIFEST) || (note != NULL && lstat(note, &info) != 0);
  if (useless && rh_lock_of_model(store, ref, &lock_path, NULL) == RH_OK &&
      rh_lock_try(lock_path, &lock, NULL) == RH_OK) {
    // Again, now that nobody works on it.
    useless = exists(path, RH_STORE_MANIFEST) || (note != NULL && lstat(note, &info) != 0);
    if (useless) (void)rh_store_discard(store, path, NULL);
    if (useless && note != NULL && unlink(note) == 0) remove_if_empty(note);
    rh_lock_release(&lock);
  }
  free(note);
  return true;
}

typedef struct olds {
  rh_store *store;
  const char *name;  // as a folder
} olds;

// `entry` is ".old+VERSION" below models/NAME.
static void recover_entry(rh_store *store, const char *name, const char *entry) {
  char text[2 * RH_MODEL_NAME_MAX + 2], folder[RH_MODEL_NAME_MAX + 1], version[RH_MODEL_NAME_MAX + 1];
  if (strlen(name) > RH_MODEL_NAME_MAX || strlen(entry) > RH_MODEL_NAME_MAX) return;
  rh_model_ref_from_folder(name, folder, sizeof folder);
  rh_model_ref_from_folder(entry + strlen(".old+"), version, sizeof version);
  (void)snprintf(text, sizeof text, "%s:%s", folder, version);
  rh_model_ref ref;
  rh_lock lock;
  char *lock_path;
  if (rh_model_ref_parse(text, &ref, NULL) != RH_OK || rh_lock_of_model(store, &ref, &lock_path, NULL) != RH_OK) return;
  if (rh_lock_try(lock_path, &lock, NULL) != RH_OK) return;
  rh_store_recover(store, &ref);
  rh_lock_release(&lock);
}

static void each_entry(const char *folder, void (*each)(void *ctx, const char *folder, const char *name), void *ctx) {
  DIR *opened = opendir(folder);
  const struct dirent *entry;
  while (opened != NULL && (entry = readdir(opened)) != NULL) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) each(ctx, folder, entry->d_name);
  }
  if (opened != NULL) closedir(opened);
}

static void recover_if_old(void *ctx, const char *folder, const char *name) {
  const olds *o = ctx;
  (void)folder;
  if (rh_text_starts_with(name, ".old+")) recover_entry(o->store, o->name, name);
}

static void recover_name(void *ctx, const char *folder, const char *name) {
  if (name[0] == '.') return;
  char *path = rh_store_join(folder, name);
  olds o = {.store = ctx, .name = name};
  if (path != NULL) each_entry(path, recover_if_old, &o);
  free(path);
}

static void remove_entry(void *ctx, const char *folder, const char *name) {
  (void)ctx;
  char *path = rh_store_join(folder, name);
  if (path != NULL) delete_quietly(path);
  free(path);
}

// `ctx`: a bool that becomes true when one was removed.
static void remove_if_unfinished(void *ctx, const char *folder, const char *name) {
  bool *removed = ctx;
  if (!rh_text_starts_with(name, RH_FILE_TEMPORARY)) return;
  char *path = rh_store_join(folder, name);
  struct stat info;
  if (path != NULL && lstat(path, &info) == 0 && info.st_mtime < time(NULL) - TEMPORARY_AGE_S) {
    *removed = unlink(path) == 0 || *removed;
  }
  free(path);
}

// The notes of sources are written beside the folders of versions.
static void clean_notes(void *ctx, const char *folder, const char *name) {
  char *path = rh_store_join(folder, name);
  bool removed = false;
  (void)ctx;
  if (path != NULL) each_entry(path, remove_if_unfinished, &removed);
  if (removed) (void)rmdir(path);  // when nothing else is in it
  free(path);
}

void rh_store_clean(rh_store *store) {
  char *models = rh_store_path(store, "models");
  char *trash = rh_store_path(store, "trash");
  if (models != NULL) each_entry(models, recover_name, store);
  if (trash != NULL) each_entry(trash, remove_entry, NULL);
  bool removed = false;
  each_entry(store->folder, remove_if_unfinished, &removed);
  rh_error reason = {0};
  if (rh_store_each(store, "partial", clean_partial, store, &reason) != RH_OK) {
    RH_LOG(RH_LOG_WARN, "partial pulls could not be looked at", rh_log_str("reason", reason.message));
  }
  char *partial = rh_store_path(store, "partial");
  if (partial != NULL) each_entry(partial, clean_notes, store);
  free(partial);
  free(models);
  free(trash);
}
