// SPDX-License-Identifier: Apache-2.0
//
// What RUN and EVENT hold for tasks that do not generate: inputs on the way there, one result on the way back. Texts and
// options stand in the JSON; token ids, vectors and tensors in the binary tail, told apart by offsets into it. Pure: the
// writers append to the caller's buffers, the readers copy into the caller's arena (a frame may lie at any address).
#include <math.h>
#include <string.h>

#include "wire/internal.h"

static const char *const aggregations[] = {
    [RH_AGGREGATION_SIMPLE] = "simple",   [RH_AGGREGATION_NONE] = "none", [RH_AGGREGATION_FIRST] = "first",
    [RH_AGGREGATION_AVERAGE] = "average", [RH_AGGREGATION_MAX] = "max",
};
#define AGGREGATION_COUNT (sizeof aggregations / sizeof aggregations[0])

static void put_text(rh_dynbuf *out, const char *before, const char *text, size_t length) {
  (void)rh_dynbuf_append_text(out, before);
  (void)rh_json_append_string(out, text, length);
}

static void put_string(rh_dynbuf *out, const char *before, const char *text) {
  if (text != NULL) put_text(out, before, text, strlen(text));
}

// --- tensors, both ways --------------------------------------------------------------------------------------------

// [["name", "type", [shape], at, bytes], ...]
static void put_tensors(rh_dynbuf *json, rh_dynbuf *tail, const rh_tensor *tensors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const rh_tensor *tensor = &tensors[i];
    put_text(json, i == 0 ? ",\"tensors\":[[" : ",[", tensor->name, strlen(tensor->name));
    (void)rh_dynbuf_printf(json, ",\"%s\",[", rh_dtype_name(tensor->type));
    for (size_t k = 0; k < tensor->rank; k++) {
      (void)rh_dynbuf_printf(json, k == 0 ? "%lld" : ",%lld", (long long)tensor->shape[k]);
    }
    (void)rh_dynbuf_printf(json, "],%zu,%zu]", tail->length, tensor->bytes);
    if (tensor->bytes > 0) (void)rh_dynbuf_append(tail, tensor->data, tensor->bytes);
  }
  if (count > 0) (void)rh_dynbuf_append_char(json, ']');
}

// So many bytes at an offset of the tail, copied to where any type may lie. NULL: they are not there, or no memory.
static void *copy_tail(const rh_frame *frame, rh_arena *arena, const json_t *at, size_t bytes) {
  json_int_t offset = json_integer_value(at);
  if (!json_is_integer(at) || offset < 0 || (uint64_t)offset > frame->binary_length) return NULL;
  if (bytes > frame->binary_length - (size_t)offset) return NULL;
  void *copy = rh_arena_alloc(arena, bytes > 0 ? bytes : 1);
  if (copy != NULL && bytes > 0) memcpy(copy, frame->binary + offset, bytes);
  return copy;
}

static bool read_shape(const json_t *list, rh_tensor *tensor) {
  tensor->rank = json_array_size(list);
  if (!json_is_array(list) || tensor->rank > RH_TENSOR_RANK_MAX) return false;
  for (size_t i = 0; i < tensor->rank; i++) {
    const json_t *size = json_array_get(list, i);
    if (!json_is_integer(size)) return false;
    tensor->shape[i] = json_integer_value(size);
  }
  return true;
}

static bool read_tensor(const json_t *row, const rh_frame *frame, rh_arena *arena, rh_tensor *tensor) {
  const json_t *bytes = json_array_get(row, 4);
  tensor->name = rh_arena_strdup(arena, json_string_value(json_array_get(row, 0)));
  tensor->type = rh_dtype_from_name(json_string_value(json_array_get(row, 1)));
  if (tensor->name == NULL || !read_shape(json_array_get(row, 2), tensor)) return false;
  if (!json_is_integer(bytes) || json_integer_value(bytes) < 0) return false;
  tensor->bytes = (size_t)json_integer_value(bytes);
  tensor->data = copy_tail(frame, arena, json_array_get(row, 3), tensor->bytes);
  return tensor->data != NULL && rh_tensor_check(tensor, NULL) == RH_OK;
}

