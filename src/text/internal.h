// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: how a tokenizer is put together. A text goes through
//
//   added tokens ─▶ normalizer ─▶ pre-tokenizer ─▶ model ─▶ post-processor ─▶ truncation
//   (cut out)       (piece by piece; offsets follow)   (ids)   (special tokens)
//
// Each stage is a table of steps built once from JSON, then read-only. A stage reads one rh_pieces and writes the next.
#ifndef RH_TEXT_INTERNAL_H
#define RH_TEXT_INTERNAL_H

#include <jansson.h>

#include "text/tokenizer.h"

// --- text on its way -----------------------------------------------------------------------------------------------

// Normalized text and, for each of its bytes, where in the original text it comes from. `from[i]`..`to[i]` are byte offsets
// into the original; both NULL when nobody wants offsets. Grows by doubling; kept between encodes. The original of a piece is
// from[start] .. to[end - 1].
typedef struct rh_mapped {
  char *bytes;
  uint32_t *from, *to;
  size_t length, capacity;
} rh_mapped;

// A part of the normalized text: a pre-token, or an added token that was found in it.
typedef struct rh_piece {
  uint32_t start, end;  // bytes of rh_mapped
  int32_t token;        // -1 = text for the model; otherwise the id of an added token
} rh_piece;

typedef struct rh_pieces {
  rh_piece *items;
  size_t count, capacity;
} rh_pieces;

// Room for `bytes` more. `offsets` says whether from and to are kept from now on; call it so before a text goes in, with
// length 0, and every stage after it keeps to that. RH_TOO_LARGE: over four times RH_TOKENIZER_TEXT_MAX.
rh_status rh_mapped_reserve(rh_mapped *mapped, size_t bytes, bool offsets) RH_MUST_CHECK;
// Bytes [start, end) of another, with their offsets.
rh_status rh_mapped_append(rh_mapped *mapped, const rh_mapped *source, size_t start, size_t end) RH_MUST_CHECK;
void rh_mapped_free(rh_mapped *mapped);
rh_status rh_pieces_add(rh_pieces *pieces, uint32_t start, uint32_t end, int32_t token) RH_MUST_CHECK;
void rh_pieces_free(rh_pieces *pieces);

// --- normalizer (normalizer*.c) ------------------------------------------------------------------------------------

typedef struct rh_normalizer rh_normalizer;  // NULL does nothing
rh_status rh_normalizer_from_json(const json_t *json, rh_normalizer **out, rh_error *error) RH_MUST_CHECK;
// From a SentencePiece model's precompiled map.
rh_status rh_normalizer_from_charsmap(const uint8_t *map, size_t length, rh_normalizer **out,
                                      rh_error *error) RH_MUST_CHECK;
void rh_normalizer_free(rh_normalizer *normalizer);
// `text` (original bytes [base, base + length) of the whole, UTF-8) is appended to `out`, with offsets when `out` has them.
// `scratch` is for steps in between. Failures: RH_NO_MEMORY, RH_TOO_LARGE, RH_INVALID (a pattern passed its limits).
rh_status rh_normalizer_apply(const rh_normalizer *normalizer, const char *text, size_t length, uint32_t base,
                              rh_mapped *out, rh_mapped *scratch) RH_MUST_CHECK;

// --- pre-tokenizer (pretokenizer*.c) -------------------------------------------------------------------------------

typedef struct rh_pretokenizer rh_pretokenizer;  // NULL: each piece is one
rh_status rh_pretokenizer_from_json(const json_t *json, rh_pretokenizer **out, rh_error *error) RH_MUST_CHECK;
void rh_pretokenizer_free(rh_pretokenizer *pretokenizer);
// Cuts the pieces that are text, in place: `pieces` afterwards holds more. May rewrite `text` (Metaspace, ByteLevel), which
// keeps its offsets; then the result is in `text` again, `scratch` was used in between.
// The two structs of a kind may change places. Failures as of the normalizer.
rh_status rh_pretokenizer_apply(const rh_pretokenizer *pretokenizer, rh_mapped *text, rh_pieces *pieces,
                                rh_mapped *scratch, rh_pieces *scratch_pieces) RH_MUST_CHECK;
// Whether the pieces themselves depend on offsets (Metaspace, when it prepends only at the very beginning): then `text` is
// to have offsets even if nobody asks for them.
bool rh_pretokenizer_needs_offsets(const rh_pretokenizer *pretokenizer);

// --- added tokens (added.c) ----------------------------------------------------------------------------------------

