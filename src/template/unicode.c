// SPDX-License-Identifier: Apache-2.0
//
// Purpose: characters as Python's str sees them, in UTF-8.
// Data owned: none. Threads: any.
// Not here: validation; every text was checked where it came in.
#include "template/unicode.h"

#include <utf8proc.h>

uint32_t rh_tpl_decode_utf8(const char *text, size_t length, size_t *used) {
  const unsigned char *bytes = (const unsigned char *)text;
  *used = length > 0 ? 1 : 0;
  if (length == 0) return 0;
  uint32_t first = bytes[0];
  size_t size = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (size == 1 || size > length) return first;
  uint32_t code = first & (0xFFu >> (size + 1));
  for (size_t i = 1; i < size; i++) code = code << 6 | (bytes[i] & 0x3Fu);
  *used = size;
  return code;
}

size_t rh_tpl_encode_utf8(uint32_t code, char *out) {
  return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

static bool is_space(uint32_t code) {
  if (code < 0x80) return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

size_t rh_tpl_space_length(const char *text, size_t length) {
  size_t used;
  uint32_t code = rh_tpl_decode_utf8(text, length, &used);
  return length > 0 && is_space(code) ? used : 0;
}

size_t rh_tpl_space_before(const char *text, size_t from, size_t to) {
  if (to <= from) return 0;
  size_t at = to - 1;
  while (at > from && ((unsigned char)text[at] & 0xC0) == 0x80) at--;
  return rh_tpl_space_length(text + at, to - at) == to - at ? to - at : 0;
}

size_t rh_tpl_line_break(const char *text, size_t length) {
  size_t used;
  uint32_t code = rh_tpl_decode_utf8(text, length, &used);
  if (length == 0) return 0;
  if (code == '\r') return length > 1 && text[1] == '\n' ? 2 : 1;
  bool breaks =
      (code >= 10 && code <= 12) || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 || code == 0x2029;
  return breaks ? used : 0;
}

static utf8proc_category_t category(uint32_t code) { return utf8proc_category((utf8proc_int32_t)code); }

static bool is_letter(uint32_t code) {
  utf8proc_category_t is = category(code);
  return is >= UTF8PROC_CATEGORY_LU && is <= UTF8PROC_CATEGORY_LO;
}

static bool in_name(uint32_t code, bool first) {
  if (code < 0x80) {
    return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') || code == '_' ||
           (!first && code >= '0' && code <= '9');
  }
  utf8proc_category_t is = category(code);
  if (is_letter(code) || is == UTF8PROC_CATEGORY_NL) return true;
  return !first && (is == UTF8PROC_CATEGORY_MN || is == UTF8PROC_CATEGORY_MC || is == UTF8PROC_CATEGORY_ND ||
                    is == UTF8PROC_CATEGORY_PC);
}

size_t rh_tpl_name_length(const char *text, size_t length) {
  size_t at = 0, used;
  while (at < length && in_name(rh_tpl_decode_utf8(text + at, length - at, &used), at == 0)) at += used;
  return at;
}

size_t rh_tpl_count_chars(const char *text, size_t length) {
  size_t count = 0;
  for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

size_t rh_tpl_char_offset(const char *text, size_t length, size_t chars) {
  size_t at = 0, used;
  for (; chars > 0 && at < length; chars--) {
    (void)rh_tpl_decode_utf8(text + at, length - at, &used);
    at += used;
  }
  return at;
}

// Digits that Python's isdigit knows beside the decimal ones: superscripts, subscripts, circled and the like.
static bool is_other_digit(uint32_t code) {
  return code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 || (code >= 0x2074 && code <= 0x2079) ||
         (code >= 0x2080 && code <= 0x2089) || (code >= 0x2460 && code <= 0x2468) ||
         (code >= 0x2474 && code <= 0x247C) || (code >= 0x2488 && code <= 0x2490) || code == 0x24EA ||
         (code >= 0x24F5 && code <= 0x24FD) || code == 0x24FF || (code >= 0x2776 && code <= 0x277E) ||
         (code >= 0x2780 && code <= 0x2788) || (code >= 0x278A && code <= 0x2792);
}

// Most text is, and long texts should not wait for tables.
static bool ascii_is(uint32_t code, tpl_class what) {
  bool lower = code >= 'a' && code <= 'z', upper = code >= 'A' && code <= 'Z', digit = code >= '0' && code <= '9';
  switch (what) {
    case TPL_ALPHA: return lower || upper;
    case TPL_DECIMAL:
    case TPL_DIGIT:
    case TPL_NUMERIC: return digit;
    case TPL_ALNUM: return lower || upper || digit;
    case TPL_PRINTABLE: return code >= ' ' && code < 0x7F;
    case TPL_LOWER: return lower;
    case TPL_UPPER: return upper;
    case TPL_TITLE: return false;
  }
  return false;
}

bool rh_tpl_char_is(uint32_t code, tpl_class what) {
  if (code < 0x80) return ascii_is(code, what);
  utf8proc_category_t is = category(code);
  switch (what) {
    case TPL_ALPHA: return is_letter(code);
    case TPL_DECIMAL: return is == UTF8PROC_CATEGORY_ND;
    case TPL_DIGIT: return is == UTF8PROC_CATEGORY_ND || is_other_digit(code);
    case TPL_NUMERIC: return is == UTF8PROC_CATEGORY_ND || is == UTF8PROC_CATEGORY_NL || is == UTF8PROC_CATEGORY_NO;
    case TPL_ALNUM:
      return is_letter(code) || is == UTF8PROC_CATEGORY_ND || is == UTF8PROC_CATEGORY_NL || is == UTF8PROC_CATEGORY_NO;
    case TPL_PRINTABLE:
      return code == ' ' || !(is == UTF8PROC_CATEGORY_CN || is == UTF8PROC_CATEGORY_ZS || is == UTF8PROC_CATEGORY_ZL ||
                              is == UTF8PROC_CATEGORY_ZP || is == UTF8PROC_CATEGORY_CC || is == UTF8PROC_CATEGORY_CF ||
                              is == UTF8PROC_CATEGORY_CS || is == UTF8PROC_CATEGORY_CO);
    case TPL_LOWER: return utf8proc_islower((utf8proc_int32_t)code) != 0;
    case TPL_UPPER: return utf8proc_isupper((utf8proc_int32_t)code) != 0;
    case TPL_TITLE: return is == UTF8PROC_CATEGORY_LT;
  }
  return false;
}
