// SPDX-License-Identifier: Apache-2.0
//
// Special tokens around one text and two, types, trimmed offsets, truncation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "text_fixture.h"

#define MODEL \
  "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}}"
#define WITH(post) "{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"post_processor\":" post "," MODEL "}"
#define SPECIAL(name, type) "{\"SpecialToken\":{\"id\":\"" name "\",\"type_id\":" type "}}"
#define TEXT(name, type) "{\"Sequence\":{\"id\":\"" name "\",\"type_id\":" type "}}"
#define TEMPLATE \
  "{\"type\":\"TemplateProcessing\",\"single\":[" SPECIAL("[C]", "0") "," TEXT("A", "0") "," SPECIAL("[S]", "0")      \
  "],\"pair\":[" SPECIAL("[C]", "0") "," TEXT("A", "0") "," SPECIAL("[S]", "0") "," TEXT("B", "1") ","                \
  SPECIAL("[S]", "1") "],\"special_tokens\":{\"[C]\":{\"ids\":[101]},\"[S]\":{\"ids\":[102,103]}}}"

// "id/type" of all tokens, with ! for special ones.
static const char *types_of(const rh_encoding *encoding) {
  static char text[1024];
  size_t used = 0;
  text[0] = '\0';
  for (size_t i = 0; i < encoding->count; i++)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%d/%d%s", i > 0 ? " " : "", encoding->ids[i],
                             encoding->types[i], encoding->special[i] ? "!" : "");
  return text;
}

static void assert_types(const char *json, const char *text, const char *pair, bool special, const char *expected) {
  rh_tokenizer *tokenizer = open_json(json);
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {.add_special = special, .want_offsets = true};
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_encode(tokenizer, text, strlen(text), pair, pair != NULL ? strlen(pair) : 0, &options,
                                       encoding, &error),
                   RH_OK);
  assert_string_equal(types_of(encoding), expected);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static void test_templates(void **state) {
  (void)state;
  assert_types(WITH(TEMPLATE), "a b", NULL, true, "101/0! 1/0 2/0 102/0! 103/0!");
  assert_types(WITH(TEMPLATE), "a", "b c", true, "101/0! 1/0 102/0! 103/0! 2/1 3/1 102/1! 103/1!");
  assert_types(WITH(TEMPLATE), "a", "b", false, "1/0 2/1");
  assert_types(WITH("null"), "a", "b", true, "1/0 2/1");
}

static void test_bert_and_roberta(void **state) {
  (void)state;
#define ENDS "\"sep\":[\"[S]\",9],\"cls\":[\"[C]\",8]"
  assert_types(WITH("{\"type\":\"BertProcessing\"," ENDS "}"), "a", NULL, true, "8/0! 1/0 9/0!");
  assert_types(WITH("{\"type\":\"BertProcessing\"," ENDS "}"), "a", "b", true, "8/0! 1/0 9/0! 2/1 9/1!");
  assert_types(WITH("{\"type\":\"RobertaProcessing\"," ENDS "}"), "a", "b", true, "8/0! 1/0 9/0! 9/0! 2/0 9/0!");
  assert_types(WITH("{\"type\":\"RobertaProcessing\"," ENDS "}"), "a", "b", false, "1/0 2/0");
#undef ENDS
}

#define BYTE_LEVEL(post)                                                                                               \
  "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},\"post_processor\":" post \
  ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"\u0120\":2,\"\u0120a\":3},\"merges\":[[\"\u0120\",\"a\"]]}}"
#define TRIM(trim, prefix) "{\"type\":\"ByteLevel\",\"trim_offsets\":" trim ",\"add_prefix_space\":" prefix "}"

static void test_offsets_are_trimmed(void **state) {
  (void)state;
  rh_tokenizer *kept = open_json(BYTE_LEVEL(TRIM("false", "false")));
  assert_tokens(kept, "a  a", "1[0,1]:0 2[1,2]:1 3[2,4]:2");
  rh_tokenizer_close(kept);
  rh_tokenizer *trimmed = open_json(BYTE_LEVEL(TRIM("true", "false")));
  assert_tokens(trimmed, "a  a", "1[0,1]:0 2[2,2]:1 3[3,4]:2");
  assert_tokens(trimmed, " a", "3[1,2]:0");
  rh_tokenizer_close(trimmed);
  // A single space in front may be the one that was added.
  rh_tokenizer *prefixed = open_json(BYTE_LEVEL("{\"type\":\"Sequence\",\"processors\":[" TRIM("true", "true") "]}"));
  assert_tokens(prefixed, " a a", "3[0,2]:0 3[3,4]:1");
  rh_tokenizer_close(prefixed);
}

