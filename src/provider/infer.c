// SPDX-License-Identifier: Apache-2.0
//
// Embeddings as OpenAI's API has them, and the reranking that Jina, Cohere, vLLM and others share. Owns nothing beyond a call; pure;
// any thread. Answers are whole: these are never streamed.
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "provider/body.h"
#include "provider/reader.h"

#define DIMENSIONS_MAX 65536

// --- requests ------------------------------------------------------------------------------------------------------

static rh_status write_inputs(const rh_body *body, const rh_infer *infer) {
  rh_body_key(body, "input");
  rh_body_put(body, "[");
  for (size_t i = 0; i < infer->item_count; i++) {
    const rh_item *item = &infer->items[i];
    if (item->pair != NULL) return rh_body_refuse(body, "input", "it embeds single texts, not pairs");
    if ((item->text == NULL) != (infer->items[0].text == NULL))
      return rh_body_refuse(body, "input", "texts and token ids cannot be mixed");
    rh_body_next(body);
    if (item->text != NULL) {
      (void)rh_json_append_string(body->out, item->text, item->length);
      continue;
    }
    rh_body_put(body, "[");
    for (size_t k = 0; k < item->token_count; k++) {
      (void)rh_dynbuf_printf(body->out, "%s%" PRId32, k > 0 ? "," : "", item->tokens[k]);
    }
    rh_body_put(body, "]");
  }
  rh_body_put(body, "]");
  return RH_OK;
}

static rh_status write_embed(const rh_body *body, const rh_infer *infer) {
  if (infer->prompt != NULL)
    return rh_body_refuse(body, "prompt", "its API has no such field; put it before the texts");
  if (infer->prompt_name != NULL) return rh_body_refuse(body, "prompt_name", "its API has no such field");
  if (infer->normalize != RH_CHOICE_MODEL) return rh_body_refuse(body, "normalize", "its API has no such field");
  if (infer->cut_long) return rh_body_refuse(body, "truncate", "its API has no such field");
  rh_status status = write_inputs(body, infer);
  if (infer->dimensions > 0) rh_body_integer(body, "dimensions", infer->dimensions);
  if ((body->spec->quirks & RH_QUIRK_BASE64) != 0) rh_body_string(body, "encoding_format", "base64");
  return status;
}

static rh_status write_rerank(const rh_body *body, const rh_infer *infer) {
  if (infer->raw_scores) return rh_body_refuse(body, "raw_scores", "its API has no such field");
  if (infer->cut_long) return rh_body_refuse(body, "truncate", "its API has no such field");
  const rh_item *first = &infer->items[0];
  for (size_t i = 0; i < infer->item_count; i++) {
    const rh_item *item = &infer->items[i];
    if (item->text == NULL || item->pair == NULL)
      return rh_body_refuse(body, "documents", "it ranks texts, not token ids");
    if (item->length != first->length || memcmp(item->text, first->text, item->length) != 0)
      return rh_body_refuse(body, "query", "it takes one query at a time");
  }
  rh_body_key(body, "query");
  (void)rh_json_append_string(body->out, first->text, first->length);
  rh_body_key(body, "documents");
  rh_body_put(body, "[");
  for (size_t i = 0; i < infer->item_count; i++) {
    rh_body_next(body);
    (void)rh_json_append_string(body->out, infer->items[i].pair, infer->items[i].pair_length);
  }
  rh_body_put(body, "]");
  rh_body_integer(body, "top_n", (int64_t)infer->item_count);
  rh_body_bool(body, "return_documents", false);
  return RH_OK;
}

rh_status rh_body_write_infer(const rh_body *body, const char **path) {
  const rh_infer *infer = body->run->infer;
  rh_task task = body->run->task;
  bool known = task == RH_TASK_EMBED || task == RH_TASK_RERANK;
  if (!known || infer == NULL || infer->item_count == 0) {
    return rh_fail(body->error, RH_UNSUPPORTED, "%s cannot do the task \"%s\"", body->spec->name, rh_task_name(task));
  }
  *path = task == RH_TASK_EMBED ? "/embeddings" : "/rerank";
  return task == RH_TASK_EMBED ? write_embed(body, infer) : write_rerank(body, infer);
}

