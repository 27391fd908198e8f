// SPDX-License-Identifier: Apache-2.0
//
// What an ONNX graph's file says about itself, with the tiny graphs of tests/tools/make_onnx.py; their folder comes in
// RH_TINY_ONNX.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/format_private.h"
#include "model/need.h"
#include "model/onnx.h"

static const char *folder;

static const char *path_of(const char *name) {
  static char path[1024];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void read_well(const char *name, rh_onnx_summary *out) {
  rh_error error = {0};
  if (rh_onnx_read_summary(path_of(name), out, &error) != RH_OK) fail_msg("%s: %s", name, error.message);
}

static void expect_port(const rh_onnx_port *port, const char *wanted) {
  char text[256];
  rh_onnx_port_text(port, text, sizeof text);
  assert_string_equal(text, wanted);
}

static void test_weights_and_ports(void **state) {
  (void)state;
  rh_onnx_summary graph;
  read_well("weights.onnx", &graph);
  assert_int_equal(graph.ir_version, 8);
  assert_int_equal(graph.opset, 17);
  assert_string_equal(graph.producer, "roundhouse tests");
  assert_string_equal(graph.quantization, "float32");
  assert_false(graph.quantized);
  assert_int_equal(graph.nodes, 1);
  assert_int_equal(graph.parameters, 6);
  assert_int_equal(graph.weights_bytes, 24);
  assert_int_equal(graph.outside_bytes, 0);
  assert_int_equal(graph.input_count, 1);
  assert_int_equal(graph.output_count, 1);
  expect_port(&graph.inputs[0], "x float32[batch,3]");
  expect_port(&graph.outputs[0], "y float32[batch,2]");
  rh_onnx_summary_free(&graph);
  read_well("external.onnx", &graph);
  assert_int_equal(graph.weights_bytes, 24);
  assert_int_equal(graph.outside_bytes, 24);
  rh_onnx_summary_free(&graph);
}

static void test_every_type(void **state) {
  (void)state;
  static const char *const names[] = {"bfloat16", "bool", "float16", "float32", "float64", "int16",  "int32",
                                      "int64",    "int8", "string",  "uint16",  "uint32",  "uint64", "uint8"};
  rh_onnx_summary graph;
  read_well("types.onnx", &graph);
  assert_int_equal(graph.input_count, 14);
  for (size_t i = 0; i < 14; i++) {
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "in_%s %s[rows,?]", names[i], names[i]);
    expect_port(&graph.inputs[i], wanted);
  }
  rh_onnx_summary_free(&graph);
  read_well("sequence.onnx", &graph);
  expect_port(&graph.outputs[0], "all sequence");
  rh_onnx_summary_free(&graph);
  read_well("scalar.onnx", &graph);
  expect_port(&graph.inputs[0], "x float32[]");
  rh_onnx_summary_free(&graph);
}

static void test_quantized(void **state) {
  (void)state;
  static const struct {
    const char *name, *word;
    bool quantized;
    int64_t parameters;
  } rows[] = {{"quantized.onnx", "int8", true, 6},
              {"nibbles.onnx", "int4", true, 64},
              {"half.onnx", "float16", false, 6},
              {"inputs.onnx", "float32", false, 6}};
  rh_onnx_summary graph;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    read_well(rows[i].name, &graph);
    assert_string_equal(graph.quantization, rows[i].word);
    assert_int_equal(graph.quantized, rows[i].quantized);
    assert_int_equal(graph.parameters, rows[i].parameters);
    assert_int_equal(graph.input_count, 1);  // also where the weights are listed among them
    expect_port(&graph.inputs[0], i == 1   ? "x float32[batch,32]"
                                  : i == 2 ? "x float16[batch,3]"
                                           : "x float32[batch,3]");
    rh_onnx_summary_free(&graph);
  }
  read_well("nibbles.onnx", &graph);
  assert_string_equal(graph.operators, "com.microsoft 1");
  rh_onnx_summary_free(&graph);
}

// Nodes and weights inside the branches of a node count too, and a graph may not nest for ever.
static void test_graphs_in_graphs(void **state) {
  (void)state;
  rh_onnx_summary graph;
  read_well("branches.onnx", &graph);
  assert_int_equal(graph.nodes, 3);
  assert_int_equal(graph.parameters, 1 + 2);
  assert_int_equal(graph.input_count, 1);
  rh_onnx_summary_free(&graph);
  rh_error error = {0};
  assert_int_equal(rh_onnx_read_summary(path_of("bad/deep.onnx"), &graph, &error), RH_INVALID);
}

