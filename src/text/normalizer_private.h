// SPDX-License-Identifier: Apache-2.0
//
// Private to normalizer*.c: a normalizer is a row of steps; a text goes through them between two rh_mapped, in place where
// a step only shortens it.
#ifndef RH_TEXT_NORMALIZER_PRIVATE_H
#define RH_TEXT_NORMALIZER_PRIVATE_H

#include "text/internal.h"
#include "text/regex.h"
#include "text/unicode.h"

// The text on its way: now->bytes from `start` to its end. `other` is free from `other_start` on.
typedef struct rh_normalizing {
  rh_mapped *now, *other;
  size_t start, other_start;
  uint32_t base;  // where the text begins in the original
} rh_normalizing;

static inline char *rh_normalizing_bytes(const rh_normalizing *text) { return text->now->bytes + text->start; }
static inline size_t rh_normalizing_length(const rh_normalizing *text) { return text->now->length - text->start; }
// Make `other` empty with room for `bytes`; and make it the text.
rh_status rh_normalizing_begin(rh_normalizing *text, size_t bytes) RH_MUST_CHECK;
void rh_normalizing_swap(rh_normalizing *text);
// Bytes that all come from what byte `like` (of `now`, from its start) comes from; into `other`.
rh_status rh_normalizing_put(rh_normalizing *text, const char *bytes, size_t length, size_t like) RH_MUST_CHECK;

// A new text in `other`, one code point after another, each with how it came about, as the package's transformations
// say it: 0 takes the place of the next character of `now`; -n also removes the n after it; 1 is added, and is said
// to come from where the one before it does.
typedef struct rh_transform {
  rh_normalizing *text;
  size_t at;  // bytes of `now` that are dealt with, from its start
  rh_status status;
} rh_transform;
void rh_transform_put(rh_transform *transform, uint32_t code, int change);

typedef struct rh_charsmap rh_charsmap;
rh_status rh_charsmap_new(const uint8_t *map, size_t length, rh_charsmap **out, rh_error *error) RH_MUST_CHECK;
void rh_charsmap_free(rh_charsmap *map);

typedef struct rh_normalizer_step rh_normalizer_step;
struct rh_normalizer_step {
  rh_status (*run)(const rh_normalizer_step *step, rh_normalizing *text);
  bool clean, chinese, accents, lower;  // BertNormalizer
  bool left, right;                     // Strip
  bool composes, compatible;            // normal forms
  char *content;                        // Replace, Prepend
  size_t content_length;
  char *literal;  // Replace; NULL: `regex`
  size_t literal_length;
  rh_regex *regex;
  rh_charsmap *charsmap;
};

rh_status rh_step_bert(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_strip(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_strip_accents(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_lowercase(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_form(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_replace(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_prepend(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_nmt(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_byte_level(const rh_normalizer_step *step, rh_normalizing *text);
rh_status rh_step_charsmap(const rh_normalizer_step *step, rh_normalizing *text);

// Leave out the characters with one of these flags, in place.
void rh_normalizing_drop(rh_normalizing *text, unsigned flags);

#endif
