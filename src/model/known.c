// SPDX-License-Identifier: Apache-2.0
//
// The catalogue of well-known models: the data file that is compiled in, and the configuration's own entries over it.
// Owns the list for the life of the process; read once, under pthread_once, and only read afterwards. Any thread then.
// It deliberately knows nothing of what is pulled: that is the store's.
#include "model/known.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "model/known_private.h"

// The built-in entries take about 60 KiB.
#define ARENA_BYTES_MAX ((size_t)16 << 20)

static rh_known_list list;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int by_name(const void *a, const void *b) {
  const rh_known *left = a, *right = b;
  int order = strcasecmp(left->name, right->name);
  return order != 0 ? order : strcasecmp(left->version, right->version);
}

static void release(rh_known_list *old) {
  rh_arena_free(old->arena);
  free(old->items);
  *old = (rh_known_list){0};
}

static rh_known *find_same(rh_known_list *out, const rh_known *known) {
  for (size_t i = 0; i < out->count; i++) {
    if (by_name(&out->items[i], known) == 0) return &out->items[i];
  }
  return NULL;
}

static rh_status add_all(rh_known_list *out, const json_t *entries, bool built_in, rh_error *error) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)entries, key, value) {  // jansson lacks the const
    rh_known known;
    rh_status status = rh_known_read(out->arena, key, value, built_in, &known, error);
    if (status != RH_OK) return status;
    rh_known *same = find_same(out, &known);
    if (same != NULL && same->built_in && !built_in) {
      *same = known;
      continue;
    }
    if (out->count == RH_KNOWN_MAX) {
      return rh_fail(error, RH_TOO_LARGE, "more than %d models are in the catalogue", RH_KNOWN_MAX);
    }
    out->items[out->count++] = known;
  }
  return RH_OK;
}

static rh_status read_all(const json_t *entries, rh_known_list *out, rh_error *error) {
  *out = (rh_known_list){.arena = rh_arena_new(ARENA_BYTES_MAX), .items = calloc(RH_KNOWN_MAX, sizeof *out->items)};
  if (out->arena == NULL || out->items == NULL) {
    return rh_fail(error, RH_NO_MEMORY, "no memory for the catalogue of known models");
  }
  json_t *built_in = rh_json_parse((const char *)rh_known_json, rh_known_json_length, error);
  if (built_in == NULL) return RH_INVALID;
  rh_status status = add_all(out, built_in, true, error);
  json_decref(built_in);
  if (status == RH_OK && entries != NULL) status = add_all(out, entries, false, error);
  if (status == RH_OK) status = rh_known_check_all(out, error);
  qsort(out->items, out->count, sizeof *out->items, by_name);
  return status;
}

static void read_built_in(void) {
  rh_error error = {0};
  rh_status status = read_all(NULL, &list, &error);
  if (status == RH_OK) return;
  // A test reads the file that is compiled in, so only memory can be short. Then nothing is known by name.
  assert(status == RH_NO_MEMORY);
  release(&list);
}

const rh_known_list *rh_known_all(void) {
  (void)pthread_once(&once, read_built_in);
  return &list;
}

rh_status rh_known_add(const json_t *entries, rh_error *error) {
  (void)rh_known_all();
  rh_known_list fresh;
  rh_status status = entries == NULL || json_is_object(entries)
                         ? read_all(entries, &fresh, error)
                         : rh_fail(error, RH_INVALID, "the catalogue must be an object of models by name");
  if (entries != NULL && !json_is_object(entries)) return status;
  if (status != RH_OK) {
    release(&fresh);
    return status;
  }
  release(&list);
  list = fresh;
  return RH_OK;
}

size_t rh_known_count(void) { return rh_known_all()->count; }

const rh_known *rh_known_at(size_t index) {
  const rh_known_list *all = rh_known_all();
  assert(index < all->count);
  return &all->items[index];
}

static void put(json_t *object, const char *key, json_t *value) {
  // A key whose value could not be made is left out.
  if (value != NULL) (void)json_object_set_new(object, key, value);
}

static json_t *file_json(const rh_known_file *file) {
  json_t *object = json_pack("{s:s}", "path", file->path);
  if (object == NULL) return NULL;
  if (file->bytes > 0) put(object, "bytes", json_integer((json_int_t)file->bytes));
  if (file->sha256 != NULL) put(object, "sha256", json_string(file->sha256));
  if (file->source != NULL) put(object, "source", json_string(file->source));
  return object;
}

json_t *rh_known_to_json(const rh_known *known) {
  char name[2 * RH_MODEL_NAME_MAX + 8];
  snprintf(name, sizeof name, "%s:%s", known->name, known->version);
  json_t *object = json_pack(
      "{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:b,s:I,s:I,s:b,s:b,s:b,s:i,s:b,s:b}", "name", name, "title",
      known->title, "source", known->source, "format", known->format_name, "quantization", known->quantization, "task",
      known->task, "license", known->licence, "parameters", (json_int_t)known->parameters, "context",
      (json_int_t)known->context, "bytes", (json_int_t)known->bytes, "bytes_approximate", (int)known->bytes_approximate,
      "memory_bytes", (json_int_t)known->memory_bytes, "memory_min_bytes", (json_int_t)known->memory_min_bytes,
      "gpu_required", (int)known->gpu_required, "gated", (int)known->gated, "base_model", (int)known->base_model,
      "rank", (int)known->rank, "recommended", (int)known->recommended, "built_in", (int)known->built_in);
  if (object == NULL) return NULL;
  if (known->licence_note != NULL) put(object, "license_note", json_string(known->licence_note));
  json_t *aliases = json_array();
  for (const char *const *alias = known->aliases; alias != NULL && *alias != NULL; alias++) {
    (void)json_array_append_new(aliases, json_string(*alias));
  }
  put(object, "aliases", aliases);
  json_t *files = json_array();
  for (size_t i = 0; i < known->file_count; i++) (void)json_array_append_new(files, file_json(&known->files[i]));
  put(object, "files", files);
  if (known->joined.path != NULL) put(object, "joined", file_json(&known->joined));
  return object;
}