static void test_damaged(void **state) {
  (void)state;
  rh_onnx_summary graph;
  rh_error error = {0};
  assert_int_equal(rh_onnx_read_summary(path_of("bad/cut.onnx"), &graph, &error), RH_INVALID);
  assert_non_null(strstr(error.message, "cut.onnx"));
  assert_int_equal(rh_onnx_read_summary(path_of("bad/empty.onnx"), &graph, &error), RH_UNSUPPORTED);
  assert_int_equal(rh_onnx_read_summary(path_of("nothere.onnx"), &graph, &error), RH_NOT_FOUND);
}

typedef struct bytes {
  uint8_t data[4096];
  size_t size;
} bytes;

static bool read_at(void *ctx, int64_t offset, void *out, size_t length) {
  const bytes *from = ctx;
  assert_true(offset >= 0 && (size_t)offset + length <= from->size);
  if (length > 0) memcpy(out, from->data + offset, length);
  return true;
}

// Any byte may be any other: it is read to an end, without a read outside and without a leak.
static void test_every_byte_may_be_wrong(void **state) {
  (void)state;
  static const char *const names[] = {"weights.onnx", "branches.onnx", "sequence.onnx", "nibbles.onnx"};
  static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    bytes whole, one;
    FILE *file = fopen(path_of(names[n]), "rb");
    assert_non_null(file);
    whole.size = fread(whole.data, 1, sizeof whole.data, file);
    fclose(file);
    rh_format_source source = {read_at, &one, (int64_t)whole.size};
    for (size_t i = 0; i < whole.size * sizeof values; i++) {
      rh_onnx_summary graph;
      rh_error error = {0};
      one = whole;
      one.data[i / sizeof values] = values[i % sizeof values];
      if (rh_onnx_summarize(&source, &graph, &error) == RH_OK) {
        char text[64];
        for (size_t p = 0; p < graph.input_count; p++) rh_onnx_port_text(&graph.inputs[p], text, sizeof text);
        assert_true(graph.weights_bytes >= 0 && graph.parameters >= 0);
        rh_onnx_summary_free(&graph);
      } else {
        assert_true(error.message[0] != '\0' && graph.inputs == NULL);
      }
    }
  }
}

// ---- memory ----

static rh_need need_of(const char *name) {
  const rh_load_options options = {.gpu_layers = -1};
  rh_need need;
  rh_error error = {0};
  if (rh_need_estimate("onnx", path_of(name), &options, 0, &need, &error) != RH_OK) fail_msg("%s", error.message);
  assert_int_equal(need.ram_bytes, need.weights_bytes + need.compute_bytes + need.kv_bytes + need.process_bytes);
  return need;
}

static void test_memory(void **state) {
  (void)state;
  const int64_t mib = 1 << 20;
  // Inside the graph weights are there twice while it is read; half precision becomes single.
  rh_need large = need_of("large.onnx"), small = need_of("scalar.onnx");
  assert_int_equal(large.weights_bytes, mib);
  assert_int_equal(large.ram_bytes - small.ram_bytes, 2 * mib);
  assert_in_range(small.ram_bytes, 30 * mib, 80 * mib);
  assert_int_equal(need_of("half.onnx").weights_bytes, 24);
  assert_int_equal(need_of("external.onnx").ram_bytes - small.ram_bytes, 24);
  assert_true(need_of("genai/genai_config.json").ram_bytes > 30 * mib);
  // A decoder's keys and values: two of 8 numbers for each token of 4 requests of 4,096; twice where a call gives new ones.
  assert_int_equal(large.kv_bytes, 0);
  assert_int_equal(need_of("decoder-shared/model.onnx").kv_bytes, 2 * 8 * 4 * 4 * 4096);
  assert_int_equal(need_of("decoder-kept/genai_config.json").kv_bytes, 2 * 8 * 4 * 4 * 4096);
  assert_int_equal(need_of("decoder-grown/model.onnx").kv_bytes, 2 * 2 * 8 * 4 * 4 * 4096);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_weights_and_ports),
      cmocka_unit_test(test_every_type),
      cmocka_unit_test(test_quantized),
      cmocka_unit_test(test_graphs_in_graphs),
      cmocka_unit_test(test_damaged),
      cmocka_unit_test(test_every_byte_may_be_wrong),
      cmocka_unit_test(test_memory),
  };
  folder = getenv("RH_TINY_ONNX");
  if (!folder) {
    fputs("RH_TINY_ONNX names no folder\n", stderr);
    return 1;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
