// SPDX-License-Identifier: Apache-2.0
//
// The BPE model: order of merges, unknown characters, bytes to fall back on, prefixes and suffixes, long pieces.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "text_fixture.h"

#define BPE(more, vocab, merges) "{\"model\":{\"type\":\"BPE\"," more "\"vocab\":{" vocab "},\"merges\":[" merges "]}}"

static void test_lowest_rank_first_and_leftmost_of_equals(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      BPE("", "\"a\":0,\"b\":1,\"ab\":2,\"ba\":3,\"aba\":4,\"aa\":5", "\"b a\",[\"a\",\"b\"],\"ab a\",\"a a\""));
  assert_tokens(tokenizer, "abab", "0[0,1]:0 3[1,3]:0 1[3,4]:0");
  assert_tokens(tokenizer, "aaa", "5[0,2]:0 0[2,3]:0");
  assert_tokens(tokenizer, "", "");
  rh_tokenizer_close(tokenizer);
}

static void test_unknown_characters(void **state) {
  (void)state;
#define WORDS "\"<unk>\":0,\"a\":1"
  rh_tokenizer *single = open_json(BPE("\"unk_token\":\"<unk>\",", WORDS, ""));
  assert_tokens(single, "a\u00e9\u00e9a", "1[0,1]:0 0[1,2]:0 0[2,3]:0 1[3,4]:0");
  rh_tokenizer_close(single);
  rh_tokenizer *fused = open_json(BPE("\"unk_token\":\"<unk>\",\"fuse_unk\":true,", WORDS, ""));
  assert_tokens(fused, "a\u00e9\u00e9a", "1[0,1]:0 0[1,3]:0 1[3,4]:0");
  rh_tokenizer_close(fused);
  // Without a token for them they vanish, and what follows moves up, as in the package.
  rh_tokenizer *dropped = open_json(BPE("", WORDS, ""));
  assert_tokens(dropped, "aba", "1[0,1]:0 1[1,2]:0");
  rh_tokenizer_close(dropped);
#undef WORDS
}

static void test_an_unknown_token_that_is_none_is_an_error_when_it_is_needed(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(BPE("\"unk_token\":\"<x>\",", "\"a\":0", ""));
  assert_tokens(tokenizer, "aa", "0[0,1]:0 0[1,2]:0");
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {0};
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_encode(tokenizer, "b", 1, NULL, 0, &options, encoding, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "no token for unknown"));
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static void test_bytes_to_fall_back_on(void **state) {
  (void)state;
  rh_tokenizer *tokenizer =
      open_json(BPE("\"byte_fallback\":true,\"unk_token\":\"<unk>\",",
                    "\"<unk>\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"a\":3,\"<0xA9>a\":4", "\"<0xA9> a\""));
  // All bytes of a character or none; bytes merge like other tokens; each covers its whole character.
  assert_tokens(tokenizer, "\u00e9", "1[0,1]:0 2[0,1]:0");
  assert_tokens(tokenizer, "\u00e9a", "1[0,1]:0 4[0,2]:0");
  assert_tokens(tokenizer, "\u00e8", "0[0,1]:0");
  rh_tokenizer_close(tokenizer);
}

static void test_prefix_and_suffix(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      BPE("\"continuing_subword_prefix\":\"##\",\"end_of_word_suffix\":\"</w>\",",
          "\"a\":0,\"##b\":1,\"##c</w>\":2,\"ab\":3,\"abc</w>\":4,\"a</w>\":5,\"##c\":6", "\"a ##b\",\"ab ##c</w>\""));
  assert_tokens(tokenizer, "abc", "4[0,3]:0");
  assert_tokens(tokenizer, "a", "5[0,1]:0");
  assert_tokens(tokenizer, "acc", "0[0,1]:0 6[1,2]:0 2[2,3]:0");
  rh_tokenizer_close(tokenizer);
}

static void test_a_whole_word_may_come_before_merges(void **state) {
  (void)state;
#define WORDS "\"a\":0,\"b\":1,\"ab\":2,\"bab\":3"
  rh_tokenizer *merging = open_json(BPE("", WORDS, "\"a b\"")),
               *whole = open_json(BPE("\"ignore_merges\":true,", WORDS, "\"a b\""));
  assert_tokens(merging, "bab", "1[0,1]:0 2[1,3]:0");
  assert_tokens(whole, "bab", "3[0,3]:0");
  rh_tokenizer_close(merging);
  rh_tokenizer_close(whole);
#undef WORDS
}

