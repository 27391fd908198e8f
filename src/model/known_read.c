// SPDX-License-Identifier: Apache-2.0
//
// One entry of the catalogue of known models: from JSON to rh_known and back, and its JSON Schema, for the built-in
// entries and for those of the configuration alike.
// Owns nothing: strings go to the caller's arena. Any thread. It deliberately fetches nothing and looks at no file: that
// a source has what an entry promises shows when it is pulled.
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/json.h"
#include "base/text.h"
#include "model/known_private.h"

// An entry's single values, as the table fills them.
typedef struct entry_values {
  char *title, *source, *format, *quantization, *task, *license, *license_note;
  int64_t parameters, context, rank;
  uint64_t bytes, memory, memory_min;
  bool bytes_approximate, gpu_required, gated, base_model, recommended;
} entry_values;

#define ROW(field, kind, low, high, about)                                                                      \
  {                                                                                                             \
    .key = #field, .type = RH_SETTING_##kind, .offset = offsetof(entry_values, field), .min = low, .max = high, \
    .help = about, .file_only = true                                                                            \
  }

static const rh_setting rows[] = {
    ROW(title, STRING, 0, 0, "what people read in lists"),
    ROW(source, STRING, 0, 0,
        "where it comes from: hf:org/repo:file, https://..., s3://..., file:..., pypi:..., npm:..."),
    ROW(format, STRING, 0, 0, "gguf, onnx, onnx-genai, safetensors, tensorrt; or one that cannot be served yet"),
    ROW(quantization, STRING, 0, 0, "how the weights are stored: Q4_K_M, int4, f32"),
    ROW(task, STRING, 0, 0, "what it is for: chat, completion, embeddings, classification, ..."),
    ROW(license, STRING, 0, 0, "an SPDX name where there is one"),
    ROW(license_note, STRING, 0, 0, "terms that a person must know"),
    ROW(parameters, INT, 0, 1e15, "how many weights it has"),
    ROW(context, INT, 0, 16777216, "tokens it was trained for"),
    ROW(bytes, BYTES, 0, 1125899906842624.0, "of what is fetched"),
    ROW(bytes_approximate, BOOL, 0, 0, "that number is rounded"),
    ROW(memory, BYTES, 0, 1125899906842624.0, "what serving it takes with the default context and slots"),
    ROW(memory_min, BYTES, 0, 1125899906842624.0, "a machine with less memory is refused"),
    ROW(gpu_required, BOOL, 0, 0, "a machine without a GPU is refused"),
    ROW(gated, BOOL, 0, 0, "its hub wants an account that accepted its terms (HF_TOKEN)"),
    ROW(base_model, BOOL, 0, 0, "it completes text and was not trained to chat"),
    ROW(rank, INT, 0, 1000, "for recommend: higher answers better; 0 = never recommended"),
    ROW(recommended, BOOL, 0, 0, "what its name without a version means"),
};
#define ROWS (sizeof rows / sizeof *rows)

static const char *const also_known[] = {"aliases", "files", "joined", NULL};
static const char *const unread_formats[] = {"pytorch", "ctranslate2", "fasttext"};
static const char *const schemes[] = {"hf:", "https://", "http://", "s3://", "file:", "pypi:", "npm:"};

static bool is_source(const char *text) {
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    if (rh_text_starts_with(text, schemes[i]) && text[strlen(schemes[i])] != '\0') return true;
  }
  return false;
}

static rh_status bad(rh_error *error, const char *key, const char *field, const char *message) {
  char param[RH_MODEL_NAME_MAX + 32];
  snprintf(param, sizeof param, "%s.%s", key, field);
  return rh_fail_param(error, RH_INVALID, param, "the model \"%.128s\": %s", key, message);
}

static rh_status no_memory(rh_error *error) {
  return rh_fail(error, RH_NO_MEMORY, "no memory for the catalogue of known models, or too many entries in it");
}

// --- files -----------------------------------------------------------------------------------------------------------

static bool is_sha256(const char *text) { return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64; }

// A path inside a source becomes a path inside the store: it must not lead out of it.
static bool is_inner_path(const char *path) {
  if (path[0] == '\0' || path[0] == '/' || strlen(path) > 500) return false;
  for (const char *part = path; part != NULL; part = strchr(part, '/')) {
    if (*part == '/') part++;
    size_t length = strcspn(part, "/");
    if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && memcmp(part, "..", 2) == 0)) return false;
  }
  for (const char *c = path; *c != '\0'; c++) {
    if (iscntrl((unsigned char)*c) || *c == '\\') return false;
  }
  return true;
}

