// SPDX-License-Identifier: Apache-2.0
//
// Recordings: the buffer and how events are written into it. Appending is on the way of every token that is cached or shared: one
// reservation, no allocation but the buffer's doubling. Owns the buffer. Reading is in recording_read.c.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admit/recording_private.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are copied as they lie");

#define CAPACITY_MIN 512
#define VARINT_MAX 10

rh_recording *rh_recording_new(size_t bytes_max) {
  rh_recording *recording = calloc(1, sizeof *recording);
  char *data = malloc(CAPACITY_MIN);
  if (recording == NULL || data == NULL) {
    free(recording);
    free(data);
    return NULL;
  }
  *recording = (rh_recording){.references = 1, .bytes_max = bytes_max, .data = data, .capacity = CAPACITY_MIN};
  memcpy(data, "RHR", 3);
  data[3] = RECORDING_VERSION;
  recording->length = RECORDING_HEADER_BYTES;
  return recording;
}

rh_recording *rh_recording_hold(rh_recording *recording) {
  assert(recording != NULL && recording->references > 0);
  recording->references++;
  return recording;
}

void rh_recording_release(rh_recording *recording) {
  if (recording == NULL) return;
  assert(recording->references > 0);
  if (--recording->references > 0) return;
  assert(recording->readers == 0 && recording->retired == NULL);
  free(recording->data);
  free(recording);
}

// Failed, and another try might not: it is not the input's own fault.
static bool is_spoiled(const rh_result *result) {
  rh_status status = result->kind == RH_RESULT_FAILED ? result->error.status : RH_INVALID;
  return status != RH_INVALID && status != RH_TOO_LARGE && status != RH_CONTEXT_OVERFLOW && status != RH_UNSUPPORTED;
}

bool recording_note(recording_choices *choices, const rh_event *event) {
  if (event->choice >= RH_JOBS_MAX) return false;
  uint64_t bit = UINT64_C(1) << event->choice;
  choices->begun |= bit;
  if (event->kind == RH_EVENT_START) {
    choices->ended &= ~bit;
    choices->failed &= ~bit;
    choices->spoiled &= ~bit;
    return true;
  }
  if (((choices->ended | choices->failed) & bit) != 0) return false;
  if (event->kind == RH_EVENT_END) choices->ended |= bit;
  if (event->kind == RH_EVENT_ERROR) choices->failed |= bit;
  if (event->kind == RH_EVENT_RESULT && is_spoiled(&event->as.result)) choices->spoiled |= bit;
  return true;
}

bool rh_recording_complete(const rh_recording *recording) {
  const recording_choices *choices = &recording->choices;
  bool good = !recording->refused && (choices->failed | choices->spoiled) == 0;
  return good && choices->begun != 0 && choices->begun == choices->ended;
}

uint32_t rh_recording_choices(const rh_recording *recording) {
  uint64_t begun = recording->choices.begun;
  return begun == 0 ? 0 : (uint32_t)(64 - __builtin_clzll(begun));
}

size_t rh_recording_bytes(const rh_recording *recording) { return recording->length; }

size_t rh_recording_memory(const rh_recording *recording) { return sizeof *recording + recording->capacity; }

const char *rh_recording_data(const rh_recording *recording, size_t *length) {
  *length = recording->length;
  return recording->data;
}

// --- room ------------------------------------------------------------------------------------------------------------

// The old buffer stays for who is reading it now.
static bool move_buffer(rh_recording *recording, size_t capacity) {
  recording_retired *retired = malloc(sizeof *retired);
  char *data = malloc(capacity);
  if (retired == NULL || data == NULL) {
    free(retired);
    free(data);
    return false;
  }
  memcpy(data, recording->data, recording->length);
  *retired = (recording_retired){.next = recording->retired, .data = recording->data};
  recording->retired = retired;
  recording->data = data;
  recording->capacity = capacity;
  return true;
}

