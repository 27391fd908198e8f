// SPDX-License-Identifier: Apache-2.0
//
// Which model a name means: default, exact name, alias, newest version, lower case; and what to say when none is meant.
//
// Owns nothing. Loop thread only. An exact name costs one binary search and no allocation: every request comes through.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/text.h"
#include "manager/internal.h"
#include "model/known.h"

rh_served *rh_manager_find(const rh_manager *manager, const char *name, size_t *place) {
  size_t low = 0, high = manager->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(manager->served[middle]->spec->name, name);
    if (order == 0) {
      if (place != NULL) *place = middle;
      return manager->served[middle];
    }
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  if (place != NULL) *place = low;
  return NULL;
}

// "name" -> its version called latest, else the newest. All of "name:..." stand together in the list.
static rh_served *newest_version(const rh_manager *manager, const char *name) {
  char prefix[RH_MODEL_NAME_MAX + 2];
  int length = snprintf(prefix, sizeof prefix, "%s:", name);
  if (length < 0 || (size_t)length >= sizeof prefix) return NULL;
  size_t place;
  rh_served *best = NULL;
  (void)rh_manager_find(manager, prefix, &place);
  for (; place < manager->count; place++) {
    rh_served *served = manager->served[place];
    const char *version = served->spec->name + length;
    if (strncmp(served->spec->name, prefix, (size_t)length) != 0) break;
    if (strchr(version, ':') != NULL) continue;  // "a:b:c" is version c of "a:b"
    if (strcmp(version, RH_VERSION_LATEST) == 0) return served;
    if (best == NULL || served->spec->modified_s > best->spec->modified_s) best = served;
  }
  return best;
}

// "name:latest" for a model that has no version, or whose newest version has another name.
static rh_served *latest_of(const rh_manager *manager, const char *name) {
  char base[RH_MODEL_NAME_MAX + 1];
  if (!rh_text_ends_with(name, ":" RH_VERSION_LATEST)) return NULL;
  size_t length = strlen(name) - strlen(":" RH_VERSION_LATEST);
  if (length == 0 || length >= sizeof base) return NULL;
  memcpy(base, name, length);
  base[length] = '\0';
  rh_served *served = rh_manager_find(manager, base, NULL);
  return served != NULL ? served : newest_version(manager, base);
}

rh_served *rh_manager_match(const rh_manager *manager, const char *name) {
  rh_served *served = rh_manager_find(manager, name, NULL);
  if (served == NULL) served = newest_version(manager, name);
  return served != NULL ? served : latest_of(manager, name);
}

// --- the default ---------------------------------------------------------------------------------------------------

static bool means_default(const char *name) {
  return name == NULL || name[0] == '\0' || strcmp(name, "default") == 0 || strcmp(name, "auto") == 0;
}

static rh_status vanished(const rh_alias *alias, rh_error *error) {
  return rh_fail_param(error, RH_NOT_FOUND, "model",
                       "the alias %.100s means %.128s, which is not here any more; point it at another model with "
                       "`roundhouse alias %.100s MODEL`",
                       alias->name, alias->target, alias->name);
}

static rh_status nothing_served(const rh_manager *manager, rh_error *error) {
  const char *folder = manager->options.models_dir;
  return rh_fail_param(
      error, RH_NOT_FOUND, "model",
      "this server has no models; get one with `roundhouse pull auto`%s%.200s, or start it with --model "
      "FILE",
      folder != NULL ? ", or put a .gguf file into " : "", folder != NULL ? folder : "");
}

rh_served *rh_manager_default(rh_manager *manager, const char **why, rh_error *error) {
  rh_alias *alias = rh_alias_find(manager, "default");
  if (alias != NULL) {
    *why = "alias default";
    if (alias->served == NULL) (void)vanished(alias, error);
    return alias->served;
  }
  *why = "the default model";
  const char *wanted = manager->options.default_model;
  if (wanted != NULL && wanted[0] != '\0') {
    rh_served *served = rh_manager_match(manager, wanted);
    alias = served == NULL ? rh_alias_find(manager, wanted) : NULL;
    if (alias != NULL) served = alias->served;
    if (served == NULL) {
      (void)rh_fail_param(error, RH_NOT_FOUND, "model",
                          "the default model %.128s is not here; name one that is, or get it with `roundhouse pull`",
                          wanted);
    }
    return served;
  }
  if (manager->count == 0) (void)nothing_served(manager, error);
  return manager->count > 0 ? manager->served[0] : NULL;
}

// --- not found -----------------------------------------------------------------------------------------------------

static const char *nearest(const rh_manager *manager, const char *name) {
  size_t count = 0;
  const char **names = calloc(manager->count + manager->alias_count + 1, sizeof *names);
  if (names == NULL) return NULL;
  for (size_t i = 0; i < manager->count; i++) names[count++] = manager->served[i]->spec->name;
  for (size_t i = 0; i < manager->alias_count; i++) names[count++] = manager->aliases[i]->name;
  const char *found = rh_text_nearest(name, names, count);
  free(names);
  return found;
}

