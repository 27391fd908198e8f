// SPDX-License-Identifier: Apache-2.0
//
// Which file is a graph's variant with int8 weights, and what the files say of quantization; with the folders "variants" of
// tests/tools/make_onnx.py, below RH_TINY_ONNX.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "model/hardware.h"
#include "model/need.h"
#include "model/variant.h"

static const char *folder;

static const char *path_of(const char *name) {
  static char path[1024];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

// `wanted` NULL: none is considered.
static void expect(const char *name, int int8, bool vnni, const char *wanted) {
  rh_onnx_findings found;
  rh_onnx_find(path_of(name), int8, vnni, &found);
  if (wanted == NULL) {
    if (found.variant[0] != '\0') fail_msg("%s: %s is considered", name, found.variant);
    assert_string_equal(found.variant_quantization, "");
    return;
  }
  assert_string_equal(found.variant, path_of(wanted));
  assert_string_equal(found.variant_quantization, "int8 dynamic");
  assert_string_equal(found.quantization, "fp32");
}

static void test_auto_wants_vnni_and_an_encoder(void **state) {
  (void)state;
  expect("variants/good/model.onnx", RH_ONNX_INT8_AUTO, true, "variants/good/model_int8.onnx");
  expect("variants/good/model.onnx", RH_ONNX_INT8_AUTO, false, NULL);
  expect("variants/spoiled/model.onnx", RH_ONNX_INT8_AUTO, true, "variants/spoiled/model_quantized.onnx");
  expect("variants/below/model.onnx", RH_ONNX_INT8_AUTO, true, "variants/below/onnx/model_quint8_avx2.onnx");
  expect("variants/past/model.onnx", RH_ONNX_INT8_AUTO, true, NULL);
  expect("add.onnx", RH_ONNX_INT8_AUTO, true, NULL);
}

static void test_always_and_never(void **state) {
  (void)state;
  expect("variants/good/model.onnx", RH_ONNX_INT8_ALWAYS, false, "variants/good/model_int8.onnx");
  expect("variants/past/model.onnx", RH_ONNX_INT8_ALWAYS, false, "variants/past/model_int8.onnx");
  expect("variants/good/model.onnx", RH_ONNX_INT8_NEVER, true, NULL);
}

// A name alone, other inputs, a damaged file, a graph that is quantized itself.
static void test_what_is_no_variant(void **state) {
  (void)state;
  expect("variants/none/model.onnx", RH_ONNX_INT8_ALWAYS, true, NULL);
  expect("variants/good/model_int8.onnx", RH_ONNX_INT8_ALWAYS, true, NULL);
  expect("variants/good/vocab.txt", RH_ONNX_INT8_ALWAYS, true, NULL);
  expect("variants/good", RH_ONNX_INT8_ALWAYS, true, NULL);
}

static void test_words_for_quantization(void **state) {
  (void)state;
  static const struct {
    const char *name, *word;
  } rows[] = {{"quantized.onnx", "int8 dynamic"},
              {"nibbles.onnx", "int4"},
              {"half.onnx", "fp16"},
              {"weights.onnx", "fp32"},
              {"scalar.onnx", ""},
              {"bad/cut.onnx", ""},
              {"genai/genai_config.json", ""},
              {"variants/none/model.onnx", "fp32"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    rh_onnx_findings found;
    rh_onnx_find(path_of(rows[i].name), RH_ONNX_INT8_NEVER, false, &found);
    assert_string_equal(found.quantization, rows[i].word);
  }
}

static void test_features_can_be_pretended(void **state) {
  (void)state;
  rh_hardware machine;
  setenv(RH_CPU_FEATURES_VARIABLE, "-avx512_vnni,-avx_vnni", 1);
  rh_hardware_probe_cpu(&machine);
  assert_false(rh_hardware_has_vnni(&machine));
  setenv(RH_CPU_FEATURES_VARIABLE, "+avx512_vnni -avx2", 1);
  rh_hardware_probe_cpu(&machine);
  assert_true(rh_hardware_has_vnni(&machine));
  assert_null(strstr(machine.cpu_features, "avx2"));
  setenv(RH_CPU_FEATURES_VARIABLE, "-avx512_vnni,+avx_vnni", 1);
  rh_hardware_probe_cpu(&machine);
  assert_true(rh_hardware_has_vnni(&machine));

  rh_onnx_findings found;
  rh_load load = {.engine = "onnx", .path = path_of("variants/good/model.onnx")};
  rh_onnx_complete_load(&load, &found);
  assert_string_equal(load.quantization, "fp32");
  assert_non_null(load.variant);
  assert_string_equal(load.variant_quantization, "int8 dynamic");
  setenv(RH_CPU_FEATURES_VARIABLE, "-avx512_vnni,-avx_vnni,,+", 1);
  load = (rh_load){.engine = "onnx", .path = path_of("variants/good/model.onnx")};
  rh_onnx_complete_load(&load, &found);
  assert_null(load.variant);
  unsetenv(RH_CPU_FEATURES_VARIABLE);
}

// At the first load both are in memory.
static void test_the_estimate_counts_both(void **state) {
  (void)state;
  rh_need plain, both;
  rh_error error = {0};
  rh_load_options options = {.gpu_layers = -1, .onnx = {.int8 = RH_ONNX_INT8_NEVER}};
  const char *path = path_of("variants/good/model.onnx");
  assert_int_equal(rh_need_estimate("onnx", path, &options, 0, &plain, &error), RH_OK);
  options.onnx.int8 = RH_ONNX_INT8_ALWAYS;
  assert_int_equal(rh_need_estimate("onnx", path, &options, 0, &both, &error), RH_OK);
  assert_int_equal(both.ram_bytes - plain.ram_bytes, 56 * 8 * 4 + 8 * 8 + 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_auto_wants_vnni_and_an_encoder),
      cmocka_unit_test(test_always_and_never),
      cmocka_unit_test(test_what_is_no_variant),
      cmocka_unit_test(test_words_for_quantization),
      cmocka_unit_test(test_features_can_be_pretended),
      cmocka_unit_test(test_the_estimate_counts_both),
  };
  folder = getenv("RH_TINY_ONNX");
  if (!folder) {
    fputs("RH_TINY_ONNX names no folder\n", stderr);
    return 1;
  }
  rh_log_setup(2, RH_LOG_OFF, RH_LOG_JSON);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
