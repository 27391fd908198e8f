// SPDX-License-Identifier: Apache-2.0
//
// The WordPiece and WordLevel models: longest first, unknown words, the limit of a word's length.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "text_fixture.h"

#define WORDPIECE(more, vocab) "{\"model\":{\"type\":\"WordPiece\"," more "\"vocab\":{" vocab "}}}"

static void test_longest_first(void **state) {
  (void)state;
  rh_tokenizer *tokenizer =
      open_json(WORDPIECE("", "\"[UNK]\":0,\"un\":1,\"unaff\":2,\"##aff\":3,\"##able\":4,\"##a\":5,\"a\":6"));
  assert_tokens(tokenizer, "unaffable", "2[0,5]:0 4[5,9]:0");
  assert_tokens(tokenizer, "una", "1[0,2]:0 5[2,3]:0");
  // What begins a word does not go on with one, and the other way round.
  assert_tokens(tokenizer, "unun", "0[0,4]:0");
  assert_tokens(tokenizer, "able", "0[0,4]:0");
  rh_tokenizer_close(tokenizer);
}

static void test_characters_are_counted_not_bytes(void **state) {
  (void)state;
  rh_tokenizer *tokenizer =
      open_json(WORDPIECE("\"max_input_chars_per_word\":3,", "\"[UNK]\":0,\"\u00e9\":1,\"##\u00e9\":2"));
  assert_tokens(tokenizer, "\u00e9\u00e9\u00e9", "1[0,1]:0 2[1,2]:0 2[2,3]:0");
  assert_tokens(tokenizer, "\u00e9\u00e9\u00e9\u00e9", "0[0,4]:0");
  rh_tokenizer_close(tokenizer);
}

static void test_another_prefix_and_another_unknown(void **state) {
  (void)state;
  rh_tokenizer *tokenizer =
      open_json(WORDPIECE("\"continuing_subword_prefix\":\"~\",\"unk_token\":\"?\",", "\"?\":3,\"a\":0,\"~b\":1"));
  assert_tokens(tokenizer, "ab", "0[0,1]:0 1[1,2]:0");
  assert_tokens(tokenizer, "aa", "3[0,2]:0");
  assert_int_equal(rh_tokenizer_facts_of(tokenizer)->unk, 3);
  rh_tokenizer_close(tokenizer);
}

static void test_no_token_for_unknown_words(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(WORDPIECE("", "\"a\":0"));
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {0};
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_encode(tokenizer, "b", 1, NULL, 0, &options, encoding, &error), RH_INVALID);
  assert_int_equal(encoding->count, 0);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static void test_word_level(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      "{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\","
      "\"vocab\":{\"?\":0,\"one\":1,\"two\":2}}}");
  assert_tokens(tokenizer, " two one  three", "2[1,4]:0 1[5,8]:1 0[10,15]:2");
  assert_string_equal(rh_tokenizer_facts_of(tokenizer)->model, "WordLevel");
  rh_tokenizer_close(tokenizer);
}

// Special tokens that are left in the text are text, even where the model knows them as tokens.
static void test_plain_text_does_not_become_a_special_token(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(
      "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":\"WordLevel\","
      "\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"<s>\":1}}}");
  rh_encoding *encoding = new_encoding();
  rh_error error;
  for (int parse = 1; parse >= 0; parse--) {
    rh_encode_options options = {.parse_special = parse == 1};
    assert_int_equal(rh_tokenizer_encode(tokenizer, "<s>", 3, NULL, 0, &options, encoding, &error), RH_OK);
    assert_int_equal(encoding->count, 1);
    assert_int_equal(encoding->ids[0], parse);
  }
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_longest_first),
      cmocka_unit_test(test_characters_are_counted_not_bytes),
      cmocka_unit_test(test_another_prefix_and_another_unknown),
      cmocka_unit_test(test_no_token_for_unknown_words),
      cmocka_unit_test(test_word_level),
      cmocka_unit_test(test_plain_text_does_not_become_a_special_token),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
