// SPDX-License-Identifier: Apache-2.0
//
// Pre-tokenizers: how each kind cuts, what it rewrites, where the pieces come from; patterns that are refused or too slow;
// the scanners by hand against PCRE2 on random text. Against the package: tests/e2e/test_text_front.py.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/pretokenizer_private.h"

typedef struct work {
  rh_mapped text, scratch;
  rh_pieces pieces, scratch_pieces;
} work;

static void work_free(work *of) {
  rh_mapped_free(&of->text);
  rh_mapped_free(&of->scratch);
  rh_pieces_free(&of->pieces);
  rh_pieces_free(&of->scratch_pieces);
}

static rh_pretokenizer *pretokenizer_of(const char *json) {
  rh_pretokenizer *pretokenizer = NULL;
  rh_error error = {0};
  json_t *parsed = json_loads(json, 0, NULL);
  assert_non_null(parsed);
  if (rh_pretokenizer_from_json(parsed, &pretokenizer, &error) != RH_OK) fail_msg("%s", error.message);
  json_decref(parsed);
  return pretokenizer;
}

static rh_status cut(const rh_pretokenizer *pretokenizer, const char *text, size_t length, bool offsets, work *of) {
  of->text.length = of->pieces.count = 0;
  rh_status status = rh_mapped_reserve(&of->text, length, offsets);
  if (status == RH_OK) status = rh_added_split(NULL, NULL, text, length, true, &of->text, &of->scratch, &of->pieces);
  if (status != RH_OK) return status;
  return rh_pretokenizer_apply(pretokenizer, &of->text, &of->pieces, &of->scratch, &of->scratch_pieces);
}

// Pieces with '|' between; NULL offsets are not looked at.
static void expect(const char *json, const char *text, const char *wanted, const char *offsets) {
  rh_pretokenizer *pretokenizer = pretokenizer_of(json);
  work of = {0};
  for (int round = 0; round < 2; round++) {
    char pieces[512] = "", places[512] = "";
    assert_int_equal(cut(pretokenizer, text, strlen(text), round == 0, &of), RH_OK);
    for (size_t i = 0; i < of.pieces.count; i++) {
      const rh_piece *piece = &of.pieces.items[i];
      size_t used = strlen(pieces), placed = strlen(places);
      snprintf(pieces + used, sizeof pieces - used, "%s%.*s", i > 0 ? "|" : "", (int)(piece->end - piece->start),
               of.text.bytes + piece->start);
      if (round != 0) continue;
      snprintf(places + placed, sizeof places - placed, "%s%u-%u", i > 0 ? " " : "", of.text.from[piece->start],
               of.text.to[piece->end - 1]);
    }
    assert_string_equal(pieces, wanted);
    if (offsets != NULL && round == 0) assert_string_equal(places, offsets);
  }
  work_free(&of);
  rh_pretokenizer_free(pretokenizer);
}

#define SIMPLE(type) "{\"type\":\"" type "\"}"
#define SPLIT(pattern, behavior, invert) \
  "{\"type\":\"Split\",\"pattern\":{" pattern "},\"behavior\":\"" behavior "\",\"invert\":" invert "}"

static void test_characters(void **state) {
  (void)state;
  expect(SIMPLE("BertPreTokenizer"), "Hey, you\u3002 ", "Hey|,|you|\u3002", "0-3 3-4 5-8 8-11");
  expect(SIMPLE("Whitespace"), "a_1 b--c", "a_1|b|--|c", "0-3 4-5 5-7 7-8");
  expect(SIMPLE("WhitespaceSplit"), " a\u00a0b. ", "a|b.", "1-2 4-6");
  expect(SIMPLE("UnicodeScripts"), " a b\u3042\u4e2d", "a b|\u3042\u4e2d", "1-4 4-10");
  expect("{\"type\":\"Digits\",\"individual_digits\":true}", "a12", "a|1|2", NULL);
  expect("{\"type\":\"Digits\",\"individual_digits\":false}", "a12b", "a|12|b", NULL);
  expect("{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}", "a..b", "a|..|b", NULL);
  expect("{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"\u00e9\"}", "a\u00e9b", "a|b", "0-1 3-4");
  expect("{\"type\":\"FixedLength\",\"length\":2}", "a\u00e9b", "a\u00e9|b", NULL);
  expect(SIMPLE("Whitespace"), "", "", "");
}

