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

static void put(rh_translation *to, const char *text) { (void)rh_dynbuf_append_text(to->out, text); }

// --- the rest ------------------------------------------------------------------------------------------------------

static void put_boundary(rh_translation *to, bool negated) {
  rh_dynbuf word;
  rh_dynbuf_init(&word, RH_REGEX_NATIVE_MAX);
  rh_regex_put_word(&word);
  const char *w = rh_dynbuf_data(&word);
  const char *one = negated ? "(?=" : "(?!", *two = negated ? "(?!" : "(?=";
  (void)rh_dynbuf_printf(to->out, "(?:(?<=[%s])%s[%s])|(?<![%s])%s[%s]))", w, one, w, w, two, w);
  rh_dynbuf_free(&word);
}

static void read_escape(rh_translation *to) {
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
  if (rh_regex_read_class(to, &items, &negated))
    (void)rh_dynbuf_printf(to->out, "[%s%s]", negated ? "^" : "", rh_dynbuf_data(&items));
  else if (to->status == RH_OK && rh_regex_read_code(to, &code))
    rh_regex_put_code(to->out, code);
  rh_dynbuf_free(&items);
}

static void open_group(rh_translation *to) {
  if (to->depth + 1 == RH_REGEX_GROUPS_MAX) {
    rh_regex_refuse(to, "groups are nested too deeply");
    return;
  }
  size_t start = to->out->length;
  if (rh_regex_starts(to, "(?")) {
    const char *at = to->at + 2;
    while (at < to->end && (*at == 'i' || *at == 'm' || *at == '-')) at++;
    bool options = at > to->at + 2 && at < to->end && (*at == ':' || *at == ')');
    static const char *const openers[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    size_t i = 0;
    while (i < sizeof openers / sizeof *openers && !rh_regex_starts(to, openers[i])) i++;
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
      rh_regex_refuse(to, "a kind of group that is not known");
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

static void close_group(rh_translation *to) {
  if (to->depth == 0) {
    rh_regex_refuse(to, "')' without '('");
    return;
  }
  for (unsigned i = 0; i <= to->group_closes[to->depth]; i++) put(to, ")");
  to->atom = to->group_starts[to->depth--];
  to->at++;
}

// {n}, {n,}, {,m}, {n,m}; false: braces that are just characters.
static bool read_interval(rh_translation *to) {
  const char *at = to->at + 1;
  unsigned long numbers[2] = {0, 0};
  bool given[2] = {false, false}, comma = false;
  for (int i = 0; i < 2; i++) {
    for (; at < to->end && rh_char_is_digit_ascii((uint8_t)*at); at++) {
      numbers[i] = numbers[i] * 10 + (unsigned long)(*at - '0');
      given[i] = true;
      if (numbers[i] > 65535) return rh_regex_refuse(to, "a repetition beyond 65,535");
    }
    if (i == 0 && at < to->end && *at == ',') {
      comma = true;
      at++;
    } else if (i == 0) {
      break;
    }
  }
  if (at == to->end || *at != '}' || (!given[0] && !given[1])) return false;
  if (to->atom == SIZE_MAX) return rh_regex_refuse(to, "nothing to repeat");
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
    if (copy == NULL) return rh_regex_refuse(to, "out of memory");
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

static void read_one(rh_translation *to) {
  char c = *to->at;
  uint32_t code;
  if (c == '\\') {
    read_escape(to);
  } else if (c == '[') {
    to->atom = to->out->length;
    rh_regex_read_set(to, to->out, 0);
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
    rh_regex_put_code(to->out, code);
  }
}

rh_status rh_regex_translate(const char *pattern, size_t length, rh_dynbuf *out, rh_error *error) {
  rh_translation to = {
      .start = pattern, .at = pattern, .end = pattern + length, .out = out, .error = error, .atom = SIZE_MAX};
  while (to.status == RH_OK && to.at < to.end) read_one(&to);
  if (to.status == RH_OK && to.depth > 0) rh_regex_refuse(&to, "')' is missing");
  for (unsigned i = 0; i < to.group_closes[0]; i++) put(&to, ")");
  if (to.status == RH_OK && out->failed) rh_regex_refuse(&to, "it is too long");
  return to.status;
}