// Never more than the bound and one event, because room is asked for before its exact size is known.
static bool make_room(rh_recording *recording, size_t bytes) {
  if (bytes <= recording->capacity - recording->length) return true;
  if (bytes > SIZE_MAX / 4 - recording->length) return false;
  size_t capacity = recording->capacity * 2;
  while (capacity < recording->length + bytes) capacity *= 2;
  if (recording->readers > 0) return move_buffer(recording, capacity);
  char *data = realloc(recording->data, capacity);
  if (data == NULL) return false;
  recording->data = data;
  recording->capacity = capacity;
  return true;
}

// --- writing: `at` is inside room that was made ------------------------------------------------------------------------

typedef struct pen {
  char *base, *at;
} pen;

static void put_uint(pen *out, uint64_t value) {
  while (value >= 0x80) {
    *out->at++ = (char)(value | 0x80);
    value >>= 7;
  }
  *out->at++ = (char)value;
}

static void put_int(pen *out, int64_t value) { put_uint(out, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63)); }

static void put_raw(pen *out, const void *bytes, size_t length) {
  if (length > 0) memcpy(out->at, bytes, length);
  out->at += length;
}

static void put_float(pen *out, float value) { put_raw(out, &value, sizeof value); }
static void put_double(pen *out, double value) { put_raw(out, &value, sizeof value); }

static void put_text(pen *out, const char *text, size_t length) {
  put_uint(out, length);
  put_raw(out, text, length);
  *out->at++ = '\0';
}

static void put_word(pen *out, const char *word) { put_text(out, word, strlen(word)); }

static void put_padding(pen *out, size_t alignment) {
  while ((size_t)(out->at - out->base) % alignment != 0) *out->at++ = '\0';
}

static size_t text_room(size_t length) { return VARINT_MAX + length + 1; }
static size_t word_room(const char *word) { return word == NULL ? 1 : text_room(strlen(word)); }

static void put_optional(pen *out, const char *word) {
  put_uint(out, word != NULL);
  if (word != NULL) put_word(out, word);
}

// --- deltas and tools --------------------------------------------------------------------------------------------------

static size_t logprobs_room(const rh_event *event) {
  size_t room = 2 * VARINT_MAX;
  for (size_t i = 0; i < event->as.delta.logprob_count; i++) {
    const rh_token_logprob *token = &event->as.delta.tokens[i];
    room += 2 * VARINT_MAX + sizeof(float) + text_room(token->length);
    for (size_t k = 0; k < token->top_count; k++) {
      room += VARINT_MAX + sizeof(float) + text_room(token->top[k].length);
    }
  }
  return room;
}

// All tops are counted first: the reader then knows how much room it needs.
static void put_logprobs(pen *out, const rh_event *event) {
  size_t tops = 0, count = event->as.delta.logprob_count;
  for (size_t i = 0; i < count; i++) tops += event->as.delta.tokens[i].top_count;
  put_uint(out, count);
  put_uint(out, tops);
  for (size_t i = 0; i < count; i++) {
    const rh_token_logprob *token = &event->as.delta.tokens[i];
    put_int(out, token->token);
    put_float(out, token->logprob);
    put_text(out, token->bytes, token->length);
    put_uint(out, token->top_count);
    for (size_t k = 0; k < token->top_count; k++) {
      put_int(out, token->top[k].token);
      put_float(out, token->top[k].logprob);
      put_text(out, token->top[k].bytes, token->top[k].length);
    }
  }
}

static size_t delta_room(const rh_event *event) {
  size_t room = VARINT_MAX + text_room(event->as.delta.length);
  if (event->as.delta.signature != NULL) room += word_room(event->as.delta.signature);
  if (event->as.delta.logprob_count > 0) room += logprobs_room(event);
  return room;
}

static unsigned delta_flags(const rh_event *event) {
  return (event->as.delta.logprob_count > 0 ? TAG_LOGPROBS : 0u) | (event->as.delta.reasoning ? TAG_REASONING : 0u) |
         (event->as.delta.signature != NULL ? TAG_SIGNATURE : 0u);
}

