// SPDX-License-Identifier: Apache-2.0
//
// Opens the store that the configuration names and finds models in it. Owns what rh_local holds. One thread. Changes
// nothing.
#include "cli/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "cli/connect.h"

bool rh_local_is_true(const char *text) {
  static const char *const no[] = {"", "0", "false", "no", "off"};
  if (text == NULL) return false;
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
    if (strcasecmp(text, no[i]) == 0) return false;
  }
  return true;
}

static rh_status open_store(rh_local *local, const char *folder, bool create, rh_error *error) {
  char *own = NULL;
  if (folder == NULL || folder[0] == '\0') folder = local->conf != NULL ? local->conf->settings.store_dir : NULL;
  if (folder == NULL || folder[0] == '\0') {
    char *data = rh_data_dir();
    if (data == NULL || asprintf(&own, "%s/store", data) < 0) own = NULL;
    free(data);
    if (own == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the name of the store's folder");
    folder = own;
  }
  rh_status status = rh_store_open(folder, create, &local->store, error);
  free(own);
  return status;
}

rh_status rh_local_open(const char *store_dir, bool create, rh_local *out, rh_error *error) {
  *out = (rh_local){.conf = NULL};
  bool named = store_dir != NULL && store_dir[0] != '\0';
  rh_error inner = {0};
  out->conf = rh_connect_configuration(&inner);
  // Which store is meant cannot be told from a configuration that is wrong; a person who names it has told.
  if (out->conf == NULL && !named) return rh_fail(error, inner.status, "%s", inner.message);
  rh_status status = open_store(out, store_dir, create, error);
  if (out->conf != NULL) {
    const rh_settings *settings = &out->conf->settings;
    out->hub_cache = rh_settings_hub_cache(settings);
    out->store_limit_bytes = (int64_t)settings->store_limit;
    out->offline = settings->offline;
  } else {
    out->offline = rh_local_is_true(getenv("ROUNDHOUSE_OFFLINE"));
  }
  if (status != RH_OK) rh_local_close(out);
  return status;
}

void rh_local_close(rh_local *local) {
  rh_store_close(local->store);
  rh_configuration_free(local->conf);
  *local = (rh_local){.conf = NULL};
}

void rh_local_name(const rh_stored *stored, char *out, size_t size) {
  if (rh_model_ref_format(&stored->ref, out, size) != RH_OK) (void)rh_text_copy(out, size, stored->ref.name);
}

// What an alias of the store stands for, or the name itself.
static void follow_alias(rh_local *local, const char *name, char *out, size_t size) {
  json_t *aliases = NULL;
  rh_error ignored = {0};
  const char *target = NULL;
  if (rh_store_aliases(local->store, &aliases, &ignored) == RH_OK)
    target = json_string_value(json_object_get(aliases, name));
  (void)rh_text_copy(out, size, target != NULL ? target : name);
  json_decref(aliases);
}

static bool same_name(const rh_stored *stored, const rh_model_ref *ref) {
  if (strcasecmp(stored->ref.name, ref->name) != 0) return false;
  return ref->version[0] == '\0' || strcasecmp(stored->ref.version, ref->version) == 0;
}

static rh_status find_in_cache(rh_local *local, const rh_model_ref *ref, rh_stored *out) {
  if (local->hub_cache != NULL && local->hub_cache[0] == '\0') return RH_NOT_FOUND;
  rh_stored_list list = {.items = NULL};
  rh_error ignored = {0};
  rh_status status = rh_store_scan_hub_cache(local->hub_cache, &list, &ignored);
  if (status != RH_OK) return RH_NOT_FOUND;
  status = RH_NOT_FOUND;
  for (size_t i = 0; status != RH_OK && i < list.count; i++) {
    if (!same_name(&list.items[i], ref)) continue;
    *out = list.items[i];  // taken over
    list.items[i] = (rh_stored){.folder = NULL};
    status = RH_OK;
  }
  rh_stored_list_release(&list);
  return status;
}

rh_status rh_local_find(rh_local *local, const char *name, bool elsewhere, rh_stored *out, rh_error *error) {
  *out = (rh_stored){.folder = NULL};
  char text[2 * RH_MODEL_NAME_MAX + 2];
  rh_model_ref ref;
  follow_alias(local, name, text, sizeof text);
  rh_status status = rh_model_ref_parse(text, &ref, error);
  if (status != RH_OK) return status;
  rh_error inner = {0};
  status = rh_store_find(local->store, &ref, out, &inner);
  if (status == RH_NOT_FOUND && elsewhere && find_in_cache(local, &ref, out) == RH_OK) return RH_OK;
  return status == RH_OK ? RH_OK : rh_fail(error, status, "%s", inner.message);
}

// An alias may name a model without its version: what that means, only the store can say.
static bool means(rh_local *local, const char *target, const rh_stored *stored) {
  rh_model_ref ref;
  rh_stored found = {.folder = NULL};
  rh_error ignored = {0};
  if (target == NULL || rh_model_ref_parse(target, &ref, &ignored) != RH_OK) return false;
  if (strcmp(ref.name, stored->ref.name) != 0) return false;
  if (rh_store_find(local->store, &ref, &found, &ignored) != RH_OK) return false;
  bool same = strcmp(found.ref.version, stored->ref.version) == 0;
  rh_stored_release(&found);
  return same;
}

json_t *rh_local_aliases_of(rh_local *local, const rh_stored *stored) {
  json_t *found = json_array(), *aliases = NULL, *target;
  const char *alias;
  rh_error ignored = {0};
  if (rh_store_aliases(local->store, &aliases, &ignored) == RH_OK) {
    json_object_foreach(aliases, alias, target) {
      // "pin:NAME" lies among them and is none.
      if (strncmp(alias, "pin:", 4) == 0 || !means(local, json_string_value(target), stored)) continue;
      json_array_append_new(found, json_string(alias));
    }
  }
  json_decref(aliases);
  return found;
}

int rh_local_fail(const rh_error *error) {
  if (error->status == RH_CANCELLED) return RH_EXIT_INTERRUPTED;
  return rh_cli_fail(RH_EXIT_ERROR, "%s", error->message);
}