static const rh_tensor *read_tensors(rh_reader *reader, const rh_frame *frame, rh_arena *arena, size_t *count) {
  const json_t *rows = rh_frame_reader_array(reader, "tensors");
  *count = json_array_size(rows);
  if (*count == 0) return NULL;
  rh_tensor *tensors = *count > RH_TENSORS_MAX ? NULL : rh_arena_alloc_array(arena, *count, sizeof *tensors);
  for (size_t i = 0; tensors != NULL && i < *count; i++) {
    if (!read_tensor(json_array_get(rows, i), frame, arena, &tensors[i])) tensors = NULL;
  }
  if (tensors == NULL) rh_frame_reader_fail(reader, "a tensor has no name, or its type, shape and bytes do not agree");
  return tensors;
}

// --- RUN -----------------------------------------------------------------------------------------------------------

// "text", ["text","pair"], or [offset, count] for token ids. A pair whose first text is that of the item before says
// null for it: a query with a thousand documents goes over once.
static void put_item(rh_dynbuf *json, rh_dynbuf *tail, const rh_item *item, const rh_item *before) {
  if (item->text == NULL) {
    (void)rh_dynbuf_printf(json, "[%zu,%zu]", tail->length, item->token_count);
    if (item->token_count > 0) (void)rh_dynbuf_append(tail, item->tokens, item->token_count * sizeof *item->tokens);
    return;
  }
  if (item->pair == NULL) {
    (void)rh_json_append_string(json, item->text, item->length);
    return;
  }
  bool same = before != NULL && before->text == item->text && before->length == item->length;
  if (same)
    (void)rh_dynbuf_append_text(json, "[null");
  else
    put_text(json, "[", item->text, item->length);
  put_text(json, ",", item->pair, item->pair_length);
  (void)rh_dynbuf_append_char(json, ']');
}

static void put_strings(rh_dynbuf *json, const char *key, const char *const *texts, size_t count) {
  for (size_t i = 0; i < count; i++) put_string(json, i == 0 ? key : ",", texts[i]);
  if (count > 0) (void)rh_dynbuf_append_char(json, ']');
}

static void put_choice(rh_dynbuf *json, const char *key, rh_choice choice) {
  if (choice == RH_CHOICE_MODEL) return;
  (void)rh_dynbuf_printf(json, ",\"%s\":%s", key, choice == RH_CHOICE_YES ? "true" : "false");
}

void rh_infer_write(rh_dynbuf *json, rh_dynbuf *tail, const rh_infer *infer) {
  (void)rh_dynbuf_printf(json, ",\"infer\":{\"dimensions\":%lld,\"top_k\":%lld", (long long)infer->dimensions,
                         (long long)infer->top_k);
  put_string(json, ",\"prompt_name\":", infer->prompt_name);
  put_string(json, ",\"prompt\":", infer->prompt);
  put_choice(json, "normalize", infer->normalize);
  put_choice(json, "multi_label", infer->multi_label);
  if (infer->refuse_long) (void)rh_dynbuf_append_text(json, ",\"refuse_long\":true");
  if (infer->cut_long) (void)rh_dynbuf_append_text(json, ",\"cut_long\":true");
  if (infer->has_stride) (void)rh_dynbuf_printf(json, ",\"stride\":%lld", (long long)infer->stride);
  if (infer->raw_scores) (void)rh_dynbuf_append_text(json, ",\"raw_scores\":true");
  if (infer->aggregation != RH_AGGREGATION_SIMPLE) {
    put_string(json, ",\"aggregation\":", aggregations[infer->aggregation]);
  }
  put_strings(json, ",\"labels\":[", infer->labels, infer->label_count);
  put_string(json, ",\"hypothesis\":", infer->hypothesis);
  put_strings(json, ",\"outputs\":[", infer->outputs, infer->output_count);
  put_tensors(json, tail, infer->tensors, infer->tensor_count);
  for (size_t i = 0; i < infer->item_count; i++) {
    (void)rh_dynbuf_append_text(json, i == 0 ? ",\"items\":[" : ",");
    put_item(json, tail, &infer->items[i], i > 0 ? &infer->items[i - 1] : NULL);
  }
  (void)rh_dynbuf_append_text(json, infer->item_count > 0 ? "]}" : "}");
}

// Empty texts share one place: a run may hold thousands of them.
static const char *copy_text(const json_t *value, rh_arena *arena, size_t *length) {
  *length = json_string_length(value);
  if (!json_is_string(value)) return NULL;
  return *length == 0 ? "" : rh_arena_strndup(arena, json_string_value(value), *length);
}

