// SPDX-License-Identifier: Apache-2.0
//
// Purpose: open a Hugging Face folder and index its tensors. An index file may name shards, but only plain names within
// the folder are followed.
// Data owned: the parsed JSON files and the mappings. Threads: one. Not here: what any of it means.
#include "convert/source.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

double rh_source_number(const json_t *object, const char *key, double otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_number(value) ? json_number_value(value) : otherwise;
}

int64_t rh_source_int(const json_t *object, const char *key, int64_t otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

bool rh_source_bool(const json_t *object, const char *key, bool otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

const char *rh_source_text(const json_t *object, const char *key) {
  return json_string_value(json_object_get(object, key));
}

static rh_status join(const rh_source *self, const char *name, char *out, size_t size, rh_error *error) {
  int length = snprintf(out, size, "%s/%s", self->folder, name);
  if (length < 0 || (size_t)length >= size) return rh_fail(error, RH_INVALID, "the path of %.100s is too long", name);
  return RH_OK;
}

rh_status rh_source_read(const rh_source *self, const char *name, size_t max, rh_dynbuf *out, rh_error *error) {
  char path[4400];
  rh_dynbuf_init(out, max);
  rh_status status = join(self, name, path, sizeof path, error);
  return status == RH_OK ? rh_file_read(path, out, error) : status;
}

rh_status rh_source_read_json(const rh_source *self, const char *name, json_t **out, rh_error *error) {
  *out = NULL;
  rh_dynbuf text;
  rh_status status = rh_source_read(self, name, RH_SOURCE_JSON_MAX, &text, error);
  if (status == RH_NOT_FOUND) {
    rh_dynbuf_free(&text);
    return RH_OK;
  }
  if (status != RH_OK) {
    rh_dynbuf_free(&text);
    return status;
  }
  rh_error inner = {0};
  *out = rh_json_parse(rh_dynbuf_data(&text), text.length, &inner);
  rh_dynbuf_free(&text);
  if (json_is_object(*out) || json_is_array(*out)) return RH_OK;
  json_decref(*out);
  *out = NULL;
  return rh_fail(error, RH_INVALID, "%s in %s is not valid JSON: %s", name, self->folder, inner.message);
}

static rh_status read_settings(rh_source *self, rh_error *error) {
  const struct {
    const char *name;
    json_t **out;
  } files[] = {
      {"config.json", &self->config},
      {"generation_config.json", &self->generation},
      {"tokenizer_config.json", &self->tokenizer_config},
      {"special_tokens_map.json", &self->special_tokens},
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    rh_status status = rh_source_read_json(self, files[i].name, files[i].out, error);
    if (status != RH_OK) return status;
  }
  if (!json_is_object(self->config))
    return rh_fail(error, RH_NOT_FOUND, "%s has no config.json; is it a Hugging Face model folder?", self->folder);
  json_t *text = json_object_get(self->config, "text_config");
  if (json_is_object(text)) {
    // The outer "architectures" says which model it is; the inner may name only its text part.
    json_t *architectures = json_incref(json_object_get(self->config, "architectures"));
    (void)json_object_update(self->config, text);
    if (architectures != NULL) (void)json_object_set_new(self->config, "architectures", architectures);
  }
  return RH_OK;
}

// "model-00001-of-00002.safetensors", never a path: the index comes from outside.
static bool plain_name(const char *name) {
  return name != NULL && name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL &&
         rh_text_ends_with(name, ".safetensors");
}

static rh_status add_shard(rh_source *self, const char *name, rh_error *error) {
  if (self->shard_count >= RH_SOURCE_SHARDS_MAX)
    return rh_fail(error, RH_TOO_LARGE, "%s has more than %d files of weights", self->folder, RH_SOURCE_SHARDS_MAX);
  char path[4400];
  rh_status status = join(self, name, path, sizeof path, error);
  if (status != RH_OK) return status;
  // All at once, so that pointers to a shard stay valid.
  if (self->shards == NULL) self->shards = calloc(RH_SOURCE_SHARDS_MAX, sizeof *self->shards);
  if (self->shards == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the list of weights");
  status = rh_safetensors_open(path, &self->shards[self->shard_count], error);
  if (status == RH_OK) self->shard_count++;
  return status;
}

static rh_status open_indexed(rh_source *self, const json_t *map, rh_error *error) {
  if (!json_is_object(map)) return rh_fail(error, RH_INVALID, "model.safetensors.index.json has no \"weight_map\"");
  json_t *seen = json_object();
  const char *tensor;
  json_t *value;
  rh_status status = RH_OK;
  json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
    const char *name = json_string_value(value);
    if (!plain_name(name)) {
      status = rh_fail(error, RH_INVALID, "model.safetensors.index.json names no file of this folder for \"%.100s\"",
                       tensor);
    } else if (json_object_get(seen, name) == NULL) {
      (void)json_object_set_new(seen, name, json_true());
      status = add_shard(self, name, error);
    }
    if (status != RH_OK) break;
  }
  json_decref(seen);
  return status;
}

// What the folder holds when there is no index: model.safetensors, or the only *.safetensors.
static rh_status open_unindexed(rh_source *self, rh_error *error) {
  DIR *folder = opendir(self->folder);
  if (folder == NULL) return rh_fail(error, RH_NOT_FOUND, "cannot open the folder %s", self->folder);
  char only[256] = "";
  unsigned count = 0;
  bool pickles = false, usual = false;
  for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (rh_text_ends_with(entry->d_name, ".bin") || rh_text_ends_with(entry->d_name, ".pt")) pickles = true;
    if (!plain_name(entry->d_name)) continue;
    count++;
    if (strcmp(entry->d_name, "model.safetensors") == 0) usual = true;
    (void)rh_text_copy(only, sizeof only, entry->d_name);
  }
  closedir(folder);
  if (usual) return add_shard(self, "model.safetensors", error);
  if (count == 1) return add_shard(self, only, error);
  if (count > 1)
    return rh_fail(error, RH_INVALID,
                   "%s has %u *.safetensors but no model.safetensors.index.json, which says how they belong together",
                   self->folder, count);
  if (pickles)
    return rh_fail(error, RH_UNSUPPORTED,
                   "%s holds PyTorch pickles, which can run code when they are read; get the model as safetensors",
                   self->folder);
  return rh_fail(error, RH_NOT_FOUND, "%s has no *.safetensors", self->folder);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const rh_source_tensor *)a)->info->name, ((const rh_source_tensor *)b)->info->name);
}

