// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: the tokenizer's own parts, shared by tokenizer.c, encode.c, decoder.c and open.c.
#ifndef RH_TEXT_PRIVATE_H
#define RH_TEXT_PRIVATE_H

#include "text/internal.h"

struct rh_tokenizer {
  uint64_t serial;  // never the same twice in a process: an encoding knows by it whether its cache is of this tokenizer
  rh_normalizer *normalizer;
  rh_pretokenizer *pretokenizer;
  rh_added *added;
  rh_text_model *model;
  rh_postprocessor *postprocessor;
  rh_decoding_steps *decoding;
  int32_t size;
  uint32_t *added_by_id;  // index of the added token + 1; 0 = none
  uint8_t *special;       // 1 for the ids of special tokens
  rh_tokenizer_facts facts;
};

rh_status rh_tokenizer_from_json(const json_t *json, rh_tokenizer **out, rh_error *error) RH_MUST_CHECK;

// Text that may be no UTF-8, appended with U+FFFD for what is none.
void rh_text_append_repaired(rh_dynbuf *out, const char *text, size_t length);

// Names, lengths and sides from the files beside a tokenizer; each may be NULL.
void rh_tokenizer_read_facts(rh_tokenizer *self, const json_t *tokenizer_config, const json_t *special_tokens,
                             const json_t *config);

// A token written as a text or as {"content": text}; NULL when it is neither.
const char *rh_tokenizer_token_text(const json_t *value);

// The JSON of a tokenizer.json from other files' bytes, for rh_tokenizer_from_json. The caller owns the result.
// `settings` is tokenizer_config.json, `special_tokens` special_tokens_map.json; each may be NULL.
rh_status rh_tokenizer_json_of_vocabulary(const char *text, size_t length, const json_t *settings,
                                          const json_t *special_tokens, json_t **out, rh_error *error) RH_MUST_CHECK;
rh_status rh_tokenizer_json_of_sentencepiece(const void *bytes, size_t length, const json_t *settings, json_t **out,
                                             rh_error *error) RH_MUST_CHECK;

#endif
