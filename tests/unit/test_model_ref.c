// SPDX-License-Identifier: Apache-2.0
//
// Names with versions: parsing, writing, cleaning, folders.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "model/ref.h"

static void expect(const char *text, const char *name, const char *version) {
  rh_model_ref ref;
  rh_error error = {0};
  assert_int_equal(rh_model_ref_parse(text, &ref, &error), RH_OK);
  assert_string_equal(ref.name, name);
  assert_string_equal(ref.version, version);
  char again[RH_MODEL_NAME_MAX + 1];
  assert_int_equal(rh_model_ref_format(&ref, again, sizeof again), RH_OK);
  assert_string_equal(again, text);
}

static void test_parses_and_writes(void **state) {
  (void)state;
  expect("smollm2", "smollm2", "");
  expect("smollm2:135m-q4_1", "smollm2", "135m-q4_1");
  expect("org/Repo.x:Q4_K_M", "org/Repo.x", "Q4_K_M");
  expect("a:b:c", "a:b", "c");
  expect("a", "a", "");
  expect("a..b", "a..b", "");
}

static void refuse(const char *text, const char *words) {
  rh_model_ref ref;
  rh_error error = {0};
  assert_int_equal(rh_model_ref_parse(text, &ref, &error), RH_INVALID);
  if (strstr(error.message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", error.message, words);
  assert_non_null(strstr(error.message, "A-Z a-z 0-9"));
  assert_string_equal(ref.name, "");
}

static void test_refuses_what_cannot_be_a_folder(void **state) {
  (void)state;
  refuse("", "empty");
  refuse("..", "dot");
  refuse(".", "dot");
  refuse("a/../b", "dot");
  refuse("a:..", "dot");
  refuse(".hidden", "dot");
  refuse("/etc/passwd", "part of it is empty");
  refuse("a//b", "part of it is empty");
  refuse("a:", "part of it is empty");
  refuse(":b", "part of it is empty");
  refuse("a::b", "part of it is empty");
  refuse("a/", "part of it is empty");
  refuse("a b", "other characters");
  refuse("a@b", "other characters");
  refuse("a+b", "other characters");
  refuse("a\\b", "other characters");
  refuse("a\nb", "other characters");
  refuse("\xc3\xa9", "other characters");
  char text[RH_MODEL_NAME_MAX + 2];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  refuse(text, "too long");
  text[RH_MODEL_NAME_MAX] = '\0';
  expect(text, text, "");
}

static void test_name_and_version_together_have_a_limit(void **state) {
  (void)state;
  rh_model_ref ref = {.version = "v"};
  memset(ref.name, 'x', RH_MODEL_NAME_MAX - 2);
  char out[RH_MODEL_NAME_MAX + 1];
  assert_int_equal(rh_model_ref_format(&ref, out, sizeof out), RH_OK);
  assert_int_equal(strlen(out), RH_MODEL_NAME_MAX);
  strcpy(ref.version, "vv");
  assert_int_equal(rh_model_ref_format(&ref, out, sizeof out), RH_TOO_LARGE);
  assert_string_equal(out, "");
}

static void clean(const char *text, const char *expected) {
  char out[RH_MODEL_NAME_MAX + 1];
  rh_model_ref_clean(text, out, sizeof out);
  assert_string_equal(out, expected);
  rh_model_ref ref;
  assert_int_equal(rh_model_ref_parse(out, &ref, NULL), RH_OK);
}

static void test_cleaned_names_are_names(void **state) {
  (void)state;
  clean("Org/Repo Name", "org/repo-name");
  clean("SmolLM2-135M", "smollm2-135m");
  clean("a//b", "a/b");
  clean("/a/", "a");
  clean("a:", "a");
  clean(".hidden", "-hidden");
  clean("a/../b", "a/-./b");
  clean("", "model");
  clean("://", "model");
  clean("\xc3\xa9", "--");
  char text[2 * RH_MODEL_NAME_MAX];
  memset(text, 'X', sizeof text - 1);
  text[RH_MODEL_NAME_MAX - 1] = '/';  // the cut leaves the separator at the end
  text[sizeof text - 1] = '\0';
  char out[RH_MODEL_NAME_MAX + 1];
  rh_model_ref_clean(text, out, sizeof out);
  assert_int_equal(strlen(out), RH_MODEL_NAME_MAX - 1);
}

static void test_folders_and_back(void **state) {
  (void)state;
  char folder[RH_MODEL_NAME_MAX + 1], text[RH_MODEL_NAME_MAX + 1];
  rh_model_ref_to_folder("org/repo:x", folder, sizeof folder);
  assert_string_equal(folder, "org@repo+x");
  rh_model_ref_from_folder(folder, text, sizeof text);
  assert_string_equal(text, "org/repo:x");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_parses_and_writes),
      cmocka_unit_test(test_refuses_what_cannot_be_a_folder),
      cmocka_unit_test(test_name_and_version_together_have_a_limit),
      cmocka_unit_test(test_cleaned_names_are_names),
      cmocka_unit_test(test_folders_and_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
