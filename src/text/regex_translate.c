// SPDX-License-Identifier: Apache-2.0
//
// Oniguruma's Ruby syntax in PCRE2's. Different are: what \s, \w, \d, \h, \v and properties mean; sets within sets and their
// intersections; {n,m}+ (a repetition repeated, not a possessive one); (?m) for "dot matches all"; an option in the middle
// of a group, which also takes in the alternatives after it. What is in doubt is refused with its place. Pure function.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/regex_private.h"
#include "text/unicode.h"

#define GROUPS_MAX 128
#define SETS_MAX 8  // within each other

typedef struct translation {
  const char *start, *at, *end;
  rh_dynbuf *out;
  rh_error *error;
  rh_status status;
  size_t atom;  // where in `out` the last atom begins; SIZE_MAX: there is none to repeat
  size_t group_starts[GROUPS_MAX];
  unsigned group_closes[GROUPS_MAX];  // more parentheses to close with this one
  size_t depth;
} translation;

static void put(translation *to, const char *text) { (void)rh_dynbuf_append_text(to->out, text); }

static bool refuse(translation *to, const char *why) {
  if (to->status != RH_OK) return false;
  to->status = rh_fail(
      to->error, RH_UNSUPPORTED, "the regular expression %.*s is not understood here: %s (at byte %zu)",
      (int)(to->end - to->start < 200 ? to->end - to->start : 200), to->start, why, (size_t)(to->at - to->start));
  return false;
}

static void put_code(rh_dynbuf *out, uint32_t code) {
  bool plain = code < 0x80 && (rh_char_is_letter_ascii(code) || rh_char_is_digit_ascii(code));
  if (plain)
    (void)rh_dynbuf_append_char(out, (char)code);
  else
    (void)rh_dynbuf_printf(out, "\\x{%X}", code);
}

static bool starts(const translation *to, const char *text) {
  size_t length = strlen(text);
  return (size_t)(to->end - to->at) >= length && memcmp(to->at, text, length) == 0;
}

// --- escapes that both worlds share --------------------------------------------------------------------------------

// After the backslash: \n, \x41, \x{3000}, \u3000, \] ... True with the code point; `at` is then behind it.
static bool read_code(translation *to, uint32_t *code) {
  static const char names[] = "tnrfvae", codes[] = "\t\n\r\f\v\a\x1b";
  if (to->at == to->end) return refuse(to, "it ends with a backslash");
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
    if (digits == 0 || *code > RH_CODE_MAX || *code - 0xD800 < 0x800) return refuse(to, "no such character");
    if (c == 'x' && !braces && *code >= 0x80) return refuse(to, "single bytes beyond ASCII");
    if (braces && (at == to->end || *at++ != '}')) return refuse(to, "'}' is missing");
    to->at = at;
    return true;
  }
  if (rh_char_is_letter_ascii((uint8_t)c) || rh_char_is_digit_ascii((uint8_t)c))
    return refuse(to, "an escape that is not known");
  to->at += rh_char_read(to->at, to->end, code);
  return true;
}

