// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: decoding as a chain of steps, each of which takes tokens one by one and hands on what is certain.
#ifndef RH_TEXT_DECODER_PRIVATE_H
#define RH_TEXT_DECODER_PRIVATE_H

#include "text/internal.h"
#include "text/regex.h"

#define RH_DECODING_STEPS_MAX 16
#define RH_DECODER_HELD_MAX ((size_t)64 * 1024 * 1024)

typedef enum rh_decoding_kind {
  RH_DECODE_JOIN,  // no decoder: spaces between the tokens
  RH_DECODE_BYTE_LEVEL,
  RH_DECODE_METASPACE,
  RH_DECODE_WORDPIECE,
  RH_DECODE_BPE,
  RH_DECODE_BYTES,  // ByteFallback
  RH_DECODE_FUSE,
  RH_DECODE_STRIP,
  RH_DECODE_REPLACE,
  RH_DECODE_CTC,
} rh_decoding_kind;

typedef struct rh_decoding_step {
  rh_decoding_kind kind;
  // What comes in is one token in fragments, because a step before made one of all. Steps that need it whole gather it.
  bool fused;
  bool flag;            // WordPiece, CTC: cleanup; Metaspace: the first token's marks go
  char *text, *second;  // Metaspace: mark; WordPiece: prefix; BPE: suffix; Strip: character; CTC: pad and delimiter;
                        // Replace: what stands for a match
  size_t start, stop;   // Strip
  rh_regex *regex;      // Replace, or NULL:
  char *pattern;        //   a plain text
} rh_decoding_step;

struct rh_decoding_steps {
  rh_decoding_step items[RH_DECODING_STEPS_MAX];
  size_t count;
};

// A step at work.
typedef struct rh_decoding_stage {
  const rh_decoding_step *step;
  size_t seen;      // tokens that came in
  size_t stripped;  // Strip, fused: characters taken away at the beginning
  size_t pending;   // Strip, fused: characters that go if nothing follows
  bool inside;      // Strip, fused: the beginning is over
  bool holds;       // `held` is a token (BPE, CTC), not only a buffer
  rh_dynbuf held;   // what waits: bytes of an unfinished character, a run of byte tokens, the last token, all of it
  rh_dynbuf out, spare;
} rh_decoding_stage;

struct rh_decoder {
  const rh_tokenizer *tokenizer;
  bool skip_special;
  rh_decoding_stage stages[RH_DECODING_STEPS_MAX];
  size_t count;
  rh_dynbuf *sink;  // during a call
};

// A token into stage `index`, or past the last one into the sink.
rh_status rh_decoder_push(rh_decoder *decoder, size_t index, const char *text, size_t length) RH_MUST_CHECK;
// No more tokens come into stage `index`: what it holds goes on.
rh_status rh_decoder_end(rh_decoder *decoder, size_t index) RH_MUST_CHECK;

// All occurrences of `pattern` in `text`, appended to `out` with `by` in their place.
void rh_decoder_replace(const char *text, size_t length, const char *pattern, const char *by, rh_dynbuf *out);
// The spaces that stand before punctuation and contractions go. `text` in and out; `spare` is used in between.
void rh_decoder_clean_up(rh_dynbuf *text, rh_dynbuf *spare);

#endif