// --- answers -------------------------------------------------------------------------------------------------------

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Little-endian floats in base64. The count, or 0 when it is none.
static size_t decode_base64(const char *text, size_t length, float *out) {
  while (length > 0 && text[length - 1] == '=') length--;
  unsigned char word[4];
  size_t bytes = 0;
  uint32_t bits = 0;
  int held = 0;
  for (size_t i = 0; i < length; i++) {
    int value = base64_value(text[i]);
    if (value < 0) return 0;
    bits = (bits << 6) | (uint32_t)value;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    word[bytes % 4] = (unsigned char)(bits >> held);
    if (++bytes % 4 != 0) continue;
    uint32_t raw = word[0] | (uint32_t)word[1] << 8 | (uint32_t)word[2] << 16 | (uint32_t)word[3] << 24;
    memcpy(&out[bytes / 4 - 1], &raw, sizeof raw);
  }
  return bytes % 4 == 0 ? bytes / 4 : 0;
}

// A vector of `value` into a new array; NULL: it is none.
static float *read_vector(const json_t *value, size_t *count) {
  size_t most = json_is_string(value) ? json_string_length(value) / 5 + 1 : json_array_size(value);
  if (most == 0 || most > DIMENSIONS_MAX + 1) return NULL;
  float *vector = calloc(most + 1, sizeof *vector);
  if (vector == NULL) return NULL;
  *count = most;
  bool sound = true;
  if (json_is_string(value)) {
    *count = decode_base64(json_string_value(value), json_string_length(value), vector);
  } else {
    for (size_t i = 0; i < most; i++) {
      const json_t *number = json_array_get(value, i);
      sound = sound && json_is_number(number);
      vector[i] = (float)json_number_value(number);
    }
  }
  for (size_t i = 0; i < *count; i++) sound = sound && isfinite(vector[i]);
  if (sound && *count > 0) return vector;
  free(vector);
  return NULL;
}

// Which entry of `list` is about each item, by "index", or by order where there is none. NULL: some item is missing.
static const json_t **sort_by_index(const json_t *list, size_t items) {
  const json_t **sorted = calloc(items + 1, sizeof *sorted);
  if (sorted == NULL) return NULL;
  bool sound = json_array_size(list) == items;
  for (size_t i = 0; sound && i < items; i++) {
    const json_t *entry = json_array_get(list, i);
    int64_t index = (int64_t)i;
    (void)rh_reader_count(entry, "index", &index);
    sound = json_is_object(entry) && (uint64_t)index < items && sorted[index] == NULL;
    if (sound) sorted[index] = entry;
  }
  if (sound) return sorted;
  free(sorted);
  return NULL;
}

static void push_result(rh_protocol_reader *reader, uint32_t item, const json_t *entry) {
  rh_result result = {.item = item};
  if (reader->run->task == RH_TASK_RERANK) {
    const json_t *number = json_object_get(entry, "relevance_score");
    if (number == NULL) number = json_object_get(entry, "score");
    double value = json_number_value(number);
    if (!json_is_number(number) || !isfinite(value) || fabs(value) > 1e30) {
      rh_reader_fail(reader, "sent no score for document %u", (unsigned)item);
      return;
    }
    rh_score score = {.score = (float)value};
    result.kind = RH_RESULT_SCORES;
    result.scores = &score;
    result.count = 1;
    rh_reader_result(reader, &result);
    return;
  }
  float *vector = read_vector(json_object_get(entry, "embedding"), &result.count);
  if (vector == NULL) {
    rh_reader_fail(reader, "sent no vector for input %u", (unsigned)item);
    return;
  }
  result.kind = RH_RESULT_VECTOR;
  result.vector = vector;
  rh_reader_result(reader, &result);
  free(vector);
}

void rh_body_read_infer(rh_protocol_reader *reader, const json_t *root) {
  size_t items = reader->run->infer != NULL ? reader->run->infer->item_count : 0;
  const json_t *usage = json_object_get(root, "usage");
  if (rh_reader_count(usage, "prompt_tokens", &reader->usage.prompt_tokens) ||
      rh_reader_count(usage, "total_tokens", &reader->usage.prompt_tokens)) {
    reader->has_usage = true;
  }
  const json_t *list = rh_reader_array(reader, root, reader->run->task == RH_TASK_RERANK ? "results" : "data");
  const json_t **sorted = sort_by_index(list, items);
  if (sorted == NULL || items == 0) {
    rh_reader_fail(reader, "did not send one result for each of %zu inputs", items);
  } else {
    for (size_t i = 0; i < items && !reader->over; i++) push_result(reader, (uint32_t)i, sorted[i]);
  }
  free((void *)sorted);
  rh_reader_end(reader);
}
