// SPDX-License-Identifier: Apache-2.0
//
// Characters as Python's str sees them, in UTF-8. All texts are valid UTF-8. Nobody outside includes this.
#ifndef RH_TEMPLATE_UNICODE_H
#define RH_TEMPLATE_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tpl_class {
  TPL_ALPHA,
  TPL_DECIMAL,
  TPL_DIGIT,
  TPL_NUMERIC,
  TPL_ALNUM,
  TPL_PRINTABLE,
  TPL_LOWER,
  TPL_UPPER,
  TPL_TITLE
} tpl_class;

size_t rh_tpl_space_length(const char *text, size_t length);           // of the white space at the front, or 0
size_t rh_tpl_space_before(const char *text, size_t from, size_t to);  // of the white space that ends at `to`, or 0
size_t rh_tpl_name_length(const char *text, size_t length);            // of an identifier at the front, or 0
size_t rh_tpl_line_break(const char *text, size_t length);             // of the line break (splitlines) at the front
uint32_t rh_tpl_decode_utf8(const char *text, size_t length, size_t *used);
size_t rh_tpl_encode_utf8(uint32_t code, char *out);  // writes up to 4 bytes
size_t rh_tpl_count_chars(const char *text, size_t length);
size_t rh_tpl_char_offset(const char *text, size_t length, size_t chars);  // bytes of the first `chars` characters
bool rh_tpl_char_is(uint32_t code, tpl_class what);

#endif
