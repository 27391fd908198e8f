// SPDX-License-Identifier: Apache-2.0
//
// safetensors: one file's header, and a Hugging Face folder with config.json and all the shards its index names. Owns
// nothing between calls; any thread. It deliberately does not look at which architecture it is: the converter says so.
//
// Format: safetensors' README: 8 bytes little-endian length N, N bytes of JSON, then the data that "data_offsets" describe.
#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format_private.h"

#define HEADER_BYTES_MAX ((uint64_t)100 * 1000 * 1000)  // the limit of the format's own library
#define HEADER_PARSE_MAX ((uint64_t)16 * 1024 * 1024)   // larger ones are believed
#define INDEX_BYTES_MAX ((size_t)32 * 1024 * 1024)
#define SIDE_FILE_BYTES_MAX ((int64_t)64 * 1024 * 1024)
#define FILES_MAX 1024

// The end of the data that the header describes; -1 when it is no such header.
static int64_t data_end(const json_t *header) {
  const char *name;
  json_t *tensor;
  int64_t end = 0;
  json_object_foreach((json_t *)(uintptr_t)header, name, tensor) {
    if (strcmp(name, "__metadata__") == 0) continue;
    const json_t *offsets = json_object_get(tensor, "data_offsets");
    const json_t *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(last) || !json_is_string(json_object_get(tensor, "dtype"))) {
      return -1;
    }
    if (json_integer_value(last) < 0) return -1;
    if (json_integer_value(last) > end) end = json_integer_value(last);
  }
  return end;
}

static rh_status check_header(const char *text, uint64_t length, int64_t data_bytes, rh_error *error) {
  rh_error inner = {0};
  json_t *header = rh_json_parse(text, (size_t)length, &inner);
  if (header == NULL && inner.status == RH_NO_MEMORY) return rh_fail(error, RH_NO_MEMORY, "%s", inner.message);
  int64_t end = json_is_object(header) ? data_end(header) : -1;
  json_decref(header);
  if (end < 0) return rh_fail(error, RH_INVALID, "the header of the safetensors file is damaged");
  if (end > data_bytes) {
    return rh_fail(error, RH_INVALID,
                   "the safetensors file is cut short: %" PRId64 " of %" PRId64 " bytes of weights are there",
                   data_bytes, end);
  }
  return RH_OK;
}

