// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the Unigram model: of all ways to cut a piece into tokens, the one with the highest sum of scores (Viterbi).
// Data owned: scores (read-only once built); the table of best ways is the encode's. Threads: any.
// Not here: sampling among the good ways, which needs luck.
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/model.h"

#define UNKNOWN_PENALTY 10.0  // below the lowest score

static rh_status read_scores(rh_text_model *self, const json_t *tokens, rh_error *error) {
  size_t count = json_array_size(tokens);
  double least = INFINITY;
  self->scores = calloc(count + 1, sizeof *self->scores);
  if (self->scores == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for %zu scores", count);
  for (size_t i = 0; i < count; i++) {
    const json_t *score = json_array_get(json_array_get(tokens, i), 1);
    if (!json_is_number(score)) return rh_fail(error, RH_INVALID, "token %zu is not a text with a score", i);
    self->scores[i] = json_number_value(score);
    if (self->scores[i] < least) least = self->scores[i];
  }
  self->unk_score = least - UNKNOWN_PENALTY;
  return RH_OK;
}

rh_status rh_unigram_init(rh_text_model *self, const json_t *json, rh_error *error) {
  const json_t *tokens = json_object_get(json, "vocab"), *unk = json_object_get(json, "unk_id");
  self->unk = -1;
  if (json_is_integer(unk)) {
    if (json_integer_value(unk) < 0 || json_integer_value(unk) >= (json_int_t)json_array_size(tokens))
      return rh_fail(error, RH_INVALID, "unk_id is %lld, but there are %zu tokens", (long long)json_integer_value(unk),
                     json_array_size(tokens));
    self->unk = (int32_t)json_integer_value(unk);
  }
  self->byte_fallback = rh_text_json_bool(json, "byte_fallback", false);
  rh_model_find_bytes(&self->vocabulary, self->byte_ids);
  rh_status status = read_scores(self, tokens, error);
  return status == RH_OK ? rh_trie_init(&self->trie, &self->vocabulary, error) : status;
}

static void improve(rh_unigram_node *node, double score, uint32_t start, int32_t id) {
  if (node->start == UINT32_MAX || score > node->score) *node = (rh_unigram_node){score, start, id};
}

// nodes[i]: the best way to write the first i bytes. RH_INVALID: a character is unknown and there is no token for that.
static rh_status find_best(const rh_text_model *self, const rh_text_model_work *work, const char *text, size_t length,
                           rh_unigram_node *nodes) {
  for (size_t i = 0; i <= length; i++) nodes[i] = (rh_unigram_node){0.0, UINT32_MAX, 0};
  const rh_trie *trie = &self->trie;
  for (size_t at = 0; at < length;) {
    size_t step = rh_utf8_char_length(text + at, length - at);
    if (step == 0) step = 1;
    double here = nodes[at].score;
    bool single = false;
    uint32_t node = 0;
    for (size_t i = at; i < length; i++) {
      node = rh_trie_step(trie, node, (uint8_t)text[i]);
      if (node == RH_TRIE_NONE) break;
      int32_t id = trie->units[node].id;
      if (id < 0 || rh_model_hides(work, id)) continue;
      improve(&nodes[i + 1], self->scores[id] + here, (uint32_t)at, id);
      single = single || i + 1 - at == step;
    }
    if (!single) {
      if (self->unk < 0) return RH_INVALID;
      improve(&nodes[at + step], self->unk_score + here, (uint32_t)at, self->unk);
    }
    at += step;
  }
  return RH_OK;
}

// Turns the links around, so that the way can be walked from the left: nodes[start].start becomes the end of the token
// that begins there. Neighbouring unknown ones become one.
static void turn_around(const rh_text_model *self, rh_unigram_node *nodes, size_t length) {
  uint32_t end = (uint32_t)length;
  rh_unigram_node here = nodes[end];
  while (end > 0) {
    uint32_t start = here.start;
    int32_t id = here.id;
    while (id == self->unk && start > 0 && nodes[start].id == self->unk) start = nodes[start].start;
    here = nodes[start];
    nodes[start].start = end;
    nodes[start].id = id;
    end = start;
  }
}

static rh_status add_unknown(const rh_text_model *self, const rh_text_model_work *work, const char *text,
                             uint32_t length, uint32_t position, uint32_t word, rh_model_tokens *out) {
  // Several unknown tokens that were fused may be a token that is written out, such as "<unk>" itself.
  int32_t id = rh_vocabulary_find(&self->vocabulary, text, length);
  if (rh_model_hides(work, id)) id = -1;
  bool bytes = id < 0 && self->byte_fallback && rh_model_has_bytes(self->byte_ids, text, length);
  for (uint32_t i = 0; bytes && i < length; i++) {
    rh_status status = rh_model_tokens_add(out, self->byte_ids[(uint8_t)text[i]], position, position + length, word);
    if (status != RH_OK) return status;
  }
  if (bytes) return RH_OK;
  return rh_model_tokens_add(out, id >= 0 ? id : self->unk, position, position + length, word);
}

rh_status rh_unigram_tokenize(const rh_text_model *self, rh_text_model_work *work, const char *text, size_t length,
                              uint32_t position, uint32_t word, rh_model_tokens *out) {
  if (!rh_model_reserve((void **)&work->nodes, &work->nodes_room, length + 1, sizeof *work->nodes)) return RH_NO_MEMORY;
  rh_unigram_node *nodes = work->nodes;
  rh_status status = find_best(self, work, text, length, nodes);
  if (status != RH_OK) return status;
  turn_around(self, nodes, length);
  for (uint32_t at = 0; at < length && status == RH_OK;) {
    uint32_t end = nodes[at].start;
    if (nodes[at].id == self->unk) {
      status = add_unknown(self, work, text + at, end - at, position + at, word, out);
    } else {
      status = rh_model_tokens_add(out, nodes[at].id, position + at, position + end, word);
    }
    at = end;
  }
  return status;
}
