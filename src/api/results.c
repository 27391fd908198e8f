// SPDX-License-Identifier: Apache-2.0
//
// Results of tasks that do not generate, as JSON: vectors, labels, entities, ranks, and how the work was done. Writers only;
// they keep nothing. Tensors are in tensors_out.c.
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/base64.h"
#include "api/infer.h"

void rh_put_vector(rh_dynbuf *out, const rh_result *result, bool base64) {
  assert(result->kind == RH_RESULT_VECTOR);
  // Every machine we build for is little endian, which is what clients expect.
  if (base64)
    rh_put_base64(out, result->vector, result->count * sizeof *result->vector);
  else
    rh_put_floats(out, result->vector, result->count);
}

void rh_put_labels(rh_dynbuf *out, const rh_result *result) {
  rh_put(out, "[");
  for (size_t i = 0; i < result->count; i++) {
    rh_put(out, i == 0 ? "{\"label\":" : ",{\"label\":");
    rh_put_string_or_null(out, result->scores[i].label);
    rh_put(out, ",\"score\":");
    rh_put_float(out, result->scores[i].score);
    rh_put(out, "}");
  }
  rh_put(out, "]");
}

// The names of transformers' pipeline: "entity_group" for spans, "entity" with the token's index for single tokens.
void rh_put_entities(rh_dynbuf *out, const rh_result *result) {
  rh_put(out, "[");
  for (size_t i = 0; i < result->count; i++) {
    const rh_span *span = &result->spans[i];
    if (i > 0) rh_put(out, ",");
    rh_put(out, span->index >= 0 ? "{\"entity\":" : "{\"entity_group\":");
    rh_put_string(out, span->label);
    rh_put(out, ",\"score\":");
    rh_put_float(out, span->score);
    if (span->index >= 0) {
      rh_put(out, ",\"index\":");
      rh_put_int(out, span->index);
    }
    rh_put(out, ",\"word\":");
    rh_put_string(out, span->text);
    rh_put(out, ",\"start\":");
    rh_put_int(out, span->start);
    rh_put(out, ",\"end\":");
    rh_put_int(out, span->end);
    rh_put(out, "}");
  }
  rh_put(out, "]");
}

static void put_word(rh_dynbuf *out, const char *name, const char *word) {
  rh_put(out, name);
  rh_put_string_or_null(out, word);
}

void rh_api_put_acceleration(rh_dynbuf *out, const rh_encoder *encoder) {
  const rh_model_info *info = encoder->meta->info;
  rh_usage usage = rh_encoder_usage(encoder);
  put_word(out, "\"acceleration\":{\"engine\":", info == NULL ? NULL : info->engine);
  put_word(out, ",\"execution_provider\":", info == NULL ? NULL : info->acceleration);
  put_word(out, ",\"quantization\":", info == NULL ? NULL : info->quantization);
  rh_put(out, ",\"batch_size\":");
  if (usage.work.batch_items > 0) {
    rh_put_int(out, usage.work.batch_items);
    rh_put(out, ",\"padding\":");
    rh_put_number(out, usage.work.padding);
  } else {
    rh_put(out, "null,\"padding\":null");
  }
  if (info != NULL && info->fallback[0] != '\0') put_word(out, ",\"fallback\":", info->fallback);
  rh_put(out, "}");
}

void rh_infer_put_usage(rh_dynbuf *out, const rh_encoder *encoder) {
  rh_usage usage = rh_encoder_usage(encoder);
  rh_put(out, "{\"prompt_tokens\":");
  rh_put_int(out, usage.prompt_tokens);
  rh_put(out, ",\"total_tokens\":");
  rh_put_int(out, usage.prompt_tokens + usage.completion_tokens);
  rh_put(out, "}");
}

void rh_infer_note_truncated(rh_encoder *encoder, const rh_result *result) {
  (void)rh_dynbuf_printf(&encoder->truncated, encoder->truncated.length == 0 ? "%u" : ",%u", result->item);
}

void rh_infer_put_truncated(rh_dynbuf *out, const rh_encoder *encoder) {
  if (encoder->truncated.length == 0) return;
  rh_put(out, ",\"truncated\":[");
  rh_put_buf(out, &encoder->truncated);
  rh_put(out, "]");
}

// --- ranks ---------------------------------------------------------------------------------------------------------

typedef struct ranked {
  float score;
  size_t place;
} ranked;

static int better_first(const void *left, const void *right) {
  const ranked *a = left;
  const ranked *b = right;
  if (isnan(a->score) != isnan(b->score)) return isnan(a->score) ? 1 : -1;
  if (a->score > b->score) return -1;
  if (a->score < b->score) return 1;
  return a->place < b->place ? -1 : 1;
}

size_t *rh_api_rank(const float *scores, size_t count) {
  ranked *list = calloc(count + 1, sizeof *list);
  size_t *order = calloc(count + 1, sizeof *order);
  if (list == NULL || order == NULL) {
    free(list);
    free(order);
    return NULL;
  }
  for (size_t i = 0; i < count; i++) list[i] = (ranked){.score = scores[i], .place = i};
  qsort(list, count, sizeof *list, better_first);
  for (size_t i = 0; i < count; i++) order[i] = list[i].place;
  free(list);
  return order;
}

rh_status rh_encoder_fail_item(rh_encoder *encoder, const rh_result *result, const char *field) {
  char where[64];
  assert(result->kind == RH_RESULT_FAILED);
  if (encoder->item_count > 1)
    (void)snprintf(where, sizeof where, "%s[%u]", field, result->item);
  else
    (void)snprintf(where, sizeof where, "%s", field);
  rh_status status = result->error.status;
  return rh_encoder_fail(encoder, status, where, "\"%s\": %s", where, result->error.message);
}