rh_status rh_safetensors_check(const rh_format_source *source, rh_error *error) {
  uint8_t front[9];
  if (source->size < 10) return rh_fail(error, RH_UNSUPPORTED, "it is no safetensors file");
  if (!source->read(source->ctx, 0, front, sizeof front)) return rh_fail(error, RH_IO, "it cannot be read");
  uint64_t length = 0;
  for (unsigned i = 8; i > 0; i--) length = length << 8 | front[i - 1];
  if (length < 2 || length > HEADER_BYTES_MAX || front[8] != '{') {
    return rh_fail(error, RH_UNSUPPORTED, "it is no safetensors file");
  }
  if ((int64_t)length > source->size - 8) {
    return rh_fail(error, RH_INVALID, "the safetensors file is cut short: it ends inside its header");
  }
  if (length > HEADER_PARSE_MAX) return RH_OK;
  char *text = malloc((size_t)length);
  if (text == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a header of %" PRIu64 " bytes", length);
  rh_status status = source->read(source->ctx, 8, text, (size_t)length)
                         ? check_header(text, length, source->size - 8 - (int64_t)length, error)
                         : rh_fail(error, RH_IO, "it cannot be read");
  free(text);
  return status;
}

// --- a folder -------------------------------------------------------------------------------------------------------

typedef struct shards {
  char *names[FILES_MAX];
  size_t count;
} shards;

static bool add_shard(shards *s, const char *name) {
  for (size_t i = 0; i < s->count; i++) {
    if (strcmp(s->names[i], name) == 0) return true;
  }
  if (s->count == FILES_MAX || (s->names[s->count] = strdup(name)) == NULL) return false;
  s->count++;
  return true;
}

static void free_shards(shards *s) {
  for (size_t i = 0; i < s->count; i++) free(s->names[i]);
}

static rh_status read_json(const char *folder, const char *name, json_t **out, rh_error *error) {
  rh_dynbuf text;
  rh_dynbuf_init(&text, INDEX_BYTES_MAX);
  char *path = rh_format_join(folder, name);
  rh_error inner = {0};
  *out = NULL;
  rh_status status = path == NULL ? RH_NO_MEMORY : rh_file_read(path, &text, &inner);
  if (status == RH_OK) {
    *out = rh_json_parse(rh_dynbuf_data(&text), text.length, &inner);
    if (*out == NULL) status = inner.status;
    if (*out != NULL && !json_is_object(*out)) {
      json_decref(*out);
      *out = NULL;
      status = rh_fail(&inner, RH_INVALID, "it holds no object");
    }
  }
  rh_dynbuf_free(&text);
  if (status != RH_OK) rh_fail(error, status, "%s: %s", path == NULL ? name : path, inner.message);
  free(path);
  return status;
}

static rh_status shards_of_index(const char *folder, const char *index, shards *out, rh_error *error) {
  json_t *file = NULL;
  rh_status status = read_json(folder, index, &file, error);
  if (status != RH_OK) return status;
  const char *tensor;
  json_t *value;
  json_object_foreach(json_object_get(file, "weight_map"), tensor, value) {
    const char *name = json_string_value(value);
    if (name == NULL || !rh_format_path_is_inside(name)) {
      status = rh_fail(error, RH_INVALID, "%s/%s names a shard that cannot be a file of this folder", folder, index);
    } else if (!add_shard(out, name)) {
      status = rh_fail(error, RH_TOO_LARGE, "%s/%s names more than %d shards", folder, index, FILES_MAX);
    }
    if (status != RH_OK) break;
  }
  json_decref(file);
  if (status == RH_OK && out->count == 0) {
    status = rh_fail(error, RH_INVALID, "%s/%s names no shards", folder, index);
  }
  return status;
}

static rh_status check_shard(const char *folder, const char *name, rh_format_report *out, rh_error *error) {
  char *path = rh_format_join(folder, name);
  if (path == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", name);
  rh_format_file file;
  rh_error inner = {0};
  rh_status status = rh_format_file_open(path, &file, &inner);
  if (status == RH_NOT_FOUND) {
    status = rh_format_missing(out, "its index names", path, &inner);
  } else if (status == RH_OK) {
    char seen[128];
    status = rh_safetensors_check(&file.source, &inner);
    out->bytes += file.size;
    if (status == RH_UNSUPPORTED) {
      const char *advice = rh_format_describe(file.front, file.front_length, file.size, seen, sizeof seen);
      status = rh_fail(&inner, RH_INVALID, "it should hold weights, but is %s%s%s", seen, advice == NULL ? "" : "; ",
                       advice == NULL ? "" : advice);
    }
    rh_format_file_close(&file);
    if (status != RH_OK) rh_fail(&inner, status, "%s: %s", path, inner.message);
  }
  free(path);
  return status == RH_OK ? RH_OK : rh_fail(error, status, "%s", inner.message);
}

static bool is_side_file(const char *name) {
  static const char *const suffixes[] = {".json", ".txt", ".model", ".jinja", ".tiktoken"};
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
    if (rh_text_ends_with(name, suffixes[i])) return true;
  }
  return false;
}

// Tokenizer, configuration: part of the model, too.
static int64_t side_bytes(const char *folder) {
  DIR *opened = opendir(folder);
  int64_t bytes = 0;
  const struct dirent *entry;
  while (opened != NULL && (entry = readdir(opened)) != NULL) {
    int64_t size = is_side_file(entry->d_name) ? rh_format_file_size(folder, entry->d_name) : 0;
    if (size > 0 && size <= SIDE_FILE_BYTES_MAX) bytes += size;
  }
  if (opened != NULL) closedir(opened);
  return bytes;
}

static rh_status find_shards(const char *folder, shards *out, rh_error *error) {
  static const char *const indexes[] = {"model.safetensors.index.json",
                                        "diffusion_pytorch_model.safetensors.index.json"};
  static const char *const names[] = {"model.safetensors", "diffusion_pytorch_model.safetensors"};
  // A single file wins over an index, as in the transformers library.
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (rh_format_file_size(folder, names[i]) < 0) continue;
    return add_shard(out, names[i]) ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", folder);
  }
  for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
    if (rh_format_file_size(folder, indexes[i]) >= 0) return shards_of_index(folder, indexes[i], out, error);
  }
  return rh_fail(error, RH_UNSUPPORTED, "%s holds no safetensors model", folder);
}

rh_status rh_format_detect_safetensors(const char *folder, rh_format_report *out, rh_error *error) {
  if (rh_format_file_size(folder, "config.json") < 0) {
    return rh_fail(error, RH_UNSUPPORTED, "%s holds no config.json", folder);
  }
  shards *found = calloc(1, sizeof *found);
  if (found == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory to look at %s", folder);
  json_t *config = NULL;
  rh_status status = find_shards(folder, found, error);
  if (status != RH_UNSUPPORTED) {
    out->format = RH_FORMAT_SAFETENSORS;
    (void)rh_text_copy(out->entry, sizeof out->entry, "config.json");
  }
  if (status == RH_OK) status = read_json(folder, "config.json", &config, error);
  for (size_t i = 0; i < found->count && status == RH_OK; i++)
    status = check_shard(folder, found->names[i], out, error);
  if (status == RH_OK) {
    out->bytes += side_bytes(folder);
    if (found->count > 1) (void)snprintf(out->parts, sizeof out->parts, "%zu shards", found->count);
  }
  json_decref(config);
  free_shards(found);
  free(found);
  return status;
}
