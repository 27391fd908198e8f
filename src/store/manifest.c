// SPDX-License-Identifier: Apache-2.0
//
// Manifests: what the store knows of one version of a model, as JSON beside its files. Owns nothing between calls; any
// thread. Keys it does not know are ignored, so that an older program can read what a newer one wrote; a manifest whose
// "manifest" number is higher says that it cannot. A manifest is read strictly: its paths must stay in its folder.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "store/internal.h"

#define MANIFEST_VERSION 1

bool rh_manifest_path_is_safe(const char *path) {
  if (path == NULL || path[0] == '\0' || path[0] == '/' || strlen(path) > 1024) return false;
  for (const char *at = path; *at != '\0'; at++) {
    bool begins = at == path || at[-1] == '/';
    if ((unsigned char)*at < 0x20 || *at == 0x7f || (begins && *at == '/')) return false;
    if (begins && at[0] == '.' && (at[1] == '\0' || at[1] == '/')) return false;
    if (begins && at[0] == '.' && at[1] == '.' && (at[2] == '\0' || at[2] == '/')) return false;
  }
  return path[strlen(path) - 1] != '/';
}

static bool is_digest(const char *text) {
  return strlen(text) == RH_SHA256_HEX - 1 && strspn(text, "0123456789abcdef") == RH_SHA256_HEX - 1;
}

static rh_status get_text(const json_t *object, const char *key, char *out, size_t size, rh_error *error) {
  const char *text = "";
  rh_status status = rh_json_get_string(object, "", key, &text, error);
  if (status == RH_OK) (void)rh_text_copy(out, size, text);
  return status;
}

static rh_status get_count(const json_t *object, const char *path, const char *key, int64_t *out, rh_error *error) {
  return rh_json_get_int(object, path, key, 0, INT64_MAX, out, error);
}

static rh_status read_file(const json_t *item, rh_stored_file *out, rh_error *error) {
  const char *path = "", *sha256 = "";
  rh_status status = rh_json_get_string(item, "files", "path", &path, error);
  if (status == RH_OK) status = rh_json_get_string(item, "files", "sha256", &sha256, error);
  if (status == RH_OK) status = get_count(item, "files", "bytes", &out->bytes, error);
  if (status != RH_OK) return status;
  if (!rh_manifest_path_is_safe(path)) return rh_fail(error, RH_INVALID, "it names a file outside its folder");
  if (!is_digest(sha256)) return rh_fail(error, RH_INVALID, "the sha256 of %s is no SHA-256", path);
  memcpy(out->sha256, sha256, RH_SHA256_HEX);
  out->path = strdup(path);
  return out->path == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory for a manifest") : RH_OK;
}