static rh_status unknown(const rh_manager *manager, const char *name, rh_error *error) {
  const rh_known *known = rh_known_find(name);
  if (known != NULL) {
    char bytes[32];
    rh_text_format_bytes(bytes, sizeof bytes, (uint64_t)(known->bytes > 0 ? known->bytes : 0));
    return rh_fail_param(error, RH_NOT_FOUND, "model",
                         "the model '%.100s' is not here, but the catalogue has it: `roundhouse pull %.100s` gets it "
                         "(%s%s)",
                         name, name, known->bytes_approximate ? "about " : "", bytes);
  }
  if (manager->count == 0) return nothing_served(manager, error);
  const char *near = nearest(manager, name);
  return rh_fail_param(error, RH_NOT_FOUND, "model",
                       "the model '%.100s' is not served here%s%.128s%s; GET /v1/models lists those that are", name,
                       near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "");
}

// --- resolving -----------------------------------------------------------------------------------------------------

static rh_status found(rh_resolution *out, rh_served *served, bool named, rh_error *error) {
  served->named = named;
  out->served = served;
  if (!served->retiring) return RH_OK;
  return rh_fail_param(error, RH_NOT_FOUND, "model", "the model %.128s is being deleted", served->spec->name);
}

static rh_status by_alias(rh_resolution *out, const rh_alias *alias, rh_error *error) {
  if (alias->served == NULL) return vanished(alias, error);
  snprintf(out->reason, sizeof out->reason, "alias %s", alias->name);
  return found(out, alias->served, false, error);
}

static rh_served *ignoring_case(const rh_manager *manager, const char *name) {
  char lower[RH_MODEL_NAME_MAX + 1];
  if (!rh_text_copy(lower, sizeof lower, name)) return NULL;
  for (size_t i = 0; i < manager->count; i++) {
    if (strcasecmp(manager->served[i]->spec->name, name) == 0) return manager->served[i];
  }
  for (char *at = lower; *at != '\0'; at++) {
    if (*at >= 'A' && *at <= 'Z') *at = (char)(*at - 'A' + 'a');
  }
  return strcmp(lower, name) != 0 ? rh_manager_match(manager, lower) : NULL;
}

// What was pulled by another name of the catalogue ("smollm2:135m") is asked for by it too.
static rh_served *by_catalogue(const rh_manager *manager, const char *name) {
  char full[2 * RH_MODEL_NAME_MAX + 2];
  const rh_known *known = rh_known_find(name);
  if (known == NULL) return NULL;
  snprintf(full, sizeof full, "%s:%s", known->name, known->version);
  return rh_manager_find(manager, full, NULL);
}

static rh_status resolve_named(rh_manager *manager, const char *name, rh_resolution *out, bool *nowhere,
                               rh_error *error) {
  *nowhere = false;
  rh_served *served = rh_manager_find(manager, name, NULL);
  if (served != NULL) {
    (void)rh_text_copy(out->reason, sizeof out->reason, "named by the request");
    return found(out, served, true, error);
  }
  const rh_alias *alias = rh_alias_find(manager, name);
  if (alias != NULL) return by_alias(out, alias, error);
  served = rh_manager_match(manager, name);
  if (served != NULL) {
    snprintf(out->reason, sizeof out->reason, "newest version of %.128s", name);
    return found(out, served, true, error);
  }
  served = ignoring_case(manager, name);
  if (served != NULL) {
    (void)rh_text_copy(out->reason, sizeof out->reason, "named by the request, in other case");
    return found(out, served, true, error);
  }
  for (size_t i = 0; i < manager->alias_count; i++) {
    if (strcasecmp(manager->aliases[i]->name, name) == 0) return by_alias(out, manager->aliases[i], error);
  }
  served = by_catalogue(manager, name);
  if (served != NULL) {
    snprintf(out->reason, sizeof out->reason, "the catalogue's %.128s", name);
    return found(out, served, true, error);
  }
  *nowhere = true;
  return RH_NOT_FOUND;
}

static rh_status resolve_default(rh_manager *manager, rh_resolution *out, rh_error *error) {
  const char *why = "";
  rh_served *served = rh_manager_default(manager, &why, error);
  if (served == NULL && rh_watch_catch_up(manager)) served = rh_manager_default(manager, &why, error);
  if (served == NULL) return RH_NOT_FOUND;
  (void)rh_text_copy(out->reason, sizeof out->reason, why);
  return found(out, served, false, error);
}

bool rh_manager_knows(rh_manager *manager, const char *name) {
  bool nowhere = false;
  rh_resolution out = {0};
  rh_error error;
  return means_default(name) || resolve_named(manager, name, &out, &nowhere, &error) == RH_OK || !nowhere;
}

rh_status rh_manager_resolve(rh_manager *manager, const char *name, rh_resolution *out, rh_error *error) {
  *out = (rh_resolution){0};
  if (means_default(name)) return resolve_default(manager, out, error);
  bool nowhere;
  rh_status status = resolve_named(manager, name, out, &nowhere, error);
  if (nowhere && rh_watch_catch_up(manager)) status = resolve_named(manager, name, out, &nowhere, error);
  return nowhere ? unknown(manager, name, error) : status;
}

rh_served *rh_manager_peek(const rh_manager *manager, const char *name) { return rh_manager_match(manager, name); }
