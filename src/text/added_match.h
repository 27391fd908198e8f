// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: which of many strings stands at a place of a text; leftmost, then longest.
#ifndef RH_TEXT_ADDED_MATCH_H
#define RH_TEXT_ADDED_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rh_match_entry {
  const char *text;  // borrowed
  size_t length;
  uint32_t value;
} rh_match_entry;

// Zeroed before use; entries, then _finish, then read-only.
typedef struct rh_matcher {
  rh_match_entry *entries;  // sorted
  size_t count, capacity;
  uint32_t first[257];  // where entries that begin with a byte begin
  int only;             // the one byte that all begin with, or -1
} rh_matcher;

rh_status rh_matcher_add(rh_matcher *matcher, const char *text, size_t length, uint32_t value) RH_MUST_CHECK;
void rh_matcher_finish(rh_matcher *matcher);
void rh_matcher_free(rh_matcher *matcher);
// The longest entry that the text begins with.
bool rh_matcher_exact(const rh_matcher *matcher, const char *text, size_t length, size_t *matched, uint32_t *value);
// The next one at or after `*at`, which is set.
bool rh_matcher_next(const rh_matcher *matcher, const char *text, size_t length, size_t *at, size_t *matched,
                     uint32_t *value);

#endif