static rh_status read_files(const json_t *object, rh_stored *out, rh_error *error) {
  json_t *files = NULL;
  rh_status status = rh_json_get_array(object, "", "files", &files, error);
  if (status != RH_OK) return status;
  size_t count = json_array_size(files);
  if (count == 0 || count > RH_STORE_FILES_MAX) return rh_fail(error, RH_INVALID, "it lists %zu files", count);
  out->files = calloc(count, sizeof *out->files);
  if (out->files == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a manifest");
  for (size_t i = 0; i < count && status == RH_OK; i++) {
    out->file_count = i + 1;
    status = read_file(json_array_get(files, i), &out->files[i], error);
    if (status == RH_OK) out->bytes += out->files[i].bytes;
  }
  return status;
}

static rh_status read_entry(const json_t *object, rh_stored *out, rh_error *error) {
  const char *entry = "", *format = "";
  rh_status status = rh_json_get_string(object, "", "entry", &entry, error);
  if (status == RH_OK) status = rh_json_get_string(object, "", "format", &format, error);
  if (status != RH_OK) return status;
  // A format of a newer version is listed, but nothing serves it. "" is the model's folder itself.
  out->format = rh_format_from_name(format);
  if (entry[0] != '\0' && !rh_manifest_path_is_safe(entry)) {
    return rh_fail(error, RH_INVALID, "its entry lies outside its folder");
  }
  out->entry = strdup(entry);
  return out->entry == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory for a manifest") : RH_OK;
}

typedef struct text_row {
  const char *key;
  size_t offset, size;
} text_row;

#define TEXT(key, field) \
  { key, offsetof(rh_stored, field), sizeof((rh_stored *)0)->field }
static const text_row texts[] = {
    TEXT("quantization", quantization), TEXT("task", task),
    TEXT("license", licence),           TEXT("source", source),
    TEXT("revision", revision),         TEXT("architecture", architecture),
};

typedef struct count_row {
  const char *key;
  size_t offset;
} count_row;

static const count_row counts[] = {
    {"parameters", offsetof(rh_stored, parameters)},
    {"context", offsetof(rh_stored, context)},
    {"created_s", offsetof(rh_stored, created_s)},
    {"memory_min_bytes", offsetof(rh_stored, memory_min_bytes)},
};

static rh_status read_object(const json_t *object, rh_stored *out, rh_error *error) {
  int64_t version = 0;
  rh_status status = rh_json_get_int(object, "", "manifest", 0, INT64_MAX, &version, error);
  if (status != RH_OK) return status;
  if (version < 1) return rh_fail(error, RH_INVALID, "it is no manifest of a model");
  if (version > MANIFEST_VERSION) return rh_fail(error, RH_UNSUPPORTED, "a newer version of Roundhouse wrote it");
  for (size_t i = 0; i < sizeof texts / sizeof *texts && status == RH_OK; i++) {
    status = get_text(object, texts[i].key, (char *)out + texts[i].offset, texts[i].size, error);
  }
  for (size_t i = 0; i < sizeof counts / sizeof *counts && status == RH_OK; i++) {
    status = get_count(object, "", counts[i].key, (int64_t *)(void *)((char *)out + counts[i].offset), error);
  }
  if (status == RH_OK) status = rh_json_get_bool(object, "", "gpu_required", &out->gpu_required, error);
  if (status == RH_OK) status = read_entry(object, out, error);
  return status == RH_OK ? read_files(object, out, error) : status;
}

rh_status rh_manifest_read(const char *folder, const rh_model_ref *ref, rh_stored *out, rh_error *error) {
  *out = (rh_stored){.ref = *ref};
  char *path = rh_store_join(folder, RH_STORE_MANIFEST);
  out->folder = strdup(folder);
  json_t *object = NULL;
  rh_status status = path == NULL || out->folder == NULL ? rh_fail(error, RH_NO_MEMORY, "no memory for a manifest")
                                                         : rh_store_read_json(path, &object, error);
  if (status == RH_OK && json_object_size(object) == 0) {
    status = rh_fail(error, RH_NOT_FOUND, "there is no file %s", path);
  }
  if (status == RH_OK) {
    rh_error inner = {0};
    status = read_object(object, out, &inner);
    if (status != RH_OK) rh_fail(error, status, "%s cannot be used: %s", path, inner.message);
  }
  json_decref(object);
  free(path);
  if (status != RH_OK) rh_stored_release(out);
  return status;
}

static json_t *files_to_json(const rh_stored *stored) {
  json_t *files = json_array();
  for (size_t i = 0; i < stored->file_count; i++) {
    const rh_stored_file *file = &stored->files[i];
    json_t *item =
        json_pack("{s:s, s:I, s:s}", "path", file->path, "bytes", (json_int_t)file->bytes, "sha256", file->sha256);
    if (json_array_append_new(files, item) != 0) {
      json_decref(files);
      return NULL;
    }
  }
  return files;
}

static json_t *to_json(const rh_stored *stored) {
  json_t *object =
      json_pack("{s:i, s:s, s:s, s:s, s:s, s:b, s:o}", "manifest", MANIFEST_VERSION, "name", stored->ref.name,
                "version", stored->ref.version, "format", rh_format_name(stored->format), "entry", stored->entry,
                "gpu_required", (int)stored->gpu_required, "files", files_to_json(stored));
  int failed = object == NULL ? -1 : 0;
  for (size_t i = 0; i < sizeof texts / sizeof *texts && failed == 0; i++) {
    const char *text = (const char *)stored + texts[i].offset;
    if (text[0] != '\0') failed = json_object_set_new(object, texts[i].key, json_string(text));
  }
  for (size_t i = 0; i < sizeof counts / sizeof *counts && failed == 0; i++) {
    int64_t count;
    memcpy(&count, (const char *)stored + counts[i].offset, sizeof count);
    if (count != 0) failed = json_object_set_new(object, counts[i].key, json_integer(count));
  }
  if (failed == 0) return object;
  json_decref(object);
  return NULL;
}

rh_status rh_manifest_write(const char *folder, const rh_stored *stored, rh_error *error) {
  char *path = rh_store_join(folder, RH_STORE_MANIFEST);
  json_t *object = to_json(stored);
  rh_status status = path == NULL || object == NULL
                         ? rh_fail(error, RH_NO_MEMORY,
                                   "the manifest of %s cannot be written: it has no memory, or a "
                                   "text of it is not UTF-8",
                                   stored->ref.name)
                         : rh_store_write_json(path, object, error);
  json_decref(object);
  free(path);
  return status;
}
