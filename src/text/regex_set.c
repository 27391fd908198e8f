// SPDX-License-Identifier: Apache-2.0
//
// What stands in a pattern for one character: escapes, and sets within sets with their intersections, which PCRE2 has not.
// An intersection becomes a look-ahead, a negated set within another an alternative. Pure functions of the pattern.
#include <string.h>

#include "text/regex_private.h"
#include "text/unicode.h"

#define SETS_MAX 8  // within each other

bool rh_regex_refuse(rh_translation *to, const char *why) {
  if (to->status != RH_OK) return false;
  to->status = rh_fail(
      to->error, RH_UNSUPPORTED, "the regular expression %.*s is not understood here: %s (at byte %zu)",
      (int)(to->end - to->start < 200 ? to->end - to->start : 200), to->start, why, (size_t)(to->at - to->start));
  return false;
}

void rh_regex_put_code(rh_dynbuf *out, uint32_t code) {
  bool plain = code < 0x80 && (rh_char_is_letter_ascii(code) || rh_char_is_digit_ascii(code));
  if (plain)
    (void)rh_dynbuf_append_char(out, (char)code);
  else
    (void)rh_dynbuf_printf(out, "\\x{%X}", code);
}

bool rh_regex_starts(const rh_translation *to, const char *text) {
  size_t length = strlen(text);
  return (size_t)(to->end - to->at) >= length && memcmp(to->at, text, length) == 0;
}

// --- escapes that both worlds share --------------------------------------------------------------------------------

// After the backslash: \n, \x41, \x{3000}, \u3000, \] ... True with the code point; `at` is then behind it.
bool rh_regex_read_code(rh_translation *to, uint32_t *code) {
  static const char names[] = "tnrfvae", codes[] = "\t\n\r\f\v\a\x1b";
  if (to->at == to->end) return rh_regex_refuse(to, "it ends with a backslash");
  char c = *to->at;
  const char *named = c != '\0' ? strchr(names, c) : NULL;
  if (named != NULL) {
    *code = (uint8_t)codes[named - names];
    to->at++;
    return true;
  }
  if (c == 'x' || c == 'u') {
    bool braces = c == 'x' && to->end - to->at > 1 && to->at[1] == '{';
    size_t digits_max = braces ? 8 : c == 'x' ? 2 : 4, digits = 0;
    const char *at = to->at + (braces ? 2 : 1);
    for (*code = 0; digits < digits_max && at < to->end; digits++, at++) {
      static const char hex[] = "0123456789abcdef";
      char low = (char)(*at >= 'A' && *at <= 'F' ? *at + 32 : *at);
      const char *digit = low != '\0' ? strchr(hex, low) : NULL;
      if (digit == NULL) break;
      *code = *code << 4 | (uint32_t)(digit - hex);
    }
    if (digits == 0 || *code > RH_CODE_MAX || *code - 0xD800 < 0x800) return rh_regex_refuse(to, "no such character");
    if (c == 'x' && !braces && *code >= 0x80) return rh_regex_refuse(to, "single bytes beyond ASCII");
    if (braces && (at == to->end || *at++ != '}')) return rh_regex_refuse(to, "'}' is missing");
    to->at = at;
    return true;
  }
  if (rh_char_is_letter_ascii((uint8_t)c) || rh_char_is_digit_ascii((uint8_t)c))
    return rh_regex_refuse(to, "an escape that is not known");
  to->at += rh_char_read(to->at, to->end, code);
  return true;
}

// After the backslash: a class such as \w or \p{L}. False when it is none; then nothing was read.
bool rh_regex_read_class(rh_translation *to, rh_dynbuf *items, bool *negated) {
  char c = to->at < to->end ? *to->at : '\0';
  *negated = c == 'W' || c == 'S' || c == 'D' || c == 'H' || c == 'P';
  switch (c) {
    case 'w':
    case 'W': rh_regex_put_word(items); break;
    case 's':
    case 'S': rh_regex_put_space(items); break;
    case 'd':
    case 'D': rh_regex_put_digit(items); break;
    case 'h':
    case 'H': rh_regex_put_hex(items); break;
    case 'p':
    case 'P': {
      const char *name = to->at + 2;
      const char *close = to->end - to->at > 2 && to->at[1] == '{' ? memchr(name, '}', (size_t)(to->end - name)) : NULL;
      if (close == NULL) return rh_regex_refuse(to, "\\p without a name in braces");
      if (*name == '^') {
        *negated = !*negated;
        name++;
      }
      if (!rh_regex_put_property(items, name, (size_t)(close - name)))
        return rh_regex_refuse(to, "no such property of characters");
      to->at = close;
      break;
    }
    default: return false;
  }
  to->at++;
  return true;
}

// --- sets ----------------------------------------------------------------------------------------------------------

// One operand of &&: items for one bracket, and sets that have to stand beside it as alternatives.
typedef struct operand {
  rh_dynbuf items, others;
} operand;

static void operand_init(operand *set) {
  rh_dynbuf_init(&set->items, RH_REGEX_NATIVE_MAX);
  rh_dynbuf_init(&set->others, RH_REGEX_NATIVE_MAX);
}

static void operand_free(operand *set) {
  rh_dynbuf_free(&set->items);
  rh_dynbuf_free(&set->others);
}

static void put_operand(rh_dynbuf *out, const operand *set) {
  bool items = set->items.length > 0, others = set->others.length > 0;
  if (!items && !others) (void)rh_dynbuf_append_text(out, "(?!)");
  if (others) (void)rh_dynbuf_append_text(out, "(?:");
  if (items) (void)rh_dynbuf_printf(out, "[%s]", rh_dynbuf_data(&set->items));
  if (others) (void)rh_dynbuf_printf(out, "%s%s)", items ? "|" : "", rh_dynbuf_data(&set->others));
}

