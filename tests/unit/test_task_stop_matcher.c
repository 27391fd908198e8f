// SPDX-License-Identifier: Apache-2.0
//
// The text side of a generation: what is shown after each piece, which stop string is met, and what comes at the end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "task/generate.h"

#define PIECES_MAX 12

typedef struct row {
  const char *name;
  const char *stops[4];
  const char *pieces[PIECES_MAX];  // fed one by one
  const char *shown[PIECES_MAX];   // expected after each
  const char *met;                 // by the last piece, or NULL
  const char *rest;                // from finish() when none was met
} row;

static const row rows[] = {
    {"no stops", {NULL}, {"ab", "c"}, {"ab", "c"}, NULL, ""},
    {"inside one piece", {"END"}, {"fooENDbar"}, {"foo"}, "END", NULL},
    {"straddles two", {"END"}, {"foo E", "ND bar"}, {"foo ", ""}, "END", NULL},
    {"straddles three", {"STOP"}, {"aS", "TO", "P"}, {"a", "", ""}, "STOP", NULL},
    {"released when it cannot match", {"STOP"}, {"aST", "x"}, {"a", "STx"}, NULL, ""},
    {"partly released", {"aab"}, {"aa", "a", "c"}, {"", "a", "aac"}, NULL, ""},
    {"partly released, then met", {"aab"}, {"aa", "a", "b"}, {"", "a", ""}, "aab", NULL},
    {"restart inside", {"ababc"}, {"abab", "abc"}, {"", "ab"}, "ababc", NULL},
    {"held at the end", {"STOP"}, {"x STO"}, {"x "}, NULL, "STO"},
    {"two stops, first byte decides", {"one", "two"}, {"say two or one"}, {"say "}, "two", NULL},
    {"ends first wins", {"abcd", "bc"}, {"xabcd"}, {"xa"}, "bc", NULL},
    {"ends first wins, in pieces", {"abcd", "bc"}, {"xa", "bcd"}, {"x", "a"}, "bc", NULL},
    {"same end, the longest wins", {"bc", "abc"}, {"xabc"}, {"x"}, "abc", NULL},
    {"longest held prefix of several", {"aX", "baaY"}, {"baa", "Z"}, {"", "baaZ"}, NULL, ""},
    {"newline stops", {"\n\n"}, {"a\n", "b\n", "\nc"}, {"a", "\nb", ""}, "\n\n", NULL},
    {"at the very start", {"</s>"}, {"</", "s>"}, {"", ""}, "</s>", NULL},
    {"empty stop is ignored", {""}, {"abc"}, {"abc"}, NULL, ""},
    {"4 bytes over 4 pieces", {NULL}, {"\xF0", "\x9F", "\x98", "\x80"}, {"", "", "", "\xF0\x9F\x98\x80"}, NULL, ""},
    {"text, then half a character", {NULL}, {"a\xC3", "\xA9z"}, {"a", "\xC3\xA9z"}, NULL, ""},
    {"stop of many bytes a character, split",
     {"\xC3\xA9\xC3\xA9"},
     {"x\xC3", "\xA9\xC3", "\xA9"},
     {"x", "", ""},
     "\xC3\xA9\xC3\xA9",
     NULL},
    {"half a character of a stop", {"\xC3\xA9"}, {"\xC3", "\xA8"}, {"", "\xC3\xA8"}, NULL, ""},
    {"incomplete at the end", {NULL}, {"a\xF0\x9F\x98"}, {"a"}, NULL, "\xEF\xBF\xBD"},
    {"incomplete before a stop", {"S"}, {"a\xF0\x9F", "S"}, {"a", "\xEF\xBF\xBD"}, "S", NULL},
    {"incomplete before a held prefix", {"ST"}, {"\xF0\x9FS", "x"}, {"", "\xEF\xBF\xBDSx"}, NULL, ""},
    {"broken by a letter",
     {NULL},
     {"\xF0\x9F", "A"},
     {"",
      "\xEF\xBF\xBD"
      "A"},
     NULL,
     ""},
    {"stray bytes",
     {NULL},
     {"\x80",
      "a\xFF"
      "b"},
     {"\xEF\xBF\xBD",
      "a\xEF\xBF\xBD"
      "b"},
     NULL,
     ""},
    {"surrogate", {NULL}, {"\xED\xA0\x80"}, {"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, NULL, ""},
    {"empty pieces", {"ab"}, {"", "a", "", "b"}, {"", "", "", ""}, "ab", NULL},
};

static size_t count_words(const char *const *words, size_t max) {
  size_t count = 0;
  while (count < max && words[count] != NULL) count++;
  return count;
}

static void check_text(const row *r, size_t piece, const char *want, const char *text, size_t length) {
  if (strlen(want) == length && memcmp(want, text, length) == 0) return;
  fail_msg("\"%s\", piece %zu: got \"%.*s\", wanted \"%s\"", r->name, piece, (int)length, text, want);
}

static void test_table(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const row *r = &rows[i];
    rh_stop_matcher *matcher = rh_stop_matcher_new(r->stops, count_words(r->stops, 4));
    assert_non_null(matcher);
    size_t pieces = count_words(r->pieces, PIECES_MAX);
    const char *text = NULL;
    const char *stop = NULL;
    size_t length = 0;
    for (size_t p = 0; p < pieces; p++) {
      bool met = rh_stop_matcher_feed(matcher, r->pieces[p], strlen(r->pieces[p]), &text, &length, &stop);
      check_text(r, p, r->shown[p], text, length);
      bool want_met = p + 1 == pieces && r->met != NULL;
      if (met != want_met) fail_msg("\"%s\", piece %zu: met is %d", r->name, p, met);
      if (met)
        assert_string_equal(stop, r->met);
      else
        assert_null(stop);
    }
    if (r->met == NULL) {
      rh_stop_matcher_finish(matcher, &text, &length);
      check_text(r, pieces, r->rest, text, length);
    }
    assert_false(rh_stop_matcher_failed(matcher));
    rh_stop_matcher_free(matcher);
  }
}

// The slow and obvious way: byte by byte, the first end of any stop string.
static size_t naive_end(const char *text, size_t length, const char *const *stops, size_t count, size_t *start) {
  for (size_t end = 1; end <= length; end++) {
    size_t best = 0;
    for (size_t s = 0; s < count; s++) {
      size_t n = strlen(stops[s]);
      if (n <= end && n > best && memcmp(text + end - n, stops[s], n) == 0) best = n;
    }
    if (best > 0) {
      *start = end - best;
      return end;
    }
  }
  return 0;
}

// Random texts over a tiny alphabet, cut at random: the outcome must not depend on the cuts.
static void test_random_cuts_agree_with_the_naive_search(void **state) {
  (void)state;
  const char *const stops[] = {"abab", "bb", "aac", "cabca"};
  unsigned seed = 12345;
  for (int round = 0; round < 3000; round++) {
    char text[64];
    size_t length = (size_t)(rand_r(&seed) % 40) + 1;
    for (size_t i = 0; i < length; i++) text[i] = (char)('a' + rand_r(&seed) % 3);
    size_t start = length;
    size_t end = naive_end(text, length, stops, 4, &start);
    char got[128];
    size_t got_length = 0;
    bool met = false;
    rh_stop_matcher *matcher = rh_stop_matcher_new(stops, 4);
    for (size_t at = 0; at < length && !met;) {
      size_t piece = (size_t)(rand_r(&seed) % 5);
      if (piece > length - at) piece = length - at;
      const char *shown = NULL;
      const char *stop = NULL;
      size_t shown_length = 0;
      met = rh_stop_matcher_feed(matcher, text + at, piece, &shown, &shown_length, &stop);
      memcpy(got + got_length, shown, shown_length);
      got_length += shown_length;
      at += piece;
      assert_int_equal(rh_stop_matcher_shown(matcher), got_length);
    }
    if (!met) {
      const char *shown = NULL;
      size_t shown_length = 0;
      rh_stop_matcher_finish(matcher, &shown, &shown_length);
      memcpy(got + got_length, shown, shown_length);
      got_length += shown_length;
    }
    rh_stop_matcher_free(matcher);
    assert_int_equal(met, end > 0);
    assert_int_equal(got_length, start);
    assert_memory_equal(got, text, start);
  }
}

// Whatever bytes come in whatever cuts, what is shown is UTF-8, each time.
static void test_random_bytes_are_shown_as_utf8(void **state) {
  (void)state;
  static const unsigned char alphabet[] = {'a', 0x80, 0x9F, 0xBF, 0xC3, 0xE0, 0xED, 0xF0, 0xF4, 0xFF};
  unsigned seed = 99;
  for (int round = 0; round < 2000; round++) {
    const char *const stops[] = {"aa"};
    rh_stop_matcher *matcher = rh_stop_matcher_new(stops, 1);
    bool met = false;
    const char *shown = NULL;
    const char *stop = NULL;
    size_t length = 0;
    for (int i = 0; i < 30 && !met; i++) {
      char piece[3];
      size_t size = (size_t)(rand_r(&seed) % 4);
      for (size_t j = 0; j < size; j++) piece[j] = (char)alphabet[(size_t)rand_r(&seed) % sizeof alphabet];
      met = rh_stop_matcher_feed(matcher, piece, size, &shown, &length, &stop);
      assert_true(rh_utf8_valid(shown, length));
    }
    if (!met) {
      rh_stop_matcher_finish(matcher, &shown, &length);
      assert_true(rh_utf8_valid(shown, length));
    }
    rh_stop_matcher_free(matcher);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_random_cuts_agree_with_the_naive_search),
      cmocka_unit_test(test_random_bytes_are_shown_as_utf8),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
