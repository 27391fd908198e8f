// SPDX-License-Identifier: Apache-2.0
//
// A vocabulary as GGUF has it: one text, score and type for each token id. And what tokenizer.c and the readers of the
// several kinds of vocabulary share.
#ifndef RH_CONVERT_VOCAB_H
#define RH_CONVERT_VOCAB_H

#include <jansson.h>

#include "convert/model.h"

// The numbers of tokenizer.ggml.token_type.
enum {
  RH_TOKEN_NORMAL = 1,
  RH_TOKEN_UNKNOWN = 2,
  RH_TOKEN_CONTROL = 3,
  RH_TOKEN_USER_DEFINED = 4,
  RH_TOKEN_UNUSED = 5,
  RH_TOKEN_BYTE = 6,
};

typedef struct rh_vocab {
  int64_t count;  // = rows of the embedding
  char **texts;   // NULL: no token has this id
  float *scores;
  int32_t *types;
  char **merges;
  size_t merge_count;
  json_t *ids;  // {text as the tokenizer has it: id}
} rh_vocab;

typedef struct rh_tokenizer {
  rh_conversion *conversion;
  json_t *json;  // tokenizer.json, or NULL
  rh_vocab vocab;
  const char *model;  // "gpt2", "llama", "bert", "t5"
  const char *pre;
  bool scored;
  int add_bos, add_eos, add_sep;  // -1 = leave to llama.cpp
  int add_space_prefix;           // -1 likewise
} rh_tokenizer;

rh_status rh_vocab_init(rh_vocab *self, int64_t count, rh_error *error) RH_MUST_CHECK;
void rh_vocab_free(rh_vocab *self);
// Set a token; its text is copied. Replaces what the id had. RH_INVALID: the id is not one of the vocabulary.
rh_status rh_vocab_set(rh_vocab *self, int64_t id, const char *text, size_t length, float score, int type,
                       rh_error *error) RH_MUST_CHECK;
int64_t rh_vocab_find(const rh_vocab *self, const char *text);  // -1
// "added_tokens" of tokenizer.json, added_tokens.json and "added_tokens_decoder" of tokenizer_config.json.
rh_status rh_vocab_add_tokens(rh_tokenizer *self, rh_error *error) RH_MUST_CHECK;
// Fill gaps, part what is twice, and write tokens, scores, types and merges.
rh_status rh_vocab_write(rh_tokenizer *self, rh_error *error) RH_MUST_CHECK;

// One reader a file: bpe.c, spm.c, wordpiece.c, unigram.c.
rh_status rh_vocab_read_bpe(rh_tokenizer *self, rh_error *error) RH_MUST_CHECK;
rh_status rh_vocab_read_sentencepiece(rh_tokenizer *self, const char *file, rh_error *error) RH_MUST_CHECK;
rh_status rh_vocab_read_spm_json(rh_tokenizer *self, rh_error *error) RH_MUST_CHECK;
rh_status rh_vocab_read_wordpiece(rh_tokenizer *self, rh_error *error) RH_MUST_CHECK;
rh_status rh_vocab_read_unigram(rh_tokenizer *self, rh_error *error) RH_MUST_CHECK;

// special.c: ids of the special tokens, what is put around a text, the chat template.
rh_status rh_special_write(rh_tokenizer *self, rh_error *error) RH_MUST_CHECK;

// True when `step` (a normalizer, pre-tokenizer, decoder...) is of `type` or is a sequence that has one; *found (may be
// NULL) is that step.
bool rh_tokenizer_has(const json_t *step, const char *type, const json_t **found);

#endif
