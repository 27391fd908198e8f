// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: the regular expressions of a tokenizer.json, which are Oniguruma's (its Ruby syntax), through
// PCRE2. Compiled once, then read-only; a search has memory of its own. Patterns come from strangers: the work of a
// search is limited.
#ifndef RH_TEXT_REGEX_H
#define RH_TEXT_REGEX_H

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_REGEX_PATTERN_MAX 16384

typedef struct rh_regex rh_regex;
// RH_UNSUPPORTED: not understood here; says why and where.
rh_status rh_regex_new(const char *pattern, size_t length, rh_regex **out, rh_error *error) RH_MUST_CHECK;
void rh_regex_free(rh_regex *regex);

// The matches in one text after the other, without overlap, as the package's find_iter gives them: an empty one is skipped
// where the one before ended.
typedef struct rh_regex_search {
  const rh_regex *regex;
  void *match;  // its memory; kept from text to text
  const char *text;
  size_t length;
  size_t next, last_end;
  bool matched_before;
  bool over;
  unsigned matches;  // since the clock was last looked at
  unsigned long long deadline_ns;
} rh_regex_search;
rh_status rh_regex_search_begin(rh_regex_search *search, const rh_regex *regex) RH_MUST_CHECK;
void rh_regex_search_end(rh_regex_search *search);
void rh_regex_search_text(rh_regex_search *search, const char *text, size_t length);  // UTF-8
// RH_OK with a match; RH_NOT_FOUND: no more; RH_INVALID: a limit was passed.
rh_status rh_regex_search_next(rh_regex_search *search, size_t *start, size_t *end) RH_MUST_CHECK;

// Oniguruma's syntax in PCRE2's; NUL-terminated.
rh_status rh_regex_translate(const char *pattern, size_t length, rh_dynbuf *out, rh_error *error) RH_MUST_CHECK;
// Whether PCRE2 takes this pattern.
bool rh_regex_compiles(const char *pattern);

#endif
