// SPDX-License-Identifier: Apache-2.0
//
// base/json: parsing with limits, getters and their messages, writing, the nearest word.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

static json_t *parse(const char *text) {
  rh_error error = {.message = ""};
  json_t *value = rh_json_parse(text, strlen(text), &error);
  if (value == NULL) fail_msg("%s: %s", text, error.message);
  return value;
}

static void assert_refused(const char *text, const char *in_message) {
  rh_error error = {.status = RH_OK};
  assert_null(rh_json_parse(text, strlen(text), &error));
  assert_int_equal(error.status, RH_INVALID);
  if (strstr(error.message, in_message) == NULL) fail_msg("%s: %s", text, error.message);
  assert_null(rh_json_parse(text, strlen(text), NULL));
}

static void test_values_of_every_type_parse(void **state) {
  (void)state;
  const char *texts[] = {"{}", "[]", "\"x\"", "1", "-1.5e3", "true", "false", "null", " [1, {\"a\": []}] \n"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) json_decref(parse(texts[i]));
}

static void test_broken_texts_are_refused_with_a_place(void **state) {
  (void)state;
  assert_refused("", "empty");
  assert_refused("{\"a\": 1,\n \"b\" 2}", "line 2");
  assert_refused("{} x", "end of file");
  assert_refused("{\"a\": 1, \"a\": 2}", "duplicate");
  assert_refused("\"\xFF\"", "UTF-8");
  assert_refused("\"\xED\xA0\x80\"", "UTF-8");
  assert_refused("[1,]", "line 1");
  assert_refused("\"abc", "premature");
  assert_refused("\"\\u0000\"", "\\u0000");
  assert_refused("{\"a\\u0000b\": 1}", "NUL");
  assert_refused("1e999", "overflow");
  assert_refused("99999999999999999999", "too big");
  assert_refused("[NaN]", "invalid token");
}

static char *nested(size_t depth, const char *open, const char *close) {
  char *text = calloc(1, depth * (strlen(open) + strlen(close)) + 8);
  assert_non_null(text);
  for (size_t i = 0; i < depth; i++) strcat(text, open);
  strcat(text, "0");
  for (size_t i = 0; i < depth; i++) strcat(text, close);
  return text;
}

static void test_depth_is_limited(void **state) {
  (void)state;
  char *text = nested(RH_JSON_DEPTH_MAX, "[", "]");
  json_decref(parse(text));
  free(text);
  text = nested(RH_JSON_DEPTH_MAX, "{\"a\":", "}");
  json_decref(parse(text));
  free(text);
  text = nested(RH_JSON_DEPTH_MAX + 1, "[", "]");
  assert_refused(text, "64 levels");
  free(text);
  // A bomb costs one look at its first bytes.
  size_t size = 4u << 20;
  text = malloc(size);
  assert_non_null(text);
  memset(text, '[', size);
  rh_error error;
  assert_null(rh_json_parse(text, size, &error));
  assert_non_null(strstr(error.message, "nested"));
  free(text);
}

static void test_brackets_in_strings_do_not_nest(void **state) {
  (void)state;
  char text[512] = "[\"\\\"";
  memset(text + 4, '[', 300);
  strcat(text, "\\\\\",\"{{{\"]");
  json_t *value = parse(text);
  assert_int_equal(json_array_size(value), 2);
  json_decref(value);
  // Siblings are not depth.
  char wide[1024] = "[";
  for (int i = 0; i < 200; i++) strcat(wide, "[],");
  strcat(wide, "[]]");
  json_decref(parse(wide));
  // Texts that end inside a string or an escape are left to the parser.
  assert_refused("\"\\", "line 1");
  assert_refused("[\"\\\"", "line 1");
}