typedef struct rh_added rh_added;
rh_status rh_added_from_json(const json_t *array, const rh_normalizer *normalizer, rh_added **out,
                             rh_error *error) RH_MUST_CHECK;
void rh_added_free(rh_added *added);
// Cuts the original text (UTF-8) at added tokens (those that match before normalization), normalizes the rest into `text`, cuts
// again at those that match normalized text. With `special` false, special ones are left in the text. `text` was reserved with
// or without offsets and is empty, `pieces` too. `added` may be NULL.
rh_status rh_added_split(const rh_added *added, const rh_normalizer *normalizer, const char *original, size_t length,
                         bool special, rh_mapped *text, rh_mapped *scratch, rh_pieces *pieces) RH_MUST_CHECK;
size_t rh_added_count(const rh_added *added);
const char *rh_added_at(const rh_added *added, size_t index, size_t *length, int32_t *id, bool *special);
int32_t rh_added_find(const rh_added *added, const char *text, size_t length);  // -1 = none

// --- model (model.c, bpe.c, wordpiece.c, unigram.c) ----------------------------------------------------------------

typedef struct rh_text_model rh_text_model;
typedef struct rh_text_model_work rh_text_model_work;  // a model's memory for one encode and its cache of words

// A token and the bytes of its piece that it stands for.
typedef struct rh_model_token {
  int32_t id;
  uint32_t start, end;  // bytes of rh_mapped
  uint32_t word;        // index of its piece
} rh_model_token;

typedef struct rh_model_tokens {
  rh_model_token *items;
  size_t count, capacity;
} rh_model_tokens;
rh_status rh_model_tokens_add(rh_model_tokens *tokens, int32_t id, uint32_t start, uint32_t end,
                              uint32_t word) RH_MUST_CHECK;

rh_status rh_text_model_from_json(const json_t *json, rh_text_model **out, rh_error *error) RH_MUST_CHECK;
void rh_text_model_free(rh_text_model *model);
const char *rh_text_model_name(const rh_text_model *model);
int32_t rh_text_model_size(const rh_text_model *model);
int32_t rh_text_model_find(const rh_text_model *model, const char *token, size_t length);
const char *rh_text_model_token(const rh_text_model *model, int32_t id, size_t *length);
int32_t rh_text_model_unk(const rh_text_model *model);  // -1 = none
// Such a token shows the text it stands for, not its name in the vocabulary (Unigram's unknown token).
bool rh_text_model_shows_text(const rh_text_model *model, int32_t id);
rh_text_model_work *rh_text_model_work_new(const rh_text_model *model);  // NULL when memory is short
void rh_text_model_work_free(rh_text_model_work *work);
// One piece to tokens, appended. RH_INVALID: the piece is unknown and the model has no token for that. RH_TOO_LARGE: more
// than 16 MiB in one piece.
rh_status rh_text_model_tokenize(const rh_text_model *model, rh_text_model_work *work, const rh_mapped *text,
                                 const rh_piece *piece, uint32_t word, rh_model_tokens *out) RH_MUST_CHECK;

// --- post-processor (postprocessor.c) and decoder (decoder.c) ------------------------------------------------------

typedef struct rh_postprocessor rh_postprocessor;  // NULL adds nothing
rh_status rh_postprocessor_from_json(const json_t *json, rh_postprocessor **out, rh_error *error) RH_MUST_CHECK;
void rh_postprocessor_free(rh_postprocessor *postprocessor);
size_t rh_postprocessor_added(const rh_postprocessor *postprocessor, bool pair);  // how many special tokens it adds
// What surrounds the texts, in order; `pair` when there are two.
typedef struct rh_template_piece {
  int32_t text;  // 0 = the first text, 1 = the second, -1 = a special token
  int32_t id;    // of the special token
  int32_t type;
} rh_template_piece;
const rh_template_piece *rh_postprocessor_template(const rh_postprocessor *postprocessor, bool pair, size_t *count);
// White space that a token takes with it goes from its offsets. `token` has them in code points; `index` is its place in its
// text, after truncation.
typedef struct rh_shown {
  const char *text;
  size_t length;
} rh_shown;
bool rh_postprocessor_trims(const rh_postprocessor *postprocessor);
void rh_postprocessor_trim(const rh_postprocessor *postprocessor, rh_model_token *token, size_t index,
                           const rh_shown *shown);
typedef struct rh_decoding_steps rh_decoding_steps;  // NULL: tokens joined by spaces, as the package does
rh_status rh_decoding_steps_from_json(const json_t *json, rh_decoding_steps **out, rh_error *error) RH_MUST_CHECK;
void rh_decoding_steps_free(rh_decoding_steps *steps);

#endif
