// SPDX-License-Identifier: Apache-2.0
//
// What the configuration says of models: "models", "aliases", "catalogue", default_model; and the checks that concern
// more than one setting. Fills the configuration's own catalogue; "catalogue" goes into the process's one table of known
// models. Called once, before the daemon has threads.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "daemon/settings_private.h"
#include "model/known.h"
#include "model/ref.h"
#include "store/store.h"

#define ALIASES_MAX 1000

// A file's relative paths belong to its folder, not to wherever the daemon was started.
static char *resolve_path(const char *path, const char *folder) {
  const char *home = getenv("HOME");
  char *full = NULL;
  int written = -1;
  if (rh_text_starts_with(path, "~/") && home != NULL)
    written = asprintf(&full, "%s%s", home, path + 1);
  else if (path[0] == '/' || path[0] == '\0' || folder == NULL || rh_text_starts_with(path, "fake:"))
    return strdup(path);
  else
    written = asprintf(&full, "%s/%s", folder, path);
  return written < 0 ? NULL : full;
}

static rh_status add_model(rh_configuration *conf, const char *name, json_t *value, const char *folder,
                           rh_error *error) {
  rh_load_options defaults = rh_settings_load_options(&conf->settings);
  int64_t queue_max = conf->settings.queue_max;
  const char *path = json_string_value(json_object_get(value, "path"));
  if (path == NULL) return rh_catalogue_add_json(conf->catalogue, name, value, &defaults, queue_max, error);
  json_t *copy = json_copy(value);
  char *full = resolve_path(path, folder);
  rh_status status = RH_OK;
  if (copy == NULL || full == NULL || json_object_set_new(copy, "path", json_string(full)) != 0) {
    status = rh_fail(error, RH_NO_MEMORY, "no memory for model \"%s\"", name);
  } else {
    status = rh_catalogue_add_json(conf->catalogue, name, copy, &defaults, queue_max, error);
  }
  json_decref(copy);
  free(full);
  return status;
}

