// SPDX-License-Identifier: Apache-2.0
//
// The ONNX engine's choice between a graph and its variant with int8 weights: what is measured, what is remembered.
#include "onnx_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"

static char cache[64];

static int set_up(void **state) {
  (void)state;
  (void)snprintf(cache, sizeof cache, "/tmp/rh-int8-XXXXXX");
  return mkdtemp(cache) && setenv("ROUNDHOUSE_CACHE", cache, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  rh_error error;
  unsetenv("ROUNDHOUSE_CACHE");
  return rh_file_remove_tree(cache, &error) == RH_OK ? 0 : -1;
}

// What a load of variants/FOLDER/model.onnx with that variant says of itself. `variant` NULL = none.
static rh_status try_variant(const char *name, const char *variant, int int8, double cosine, rh_model_info *info,
                             rh_error *error) {
  char graph[1024], other[1024];
  (void)snprintf(graph, sizeof graph, "%s/variants/%s/model.onnx", folder, name);
  (void)snprintf(other, sizeof other, "%s/variants/%s/%s", folder, name, variant ? variant : "");
  rh_load load = {.engine = "onnx",
                  .path = graph,
                  .options = {.gpu_layers = -1, .threads = 1, .onnx = {.int8 = int8, .int8_cosine = cosine}},
                  .quantization = "fp32",
                  .variant = variant ? other : NULL,
                  .variant_quantization = "int8 dynamic"};
  rh_engine *engine = NULL;
  *error = (rh_error){.status = RH_OK};
  rh_status status = OPS->load(&load, NULL, NULL, &engine, error);
  if (status != RH_OK) return status;
  OPS->describe(engine, info);
  OPS->unload(engine);
  return status;
}

static void expect(const char *name, const char *variant, int int8, double cosine, const char *quantization,
                   const char *acceleration, const char *fallback) {
  rh_model_info info;
  rh_error error;
  if (try_variant(name, variant, int8, cosine, &info, &error) != RH_OK) fail_msg("%s: %s", name, error.message);
  assert_string_equal(info.quantization, quantization);
  if (!strstr(info.acceleration, acceleration)) fail_msg("%s lacks %s", info.acceleration, acceleration);
  if (!strstr(info.fallback, fallback)) fail_msg("%s lacks %s", info.fallback, fallback);
  if (fallback[0] == '\0') assert_null(strstr(info.fallback, "is not used"));
}

static int in_shell(const char *format, const char *word) {
  char command[256];
  (void)snprintf(command, sizeof command, "cd %s/onnx && ", cache);
  size_t used = strlen(command);
  (void)snprintf(command + used, sizeof command - used, format, word);
  int status = system(command);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static int kept_verdicts(void) { return in_shell("exit $(ls | grep -c '[.]int8$')%s", ""); }

// In place of the only one that is kept.
static void write_verdict(const char *text) {
  assert_int_equal(in_shell("f=$(ls *.int8) && test -f $f && printf '%s\\n' > $f", text), 0);
}

static void remove_verdict(void) { assert_int_equal(in_shell("rm *.int8%s", ""), 0); }

static void test_an_accurate_variant_is_taken(void **state) {
  (void)state;
  expect("good", "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "int8 dynamic", "int8 variant: cosine ", "");
  expect("labels", "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "int8 dynamic", "probability off by 0.0", "");
}

static void test_an_inaccurate_one_is_not(void **state) {
  (void)state;
  expect("spoiled", "model_quantized.onnx", RH_ONNX_INT8_AUTO, 0, "fp32", "CPU",
         "model_quantized.onnx is not used: cosine ");
  expect("mistaken", "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "probability off by 0.");
  // Nothing but equality will do.
  expect("good", "model_int8.onnx", RH_ONNX_INT8_AUTO, 1, "fp32", "CPU", "bound 1");
}

static void test_always_and_never(void **state) {
  (void)state;
  expect("spoiled", "model_quantized.onnx", RH_ONNX_INT8_ALWAYS, 0, "int8 dynamic", "int8 variant: cosine ", "");
  expect("mute", "model_int8.onnx", RH_ONNX_INT8_ALWAYS, 0, "int8 dynamic", "not measured", "");
  expect("good", "model_int8.onnx", RH_ONNX_INT8_NEVER, 0, "fp32", "CPU", "");
  rh_model_info info;
  rh_error error;
  assert_int_equal(try_variant("good", NULL, RH_ONNX_INT8_ALWAYS, 0, &info, &error), RH_LOAD_FAILED);
  expect_words(&error, "has no int8 variant");
  assert_string_equal(error.param, "onnx_int8");
}

static void test_what_cannot_be_measured_or_loaded_is_not_taken(void **state) {
  (void)state;
  expect("mute", "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "not measured");
  expect("none", "model_uint8.onnx", RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "not measured");
  rh_model_info info;
  rh_error error;
  assert_int_equal(try_variant("none", "model_uint8.onnx", RH_ONNX_INT8_ALWAYS, 0, &info, &error), RH_LOAD_FAILED);
}

// Neither costs the graph that is loaded already, unless nothing else will do. Memory may be there at the next load.
static void test_what_no_memory_is_left_for_is_not_taken(void **state) {
  (void)state;
  expect("hungry", "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "not used: not measured: ");
  assert_int_equal(kept_verdicts(), 0);
  rh_model_info info;
  rh_error error;
  assert_int_equal(try_variant("hungry", "model_int8.onnx", RH_ONNX_INT8_ALWAYS, 0, &info, &error), RH_NO_MEMORY);
  expect_words(&error, "bad_alloc");
}

// As below, by a reason that no measurement would give.
static void test_that_nothing_can_be_measured_is_remembered(void **state) {
  (void)state;
  static const char *const names[][2] = {{"mute", "model_int8.onnx"}, {"none", "model_uint8.onnx"}};
  for (size_t i = 0; i < 2; i++) {
    const char *name = names[i][0], *variant = names[i][1];
    expect(name, variant, RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "not measured");
    assert_int_equal(kept_verdicts(), 1);
    write_verdict("unusable because of the weather");
    expect(name, variant, RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "not measured: because of the weather");
    write_verdict("unusable \\377");
    expect(name, variant, RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "not measured: ");
    write_verdict("unusable because of the weather");
    if (i == 0) expect(name, variant, RH_ONNX_INT8_ALWAYS, 0, "int8 dynamic", "not measured: because", "");
    rh_model_info info;
    rh_error error;
    if (i == 1) assert_int_equal(try_variant(name, variant, RH_ONNX_INT8_ALWAYS, 0, &info, &error), RH_LOAD_FAILED);
    remove_verdict();
  }
}

// A tokenizer that comes later, in the folder above, makes the verdict another one.
static void test_the_tokenizer_is_part_of_what_is_remembered(void **state) {
  (void)state;
  const char *name = "hub/onnx";
  char path[1024];
  (void)snprintf(path, sizeof path, "%s/variants/hub/vocab.txt", folder);
  expect(name, "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "int8 dynamic", "int8 variant: cosine ", "");
  expect(name, "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "int8 dynamic", "int8 variant: cosine ", "");
  assert_int_equal(kept_verdicts(), 1);
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  info.st_mtim.tv_sec++;
  assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){info.st_atim, info.st_mtim}, 0), 0);
  expect(name, "model_int8.onnx", RH_ONNX_INT8_AUTO, 0, "int8 dynamic", "int8 variant: cosine ", "");
  assert_int_equal(kept_verdicts(), 2);
}

// A verdict on disk is believed, also when it is wrong: that is how the test sees that nothing was measured again.
static void test_the_verdict_is_remembered(void **state) {
  (void)state;
  expect("spoiled", "model_quantized.onnx", RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "is not used: cosine ");
  write_verdict("cosine 0.995");
  expect("spoiled", "model_quantized.onnx", RH_ONNX_INT8_AUTO, 0, "int8 dynamic", "cosine 0.99500", "");
  // The bound is not part of what is remembered.
  expect("spoiled", "model_quantized.onnx", RH_ONNX_INT8_AUTO, 0.999, "fp32", "CPU", "cosine 0.99500, bound 0.999");
  // What is damaged is measured anew.
  write_verdict("nonsense");
  expect("spoiled", "model_quantized.onnx", RH_ONNX_INT8_AUTO, 0, "fp32", "CPU", "is not used: cosine ");
}

static bool never(void *ctx, double fraction) {
  double *last = ctx;
  assert_true(fraction >= *last && fraction <= 1);
  *last = fraction;
  return fraction < 0.9;
}

// The last thing that can be given up is the measurement.
static void test_a_measurement_can_be_given_up(void **state) {
  (void)state;
  char graph[1024], variant[1024];
  (void)snprintf(graph, sizeof graph, "%s/variants/good/model.onnx", folder);
  (void)snprintf(variant, sizeof variant, "%s/variants/good/model_int8.onnx", folder);
  rh_load load = {.engine = "onnx", .path = graph, .options = {.gpu_layers = -1, .threads = 1}, .variant = variant};
  rh_engine *engine = NULL;
  rh_error error = {.status = RH_OK};
  double last = 0;
  assert_int_equal(OPS->load(&load, never, &last, &engine, &error), RH_CANCELLED);
  assert_null(engine);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_an_accurate_variant_is_taken),
      CASE(test_an_inaccurate_one_is_not),
      CASE(test_always_and_never),
      CASE(test_what_cannot_be_measured_or_loaded_is_not_taken),
      CASE(test_what_no_memory_is_left_for_is_not_taken),
      CASE(test_that_nothing_can_be_measured_is_remembered),
      CASE(test_the_tokenizer_is_part_of_what_is_remembered),
      CASE(test_the_verdict_is_remembered),
      CASE(test_a_measurement_can_be_given_up),
  };
  if (onnx_folder() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