static bool read_tokens(const json_t *row, const rh_frame *frame, rh_arena *arena, rh_item *item) {
  const json_t *count = json_array_get(row, 1);
  json_int_t ids = json_integer_value(count);
  if (!json_is_integer(count) || ids < 0 || (uint64_t)ids > frame->binary_length / sizeof(int32_t)) return false;
  item->token_count = (size_t)ids;
  item->tokens = copy_tail(frame, arena, json_array_get(row, 0), item->token_count * sizeof(int32_t));
  return item->tokens != NULL;
}

static bool read_item(const json_t *value, const rh_frame *frame, rh_arena *arena, rh_item *item,
                      const rh_item *before) {
  if (json_is_string(value)) {
    item->text = copy_text(value, arena, &item->length);
    return item->text != NULL;
  }
  const json_t *first = json_array_get(value, 0);
  if (json_is_integer(first)) return read_tokens(value, frame, arena, item);
  if (json_is_null(first) && before != NULL) {
    item->text = before->text;
    item->length = before->length;
  } else {
    item->text = copy_text(first, arena, &item->length);
  }
  item->pair = copy_text(json_array_get(value, 1), arena, &item->pair_length);
  return item->text != NULL && item->pair != NULL;
}

static void read_items(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_infer *infer) {
  const json_t *rows = rh_frame_reader_array(reader, "items");
  infer->item_count = json_array_size(rows);
  if (infer->item_count == 0) return;
  rh_item *items =
      infer->item_count > RH_ITEMS_MAX ? NULL : rh_arena_alloc_array(arena, infer->item_count, sizeof *items);
  for (size_t i = 0; items != NULL && i < infer->item_count; i++) {
    const rh_item *before = i > 0 ? &items[i - 1] : NULL;
    if (!read_item(json_array_get(rows, i), frame, arena, &items[i], before)) items = NULL;
  }
  if (items == NULL)
    rh_frame_reader_fail(reader, "an item of RUN is no text, pair or row of tokens, or there are too many");
  infer->items = items;
}

static const char *const *read_strings(rh_reader *reader, const char *key, size_t most, rh_arena *arena,
                                       size_t *count) {
  const json_t *rows = rh_frame_reader_array(reader, key);
  *count = json_array_size(rows);
  if (*count == 0) return NULL;
  const char **texts = *count > most ? NULL : rh_arena_alloc_array(arena, *count, sizeof *texts);
  for (size_t i = 0; texts != NULL && i < *count; i++) {
    texts[i] = rh_arena_strdup(arena, json_string_value(json_array_get(rows, i)));
    if (texts[i] == NULL) texts = NULL;
  }
  if (texts == NULL) rh_frame_reader_fail(reader, "RUN has labels or outputs that are no strings, or too many");
  return texts;
}

static const char *read_copy(rh_reader *reader, const char *key, rh_arena *arena) {
  const char *text = rh_frame_reader_string(reader, key);
  const char *copy = rh_arena_strdup(arena, text);
  if (text != NULL && copy == NULL) rh_frame_reader_fail(reader, "memory is short");
  return copy;
}

static rh_choice read_choice(rh_reader *reader, const char *key) {
  const json_t *value = json_object_get(reader->object, key);
  if (value == NULL || json_is_null(value)) return RH_CHOICE_MODEL;
  return rh_frame_reader_bool(reader, key, false) ? RH_CHOICE_YES : RH_CHOICE_NO;
}

static void read_aggregation(rh_reader *reader, rh_infer *infer) {
  const char *name = rh_frame_reader_string(reader, "aggregation");
  if (name == NULL) return;
  size_t i = 0;
  while (i < AGGREGATION_COUNT && strcmp(name, aggregations[i]) != 0) i++;
  if (i == AGGREGATION_COUNT)
    rh_frame_reader_fail(reader, "RUN names an aggregation that is not known");
  else
    infer->aggregation = (rh_aggregation)i;
}