static void put_delta(pen *out, const rh_event *event) {
  put_int(out, event->as.delta.token_count);
  put_text(out, event->as.delta.text, event->as.delta.length);
  if (event->as.delta.signature != NULL) put_word(out, event->as.delta.signature);
  if (event->as.delta.logprob_count > 0) put_logprobs(out, event);
}

static size_t tool_room(const rh_event *event) {
  return 2 * VARINT_MAX + text_room(event->as.tool.length) + word_room(event->as.tool.id) +
         word_room(event->as.tool.name);
}

static void put_tool(pen *out, const rh_event *event) {
  put_uint(out, event->as.tool.index);
  put_int(out, event->as.tool.token_count);
  if (event->as.tool.id != NULL) put_word(out, event->as.tool.id);
  if (event->as.tool.name != NULL) put_word(out, event->as.tool.name);
  put_text(out, event->as.tool.arguments, event->as.tool.length);
}

// --- errors and results ------------------------------------------------------------------------------------------------

// The status by its name: numbers change when one is added.
static void put_error(pen *out, const rh_error *error) {
  put_word(out, rh_status_name(error->status));
  put_uint(out, error->retry_after_ms);
  put_word(out, error->param);
  put_word(out, error->message);
}

static size_t error_room(void) { return sizeof(rh_error) + 64 + 5 * VARINT_MAX; }

static size_t result_room(const rh_result *result) {
  size_t room = 6 * VARINT_MAX;
  switch (result->kind) {
    case RH_RESULT_VECTOR: return room + result->count * sizeof(float) + sizeof(float);
    case RH_RESULT_FAILED: return room + error_room();
    case RH_RESULT_SCORES:
      for (size_t i = 0; i < result->count; i++) room += 1 + word_room(result->scores[i].label) + sizeof(float);
      return room;
    case RH_RESULT_SPANS:
      for (size_t i = 0; i < result->count; i++) {
        const rh_span *span = &result->spans[i];
        room += 2 + word_room(span->label) + word_room(span->text) + sizeof(float) + 3 * VARINT_MAX;
      }
      return room;
    case RH_RESULT_TENSORS:
      for (size_t i = 0; i < result->count; i++) {
        const rh_tensor *tensor = &result->tensors[i];
        room += word_room(tensor->name) + (3 + tensor->rank) * VARINT_MAX + TENSOR_ALIGNMENT + tensor->bytes;
      }
      return room;
  }
  return room;
}

static void put_tensor(pen *out, const rh_tensor *tensor) {
  assert(tensor->rank <= RH_TENSOR_RANK_MAX);
  put_word(out, tensor->name);
  put_uint(out, (uint64_t)tensor->type);
  put_uint(out, tensor->rank);
  for (size_t i = 0; i < tensor->rank; i++) put_int(out, tensor->shape[i]);
  put_uint(out, tensor->bytes);
  put_padding(out, TENSOR_ALIGNMENT);
  put_raw(out, tensor->data, tensor->bytes);
}

static void put_span(pen *out, const rh_span *span) {
  put_optional(out, span->label);
  put_float(out, span->score);
  put_optional(out, span->text);
  put_uint(out, span->start);
  put_uint(out, span->end);
  put_int(out, span->index);
}

static void put_result(pen *out, const rh_result *result) {
  put_uint(out, (uint64_t)result->kind);
  put_uint(out, result->item);
  put_int(out, result->tokens);
  put_uint(out, result->windows);
  if (result->kind == RH_RESULT_FAILED) {
    put_error(out, &result->error);
    return;
  }
  put_uint(out, result->count);
  if (result->kind == RH_RESULT_VECTOR) {
    put_padding(out, sizeof(float));
    put_raw(out, result->vector, result->count * sizeof(float));
  }
  for (size_t i = 0; result->kind == RH_RESULT_SCORES && i < result->count; i++) {
    put_optional(out, result->scores[i].label);
    put_float(out, result->scores[i].score);
  }
  for (size_t i = 0; result->kind == RH_RESULT_SPANS && i < result->count; i++) put_span(out, &result->spans[i]);
  for (size_t i = 0; result->kind == RH_RESULT_TENSORS && i < result->count; i++) put_tensor(out, &result->tensors[i]);
}

