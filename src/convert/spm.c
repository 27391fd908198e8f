// SPDX-License-Identifier: Apache-2.0
//
// Purpose: SentencePiece vocabularies, from tokenizer.model or, where that is missing, from a tokenizer.json that holds the
// same as BPE with bytes to fall back on (Llama, Gemma, Phi-3).
// Data owned: none. Threads: one. Not here: the protocol-buffer walk (text/sentencepiece.c).
//
// llama.cpp joins two neighbours when their text together is a token, the highest score first; tokenizer.json has a list of
// merges, the first one first. A merge's rank is therefore its token's score. The two ways agree when the list has every
// pair that makes a token, as the lists made from SentencePiece models have; otherwise there is a warning.
#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "convert/vocab.h"
#include "text/sentencepiece.h"

#define MODEL_BYTES_MAX ((size_t)64 << 20)

// Whether a space is put before the text, as tokenizer.json says it; -1: it does not say.
static int prefix_of_json(const json_t *json) {
  if (json == NULL) return -1;
  const json_t *step = NULL;
  if (rh_tokenizer_has(json_object_get(json, "normalizer"), "Prepend", NULL)) return 1;
  if (!rh_tokenizer_has(json_object_get(json, "pre_tokenizer"), "Metaspace", &step)) return 0;
  const char *scheme = rh_source_text(step, "prepend_scheme");
  if (scheme != NULL) return strcmp(scheme, "never") != 0;
  return rh_source_bool(step, "add_prefix_space", true);
}

static void choose_prefix(rh_tokenizer *self, int of_model) {
  int of_json = prefix_of_json(self->json);
  self->add_space_prefix = of_json >= 0 ? of_json : of_model;
}

