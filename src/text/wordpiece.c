// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the WordPiece model: from the left, always the longest token that fits; a word that cannot be cut so is unknown.
// Data owned: none beyond the model's. Threads: any. Not here: cutting a text into words.
#include <string.h>

#include "text/model.h"

#define CHARS_MAX 100

rh_status rh_wordpiece_init(rh_text_model *self, const json_t *json, rh_error *error) {
  const json_t *chars = json_object_get(json, "max_input_chars_per_word");
  self->chars_max = json_is_integer(chars) ? json_integer_value(chars) : CHARS_MAX;
  const char *prefix = rh_text_json_string(json, "continuing_subword_prefix");
  if (prefix == NULL) prefix = "##";
  rh_status status = rh_trie_init(&self->trie, &self->vocabulary, error);
  if (status != RH_OK) return status;
  for (; *prefix != '\0' && self->continued != RH_TRIE_NONE; prefix++)
    self->continued = rh_trie_step(&self->trie, self->continued, (uint8_t)*prefix);
  return RH_OK;
}

static int64_t count_chars(const char *text, size_t length) {
  int64_t count = 0;
  for (size_t i = 0; i < length; i++) count += ((uint8_t)text[i] & 0xc0) != 0x80;
  return count;
}

// The end of the longest token that begins at `at`, or `at` when there is none.
static size_t longest(const rh_text_model *self, const rh_text_model_work *work, const char *text, size_t length,
                      size_t at, int32_t *id) {
  uint32_t node = at == 0 ? 0 : self->continued;
  size_t end = at;
  for (size_t i = at; i < length && node != RH_TRIE_NONE; i++) {
    node = rh_trie_step(&self->trie, node, (uint8_t)text[i]);
    if (node == RH_TRIE_NONE || self->trie.units[node].id < 0 || rh_model_hides(work, self->trie.units[node].id))
      continue;
    *id = self->trie.units[node].id;
    end = i + 1;
  }
  return end;
}

rh_status rh_wordpiece_tokenize(const rh_text_model *self, const rh_text_model_work *work, const char *text,
                                size_t length, uint32_t position, uint32_t word, rh_model_tokens *out) {
  size_t before = out->count;
  bool known = (int64_t)length <= self->chars_max || count_chars(text, length) <= self->chars_max;
  for (size_t at = 0; known && at < length;) {
    int32_t id = -1;
    size_t end = longest(self, work, text, length, at, &id);
    known = end > at;
    if (!known) break;
    rh_status status = rh_model_tokens_add(out, id, position + (uint32_t)at, position + (uint32_t)end, word);
    if (status != RH_OK) return status;
    at = end;
  }
  if (known) return RH_OK;
  out->count = before;
  if (self->unk < 0) return RH_INVALID;
  return rh_model_tokens_add(out, self->unk, position, position + (uint32_t)length, word);
}
