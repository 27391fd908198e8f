// SPDX-License-Identifier: Apache-2.0
//
// Gathers what lies on disk. Owns nothing. One thread. Loads nothing; of GGUF files only the header is read.
#include "cli/disk.h"

#include <stdlib.h>
#include <string.h>

#include "model/catalogue.h"

static void add(json_t *models, json_t *model) {
  const char *name = json_string_value(json_object_get(model, "name"));
  size_t i;
  json_t *other;
  // A name counts once: what comes first wins, as it does when the daemon collects its models.
  json_array_foreach(models, i, other) {
    const char *known = json_string_value(json_object_get(other, "name"));
    if (name == NULL || (known != NULL && strcmp(known, name) == 0)) {
      json_decref(model);
      return;
    }
  }
  json_array_append_new(models, model);
}

static json_t *text_or_null(const char *text) {
  return text != NULL && text[0] != '\0' ? json_string(text) : json_null();
}

static bool lies_in(const char *path, const char *folder) {
  size_t length = folder != NULL ? strlen(folder) : 0;
  return length > 0 && strncmp(path, folder, length) == 0 && path[length] == '/';
}

static json_t *from_spec(const rh_model_spec *spec, const char *models_dir) {
  rh_gguf_summary summary = {0};
  rh_error ignored = {0};
  bool llama = strcmp(spec->engine, "llama") == 0;
  bool readable = !llama || rh_gguf_read_summary(spec->path, &summary, &ignored) == RH_OK;
  int64_t context = spec->options.context > 0 ? spec->options.context : summary.context_trained;
  return json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:b}", "name", spec->name, "where",
                   lies_in(spec->path, models_dir) ? "folder" : "config", "engine", spec->engine, "state",
                   readable ? "on disk" : "damaged", "quantization", text_or_null(summary.quantization), "context",
                   (json_int_t)context, "bytes", (json_int_t)spec->file_bytes, "modified", (json_int_t)spec->modified_s,
                   "in_place", 1);
}

static json_t *from_stored(const rh_stored *stored) {
  char name[2 * RH_MODEL_NAME_MAX + 2];
  const char *engine = rh_format_engine(stored->format);
  rh_local_name(stored, name, sizeof name);
  return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:o, s:I, s:I, s:I, s:b}", "name", name, "version",
                   stored->ref.version, "where", stored->in_place ? "hub cache" : "store", "engine",
                   text_or_null(engine), "state", engine != NULL ? "on disk" : "no engine", "format",
                   rh_format_name(stored->format), "quantization", text_or_null(stored->quantization), "context",
                   (json_int_t)stored->context, "bytes", (json_int_t)stored->bytes, "modified",
                   (json_int_t)stored->created_s, "in_place", (int)stored->in_place);
}

static void add_list(json_t *models, rh_stored_list *list) {
  for (size_t i = 0; i < list->count; i++) add(models, from_stored(&list->items[i]));
  rh_stored_list_release(list);
}

static int by_name(const void *a, const void *b) {
  const json_t *const *left = a, *const *right = b;
  const char *x = json_string_value(json_object_get(*left, "name"));
  const char *y = json_string_value(json_object_get(*right, "name"));
  return strcmp(x != NULL ? x : "", y != NULL ? y : "");
}

void rh_disk_sort(json_t *models) {
  size_t count = json_array_size(models), i;
  json_t *model;
  json_t **order = calloc(count + 1, sizeof *order);
  if (order == NULL) return;  // unsorted is better than nothing
  json_array_foreach(models, i, model) order[i] = json_incref(model);
  qsort(order, count, sizeof *order, by_name);
  json_array_clear(models);
  for (i = 0; i < count; i++) json_array_append_new(models, order[i]);
  free(order);
}

json_t *rh_disk_models(rh_local *local) {
  json_t *models = json_array();
  if (models == NULL) return NULL;
  rh_stored_list list = {.items = NULL};
  rh_error ignored = {0};
  const rh_catalogue *catalogue = local->conf != NULL ? local->conf->catalogue : NULL;
  for (size_t i = 0; catalogue != NULL && i < rh_catalogue_count(catalogue); i++) {
    const rh_model_spec *spec = rh_catalogue_at(catalogue, i);
    // The store and the hub cache tell more of their models than a spec can hold.
    if (spec->origin == RH_ORIGIN_CONFIG || spec->origin == RH_ORIGIN_FOLDER)
      add(models, from_spec(spec, local->conf->settings.models_dir));
  }
  if (rh_store_list(local->store, &list, &ignored) == RH_OK) add_list(models, &list);
  bool cache = local->hub_cache == NULL || local->hub_cache[0] != '\0';
  list = (rh_stored_list){.items = NULL};
  if (cache && rh_store_scan_hub_cache(local->hub_cache, &list, &ignored) == RH_OK) add_list(models, &list);
  rh_disk_sort(models);
  return models;
}

json_t *rh_disk_usage(rh_local *local) {
  rh_store_usage usage = {0};
  rh_error ignored = {0};
  if (rh_store_disk_usage(local->store, &usage, &ignored) != RH_OK) return NULL;
  return json_pack("{sssIsIsIsIsI}", "folder", rh_store_folder(local->store), "model_bytes",
                   (json_int_t)usage.model_bytes, "partial_bytes", (json_int_t)usage.partial_bytes, "free_bytes",
                   (json_int_t)usage.free_bytes, "models", (json_int_t)usage.model_count, "partials",
                   (json_int_t)usage.partial_count);
}
