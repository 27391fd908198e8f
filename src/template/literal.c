// SPDX-License-Identifier: Apache-2.0
//
// Purpose: numbers and strings as a template writes them; Python's forms.
// Data owned: none. Threads: any.
// Not here: numbers of more than 64 bits, \N{names}, and surrogates, which no UTF-8 text can hold: they are refused.
#include "template/literal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "template/unicode.h"

static int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

// `digits` hexadecimal digits at text[*at].
static const char *hex_escape(const char *text, size_t length, size_t *at, int digits, uint32_t *out) {
  *out = 0;
  for (int i = 0; i < digits; i++, (*at)++) {
    if (*at >= length || digit_of(text[*at]) > 15) return "an escape in a string lacks hexadecimal digits";
    *out = *out * 16 + (uint32_t)digit_of(text[*at]);
  }
  if (*out > 0x10FFFF || (*out >= 0xD800 && *out <= 0xDFFF)) return "an escape in a string is no Unicode character";
  return NULL;
}

static size_t octal_escape(const char *text, size_t length, size_t at, uint32_t *out) {
  size_t from = at;
  *out = 0;
  while (at < length && at - from < 3 && text[at] >= '0' && text[at] <= '7')
    *out = *out * 8 + (uint32_t)(text[at++] - '0');
  return at;
}

// The escape after a backslash at text[*at - 1]; writes to `to` and returns what was wrong.
static const char *unescape(const char *text, size_t length, size_t *at, char *to, size_t *written) {
  static const char plain[] = "\\'\"abfnrtv";
  static const char meant[] = "\\'\"\a\b\f\n\r\t\v";
  char c = text[*at];
  const char *found = strchr(plain, c);
  const char *wrong = NULL;
  uint32_t code = 0;
  *written = 0;
  if (c != '\0' && found != NULL) {
    (*at)++;
    to[(*written)++] = meant[found - plain];
    return NULL;
  }
  if (c == '\n') {  // the line goes on
    (*at)++;
    return NULL;
  }
  if (c >= '0' && c <= '7') {
    *at = octal_escape(text, length, *at, &code);
  } else if (c == 'x' || c == 'u' || c == 'U') {
    (*at)++;
    wrong = hex_escape(text, length, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, &code);
  } else if (c == 'N') {
    wrong = "names of characters (\\N{...}) are not known here";
  } else {  // no escape: the backslash stays
    to[(*written)++] = '\\';
    return NULL;
  }
  if (wrong == NULL) *written = rh_tpl_encode_utf8(code, to);
  return wrong;
}

const char *rh_tpl_literal_text(rh_arena *arena, const char *text, size_t length, tpl_value *out) {
  if (memchr(text, '\\', length) == NULL) {
    *out = tpl_text(text, length);
    return NULL;
  }
  // No escape is shorter than what it stands for.
  char *copy = rh_arena_alloc(arena, length + 4);
  if (copy == NULL) return "not enough memory for the chat template";
  size_t to = 0;
  for (size_t at = 0; at < length;) {
    if (text[at] != '\\' || at + 1 >= length) {
      copy[to++] = text[at++];
      continue;
    }
    at++;
    size_t written;
    const char *wrong = unescape(text, length, &at, copy + to, &written);
    if (wrong != NULL) return wrong;
    to += written;
  }
  *out = tpl_text(copy, to);
  return NULL;
}

// Digits with single underscores between them, from `at`: where they end; `at` when there are none.
static size_t digits_end(const char *text, size_t length, size_t at, int base) {
  size_t end = at;
  for (;;) {
    size_t next = end > at && end < length && text[end] == '_' ? end + 1 : end;
    if (next >= length || digit_of(text[next]) >= base) return end;
    end = next + 1;
  }
}

static size_t float_end(const char *text, size_t length) {
  size_t whole = digits_end(text, length, 0, 10), end = 0;
  if (whole == 0) return 0;
  size_t at = whole;
  if (at < length && text[at] == '.') {
    size_t fraction = digits_end(text, length, at + 1, 10);
    if (fraction > at + 1) end = at = fraction;
  }
  if (at < length && (text[at] == 'e' || text[at] == 'E')) {
    size_t from = at + 1;
    if (from < length && (text[from] == '+' || text[from] == '-')) from++;
    size_t exponent = digits_end(text, length, from, 10);
    if (exponent > from) end = exponent;
  }
  return end;
}

static const char *read_float(const char *text, size_t end, tpl_value *out) {
  char digits[512];
  size_t count = 0;
  for (size_t i = 0; i < end; i++) {
    if (text[i] == '_') continue;
    if (count + 1 >= sizeof digits) return "a number is too long";
    digits[count++] = text[i];
  }
  digits[count] = '\0';
  *out = tpl_float(strtod(digits, NULL));
  return NULL;
}

const char *rh_tpl_literal_number(const char *text, size_t length, bool after_dot, tpl_value *out, size_t *used) {
  size_t end = after_dot ? 0 : float_end(text, length);
  if (end > 0) {
    *used = end;
    return read_float(text, end, out);
  }
  int base = 10;
  size_t from = 0;
  if (length > 2 && text[0] == '0') {
    char mark = (char)(text[1] | 0x20);
    int other = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 0;
    size_t first = text[2] == '_' ? 3 : 2;
    if (other > 0 && digits_end(text, length, first, other) > first) {
      base = other;
      from = first;
    }
  }
  // A zero is followed by nothing but zeros.
  end = digits_end(text, length, from, base == 10 && text[0] == '0' ? 1 : base);
  int64_t value = 0;
  for (size_t i = from; i < end; i++) {
    if (text[i] == '_') continue;
    if (__builtin_mul_overflow(value, (int64_t)base, &value) ||
        __builtin_add_overflow(value, (int64_t)digit_of(text[i]), &value))
      return "a whole number of more than 64 bits";
  }
  *out = tpl_int(value);
  *used = end;
  return NULL;
}