// A piece of a hundred thousand characters takes the heap; its parts, cut where nothing joins, must come out alike.
static void test_long_pieces_like_short_ones(void **state) {
  (void)state;
  rh_tokenizer *tokenizer =
      open_json(BPE("", "\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abab\":5,\"ababab\":6,\"aa\":7",
                    "\"b c\",\"a b\",\"ab ab\",\"abab ab\",\"a a\""));
  enum { LENGTH = 100000 };
  char *text = malloc(LENGTH);
  uint32_t seed = 1;
  for (size_t i = 0; i < LENGTH; i++) {
    seed = seed * 1664525 + 1013904223;
    text[i] = "aabbabab"[seed >> 29];
    if (seed >> 20 == 7) text[i] = 'c';
    if (i % 29 == 28) text[i] = 'x';  // no token: parts of at most 28, if the offsets did not move
  }
  rh_encoding *whole = new_encoding(), *part = new_encoding();
  rh_encode_options options = {.parse_special = true};
  rh_error error;
  assert_int_equal(rh_tokenizer_encode(tokenizer, text, LENGTH, NULL, 0, &options, whole, &error), RH_OK);
  assert_true(whole->count > 10000);
  rh_tokenizer_close(tokenizer);
  // The same with a token for x, which nothing joins.
  tokenizer = open_json(BPE("", "\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abab\":5,\"ababab\":6,\"aa\":7,\"x\":8",
                            "\"b c\",\"a b\",\"ab ab\",\"abab ab\",\"a a\""));
  assert_int_equal(rh_tokenizer_encode(tokenizer, text, LENGTH, NULL, 0, &options, whole, &error), RH_OK);
  size_t at = 0;
  for (size_t i = 0; i < LENGTH; i += 29) {
    size_t length = LENGTH - i < 29 ? LENGTH - i : 29;
    assert_int_equal(rh_tokenizer_encode(tokenizer, text + i, length, NULL, 0, &options, part, &error), RH_OK);
    for (size_t k = 0; k < part->count; k++) assert_int_equal(whole->ids[at++], part->ids[k]);
  }
  assert_int_equal(at, whole->count);
  rh_encoding_free(whole);
  rh_encoding_free(part);
  rh_tokenizer_close(tokenizer);
  free(text);
}

// A piece with spaces' marks is cut at them only when no token reaches over one.
static void test_pieces_with_marks(void **state) {
  (void)state;
#define WORDS "\"a\":0,\"" MARK "\":1,\"" MARK "a\":2,\"a" MARK "\":3,\"" MARK MARK "\":4"
  rh_tokenizer *apart = open_json(BPE("", WORDS, "\"" MARK " a\",\"" MARK " " MARK "\""));
  assert_tokens(apart, MARK "a" MARK MARK "a", "2[0,2]:0 1[2,3]:0 2[3,5]:0");
  assert_tokens(apart, MARK MARK "aa", "1[0,1]:0 2[1,3]:0 0[3,4]:0");
  rh_tokenizer_close(apart);
  rh_tokenizer *over = open_json(BPE("", WORDS, "\"a " MARK "\",\"" MARK " a\""));
  assert_tokens(over, MARK "a" MARK "a", "1[0,1]:0 3[1,3]:0 0[3,4]:0");
  rh_tokenizer_close(over);
#undef WORDS
}

static void test_damaged_models_are_refused(void **state) {
  (void)state;
  assert_refused(BPE("", "\"a\":0", "\"a b\""), RH_INVALID, "merge 0");
  assert_refused(BPE("", "\"a\":0,\"b\":1", "\"a b\""), RH_INVALID, "merge 0");
  assert_refused(BPE("", "\"a\":0", "\"a\""), RH_INVALID, "merge 0");
  assert_refused(BPE("", "\"a\":0", "[\"a\"]"), RH_INVALID, "merge 0");
  assert_refused(BPE("", "\"a\":-1", ""), RH_INVALID, "id -1");
  assert_refused(BPE("", "\"a\":99999999999", ""), RH_INVALID, "ids are 0 to");
  assert_refused(BPE("", "\"a\":\"x\"", ""), RH_INVALID, "has no id");
  assert_refused(BPE("\"dropout\":0.1,", "\"a\":0", ""), RH_UNSUPPORTED, "dropout");
  assert_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", RH_INVALID, "merges");
  assert_refused("{\"model\":{\"type\":\"Other\"}}", RH_UNSUPPORTED, "Other");
  assert_refused("{}", RH_INVALID, "model");
  assert_refused("[]", RH_INVALID, "object");
  assert_refused("{", RH_INVALID, "line 1");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lowest_rank_first_and_leftmost_of_equals),
      cmocka_unit_test(test_unknown_characters),
      cmocka_unit_test(test_an_unknown_token_that_is_none_is_an_error_when_it_is_needed),
      cmocka_unit_test(test_bytes_to_fall_back_on),
      cmocka_unit_test(test_prefix_and_suffix),
      cmocka_unit_test(test_a_whole_word_may_come_before_merges),
      cmocka_unit_test(test_long_pieces_like_short_ones),
      cmocka_unit_test(test_pieces_with_marks),
      cmocka_unit_test(test_damaged_models_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
