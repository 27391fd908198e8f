// SPDX-License-Identifier: Apache-2.0
//
// Runs of the ONNX engine: what it says of a graph, every type, wrong inputs.
#include "onnx_fixture.h"

// ---- loading and describing ----

static void test_adds(void **state) {
  (void)state;
  rh_engine *engine = load("add.onnx");
  const float a[] = {1, 2, 3}, b[] = {10, 20, 30};
  const rh_tensor in[] = {floats("b", b, 3), floats("a", a, 3)};  // the order is the caller's
  const rh_tensor *out;
  size_t count;
  run_well(engine, in, 2, &out, &count);
  assert_int_equal(count, 1);
  assert_string_equal(out[0].name, "sum");
  assert_int_equal(out[0].type, RH_DTYPE_F32);
  assert_int_equal(out[0].rank, 1);
  assert_int_equal(out[0].shape[0], 3);
  assert_memory_equal(out[0].data, ((const float[]){11, 22, 33}), 12);
  OPS->unload(engine);
}

static void test_describes_itself(void **state) {
  (void)state;
  rh_engine *engine = load("add.onnx");
  rh_model_info info;
  OPS->describe(engine, &info);
  assert_string_equal(info.engine, "onnx");
  assert_memory_equal(info.engine_version, "ONNX Runtime 1.", 15);
  assert_string_equal(info.description, "add, made by roundhouse tests");
  assert_string_equal(info.device, "cpu");
  assert_string_equal(info.acceleration, "CPUExecutionProvider, 2 threads, graph optimization all");
  assert_non_null(strstr(info.fallback, "cuda: "));
  assert_string_equal(info.task, "tensor");
  assert_true(info.slots > 0 && info.bytes > 50 && info.load_ms > 0);
  OPS->unload(engine);
}

static void test_names_its_ports(void **state) {
  (void)state;
  rh_engine *engine = load("weights.onnx");
  const rh_graph *graph = ops_of(engine)->graph(engine);
  assert_int_equal(graph->input_count, 1);
  assert_int_equal(graph->output_count, 1);
  const rh_graph_port *port = &graph->inputs[0];
  assert_string_equal(port->name, "x");
  assert_int_equal(port->type, RH_DTYPE_F32);
  assert_int_equal(port->rank, 2);
  assert_int_equal(port->shape[0], -1);
  assert_string_equal(port->dimension[0], "batch");
  assert_int_equal(port->shape[1], 3);
  assert_null(port->dimension[1]);
  OPS->unload(engine);
}

static void test_finds_the_models_folder(void **state) {
  (void)state;
  const char *const names[][2] = {
      {"hub/onnx/model.onnx", "hub"}, {"genai/genai_config.json", "genai"}, {"add.onnx", ""}};
  for (size_t i = 0; i < 3; i++) {
    rh_engine *engine = load(names[i][0]);
    char wanted[1024];
    (void)snprintf(wanted, sizeof wanted, "%s%s%s", folder, names[i][1][0] ? "/" : "", names[i][1]);
    assert_string_equal(ops_of(engine)->folder(engine), wanted);
    OPS->unload(engine);
  }
}

static void test_reads_weights_beside_the_graph(void **state) {
  (void)state;
  const char *const names[] = {"weights.onnx", "external.onnx"};
  for (size_t i = 0; i < 2; i++) {
    rh_engine *engine = load(names[i]);
    const float x[] = {1, 1, 1, 2, 0, 0};
    rh_tensor in = floats("x", x, 6);
    in.rank = 2;
    in.shape[0] = 2;
    in.shape[1] = 3;
    const rh_tensor *out;
    size_t count;
    run_well(engine, &in, 1, &out, &count);
    assert_int_equal(out[0].rank, 2);
    assert_memory_equal(out[0].data, ((const float[]){9, 12, 2, 4}), 16);
    OPS->unload(engine);
  }
}

// ---- every type ----

static const struct {
  const char *name;
  size_t bytes;
  uint8_t data[16];
} samples[] = {
    {"float32", 8, {0, 0, 128, 63, 0, 0, 0, 192}},
    {"float64", 16, {0, 0, 0, 0, 0, 0, 240, 63}},
    {"float16", 4, {0, 60, 0, 192}},
    {"bfloat16", 4, {128, 63, 0, 192}},
    {"int8", 2, {255, 1}},
    {"uint8", 2, {255, 1}},
    {"int16", 4, {255, 255, 1, 2}},
    {"uint16", 4, {255, 255, 1, 2}},
    {"int32", 8, {255, 255, 255, 255, 1, 2, 3, 4}},
    {"uint32", 8, {255, 255, 255, 255, 1, 2, 3, 4}},
    {"int64", 16, {1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 255, 255, 255, 255}},
    {"uint64", 16, {1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 255, 255, 255, 255}},
    {"bool", 2, {1, 0}},
    {"string", 14, {0, 0, 0, 0, 6, 0, 0, 0, 'a', 0, 0xc3, 0xa4, '\n', 'z'}},
};
#define SAMPLES (sizeof samples / sizeof *samples)

