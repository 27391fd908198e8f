// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the methods of str that give a changed text or say what it is made of.
// Data owned: none. Threads: the render's.
// Not here: looking for texts in texts (methods_search.c), cutting them up (methods_split.c).
#include <utf8proc.h>

#include "template/render.h"
#include "template/unicode.h"

static bool upper(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rh_tpl_change_case(render, self, true, out);
}

static bool lower(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rh_tpl_change_case(render, self, false, out);
}

// First letters large, others small: of the text (capitalize), or of every word (title); or all turned round (swapcase).
static bool recase(tpl_render *render, tpl_value self, char how, tpl_value *out) {
  rh_dynbuf buffer;
  bool inside = false;
  if (!rh_tpl_spend(render, self.length / 8)) return false;
  rh_tpl_buffer(&buffer);
  for (size_t at = 0, used; at < self.length; at += used) {
    uint32_t code = rh_tpl_decode_utf8(self.as.text + at, self.length - at, &used);
    bool is_lower = rh_tpl_char_is(code, TPL_LOWER), is_upper = rh_tpl_char_is(code, TPL_UPPER);
    bool to_upper = how == 's' ? is_lower : how == 't' ? !inside : at == 0;
    (void)rh_tpl_write_case_at(self, at, to_upper, inside, &buffer);
    inside = is_lower || is_upper || rh_tpl_char_is(code, TPL_TITLE);
  }
  return rh_tpl_text_take(render, &buffer, out);
}

static bool capitalize(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return recase(render, self, 'c', out);
}

static bool title(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return recase(render, self, 't', out);
}

static bool swapcase(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return recase(render, self, 's', out);
}

static bool strip(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return rh_tpl_strip_given(render, self, args[0], true, true, out);
}
static bool lstrip(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return rh_tpl_strip_given(render, self, args[0], true, false, out);
}
static bool rstrip(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return rh_tpl_strip_given(render, self, args[0], false, true, out);
}

static bool replace(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  int64_t most;
  return rh_tpl_want_text(render, "replace() argument 1", args[0]) &&
         rh_tpl_want_text(render, "replace() argument 2", args[1]) &&
         rh_tpl_want_int(render, "replace() argument 3", args[2], -1, &most) &&
         rh_tpl_replace(render, self, args[0], args[1], most, out);
}

static bool justify(tpl_render *render, tpl_value self, const tpl_value *args, char side, tpl_value *out) {
  int64_t width;
  tpl_value fill = args[1].kind == V_MISSING ? TPL_LITERAL(" ") : args[1];
  if (!rh_tpl_want_int(render, "the width", args[0], 0, &width) ||
      !rh_tpl_want_text(render, "the fill character", fill))
    return false;
  if (rh_tpl_count_chars(fill.as.text, fill.length) != 1)
    return rh_tpl_fail(render, "The fill character must be exactly one character long");
  return rh_tpl_center(render, self, width, side, fill, out);
}

static bool center(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return justify(render, self, args, 'c', out);
}
static bool ljust(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return justify(render, self, args, 'l', out);
}
static bool rjust(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return justify(render, self, args, 'r', out);
}

static bool zfill(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  int64_t width;
  if (!rh_tpl_want_int(render, "the width", args[0], 0, &width)) return false;
  bool sign = self.length > 0 && (self.as.text[0] == '-' || self.as.text[0] == '+');
  tpl_value rest = sign ? tpl_text(self.as.text + 1, self.length - 1) : self;
  if (sign && width > 0) width--;
  if (!rh_tpl_center(render, rest, width, 'r', TPL_LITERAL("0"), &rest)) return false;
  *out = rest;
  return !sign || rh_tpl_binary(render, OP_ADD, tpl_text(self.as.text, 1), rest, out);
}

static bool join(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *items;
  return rh_tpl_items(render, args[0], &items) && rh_tpl_join(render, self, items, true, out);
}

static bool format(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  return rh_tpl_format(render, self, args, out);
}

// Every character is of the class, and there is one.
static bool all_are(tpl_value text, tpl_class what) {
  for (size_t at = 0, used; at < text.length; at += used) {
    if (!rh_tpl_char_is(rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used), what)) return false;
  }
  return text.length > 0;
}

static bool all_space(tpl_value text) { return text.length > 0 && rh_tpl_strip(text, NULL, true, false).length == 0; }

static bool all_ascii(tpl_value text) {
  for (size_t i = 0; i < text.length; i++) {
    if ((unsigned char)text.as.text[i] >= 0x80) return false;
  }
  return true;
}

#define ASK(method, expression)                                                                   \
  static bool method(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) { \
    (void)args;                                                                                   \
    *out = tpl_bool(expression);                                                                  \
    return rh_tpl_spend_text(render, self.length);                                                \
  }

ASK(ask_alpha, all_are(self, TPL_ALPHA))
ASK(ask_alnum, all_are(self, TPL_ALNUM))
ASK(ask_decimal, all_are(self, TPL_DECIMAL))
ASK(ask_digit, all_are(self, TPL_DIGIT))
ASK(ask_numeric, all_are(self, TPL_NUMERIC))
ASK(ask_printable, self.length == 0 || all_are(self, TPL_PRINTABLE))
ASK(ask_space, all_space(self))
ASK(ask_ascii, all_ascii(self))
ASK(ask_identifier, self.length > 0 && rh_tpl_name_length(self.as.text, self.length) == self.length)

static bool apply_test(tpl_render *render, const char *name, size_t length, tpl_value self, tpl_value *out) {
  const tpl_args none = {0};
  return rh_tpl_apply(render, rh_tpl_test_find(tpl_text(name, length)), self, &none, out);
}

static bool ask_lower(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return apply_test(render, "lower", 5, self, out);
}

static bool ask_upper(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return apply_test(render, "upper", 5, self, out);
}

const tpl_function rh_tpl_text_methods[] = {
    {.name = "upper", .call = upper},
    {.name = "lower", .call = lower},
    {.name = "capitalize", .call = capitalize},
    {.name = "title", .call = title},
    {.name = "swapcase", .call = swapcase},
    {.name = "strip", .call = strip, .parameters = {"chars"}},
    {.name = "lstrip", .call = lstrip, .parameters = {"chars"}},
    {.name = "rstrip", .call = rstrip, .parameters = {"chars"}},
    {.name = "replace", .call = replace, .required = 2, .parameters = {"old", "new", "count"}},
    {.name = "center", .call = center, .required = 1, .parameters = {"width", "fillchar"}},
    {.name = "ljust", .call = ljust, .required = 1, .parameters = {"width", "fillchar"}},
    {.name = "rjust", .call = rjust, .required = 1, .parameters = {"width", "fillchar"}},
    {.name = "zfill", .call = zfill, .required = 1, .parameters = {"width"}},
    {.name = "join", .call = join, .required = 1, .parameters = {"iterable"}},
    {.name = "format", .raw = format},
    {.name = "isalpha", .call = ask_alpha},
    {.name = "isalnum", .call = ask_alnum},
    {.name = "isdecimal", .call = ask_decimal},
    {.name = "isdigit", .call = ask_digit},
    {.name = "isnumeric", .call = ask_numeric},
    {.name = "isprintable", .call = ask_printable},
    {.name = "isspace", .call = ask_space},
    {.name = "isascii", .call = ask_ascii},
    {.name = "isidentifier", .call = ask_identifier},
    {.name = "islower", .call = ask_lower},
    {.name = "isupper", .call = ask_upper},
    {.name = NULL},
};
