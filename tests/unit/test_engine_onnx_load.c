// SPDX-License-Identifier: Apache-2.0
//
// Loads of the ONNX engine: bad graphs, options, devices, what is kept on disk.
#include "onnx_fixture.h"

#include <jansson.h>

#include "base/file.h"

// ---- bad graphs ----

static void test_bad_graphs_say_what_is_wrong(void **state) {
  (void)state;
  const struct {
    const char *name, *words;
  } rows[] = {
      {"bad/cut.onnx", "Protobuf parsing failed"},
      {"bad/empty.onnx", "is empty"},
      {"bad/text.onnx", "Protobuf parsing failed"},
      {"bad/operator.onnx", "Frobnicate"},
      {"bad/domain.onnx", "com.example"},
      {"bad/opset.onnx", "9999"},
      {"bad/cycle.onnx", "not acyclic"},
      {"bad/dangling.onnx", "nowhere"},
      {"bad/types.onnx", "different types"},
      {"bad/short.onnx", "20 bytes"},
      {"bad/missing.onnx", "nowhere.bin"},
      {"bad/shortfile.onnx", "out of bounds"},
      {"bad/outside.onnx", "escapes"},
      {"bad/absolute.onnx", "Absolute path"},
      {"bad/nothere.onnx", "No such file"},
      {"bad", "a folder"},
  };
  const rh_load_options options = {.gpu_layers = -1};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    rh_engine *engine = NULL;
    rh_error error;
    assert_int_equal(try_load(rows[i].name, &options, &engine, &error), RH_LOAD_FAILED);
    assert_null(engine);
    expect_words(&error, rows[i].words);
    assert_null(strstr(error.message, "onnxruntime_src"));
  }
}

// ---- options ----

static void add_once(rh_engine *engine) {
  const float a[] = {1}, b[] = {2};
  const rh_tensor in[] = {floats("a", a, 1), floats("b", b, 1)};
  const rh_tensor *out;
  size_t count;
  run_well(engine, in, 2, &out, &count);
  assert_true(*(const float *)out[0].data == 3.0F);
}

static void test_takes_its_options(void **state) {
  (void)state;
  rh_model_info info;
  for (int level = 0; level < RH_ONNX_OPTIMIZE_COUNT; level++) {
    rh_load_options options = {.gpu_layers = -1, .threads = 1, .slots = 3};
    options.onnx = (rh_onnx_options){.optimization = level,
                                     .parallel = level % 2,
                                     .inter_threads = 2,
                                     .no_arena = level == 1,
                                     .no_memory_pattern = level == 2};
    rh_engine *engine = load_with("add.onnx", &options);
    add_once(engine);
    OPS->describe(engine, &info);
    const char *const words[] = {"all", "extended", "basic", "none"};
    assert_non_null(strstr(info.acceleration, words[level]));
    assert_non_null(strstr(info.acceleration, "1 threads"));
    assert_int_equal(info.slots, 3);
    OPS->unload(engine);
  }
  rh_load_options options = {.threads = 5000};
  rh_engine *engine;
  rh_error error;
  assert_int_equal(try_load("add.onnx", &options, &engine, &error), RH_INVALID);
  assert_string_equal(error.param, "threads");
}

#define LARGE 262144

// The result of large.onnx for ones, which are its weights.
static void run_large(rh_engine *engine, float *result) {
  static float ones[LARGE];
  for (size_t i = 0; i < LARGE; i++) ones[i] = 1.0F;
  const rh_tensor in = floats("x", ones, LARGE), *out;
  size_t count;
  run_well(engine, &in, 1, &out, &count);
  assert_int_equal(out[0].bytes, LARGE * sizeof(float));
  memcpy(result, out[0].data, out[0].bytes);
}

static void test_keeps_the_optimized_graph(void **state) {
  (void)state;
  static float plain[LARGE], kept[LARGE];
  char cache[] = "/tmp/rh-onnx-XXXXXX", inside[64], command[192];
  assert_non_null(mkdtemp(cache));
  assert_int_equal(setenv("ROUNDHOUSE_CACHE", cache, 1), 0);
  (void)snprintf(inside, sizeof inside, "%s/onnx", cache);
  rh_engine *engine = load("large.onnx");
  run_large(engine, plain);
  OPS->unload(engine);
  assert_int_equal(access(inside, F_OK), -1);  // nobody asked for it
  rh_load_options options = {.gpu_layers = -1, .onnx = {.keep_optimized = 1}};
  int64_t bytes = 0;
  // The third round finds what was kept damaged and makes it anew.
  for (int round = 0; round < 4; round++) {
    if (round == 2) {
      (void)snprintf(command, sizeof command, "for f in %s/*.onnx; do echo x > $f; done", inside);
      assert_int_equal(system(command), 0);
    }
    engine = load_with("large.onnx", &options);
    run_large(engine, kept);
    assert_memory_equal(plain, kept, sizeof plain);
    OPS->unload(engine);
    assert_true(rh_file_tree_bytes(inside) > (int64_t)sizeof plain);
    if (round > 0) assert_int_equal(rh_file_tree_bytes(inside), bytes);
    bytes = rh_file_tree_bytes(inside);
  }
  rh_error error;
  assert_int_equal(rh_file_remove_tree(cache, &error), RH_OK);
  unsetenv("ROUNDHOUSE_CACHE");
}

