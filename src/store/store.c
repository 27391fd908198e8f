// SPDX-License-Identifier: Apache-2.0
//
// The store's handle: opening, paths, listing, finding, and telling others of changes. Owns the folder's name and one
// cached file of facts. One thread a handle, any number of processes. Reading takes no locks: a model's folder appears
// and disappears by one rename, so a reader sees all of it or nothing.
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "store/internal.h"

char *rh_store_join(const char *folder, const char *name) {
  char *path = NULL;
  return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

char *rh_store_path(const rh_store *store, const char *relative) { return rh_store_join(store->folder, relative); }

char *rh_store_model_path(const rh_store *store, const char *where, const rh_model_ref *ref) {
  char name[RH_MODEL_NAME_MAX + 1], version[RH_MODEL_NAME_MAX + 1];
  assert(ref->name[0] != '\0' && ref->version[0] != '\0');
  rh_model_ref_to_folder(ref->name, name, sizeof name);
  rh_model_ref_to_folder(ref->version, version, sizeof version);
  char *path = NULL;
  return asprintf(&path, "%s/%s/%s/%s", store->folder, where, name, version) < 0 ? NULL : path;
}

rh_status rh_store_complete_ref(const rh_model_ref *ref, rh_model_ref *out, rh_error *error) {
  char text[2 * RH_MODEL_NAME_MAX + 2];
  const char *version = ref->version[0] == '\0' ? RH_VERSION_LATEST : ref->version;
  // Callers may have filled the fields themselves; names become folders, so nothing is taken on trust.
  (void)snprintf(text, sizeof text, "%s:%s", ref->name, version);
  rh_status status = rh_model_ref_parse(text, out, error);
  if (status == RH_OK && (strcmp(out->version, version) != 0 || ref->name[0] == '\0')) {
    status = rh_fail(error, RH_INVALID, "\"%.140s\" is no name and version", text);
  }
  return status;
}

static rh_status make_layout(rh_store *store, rh_error *error) {
  static const char *const folders[] = {"models", "partial", "locks", "trash"};
  rh_status status = RH_OK;
  for (size_t i = 0; i < sizeof folders / sizeof *folders && status == RH_OK; i++) {
    char *path = rh_store_path(store, folders[i]);
    status = path == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory to open the store")
                          : rh_file_make_folders(path, RH_STORE_FOLDER_MODE, error);
    free(path);
  }
  return status;
}

rh_status rh_store_open(const char *folder, bool create, rh_store **out, rh_error *error) {
  assert(folder != NULL && folder[0] != '\0' && out != NULL);
  *out = NULL;
  rh_store *store = calloc(1, sizeof *store);
  if (store == NULL || (store->folder = strdup(folder)) == NULL) {
    free(store);
    return rh_fail(error, RH_NO_MEMORY, "no memory to open the store");
  }
  rh_status status = create ? make_layout(store, error) : RH_OK;
  if (status != RH_OK) {
    rh_store_close(store);
    return status;
  }
  // Paths of models are handed to workers, which may run elsewhere.
  char *absolute = realpath(folder, NULL);
  if (absolute != NULL) {
    free(store->folder);
    store->folder = absolute;
  }
  rh_store_clean(store);
  *out = store;
  return RH_OK;
}

void rh_store_close(rh_store *store) {
  if (store == NULL) return;
  json_decref(store->usage);
  free(store->folder);
  free(store);
}

const char *rh_store_folder(const rh_store *store) { return store->folder; }

rh_status rh_store_read_json(const char *path, json_t **out, rh_error *error) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, RH_STORE_JSON_BYTES_MAX);
  rh_error inner = {0};
  *out = NULL;
  rh_status status = rh_file_read(path, &text, &inner);
  if (status == RH_NOT_FOUND) {
    *out = json_object();
    status = *out == NULL ? RH_NO_MEMORY : RH_OK;
  } else if (status == RH_OK) {
    *out = rh_json_parse(rh_dynbuf_data(&text), text.length, &inner);
    status = *out == NULL ? inner.status : RH_OK;
  }
  rh_dynbuf_free(&text);
  if (status == RH_OK && !json_is_object(*out)) {
    status = rh_fail(&inner, RH_INVALID, "it holds %s, not an object", rh_json_type_name(*out));
    json_decref(*out);
    *out = NULL;
  }
  if (status == RH_INVALID)
    return rh_fail(error, status, "%s is damaged: %s; correct or delete it", path, inner.message);
  return status == RH_OK ? RH_OK : rh_fail(error, status, "%s", inner.message);
}

