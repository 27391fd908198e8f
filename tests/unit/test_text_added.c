// SPDX-License-Identifier: Apache-2.0
//
// Added tokens: the longest one wins, words, white space around them, before and after normalizing, special ones left alone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/internal.h"

static rh_normalizer *lower;

static int set_up(void **state) {
  (void)state;
  rh_error error = {0};
  json_t *json = json_loads("{\"type\":\"Lowercase\"}", 0, NULL);
  rh_status status = rh_normalizer_from_json(json, &lower, &error);
  json_decref(json);
  return status == RH_OK ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  rh_normalizer_free(lower);
  return 0;
}

static rh_added *added_of(const char *json, const rh_normalizer *normalizer) {
  rh_added *added = NULL;
  rh_error error = {0};
  json_t *parsed = json_loads(json, 0, NULL);
  assert_non_null(parsed);
  if (rh_added_from_json(parsed, normalizer, &added, &error) != RH_OK) fail_msg("%s", error.message);
  json_decref(parsed);
  return added;
}

// Pieces with '|' between, tokens as <id:text@from-to>.
static void expect(const char *json, const rh_normalizer *normalizer, bool special, const char *text,
                   const char *wanted) {
  rh_added *added = added_of(json, normalizer);
  rh_mapped out = {0}, scratch = {0};
  rh_pieces pieces = {0};
  char got[512] = "";
  assert_int_equal(rh_mapped_reserve(&out, 0, true), RH_OK);
  assert_int_equal(rh_added_split(added, normalizer, text, strlen(text), special, &out, &scratch, &pieces), RH_OK);
  for (size_t i = 0; i < pieces.count; i++) {
    const rh_piece *piece = &pieces.items[i];
    size_t used = strlen(got);
    used += (size_t)snprintf(got + used, sizeof got - used, "%s", i > 0 ? "|" : "");
    int length = (int)(piece->end - piece->start);
    const char *bytes = out.bytes + piece->start;
    if (piece->token < 0)
      snprintf(got + used, sizeof got - used, "%.*s", length, bytes);
    else
      snprintf(got + used, sizeof got - used, "<%d:%.*s@%u-%u>", piece->token, length, bytes, out.from[piece->start],
               out.to[piece->end - 1]);
  }
  assert_string_equal(got, wanted);
  rh_mapped_free(&out);
  rh_mapped_free(&scratch);
  rh_pieces_free(&pieces);
  rh_added_free(added);
}

#define TOKEN(id, content, more) "{\"id\":" id ",\"content\":\"" content "\",\"normalized\":false" more "}"

static void test_leftmost_longest(void **state) {
  (void)state;
  const char *json =
      "[" TOKEN("1", "ab", "") "," TOKEN("2", "abc", "") "," TOKEN("3", "bcd", "") "," TOKEN("4", "b", "") "]";
  expect(json, NULL, true, "xabcd", "x|<2:abc@1-4>|d");
  expect(json, NULL, true, "abbcd", "<1:ab@0-2>|<3:bcd@2-5>");
  expect(json, NULL, true, "", "");
  expect(json, NULL, true, "a", "a");
  expect("[" TOKEN("7", "<s>", "") "]", NULL, true, "<<s><s", "<|<7:<s>@1-4>|<s");
}

static void test_words_and_spaces(void **state) {
  (void)state;
  expect("[" TOKEN("1", "ab", ",\"single_word\":true") "]", NULL, true, "ab cab ab\u00e9 (ab)",
         "<1:ab@0-2>| cab ab\u00e9 (|<1:ab@13-15>|)");
  expect("[" TOKEN("1", "x", ",\"lstrip\":true") "]", NULL, true, "a  x x", "a|<1:  x@1-4>|<1: x@4-6>");
  expect("[" TOKEN("1", "x", ",\"rstrip\":true") "]", NULL, true, "x\u3000 a", "<1:x\u3000 @0-5>|a");
}

static void test_special_ones_can_be_left_alone(void **state) {
  (void)state;
  const char *json = "[" TOKEN("1", "<s>", ",\"special\":true") "," TOKEN("2", "x", "") "]";
  expect(json, NULL, true, "<s>x", "<1:<s>@0-3>|<2:x@3-4>");
  expect(json, NULL, false, "<s>x", "<s>|<2:x@3-4>");
}

static void test_before_and_after_normalizing(void **state) {
  (void)state;
  const char *json = "[" TOKEN("1", "AB", "") ",{\"id\":2,\"content\":\"CD\",\"normalized\":true}]";
  expect(json, lower, true, "AB ab cD \u00c9", "<1:AB@0-2>| ab |<2:cd@6-8>| \u00e9");
}

static void test_look_up(void **state) {
  (void)state;
  rh_added *added =
      added_of("[" TOKEN("5", "ab", ",\"special\":true") "," TOKEN("6", "abc", "") "," TOKEN("7", "", "") "]", NULL);
  size_t length;
  int32_t id;
  bool special;
  assert_int_equal(rh_added_count(added), 2);  // what is empty is no token
  assert_string_equal(rh_added_at(added, 0, &length, &id, &special), "ab");
  assert_true(special && id == 5 && length == 2);
  assert_int_equal(rh_added_find(added, "abc", 3), 6);
  assert_int_equal(rh_added_find(added, "abcd", 4), -1);
  assert_int_equal(rh_added_find(added, "a", 1), -1);
  assert_int_equal(rh_added_find(NULL, "a", 1), -1);
  rh_added_free(added);
}

static void test_refusals(void **state) {
  (void)state;
  static const char *const bad[] = {"{}", "[{}]", "[{\"id\":-1,\"content\":\"x\"}]", "[{\"id\":1,\"content\":7}]",
                                    "[7]"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    rh_added *added = NULL;
    rh_error error = {0};
    json_t *parsed = json_loads(bad[i], 0, NULL);
    assert_int_equal(rh_added_from_json(parsed, NULL, &added, &error), RH_INVALID);
    assert_non_null(strstr(error.message, "added_tokens"));
    assert_null(added);
    json_decref(parsed);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_leftmost_longest),
      cmocka_unit_test(test_words_and_spaces),
      cmocka_unit_test(test_special_ones_can_be_left_alone),
      cmocka_unit_test(test_before_and_after_normalizing),
      cmocka_unit_test(test_look_up),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
