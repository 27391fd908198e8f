// SPDX-License-Identifier: Apache-2.0
//
// A Hugging Face folder: its JSON files and all its tensors, from one safetensors file or many.
#ifndef RH_CONVERT_SOURCE_H
#define RH_CONVERT_SOURCE_H

#include <jansson.h>

#include "base/dynbuf.h"
#include "convert/safetensors.h"

#define RH_SOURCE_SHARDS_MAX 4096
#define RH_SOURCE_JSON_MAX ((size_t)256 << 20)

typedef struct rh_source_tensor {
  const rh_safetensors *file;
  const rh_safetensor *info;
} rh_source_tensor;

typedef struct rh_source {
  char folder[4096];
  // Each may be NULL but `config`. A text model inside a larger one has its own settings laid over `config`.
  json_t *config, *generation, *tokenizer_config, *special_tokens;
  rh_safetensors *shards;
  size_t shard_count;
  rh_source_tensor *tensors;  // sorted by name
  size_t tensor_count;
} rh_source;

// Reads config.json and its companions, then maps the weights. RH_NOT_FOUND, RH_INVALID, RH_UNSUPPORTED (weights that are
// no safetensors).
rh_status rh_source_open(const char *folder, rh_source *out, rh_error *error) RH_MUST_CHECK;
void rh_source_close(rh_source *self);

const rh_source_tensor *rh_source_find(const rh_source *self, const char *name);  // NULL when there is none

// A file of the folder. NOT_FOUND leaves the buffer empty (and says so in `error`).
rh_status rh_source_read(const rh_source *self, const char *name, size_t max, rh_dynbuf *out,
                         rh_error *error) RH_MUST_CHECK;
// A JSON object; *out is NULL and RH_OK returned when there is no such file.
rh_status rh_source_read_json(const rh_source *self, const char *name, json_t **out, rh_error *error) RH_MUST_CHECK;

// Numbers and words of an object: absent, null or of another type gives `otherwise`.
double rh_source_number(const json_t *object, const char *key, double otherwise);
int64_t rh_source_int(const json_t *object, const char *key, int64_t otherwise);
bool rh_source_bool(const json_t *object, const char *key, bool otherwise);
const char *rh_source_text(const json_t *object, const char *key);  // NULL when absent

#endif
