// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the task "embed": prompts before the text; tokens' vectors to one, as the model's own files say; dense layers,
// normalization, and the first so many dimensions.
// Data owned: none. Threads: the engine thread.
// Not here: what the files say (sentence_files.c). Source of the formulas: the Pooling, Dense and Normalize modules and
// encode() of the sentence-transformers package.
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "task/internal.h"

// --- pooling -------------------------------------------------------------------------------------------------------

static void pool_max(const float *tokens, size_t from, size_t count, size_t width, float *out) {
  for (size_t d = 0; d < width; d++) out[d] = -1e9f;
  for (size_t t = from; t < count; t++) {
    for (size_t d = 0; d < width; d++) {
      if (tokens[t * width + d] > out[d]) out[d] = tokens[t * width + d];
    }
  }
}

// Sums in double: a text may have thousands of tokens.
static void pool_sum(const float *tokens, size_t from, size_t count, size_t width, rh_pooling mode, float *out) {
  double weights = 0;
  for (size_t t = from; t < count; t++) weights += mode == RH_POOLING_WEIGHTED ? (double)(t + 1) : 1;
  if (mode == RH_POOLING_MEAN_SQRT) weights = sqrt(weights);
  if (weights < 1e-9) weights = 1e-9;
  for (size_t d = 0; d < width; d++) {
    double sum = 0;
    for (size_t t = from; t < count; t++) {
      double weight = mode == RH_POOLING_WEIGHTED ? (double)(t + 1) : 1;
      sum += weight * (double)tokens[t * width + d];
    }
    out[d] = (float)(sum / weights);
  }
}

rh_status rh_embed_pool(unsigned pooling, const float *tokens, size_t count, size_t width, size_t skip, float *out) {
  if (count == 0 || pooling == 0) return RH_INVALID;
  size_t from = skip < count ? skip : count;
  for (unsigned mode = 1; mode < 1u << RH_POOLING_COUNT; mode <<= 1) {
    if ((pooling & mode) == 0) continue;
    if (mode == RH_POOLING_CLS) {
      memcpy(out, tokens, width * sizeof *out);
    } else if (mode == RH_POOLING_LAST) {
      memcpy(out, tokens + (count - 1) * width, width * sizeof *out);
    } else if (mode == RH_POOLING_MAX) {
      pool_max(tokens, from, count, width, out);
    } else {
      pool_sum(tokens, from, count, width, (rh_pooling)mode, out);
    }
    out += width;
  }
  return RH_OK;
}

void rh_embed_normalize(float *vector, size_t width) {
  double sum = 0;
  for (size_t d = 0; d < width; d++) sum += (double)vector[d] * (double)vector[d];
  double norm = sqrt(sum);
  if (norm < 1e-12) norm = 1e-12;
  for (size_t d = 0; d < width; d++) vector[d] = (float)((double)vector[d] / norm);
}

static void apply_dense(const rh_dense *dense, const float *in, float *out) {
  for (size_t o = 0; o < dense->out; o++) {
    const float *weight = dense->weight + o * dense->in;
    double sum = dense->bias != NULL ? (double)dense->bias[o] : 0;
    for (size_t i = 0; i < dense->in; i++) sum += (double)weight[i] * (double)in[i];
    out[o] = dense->tanh ? (float)tanh(sum) : (float)sum;
  }
}

// --- the task ------------------------------------------------------------------------------------------------------

static rh_status choose_prompt(rh_inference_run *run, rh_error *error) {
  const rh_model_files *files = &run->inference->files;
  const rh_infer *infer = run->infer;
  run->prompt = files->default_prompt;
  if (infer->prompt != NULL) {
    run->prompt = infer->prompt;
  } else if (infer->prompt_name != NULL) {
    run->prompt = rh_model_files_prompt(files, infer->prompt_name);
    if (run->prompt == NULL) {
      char names[256] = "";
      for (size_t i = 0, used = 0; i < files->prompt_count && used + 64 < sizeof names; i++) {
        int wrote = snprintf(names + used, sizeof names - used, "%s%.40s", i > 0 ? ", " : "", files->prompts[i].name);
        if (wrote > 0) used += (size_t)wrote;
      }
      return rh_fail_param(error, RH_INVALID, "prompt_name", "the model has no prompt \"%.64s\"; it has %s",
                           infer->prompt_name, names[0] != '\0' ? names : "none");
    }
  }
  if (run->prompt != NULL && run->prompt[0] == '\0') run->prompt = NULL;
  if (run->prompt == NULL || files->include_prompt) return RH_OK;
  return rh_text_encoder_prompt(&run->inference->encoder, run->prompt, &run->prompt_tokens, error);
}

