// SPDX-License-Identifier: Apache-2.0
//
// base/status: words of statuses and the caller's error buffer.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/status.h"
#include "base/utf8.h"

static void test_every_status_has_a_word_of_its_own(void **state) {
  (void)state;
  for (int i = 0; i < RH_STATUS_COUNT; i++) {
    const char *name = rh_status_name((rh_status)i);
    assert_non_null(name);
    assert_true(strlen(name) > 0);
    assert_int_equal(rh_status_from_name(name), i);
  }
  assert_string_equal(rh_status_name(RH_CONTEXT_OVERFLOW), "context_overflow");
}

static void test_unknown_words_and_numbers_are_internal(void **state) {
  (void)state;
  assert_int_equal(rh_status_from_name("from_the_future"), RH_INTERNAL);
  assert_int_equal(rh_status_from_name(NULL), RH_INTERNAL);
  assert_string_equal(rh_status_name((rh_status)999), "internal");
  assert_string_equal(rh_status_name((rh_status)-1), "internal");
}

static void test_fail_fills_the_error(void **state) {
  (void)state;
  rh_error error;
  memset(&error, 'x', sizeof error);
  assert_int_equal(rh_fail(&error, RH_IO, "no %s in %d", "file", 3), RH_IO);
  assert_int_equal(error.status, RH_IO);
  assert_string_equal(error.message, "no file in 3");
  assert_string_equal(error.param, "");
  assert_int_equal(rh_fail_param(&error, RH_INVALID, "messages[2]", "bad"), RH_INVALID);
  assert_string_equal(error.param, "messages[2]");
  assert_string_equal(error.message, "bad");
  assert_int_equal(rh_fail_param(&error, RH_INVALID, NULL, "bad"), RH_INVALID);
  assert_string_equal(error.param, "");
}

static void test_no_error_buffer_is_fine(void **state) {
  (void)state;
  assert_int_equal(rh_fail(NULL, RH_DEADLINE, "%s", "x"), RH_DEADLINE);
  assert_int_equal(rh_fail_param(NULL, RH_DEADLINE, "p", "%s", "x"), RH_DEADLINE);
}

static void test_an_error_may_wrap_itself(void **state) {
  (void)state;
  rh_error error;
  (void)rh_fail_param(&error, RH_INVALID, "a.b", "inner");
  (void)rh_fail_param(&error, RH_LOAD_FAILED, error.param, "outer: %s", error.message);
  assert_string_equal(error.message, "outer: inner");
  assert_string_equal(error.param, "a.b");
  assert_int_equal(error.status, RH_LOAD_FAILED);
}

static void test_long_texts_are_cut_between_characters(void **state) {
  (void)state;
  rh_error error;
  char text[1000];
  for (size_t shift = 0; shift < 3; shift++) {
    memset(text, 'a', shift);
    for (size_t i = shift; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xE2\x82\xAC", 4);
    (void)rh_fail_param(&error, RH_INVALID, text, "%s", text);
    size_t length = strlen(error.message);
    assert_in_range(length, sizeof error.message - 4, sizeof error.message - 1);
    assert_true(rh_utf8_valid(error.message, length));
    length = strlen(error.param);
    assert_in_range(length, sizeof error.param - 4, sizeof error.param - 1);
    assert_true(rh_utf8_valid(error.param, length));
  }
  // What fits exactly is not cut.
  memset(text, 'b', sizeof text);
  text[sizeof error.message - 1] = '\0';
  (void)rh_fail(&error, RH_INVALID, "%s", text);
  assert_string_equal(error.message, text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_status_has_a_word_of_its_own),
      cmocka_unit_test(test_unknown_words_and_numbers_are_internal),
      cmocka_unit_test(test_fail_fills_the_error),
      cmocka_unit_test(test_no_error_buffer_is_fine),
      cmocka_unit_test(test_an_error_may_wrap_itself),
      cmocka_unit_test(test_long_texts_are_cut_between_characters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
