// SPDX-License-Identifier: Apache-2.0
//
// Normalizers: what each kind makes of a text and where its bytes come from; damaged parts; limits. That the results are the
// package's is shown by tests/e2e/test_text_front.py; these need no Python.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/grapheme.h"
#include "text/internal.h"
#include "text/unicode.h"

static rh_normalizer *normalizer_of(const char *json) {
  rh_normalizer *normalizer = NULL;
  rh_error error = {0};
  json_t *parsed = json_loads(json, 0, NULL);
  assert_non_null(parsed);
  if (rh_normalizer_from_json(parsed, &normalizer, &error) != RH_OK) fail_msg("%s", error.message);
  json_decref(parsed);
  return normalizer;
}

// `offsets`: "from-to" of each character, with spaces between; NULL: not looked at.
static void expect(const char *json, const char *text, const char *wanted, const char *offsets) {
  rh_normalizer *normalizer = normalizer_of(json);
  rh_mapped out = {0}, scratch = {0}, plain = {0};
  assert_int_equal(rh_mapped_reserve(&out, 0, true), RH_OK);
  assert_int_equal(rh_normalizer_apply(normalizer, text, strlen(text), 0, &out, &scratch), RH_OK);
  assert_int_equal(out.length, strlen(wanted));
  assert_memory_equal(out.bytes, wanted, out.length);
  if (offsets != NULL) {
    char got[512] = "";
    for (size_t i = 0; i < out.length; i++) {
      if (((uint8_t)out.bytes[i] & 0xC0) == 0x80) continue;
      size_t used = strlen(got);
      snprintf(got + used, sizeof got - used, "%s%u-%u", used > 0 ? " " : "", out.from[i], out.to[i]);
    }
    assert_string_equal(got, offsets);
  }
  // Without offsets the text is the same, also behind what is there already.
  assert_int_equal(rh_mapped_reserve(&plain, 0, false), RH_OK);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(rh_normalizer_apply(normalizer, text, strlen(text), 0, &plain, &scratch), RH_OK);
  }
  assert_null(plain.from);
  assert_int_equal(plain.length, 2 * strlen(wanted));
  assert_memory_equal(plain.bytes + plain.length / 2, wanted, plain.length / 2);
  rh_mapped_free(&out);
  rh_mapped_free(&plain);
  rh_mapped_free(&scratch);
  rh_normalizer_free(normalizer);
}

#define SIMPLE(type) "{\"type\":\"" type "\"}"

static void test_forms(void **state) {
  (void)state;
  expect(SIMPLE("NFC"), "e\u0301x", "\u00e9x", "0-1 3-4");
  expect(SIMPLE("NFD"), "\u00e9x", "e\u0301x", "0-2 0-2 2-3");
  expect(SIMPLE("NFD"), "a\u0301\u0316", "a\u0316\u0301", "0-1 1-3 3-5");
  expect(SIMPLE("NFKC"), "\ufb01", "fi", "0-3 0-3");
  expect(SIMPLE("NFKD"), "\u1e9b\u0323", "s\u0323\u0307", NULL);
  expect(SIMPLE("NFC"), "\u1112\u1161\u11ab", "\ud55c", "0-3");
  expect(SIMPLE("NFD"), "\ud55c", "\u1112\u1161\u11ab", "0-3 0-3 0-3");
  expect(SIMPLE("NFC"), "plain", "plain", "0-1 1-2 2-3 3-4 4-5");
}

static void test_more_marks_than_fit_lose_nothing(void **state) {
  (void)state;
  char text[2 * 2000 + 2] = "a", wanted[sizeof text];
  for (size_t i = 0; i < 2000; i++) memcpy(text + 1 + 2 * i, "\u0331", 2);
  text[4001] = '\0';
  memcpy(wanted, text, sizeof text);
  expect(SIMPLE("NFC"), text, wanted, NULL);
}

static void test_bert(void **state) {
  (void)state;
  const char *lower =
      "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,"
      "\"lowercase\":true}";
  expect(lower,
         "A\tB\x01"
         "c",
         "a bc", "0-1 1-2 2-3 4-5");
  expect(lower, "\u00c9\u4e2d", "e \u4e2d ", "0-2 2-5 2-5 2-5");
  expect(lower, "", "", "");
  const char *cased =
      "{\"type\":\"BertNormalizer\",\"clean_text\":false,\"handle_chinese_chars\":false,\"strip_accents\":true,"
      "\"lowercase\":false}";
  expect(cased, "\u00c9\tx", "E\tx", "0-2 2-3 3-4");
}

static void test_small_ones(void **state) {
  (void)state;
  expect(SIMPLE("Lowercase"), "A\u0130\u03a3", "ai\u0307\u03c3", "0-1 1-3 1-3 3-5");
  expect(SIMPLE("StripAccents"), "e\u0301x", "ex", "0-1 3-4");
  expect(SIMPLE("Nmt"),
         "a\x07"
         "b\u200bc",
         "ab c", "0-1 2-3 3-6 6-7");
  expect(SIMPLE("ByteLevel"), "\u00e9 ", "\u00c3\u00a9\u0120", "0-2 0-2 2-3");
  expect("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}", " \u3000x y\n", "x y", "4-5 5-6 6-7");
  expect("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}", " \n", "", "");
  expect("{\"type\":\"Prepend\",\"prepend\":\"__\"}", "x", "__x", "0-1 0-1 0-1");
  expect("{\"type\":\"Prepend\",\"prepend\":\"__\"}", "", "", "");
}