static rh_status read_file(rh_arena *arena, const char *key, const char *field, const json_t *value, bool may_move,
                           rh_known_file *out, rh_error *error) {
  static const char *const fields[] = {"path", "bytes", "sha256", "source"};
  if (!json_is_object(value)) return bad(error, key, field, "a file must be an object with a path");
  const char *name;
  json_t *inner;
  json_object_foreach((json_t *)(uintptr_t)value, name, inner) {  // jansson lacks the const
    bool known = false;
    for (size_t i = 0; i < 4; i++) known = known || strcmp(name, fields[i]) == 0;
    if (!known) return bad(error, key, field, "a file has path, bytes, sha256 and source, nothing else");
  }
  const char *path = NULL, *sha256 = NULL, *source = NULL;
  rh_error reason = {0};
  rh_status status = rh_json_get_string(value, field, "path", &path, &reason);
  if (status == RH_OK) status = rh_json_get_string(value, field, "sha256", &sha256, &reason);
  if (status == RH_OK) status = rh_json_get_string(value, field, "source", &source, &reason);
  if (status == RH_OK) status = rh_json_get_int(value, field, "bytes", 0, INT64_C(1) << 50, &out->bytes, &reason);
  if (status != RH_OK) return bad(error, key, field, reason.message);
  if (path == NULL || !is_inner_path(path)) {
    return bad(error, key, field, "a file's path must be relative, without . and ..");
  }
  if (sha256 != NULL && !is_sha256(sha256)) return bad(error, key, field, "sha256 must be 64 digits 0-9 a-f");
  if (source != NULL && (!may_move || !is_source(source))) {
    return bad(error, key, field, "a file's source must be one that roundhouse pull takes");
  }
  out->path = rh_arena_strdup(arena, path);
  out->sha256 = rh_arena_strdup(arena, sha256);
  out->source = rh_arena_strdup(arena, source);
  return out->path == NULL ? no_memory(error) : RH_OK;
}

static rh_status read_files(rh_arena *arena, const char *key, const json_t *value, rh_known *out, rh_error *error) {
  const json_t *files = json_object_get(value, "files");
  const json_t *joined = json_object_get(value, "joined");
  if (files != NULL && (!json_is_array(files) || json_array_size(files) == 0)) {
    return bad(error, key, "files", "files must be a list of at least one file");
  }
  size_t count = json_array_size(files);
  if (count > RH_KNOWN_FILES_MAX) return bad(error, key, "files", "too many files");
  rh_known_file *list = rh_arena_alloc_array(arena, count + 1, sizeof *list);
  if (list == NULL) return no_memory(error);
  int64_t sum = 0;
  bool all = count > 0;
  for (size_t i = 0; i < count; i++) {
    rh_status status = read_file(arena, key, "files", json_array_get(files, i), true, &list[i], error);
    if (status != RH_OK) return status;
    for (size_t k = 0; k < i; k++) {
      if (strcmp(list[k].path, list[i].path) == 0) return bad(error, key, "files", "a path is there twice");
    }
    sum += list[i].bytes;
    all = all && list[i].bytes > 0;
  }
  out->files = count > 0 ? list : NULL;
  out->file_count = count;
  if (all && !out->bytes_approximate && sum != out->bytes) {
    return bad(error, key, "bytes", "bytes is not the sum of its files; correct it or set bytes_approximate");
  }
  if (joined == NULL) return RH_OK;
  if (count < 2) return bad(error, key, "joined", "only several files can be joined");
  return read_file(arena, key, "joined", joined, false, &out->joined, error);
}

// --- aliases and names -----------------------------------------------------------------------------------------------

static bool is_alias(const char *text) {
  size_t length = strlen(text);
  if (length == 0 || length > RH_MODEL_NAME_MAX || text[0] == ' ' || text[length - 1] == ' ') return false;
  for (const char *c = text; *c != '\0'; c++) {
    if (!isalnum((unsigned char)*c) && strchr("._:/- ", *c) == NULL) return false;
  }
  return true;
}

static rh_status read_aliases(rh_arena *arena, const char *key, const json_t *value, rh_known *out, rh_error *error) {
  const json_t *aliases = json_object_get(value, "aliases");
  if (aliases == NULL) return RH_OK;
  size_t count = json_array_size(aliases);
  if (!json_is_array(aliases) || count > RH_KNOWN_ALIASES_MAX) {
    return bad(error, key, "aliases", "aliases must be a list of at most 16 names");
  }
  const char **list = rh_arena_alloc_array(arena, count + 1, sizeof *list);
  if (list == NULL) return no_memory(error);
  for (size_t i = 0; i < count; i++) {
    const char *text = json_string_value(json_array_get(aliases, i));
    if (text == NULL || !is_alias(text)) {
      return bad(error, key, "aliases", "an alias is 1 to 128 of A-Z a-z 0-9 . _ : / - and spaces inside");
    }
    list[i] = rh_arena_strdup(arena, text);
    if (list[i] == NULL) return no_memory(error);
  }
  out->aliases = list;
  return RH_OK;
}

static rh_status read_name(rh_arena *arena, const char *key, rh_known *out, rh_error *error) {
  rh_model_ref ref;
  rh_error reason = {0};
  if (rh_model_ref_parse(key, &ref, &reason) != RH_OK) return bad(error, key, "name", reason.message);
  out->name = rh_arena_strdup(arena, ref.name);
  out->version = rh_arena_strdup(arena, ref.version[0] != '\0' ? ref.version : RH_VERSION_LATEST);
  return out->name == NULL || out->version == NULL ? no_memory(error) : RH_OK;
}

