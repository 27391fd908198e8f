// SPDX-License-Identifier: Apache-2.0
//
// Tokenizers as Hugging Face's `tokenizers` package defines them: text to token ids with offsets, and back. Read from a
// model's own files: tokenizer.json, or vocab.txt (WordPiece), or a SentencePiece model where that is all there is.
//
// An opened tokenizer is read-only: any number of threads may use it at once, each with an rh_encoding of its own.
// Source of the behaviour: the file format and results of the `tokenizers` package, compared id by id in the tests.
#ifndef RH_TEXT_TOKENIZER_H
#define RH_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_TOKENIZER_FILE_MAX ((size_t)256 * 1024 * 1024)
#define RH_TOKENIZER_VOCABULARY_MAX (16 * 1024 * 1024)
#define RH_TOKENIZER_TEXT_MAX ((size_t)64 * 1024 * 1024)  // of one encode

typedef struct rh_tokenizer rh_tokenizer;

// `path`: one of the files above, or the model's folder (tokenizer.json wins; tokenizer_config.json, special_tokens_map.json
// and config.json beside it are read for what the file itself does not say). RH_NOT_FOUND: no tokenizer is there.
// RH_UNSUPPORTED names the part that is not known here. RH_INVALID: damaged; says where.
rh_status rh_tokenizer_open(const char *path, rh_tokenizer **out, rh_error *error) RH_MUST_CHECK;
// From the bytes of a tokenizer.json, for tests and fuzzing.
rh_status rh_tokenizer_open_json(const char *json, size_t length, rh_tokenizer **out, rh_error *error) RH_MUST_CHECK;
void rh_tokenizer_close(rh_tokenizer *tokenizer);

int32_t rh_tokenizer_size(const rh_tokenizer *tokenizer);  // ids are 0 .. size-1; some may have no token
// -1 when there is no such token. Added and special tokens are found too.
int32_t rh_tokenizer_find(const rh_tokenizer *tokenizer, const char *token, size_t length);
// The token as the vocabulary writes it; NULL when the id has none. Lives as long as the tokenizer.
const char *rh_tokenizer_token(const rh_tokenizer *tokenizer, int32_t id, size_t *length);
bool rh_tokenizer_is_special(const rh_tokenizer *tokenizer, int32_t id);

typedef struct rh_tokenizer_facts {
  char model[16];                              // "BPE", "WordPiece", "Unigram", "WordLevel"
  int32_t bos, eos, unk, sep, pad, cls, mask;  // -1 = none is named
  int64_t length_max;                          // tokenizer_config.json's model_max_length; 0 = unknown
  bool pads_left;
  int32_t pad_type;  // type id of padding
} rh_tokenizer_facts;
const rh_tokenizer_facts *rh_tokenizer_facts_of(const rh_tokenizer *tokenizer);

typedef enum rh_truncate {
  RH_TRUNCATE_NONE,           // too long is RH_CONTEXT_OVERFLOW with both numbers
  RH_TRUNCATE_LONGEST_FIRST,  // of a pair, the longer one loses tokens
  RH_TRUNCATE_FIRST,          // only the first
  RH_TRUNCATE_SECOND,         // only the second (a document beside a query)
} rh_truncate;

typedef struct rh_encode_options {
  bool add_special;    // the post-processor's tokens ([CLS] ... [SEP])
  bool parse_special;  // special tokens written in the text are taken as such; false: they are plain text
  bool want_offsets;
  int64_t length_max;    // tokens, special ones included; 0 = no limit
  rh_truncate truncate;  // what happens beyond it
  bool truncate_left;    // the beginning goes instead of the end
} rh_encode_options;

// The result of an encode, and the memory an encode works with: make one, use it again and again, on one thread.
typedef struct rh_encoding {
  int32_t *ids;
  int32_t *types;    // 0 for the first text, 1 for the second, as the post-processor says
  uint32_t *starts;  // offsets in the original text, in Unicode code points as the `tokenizers` package gives
  uint32_t *ends;    //   them; only when wanted. Special tokens have 0, 0
  uint32_t *words;   // which word (pre-token) it belongs to; UINT32_MAX for special tokens. Only with offsets
  uint8_t *special;  // 1 for tokens that the post-processor added
  uint8_t *second;   // 1 for tokens of the second text. Only with offsets
  size_t count;
  bool truncated;
  struct rh_encoding_work *work;  // private
} rh_encoding;

rh_status rh_encoding_new(rh_encoding **out, rh_error *error) RH_MUST_CHECK;
void rh_encoding_free(rh_encoding *encoding);

// `pair` may be NULL. Both are UTF-8; bytes that are none are taken as U+FFFD. Replaces what the encoding held.
rh_status rh_tokenizer_encode(const rh_tokenizer *tokenizer, const char *text, size_t length, const char *pair,
                              size_t pair_length, const rh_encode_options *options, rh_encoding *encoding,
                              rh_error *error) RH_MUST_CHECK;

// Ids to text, appended to `out`. Ids without a token are left out, as the package does.
rh_status rh_tokenizer_decode(const rh_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                              rh_dynbuf *out) RH_MUST_CHECK;

// One id after another, as they are generated: what is appended over all calls is what decode gives for all ids, except
// that bytes of an unfinished character are held back and come out (as U+FFFD) at rh_decoder_finish.
typedef struct rh_decoder rh_decoder;
rh_status rh_decoder_new(const rh_tokenizer *tokenizer, bool skip_special, rh_decoder **out,
                         rh_error *error) RH_MUST_CHECK;
rh_status rh_decoder_feed(rh_decoder *decoder, int32_t id, rh_dynbuf *out) RH_MUST_CHECK;
rh_status rh_decoder_finish(rh_decoder *decoder, rh_dynbuf *out) RH_MUST_CHECK;
void rh_decoder_free(rh_decoder *decoder);

#endif
