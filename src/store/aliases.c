// SPDX-License-Identifier: Apache-2.0
//
// Aliases: one small file, changed under a lock by reading, changing and replacing it, so that no process loses what
// another one wrote. Owns nothing between calls. It deliberately does not check that a target exists: an alias may be
// set before its model is pulled, and the manager knows models that are not of the store.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

#define ALIASES_MAX 4096

static bool is_alias_list(const json_t *object) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    if (!json_is_string(value)) return false;
  }
  return true;
}

rh_status rh_store_aliases(rh_store *store, json_t **out, rh_error *error) {
  assert(store != NULL && out != NULL);
  *out = NULL;
  char *path = rh_store_path(store, "aliases.json");
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the aliases");
  rh_status status = rh_store_read_json(path, out, error);
  if (status == RH_OK && !is_alias_list(*out)) {
    json_decref(*out);
    *out = NULL;
    status = rh_fail(error, RH_INVALID, "%s is damaged: an alias must be a string; correct or delete it", path);
  }
  free(path);
  return status;
}

// *changed stays false where nothing is different.
static rh_status change(rh_store *store, const char *path, const char *alias, const char *target, bool *changed,
                        rh_error *error) {
  json_t *aliases = NULL;
  rh_status status = rh_store_aliases(store, &aliases, error);
  if (status != RH_OK) return status;
  const char *before = json_string_value(json_object_get(aliases, alias));
  *changed = target == NULL ? before != NULL : before == NULL || strcmp(before, target) != 0;
  if (*changed && target != NULL && before == NULL && json_object_size(aliases) >= ALIASES_MAX) {
    status = rh_fail(error, RH_TOO_LARGE, "there are %d aliases already; remove some", ALIASES_MAX);
  } else if (*changed) {
    int failed =
        target == NULL ? json_object_del(aliases, alias) : json_object_set_new(aliases, alias, json_string(target));
    status = failed != 0 ? rh_fail(error, RH_NO_MEMORY, "no memory for the aliases")
                         : rh_store_write_json(path, aliases, error);
  }
  json_decref(aliases);
  return status;
}

rh_status rh_store_alias_set(rh_store *store, const char *alias, const char *target, rh_error *error) {
  assert(store != NULL && alias != NULL);
  rh_model_ref ref;
  rh_status status = rh_model_ref_parse(alias, &ref, error);
  if (status == RH_OK && target != NULL) status = rh_model_ref_parse(target, &ref, error);
  if (status != RH_OK) return status;
  char *path = rh_store_path(store, "aliases.json");
  rh_lock lock;
  bool changed = false;
  status = rh_lock_wait(rh_store_path(store, "locks/.aliases"), &lock, error);
  if (status == RH_OK) {
    status = path == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory for the aliases")
                          : change(store, path, alias, target, &changed, error);
    rh_lock_release(&lock);
  }
  free(path);
  if (status == RH_OK && changed) rh_store_tell_changed(store);
  return status;
}
