// SPDX-License-Identifier: Apache-2.0
//
// Purpose: read an importance matrix in its GGUF form. Format: llama.cpp's tools/imatrix/README.md: sums of the squares of
// what went into a tensor's columns, and over how many tokens, for each expert where there are several.
// Data owned: the entries. Threads: one. Not here: making one; the older binary form.
#include "convert/imatrix.h"

#include <ggml.h>
#include <gguf.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

#define SUMS ".in_sum2"
#define COUNTS ".counts"

// The mean of the squares; a part that nothing went through counts as usual.
static rh_status average(const struct ggml_tensor *sums, const struct ggml_tensor *counts, float *out,
                         rh_error *error) {
  int64_t values = ggml_nelements(sums), parts = ggml_nelements(counts);
  const float *from = sums->data, *tokens = counts->data;
  if (parts < 1 || values % parts != 0)
    return rh_fail(error, RH_INVALID, "its counts for %s do not fit its sums", sums->name);
  int64_t each = values / parts;
  for (int64_t i = 0; i < values; i++) {
    float count = tokens[i / each];
    out[i] = count > 0.0F ? from[i] / count : 1.0F;
    if (!isfinite(out[i]) || out[i] < 0.0F)
      return rh_fail(error, RH_INVALID, "%s holds numbers that cannot be", sums->name);
  }
  return RH_OK;
}

static rh_status add_entry(struct ggml_context *tensors, const struct ggml_tensor *sums, rh_imatrix *out,
                           rh_error *error) {
  char name[GGML_MAX_NAME + sizeof COUNTS];
  size_t length = strlen(sums->name) - strlen(SUMS);
  memcpy(name, sums->name, length);
  memcpy(name + length, COUNTS, sizeof COUNTS);
  const struct ggml_tensor *counts = ggml_get_tensor(tensors, name);
  if (counts == NULL || counts->type != GGML_TYPE_F32 || sums->type != GGML_TYPE_F32)
    return rh_fail(error, RH_INVALID, "%s has no counts, or is not of type f32", sums->name);
  float *values = calloc((size_t)ggml_nelements(sums) + 1, sizeof *values);
  char *own = strndup(sums->name, length);
  if (values == NULL || own == NULL) {
    free(values);
    free(own);
    return rh_fail(error, RH_NO_MEMORY, "out of memory for the importance matrix");
  }
  out->entries[out->count++] = (struct llama_model_imatrix_data){own, values, (size_t)ggml_nelements(sums)};
  return average(sums, counts, values, error);
}

static rh_status read_entries(struct gguf_context *gguf, struct ggml_context *tensors, rh_imatrix *out,
                              rh_error *error) {
  int64_t count = gguf_get_n_tensors(gguf);
  out->entries = calloc((size_t)count + 1, sizeof *out->entries);
  if (out->entries == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the importance matrix");
  for (int64_t i = 0; i < count; i++) {
    const struct ggml_tensor *tensor = ggml_get_tensor(tensors, gguf_get_tensor_name(gguf, i));
    if (tensor == NULL || !rh_text_ends_with(tensor->name, SUMS)) continue;
    rh_status status = add_entry(tensors, tensor, out, error);
    if (status != RH_OK) return status;
  }
  return out->count > 0 ? RH_OK : rh_fail(error, RH_INVALID, "it has no sums; it is no importance matrix");
}

rh_status rh_imatrix_read(const char *path, rh_imatrix *out, rh_error *error) {
  *out = (rh_imatrix){0};
  if (access(path, R_OK) != 0) return rh_fail(error, RH_NOT_FOUND, "cannot read %s", path);
  struct ggml_context *tensors = NULL;
  struct gguf_context *gguf = gguf_init_from_file(path, (struct gguf_init_params){.ctx = &tensors});
  if (gguf == NULL)
    return rh_fail(error, RH_INVALID, "%s is no importance matrix in GGUF form, as llama-imatrix writes it now", path);
  rh_error inner = {0};
  rh_status status = read_entries(gguf, tensors, out, &inner);
  gguf_free(gguf);
  ggml_free(tensors);
  if (status == RH_OK) return RH_OK;
  rh_imatrix_free(out);
  return rh_fail(error, status, "%s: %s", path, inner.message);
}

void rh_imatrix_free(rh_imatrix *self) {
  for (size_t i = 0; i < self->count; i++) {
    free((void *)(uintptr_t)self->entries[i].name);
    free((void *)(uintptr_t)self->entries[i].data);
  }
  free(self->entries);
  *self = (rh_imatrix){0};
}
