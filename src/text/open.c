// SPDX-License-Identifier: Apache-2.0
//
// Purpose: from a file or a model's folder to a tokenizer: which file counts, and what the files beside it tell.
// Data owned: files' bytes and JSON during the call. Threads: any. Not here: what the files mean.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "text/private.h"

#define COMPANION_BYTES_MAX ((size_t)16 * 1024 * 1024)
#define PATH_MAX_BYTES 4096

typedef struct opening {
  char folder[PATH_MAX_BYTES];
  char file[PATH_MAX_BYTES];
  json_t *settings, *special_tokens, *config;  // NULL = not there
} opening;

static bool is_file(const char *path) {
  struct stat what;
  return stat(path, &what) == 0 && S_ISREG(what.st_mode);
}

static bool join(char out[PATH_MAX_BYTES], const char *folder, const char *name) {
  return snprintf(out, PATH_MAX_BYTES, "%s/%s", folder, name) < PATH_MAX_BYTES;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

// The file that counts in a folder.
static rh_status find_file(opening *self, rh_error *error) {
  static const char *const names[] = {"tokenizer.json", "vocab.txt",       "spiece.model",
                                      "spm.model",      "tokenizer.model", "sentencepiece.bpe.model"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (join(self->file, self->folder, names[i]) && is_file(self->file)) return RH_OK;
  }
  return rh_fail(error, RH_NOT_FOUND,
                 "%.500s has no tokenizer: none of tokenizer.json, vocab.txt, spiece.model, tokenizer.model is there",
                 self->folder);
}

static rh_status find_place(opening *self, const char *path, rh_error *error) {
  struct stat what;
  if (strlen(path) >= PATH_MAX_BYTES) return rh_fail(error, RH_INVALID, "the tokenizer's path is too long");
  if (stat(path, &what) != 0) return rh_fail(error, RH_NOT_FOUND, "there is no tokenizer at %.500s", path);
  if (S_ISDIR(what.st_mode)) {
    memcpy(self->folder, path, strlen(path) + 1);
    return find_file(self, error);
  }
  if (!S_ISREG(what.st_mode)) return rh_fail(error, RH_INVALID, "%.500s is no file and no folder", path);
  memcpy(self->file, path, strlen(path) + 1);
  size_t length = (size_t)(base_name(path) - path);
  memcpy(self->folder, length > 0 ? path : "./", length > 0 ? length : 2);
  return RH_OK;
}

// Numbers are all real ones here: where a model knows no length, its file has one beyond any integer.
static rh_status parse_companion(const char *path, const rh_dynbuf *text, json_t **out, rh_error *error) {
  json_error_t what = {.text = ""};
  *out = json_loadb(rh_dynbuf_data(text), text->length, JSON_DECODE_INT_AS_REAL, &what);
  if (*out == NULL && json_error_code(&what) == json_error_out_of_memory)
    return rh_fail(error, RH_NO_MEMORY, "out of memory for %.500s", path);
  if (*out == NULL)
    return rh_fail(error, RH_INVALID, "%.300s: not valid JSON at line %d: %.160s", path, what.line, what.text);
  return json_is_object(*out) ? RH_OK : rh_fail(error, RH_INVALID, "%.300s is no object", path);
}

// A JSON object beside the tokenizer; none is fine.
static rh_status read_companion(const opening *self, const char *name, json_t **out, rh_error *error) {
  char path[PATH_MAX_BYTES];
  if (!join(path, self->folder, name) || !is_file(path)) return RH_OK;
  rh_dynbuf text;
  rh_dynbuf_init(&text, COMPANION_BYTES_MAX);
  rh_status status = rh_file_read(path, &text, error);
  if (status == RH_OK) status = parse_companion(path, &text, out, error);
  rh_dynbuf_free(&text);
  return status;
}

static rh_status read_companions(opening *self, rh_error *error) {
  rh_status status = read_companion(self, "tokenizer_config.json", &self->settings, error);
  if (status == RH_OK) status = read_companion(self, "special_tokens_map.json", &self->special_tokens, error);
  return status == RH_OK ? read_companion(self, "config.json", &self->config, error) : status;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), size = strlen(end);
  return length >= size && strcasecmp(text + length - size, end) == 0;
}

static rh_status from_other(const opening *self, const rh_dynbuf *bytes, rh_tokenizer **out, rh_error *error) {
  json_t *json = NULL;
  rh_status status =
      ends_with(self->file, ".model")
          ? rh_tokenizer_json_of_sentencepiece(rh_dynbuf_data(bytes), bytes->length, self->settings, &json, error)
          : rh_tokenizer_json_of_vocabulary(rh_dynbuf_data(bytes), bytes->length, self->settings, self->special_tokens,
                                            &json, error);
  if (status == RH_OK) status = rh_tokenizer_from_json(json, out, error);
  json_decref(json);
  return status;
}

static rh_status read_tokenizer(const opening *self, rh_tokenizer **out, rh_error *error) {
  rh_dynbuf bytes;
  rh_dynbuf_init(&bytes, RH_TOKENIZER_FILE_MAX);
  rh_error inner = {0};
  rh_status status = rh_file_read(self->file, &bytes, &inner);
  if (status == RH_OK)
    status = ends_with(self->file, ".json") ? rh_tokenizer_open_json(rh_dynbuf_data(&bytes), bytes.length, out, &inner)
                                            : from_other(self, &bytes, out, &inner);
  rh_dynbuf_free(&bytes);
  if (status == RH_OK) return RH_OK;
  return rh_fail(error, status, "%.300s: %.440s", self->file, inner.message);
}

rh_status rh_tokenizer_open(const char *path, rh_tokenizer **out, rh_error *error) {
  *out = NULL;
  opening *self = calloc(1, sizeof *self);
  if (self == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for a tokenizer");
  rh_status status = find_place(self, path, error);
  if (status == RH_OK) status = read_companions(self, error);
  if (status == RH_OK) status = read_tokenizer(self, out, error);
  if (status == RH_OK) rh_tokenizer_read_facts(*out, self->settings, self->special_tokens, self->config);
  json_decref(self->settings);
  json_decref(self->special_tokens);
  json_decref(self->config);
  free(self);
  return status;
}
