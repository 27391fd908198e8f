// SPDX-License-Identifier: Apache-2.0
//
// Which model a name means, and what is said when none is meant. No model is loaded here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "manager_fixture.h"

static int setup(void **state) {
  rh_model_yard *yard = malloc(sizeof *yard);
  rh_yard_init(yard);
  rh_yard_add(yard, "qwen3:0.6b", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "qwen3:1.7b", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "llama:v1", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "llama:latest", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "plain", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "org/Repo:Q4", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "a:b:c", "{\"path\":\"fake:\"}");
  rh_yard_add(yard, "zebra", "{\"path\":\"fake:\"}");
  *state = yard;
  return 0;
}

static int teardown(void **state) {
  rh_yard_close(*state);
  free(*state);
  return 0;
}

static void expect(rh_model_yard *yard, const char *said, const char *name, const char *reason) {
  rh_resolution found;
  rh_error error = {0};
  if (rh_manager_resolve(yard->manager, said, &found, &error) != RH_OK) fail_msg("%s: %s", said, error.message);
  assert_string_equal(rh_served_spec(found.served)->name, name);
  assert_string_equal(found.reason, reason);
}

static void expect_unknown(rh_model_yard *yard, const char *said, const char *words) {
  rh_resolution found;
  rh_error error = {0};
  assert_int_equal(rh_manager_resolve(yard->manager, said, &found, &error), RH_NOT_FOUND);
  assert_string_equal(error.param, "model");
  if (strstr(error.message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", error.message, words);
}

static void test_exact_names_and_versions(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  assert_int_equal(rh_manager_count(yard->manager), 8);
  assert_string_equal(rh_served_spec(rh_manager_at(yard->manager, 0))->name, "a:b:c");
  expect(yard, "qwen3:0.6b", "qwen3:0.6b", "named by the request");
  expect(yard, "plain", "plain", "named by the request");
  expect(yard, "llama", "llama:latest", "newest version of llama");
  expect(yard, "plain:latest", "plain", "newest version of plain:latest");
  expect(yard, "a:b", "a:b:c", "newest version of a:b");
  expect_unknown(yard, "a", "not served here");
}

static void test_other_case_is_found_last(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  expect(yard, "ORG/repo:q4", "org/Repo:Q4", "named by the request, in other case");
  expect(yard, "Llama", "llama:latest", "named by the request, in other case");
}

static void test_the_default(void **state) {
  rh_model_yard *yard = *state;
  yard->options.default_model = "zebra";
  json_t *aliases = json_pack("{s:s, s:s}", "fast", "qwen3:0.6b", "old", "gone:v1");
  yard->options.aliases = aliases;
  rh_yard_open(yard);
  json_decref(aliases);
  expect(yard, NULL, "zebra", "the default model");
  expect(yard, "", "zebra", "the default model");
  expect(yard, "default", "zebra", "the default model");
  expect(yard, "auto", "zebra", "the default model");
  expect(yard, "fast", "qwen3:0.6b", "alias fast");
  expect(yard, "FAST", "qwen3:0.6b", "alias fast");
  expect_unknown(yard, "old", "the alias old means gone:v1, which is not here");
  assert_int_equal(rh_manager_alias(yard->manager, "default", rh_yard_find(yard, "plain"), false, NULL, NULL, NULL),
                   RH_OK);
  expect(yard, "", "plain", "alias default");
  expect(yard, "auto", "plain", "alias default");
}

static void test_without_any_wish_the_first_by_name(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  expect(yard, "", "a:b:c", "the default model");
}

static void test_unknown_names_get_advice(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  expect_unknown(yard, "zebr", "did you mean 'zebra'?");
  expect_unknown(yard, "smollm2", "`roundhouse pull smollm2` gets it");
  expect_unknown(yard, "xxxxxxxxxxxxxxxx", "GET /v1/models");
}

static void test_a_server_without_models_says_so(void **state) {
  rh_model_yard *yard = *state;
  yard->count = 0;
  yard->options.models_dir = "/tmp/no-such-folder";
  rh_yard_open(yard);
  expect_unknown(yard, "", "roundhouse pull auto");
  expect_unknown(yard, "x", "/tmp/no-such-folder");
}

static rh_status alias(rh_model_yard *yard, const char *name, const char *target, rh_error *error) {
  return rh_manager_alias(yard->manager, name, target != NULL ? rh_yard_find(yard, target) : NULL, false, NULL, NULL,
                          error);
}

static void test_names_that_cannot_be_aliases(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_open(yard);
  rh_error error = {0};
  assert_int_equal(alias(yard, "plain", "zebra", &error), RH_CONFLICT);
  assert_int_equal(alias(yard, "auto", "zebra", &error), RH_INVALID);
  assert_int_equal(alias(yard, "pin:zebra", "zebra", &error), RH_INVALID);
  assert_int_equal(alias(yard, "a b", "zebra", &error), RH_INVALID);
  assert_int_equal(alias(yard, "none", NULL, &error), RH_NOT_FOUND);
}

static void test_aliases_and_pins_are_remembered(void **state) {
  rh_model_yard *yard = *state;
  json_t *aliases = json_pack("{s:s}", "fast", "plain");
  yard->options.aliases = aliases;
  rh_yard_open(yard);
  assert_int_equal(alias(yard, "fast", "zebra", NULL), RH_OK);
  assert_int_equal(alias(yard, "second", "plain", NULL), RH_OK);  // within the second: written at the end
  assert_int_equal(rh_manager_pin(yard->manager, rh_yard_find(yard, "qwen3:1.7b"), true, NULL), RH_OK);
  rh_yard_stop(yard);
  rh_yard_open(yard);
  json_decref(aliases);
  expect(yard, "fast", "zebra", "alias fast");  // the store wins over the configuration
  expect(yard, "second", "plain", "alias second");
  assert_true(rh_served_pinned(rh_yard_find(yard, "qwen3:1.7b")));
  json_t *list = rh_manager_aliases(yard->manager);
  assert_int_equal(json_array_size(list), 2);
  assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "model")), "zebra");
  json_decref(list);
  assert_int_equal(alias(yard, "second", NULL, NULL), RH_OK);
  rh_yard_stop(yard);
  yard->options.aliases = NULL;
  rh_yard_open(yard);
  expect_unknown(yard, "second", "not served here");
}

static void test_other_names_of_the_catalogue(void **state) {
  rh_model_yard *yard = *state;
  rh_yard_add(yard, "smollm2:135m-instruct-q4_1", "{\"path\":\"fake:\"}");
  rh_yard_open(yard);
  expect(yard, "smollm2:135m", "smollm2:135m-instruct-q4_1", "the catalogue's smollm2:135m");
  expect(yard, "SmolLM2-135M-Instruct", "smollm2:135m-instruct-q4_1", "the catalogue's SmolLM2-135M-Instruct");
  expect_unknown(yard, "smollm2:360m", "the catalogue has it");
}

#define NAMES_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      NAMES_TEST(test_exact_names_and_versions),
      NAMES_TEST(test_other_case_is_found_last),
      NAMES_TEST(test_the_default),
      NAMES_TEST(test_without_any_wish_the_first_by_name),
      NAMES_TEST(test_unknown_names_get_advice),
      NAMES_TEST(test_a_server_without_models_says_so),
      NAMES_TEST(test_names_that_cannot_be_aliases),
      NAMES_TEST(test_aliases_and_pins_are_remembered),
      NAMES_TEST(test_other_names_of_the_catalogue),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