static rh_status take_pieces(rh_tokenizer *self, const rh_sentencepiece *model, rh_error *error) {
  size_t count = model->count;
  if ((int64_t)count > self->vocab.count) {
    rh_report_warning(self->conversion->report,
                      "tokenizer.model has %zu pieces, the model only %lld embeddings; the rest is left out", count,
                      (long long)self->vocab.count);
    count = (size_t)self->vocab.count;
  }
  for (size_t i = 0; i < count; i++) {
    const rh_sentence_piece *piece = &model->pieces[i];
    rh_status status =
        rh_vocab_set(&self->vocab, (int64_t)i, piece->text, piece->length, piece->score, piece->type, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

rh_status rh_vocab_read_sentencepiece(rh_tokenizer *self, const char *file, rh_error *error) {
  rh_dynbuf bytes;
  rh_sentencepiece model = {0};
  rh_error inner = {0};
  rh_status status = rh_source_read(self->conversion->source, file, MODEL_BYTES_MAX, &bytes, error);
  if (status == RH_OK) {
    status = rh_sentencepiece_parse(rh_dynbuf_data(&bytes), bytes.length, &model, &inner);
    if (status != RH_OK) (void)rh_fail(error, status, "%s: %s", file, inner.message);
  }
  if (status == RH_OK && model.model != RH_SENTENCEPIECE_BPE)
    status = rh_fail(error, RH_UNSUPPORTED,
                     "%s is not of SentencePiece's kind BPE, the only one that can be converted for this "
                     "architecture",
                     file);
  self->model = "llama";
  self->pre = "default";
  self->scored = true;
  if (status == RH_OK) status = take_pieces(self, &model, error);
  if (status == RH_OK) status = rh_vocab_add_tokens(self, error);
  choose_prefix(self, model.add_dummy_prefix);
  rh_sentencepiece_free(&model);
  rh_dynbuf_free(&bytes);
  return status;
}

static bool is_byte(const char *text) {
  if (strncmp(text, "<0x", 3) != 0 || strlen(text) != 6 || text[5] != '>') return false;
  return strspn(text + 3, "0123456789ABCDEF") >= 2;
}

// The two halves of a merge in either form, joined by a space into `pair`.
static bool merge_pair(const json_t *merge, rh_dynbuf *pair, const char **second) {
  rh_dynbuf_clear(pair);
  if (json_is_string(merge)) {
    (void)rh_dynbuf_append_text(pair, json_string_value(merge));
  } else {
    const char *a = json_string_value(json_array_get(merge, 0)), *b = json_string_value(json_array_get(merge, 1));
    if (a == NULL || b == NULL) return false;
    (void)rh_dynbuf_printf(pair, "%s %s", a, b);
  }
  const char *space = pair->length > 1 ? strchr(rh_dynbuf_data(pair) + 1, ' ') : NULL;
  *second = space != NULL ? space + 1 : NULL;
  return space != NULL && !pair->failed;
}

// Scores from ranks; *pairs gets {"a b": true}.
static rh_status rank_tokens(rh_vocab *vocab, const json_t *merges, json_t *pairs, rh_error *error) {
  rh_dynbuf pair, joined;
  rh_dynbuf_init(&pair, 4096);
  rh_dynbuf_init(&joined, 4096);
  rh_status status = RH_OK;
  size_t count = json_array_size(merges);
  for (size_t i = 0; i < count && status == RH_OK; i++) {
    const char *second;
    if (!merge_pair(json_array_get(merges, i), &pair, &second)) {
      status = rh_fail(error, RH_INVALID, "tokenizer.json: merge %zu is not a pair of texts", i);
      break;
    }
    const char *first = rh_dynbuf_data(&pair);
    rh_dynbuf_clear(&joined);
    (void)rh_dynbuf_append(&joined, first, (size_t)(second - 1 - first));
    (void)rh_dynbuf_append_text(&joined, second);
    int64_t id = rh_vocab_find(vocab, rh_dynbuf_data(&joined));
    if (id < 0) status = rh_fail(error, RH_INVALID, "tokenizer.json: merge %zu makes a text that is no token", i);
    // The first merge that makes it counts. Positive means: none yet.
    if (id >= 0 && vocab->scores[id] > 0.0F) vocab->scores[id] = -(float)i;
    if (status == RH_OK && json_object_set_new(pairs, first, json_true()) != 0)
      status = rh_fail(error, RH_NO_MEMORY, "out of memory for the merges");
  }
  rh_dynbuf_free(&pair);
  rh_dynbuf_free(&joined);
  return status;
}

// How many ways to make a token of two tokens the list of merges lacks.
static int64_t count_missing(const rh_vocab *vocab, const json_t *pairs) {
  int64_t missing = 0;
  char pair[512], half[512];
  for (int64_t id = 0; id < vocab->count; id++) {
    const char *text = vocab->texts[id];
    size_t length = text != NULL ? strlen(text) : 0;
    if (vocab->types[id] != RH_TOKEN_NORMAL || length < 2 || length > sizeof pair - 2) continue;
    for (size_t cut = 1; cut < length; cut++) {
      if (((unsigned char)text[cut] & 0xc0) == 0x80) continue;  // within a character
      memcpy(half, text, cut);
      half[cut] = '\0';
      if (rh_vocab_find(vocab, half) < 0 || rh_vocab_find(vocab, text + cut) < 0) continue;
      memcpy(pair, text, cut);
      pair[cut] = ' ';
      memcpy(pair + cut + 1, text + cut, length - cut + 1);
      missing += json_object_get(pairs, pair) == NULL;
    }
  }
  return missing;
}

static rh_status read_tokens(rh_tokenizer *self, const json_t *model, rh_error *error) {
  const json_t *tokens = json_object_get(model, "vocab");
  const char *unknown = rh_source_text(model, "unk_token");
  const char *text;
  json_t *id;
  if (json_object_size(tokens) == 0) return rh_fail(error, RH_INVALID, "tokenizer.json has no vocabulary");
  json_object_foreach((json_t *)(uintptr_t)tokens, text, id) {
    int type = is_byte(text) ? RH_TOKEN_BYTE : RH_TOKEN_NORMAL;
    if (unknown != NULL && strcmp(text, unknown) == 0) type = RH_TOKEN_UNKNOWN;
    rh_status status = rh_vocab_set(&self->vocab, json_is_integer(id) ? json_integer_value(id) : -1, text, strlen(text),
                                    1.0F, type, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

rh_status rh_vocab_read_spm_json(rh_tokenizer *self, rh_error *error) {
  const json_t *model = json_object_get(self->json, "model");
  const json_t *merges = json_object_get(model, "merges");
  self->model = "llama";
  self->pre = "default";
  self->scored = true;
  json_t *pairs = json_object();
  rh_status status = read_tokens(self, model, error);
  if (status == RH_OK) status = rank_tokens(&self->vocab, merges, pairs, error);
  float lowest = -(float)json_array_size(merges);
  for (int64_t i = 0; i < self->vocab.count; i++) {
    if (self->vocab.scores[i] > 0.0F) self->vocab.scores[i] = lowest - (float)i;
  }
  int64_t missing = status == RH_OK ? count_missing(&self->vocab, pairs) : 0;
  if (missing > 0)
    rh_report_warning(self->conversion->report,
                      "the merges of tokenizer.json are not those of a SentencePiece model (%lld are missing): "
                      "some texts may be cut into other tokens",
                      (long long)missing);
  json_decref(pairs);
  if (status == RH_OK) status = rh_vocab_add_tokens(self, error);
  choose_prefix(self, 1);
  return status;
}
