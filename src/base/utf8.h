// SPDX-License-Identifier: Apache-2.0
//
// UTF-8 as RFC 3629 defines it: no surrogates, nothing over U+10FFFF, no overlong forms.
#ifndef RH_BASE_UTF8_H
#define RH_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool rh_utf8_valid(const char *bytes, size_t length);

// Length of the longest prefix that does not end inside a character. Bytes that can never become a character count as
// complete, so a stream of garbage is not held back for ever: at most the last 3 bytes are ever left out.
size_t rh_utf8_complete_prefix(const char *bytes, size_t length);

// How many bytes the valid character at the front takes (1..4), or 0 when the front is no valid character.
size_t rh_utf8_char_length(const char *bytes, size_t length);

#endif
