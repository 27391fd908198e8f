// SPDX-License-Identifier: Apache-2.0
//
// Private to pretokenizer*.c: a pre-tokenizer is a row of steps; each cuts every piece that is text, or rewrites the text.
#ifndef RH_TEXT_PRETOKENIZER_PRIVATE_H
#define RH_TEXT_PRETOKENIZER_PRIVATE_H

#include "text/internal.h"
#include "text/regex.h"
#include "text/unicode.h"

typedef enum rh_split_behavior {
  RH_SPLIT_REMOVED,
  RH_SPLIT_ISOLATED,
  RH_SPLIT_MERGED_WITH_PREVIOUS,
  RH_SPLIT_MERGED_WITH_NEXT,
  RH_SPLIT_CONTIGUOUS,
} rh_split_behavior;

// Takes the stretches of a text in order, each a match or not, and makes pieces of them.
typedef struct rh_cutter {
  rh_pieces *out;
  rh_split_behavior behavior;
  bool invert;
  bool holds;  // a piece that may yet grow
  bool held_match;
  uint32_t held_start, held_end;
  rh_status status;
} rh_cutter;
void rh_cutter_take(rh_cutter *cutter, uint32_t start, uint32_t end, bool match);
void rh_cutter_finish(rh_cutter *cutter);
// A piece as it is.
static inline void rh_cutter_add(rh_cutter *cutter, size_t start, size_t end) {
  if (end > start && cutter->status == RH_OK) {
    cutter->status = rh_pieces_add(cutter->out, (uint32_t)start, (uint32_t)end, -1);
  }
}

typedef struct rh_pretokenizer_step rh_pretokenizer_step;
// Bytes [start, end) of the text, not empty.
typedef void (*rh_cut)(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
// All pieces, with a text of its own.
typedef struct rh_pretokenizing {
  rh_mapped *text, *other;
  rh_pieces *pieces, *other_pieces;
} rh_pretokenizing;
typedef rh_status (*rh_rewrite)(const rh_pretokenizer_step *step, rh_pretokenizing *going);

typedef enum rh_prepend { RH_PREPEND_ALWAYS, RH_PREPEND_FIRST, RH_PREPEND_NEVER } rh_prepend;

struct rh_pretokenizer_step {
  rh_cut cut;  // or
  rh_rewrite rewrite;
  rh_split_behavior behavior;
  bool invert;
  unsigned flags;  // of the characters that match
  uint32_t code;   // or this one
  size_t length;   // FixedLength
  rh_regex *regex;
  char *literal;
  size_t literal_length;
  // Metaspace, ByteLevel
  rh_prepend prepend;
  bool splits;
  char replacement[4];
  size_t replacement_length;
  unsigned digits_max;  // of the scanner for cl100k and its kin
};

// pretokenizer_char.c
void rh_cut_bert(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
void rh_cut_whitespace(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
void rh_cut_flags(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
void rh_cut_code(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
void rh_cut_scripts(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
void rh_cut_fixed(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
void rh_cut_literal(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
// pretokenizer_scan.c: the well-known patterns by hand. Each piece is a match, so they are for `isolated` alone, and for
// `removed` inverted, which is the same.
void rh_cut_gpt2(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
void rh_cut_cl100k(const rh_pretokenizer_step *step, const char *bytes, size_t start, size_t end, rh_cutter *out);
#define RH_PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
// Sets what cuts by this pattern without PCRE2; false when there is nothing.
bool rh_scan_for(const char *pattern, size_t length, rh_pretokenizer_step *step);
// pretokenizer_rewrite.c
rh_status rh_rewrite_byte_level(const rh_pretokenizer_step *step, rh_pretokenizing *going);
rh_status rh_rewrite_metaspace(const rh_pretokenizer_step *step, rh_pretokenizing *going);
rh_status rh_rewrite_regex(const rh_pretokenizer_step *step, rh_pretokenizing *going);
// Cut every piece by one step's `cut`.
rh_status rh_cut_pieces(const rh_pretokenizer_step *step, rh_cut cut, rh_pretokenizing *going);

#endif
