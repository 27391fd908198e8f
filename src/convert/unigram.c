// SPDX-License-Identifier: Apache-2.0
//
// Purpose: unigram vocabularies from tokenizer.json (XLM-RoBERTa, CamemBERT), which llama.cpp reads as "t5": pieces with
// scores, and SentencePiece's table for normalising characters.
// Data owned: none. Threads: one. Not here: unigram models as tokenizer.model alone.
#include <stdlib.h>
#include <string.h>

#include "convert/vocab.h"

static int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// Base64 into memory of its own; NULL when memory is short or the text is not base64.
static uint8_t *decode(const char *text, size_t *length) {
  size_t size = strlen(text);
  uint8_t *out = malloc(size / 4 * 3 + 3);
  uint32_t bits = 0;
  unsigned have = 0;
  *length = 0;
  for (; out != NULL && *text != '\0' && *text != '='; text++) {
    int digit = digit_of(*text);
    if (digit < 0) {
      free(out);
      return NULL;
    }
    bits = bits << 6 | (uint32_t)digit;
    have += 6;
    if (have < 8) continue;
    have -= 8;
    out[(*length)++] = (uint8_t)(bits >> have);
  }
  return out;
}

static rh_status write_charsmap(const rh_tokenizer *self, rh_error *error) {
  const json_t *step = NULL;
  if (!rh_tokenizer_has(json_object_get(self->json, "normalizer"), "Precompiled", &step)) return RH_OK;
  const char *text = rh_source_text(step, "precompiled_charsmap");
  if (text == NULL) return RH_OK;
  size_t length;
  uint8_t *map = decode(text, &length);
  if (map == NULL) return rh_fail(error, RH_INVALID, "tokenizer.json: precompiled_charsmap is not base64");
  // llama.cpp trusts the size that stands at its beginning.
  uint32_t inner = 0;
  if (length > sizeof inner) memcpy(&inner, map, sizeof inner);
  bool whole = length > sizeof inner && (uint64_t)inner + sizeof inner < length;
  if (whole)
    gguf_set_arr_data(self->conversion->gguf, "tokenizer.ggml.precompiled_charsmap", GGUF_TYPE_UINT8, map, length);
  free(map);
  return whole ? RH_OK : rh_fail(error, RH_INVALID, "tokenizer.json: precompiled_charsmap is cut short");
}

static rh_status read_pieces(rh_tokenizer *self, const json_t *model, rh_error *error) {
  int64_t unknown = rh_source_int(model, "unk_id", -1);
  size_t i;
  json_t *piece;
  json_array_foreach(json_object_get(model, "vocab"), i, piece) {
    const json_t *text = json_array_get(piece, 0), *score = json_array_get(piece, 1);
    if (!json_is_string(text) || !json_is_number(score))
      return rh_fail(error, RH_INVALID, "tokenizer.json: piece %zu is not a text with a score", i);
    int type = (int64_t)i == unknown ? RH_TOKEN_UNKNOWN : RH_TOKEN_NORMAL;
    rh_status status = rh_vocab_set(&self->vocab, (int64_t)i, json_string_value(text), json_string_length(text),
                                    (float)json_number_value(score), type, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

rh_status rh_vocab_read_unigram(rh_tokenizer *self, rh_error *error) {
  const json_t *before = json_object_get(self->json, "pre_tokenizer"), *metaspace = NULL;
  self->model = "t5";
  self->pre = "default";
  self->scored = true;
  rh_status status = read_pieces(self, json_object_get(self->json, "model"), error);
  if (status == RH_OK) status = rh_vocab_add_tokens(self, error);
  if (status == RH_OK) status = write_charsmap(self, error);
  if (rh_tokenizer_has(before, "Metaspace", &metaspace)) {
    const char *scheme = rh_source_text(metaspace, "prepend_scheme");
    self->add_space_prefix =
        scheme != NULL ? strcmp(scheme, "never") != 0 : rh_source_bool(metaspace, "add_prefix_space", true);
  }
  // Cutting at white space first, or SentencePiece's own table, leaves one space of many.
  gguf_set_val_bool(self->conversion->gguf, "tokenizer.ggml.remove_extra_whitespaces",
                    rh_tokenizer_has(before, "WhitespaceSplit", NULL) ||
                        rh_tokenizer_has(json_object_get(self->json, "normalizer"), "Precompiled", NULL));
  return status;
}