static void add_other(operand *set, const char *open, const rh_dynbuf *text, const char *close) {
  if (set->others.length > 0) (void)rh_dynbuf_append_char(&set->others, '|');
  (void)rh_dynbuf_printf(&set->others, "%s%s%s", open, rh_dynbuf_data(text), close);
}

// [:alpha:] or [:^alpha:]. False when it is none.
static bool read_posix(rh_translation *to, operand *set) {
  if (!rh_regex_starts(to, "[:")) return false;
  const char *name = to->at + 2;
  const char *close = memmem(name, (size_t)(to->end - name), ":]", 2);
  if (close == NULL) return false;
  bool negated = *name == '^';
  name += negated;
  rh_dynbuf items;
  rh_dynbuf_init(&items, RH_REGEX_NATIVE_MAX);
  bool known = rh_regex_put_property(&items, name, (size_t)(close - name));
  if (known && negated) add_other(set, "[^", &items, "]");
  if (known && !negated) (void)rh_dynbuf_append_text(&set->items, rh_dynbuf_data(&items));
  rh_dynbuf_free(&items);
  if (!known) return rh_regex_refuse(to, "no such class of characters");
  to->at = close + 2;
  return true;
}

// A character, or a range of them.
static bool read_range(rh_translation *to, operand *set) {
  uint32_t first, last;
  for (int i = 0; i < 2; i++) {
    uint32_t *code = i == 0 ? &first : &last;
    if (*to->at == '\\' && to->end - to->at > 1 && to->at[1] == 'b') {
      *code = '\b';
      to->at += 2;
    } else if (*to->at == '\\') {
      to->at++;
      if (!rh_regex_read_code(to, code)) return false;
    } else {
      to->at += rh_char_read(to->at, to->end, code);
    }
    bool ranges = i == 0 && to->end - to->at > 1 && *to->at == '-' && to->at[1] != ']' && to->at[1] != '[';
    static const char classes[] = "wWsSdDhHpP";
    if (ranges && to->at[1] == '\\' && to->end - to->at > 2 && memchr(classes, to->at[2], sizeof classes - 1))
      ranges = false;
    if (!ranges) {
      if (i == 0) last = first;
      break;
    }
    to->at++;
  }
  if (last < first) return rh_regex_refuse(to, "a range that ends before it begins");
  rh_regex_put_code(&set->items, first);
  if (last != first) {
    (void)rh_dynbuf_append_char(&set->items, '-');
    rh_regex_put_code(&set->items, last);
  }
  return true;
}

static bool read_item(rh_translation *to, operand *set, int depth) {
  if (*to->at == '[') {
    if (read_posix(to, set)) return true;
    if (to->status != RH_OK) return false;
    rh_dynbuf inner;
    rh_dynbuf_init(&inner, RH_REGEX_NATIVE_MAX);
    bool fine = rh_regex_read_set(to, &inner, depth + 1);
    if (fine) add_other(set, "", &inner, "");
    rh_dynbuf_free(&inner);
    return fine;
  }
  if (*to->at == '\\') {
    rh_dynbuf items;
    bool negated;
    rh_dynbuf_init(&items, RH_REGEX_NATIVE_MAX);
    to->at++;
    bool found = rh_regex_read_class(to, &items, &negated);
    if (found && negated) add_other(set, "[^", &items, "]");
    if (found && !negated) (void)rh_dynbuf_append_text(&set->items, rh_dynbuf_data(&items));
    rh_dynbuf_free(&items);
    if (found || to->status != RH_OK) return found;
    to->at--;
  }
  return read_range(to, set);
}

// From '[' to behind its ']'.
bool rh_regex_read_set(rh_translation *to, rh_dynbuf *out, int depth) {
  operand set;
  rh_dynbuf ands;  // the operands before, as look-aheads
  if (depth > SETS_MAX) return rh_regex_refuse(to, "sets within sets are nested too deeply");
  to->at++;
  bool negated = to->at < to->end && *to->at == '^', fine = true, first = true;
  to->at += negated;
  operand_init(&set);
  rh_dynbuf_init(&ands, RH_REGEX_NATIVE_MAX);
  while (fine && to->at < to->end && (*to->at != ']' || first)) {
    if (rh_regex_starts(to, "&&")) {
      (void)rh_dynbuf_append_text(&ands, "(?=");
      put_operand(&ands, &set);
      (void)rh_dynbuf_append_char(&ands, ')');
      operand_free(&set);
      to->at += 2;
    } else {
      fine = read_item(to, &set, depth);
    }
    first = false;
  }
  if (fine && to->at == to->end) fine = rh_regex_refuse(to, "']' is missing");
  to->at++;
  if (fine && negated && ands.length == 0 && set.others.length == 0) {
    (void)rh_dynbuf_printf(out, "[^%s]", rh_dynbuf_data(&set.items));
  } else if (fine) {
    if (negated) (void)rh_dynbuf_append_text(out, "(?:(?!");
    if (ands.length > 0) (void)rh_dynbuf_printf(out, "(?:%s", rh_dynbuf_data(&ands));
    put_operand(out, &set);
    if (ands.length > 0) (void)rh_dynbuf_append_char(out, ')');
    if (negated) (void)rh_dynbuf_append_text(out, ")(?s:.))");
  }
  if (set.items.failed || set.others.failed || ands.failed) fine = rh_regex_refuse(to, "its sets are too long");
  operand_free(&set);
  rh_dynbuf_free(&ands);
  return fine;
}