// After the backslash: a class such as \w or \p{L}. False when it is none; then nothing was read.
static bool read_class(translation *to, rh_dynbuf *items, bool *negated) {
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
      if (close == NULL) return refuse(to, "\\p without a name in braces");
      if (*name == '^') {
        *negated = !*negated;
        name++;
      }
      if (!rh_regex_put_property(items, name, (size_t)(close - name)))
        return refuse(to, "no such property of characters");
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

static bool read_set(translation *to, rh_dynbuf *out, int depth);

// [:alpha:] or [:^alpha:]. False when it is none.
static bool read_posix(translation *to, operand *set) {
  if (!starts(to, "[:")) return false;
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
  if (!known) return refuse(to, "no such class of characters");
  to->at = close + 2;
  return true;
}

// A character, or a range of them.
static bool read_range(translation *to, operand *set) {
  uint32_t first, last;
  for (int i = 0; i < 2; i++) {
    uint32_t *code = i == 0 ? &first : &last;
    if (*to->at == '\\' && to->end - to->at > 1 && to->at[1] == 'b') {
      *code = '\b';
      to->at += 2;
    } else if (*to->at == '\\') {
      to->at++;
      if (!read_code(to, code)) return false;
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
  if (last < first) return refuse(to, "a range that ends before it begins");
  put_code(&set->items, first);
  if (last != first) {
    (void)rh_dynbuf_append_char(&set->items, '-');
    put_code(&set->items, last);
  }
  return true;
}

static bool read_item(translation *to, operand *set, int depth) {
  if (*to->at == '[') {
    if (read_posix(to, set)) return true;
    if (to->status != RH_OK) return false;
    rh_dynbuf inner;
    rh_dynbuf_init(&inner, RH_REGEX_NATIVE_MAX);
    bool fine = read_set(to, &inner, depth + 1);
    if (fine) add_other(set, "", &inner, "");
    rh_dynbuf_free(&inner);
    return fine;
  }
  if (*to->at == '\\') {
    rh_dynbuf items;
    bool negated;
    rh_dynbuf_init(&items, RH_REGEX_NATIVE_MAX);
    to->at++;
    bool found = read_class(to, &items, &negated);
    if (found && negated) add_other(set, "[^", &items, "]");
    if (found && !negated) (void)rh_dynbuf_append_text(&set->items, rh_dynbuf_data(&items));
    rh_dynbuf_free(&items);
    if (found || to->status != RH_OK) return found;
    to->at--;
  }
  return read_range(to, set);
}

// From '[' to behind its ']'.
static bool read_set(translation *to, rh_dynbuf *out, int depth) {
  operand set;
  rh_dynbuf ands;  // the operands before, as look-aheads
  if (depth > SETS_MAX) return refuse(to, "sets within sets are nested too deeply");
  to->at++;
  bool negated = to->at < to->end && *to->at == '^', fine = true, first = true;
  to->at += negated;
  operand_init(&set);
  rh_dynbuf_init(&ands, RH_REGEX_NATIVE_MAX);
  while (fine && to->at < to->end && (*to->at != ']' || first)) {
    if (starts(to, "&&")) {
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
  if (fine && to->at == to->end) fine = refuse(to, "']' is missing");
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
  if (set.items.failed || set.others.failed || ands.failed) fine = refuse(to, "its sets are too long");
  operand_free(&set);
  rh_dynbuf_free(&ands);
  return fine;
}

// --- the rest ------------------------------------------------------------------------------------------------------

static void put_boundary(translation *to, bool negated) {
  rh_dynbuf word;
  rh_dynbuf_init(&word, RH_REGEX_NATIVE_MAX);
  rh_regex_put_word(&word);
  const char *w = rh_dynbuf_data(&word);
  const char *one = negated ? "(?=" : "(?!", *two = negated ? "(?!" : "(?=";
  (void)rh_dynbuf_printf(to->out, "(?:(?<=[%s])%s[%s])|(?<![%s])%s[%s]))", w, one, w, w, two, w);
  rh_dynbuf_free(&word);
}

static void read_escape(translation *to) {
  rh_dynbuf items;
  bool negated;
  uint32_t code;
  to->atom = to->out->length;
  to->at++;
  char c = to->at < to->end ? *to->at : '\0';
  if (c == 'b' || c == 'B') {
    put_boundary(to, c == 'B');
    to->at++;
    return;
  }
  if (c != '\0' && strchr("AzZGRXK123456789", c) != NULL) {
    (void)rh_dynbuf_printf(to->out, "\\%c", c);
    to->at++;
    return;
  }
  rh_dynbuf_init(&items, RH_REGEX_NATIVE_MAX);
  if (read_class(to, &items, &negated))
    (void)rh_dynbuf_printf(to->out, "[%s%s]", negated ? "^" : "", rh_dynbuf_data(&items));
  else if (to->status == RH_OK && read_code(to, &code))
    put_code(to->out, code);
  rh_dynbuf_free(&items);
}

static void open_group(translation *to) {
  if (to->depth + 1 == GROUPS_MAX) {
    refuse(to, "groups are nested too deeply");
    return;
  }
  size_t start = to->out->length;
  if (starts(to, "(?")) {
    const char *at = to->at + 2;
    while (at < to->end && (*at == 'i' || *at == 'm' || *at == '-')) at++;
    bool options = at > to->at + 2 && at < to->end && (*at == ':' || *at == ')');
    static const char *const openers[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    size_t i = 0;
    while (i < sizeof openers / sizeof *openers && !starts(to, openers[i])) i++;
    if (options) {
      put(to, "(?");
      for (const char *option = to->at + 2; option < at; option++) {
        (void)rh_dynbuf_append_char(to->out, *option == 'm' ? 's' : *option);
      }
      put(to, ":");
      bool rest = *at == ')';  // up to the end of this group
      to->at = at + 1;
      to->atom = SIZE_MAX;
      if (rest) {
        to->group_closes[to->depth]++;
        return;
      }
    } else if (i < sizeof openers / sizeof *openers) {
      put(to, openers[i]);
      to->at += strlen(openers[i]);
    } else {
      refuse(to, "a kind of group that is not known");
      return;
    }
  } else {
    put(to, "(");
    to->at++;
  }
  to->depth++;
  to->group_starts[to->depth] = start;
  to->group_closes[to->depth] = 0;
  to->atom = SIZE_MAX;
}

static void close_group(translation *to) {
  if (to->depth == 0) {
    refuse(to, "')' without '('");
    return;
  }
  for (unsigned i = 0; i <= to->group_closes[to->depth]; i++) put(to, ")");
  to->atom = to->group_starts[to->depth--];
  to->at++;
}

// {n}, {n,}, {,m}, {n,m}; false: braces that are just characters.
static bool read_interval(translation *to) {
  const char *at = to->at + 1;
  unsigned long numbers[2] = {0, 0};
  bool given[2] = {false, false}, comma = false;
  for (int i = 0; i < 2; i++) {
    for (; at < to->end && rh_char_is_digit_ascii((uint8_t)*at); at++) {
      numbers[i] = numbers[i] * 10 + (unsigned long)(*at - '0');
      given[i] = true;
      if (numbers[i] > 65535) return refuse(to, "a repetition beyond 65,535");
    }
    if (i == 0 && at < to->end && *at == ',') {
      comma = true;
      at++;
    } else if (i == 0) {
      break;
    }
  }
  if (at == to->end || *at != '}' || (!given[0] && !given[1])) return false;
  if (to->atom == SIZE_MAX) return refuse(to, "nothing to repeat");
  at++;
  // A '+' after it repeats the repetition; so does a '?' after {n}, which has nothing to be lazy about.
  bool wraps = at < to->end && (*at == '+' || (*at == '?' && !comma));
  char bounds[32];
  if (comma && !given[1])
    snprintf(bounds, sizeof bounds, "{%lu,}", numbers[0]);
  else
    snprintf(bounds, sizeof bounds, comma ? "{%lu,%lu}" : "{%lu}", numbers[0], numbers[1]);
  if (wraps) {
    size_t tail = to->out->length - to->atom;
    char *copy = strndup(rh_dynbuf_data(to->out) + to->atom, tail);
    if (copy == NULL) return refuse(to, "out of memory");
    to->out->length = to->atom;
    (void)rh_dynbuf_printf(to->out, "(?:%s%s)%c", copy, bounds, *at);
    free(copy);
    at++;
  } else {
    put(to, bounds);
  }
  to->at = at;
  return true;
}

static void read_one(translation *to) {
  char c = *to->at;
  uint32_t code;
  if (c == '\\') {
    read_escape(to);
  } else if (c == '[') {
    to->atom = to->out->length;
    read_set(to, to->out, 0);
  } else if (c == '(') {
    open_group(to);
  } else if (c == ')') {
    close_group(to);
  } else if (c == '{' && read_interval(to)) {
    return;
  } else if (c == '|' || c == '*' || c == '+' || c == '?') {
    (void)rh_dynbuf_append_char(to->out, c);
    if (c == '|') to->atom = SIZE_MAX;
    to->at++;
  } else if (c == '.' || c == '^' || c == '$') {
    to->atom = to->out->length;
    (void)rh_dynbuf_append_char(to->out, c);
    to->at++;
  } else if (to->status == RH_OK) {
    to->atom = to->out->length;
    to->at += rh_char_read(to->at, to->end, &code);
    put_code(to->out, code);
  }
}

rh_status rh_regex_translate(const char *pattern, size_t length, rh_dynbuf *out, rh_error *error) {
  translation to = {
      .start = pattern, .at = pattern, .end = pattern + length, .out = out, .error = error, .atom = SIZE_MAX};
  while (to.status == RH_OK && to.at < to.end) read_one(&to);
  if (to.status == RH_OK && to.depth > 0) refuse(&to, "')' is missing");
  for (unsigned i = 0; i < to.group_closes[0]; i++) put(&to, ")");
  if (to.status == RH_OK && out->failed) refuse(&to, "it is too long");
  return to.status;
}
