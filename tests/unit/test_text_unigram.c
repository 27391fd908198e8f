// SPDX-License-Identifier: Apache-2.0
//
// The Unigram model: the best sum of scores, unknown characters, bytes to fall back on; checked against trying every way.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "text_fixture.h"

#define UNIGRAM(more, vocab) "{\"model\":{\"type\":\"Unigram\"," more "\"vocab\":[" vocab "]}}"

static void test_the_best_sum_wins(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(UNIGRAM("\"unk_id\":0,",
                                              "[\"<unk>\",0],[\"a\",0.0],[\"b\",0.0],[\"c\",0],[\"d\",0],"
                                              "[\"cd\",1.0],[\"ab\",2.0],[\"abc\",5.0],[\"abcd\",10.0]"));
  assert_tokens(tokenizer, "abcdacdxx", "8[0,4]:0 1[4,5]:0 5[5,7]:0 0[7,9]:0");
  // Unknown neighbours are one token.
  assert_tokens(tokenizer, "\u00e9\u00e8a\u00e9", "0[0,2]:0 1[2,3]:0 0[3,4]:0");
  rh_tokenizer_close(tokenizer);
}

static void test_bytes_to_fall_back_on(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      UNIGRAM("\"unk_id\":0,\"byte_fallback\":true,", "[\"<unk>\",0],[\"<0xC3>\",0],[\"<0xA9>\",0],[\"a\",-1]"));
  assert_tokens(tokenizer, "a\u00e9", "3[0,1]:0 1[1,2]:0 2[1,2]:0");
  assert_tokens(tokenizer, "a\u00e8", "3[0,1]:0 0[1,2]:0");
  rh_tokenizer_close(tokenizer);
}

static void test_no_token_for_unknown_characters(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(UNIGRAM("\"unk_id\":null,", "[\"a\",-1]"));
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {0};
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_encode(tokenizer, "ab", 2, NULL, 0, &options, encoding, &error), RH_INVALID);
  assert_int_equal(rh_tokenizer_encode(tokenizer, "aa", 2, NULL, 0, &options, encoding, &error), RH_OK);
  assert_int_equal(encoding->count, 2);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static const struct {
  const char *text;
  double score;
} words[] = {{"a", -2.5}, {"b", -3.25}, {"ab", -4.125}, {"ba", -5.5}, {"aab", -6.0625}, {"bb", -6.75}, {"abba", -9.5}};

static double best_of(const char *text) {
  if (*text == '\0') return 0.0;
  double best = -1e9;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t length = strlen(words[i].text);
    if (strncmp(text, words[i].text, length) != 0) continue;
    double sum = words[i].score + best_of(text + length);
    if (sum > best) best = sum;
  }
  return best;
}

static void test_against_trying_every_way(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(UNIGRAM("\"unk_id\":0,",
                                              "[\"<unk>\",0],[\"a\",-2.5],[\"b\",-3.25],[\"ab\",-4.125],[\"ba\",-5.5],["
                                              "\"aab\",-6.0625],[\"bb\",-6.75],[\"abba\",-9.5]"));
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {.want_offsets = true};
  rh_error error;
  for (unsigned bits = 0; bits < 1024; bits++) {
    char text[11] = {0};
    for (unsigned i = 0; i < 10; i++) text[i] = (bits >> i & 1) != 0 ? 'a' : 'b';
    assert_int_equal(rh_tokenizer_encode(tokenizer, text, 10, NULL, 0, &options, encoding, &error), RH_OK);
    double sum = 0.0;
    uint32_t at = 0;
    for (size_t i = 0; i < encoding->count; i++) {
      size_t which = (size_t)encoding->ids[i] - 1, length = strlen(words[which].text);
      assert_int_equal(encoding->starts[i], at);
      assert_memory_equal(text + at, words[which].text, length);
      at += (uint32_t)length;
      sum += words[which].score;
    }
    assert_int_equal(at, 10);
    assert_true(sum == best_of(text));
  }
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static void test_damaged_models_are_refused(void **state) {
  (void)state;
  assert_refused(UNIGRAM("\"unk_id\":1,", "[\"a\",0]"), RH_INVALID, "unk_id is 1");
  assert_refused(UNIGRAM("\"unk_id\":-1,", "[\"a\",0]"), RH_INVALID, "unk_id");
  assert_refused(UNIGRAM("", "[\"a\"]"), RH_INVALID, "token 0");
  assert_refused(UNIGRAM("", "\"a\""), RH_INVALID, "token 0");
  assert_refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}}", RH_INVALID, "wrong type");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_best_sum_wins),
      cmocka_unit_test(test_bytes_to_fall_back_on),
      cmocka_unit_test(test_no_token_for_unknown_characters),
      cmocka_unit_test(test_against_trying_every_way),
      cmocka_unit_test(test_damaged_models_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
