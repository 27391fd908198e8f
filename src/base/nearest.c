// SPDX-License-Identifier: Apache-2.0
//
// "Did you mean": the nearest of some known words. Owns no data; any thread. Words of more than 63 bytes are never near
// anything, so that a hostile key costs nothing.
#include <ctype.h>
#include <string.h>

#include "base/json.h"

#define WORD_MAX 64u

// Case and the choice of hyphen or underscore are the likeliest slips and cost nothing.
static int plain(char c) { return c == '-' ? '_' : tolower((unsigned char)c); }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Edit distance with swaps of neighbours as one step (optimal string alignment), three rows at a time.
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length) {
  size_t rows[3][WORD_MAX];
  for (size_t j = 0; j <= b_length; j++) rows[0][j] = j;
  for (size_t i = 1; i <= a_length; i++) {
    size_t *now = rows[i % 3];
    const size_t *last = rows[(i - 1) % 3];
    const size_t *before = rows[(i + 1) % 3];
    now[0] = i;
    for (size_t j = 1; j <= b_length; j++) {
      int same = plain(a[i - 1]) == plain(b[j - 1]);
      size_t best = least(last[j] + 1, now[j - 1] + 1);
      best = least(best, last[j - 1] + (same ? 0 : 1));
      if (i > 1 && j > 1 && plain(a[i - 1]) == plain(b[j - 2]) && plain(a[i - 2]) == plain(b[j - 1])) {
        best = least(best, before[j - 2] + 1);
      }
      now[j] = best;
    }
  }
  return rows[a_length % 3][b_length];
}

const char *rh_text_nearest(const char *word, const char *const *words, size_t count) {
  size_t length = strlen(word);
  if (length >= WORD_MAX) return NULL;
  size_t best = length / 3 + 1;  // the first distance that is too far
  const char *nearest = NULL;
  for (size_t i = 0; i < count; i++) {
    size_t other = strlen(words[i]);
    if (other >= WORD_MAX) continue;
    size_t apart = distance(word, length, words[i], other);
    if (apart < best) {
      best = apart;
      nearest = words[i];
    }
  }
  return nearest;
}