// All tensors of `rows` x 1; the bytes lie at addresses that fit no type when `odd`.
static void run_types(rh_engine *engine, int64_t rows, bool odd) {
  rh_tensor in[SAMPLES];
  char names[SAMPLES][32];
  static _Alignas(16) uint8_t room[SAMPLES][32];
  for (size_t i = 0; i < SAMPLES; i++) {
    (void)snprintf(names[i], sizeof names[i], "in_%s", samples[i].name);
    in[i] = (rh_tensor){.name = names[i], .type = rh_dtype_from_name(samples[i].name), .shape = {rows, 1}, .rank = 2};
    assert_int_not_equal(in[i].type, RH_DTYPE_NONE);
    uint8_t *at = room[i] + (odd ? 1 : 0);
    memcpy(at, samples[i].data, samples[i].bytes);
    in[i].data = rows > 0 ? at : NULL;
    in[i].bytes = rows > 0 ? samples[i].bytes : 0;
  }
  const rh_tensor *out;
  size_t count;
  run_well(engine, in, SAMPLES, &out, &count);
  assert_int_equal(count, SAMPLES);
  memset(room, 0xaa, sizeof room);  // the results must not lean on the inputs
  for (size_t i = 0; i < SAMPLES; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "out_%s", samples[i].name);
    const rh_tensor *tensor = find(out, count, name);
    rh_error error;
    assert_int_equal(rh_tensor_check(tensor, &error), RH_OK);
    assert_int_equal(tensor->type, in[i].type);
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->shape[0], rows);
    assert_int_equal(tensor->bytes, in[i].bytes);
    if (rows > 0) assert_memory_equal(tensor->data, samples[i].data, samples[i].bytes);
  }
}

static void test_takes_every_type(void **state) {
  (void)state;
  rh_engine *engine = load("types.onnx");
  run_types(engine, 2, false);
  run_types(engine, 2, true);
  run_types(engine, 0, false);
  OPS->unload(engine);
}

static void test_takes_scalars(void **state) {
  (void)state;
  rh_engine *engine = load("scalar.onnx");
  const float x = 2.5F;
  rh_tensor in = floats("x", &x, 1);
  in.rank = 0;
  const rh_tensor *out;
  size_t count;
  run_well(engine, &in, 1, &out, &count);
  assert_int_equal(out[0].rank, 0);
  assert_int_equal(out[0].bytes, 4);
  assert_true(*(const float *)out[0].data == -2.5F);
  OPS->unload(engine);
}

// ---- outputs ----

static void test_gives_the_outputs_that_are_wanted(void **state) {
  (void)state;
  rh_engine *engine = load("two.onnx");
  const float x[] = {1, -2};
  const rh_tensor in = floats("x", x, 2);
  const char *const wanted[] = {"plus"};
  const rh_tensor *out;
  size_t count;
  rh_error error = {0};
  assert_int_equal(ops_of(engine)->run(engine, &in, 1, wanted, 1, &out, &count, &error), RH_OK);
  assert_int_equal(count, 1);
  assert_string_equal(out[0].name, "plus");
  assert_memory_equal(out[0].data, ((const float[]){1, 2}), 8);
  const char *const wrong[] = {"plus", "minos"};
  assert_int_equal(ops_of(engine)->run(engine, &in, 1, wrong, 2, &out, &count, &error), RH_INVALID);
  expect_words(&error, "no output \"minos\"");
  OPS->unload(engine);
}

static void test_an_input_handed_on_is_copied(void **state) {
  (void)state;
  rh_engine *engine = load("through.onnx");
  float x[] = {1, -2};
  const rh_tensor in = floats("x", x, 2);
  const rh_tensor *out;
  size_t count;
  run_well(engine, &in, 1, &out, &count);
  x[0] = 77;
  assert_memory_equal(find(out, count, "x")->data, ((const float[]){1, -2}), 8);
  OPS->unload(engine);
}

