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

#define RH_SCAN_BYTES_MAX 2048u  // of one text

// Adds what `length` bytes of text hold. Any bytes are accepted.
void rh_scan_text(rh_scan *scan, const char *text, size_t length);

// What a word of up to 16 bytes, in lower case, says: lane i = of Latin language i, then these.
enum {
  RH_WORD_LANE_QUESTION = RH_LATIN_LANGUAGES,
  RH_WORD_LANE_CONSTRAINT,
  RH_WORD_LANE_CODE,
  RH_WORD_LANE_MATH,
  RH_WORD_LANES,
};
// Sixteen counters of 16 bits side by side: all that a word says is counted by four additions, and nothing is asked, for what words
// say follows no pattern that a processor could foresee.
typedef struct rh_word_lanes {
  uint64_t four[RH_WORD_LANES / 4];
} rh_word_lanes;
static inline void rh_word_lanes_add(rh_word_lanes *sum, const rh_word_lanes *more) {
  for (size_t i = 0; i < RH_WORD_LANES / 4; i++) sum->four[i] += more->four[i];
}
static inline uint16_t rh_word_lane(const rh_word_lanes *lanes, unsigned lane) {
  return (uint16_t)(lanes->four[lane / 4] >> lane % 4 * 16);
}

typedef struct rh_word_key {
  uint64_t high, low;  // the bytes, the last one lowest
} rh_word_key;
const rh_word_lanes *rh_words_find(rh_word_key key);  // zeros: nothing
void rh_words_prepare(void);                          // before the first find; cheap afterwards, any thread

// ISO 639-1, "" = cannot tell.
void rh_language_of(const rh_scan *scan, char out[4]);

double rh_code_of(const rh_scan *scan);  // 0..1
double rh_math_of(const rh_scan *scan);  // 0..1
// `last`: of the last message of the user; docs/gateway.md gives the formula.
double rh_complexity_of(const rh_scan *last, double last_tokens, const rh_features *features);
rh_level rh_complexity_level(double complexity);

#endif