static void test_replace(void **state) {
  (void)state;
  expect("{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\"x\"}", "cabab", "cxx", "0-1 2-3 4-5");
  expect("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\s{2,}\"},\"content\":\" \"}", "a   b", "a b",
         "0-1 3-4 4-5");
  expect("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"-\"}", "ab", "-a-b-",
         "0-0 0-1 0-1 1-2 1-2");
}

static void test_sequence(void **state) {
  (void)state;
  expect(
      "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"StripAccents\"},{\"type\":\"Lowercase\"},"
      "{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
      "\"},\"content\":\"\u2581\"},{\"type\":\"Prepend\",\"prepend\":\"\u2581\"}]}",
      "\u00c9 B", "\u2581e\u2581b", "0-2 0-2 2-3 3-4");
}

// A map with one entry, "a" to "xyz": the root's unit, one for 'a', and its leaf.
static void put_unit(uint8_t *map, size_t index, uint32_t unit) {
  for (size_t i = 0; i < 4; i++) map[4 + 4 * index + i] = (uint8_t)(unit >> 8 * i);
}

static void test_charsmap(void **state) {
  (void)state;
  uint8_t map[4 + 4 * 512 + 4] = {0};
  rh_normalizer *normalizer = NULL;
  rh_error error = {0};
  rh_mapped out = {0}, scratch = {0};
  map[1] = 8;  // 2048 bytes of units
  put_unit(map, 0, 256u << 10);
  put_unit(map, 256 ^ 'a', 1u << 10 | 1u << 8 | 'a');
  put_unit(map, 256 ^ 'a' ^ 1, 1u << 31);
  memcpy(map + sizeof map - 4, "xyz", 4);
  assert_int_equal(rh_normalizer_from_charsmap(map, sizeof map, &normalizer, &error), RH_OK);
  assert_int_equal(rh_mapped_reserve(&out, 0, true), RH_OK);
  assert_int_equal(rh_normalizer_apply(normalizer, "bac", 3, 0, &out, &scratch), RH_OK);
  assert_int_equal(out.length, 5);
  assert_memory_equal(out.bytes, "bxyzc", 5);
  assert_int_equal(out.from[3], 1);
  assert_int_equal(out.from[4], 2);
  rh_normalizer_free(normalizer);
  // Shorter than its own table says, and replacements that are no UTF-8.
  for (size_t length = 0; length < 2052; length += 171) {
    assert_int_equal(rh_normalizer_from_charsmap(map, length, &normalizer, &error), RH_INVALID);
    assert_null(normalizer);
  }
  map[sizeof map - 2] = 0xFF;
  assert_int_equal(rh_normalizer_from_charsmap(map, sizeof map, &normalizer, &error), RH_INVALID);
  rh_mapped_free(&out);
  rh_mapped_free(&scratch);
}

static void test_graphemes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t length;
  } cases[] = {
      {"\r\nx", 2},
      {"\n\u0301", 1},
      {"e\u0301\u0316x", 5},
      {"\u1100\u1161\u11a8\u1100", 9},
      {"\U0001f1e9\U0001f1ea\U0001f1eb", 8},
      {"\U0001f468\u200d\U0001f469x", 11},
      {"a\u200db", 4},
      {"\u0915\u094d\u0937x", 9},
      {"\u0915\u0937", 3},
      {"\u0600x", 3},
  };
  rh_unicode_prepare();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(rh_grapheme_length(cases[i].text, strlen(cases[i].text)), cases[i].length);
  }
}

static void refuse(const char *json, rh_status wanted, const char *words) {
  rh_normalizer *normalizer = NULL;
  rh_error error = {0};
  json_t *parsed = json_loads(json, 0, NULL);
  assert_non_null(parsed);
  assert_int_equal(rh_normalizer_from_json(parsed, &normalizer, &error), wanted);
  assert_non_null(strstr(error.message, words));
  assert_null(normalizer);
  json_decref(parsed);
}

static void test_refusals(void **state) {
  (void)state;
  refuse(SIMPLE("Shout"), RH_UNSUPPORTED, "Shout");
  refuse("{}", RH_INVALID, "'type'");
  refuse("{\"type\":\"Sequence\"}", RH_INVALID, "'normalizers'");
  refuse("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Odd\"}]}", RH_UNSUPPORTED,
         "normalizer[1]");
  refuse("{\"type\":\"Prepend\"}", RH_INVALID, "'prepend'");
  refuse("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[a\"},\"content\":\"\"}", RH_UNSUPPORTED, "']' is missing");
  refuse("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"?\"}", RH_INVALID, "base64");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forms),    cmocka_unit_test(test_more_marks_than_fit_lose_nothing),
      cmocka_unit_test(test_bert),     cmocka_unit_test(test_small_ones),
      cmocka_unit_test(test_replace),  cmocka_unit_test(test_sequence),
      cmocka_unit_test(test_charsmap), cmocka_unit_test(test_graphemes),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
