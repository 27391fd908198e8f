// SPDX-License-Identifier: Apache-2.0
//
// How a model is kept: settings of the configuration, copies, and what makes two specs the same.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "model/catalogue.h"

static rh_status add(rh_catalogue *catalogue, const char *json, rh_error *error) {
  json_t *settings = json_loads(json, 0, NULL);
  assert_non_null(settings);
  rh_status status = rh_catalogue_add_json(catalogue, "m", settings, NULL, 9, error);
  json_decref(settings);
  return status;
}

static int64_t keep_alive_of(const char *json) {
  rh_error error = {0};
  rh_catalogue *catalogue = rh_catalogue_new();
  if (add(catalogue, json, &error) != RH_OK) fail_msg("%s", error.message);
  int64_t keep_alive = rh_catalogue_find(catalogue, "m")->keep_alive;
  rh_catalogue_free(catalogue);
  return keep_alive;
}

static void test_keep_alive_in_every_form(void **state) {
  (void)state;
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\"}"), RH_KEEP_ALIVE_UNSET);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":\"5m\"}"), 300 * (int64_t)RH_NS_PER_S);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":300}"), 300 * (int64_t)RH_NS_PER_S);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":1.5}"), 3 * (int64_t)RH_NS_PER_S / 2);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":\"0\"}"), 0);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":0}"), 0);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":-1}"), RH_KEEP_ALIVE_FOREVER);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":\"forever\"}"), RH_KEEP_ALIVE_FOREVER);
  assert_int_equal(keep_alive_of("{\"path\":\"fake:\",\"keep_alive\":null}"), RH_KEEP_ALIVE_UNSET);
}

static void expect_error(const char *json, const char *param, const char *words) {
  rh_error error = {0};
  rh_catalogue *catalogue = rh_catalogue_new();
  assert_int_equal(add(catalogue, json, &error), RH_INVALID);
  assert_string_equal(error.param, param);
  if (strstr(error.message, words) == NULL) fail_msg("\"%s\" does not say \"%s\"", error.message, words);
  rh_catalogue_free(catalogue);
}

static void test_wrong_settings_are_named(void **state) {
  (void)state;
  expect_error("{\"path\":\"fake:\",\"keep_alive\":\"soon\"}", "keep_alive", "\"soon\"");
  expect_error("{\"path\":\"fake:\",\"keep_alive\":\"5 parsecs\"}", "keep_alive", "1h30m");
  expect_error("{\"path\":\"fake:\",\"keep_alive\":true}", "keep_alive", "keep_alive");
  expect_error("{\"path\":\"fake:\",\"pinned\":\"perhaps\"}", "pinned", "true or false");
}

static void test_memory_and_hardware_settings(void **state) {
  (void)state;
  rh_catalogue *catalogue = rh_catalogue_new();
  const char *json =
      "{\"path\":\"fake:\",\"pinned\":true,\"memory\":\"2GiB\",\"memory_min\":\"512MiB\",\"gpu_required\":true,"
      "\"task\":\"chat\",\"license\":\"MIT\"}";
  assert_int_equal(add(catalogue, json, NULL), RH_OK);
  const rh_model_spec *spec = rh_catalogue_find(catalogue, "m");
  assert_true(spec->pinned && spec->gpu_required);
  assert_int_equal(spec->memory_bytes, UINT64_C(2) << 30);
  assert_int_equal(spec->memory_min_bytes, UINT64_C(512) << 20);
  assert_string_equal(spec->task, "chat");
  assert_string_equal(spec->licence, "MIT");
  assert_int_equal(spec->origin, RH_ORIGIN_CONFIG);
  assert_int_equal(spec->format, RH_FORMAT_FAKE);
  rh_catalogue_free(catalogue);
}

static rh_model_spec sample(void) {
  static char name[] = "x:1", engine[] = "llama", path[] = "/x.gguf";
  return (rh_model_spec){
      .name = name, .engine = engine, .path = path, .file_bytes = 5, .modified_s = 6, .format = RH_FORMAT_GGUF};
}

static void test_the_same_means_the_same_bytes_loaded_alike(void **state) {
  (void)state;
  rh_model_spec a = sample(), b = sample();
  assert_true(rh_model_spec_same(&a, &b));
  b.keep_alive = 7;
  b.pinned = true;
  b.licence = (char[]){"MIT"};
  assert_true(rh_model_spec_same(&a, &b));
  b = sample();
  b.options.context = 99;
  assert_false(rh_model_spec_same(&a, &b));
  b = sample();
  b.modified_s++;
  assert_false(rh_model_spec_same(&a, &b));
  // With a digest of both a new date means nothing, and a new digest everything.
  a.digest = (char[]){"sha256:1"};
  b.digest = (char[]){"sha256:1"};
  assert_true(rh_model_spec_same(&a, &b));
  b.digest = (char[]){"sha256:2"};
  assert_false(rh_model_spec_same(&a, &b));
  b = sample();
  b.path = (char[]){"/y.gguf"};
  a.digest = NULL;
  assert_false(rh_model_spec_same(&a, &b));
}

static void test_a_spec_is_added_as_a_copy_once(void **state) {
  (void)state;
  rh_catalogue *catalogue = rh_catalogue_new();
  rh_model_spec *own = NULL;
  rh_error error = {0};
  {
    rh_model_spec spec = sample();
    char source[] = "hf:org/repo";
    spec.source = source;
    assert_int_equal(rh_catalogue_add_spec(catalogue, &spec, NULL), RH_OK);
    assert_int_equal(rh_catalogue_add_spec(catalogue, &spec, &error), RH_CONFLICT);
    own = rh_model_spec_copy(&spec);
    source[0] = 'X';
  }
  assert_string_equal(rh_catalogue_find(catalogue, "x:1")->source, "hf:org/repo");
  assert_string_equal(own->source, "hf:org/repo");
  assert_null(own->licence);
  rh_model_spec bad = sample();
  bad.name = (char[]){"not a name"};
  assert_int_equal(rh_catalogue_add_spec(catalogue, &bad, NULL), RH_INVALID);
  rh_model_spec_free(own);
  rh_model_spec_free(NULL);
  rh_catalogue_free(catalogue);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_keep_alive_in_every_form),
      cmocka_unit_test(test_wrong_settings_are_named),
      cmocka_unit_test(test_memory_and_hardware_settings),
      cmocka_unit_test(test_the_same_means_the_same_bytes_loaded_alike),
      cmocka_unit_test(test_a_spec_is_added_as_a_copy_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
