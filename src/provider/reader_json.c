// SPDX-License-Identifier: Apache-2.0
//
// Members of a provider's JSON, checked for their types, and the lists of probabilities that two protocols share. Pure but for the
// reader it fails; one owner thread.
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "provider/reader.h"

#define TOKENS_MAX 65536  // of one piece of text

static const json_t *member(rh_protocol_reader *reader, const json_t *object, const char *key,
                            bool (*is)(const json_t *), const char *wanted) {
  const json_t *value = json_object_get(object, key);
  if (value == NULL || json_is_null(value) || reader->over) return NULL;
  if (is(value)) return value;
  rh_reader_fail(reader, "sent \"%s\" as %s, where %s must be", key, rh_json_type_name(value), wanted);
  return NULL;
}

static bool is_object(const json_t *value) { return json_is_object(value); }
static bool is_array(const json_t *value) { return json_is_array(value); }
static bool is_string(const json_t *value) { return json_is_string(value); }

const json_t *rh_reader_object(rh_protocol_reader *reader, const json_t *object, const char *key) {
  return member(reader, object, key, is_object, "an object");
}

const json_t *rh_reader_array(rh_protocol_reader *reader, const json_t *object, const char *key) {
  return member(reader, object, key, is_array, "an array");
}

const char *rh_reader_string(rh_protocol_reader *reader, const json_t *object, const char *key, size_t *length) {
  const json_t *value = member(reader, object, key, is_string, "a string");
  if (length != NULL) *length = value != NULL ? json_string_length(value) : 0;
  return json_string_value(value);
}

bool rh_reader_count(const json_t *object, const char *key, int64_t *out) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value)) return false;
  double number = json_number_value(value);
  if (!(number >= 0 && number < 1e15)) return false;
  *out = (int64_t)number;
  return true;
}

// --- probabilities -------------------------------------------------------------------------------------------------

// Room for one list: its tokens, their alternatives, and the bytes that were given as numbers.
typedef struct scratch {
  rh_token_logprob *tokens;
  rh_top_logprob *tops;
  char *bytes;
  size_t top_used, byte_used;
} scratch;

static bool count_room(const json_t *list, size_t *tops, size_t *bytes) {
  *tops = *bytes = 0;
  if (json_array_size(list) > TOKENS_MAX) return false;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *token = json_array_get(list, i), *alternatives = json_object_get(token, "top_logprobs");
    *bytes += json_array_size(json_object_get(token, "bytes"));
    size_t count = json_array_size(alternatives);
    *tops += count < RH_TOP_LOGPROBS_MAX ? count : RH_TOP_LOGPROBS_MAX;
    for (size_t k = 0; k < count && k < RH_TOP_LOGPROBS_MAX; k++) {
      *bytes += json_array_size(json_object_get(json_array_get(alternatives, k), "bytes"));
    }
  }
  return true;
}

static float logprob_of(const json_t *token) {
  double value = json_number_value(json_object_get(token, "logprob"));
  return isfinite(value) && fabs(value) < 1e30 ? (float)value : 0;
}

static const char *bytes_of(scratch *room, const json_t *token, size_t *length) {
  const json_t *list = json_object_get(token, "bytes"), *text = json_object_get(token, "token");
  *length = json_string_length(text);
  if (!json_is_array(list)) return json_is_string(text) ? json_string_value(text) : "";
  char *start = room->bytes + room->byte_used;
  *length = json_array_size(list);
  for (size_t i = 0; i < *length; i++) start[i] = (char)(json_integer_value(json_array_get(list, i)) & 0xff);
  room->byte_used += *length;
  return start;
}

static void read_token(scratch *room, const json_t *from, rh_token_logprob *to) {
  to->token = -1;  // its number is not told
  to->logprob = logprob_of(from);
  to->bytes = bytes_of(room, from, &to->length);
  const json_t *alternatives = json_object_get(from, "top_logprobs");
  to->top = room->tops + room->top_used;
  for (size_t k = 0; k < json_array_size(alternatives) && k < RH_TOP_LOGPROBS_MAX; k++) {
    const json_t *alternative = json_array_get(alternatives, k);
    rh_top_logprob *top = &room->tops[room->top_used++];
    top->token = -1;
    top->logprob = logprob_of(alternative);
    top->bytes = bytes_of(room, alternative, &top->length);
    to->top_count++;
  }
}

void rh_reader_text_logprobs(rh_protocol_reader *reader, const char *text, size_t length, int32_t tokens,
                             const json_t *list) {
  size_t count = json_array_size(list), tops, bytes;
  if (reader->run->generate.top_logprobs < 0 || count == 0 || !count_room(list, &tops, &bytes)) {
    rh_reader_text(reader, text, length, tokens, NULL, 0);
    return;
  }
  scratch room = {.tokens = calloc(count, sizeof *room.tokens),
                  .tops = calloc(tops + 1, sizeof *room.tops),
                  .bytes = malloc(bytes + 1)};
  if (room.tokens == NULL || room.tops == NULL || room.bytes == NULL) {
    rh_error error = {0};
    (void)rh_fail(&error, RH_NO_MEMORY, "no memory for the probabilities of an answer");
    rh_reader_fail_with(reader, &error);
  } else {
    for (size_t i = 0; i < count; i++) read_token(&room, json_array_get(list, i), &room.tokens[i]);
    rh_reader_text(reader, text, length, tokens, room.tokens, count);
  }
  free(room.tokens);
  free(room.tops);
  free(room.bytes);
}