static void test_behaviors(void **state) {
  (void)state;
  static const struct {
    const char *json, *wanted;
  } cases[] = {
      {SPLIT("\"String\":\"-\"", "Removed", "false"), "the|final|countdown"},
      {SPLIT("\"String\":\"-\"", "Isolated", "false"), "the|-|final|-|-|countdown"},
      {SPLIT("\"String\":\"-\"", "MergedWithPrevious", "false"), "the-|final-|-|countdown"},
      {SPLIT("\"String\":\"-\"", "MergedWithNext", "false"), "the|-final|-|-countdown"},
      {SPLIT("\"String\":\"-\"", "Contiguous", "false"), "the|-|final|--|countdown"},
      {SPLIT("\"Regex\":\"[a-z]+\"", "Removed", "true"), "the|final|countdown"},
      {SPLIT("\"Regex\":\"-+\"", "Isolated", "false"), "the|-|final|--|countdown"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    expect(cases[i].json, "the-final--countdown", cases[i].wanted, NULL);
  }
  expect(SPLIT("\"String\":\"\"", "Isolated", "false"), "ab", "a|b", NULL);
}

static void test_rewriting(void **state) {
  (void)state;
  expect("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "Hi you're", "\u0120Hi|\u0120you|'re", "0-2 2-6 6-9");
  expect("{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "\u00e9 x", "\u00c3\u00a9\u0120x",
         "0-4");
  expect("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}", "Hi  you", "_Hi|_|_you",
         "0-2 2-3 3-7");
  expect("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false}", "Hi you", "Hi|_you", "0-2 2-6");
  expect("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"split\":false}", "Hi you", "_Hi_you", "0-6");
  expect(
      "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\","
      "\"replacement\":\"_\","
      "\"prepend_scheme\":\"first\"}]}",
      "Hi you", "_Hi|you", "0-2 3-6");
  rh_pretokenizer *first =
      pretokenizer_of("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}");
  assert_true(rh_pretokenizer_needs_offsets(first));
  assert_false(rh_pretokenizer_needs_offsets(NULL));
  rh_pretokenizer_free(first);
}

static void test_oniguruma_syntax(void **state) {
  (void)state;
  expect(SPLIT("\"Regex\":\"\\\\h{2}+\"", "Isolated", "false"), "a1b2c3x", "a1b2c3|x", NULL);
  expect(SPLIT("\"Regex\":\"[a-z&&[^aeiou]]+\"", "Isolated", "false"), "strength", "str|e|ngth", NULL);
  expect(SPLIT("\"Regex\":\"(?m:a.b)\"", "Removed", "false"), "xa\nby", "x|y", NULL);
  expect(SPLIT("\"Regex\":\"^.\"", "Isolated", "false"), "ab\ncd", "a|b\n|c|d", NULL);
  expect(SPLIT("\"Regex\":\"x(?i)a|b\"", "Removed", "false"), "xA1xB2b", "1|2b", NULL);
  expect(SPLIT("\"Regex\":\"[\\\\u3042\\\\]]\"", "Removed", "false"), "a\u3042b]c", "a|b|c", NULL);
}

static void refuse(const char *json, rh_status wanted, const char *words) {
  rh_pretokenizer *pretokenizer = NULL;
  rh_error error = {0};
  json_t *parsed = json_loads(json, 0, NULL);
  assert_non_null(parsed);
  assert_int_equal(rh_pretokenizer_from_json(parsed, &pretokenizer, &error), wanted);
  if (strstr(error.message, words) == NULL) fail_msg("%s", error.message);
  assert_null(pretokenizer);
  json_decref(parsed);
}

static void test_refusals(void **state) {
  (void)state;
  refuse(SIMPLE("Guess"), RH_UNSUPPORTED, "Guess");
  refuse(SPLIT("\"Glob\":\"*\"", "Isolated", "false"), RH_UNSUPPORTED, "'pattern'");
  refuse(SPLIT("\"String\":\"a\"", "Sideways", "false"), RH_UNSUPPORTED, "Sideways");
  refuse(SPLIT("\"Regex\":\"(?~abc)\"", "Isolated", "false"), RH_UNSUPPORTED, "kind of group");
  refuse(SPLIT("\"Regex\":\"\\\\p{InBasicLatin}\"", "Isolated", "false"), RH_UNSUPPORTED, "property");
  refuse(SPLIT("\"Regex\":\"\\\\xff\"", "Isolated", "false"), RH_UNSUPPORTED, "single bytes");
  refuse(SPLIT("\"Regex\":\"a{70000}\"", "Isolated", "false"), RH_UNSUPPORTED, "65,535");
  refuse("{\"type\":\"FixedLength\",\"length\":0}", RH_INVALID, "'length'");
  refuse("{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", RH_INVALID, "one character");
}

static void test_a_slow_pattern_is_an_error(void **state) {
  (void)state;
  rh_pretokenizer *pretokenizer = pretokenizer_of(SPLIT("\"Regex\":\"^(?:a|aa)+[bc]$\"", "Isolated", "false"));
  char text[4000];
  work of = {0};
  memset(text, 'a', sizeof text);
  assert_int_equal(cut(pretokenizer, text, sizeof text, false, &of), RH_INVALID);
  work_free(&of);
  rh_pretokenizer_free(pretokenizer);
}

// --- the scanners --------------------------------------------------------------------------------------------------

static uint32_t random_code(uint32_t *seed) {
  static const uint32_t near[] = {' ',   ' ',  '\n',  '\r',   '\t', '\'',   's',   'S',  'l',
                                  'L',   'r',  'e',   'v',    'd',  '1',    '2',   '.',  '-',
                                  0x17F, 0xE9, 0x301, 0x3000, 0xA0, 0x4E2D, 0x661, 0xBD, 0x1F44D};
  *seed = *seed * 1664525u + 1013904223u;
  uint32_t high = *seed >> 8;
  if (high % 4 != 0) return near[high / 4 % (sizeof near / sizeof *near)];
  uint32_t code = high % 0x33000;
  return code == 0 || code - 0xD800 < 0x800 ? 'x' : code;
}

static void compare_scanner(const char *pattern) {
  rh_pretokenizer_step step = {.behavior = RH_SPLIT_ISOLATED};
  rh_regex *regex = NULL;
  rh_regex_search search;
  rh_pieces pieces = {0};
  rh_error error = {0};
  uint32_t seed = 42;
  assert_true(rh_scan_for(pattern, strlen(pattern), &step));
  assert_int_equal(rh_regex_new(pattern, strlen(pattern), &regex, &error), RH_OK);
  assert_int_equal(rh_regex_search_begin(&search, regex), RH_OK);
  for (int i = 0; i < 20000; i++) {
    char text[256];
    size_t length = 0, start, end, count = (seed >> 8) % 40 + 1, found = 0;
    for (size_t k = 0; k < count; k++) length += rh_char_write(random_code(&seed), text + length);
    rh_cutter cutter = {.out = &pieces, .behavior = RH_SPLIT_ISOLATED};
    pieces.count = 0;
    step.cut(&step, text, 0, length, &cutter);
    rh_regex_search_text(&search, text, length);
    while (rh_regex_search_next(&search, &start, &end) == RH_OK) {
      if (found >= pieces.count || pieces.items[found].start != start || pieces.items[found].end != end) {
        fail_msg("line %d, match %zu: %.*s", i, found, (int)length, text);
      }
      found++;
    }
    assert_int_equal(found, pieces.count);
  }
  rh_regex_search_end(&search);
  rh_regex_free(regex);
  rh_pieces_free(&pieces);
}

static void test_scanners_equal_pcre2(void **state) {
  (void)state;
  rh_unicode_prepare();
  compare_scanner(RH_PATTERN_GPT2);
#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
  compare_scanner(HEAD "\\p{N}{1,3}" TAIL);
  compare_scanner(HEAD "\\p{N}" TAIL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_characters),
      cmocka_unit_test(test_behaviors),
      cmocka_unit_test(test_rewriting),
      cmocka_unit_test(test_oniguruma_syntax),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_a_slow_pattern_is_an_error),
      cmocka_unit_test(test_scanners_equal_pcre2),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
