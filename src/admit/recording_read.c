// SPDX-License-Identifier: Apache-2.0
//
// Recordings: from bytes back to one event. The same reader serves our own bytes and a stranger's (whose texts are checked too): every
// length is held against what is there, so that damage is an answer and not a crash. Owns only scratch room; any thread. Who calls
// it is in recording_replay.c and recording_compact.c.
#include <stdlib.h>
#include <string.h>

#include "admit/recording_private.h"
#include "base/utf8.h"

#define SCRATCH_MIN 1024

// After damage every read gives 0 or "" and `damaged` stays: looked at once, at the end of the event.
static void damage(recording_reader *reader) {
  reader->damaged = true;
  reader->at = reader->length;
}

static size_t left(const recording_reader *reader) { return reader->length - reader->at; }

static uint64_t get_uint(recording_reader *reader) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && reader->at < reader->length; shift += 7) {
    unsigned char byte = (unsigned char)reader->data[reader->at++];
    if (shift == 63 && byte > 1) break;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  damage(reader);
  return 0;
}

// At most `max`, else damaged.
static uint64_t get_bounded(recording_reader *reader, uint64_t max) {
  uint64_t value = get_uint(reader);
  if (value <= max) return value;
  damage(reader);
  return 0;
}

static int64_t get_int(recording_reader *reader) {
  uint64_t value = get_uint(reader);
  return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static int32_t get_int32(recording_reader *reader) {
  int64_t value = get_int(reader);
  if (value >= INT32_MIN && value <= INT32_MAX) return (int32_t)value;
  damage(reader);
  return 0;
}

// So many bytes as they lie; NULL after damage.
static const char *get_raw(recording_reader *reader, size_t length) {
  if (reader->damaged || length > left(reader)) {
    damage(reader);
    return NULL;
  }
  const char *bytes = reader->data + reader->at;
  reader->at += length;
  return bytes;
}

static float get_float(recording_reader *reader) {
  float value = 0;
  const char *bytes = get_raw(reader, sizeof value);
  if (bytes != NULL) memcpy(&value, bytes, sizeof value);
  return value;
}

static double get_double(recording_reader *reader) {
  double value = 0;
  const char *bytes = get_raw(reader, sizeof value);
  if (bytes != NULL) memcpy(&value, bytes, sizeof value);
  return value;
}

static const char *get_bytes(recording_reader *reader, size_t *length) {
  uint64_t wanted = get_uint(reader);
  *length = 0;
  if (reader->damaged || wanted >= left(reader) || reader->data[reader->at + wanted] != '\0') {
    damage(reader);
    return "";
  }
  const char *text = reader->data + reader->at;
  reader->at += (size_t)wanted + 1;
  *length = (size_t)wanted;
  return text;
}

static const char *get_text(recording_reader *reader, size_t *length) {
  const char *text = get_bytes(reader, length);
  if (reader->check && !rh_utf8_valid(text, *length)) damage(reader);
  return text;
}

static const char *get_word(recording_reader *reader) {
  size_t length;
  const char *text = get_text(reader, &length);
  if (reader->check && strlen(text) != length) damage(reader);
  return text;
}

static const char *get_optional(recording_reader *reader) {
  return get_bounded(reader, 1) == 0 ? NULL : get_word(reader);
}

static void skip_padding(recording_reader *reader, size_t alignment) {
  size_t over = reader->at % alignment;
  if (over != 0) (void)get_raw(reader, alignment - over);
}

// --- arrays --------------------------------------------------------------------------------------------------------------

// A count of things of which each takes at least `bytes_each`: more than fit are damage, so that scratch stays in proportion.
static size_t get_count(recording_reader *reader, size_t bytes_each) {
  uint64_t count = get_uint(reader);
  if (count <= left(reader) / bytes_each) return (size_t)count;
  damage(reader);
  return 0;
}

static void *scratch_room(recording_scratch *scratch, size_t bytes) {
  if (bytes == 0) bytes = 1;  // an empty list is no lack of memory
  if (bytes <= scratch->size) return scratch->data;
  size_t size = bytes < SCRATCH_MIN ? SCRATCH_MIN : bytes + bytes / 2;
  void *data = realloc(scratch->data, size);
  if (data == NULL) return NULL;
  *scratch = (recording_scratch){.data = data, .size = size};
  return data;
}

#define TOP_BYTES_MIN (1 + sizeof(float) + 2)
#define TOKEN_BYTES_MIN (TOP_BYTES_MIN + 1)

static bool get_logprobs(recording_reader *reader, rh_event *event) {
  size_t count = get_count(reader, TOKEN_BYTES_MIN);
  size_t tops = get_count(reader, TOP_BYTES_MIN);
  rh_token_logprob *tokens = scratch_room(reader->scratch, count * sizeof *tokens + tops * sizeof *tokens->top);
  if (tokens == NULL) return false;
  rh_top_logprob *top = (rh_top_logprob *)(void *)(tokens + count);
  for (size_t i = 0; i < count; i++) {
    rh_token_logprob *token = &tokens[i];
    token->token = get_int32(reader);
    token->logprob = get_float(reader);
    token->bytes = get_bytes(reader, &token->length);
    token->top = top;
    token->top_count = (size_t)get_bounded(reader, tops);
    tops -= token->top_count;
    for (size_t k = 0; k < token->top_count; k++, top++) {
      top->token = get_int32(reader);
      top->logprob = get_float(reader);
      top->bytes = get_bytes(reader, &top->length);
    }
  }
  event->as.delta.tokens = tokens;
  event->as.delta.logprob_count = count;
  return true;
}
_Static_assert(sizeof(rh_token_logprob) % _Alignof(rh_top_logprob) == 0, "the tops stand behind the tokens");

static bool get_delta(recording_reader *reader, unsigned flags, rh_event *event) {
  event->as.delta.token_count = get_int32(reader);
  event->as.delta.text = get_text(reader, &event->as.delta.length);
  event->as.delta.reasoning = (flags & TAG_REASONING) != 0;
  if ((flags & TAG_SIGNATURE) != 0) event->as.delta.signature = get_word(reader);
  return (flags & TAG_LOGPROBS) == 0 || get_logprobs(reader, event);
}

static void get_tool(recording_reader *reader, unsigned flags, rh_event *event) {
  event->as.tool.index = (uint32_t)get_bounded(reader, UINT32_MAX);
  event->as.tool.token_count = get_int32(reader);
  if ((flags & TAG_ID) != 0) event->as.tool.id = get_word(reader);
  if ((flags & TAG_NAME) != 0) event->as.tool.name = get_word(reader);
  event->as.tool.arguments = get_text(reader, &event->as.tool.length);
}

// --- errors and results --------------------------------------------------------------------------------------------------

static void get_field(recording_reader *reader, char *out, size_t size) {
  size_t length;
  const char *text = get_text(reader, &length);
  if (length < size) {
    memcpy(out, text, length + 1);
  } else {
    damage(reader);
  }
}

static void get_error(recording_reader *reader, rh_error *error) {
  error->status = rh_status_from_name(get_word(reader));
  error->retry_after_ms = (unsigned)get_bounded(reader, UINT32_MAX);
  get_field(reader, error->param, sizeof error->param);
  get_field(reader, error->message, sizeof error->message);
}

#define SCORE_BYTES_MIN (1 + sizeof(float))
#define SPAN_BYTES_MIN (2 + sizeof(float) + 3)
#define TENSOR_BYTES_MIN 5

static bool get_scores(recording_reader *reader, rh_result *result) {
  result->count = get_count(reader, SCORE_BYTES_MIN);
  rh_score *scores = scratch_room(reader->scratch, result->count * sizeof *scores);
  if (scores == NULL) return false;
  for (size_t i = 0; i < result->count; i++) {
    scores[i].label = get_optional(reader);
    scores[i].score = get_float(reader);
  }
  result->scores = scores;
  return true;
}

static bool get_spans(recording_reader *reader, rh_result *result) {
  result->count = get_count(reader, SPAN_BYTES_MIN);
  rh_span *spans = scratch_room(reader->scratch, result->count * sizeof *spans);
  if (spans == NULL) return false;
  for (size_t i = 0; i < result->count; i++) {
    spans[i].label = get_optional(reader);
    spans[i].score = get_float(reader);
    spans[i].text = get_optional(reader);
    spans[i].start = (uint32_t)get_bounded(reader, UINT32_MAX);
    spans[i].end = (uint32_t)get_bounded(reader, UINT32_MAX);
    spans[i].index = get_int32(reader);
  }
  result->spans = spans;
  return true;
}

static void get_tensor(recording_reader *reader, rh_tensor *tensor) {
  *tensor = (rh_tensor){.name = get_word(reader)};
  tensor->type = (rh_dtype)get_bounded(reader, RH_DTYPE_COUNT - 1);
  tensor->rank = (size_t)get_bounded(reader, RH_TENSOR_RANK_MAX);
  for (size_t i = 0; i < tensor->rank; i++) tensor->shape[i] = get_int(reader);
  tensor->bytes = get_count(reader, 1);
  skip_padding(reader, TENSOR_ALIGNMENT);
  tensor->data = get_raw(reader, tensor->bytes);
  if (reader->check && !reader->damaged && rh_tensor_check(tensor, NULL) != RH_OK) damage(reader);
}

static bool get_tensors(recording_reader *reader, rh_result *result) {
  result->count = get_count(reader, TENSOR_BYTES_MIN);
  rh_tensor *tensors = scratch_room(reader->scratch, result->count * sizeof *tensors);
  if (tensors == NULL) return false;
  for (size_t i = 0; i < result->count && !reader->damaged; i++) get_tensor(reader, &tensors[i]);
  result->tensors = tensors;
  return true;
}

static bool get_result(recording_reader *reader, unsigned flags, rh_result *result) {
  result->kind = (rh_result_kind)get_bounded(reader, RH_RESULT_FAILED);
  result->item = (uint32_t)get_bounded(reader, reader->check ? RH_ITEMS_MAX - 1 : UINT32_MAX);
  result->tokens = get_int(reader);
  result->windows = (uint32_t)get_bounded(reader, UINT32_MAX);
  result->truncated = (flags & TAG_TRUNCATED) != 0;
  if (reader->damaged) return true;
  switch (result->kind) {
    case RH_RESULT_SCORES: return get_scores(reader, result);
    case RH_RESULT_SPANS: return get_spans(reader, result);
    case RH_RESULT_TENSORS: return get_tensors(reader, result);
    case RH_RESULT_FAILED: get_error(reader, &result->error); return true;
    case RH_RESULT_VECTOR: break;
  }
  result->count = get_count(reader, sizeof(float));
  skip_padding(reader, sizeof(float));
  result->vector = (const float *)(const void *)get_raw(reader, result->count * sizeof(float));
  return true;
}

static void get_usage(recording_reader *reader, rh_usage *usage) {
  usage->prompt_tokens = get_int(reader);
  usage->completion_tokens = get_int(reader);
  usage->cached_tokens = get_int(reader);
  usage->written_tokens = get_int(reader);
  usage->reasoning_tokens = get_int(reader);
  usage->prompt_ms = get_double(reader);
  usage->decode_ms = get_double(reader);
  usage->work.batch_items = get_int(reader);
  usage->work.padding = get_double(reader);
}

rh_status recording_next(recording_reader *reader, rh_event *event) {
  unsigned tag = (unsigned char)reader->data[reader->at++];
  unsigned kind = (tag & TAG_KIND) - 1, flags = tag & ~(unsigned)TAG_KIND;
  *event = (rh_event){.kind = (rh_event_kind)kind};
  event->choice = (uint32_t)get_bounded(reader, RH_JOBS_MAX - 1);
  bool room = true;
  switch (kind) {
    case RH_EVENT_START:
      event->as.start.prompt_tokens = get_int(reader);
      event->as.start.cached_tokens = get_int(reader);
      break;
    case RH_EVENT_DELTA: room = get_delta(reader, flags, event); break;
    case RH_EVENT_TOOL: get_tool(reader, flags, event); break;
    case RH_EVENT_RESULT: room = get_result(reader, flags, &event->as.result); break;
    case RH_EVENT_USAGE: get_usage(reader, &event->as.usage); break;
    case RH_EVENT_ERROR: get_error(reader, &event->as.error); break;
    case RH_EVENT_END:
      event->as.end.finish = (rh_finish)get_bounded(reader, RH_FINISH_FILTER);
      if ((flags & TAG_STOP) != 0) event->as.end.stop = get_word(reader);
      break;
    default: damage(reader); break;
  }
  if (!room) return RH_NO_MEMORY;
  return reader->damaged ? RH_INVALID : RH_OK;
}