// --- the whole entry -------------------------------------------------------------------------------------------------

static rh_status read_format(const char *key, const entry_values *values, rh_known *out, rh_error *error) {
  if (values->format == NULL) return bad(error, key, "format", "it needs a format, such as gguf");
  out->format = rh_format_from_name(values->format);
  bool fine = out->format != RH_FORMAT_UNKNOWN && out->format != RH_FORMAT_FAKE;
  for (size_t i = 0; i < sizeof unread_formats / sizeof *unread_formats; i++) {
    fine = fine || strcmp(values->format, unread_formats[i]) == 0;
  }
  if (fine) return RH_OK;
  return bad(error, key, "format",
             "format must be gguf, onnx, onnx-genai, safetensors, tensorrt, pytorch, ctranslate2 or fasttext");
}

static rh_status check_values(const char *key, const entry_values *values, rh_error *error) {
  if (values->source == NULL || !is_source(values->source)) {
    return bad(error, key, "source", "it needs a source: hf:org/repo, https://, s3://, file:, pypi: or npm:");
  }
  if (values->task == NULL || values->task[0] == '\0') return bad(error, key, "task", "it needs a task, such as chat");
  return RH_OK;
}

static void copy_values(rh_arena *arena, const entry_values *values, rh_known *out) {
  out->source = rh_arena_strdup(arena, values->source);
  out->title = rh_arena_strdup(arena, values->title != NULL ? values->title : out->name);
  out->format_name = rh_arena_strdup(arena, values->format);
  out->quantization = rh_arena_strdup(arena, values->quantization != NULL ? values->quantization : "");
  out->task = rh_arena_strdup(arena, values->task);
  out->licence = rh_arena_strdup(arena, values->license != NULL ? values->license : "NOASSERTION");
  out->licence_note = rh_arena_strdup(arena, values->license_note);
  out->parameters = values->parameters;
  out->context = values->context;
  out->bytes = (int64_t)values->bytes;
  out->bytes_approximate = values->bytes_approximate;
  out->memory_bytes = (int64_t)values->memory;
  out->memory_min_bytes = (int64_t)values->memory_min;
  out->gpu_required = values->gpu_required;
  out->gated = values->gated;
  out->base_model = values->base_model;
  out->recommended = values->recommended;
  out->rank = (int32_t)values->rank;
}

rh_status rh_known_read(rh_arena *arena, const char *key, const json_t *value, bool built_in, rh_known *out,
                        rh_error *error) {
  assert(arena != NULL && key != NULL && out != NULL);
  *out = (rh_known){.built_in = built_in};
  rh_status status = read_name(arena, key, out, error);
  if (status != RH_OK) return status;
  if (!json_is_object(value)) return bad(error, key, "source", "it must be an object such as {\"source\": \"hf:...\"}");
  entry_values values = {0};
  status = rh_config_defaults(rows, ROWS, &values, NULL, error);
  rh_error reason = {0};
  if (status == RH_OK && rh_config_from_json(rows, ROWS, "", value, also_known, &values, NULL, &reason) != RH_OK) {
    status = bad(error, key, reason.param, reason.message);
  }
  if (status == RH_OK) status = check_values(key, &values, error);
  if (status == RH_OK) status = read_format(key, &values, out, error);
  if (status == RH_OK) {
    copy_values(arena, &values, out);
    bool whole = out->source != NULL && out->title != NULL && out->format_name != NULL && out->task != NULL &&
                 out->licence != NULL && out->quantization != NULL;
    if (!whole) status = no_memory(error);
  }
  rh_config_release(rows, ROWS, &values);
  if (status == RH_OK) status = read_aliases(arena, key, value, out, error);
  if (status == RH_OK) status = read_files(arena, key, value, out, error);
  return status;
}

json_t *rh_known_schema(void) {
  json_t *schema = rh_config_schema(rows, ROWS);
  json_t *file =
      json_pack("{s:s,s:b,s:[s],s:{s:{s:s},s:{s:s,s:i},s:{s:s,s:s},s:{s:s}}}", "type", "object", "additionalProperties",
                0, "required", "path", "properties", "path", "type", "string", "bytes", "type", "integer", "minimum", 0,
                "sha256", "type", "string", "pattern", "^[0-9a-f]{64}$", "source", "type", "string");
  json_t *more = json_pack("{s:{s:s,s:{s:s},s:i,s:s},s:{s:s,s:O?,s:i,s:s},s:O?}", "aliases", "type", "array", "items",
                           "type", "string", "maxItems", RH_KNOWN_ALIASES_MAX, "description", "other names for it",
                           "files", "type", "array", "items", file, "minItems", 1, "description",
                           "what to fetch, where the source holds more", "joined", file);
  json_decref(file);
  json_t *properties = json_object_get(schema, "properties");
  bool fine = more != NULL && properties != NULL && json_object_update(properties, more) == 0 &&
              json_object_set_new(schema, "required", json_pack("[s,s,s]", "source", "format", "task")) == 0;
  json_decref(more);
  if (fine) return schema;
  json_decref(schema);
  return NULL;
}
