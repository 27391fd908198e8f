// SPDX-License-Identifier: Apache-2.0
//
// Between regex*.c: properties and classes of characters in PCRE2's words, and patterns that are PCRE2's already.
#ifndef RH_TEXT_REGEX_PRIVATE_H
#define RH_TEXT_REGEX_PRIVATE_H

#include <stdint.h>

#include "text/regex.h"

#define RH_REGEX_NATIVE_MAX ((size_t)1024 * 1024)

rh_status rh_regex_new_native(const char *pattern, rh_regex **out, rh_error *error) RH_MUST_CHECK;

// What stands between the brackets of a class for: a property by name ("L", "Han", "alpha"); \w, \s, \d, \h. False: no
// such property.
bool rh_regex_put_property(rh_dynbuf *out, const char *name, size_t length);
void rh_regex_put_word(rh_dynbuf *out);
void rh_regex_put_space(rh_dynbuf *out);
void rh_regex_put_digit(rh_dynbuf *out);
void rh_regex_put_hex(rh_dynbuf *out);

// A pattern on its way into PCRE2's words.
#define RH_REGEX_GROUPS_MAX 128
typedef struct rh_translation {
  const char *start, *at, *end;
  rh_dynbuf *out;
  rh_error *error;
  rh_status status;
  size_t atom;  // where in `out` the last atom begins; SIZE_MAX: there is none to repeat
  size_t group_starts[RH_REGEX_GROUPS_MAX];
  unsigned group_closes[RH_REGEX_GROUPS_MAX];  // more parentheses to close with this one
  size_t depth;
} rh_translation;

// Sets the status, with the place; false.
bool rh_regex_refuse(rh_translation *to, const char *why);
bool rh_regex_starts(const rh_translation *to, const char *text);
void rh_regex_put_code(rh_dynbuf *out, uint32_t code);
// After a backslash: a character (\n, \x41, \u3000, \]); a class (\w, \p{L}), false when it is none and nothing was read.
bool rh_regex_read_code(rh_translation *to, uint32_t *code);
bool rh_regex_read_class(rh_translation *to, rh_dynbuf *items, bool *negated);
bool rh_regex_read_set(rh_translation *to, rh_dynbuf *out, int depth);  // from '[' to behind its ']'

#endif