static void test_absent_and_null_leave_the_default(void **state) {
  (void)state;
  json_t *object = parse("{\"n\": null}");
  for (int i = 0; i < 2; i++) {
    const char *key = i == 0 ? "n" : "absent";
    const char *text = "kept";
    int64_t integer = 7;
    double number = 7.5;
    bool flag = true;
    json_t *container = NULL;
    rh_error error;
    assert_int_equal(rh_json_get_string(object, "", key, &text, &error), RH_OK);
    assert_int_equal(rh_json_get_int(object, "", key, 0, 1, &integer, &error), RH_OK);
    assert_int_equal(rh_json_get_number(object, "", key, 0, 1, &number, &error), RH_OK);
    assert_int_equal(rh_json_get_bool(object, "", key, &flag, &error), RH_OK);
    assert_int_equal(rh_json_get_object(object, "", key, &container, &error), RH_OK);
    assert_int_equal(rh_json_get_array(object, "", key, &container, &error), RH_OK);
    assert_string_equal(text, "kept");
    assert_int_equal(integer, 7);
    assert_true(number == 7.5 && flag && container == NULL);
    assert_int_equal(rh_json_get_bool(NULL, "", key, &flag, &error), RH_OK);
  }
  json_decref(object);
}

static void test_getters_get(void **state) {
  (void)state;
  json_t *object = parse("{\"s\":\"x\",\"i\":5,\"r\":6.0,\"d\":0.5,\"b\":true,\"o\":{},\"a\":[1],\"big\":1e15}");
  const char *text = NULL;
  int64_t integer = 0;
  double number = 0;
  bool flag = false;
  json_t *container = NULL;
  assert_int_equal(rh_json_get_string(object, "", "s", &text, NULL), RH_OK);
  assert_string_equal(text, "x");
  assert_int_equal(rh_json_get_int(object, "", "i", 5, 5, &integer, NULL), RH_OK);
  assert_int_equal(integer, 5);
  assert_int_equal(rh_json_get_int(object, "", "r", 0, 10, &integer, NULL), RH_OK);
  assert_int_equal(integer, 6);
  assert_int_equal(rh_json_get_int(object, "", "big", INT64_MIN, INT64_MAX, &integer, NULL), RH_OK);
  assert_true(integer == INT64_C(1000000000000000));
  assert_int_equal(rh_json_get_number(object, "", "d", 0.5, 0.5, &number, NULL), RH_OK);
  assert_true(number == 0.5);
  assert_int_equal(rh_json_get_number(object, "", "i", 0, 10, &number, NULL), RH_OK);
  assert_true(number == 5.0);
  assert_int_equal(rh_json_get_bool(object, "", "b", &flag, NULL), RH_OK);
  assert_true(flag);
  assert_int_equal(rh_json_get_object(object, "", "o", &container, NULL), RH_OK);
  assert_ptr_equal(container, json_object_get(object, "o"));
  assert_int_equal(rh_json_get_array(object, "", "a", &container, NULL), RH_OK);
  assert_int_equal(json_array_size(container), 1);
  json_decref(object);
}

#define assert_complaint(call, at, text)        \
  do {                                          \
    rh_error error = {.status = RH_OK};         \
    assert_int_equal(call, RH_INVALID);         \
    assert_int_equal(error.status, RH_INVALID); \
    assert_string_equal(error.param, at);       \
    assert_string_equal(error.message, text);   \
  } while (0)

