// SPDX-License-Identifier: Apache-2.0
//
// Grapheme clusters after UAX 29, version 17: the rules GB3 to GB13 as a machine that remembers what lies before a place.
// libutf8proc cuts too, but by the rules of its own version, and older ones lack GB9c. Pure functions, any thread.
#include "text/grapheme.h"

#include "text/unicode.h"

typedef struct cluster {
  rh_grapheme last;
  bool picture;        // a picture, then only Extend (GB11)
  bool picture_joins;  // that, and a ZWJ directly before
  int conjunct;        // 1: a consonant, then only Extend; 2: with a linker among them (GB9c)
  bool odd_region;     // an odd number of regional indicators directly before (GB12, GB13)
} cluster;

static bool is_hard(rh_grapheme class) {
  return class == RH_GRAPHEME_CR || class == RH_GRAPHEME_LF || class == RH_GRAPHEME_CONTROL;
}

static bool hangul_joins(rh_grapheme last, rh_grapheme next) {
  switch (last) {
    case RH_GRAPHEME_L:
      return next == RH_GRAPHEME_L || next == RH_GRAPHEME_V || next == RH_GRAPHEME_LV || next == RH_GRAPHEME_LVT;
    case RH_GRAPHEME_LV:
    case RH_GRAPHEME_V: return next == RH_GRAPHEME_V || next == RH_GRAPHEME_T;
    case RH_GRAPHEME_LVT:
    case RH_GRAPHEME_T: return next == RH_GRAPHEME_T;
    default: return false;
  }
}

static bool joins(const cluster *so_far, const rh_char *next) {
  rh_grapheme class = (rh_grapheme)next->grapheme;
  if (so_far->last == RH_GRAPHEME_CR && class == RH_GRAPHEME_LF) return true;
  if (is_hard(so_far->last) || is_hard(class)) return false;
  if (hangul_joins(so_far->last, class)) return true;
  if (class == RH_GRAPHEME_EXTEND || class == RH_GRAPHEME_ZWJ || class == RH_GRAPHEME_SPACING) return true;
  if (so_far->last == RH_GRAPHEME_PREPEND) return true;
  if (so_far->conjunct == 2 && (next->flags & RH_CHAR_CONSONANT) != 0) return true;
  if (so_far->picture_joins && (next->flags & RH_CHAR_PICTURE) != 0) return true;
  return so_far->odd_region && class == RH_GRAPHEME_REGIONAL;
}

static void take(cluster *so_far, const rh_char *next) {
  rh_grapheme class = (rh_grapheme)next->grapheme;
  so_far->picture_joins = so_far->picture && class == RH_GRAPHEME_ZWJ;
  so_far->picture = (next->flags & RH_CHAR_PICTURE) != 0 || (so_far->picture && class == RH_GRAPHEME_EXTEND);
  if ((next->flags & RH_CHAR_CONSONANT) != 0)
    so_far->conjunct = 1;
  else if ((next->flags & RH_CHAR_LINKER) != 0)
    so_far->conjunct = so_far->conjunct > 0 ? 2 : 0;
  else if ((next->flags & RH_CHAR_EXTENDER) == 0)
    so_far->conjunct = 0;
  so_far->odd_region = class == RH_GRAPHEME_REGIONAL && !so_far->odd_region;
  so_far->last = class;
}

size_t rh_grapheme_length(const char *text, size_t length) {
  const char *end = text + length;
  uint32_t code;
  cluster so_far = {0};
  size_t at = rh_char_read(text, end, &code);
  take(&so_far, rh_char_of(code));
  while (at < length) {
    size_t step = rh_char_read(text + at, end, &code);
    const rh_char *next = rh_char_of(code);
    if (!joins(&so_far, next)) break;
    take(&so_far, next);
    at += step;
  }
  return at;
}