static void assert_cut(rh_encode_options options, const char *text, const char *pair, const char *expected) {
  rh_tokenizer *tokenizer = open_json(WITH(TEMPLATE));
  rh_encoding *encoding = new_encoding();
  rh_error error = {0};
  rh_status status = rh_tokenizer_encode(tokenizer, text, strlen(text), pair, pair != NULL ? strlen(pair) : 0, &options,
                                         encoding, &error);
  assert_string_equal(status == RH_OK ? types_of(encoding) : rh_status_name(status), expected);
  if (status == RH_OK) assert_true(encoding->truncated);
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static void test_truncation(void **state) {
  (void)state;
  rh_encode_options plain = {.length_max = 4, .truncate = RH_TRUNCATE_LONGEST_FIRST};
  assert_cut(plain, "a b c d e", NULL, "1/0 2/0 3/0 4/0");
  plain.truncate_left = true;
  assert_cut(plain, "a b c d e", NULL, "2/0 3/0 4/0 5/0");
  assert_cut(plain, "a b c d e", "a", "3/0 4/0 5/0 1/1");
  assert_cut(plain, "a", "a b c d e", "1/0 3/1 4/1 5/1");
  assert_cut(plain, "a b c", "c d e", "2/0 3/0 4/1 5/1");
  plain.truncate = RH_TRUNCATE_FIRST;
  assert_cut(plain, "a b c", "c d e", "3/0 3/1 4/1 5/1");
  assert_cut(plain, "a", "a b c d e", "context_overflow");
  plain.truncate = RH_TRUNCATE_SECOND;
  assert_cut(plain, "a b c", "c d e", "1/0 2/0 3/0 5/1");
  plain.truncate = RH_TRUNCATE_NONE;
  assert_cut(plain, "a b c", "c d e", "context_overflow");
  rh_encode_options special = {.add_special = true, .length_max = 4, .truncate = RH_TRUNCATE_LONGEST_FIRST};
  assert_cut(special, "a b c", NULL, "101/0! 1/0 102/0! 103/0!");
  special.length_max = 3;
  assert_cut(special, "a b c", NULL, "101/0! 102/0! 103/0!");
  special.length_max = 2;
  assert_cut(special, "a b c", NULL, "context_overflow");
}

static void test_the_message_has_both_numbers(void **state) {
  (void)state;
  rh_tokenizer *tokenizer = open_json(WITH(TEMPLATE));
  rh_encoding *encoding = new_encoding();
  rh_encode_options options = {.add_special = true, .length_max = 4};
  rh_error error = {0};
  assert_int_equal(rh_tokenizer_encode(tokenizer, "a b c", 5, NULL, 0, &options, encoding, &error),
                   RH_CONTEXT_OVERFLOW);
  assert_non_null(strstr(error.message, "6 tokens"));
  assert_non_null(strstr(error.message, "at most 4"));
  rh_encoding_free(encoding);
  rh_tokenizer_close(tokenizer);
}

static void test_damaged_ones_are_refused(void **state) {
  (void)state;
  assert_refused(WITH("{\"type\":\"Other\"}"), RH_UNSUPPORTED, "Other");
  assert_refused(WITH("{}"), RH_INVALID, "no type");
  assert_refused(WITH("{\"type\":\"BertProcessing\",\"sep\":[\"x\"],\"cls\":[]}"), RH_INVALID, "id -1");
  assert_refused(WITH("{\"type\":\"TemplateProcessing\",\"single\":[" SPECIAL("x", "0") "],\"pair\":[]}"), RH_INVALID,
                 "\"x\"");
  assert_refused(WITH("{\"type\":\"TemplateProcessing\",\"single\":[" TEXT("B", "0") "],\"pair\":[]}"), RH_INVALID,
                 "second");
  assert_refused(WITH("{\"type\":\"Sequence\",\"processors\":[" TEMPLATE "," TEMPLATE "]}"), RH_UNSUPPORTED,
                 "two steps");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_templates),
      cmocka_unit_test(test_bert_and_roberta),
      cmocka_unit_test(test_offsets_are_trimmed),
      cmocka_unit_test(test_truncation),
      cmocka_unit_test(test_the_message_has_both_numbers),
      cmocka_unit_test(test_damaged_ones_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