static void test_complaints_name_path_bounds_and_what_was_given(void **state) {
  (void)state;
  json_t *o = parse("{\"s\":\"x\",\"i\":50,\"r\":1.5,\"b\":true,\"o\":{},\"a\":[],\"big\":1e300}");
  const char *text;
  int64_t n;
  double d;
  bool b;
  json_t *c;
  assert_complaint(rh_json_get_string(o, "", "i", &text, &error), "i", "\"i\" must be a string, not a number");
  assert_complaint(rh_json_get_string(o, "messages[2]", "o", &text, &error), "messages[2].o",
                   "\"messages[2].o\" must be a string, not an object");
  assert_complaint(rh_json_get_int(o, "", "i", 1, 8, &n, &error), "i",
                   "\"i\" must be a whole number from 1 to 8; it is 50");
  assert_complaint(rh_json_get_int(o, "p", "r", 1, INT64_MAX, &n, &error), "p.r",
                   "\"p.r\" must be a whole number, at least 1; it is 1.5");
  assert_complaint(rh_json_get_int(o, "", "s", INT64_MIN, 8, &n, &error), "s",
                   "\"s\" must be a whole number, at most 8, not a string");
  assert_complaint(rh_json_get_int(o, "", "b", INT64_MIN, INT64_MAX, &n, &error), "b",
                   "\"b\" must be a whole number, not a boolean");
  assert_complaint(rh_json_get_int(o, "", "big", INT64_MIN, INT64_MAX, &n, &error), "big",
                   "\"big\" must be a whole number; it is 1e+300");
  assert_complaint(rh_json_get_number(o, "", "r", 0, 1, &d, &error), "r",
                   "\"r\" must be a number from 0 to 1; it is 1.5");
  assert_complaint(rh_json_get_number(o, "", "a", 0, (double)INFINITY, &d, &error), "a",
                   "\"a\" must be a number, at least 0, not an array");
  assert_complaint(rh_json_get_bool(o, "", "s", &b, &error), "s", "\"s\" must be true or false, not a string");
  assert_complaint(rh_json_get_object(o, "", "a", &c, &error), "a", "\"a\" must be an object, not an array");
  assert_complaint(rh_json_get_array(o, "", "o", &c, &error), "o", "\"o\" must be an array, not an object");
  assert_complaint(rh_json_get_bool(json_object_get(o, "a"), "list", "s", &b, &error), "list",
                   "list must be an object, not an array");
  json_decref(o);
}

static void test_paths_and_type_names(void **state) {
  (void)state;
  char out[16];
  rh_json_join_path(out, sizeof out, "", "key");
  assert_string_equal(out, "key");
  rh_json_join_path(out, sizeof out, "a.b", "key");
  assert_string_equal(out, "a.b.key");
  rh_json_join_path(out, sizeof out, "a long path", "and a long key");
  assert_string_equal(out, "a long path.and");
  assert_string_equal(rh_json_type_name(NULL), "nothing");
}

static void assert_written(const char *text, size_t length, const char *expected) {
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 1000);
  assert_int_equal(rh_json_append_string(&buf, text, length), RH_OK);
  assert_string_equal(rh_dynbuf_data(&buf), expected);
  rh_dynbuf_free(&buf);
}