static rh_status index_tensors(rh_source *self, const json_t *map, rh_error *error) {
  size_t total = 0;
  for (size_t i = 0; i < self->shard_count; i++) total += self->shards[i].count;
  self->tensors = calloc(total + 1, sizeof *self->tensors);
  if (self->tensors == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the list of tensors");
  for (size_t i = 0; i < self->shard_count; i++) {
    for (size_t j = 0; j < self->shards[i].count; j++)
      self->tensors[self->tensor_count++] = (rh_source_tensor){&self->shards[i], &self->shards[i].tensors[j]};
  }
  qsort(self->tensors, self->tensor_count, sizeof *self->tensors, by_name);
  for (size_t i = 1; i < self->tensor_count; i++) {
    if (strcmp(self->tensors[i - 1].info->name, self->tensors[i].info->name) == 0)
      return rh_fail(error, RH_INVALID, "tensor \"%.100s\" is in two of the files of %s", self->tensors[i].info->name,
                     self->folder);
  }
  const char *name;
  json_t *file;
  json_object_foreach((json_t *)(uintptr_t)map, name, file) {
    if (rh_source_find(self, name) == NULL)
      return rh_fail(error, RH_INVALID,
                     "tensor \"%.100s\" is missing: model.safetensors.index.json says that it is in %.100s", name,
                     json_string_value(file));
  }
  return RH_OK;
}

rh_status rh_source_open(const char *folder, rh_source *out, rh_error *error) {
  *out = (rh_source){0};
  if (!rh_text_copy(out->folder, sizeof out->folder, folder))
    return rh_fail(error, RH_INVALID, "the folder's path is too long");
  size_t length = strlen(out->folder);
  while (length > 1 && out->folder[length - 1] == '/') out->folder[--length] = '\0';
  rh_status status = read_settings(out, error);
  json_t *index = NULL;
  if (status == RH_OK) status = rh_source_read_json(out, "model.safetensors.index.json", &index, error);
  const json_t *map = json_object_get(index, "weight_map");
  if (status == RH_OK) status = index != NULL ? open_indexed(out, map, error) : open_unindexed(out, error);
  if (status == RH_OK) status = index_tensors(out, map, error);
  json_decref(index);
  if (status != RH_OK) rh_source_close(out);
  return status;
}

void rh_source_close(rh_source *self) {
  json_decref(self->config);
  json_decref(self->generation);
  json_decref(self->tokenizer_config);
  json_decref(self->special_tokens);
  for (size_t i = 0; i < self->shard_count; i++) rh_safetensors_close(&self->shards[i]);
  free(self->shards);
  free(self->tensors);
  *self = (rh_source){0};
}

const rh_source_tensor *rh_source_find(const rh_source *self, const char *name) {
  size_t low = 0, high = self->tensor_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(self->tensors[middle].info->name, name);
    if (order == 0) return &self->tensors[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}
