// SPDX-License-Identifier: Apache-2.0
//
// Private to src/store: the handle, paths, locks, manifests and leftovers.
#ifndef RH_STORE_INTERNAL_H
#define RH_STORE_INTERNAL_H

#include "store/store.h"

#define RH_STORE_MODELS_MAX 4096
#define RH_STORE_FILES_MAX 4096                             // of one model
#define RH_STORE_JSON_BYTES_MAX ((size_t)16 * 1024 * 1024)  // of a manifest or a file of facts
#define RH_STORE_MANIFEST "manifest.json"
#define RH_STORE_FOLDER_MODE 0755
#define RH_STORE_FILE_MODE 0644

// How long a short piece of work (removing, an alias) waits for a lock before it gives up.
#define RH_STORE_LOCK_WAIT_MS 5000u

struct rh_store {
  char *folder;  // absolute where it exists
  // usage.json as it was read last, so that asking for many models reads it once.
  json_t *usage;
  int64_t usage_inode, usage_modified_ns;
  bool usage_warned;
};

// --- paths: malloc'ed, NULL when memory is short --------------------------------------------------------------------

char *rh_store_path(const rh_store *store, const char *relative);
// FOLDER/WHERE/NAME/VERSION; the version must be given.
char *rh_store_model_path(const rh_store *store, const char *where, const rh_model_ref *ref);
char *rh_store_join(const char *folder, const char *name);

// --- locks ----------------------------------------------------------------------------------------------------------

typedef struct rh_lock {
  int fd;  // -1 = not held
  char *path;
} rh_lock;

// Which lock: of a model, or of one of the files of facts ("aliases", "usage").
rh_status rh_lock_of_model(const rh_store *store, const rh_model_ref *ref, char **path, rh_error *error) RH_MUST_CHECK;
// RH_AGAIN when another process has it. Takes `path` in any case.
rh_status rh_lock_try(char *path, rh_lock *out, rh_error *error) RH_MUST_CHECK;
// Waits RH_STORE_LOCK_WAIT_MS at most (RH_CONFLICT). Takes `path` in any case.
rh_status rh_lock_wait(char *path, rh_lock *out, rh_error *error) RH_MUST_CHECK;
void rh_lock_release(rh_lock *lock);
// The process that holds it wrote its number into it; 0 when that cannot be read.
int64_t rh_lock_holder(const char *path);

// --- manifests ------------------------------------------------------------------------------------------------------

// Reads FOLDER/manifest.json of a model. RH_NOT_FOUND when there is none (it was removed meanwhile).
rh_status rh_manifest_read(const char *folder, const rh_model_ref *ref, rh_stored *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_manifest_write(const char *folder, const rh_stored *stored, rh_error *error) RH_MUST_CHECK;
// A path that stays below its folder, without hidden turns.
bool rh_manifest_path_is_safe(const char *path);

// A deep copy. On failure *out is zeroed.
rh_status rh_stored_copy(const rh_stored *from, rh_stored *out, rh_error *error) RH_MUST_CHECK;
// Moves *item into the list and zeroes it; RH_TOO_LARGE beyond RH_STORE_MODELS_MAX.
rh_status rh_stored_list_add(rh_stored_list *list, rh_stored *item, rh_error *error) RH_MUST_CHECK;
void rh_stored_list_sort(rh_stored_list *list);

// --- leftovers ------------------------------------------------------------------------------------------------------

// Out of sight by one rename, then deleted. RH_NOT_FOUND when it is not there.
rh_status rh_store_discard(rh_store *store, const char *path, rh_error *error);
// Puts one finished folder where another may be, in one step where the file system can. The ref's lock is held.
rh_status rh_store_swap_in(rh_store *store, const rh_model_ref *ref, const char *from, rh_error *error) RH_MUST_CHECK;
// An interrupted swap on a file system that cannot exchange: the old version comes back. The ref's lock is held.
void rh_store_recover(rh_store *store, const rh_model_ref *ref);
// What crashes left behind, where nobody works on it. Never fails: what cannot be cleaned stays.
void rh_store_clean(rh_store *store);

// --- drafts ---------------------------------------------------------------------------------------------------------

// The file that remembers a partial pull's source (as a digest: sources may hold secrets).
char *rh_store_note_path(const rh_store *store, const rh_model_ref *ref);
// `ref` with a version: "latest" where it has none. RH_INVALID when it is too long or no name.
rh_status rh_store_complete_ref(const rh_model_ref *ref, rh_model_ref *out, rh_error *error) RH_MUST_CHECK;

// --- small ----------------------------------------------------------------------------------------------------------

void rh_store_tell_changed(const rh_store *store);
// Calls `each` for every WHERE/NAME/VERSION; false from it stops.
rh_status rh_store_each(const rh_store *store, const char *where,
                        bool (*each)(void *ctx, const rh_model_ref *ref, const char *path), void *ctx,
                        rh_error *error) RH_MUST_CHECK;
// A file of facts as an object; an empty one when there is no file. New reference.
rh_status rh_store_read_json(const char *path, json_t **out, rh_error *error) RH_MUST_CHECK;
rh_status rh_store_write_json(const char *path, const json_t *value, rh_error *error) RH_MUST_CHECK;

#endif