static void test_strings_are_escaped(void **state) {
  (void)state;
  assert_written("", 0, "\"\"");
  assert_written("plain text, longer than a word", 30, "\"plain text, longer than a word\"");
  assert_written("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
  assert_written("\n\r\t\b\f", 5, "\"\\n\\r\\t\\b\\f\"");
  assert_written("\0\x01\x1F\x7F", 4, "\"\\u0000\\u0001\\u001f\x7F\"");
  assert_written("\xC3\xA4\xF0\x9F\x98\x80", 6, "\"\xC3\xA4\xF0\x9F\x98\x80\"");
  assert_written("a\xFFz", 3, "\"a\xEF\xBF\xBDz\"");
  assert_written("\xE2\x82", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
  assert_written("\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

// Every byte at every place of a word, and random bytes: the output reads back, and as the same text where it was text.
static void test_any_bytes_become_a_string_that_reads_back(void **state) {
  (void)state;
  unsigned random = 4;
  for (unsigned round = 0; round < 30000; round++) {
    char bytes[24];
    size_t length = round % 24;
    memset(bytes, 'a' + (int)(round % 26), sizeof bytes);
    if (round < 256 * 24) {
      length = 20;
      bytes[round / 256 % 20] = (char)(round % 256);
    } else {
      for (size_t i = 0; i < length; i++) {
        random = random * 1103515245u + 12345u;
        bytes[i] = (char)(random >> (round % 2 == 0 ? 16 : 25));
      }
    }
    rh_dynbuf buf;
    rh_dynbuf_init(&buf, 1000);
    assert_int_equal(rh_json_append_string(&buf, bytes, length), RH_OK);
    json_t *back = json_loadb(rh_dynbuf_data(&buf), buf.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (back == NULL) fail_msg("not JSON: %s", rh_dynbuf_data(&buf));
    if (rh_utf8_valid(bytes, length)) {
      assert_int_equal(json_string_length(back), length);
      assert_memory_equal(json_string_value(back), bytes, length);
    }
    json_decref(back);
    rh_dynbuf_free(&buf);
  }
}

static void test_a_string_that_does_not_fit_leaves_nothing(void **state) {
  (void)state;
  const char text[] = "one \"two\" three\nfour \xFF";
  for (size_t max = 3; max < 40; max++) {
    rh_dynbuf buf;
    rh_dynbuf_init(&buf, max);
    assert_int_equal(rh_dynbuf_append_text(&buf, "[1,"), RH_OK);
    rh_status status = rh_json_append_string(&buf, text, sizeof text - 1);
    if (status == RH_OK) {
      assert_int_equal(buf.length, 3 + 29);
    } else {
      assert_int_equal(status, RH_TOO_LARGE);
      assert_true(max < 3 + 29);
      assert_string_equal(rh_dynbuf_data(&buf), "[1,");
      assert_true(buf.failed);
    }
    rh_dynbuf_free(&buf);
  }
}

static void test_values_are_written_compact_and_exact(void **state) {
  (void)state;
  const char *text =
      "{\"a\":[1,-2,0.7,1e+300,2.0,true,false,null,\"\\n\"],\"b\":{},\"c\":[],\"\\\"\":{\"d\":9007199254740993}}";
  json_t *value = parse(text);
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 1000);
  assert_int_equal(rh_json_append_value(&buf, value), RH_OK);
  assert_string_equal(rh_dynbuf_data(&buf), text);
  for (size_t max = 1; max < strlen(text); max++) {
    rh_dynbuf small;
    rh_dynbuf_init(&small, max);
    (void)rh_dynbuf_append_char(&small, '>');
    assert_int_equal(rh_json_append_value(&small, value), RH_TOO_LARGE);
    assert_string_equal(rh_dynbuf_data(&small), ">");
    rh_dynbuf_free(&small);
  }
  json_decref(value);
  rh_dynbuf_clear(&buf);
  assert_int_equal(rh_json_append_value(&buf, NULL), RH_OK);
  assert_string_equal(rh_dynbuf_data(&buf), "null");
  rh_dynbuf_free(&buf);
}

static void test_writing_too_deep_is_refused(void **state) {
  (void)state;
  json_t *value = json_array();
  for (int i = 0; i < 1000; i++) value = json_pack("[o]", value);
  rh_dynbuf buf;
  rh_dynbuf_init(&buf, 10000);
  assert_int_equal(rh_json_append_value(&buf, value), RH_TOO_LARGE);
  assert_int_equal(buf.length, 0);
  rh_dynbuf_free(&buf);
  json_decref(value);
}

static void test_the_nearest_word(void **state) {
  (void)state;
  const char *const words[] = {"http_port", "listen", "context", "slots", "log_level", "id"};
  const size_t count = sizeof words / sizeof *words;
  assert_string_equal(rh_text_nearest("htp_port", words, count), "http_port");
  assert_string_equal(rh_text_nearest("http-port", words, count), "http_port");
  assert_string_equal(rh_text_nearest("HTTP_PORT", words, count), "http_port");
  assert_string_equal(rh_text_nearest("lsiten", words, count), "listen");
  assert_string_equal(rh_text_nearest("contexts", words, count), "context");
  assert_string_equal(rh_text_nearest("slot", words, count), "slots");
  assert_string_equal(rh_text_nearest("loglevel", words, count), "log_level");
  assert_null(rh_text_nearest("temperature", words, count));
  assert_null(rh_text_nearest("ix", words, count));
  assert_null(rh_text_nearest("", words, count));
  assert_null(rh_text_nearest("x", words, 0));
  char huge[1000];
  memset(huge, 'x', sizeof huge);
  huge[sizeof huge - 1] = '\0';
  assert_null(rh_text_nearest(huge, words, count));
  const char *const long_words[] = {huge, "abd"};
  assert_string_equal(rh_text_nearest("abc", long_words, 2), "abd");
}

// jansson with every allocation failing in turn.
static size_t allocations_left;

static void *failing_malloc(size_t size) {
  if (allocations_left == 0) return NULL;
  allocations_left--;
  return malloc(size);
}

static void test_no_memory_is_told_apart(void **state) {
  (void)state;
  const char text[] = "{\"a\":[1,2.5,\"text\"],\"b\":{\"c\":null}}";
  json_set_alloc_funcs(failing_malloc, free);
  size_t failures = 0;
  for (size_t allowed = 0; allowed < 200; allowed++) {
    rh_error error = {.status = RH_OK};
    allocations_left = allowed;
    json_t *value = rh_json_parse(text, sizeof text - 1, &error);
    if (value != NULL) {
      json_decref(value);
      break;
    }
    failures++;
    // Deep inside, jansson takes a failed allocation for a broken text, and says where.
    if (error.status != RH_NO_MEMORY && strstr(error.message, "not valid JSON at line 1") == NULL) {
      fail_msg("after %zu allocations: %s", allowed, error.message);
    }
    if (allowed == 0) assert_int_equal(error.status, RH_NO_MEMORY);
  }
  json_set_alloc_funcs(malloc, free);
  assert_in_range(failures, 5, 100);
}

// Every length and place around the eight bytes that are looked at together.
static void test_quoting_at_every_length_and_place(void **state) {
  (void)state;
  static const char *const odd[] = {"\"", "\\", "\n", "\x7F", "\xC3\xA4", "\xFF"};
  for (size_t length = 0; length < 40; length++) {
    char plain[48] = "", out[64];
    for (size_t i = 0; i < length; i++) plain[i] = (char)('a' + i % 26);
    assert_true(rh_json_quote(out, plain, length));
    assert_true(out[0] == '"' && out[length + 1] == '"');
    assert_memory_equal(out + 1, plain, length);
    for (size_t at = 0; at < length * 6; at++) {
      char text[48] = "";
      const char *what = odd[at % 6];
      memcpy(text, plain, length);
      if (at / 6 + strlen(what) > length) continue;
      memcpy(text + at / 6, what, strlen(what));
      bool fits = at % 6 == 3 || at % 6 == 4;
      assert_int_equal(rh_json_quote(out, text, length), fits);
      if (fits) assert_memory_equal(out + 1, text, length);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values_of_every_type_parse),
      cmocka_unit_test(test_broken_texts_are_refused_with_a_place),
      cmocka_unit_test(test_depth_is_limited),
      cmocka_unit_test(test_brackets_in_strings_do_not_nest),
      cmocka_unit_test(test_absent_and_null_leave_the_default),
      cmocka_unit_test(test_getters_get),
      cmocka_unit_test(test_complaints_name_path_bounds_and_what_was_given),
      cmocka_unit_test(test_paths_and_type_names),
      cmocka_unit_test(test_strings_are_escaped),
      cmocka_unit_test(test_any_bytes_become_a_string_that_reads_back),
      cmocka_unit_test(test_a_string_that_does_not_fit_leaves_nothing),
      cmocka_unit_test(test_values_are_written_compact_and_exact),
      cmocka_unit_test(test_writing_too_deep_is_refused),
      cmocka_unit_test(test_the_nearest_word),
      cmocka_unit_test(test_no_memory_is_told_apart),
      cmocka_unit_test(test_quoting_at_every_length_and_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
