// SPDX-License-Identifier: Apache-2.0
//
// One stored model and lists of them: their strings, copies, order. Owns nothing of its own; any thread.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

void rh_stored_release(rh_stored *stored) {
  for (size_t i = 0; i < stored->file_count; i++) free(stored->files[i].path);
  free(stored->files);
  free(stored->folder);
  free(stored->entry);
  *stored = (rh_stored){.format = RH_FORMAT_UNKNOWN};
}

char *rh_stored_entry_path(const rh_stored *stored) {
  assert(stored->folder != NULL && stored->entry != NULL);
  return stored->entry[0] == '\0' ? strdup(stored->folder) : rh_store_join(stored->folder, stored->entry);
}

static char *copy_text(const char *text, bool *failed) {
  if (text == NULL) return NULL;
  char *copy = strdup(text);
  if (copy == NULL) *failed = true;
  return copy;
}

rh_status rh_stored_copy(const rh_stored *from, rh_stored *out, rh_error *error) {
  bool failed = false;
  *out = *from;
  out->folder = copy_text(from->folder, &failed);
  out->entry = copy_text(from->entry, &failed);
  out->file_count = 0;
  out->files = from->file_count == 0 ? NULL : calloc(from->file_count, sizeof *out->files);
  if (out->files != NULL) {
    for (size_t i = 0; i < from->file_count; i++) {
      out->files[i] = from->files[i];
      out->files[i].path = copy_text(from->files[i].path, &failed);
    }
    out->file_count = from->file_count;
  } else if (from->file_count > 0) {
    failed = true;
  }
  if (!failed) return RH_OK;
  rh_stored_release(out);
  return rh_fail(error, RH_NO_MEMORY, "no memory for the list of models");
}

void rh_stored_list_release(rh_stored_list *list) {
  for (size_t i = 0; i < list->count; i++) rh_stored_release(&list->items[i]);
  free(list->items);
  *list = (rh_stored_list){.items = NULL};
}

rh_status rh_stored_list_add(rh_stored_list *list, rh_stored *item, rh_error *error) {
  if (list->count >= RH_STORE_MODELS_MAX) {
    return rh_fail(error, RH_TOO_LARGE, "there are more than %d models", RH_STORE_MODELS_MAX);
  }
  // Room is a power of two, so the count tells when it is used up.
  if ((list->count & (list->count - 1)) == 0) {
    size_t room = list->count == 0 ? 1 : list->count * 2;
    rh_stored *items = realloc(list->items, room * sizeof *items);
    if (items == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the list of models");
    list->items = items;
  }
  list->items[list->count++] = *item;
  *item = (rh_stored){.format = RH_FORMAT_UNKNOWN};
  return RH_OK;
}

static int by_name(const void *a, const void *b) {
  const rh_stored *left = a, *right = b;
  int order = strcmp(left->ref.name, right->ref.name);
  return order != 0 ? order : strcmp(left->ref.version, right->ref.version);
}

void rh_stored_list_sort(rh_stored_list *list) {
  if (list->count > 1) qsort(list->items, list->count, sizeof *list->items, by_name);
}