static bool give_up(void *ctx, double fraction) {
  (void)ctx;
  assert_true(fraction >= 0 && fraction < 1);
  return false;
}

static void test_a_load_can_be_given_up(void **state) {
  (void)state;
  // It may be over before it is asked for the first time; then it is a load like any other.
  rh_load load = {.engine = "onnx", .path = path_of("large.onnx"), .options = {.gpu_layers = -1}};
  rh_engine *engine = NULL;
  rh_error error = {0};
  rh_status status = OPS->load(&load, give_up, NULL, &engine, &error);
  assert_true(status == RH_OK || status == RH_CANCELLED);
  if (status == RH_OK) OPS->unload(engine);
}

// ---- devices ----

static void test_a_forced_device_that_is_not_there_is_an_error(void **state) {
  (void)state;
  const char *const words[] = {"cuda", "TensorRT", "webgpu", "directml", "gpu", "cuda:1"};
  const rh_load_options options = {.gpu_layers = -1};
  rh_engine *engine;
  rh_error error;
  if (getenv("ROUNDHOUSE_ORT") || getenv("ROUNDHOUSE_ORT_PLUGINS")) skip();  // which may have a GPU
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    assert_int_equal(setenv("FORCE_DEVICE", words[i], 1), 0);
    assert_int_equal(try_load("add.onnx", &options, &engine, &error), RH_HARDWARE);
    expect_words(&error, "FORCE_DEVICE");
    expect_words(&error, "which this machine cannot do (");
  }
  assert_int_equal(setenv("FORCE_DEVICE", "toaster", 1), 0);
  assert_int_equal(try_load("add.onnx", &options, &engine, &error), RH_INVALID);
  assert_int_equal(setenv("FORCE_DEVICE", "cpu", 1), 0);
  engine = load("add.onnx");
  rh_model_info info;
  OPS->describe(engine, &info);
  assert_string_equal(info.fallback, "");  // nothing else was wanted
  OPS->unload(engine);
  unsetenv("FORCE_DEVICE");
  const rh_load_options own = {.gpu_layers = -1, .onnx = {.device = RH_DEVICE_CUDA}};
  assert_int_equal(try_load("add.onnx", &own, &engine, &error), RH_HARDWARE);
}

static void test_a_wrong_memory_limit_is_an_error(void **state) {
  (void)state;
  const rh_load_options options = {.gpu_layers = -1};
  rh_engine *engine;
  rh_error error;
  assert_int_equal(setenv("MAX_GPU_MEM_GB", "lots", 1), 0);
  assert_int_equal(try_load("add.onnx", &options, &engine, &error), RH_INVALID);
  expect_words(&error, "MAX_GPU_MEM_GB");
  assert_int_equal(setenv("MAX_GPU_MEM_GB", "0.5", 1), 0);
  OPS->unload(load("add.onnx"));
  unsetenv("MAX_GPU_MEM_GB");
}

static void test_the_probe_is_json(void **state) {
  (void)state;
  rh_dynbuf out;
  rh_dynbuf_init(&out, 65536);
  assert_int_equal(OPS->probe(&out), RH_OK);
  json_t *root = json_loads(rh_dynbuf_data(&out), 0, NULL);
  assert_non_null(root);
  assert_string_equal(json_string_value(json_object_get(root, "engine")), "onnx");
  assert_true(json_is_true(json_object_get(root, "available")));
  const json_t *devices = json_object_get(root, "devices");
  assert_true(json_array_size(devices) >= 5);
  const json_t *last = json_array_get(devices, json_array_size(devices) - 1);
  assert_string_equal(json_string_value(json_object_get(last, "name")), "cpu");
  assert_true(json_is_true(json_object_get(last, "available")));
  json_decref(root);
  rh_dynbuf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bad_graphs_say_what_is_wrong),
      cmocka_unit_test(test_takes_its_options),
      cmocka_unit_test(test_keeps_the_optimized_graph),
      cmocka_unit_test(test_a_load_can_be_given_up),
      cmocka_unit_test(test_a_forced_device_that_is_not_there_is_an_error),
      cmocka_unit_test(test_a_wrong_memory_limit_is_an_error),
      cmocka_unit_test(test_the_probe_is_json),
  };
  if (onnx_folder() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
