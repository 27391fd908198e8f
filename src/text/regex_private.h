// SPDX-License-Identifier: Apache-2.0
//
// Between regex*.c: properties and classes of characters in PCRE2's words, and patterns that are PCRE2's already.
#ifndef RH_TEXT_REGEX_PRIVATE_H
#define RH_TEXT_REGEX_PRIVATE_H

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

#endif