void rh_infer_read(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_infer *infer) {
  *infer = (rh_infer){0};
  infer->dimensions = rh_frame_reader_int(reader, "dimensions", 0);
  infer->top_k = rh_frame_reader_int(reader, "top_k", 0);
  infer->prompt_name = read_copy(reader, "prompt_name", arena);
  infer->prompt = read_copy(reader, "prompt", arena);
  infer->normalize = read_choice(reader, "normalize");
  infer->multi_label = read_choice(reader, "multi_label");
  infer->refuse_long = rh_frame_reader_bool(reader, "refuse_long", false);
  infer->cut_long = rh_frame_reader_bool(reader, "cut_long", false);
  infer->stride = rh_frame_reader_int(reader, "stride", -1);
  infer->has_stride = infer->stride >= 0;
  if (!infer->has_stride) infer->stride = 0;
  infer->raw_scores = rh_frame_reader_bool(reader, "raw_scores", false);
  read_aggregation(reader, infer);
  infer->labels = read_strings(reader, "labels", RH_LABELS_MAX, arena, &infer->label_count);
  infer->hypothesis = read_copy(reader, "hypothesis", arena);
  infer->outputs = read_strings(reader, "outputs", RH_TENSORS_MAX, arena, &infer->output_count);
  infer->tensors = read_tensors(reader, frame, arena, &infer->tensor_count);
  read_items(reader, frame, arena, infer);
  if (infer->dimensions < 0 || infer->top_k < 0)
    rh_frame_reader_fail(reader, "RUN is out of bounds in dimensions or top_k");
  if (infer->item_count + infer->tensor_count == 0) rh_frame_reader_fail(reader, "RUN has neither items nor tensors");
}

// --- EVENT result --------------------------------------------------------------------------------------------------

static const char *const result_names[] = {
    [RH_RESULT_VECTOR] = "vector",   [RH_RESULT_SCORES] = "scores", [RH_RESULT_SPANS] = "spans",
    [RH_RESULT_TENSORS] = "tensors", [RH_RESULT_FAILED] = "failed",
};
#define RESULT_KINDS (sizeof result_names / sizeof result_names[0])

// JSON has no words for what is not finite: null, which is read as NaN.
static void put_score(rh_dynbuf *json, float score) {
  if (isfinite(score))
    (void)rh_dynbuf_printf(json, ",%.9g", (double)score);
  else
    (void)rh_dynbuf_append_text(json, ",null");
}

static void put_scores(rh_dynbuf *json, const rh_result *result) {
  (void)rh_dynbuf_append_text(json, ",\"scores\":[");
  for (size_t i = 0; i < result->count; i++) {
    const char *label = result->scores[i].label;
    (void)rh_dynbuf_append_text(json, i == 0 ? "[" : ",[");
    put_string(json, "", label);
    if (label == NULL) (void)rh_dynbuf_append_text(json, "null");
    put_score(json, result->scores[i].score);
    (void)rh_dynbuf_append_char(json, ']');
  }
  (void)rh_dynbuf_append_char(json, ']');
}

static void put_spans(rh_dynbuf *json, const rh_result *result) {
  (void)rh_dynbuf_append_text(json, ",\"spans\":[");
  for (size_t i = 0; i < result->count; i++) {
    const rh_span *span = &result->spans[i];
    put_string(json, i == 0 ? "[" : ",[", span->label);
    put_score(json, span->score);
    put_string(json, ",", span->text);
    (void)rh_dynbuf_printf(json, ",%u,%u,%d]", span->start, span->end, span->index);
  }
  (void)rh_dynbuf_append_char(json, ']');
}

void rh_result_write(rh_dynbuf *json, rh_dynbuf *tail, const rh_result *result) {
  (void)rh_dynbuf_printf(json, ",\"item\":%u,\"kind\":\"%s\",\"tokens\":%lld", result->item, result_names[result->kind],
                         (long long)result->tokens);
  if (result->truncated) (void)rh_dynbuf_append_text(json, ",\"truncated\":true");
  if (result->windows > 0) (void)rh_dynbuf_printf(json, ",\"windows\":%u", result->windows);
  switch (result->kind) {
    case RH_RESULT_VECTOR: (void)rh_dynbuf_append(tail, result->vector, result->count * sizeof(float)); break;
    case RH_RESULT_SCORES: put_scores(json, result); break;
    case RH_RESULT_SPANS: put_spans(json, result); break;
    case RH_RESULT_TENSORS: put_tensors(json, tail, result->tensors, result->count); break;
    case RH_RESULT_FAILED: rh_error_write(json, &result->error); break;
  }
}

