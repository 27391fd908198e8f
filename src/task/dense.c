// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the linear layer that some sentence-transformers models have behind their pooling: its configuration and its
// weights, from a safetensors file.
// Data owned: none; the weights stand in the files' arena as float32. Threads: any; reading blocks.
// Not here: weights as Python pickles, which are programs. Source of the format: the safetensors package's documentation.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "task/internal.h"

#define WEIGHTS_BYTES_MAX ((size_t)256 << 20)
#define HEADER_BYTES_MAX ((uint64_t)1 << 20)

static rh_status refuse(rh_model_files *files, const char *why) {
  if (files->unsupported[0] == '\0') (void)rh_text_copy(files->unsupported, sizeof files->unsupported, why);
  return RH_OK;
}

static rh_dtype type_of(const char *word) {
  if (word != NULL && strcmp(word, "F32") == 0) return RH_DTYPE_F32;
  if (word != NULL && strcmp(word, "F16") == 0) return RH_DTYPE_F16;
  return word != NULL && strcmp(word, "BF16") == 0 ? RH_DTYPE_BF16 : RH_DTYPE_NONE;
}

// One tensor of the file as float32; NULL when it is not there as it should be.
static const float *read_tensor(rh_model_files *files, const json_t *header, const char *data, size_t length,
                                const char *name, size_t count) {
  const json_t *entry = json_object_get(header, name), *range = json_object_get(entry, "data_offsets");
  int64_t from = json_integer_value(json_array_get(range, 0)), to = json_integer_value(json_array_get(range, 1));
  rh_dtype type = type_of(json_string_value(json_object_get(entry, "dtype")));
  bool fits = type != RH_DTYPE_NONE && from >= 0 && to >= from && (uint64_t)to <= length &&
              (uint64_t)(to - from) == count * rh_dtype_bytes(type);
  if (!fits) return NULL;
  // Into the arena first: the file's tensors need not be aligned.
  rh_tensor tensor = {.name = name, .type = type, .bytes = (size_t)(to - from)};
  void *copy = rh_arena_alloc(files->arena, tensor.bytes);
  float *out = rh_arena_alloc_array(files->arena, count, sizeof *out);
  if (copy == NULL || out == NULL) return NULL;
  memcpy(copy, data + from, tensor.bytes);
  tensor.data = copy;
  return rh_compute_floats(&tensor, count, out, NULL) == RH_OK ? out : NULL;
}

static rh_status read_weights(const char *path, bool biased, rh_model_files *files, rh_dense *dense, rh_error *error) {
  rh_dynbuf bytes;
  rh_dynbuf_init(&bytes, WEIGHTS_BYTES_MAX);
  rh_status status = rh_file_read(path, &bytes, error);
  if (status != RH_OK) {
    rh_dynbuf_free(&bytes);
    return status == RH_NOT_FOUND ? refuse(files,
                                           "the model's dense layer has no model.safetensors; weights as Python "
                                           "pickles are not read")
                                  : status;
  }
  const char *data = rh_dynbuf_data(&bytes);
  uint64_t header_bytes = 0;
  if (bytes.length >= 8) memcpy(&header_bytes, data, 8);
  json_t *header = NULL;
  if (header_bytes > 0 && header_bytes <= HEADER_BYTES_MAX && header_bytes <= bytes.length - 8) {
    header = rh_json_parse(data + 8, (size_t)header_bytes, NULL);
  }
  if (header != NULL) {
    const char *tensors = data + 8 + header_bytes;
    size_t length = bytes.length - 8 - (size_t)header_bytes;
    dense->weight = read_tensor(files, header, tensors, length, "linear.weight", dense->in * dense->out);
    if (biased) dense->bias = read_tensor(files, header, tensors, length, "linear.bias", dense->out);
  }
  json_decref(header);
  rh_dynbuf_free(&bytes);
  if (dense->weight != NULL && (!biased || dense->bias != NULL)) return RH_OK;
  return rh_fail(error, RH_INVALID, "%s does not hold the dense layer of %zu x %zu that its configuration describes",
                 path, dense->out, dense->in);
}

rh_status rh_dense_read(const char *folder, const char *path, rh_model_files *files, rh_error *error) {
  char name[256], weights[4096];
  (void)snprintf(name, sizeof name, "%.200s/config.json", path);
  json_t *config = NULL;
  rh_status status = rh_model_files_json(folder, name, &config, error);
  if (status == RH_OK && config == NULL)
    status = rh_fail(error, RH_INVALID, "modules.json names %s, which is not there", name);
  if (status != RH_OK) return status;
  int64_t in = json_integer_value(json_object_get(config, "in_features"));
  int64_t out = json_integer_value(json_object_get(config, "out_features"));
  bool biased = !json_is_false(json_object_get(config, "bias"));
  const char *activation = json_string_value(json_object_get(config, "activation_function"));
  bool tanh = activation == NULL || rh_text_ends_with(activation, ".Tanh");
  bool known = tanh || rh_text_ends_with(activation, ".Identity");
  json_decref(config);
  if (in < 1 || out < 1 || in > 65536 || out > 65536)
    return rh_fail(error, RH_INVALID, "%s: in_features and out_features must be 1 to 65536", name);
  if (!known || files->dense_count == RH_DENSE_MAX)
    return refuse(files,
                  "the model has more dense layers, or other activation functions in them, than can be computed "
                  "here");
  int length = snprintf(weights, sizeof weights, "%s/%.200s/model.safetensors", folder, path);
  if (length < 0 || (size_t)length >= sizeof weights)
    return rh_fail(error, RH_INVALID, "the path of %s is too long", name);
  rh_dense *dense = &files->dense[files->dense_count];
  *dense = (rh_dense){.in = (size_t)in, .out = (size_t)out, .tanh = tanh};
  status = read_weights(weights, biased, files, dense, error);
  if (status == RH_OK && dense->weight != NULL) files->dense_count++;
  return status;
}
