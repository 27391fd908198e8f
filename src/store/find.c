// SPDX-License-Identifier: Apache-2.0
//
// Which stored model a name means. Owns nothing between calls. One thread a handle.
//
// The name as it is typed wins over one that differs in case only. Without a version the one called "latest", else the
// newest; of two that were installed in the same second, the last by name.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "store/internal.h"

typedef int comparison(const char *a, const char *b);

static bool is_better(const rh_stored *item, const rh_stored *best) {
  if (best == NULL) return true;
  bool latest = strcmp(item->ref.version, RH_VERSION_LATEST) == 0;
  bool best_is_latest = strcmp(best->ref.version, RH_VERSION_LATEST) == 0;
  if (latest != best_is_latest) return latest;
  return item->created_s >= best->created_s;
}

static rh_stored *choose(rh_stored_list *list, const rh_model_ref *ref, comparison *compare) {
  rh_stored *best = NULL;
  for (size_t i = 0; i < list->count; i++) {
    rh_stored *item = &list->items[i];
    if (compare(item->ref.name, ref->name) != 0) continue;
    if (ref->version[0] != '\0' && compare(item->ref.version, ref->version) != 0) continue;
    if (is_better(item, best)) best = item;
  }
  return best;
}

// The versions there are of a known name; else the nearest name.
static rh_status not_found(const rh_stored_list *list, const rh_model_ref *ref, rh_error *error) {
  char wanted[2 * RH_MODEL_NAME_MAX + 2];
  (void)snprintf(wanted, sizeof wanted, "%s%s%s", ref->name, ref->version[0] == '\0' ? "" : ":", ref->version);
  rh_dynbuf versions;
  rh_dynbuf_init(&versions, 400);
  const char **names = calloc(list->count + 1, sizeof *names);
  char(*texts)[RH_MODEL_NAME_MAX + 1] = calloc(list->count + 1, sizeof *texts);
  size_t count = 0;
  for (size_t i = 0; names != NULL && texts != NULL && i < list->count; i++) {
    const rh_stored *item = &list->items[i];
    if (strcasecmp(item->ref.name, ref->name) == 0) {
      (void)rh_dynbuf_printf(&versions, "%s%s", versions.length == 0 ? "" : ", ", item->ref.version);
    }
    bool fits = rh_model_ref_format(&item->ref, texts[i], sizeof texts[i]) == RH_OK;
    names[count++] = ref->version[0] == '\0' || !fits ? item->ref.name : texts[i];
  }
  const char *nearest = count == 0 ? NULL : rh_text_nearest(wanted, names, count);
  rh_status status;
  if (versions.length > 0) {
    status = rh_fail_param(error, RH_NOT_FOUND, "model", "the store has no \"%s\"; versions of %s: %s%s", wanted,
                           ref->name, rh_dynbuf_data(&versions), versions.failed ? ", ..." : "");
  } else if (nearest != NULL) {
    status =
        rh_fail_param(error, RH_NOT_FOUND, "model", "the store has no \"%s\"; did you mean \"%s\"?", wanted, nearest);
  } else {
    status = rh_fail_param(error, RH_NOT_FOUND, "model", "the store has no \"%s\"", wanted);
  }
  rh_dynbuf_free(&versions);
  free(names);
  free(texts);
  return status;
}

rh_status rh_store_find(rh_store *store, const rh_model_ref *ref, rh_stored *out, rh_error *error) {
  assert(store != NULL && ref != NULL && out != NULL);
  *out = (rh_stored){.format = RH_FORMAT_UNKNOWN};
  rh_stored_list list;
  rh_status status = rh_store_list(store, &list, error);
  if (status != RH_OK) return status;
  rh_stored *found = choose(&list, ref, strcmp);
  if (found == NULL) found = choose(&list, ref, strcasecmp);
  if (found != NULL) {
    *out = *found;
    *found = (rh_stored){.format = RH_FORMAT_UNKNOWN};
  } else {
    status = not_found(&list, ref, error);
  }
  rh_stored_list_release(&list);
  return status;
}
