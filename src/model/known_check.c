// SPDX-License-Identifier: Apache-2.0
//
// What the entries of the catalogue of known models must fulfil together: every name and alias means one thing.
// Owns nothing. Any thread. It compares all with all, because the catalogue is small and read once.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "model/known_private.h"

static void full_name(const rh_known *known, char *out, size_t size) {
  snprintf(out, size, "%s:%s", known->name, known->version);
}

static rh_status twice(const char *text, const rh_known *a, const rh_known *b, rh_error *error) {
  // The configuration's entry is the one to change.
  const rh_known *mine = a->built_in ? b : a;
  char param[2 * RH_MODEL_NAME_MAX + 16];
  snprintf(param, sizeof param, "%s:%s", mine->name, mine->version);
  return rh_fail_param(error, RH_INVALID, param, "\"%.128s\" would name both %.128s:%.128s and %.128s:%.128s", text,
                       a->name, a->version, b->name, b->version);
}

static bool has_alias(const rh_known *known, const char *text) {
  for (const char *const *alias = known->aliases; alias != NULL && *alias != NULL; alias++) {
    if (strcasecmp(*alias, text) == 0) return true;
  }
  return false;
}

static rh_status check_own_aliases(const rh_known *known, rh_error *error) {
  for (const char *const *alias = known->aliases; alias != NULL && *alias != NULL; alias++) {
    for (const char *const *other = alias + 1; *other != NULL; other++) {
      if (strcasecmp(*alias, *other) == 0) return twice(*alias, known, known, error);
    }
  }
  return RH_OK;
}

static rh_status check_pair(const rh_known *a, const rh_known *b, rh_error *error) {
  char name[2 * RH_MODEL_NAME_MAX + 16];
  full_name(a, name, sizeof name);
  if (strcasecmp(a->name, b->name) == 0) {
    if (strcasecmp(a->version, b->version) == 0) return twice(name, a, b, error);
    if (a->recommended && b->recommended) return twice(a->name, a, b, error);
  }
  for (const char *const *alias = a->aliases; alias != NULL && *alias != NULL; alias++) {
    if (has_alias(b, *alias)) return twice(*alias, a, b, error);
  }
  return RH_OK;
}

// An alias may be neither a name nor a whole name:version: the entry itself would be hidden, or the alias useless.
static rh_status check_alias_names(const rh_known *a, const rh_known *b, rh_error *error) {
  char name[2 * RH_MODEL_NAME_MAX + 16];
  full_name(b, name, sizeof name);
  if (has_alias(a, name)) return twice(name, a, b, error);
  if (has_alias(a, b->name)) return twice(b->name, a, b, error);
  return RH_OK;
}

rh_status rh_known_check_all(const rh_known_list *list, rh_error *error) {
  rh_status status = RH_OK;
  for (size_t i = 0; status == RH_OK && i < list->count; i++) {
    status = check_own_aliases(&list->items[i], error);
    for (size_t k = 0; status == RH_OK && k < list->count; k++) {
      status = check_alias_names(&list->items[i], &list->items[k], error);
      if (status == RH_OK && k > i) status = check_pair(&list->items[i], &list->items[k], error);
    }
  }
  return status;
}