static float read_score(const json_t *value) { return json_is_number(value) ? (float)json_number_value(value) : NAN; }

static bool read_score_row(const json_t *row, rh_arena *arena, rh_score *score) {
  const json_t *label = json_array_get(row, 0);
  score->score = read_score(json_array_get(row, 1));
  score->label = rh_arena_strdup(arena, json_string_value(label));
  return json_array_size(row) >= 2 && (score->label != NULL || json_is_null(label));
}

static bool read_place(const json_t *value, uint32_t *out) {
  json_int_t place = json_integer_value(value);
  *out = (uint32_t)place;
  return json_is_integer(value) && place >= 0 && place <= UINT32_MAX;
}

static bool read_span_row(const json_t *row, rh_arena *arena, rh_span *span) {
  json_int_t index = json_integer_value(json_array_get(row, 5));
  span->label = rh_arena_strdup(arena, json_string_value(json_array_get(row, 0)));
  span->score = read_score(json_array_get(row, 1));
  span->text = rh_arena_strdup(arena, json_string_value(json_array_get(row, 2)));
  span->index = index >= -1 && index <= INT32_MAX ? (int32_t)index : -1;
  return span->label != NULL && span->text != NULL && read_place(json_array_get(row, 3), &span->start) &&
         read_place(json_array_get(row, 4), &span->end) && span->start <= span->end;
}

static void read_rows(rh_reader *reader, rh_arena *arena, rh_result *result) {
  bool spans = result->kind == RH_RESULT_SPANS;
  const json_t *rows = rh_frame_reader_array(reader, spans ? "spans" : "scores");
  result->count = json_array_size(rows);
  size_t bytes = spans ? sizeof(rh_span) : sizeof(rh_score);
  void *list = rh_arena_alloc_array(arena, result->count + 1, bytes);
  bool whole = list != NULL;
  for (size_t i = 0; whole && i < result->count; i++) {
    const json_t *row = json_array_get(rows, i);
    whole = spans ? read_span_row(row, arena, (rh_span *)list + i) : read_score_row(row, arena, (rh_score *)list + i);
  }
  if (!whole) rh_frame_reader_fail(reader, "a result's scores or spans are malformed");
  result->spans = spans ? list : NULL;
  result->scores = spans ? NULL : list;
}

static void read_vector(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_result *result) {
  float *vector = rh_arena_alloc(arena, frame->binary_length + 1);
  result->count = frame->binary_length / sizeof *vector;
  if (vector == NULL || result->count == 0 || frame->binary_length % sizeof *vector != 0) {
    rh_frame_reader_fail(reader, "a result's vector is no row of floats");
    return;
  }
  memcpy(vector, frame->binary, frame->binary_length);
  result->vector = vector;
}

void rh_result_read(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_result *result) {
  *result = (rh_result){0};
  int64_t item = rh_frame_reader_int(reader, "item", -1);
  if (item < 0 || item >= RH_ITEMS_MAX) rh_frame_reader_fail(reader, "a result is for an item that cannot be");
  result->item = (uint32_t)item;
  result->tokens = rh_frame_reader_int(reader, "tokens", 0);
  result->truncated = rh_frame_reader_bool(reader, "truncated", false);
  int64_t windows = rh_frame_reader_int(reader, "windows", 0);
  if (windows < 0 || windows > RH_WINDOWS_MAX) rh_frame_reader_fail(reader, "a result counts windows that cannot be");
  result->windows = (uint32_t)windows;
  const char *name = rh_frame_reader_string(reader, "kind");
  size_t kind = 0;
  while (kind < RESULT_KINDS && (name == NULL || strcmp(name, result_names[kind]) != 0)) kind++;
  if (kind == RESULT_KINDS) rh_frame_reader_fail(reader, "a result of a kind that is not known");
  if (reader->status != RH_OK) return;
  result->kind = (rh_result_kind)kind;
  switch (result->kind) {
    case RH_RESULT_VECTOR: read_vector(reader, frame, arena, result); break;
    case RH_RESULT_SCORES:
    case RH_RESULT_SPANS: read_rows(reader, arena, result); break;
    case RH_RESULT_TENSORS: result->tensors = read_tensors(reader, frame, arena, &result->count); break;
    case RH_RESULT_FAILED: rh_error_read(reader, &result->error); break;
  }
}