static void put_usage(pen *out, const rh_usage *usage) {
  put_int(out, usage->prompt_tokens);
  put_int(out, usage->completion_tokens);
  put_int(out, usage->cached_tokens);
  put_int(out, usage->written_tokens);
  put_int(out, usage->reasoning_tokens);
  put_double(out, usage->prompt_ms);
  put_double(out, usage->decode_ms);
  put_int(out, usage->work.batch_items);
  put_double(out, usage->work.padding);
}

// --- appending -----------------------------------------------------------------------------------------------------------

static size_t event_room(const rh_event *event) {
  size_t room = 1 + VARINT_MAX;
  switch (event->kind) {
    case RH_EVENT_DELTA: return room + delta_room(event);
    case RH_EVENT_TOOL: return room + tool_room(event);
    case RH_EVENT_RESULT: return room + result_room(&event->as.result);
    case RH_EVENT_USAGE: return room + sizeof(rh_usage) + 6 * VARINT_MAX;
    case RH_EVENT_ERROR: return room + error_room();
    case RH_EVENT_END: return room + VARINT_MAX + word_room(event->as.end.stop);
    case RH_EVENT_START:
    case RH_EVENT_PROGRESS: break;
  }
  return room + 2 * VARINT_MAX;
}

static unsigned event_flags(const rh_event *event) {
  switch (event->kind) {
    case RH_EVENT_DELTA: return delta_flags(event);
    case RH_EVENT_TOOL:
      return (event->as.tool.id != NULL ? TAG_ID : 0u) | (event->as.tool.name != NULL ? TAG_NAME : 0u);
    case RH_EVENT_RESULT: return event->as.result.truncated ? TAG_TRUNCATED : 0u;
    case RH_EVENT_END: return event->as.end.stop != NULL ? TAG_STOP : 0u;
    default: return 0;
  }
}

static void put_event(pen *out, const rh_event *event) {
  *out->at++ = (char)(((unsigned)event->kind + 1) | event_flags(event));
  put_uint(out, event->choice);
  switch (event->kind) {
    case RH_EVENT_START:
      put_int(out, event->as.start.prompt_tokens);
      put_int(out, event->as.start.cached_tokens);
      break;
    case RH_EVENT_DELTA: put_delta(out, event); break;
    case RH_EVENT_TOOL: put_tool(out, event); break;
    case RH_EVENT_RESULT: put_result(out, &event->as.result); break;
    case RH_EVENT_USAGE: put_usage(out, &event->as.usage); break;
    case RH_EVENT_ERROR: put_error(out, &event->as.error); break;
    case RH_EVENT_END:
      put_uint(out, (uint64_t)event->as.end.finish);
      if (event->as.end.stop != NULL) put_word(out, event->as.end.stop);
      break;
    case RH_EVENT_PROGRESS: break;
  }
}

rh_status rh_recording_append(rh_recording *recording, const rh_event *event) {
  assert(recording != NULL && event != NULL);
  if (event->kind == RH_EVENT_PROGRESS) return RH_OK;
  rh_status status = RH_OK;
  size_t room = event_room(event);
  recording_choices choices = recording->choices;
  if (recording->refused) {
    status = RH_TOO_LARGE;
  } else if (!recording_note(&choices, event)) {
    status = RH_INVALID;
  } else if (recording->length >= recording->bytes_max) {
    status = RH_TOO_LARGE;
  } else if (!make_room(recording, room)) {
    status = RH_NO_MEMORY;
  }
  if (status == RH_OK) {
    pen out = {.base = recording->data, .at = recording->data + recording->length};
    put_event(&out, event);
    size_t length = (size_t)(out.at - out.base);
    assert(length <= recording->length + room);
    if (length > recording->bytes_max) {
      status = RH_TOO_LARGE;
    } else {
      recording->length = length;
      recording->choices = choices;
    }
  }
  if (status != RH_OK) recording->refused = true;
  return status;
}
