// SPDX-License-Identifier: Apache-2.0
//
// Private to src/route: what one pass over a text counts. scan.c fills it, language.c and complexity.c read it.
#ifndef RH_ROUTE_SCAN_H
#define RH_ROUTE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "route/route.h"

// Letters by the script they are written in; the order is that of language.c's table.
typedef enum rh_script {
  RH_SCRIPT_LATIN,
  RH_SCRIPT_CYRILLIC,
  RH_SCRIPT_GREEK,
  RH_SCRIPT_HEBREW,
  RH_SCRIPT_ARABIC,
  RH_SCRIPT_DEVANAGARI,
  RH_SCRIPT_THAI,
  RH_SCRIPT_HAN,
  RH_SCRIPT_KANA,
  RH_SCRIPT_HANGUL,
  RH_SCRIPT_OTHER,
  RH_SCRIPT_COUNT
} rh_script;

#define RH_LATIN_LANGUAGES 12  // those that are told apart by their words

typedef struct rh_scan {
  size_t bytes;
  double tokens;
  uint32_t words, lines, code_lines;
  uint32_t letters[RH_SCRIPT_COUNT];
  uint32_t ukrainian, persian;  // letters that only these have
  uint16_t language_words[RH_LATIN_LANGUAGES];
  uint32_t question_words, constraint_words, list_items;
  uint32_t code_words, fences, operators;
  uint32_t math_words, math_signs, sums;  // sums: digits with a sign between or beside them
} rh_scan;

// Adds what `length` bytes of text hold. Any bytes are accepted.
void rh_scan_text(rh_scan *scan, const char *text, size_t length);
void rh_scan_add(rh_scan *scan, const rh_scan *more);

// What a word of up to 16 bytes, in lower case, says: bit i = of Latin language i, then the RH_WORD_ bits.
enum {
  RH_WORD_QUESTION = 1 << 12,
  RH_WORD_CONSTRAINT = 1 << 13,
  RH_WORD_CODE = 1 << 14,
  RH_WORD_MATH = 1 << 15,
};
typedef struct rh_word_key {
  uint64_t high, low;  // the bytes, the last one lowest
} rh_word_key;
uint32_t rh_words_find(rh_word_key key);
void rh_words_prepare(void);  // before the first find; cheap afterwards, any thread

// ISO 639-1, "" = cannot tell.
void rh_language_of(const rh_scan *scan, char out[4]);

double rh_code_of(const rh_scan *scan);  // 0..1
double rh_math_of(const rh_scan *scan);  // 0..1
// `last`: of the last message of the user; docs/gateway.md gives the formula.
double rh_complexity_of(const rh_scan *last, double last_tokens, const rh_features *features);
rh_level rh_complexity_level(double complexity);

#endif