static rh_status check(rh_inference_run *run, rh_error *error) {
  const rh_inference *inference = run->inference;
  const rh_infer *infer = run->infer;
  if (inference->files.unsupported[0] != '\0' && inference->compute.output_tokens) {
    return rh_fail(error, RH_UNSUPPORTED, "%s", inference->files.unsupported);
  }
  int64_t most = inference->info.dimensions;
  if (infer->dimensions < 0 || (most > 0 && infer->dimensions > most)) {
    return rh_fail_param(error, RH_INVALID, "dimensions",
                         "this model's vectors have %lld dimensions, %lld cannot be kept", (long long)most,
                         (long long)infer->dimensions);
  }
  run->dimensions = (size_t)infer->dimensions;
  run->normalize =
      infer->normalize == RH_CHOICE_YES || (infer->normalize == RH_CHOICE_MODEL && inference->files.normalize);
  return choose_prompt(run, error);
}

static rh_status text(rh_inference_run *run, const rh_item *item, uint32_t part, rh_row_text *out, rh_error *error) {
  (void)part;
  if (run->prompt == NULL) return RH_OK;
  size_t head = strlen(run->prompt), length = head + item->length;
  if (length + 1 > run->joined_room) {
    char *joined = realloc(run->joined, length + 1);
    if (joined == NULL) return rh_fail(error, RH_NO_MEMORY, "There is no memory for a prompt and a text.");
    run->joined = joined;
    run->joined_room = length + 1;
  }
  memcpy(run->joined, run->prompt, head);
  memcpy(run->joined + head, item->text, item->length);
  run->joined[length] = '\0';
  out->text = run->joined;
  out->length = length;
  return RH_OK;
}

static size_t count_modes(unsigned pooling) {
  size_t count = 0;
  for (; pooling != 0; pooling &= pooling - 1) count++;
  return count;
}

// Through the dense layers; `vector` and `other` have room for the widest.
static rh_status apply_layers(const rh_model_files *files, float **vector, float **other, size_t *width,
                              rh_error *error) {
  for (size_t i = 0; i < files->dense_count; i++) {
    const rh_dense *dense = &files->dense[i];
    if (dense->in != *width) {
      return rh_fail(error, RH_INVALID, "the model's dense layer takes %zu numbers, but %zu come out before it",
                     dense->in, *width);
    }
    apply_dense(dense, *vector, *other);
    float *swap = *vector;
    *vector = *other;
    *other = swap;
    *width = dense->out;
  }
  return RH_OK;
}

static rh_status take(rh_inference_run *run, rh_item_state *item, const rh_row *row, const rh_output *output,
                      rh_error *error) {
  const rh_model_files *files = &run->inference->files;
  size_t width = output->width * (output->tokens > 0 ? count_modes(files->pooling) : 1), room = width;
  for (size_t i = 0; output->tokens > 0 && i < files->dense_count; i++) {
    if (files->dense[i].out > room) room = files->dense[i].out;
  }
  float *vector = malloc(room * sizeof *vector), *other = malloc(room * sizeof *other);
  rh_status status = RH_OK;
  if (vector == NULL || other == NULL) status = rh_fail(error, RH_NO_MEMORY, "There is no memory for a vector.");
  if (status == RH_OK && output->tokens > 0) {
    status = rh_embed_pool(files->pooling, output->values, output->tokens, output->width, row->prompt, vector);
    if (status == RH_OK) status = apply_layers(files, &vector, &other, &width, error);
  } else if (status == RH_OK) {
    memcpy(vector, output->values, width * sizeof *vector);
  }
  free(other);
  if (status != RH_OK) {
    free(vector);
    return status;
  }
  if (run->dimensions > 0 && run->dimensions < width) width = run->dimensions;
  if (run->normalize) rh_embed_normalize(vector, width);
  item->block = vector;
  item->count = width;
  return RH_OK;
}

const rh_task_ops rh_task_embed = {
    .output = RH_OUTPUT_EITHER, .result = RH_RESULT_VECTOR, .check = check, .text = text, .take = take};