rh_status rh_settings_apply_models(rh_configuration *conf, const json_t *root, const char *folder, rh_error *error) {
  json_t *models = NULL;
  rh_status status = rh_json_get_object(root, "", "models", &models, error);
  if (status != RH_OK || models == NULL) return status;
  conf->models = json_incref(models);
  const char *name;
  json_t *value;
  json_object_foreach(models, name, value) {
    // A flag of the same name has been added before and wins.
    if (rh_catalogue_find(conf->catalogue, name) != NULL) continue;
    status = add_model(conf, name, value, folder, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// --- names ---------------------------------------------------------------------------------------------------------

static rh_status check_alias(const rh_configuration *conf, const json_t *models, const char *alias,
                             const json_t *target, rh_error *error) {
  char param[RH_MODEL_NAME_MAX + 16];
  snprintf(param, sizeof param, "aliases.%.*s", RH_MODEL_NAME_MAX, alias);
  rh_model_ref ref;
  rh_error inner = {0};
  if (rh_model_ref_parse(alias, &ref, &inner) != RH_OK) {
    return rh_fail_param(error, RH_INVALID, param, "%s: %s", param, inner.message);
  }
  if (!json_is_string(target)) {
    return rh_fail_param(error, RH_INVALID, param, "%s must be a model's name such as \"smollm2:135m\", not %s", param,
                         rh_json_type_name(target));
  }
  if (rh_model_ref_parse(json_string_value(target), &ref, &inner) != RH_OK) {
    return rh_fail_param(error, RH_INVALID, param, "%s: %s", param, inner.message);
  }
  bool named = json_object_get(models, alias) != NULL || rh_catalogue_find(conf->configured, alias) != NULL;
  if (!named) return RH_OK;
  return rh_fail_param(error, RH_INVALID, param, "%s: there is a model of this name under \"models\"; rename one",
                       param);
}

static rh_status apply_aliases(rh_configuration *conf, const json_t *root, rh_error *error) {
  json_t *aliases = NULL;
  rh_status status = rh_json_get_object(root, "", "aliases", &aliases, error);
  if (status != RH_OK || aliases == NULL) return status;
  if (json_object_size(aliases) > ALIASES_MAX) {
    return rh_fail_param(error, RH_TOO_LARGE, "aliases", "more than %d aliases", ALIASES_MAX);
  }
  const char *alias;
  json_t *target;
  json_object_foreach(aliases, alias, target) {
    if ((status = check_alias(conf, json_object_get(root, "models"), alias, target, error)) != RH_OK) return status;
  }
  conf->aliases = json_incref(aliases);
  return RH_OK;
}

rh_status rh_settings_apply_names(rh_configuration *conf, const json_t *root, rh_error *error) {
  rh_status status = apply_aliases(conf, root, error);
  json_t *known = NULL;
  if (status == RH_OK) status = rh_json_get_object(root, "", "catalogue", &known, error);
  if (status != RH_OK || known == NULL) return status;
  rh_error inner = {0};
  status = rh_known_add(known, &inner);
  if (status == RH_OK) {
    conf->known = json_incref(known);
    return RH_OK;
  }
  char param[sizeof inner.param];
  rh_json_join_path(param, sizeof param, "catalogue", inner.param);
  return rh_fail_param(error, status, param, "catalogue: %s", inner.message);
}

// --- checks --------------------------------------------------------------------------------------------------------

uint64_t rh_settings_keep_alive_ns(const rh_settings *settings) {
  int64_t ns = 0;
  rh_error ignored = {0};
  // The text was checked when the settings were read.
  if (rh_keep_alive_parse(settings->keep_alive, &ns, &ignored) != RH_OK || ns < 0) return UINT64_MAX;
  return (uint64_t)ns;
}

const char *rh_settings_hub_cache(const rh_settings *settings) {
  const char *value = settings->hub_cache;
  if (value == NULL || strcmp(value, "auto") == 0) return NULL;
  return strcmp(value, "off") == 0 ? "" : value;
}

rh_status rh_settings_check(const rh_configuration *conf, rh_error *error) {
  const rh_settings *settings = &conf->settings;
  if (settings->backoff_min > settings->backoff_max) {
    return rh_fail_param(error, RH_INVALID, "backoff_min", "backoff_min is longer than backoff_max; swap them");
  }
  if (settings->ping_interval > settings->ping_timeout) {
    return rh_fail_param(error, RH_INVALID, "ping_timeout",
                         "ping_timeout is shorter than ping_interval, so every worker would seem dead; raise it");
  }
  int64_t ns = 0;
  rh_error inner = {0};
  if (rh_keep_alive_parse(settings->keep_alive, &ns, &inner) == RH_OK) return rh_engine_options_check(conf, error);
  return rh_fail_param(error, RH_INVALID, "keep_alive", "keep_alive: %s", inner.message);
}

// Every name that default_model could mean; `count` pointers into the configuration and the list.
static const char **all_names(const rh_configuration *conf, char (*stored)[RH_MODEL_NAME_MAX + 1], size_t stored_count,
                              size_t *count) {
  size_t own = rh_catalogue_count(conf->catalogue);
  const char **names = calloc(own + json_object_size(conf->aliases) + stored_count + 1, sizeof *names);
  if (names == NULL) return NULL;
  *count = 0;
  for (size_t i = 0; i < own; i++) names[(*count)++] = rh_catalogue_at(conf->catalogue, i)->name;
  const char *alias;
  json_t *target;
  json_object_foreach(conf->aliases, alias, target) {
    (void)target;
    names[(*count)++] = alias;
  }
  for (size_t i = 0; i < stored_count; i++) names[(*count)++] = stored[i];
  return names;
}

static rh_status find_near(const rh_configuration *conf, const rh_stored_list *list, rh_error *error) {
  const char *wanted = conf->settings.default_model;
  char(*stored)[RH_MODEL_NAME_MAX + 1] = calloc(list->count + 1, sizeof *stored);
  size_t stored_count = 0, count = 0;
  for (size_t i = 0; stored != NULL && i < list->count; i++) {
    if (rh_model_ref_format(&list->items[i].ref, stored[stored_count], sizeof *stored) == RH_OK) stored_count++;
  }
  const char **names = stored != NULL ? all_names(conf, stored, stored_count, &count) : NULL;
  const char *near = names != NULL ? rh_text_nearest(wanted, names, count) : NULL;
  rh_status status =
      near != NULL ? rh_fail_param(error, RH_INVALID, "default_model",
                                   "default_model: there is no model \"%.100s\"; did you mean \"%s\"?", wanted, near)
                   : rh_fail_param(error, RH_NOT_FOUND, "default_model",
                                   "default_model: there is no model \"%.100s\" here; add it to models, or get it "
                                   "with roundhouse pull",
                                   wanted);
  free(names);
  free(stored);
  return status;
}

rh_status rh_configuration_check_default(const rh_configuration *conf, rh_error *error) {
  const char *wanted = conf->settings.default_model;
  if (wanted == NULL || wanted[0] == '\0' || rh_catalogue_find(conf->catalogue, wanted) != NULL) return RH_OK;
  if (json_object_get(conf->aliases, wanted) != NULL) return RH_OK;
  rh_store *store = NULL;
  rh_stored_list list = {0};
  rh_stored found = {0};
  rh_model_ref ref;
  rh_error ignored = {0};
  bool there = false;
  if (rh_model_ref_parse(wanted, &ref, &ignored) == RH_OK && conf->settings.store_dir != NULL &&
      rh_store_open(conf->settings.store_dir, false, &store, &ignored) == RH_OK) {
    json_t *aliases = NULL;
    there = rh_store_find(store, &ref, &found, &ignored) == RH_OK;
    if (!there && rh_store_aliases(store, &aliases, &ignored) == RH_OK)
      there = json_object_get(aliases, wanted) != NULL;
    if (!there) (void)!rh_store_list(store, &list, &ignored);
    json_decref(aliases);
    rh_stored_release(&found);
  }
  rh_status status = there ? RH_OK : find_near(conf, &list, error);
  rh_stored_list_release(&list);
  rh_store_close(store);
  return status;
}
