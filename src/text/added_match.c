// SPDX-License-Identifier: Apache-2.0
//
// Strings in a text by narrowing: the strings are sorted, so those that begin with the bytes seen so far are a range, and each
// further byte narrows it. No tree to build, and of most places the first byte says already that there is nothing: a table
// of first bytes, or memchr when there is but one. At most one step a byte of the longest string for each place.
#include "text/added_match.h"

#include <stdlib.h>
#include <string.h>

rh_status rh_matcher_add(rh_matcher *matcher, const char *text, size_t length, uint32_t value) {
  if (length == 0) return RH_OK;
  if (matcher->count == matcher->capacity) {
    size_t capacity = matcher->capacity != 0 ? 2 * matcher->capacity : 64;
    rh_match_entry *entries = realloc(matcher->entries, capacity * sizeof *entries);
    if (entries == NULL) return RH_NO_MEMORY;
    matcher->entries = entries;
    matcher->capacity = capacity;
  }
  matcher->entries[matcher->count++] = (rh_match_entry){text, length, value};
  return RH_OK;
}

static int compare(const void *a, const void *b) {
  const rh_match_entry *one = a, *two = b;
  size_t common = one->length < two->length ? one->length : two->length;
  int order = memcmp(one->text, two->text, common);
  if (order != 0) return order;
  if (one->length != two->length) return one->length < two->length ? -1 : 1;
  return one->value < two->value ? -1 : one->value > two->value;
}

void rh_matcher_finish(rh_matcher *matcher) {
  size_t at = 0;
  if (matcher->count > 0) qsort(matcher->entries, matcher->count, sizeof *matcher->entries, compare);
  matcher->only = matcher->count > 0 ? (uint8_t)matcher->entries[0].text[0] : -1;
  for (int byte = 0; byte < 256; byte++) {
    matcher->first[byte] = (uint32_t)at;
    while (at < matcher->count && (uint8_t)matcher->entries[at].text[0] == byte) at++;
    if (at > matcher->first[byte] && byte != matcher->only) matcher->only = -1;
  }
  matcher->first[256] = (uint32_t)at;
}

void rh_matcher_free(rh_matcher *matcher) {
  free(matcher->entries);
  *matcher = (rh_matcher){0};
}

// The first entry in [low, high), which agree before `depth`, whose byte there is at least `byte`. None is that short.
static size_t bound(const rh_matcher *matcher, size_t low, size_t high, size_t depth, int byte) {
  while (low < high) {
    size_t middle = (low + high) / 2;
    if ((uint8_t)matcher->entries[middle].text[depth] < byte)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool rh_matcher_exact(const rh_matcher *matcher, const char *text, size_t length, size_t *matched, uint32_t *value) {
  if (length == 0 || matcher->count == 0) return false;
  size_t low = matcher->first[(uint8_t)text[0]], high = matcher->first[(uint8_t)text[0] + 1];
  bool found = false;
  for (size_t depth = 1; low < high; depth++) {
    // Those that end here come first. Of equals the first counts, as it did when they were written down.
    if (matcher->entries[low].length == depth) {
      *matched = depth;
      *value = matcher->entries[low].value;
      found = true;
      while (low < high && matcher->entries[low].length == depth) low++;
    }
    if (depth == length) break;
    low = bound(matcher, low, high, depth, (uint8_t)text[depth]);
    high = bound(matcher, low, high, depth, (uint8_t)text[depth] + 1);
  }
  return found;
}

bool rh_matcher_next(const rh_matcher *matcher, const char *text, size_t length, size_t *at, size_t *matched,
                     uint32_t *value) {
  if (matcher->count == 0) return false;
  for (size_t i = *at; i < length; i++) {
    if (matcher->only >= 0) {
      const char *next = memchr(text + i, matcher->only, length - i);
      if (next == NULL) return false;
      i = (size_t)(next - text);
    } else {
      while (i < length && matcher->first[(uint8_t)text[i]] == matcher->first[(uint8_t)text[i] + 1]) i++;
      if (i == length) return false;
    }
    if (rh_matcher_exact(matcher, text + i, length - i, matched, value)) {
      *at = i;
      return true;
    }
  }
  return false;
}