static void test_what_is_no_tensor_is_left_out(void **state) {
  (void)state;
  rh_engine *engine = load("sequence.onnx");
  const float x[] = {1, -2};
  const rh_tensor in = floats("x", x, 2);
  const rh_tensor *out;
  size_t count;
  run_well(engine, &in, 1, &out, &count);
  assert_int_equal(count, 1);
  assert_string_equal(out[0].name, "y");
  assert_int_equal(ops_of(engine)->graph(engine)->outputs[0].type, RH_DTYPE_NONE);
  const char *const wanted[] = {"all"};
  rh_error error = {0};
  assert_int_equal(ops_of(engine)->run(engine, &in, 1, wanted, 1, &out, &count, &error), RH_UNSUPPORTED);
  expect_words(&error, "a sequence");
  OPS->unload(engine);
}

// ---- wrong inputs ----

static void expect_refused(rh_engine *engine, const rh_tensor *in, size_t count, const char *param, const char *words) {
  const rh_tensor *out;
  size_t out_count;
  rh_error error;
  assert_int_equal(run(engine, in, count, &out, &out_count, &error), RH_INVALID);
  assert_string_equal(error.param, param);
  expect_words(&error, words);
}

static void test_wrong_inputs_are_refused_with_words(void **state) {
  (void)state;
  rh_engine *engine = load("weights.onnx");
  const float x[] = {1, 2, 3, 4, 5, 6};
  rh_tensor in[2] = {floats("x", x, 6), floats("x", x, 6)};
  expect_refused(engine, in, 1, "x", "the input x float32[6] does not fit; weights.onnx takes x float32[batch,3]");
  in[0].rank = in[1].rank = 2;
  in[0].shape[0] = 3;
  in[0].shape[1] = 2;
  expect_refused(engine, in, 1, "x", "the input x float32[3,2] does not fit");
  in[0].shape[0] = in[1].shape[0] = 2;
  in[0].shape[1] = in[1].shape[1] = 3;
  expect_refused(engine, in, 2, "x", "given twice");
  in[0].type = RH_DTYPE_I32;
  expect_refused(engine, in, 1, "x", "the input x int32[2,3] does not fit");
  in[0].type = RH_DTYPE_F32;
  in[0].bytes = 20;
  expect_refused(engine, in, 1, "x", "20 bytes");
  in[0].bytes = 24;
  in[0].name = "ex";
  expect_refused(engine, in, 1, "ex", "there is no input \"ex\"");
  expect_refused(engine, in, 0, "x", "the input \"x\" is missing");
  // And it still works.
  const rh_tensor *out;
  size_t count;
  in[0].name = "x";
  run_well(engine, in, 1, &out, &count);
  OPS->unload(engine);
}

static void test_what_the_graph_cannot_do_is_the_callers_fault(void **state) {
  (void)state;
  rh_engine *engine = load("reshape.onnx");
  const float x[] = {1, 2, 3, 4, 5, 6};
  const int64_t to[] = {4, 5};
  const rh_tensor in[] = {floats("x", x, 6),
                          {.name = "to", .type = RH_DTYPE_I64, .shape = {2}, .rank = 1, .data = to, .bytes = 16}};
  const rh_tensor *out;
  size_t count;
  rh_error error;
  assert_int_equal(run(engine, in, 2, &out, &count, &error), RH_INVALID);
  expect_words(&error, "cannot be reshaped");
  assert_null(strstr(error.message, "onnxruntime_src"));
  OPS->unload(engine);
}

static void test_a_bool_is_0_or_1(void **state) {
  (void)state;
  rh_engine *engine = load("types.onnx");
  const uint8_t bytes[] = {1, 2};
  const rh_tensor in = {
      .name = "in_bool", .type = RH_DTYPE_BOOL, .shape = {2, 1}, .rank = 2, .data = bytes, .bytes = 2};
  expect_refused(engine, &in, 1, "in_bool", "element 1 is 2");
  OPS->unload(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_adds),
      cmocka_unit_test(test_describes_itself),
      cmocka_unit_test(test_names_its_ports),
      cmocka_unit_test(test_finds_the_models_folder),
      cmocka_unit_test(test_reads_weights_beside_the_graph),
      cmocka_unit_test(test_takes_every_type),
      cmocka_unit_test(test_takes_scalars),
      cmocka_unit_test(test_gives_the_outputs_that_are_wanted),
      cmocka_unit_test(test_an_input_handed_on_is_copied),
      cmocka_unit_test(test_what_is_no_tensor_is_left_out),
      cmocka_unit_test(test_wrong_inputs_are_refused_with_words),
      cmocka_unit_test(test_what_the_graph_cannot_do_is_the_callers_fault),
      cmocka_unit_test(test_a_bool_is_0_or_1),
  };
  if (onnx_folder() != 0) return 1;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