rh_status rh_store_write_json(const char *path, const json_t *value, rh_error *error) {
  char *text = json_dumps(value, JSON_INDENT(2) | JSON_SORT_KEYS);
  if (text == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to write %s", path);
  rh_status status = rh_file_write_atomic(path, text, strlen(text), RH_STORE_FILE_MODE, error);
  free(text);
  return status;
}

void rh_store_tell_changed(const rh_store *store) {
  // By rename, so that a watcher sees one event and a poller a new inode. Not flushed: it is news, not data.
  char id[RH_ID_SIZE];
  rh_id_make(id, RH_FILE_TEMPORARY);
  char *beside = rh_store_path(store, id);
  char *path = rh_store_path(store, "changed");
  int fd =
      beside == NULL || path == NULL ? -1 : open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, RH_STORE_FILE_MODE);
  if (fd >= 0) {
    bool written = write(fd, id + strlen(RH_FILE_TEMPORARY), 32) == 32;
    close(fd);
    if (!written || rename(beside, path) != 0) (void)unlink(beside);
  }
  free(beside);
  free(path);
}

// Names of ours begin with a dot, those of models never do.
static bool next_name(DIR *folder, char out[RH_MODEL_NAME_MAX + 1]) {
  const struct dirent *entry;
  while ((entry = readdir(folder)) != NULL) {
    if (entry->d_name[0] == '.' || strlen(entry->d_name) > RH_MODEL_NAME_MAX) continue;
    rh_model_ref_from_folder(entry->d_name, out, RH_MODEL_NAME_MAX + 1);
    return true;
  }
  return false;
}

static bool each_version(const rh_store *store, const char *where, rh_model_ref *ref,
                         bool (*each)(void *ctx, const rh_model_ref *ref, const char *path), void *ctx) {
  char name[RH_MODEL_NAME_MAX + 1];
  rh_model_ref_to_folder(ref->name, name, sizeof name);
  char *path = NULL;
  if (asprintf(&path, "%s/%s/%s", store->folder, where, name) < 0) return true;
  DIR *folder = opendir(path);  // it may have gone meanwhile
  free(path);
  bool go_on = true;
  while (folder != NULL && go_on && next_name(folder, ref->version)) {
    rh_model_ref whole;
    if (rh_store_complete_ref(ref, &whole, NULL) != RH_OK) continue;  // not a folder that we made
    char *model = rh_store_model_path(store, where, &whole);
    go_on = model == NULL || each(ctx, &whole, model);
    free(model);
  }
  if (folder != NULL) closedir(folder);
  return go_on;
}

rh_status rh_store_each(const rh_store *store, const char *where,
                        bool (*each)(void *ctx, const rh_model_ref *ref, const char *path), void *ctx,
                        rh_error *error) {
  char *path = rh_store_path(store, where);
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to read the store");
  DIR *folder = opendir(path);
  rh_status status = RH_OK;
  if (folder == NULL && errno != ENOENT) status = rh_file_fail(error, errno, "read the store's folder", path);
  free(path);
  if (folder == NULL) return status;
  rh_model_ref ref = {.name = ""};
  while (next_name(folder, ref.name) && each_version(store, where, &ref, each, ctx)) continue;
  closedir(folder);
  return RH_OK;
}

typedef struct listing {
  rh_stored_list *out;
  rh_status status;
  rh_error *error;
} listing;

static bool list_one(void *ctx, const rh_model_ref *ref, const char *path) {
  listing *l = ctx;
  rh_stored item;
  rh_error reason = {0};
  rh_status status = rh_manifest_read(path, ref, &item, &reason);
  if (status == RH_OK) {
    l->status = rh_stored_list_add(l->out, &item, l->error);
    rh_stored_release(&item);
  } else if (status == RH_NO_MEMORY) {
    l->status = rh_fail(l->error, status, "%s", reason.message);
  } else if (status != RH_NOT_FOUND) {
    RH_LOG(RH_LOG_WARN, "a model of the store was skipped", rh_log_str("path", path),
           rh_log_str("reason", reason.message));
  }
  return l->status == RH_OK;
}

rh_status rh_store_list(rh_store *store, rh_stored_list *out, rh_error *error) {
  assert(store != NULL && out != NULL);
  *out = (rh_stored_list){.items = NULL};
  listing l = {.out = out, .error = error};
  rh_status status = rh_store_each(store, "models", list_one, &l, error);
  if (status == RH_OK) status = l.status;
  if (status != RH_OK) {
    rh_stored_list_release(out);
    return status;
  }
  rh_stored_list_sort(out);
  return RH_OK;
}
