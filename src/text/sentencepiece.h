// SPDX-License-Identifier: Apache-2.0
//
// A SentencePiece model (tokenizer.model) as a pure function over bytes. Format: protocol buffers, message ModelProto of
// sentencepiece_model.proto in the sentencepiece project; unknown fields are stepped over.
#ifndef RH_TEXT_SENTENCEPIECE_H
#define RH_TEXT_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define RH_SENTENCEPIECE_PIECES_MAX (1u << 22)

enum { RH_SENTENCEPIECE_UNIGRAM = 1, RH_SENTENCEPIECE_BPE = 2 };

typedef struct rh_sentence_piece {
  const char *text;  // within the bytes that were parsed; not terminated
  size_t length;
  float score;
  int type;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte: the numbers of GGUF too
} rh_sentence_piece;

typedef struct rh_sentencepiece {
  rh_sentence_piece *pieces;
  size_t count;
  int model;                                   // RH_SENTENCEPIECE_*
  int64_t unknown_id, bos_id, eos_id, pad_id;  // -1 = none
  bool byte_fallback;
  bool add_dummy_prefix, remove_extra_whitespaces;
  const uint8_t *charsmap;  // within the bytes; NULL = none
  size_t charsmap_bytes;
} rh_sentencepiece;

// `bytes` must outlive the result. RH_INVALID with what is wrong; *out is empty then.
rh_status rh_sentencepiece_parse(const void *bytes, size_t length, rh_sentencepiece *out,
                                 rh_error *error) RH_MUST_CHECK;
void rh_sentencepiece_free(rh_sentencepiece *self);

#endif
