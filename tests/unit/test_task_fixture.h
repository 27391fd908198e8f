// SPDX-License-Identifier: Apache-2.0
//
// A model of a few lines for the tests of the tasks: a byte is a token, and what its graph answers is a function of the
// test's. Each test program includes it once.
#ifndef TEST_TASK_FIXTURE_H
#define TEST_TASK_FIXTURE_H

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "task/inference.h"

#define STUB_ROWS_MAX 64
#define STUB_LENGTH_MAX 256
#define STUB_WIDTH_MAX 64
#define STUB_RESULTS_MAX 8

struct rh_engine {
  const char *folder;  // of a model with files; NULL = none
  const char *config;
  rh_graph graph;
  rh_graph_port inputs[4], outputs[2];
  // The values of one row: [width], or [length][width] for an output with a vector for each token.
  void (*answer)(const int64_t *ids, const int64_t *mask, size_t length, size_t width, float *out);
  size_t width;
  size_t later_width;            // of the batches after the first; 0 = the same
  size_t batches, rows, length;  // of what was computed; of the last batch
  size_t fails_above;            // a batch of more rows fails; 0 = never
  int64_t fails_on;              // a batch with this token fails; 0 = never
  bool framed;                   // texts stand between the special tokens 1 and 2
  float values[STUB_ROWS_MAX * STUB_LENGTH_MAX * STUB_WIDTH_MAX];
  rh_tensor output;
  int32_t ids[STUB_LENGTH_MAX];
  uint32_t starts[STUB_LENGTH_MAX], ends[STUB_LENGTH_MAX];
};

static const char *stub_folder(const rh_engine *engine) { return engine->folder; }
static const char *stub_config(const rh_engine *engine) { return engine->config; }
static const rh_graph *stub_graph(const rh_engine *engine) { return &engine->graph; }

static rh_status stub_run(rh_engine *engine, const rh_tensor *inputs, size_t input_count, const char *const *wanted,
                          size_t wanted_count, const rh_tensor **outputs, size_t *output_count, rh_error *error) {
  assert_int_equal(wanted_count, 1);
  assert_string_equal(wanted[0], engine->outputs[0].name);
  const int64_t *ids = NULL, *mask = NULL;
  for (size_t i = 0; i < input_count; i++) {
    assert_int_equal(inputs[i].bytes, inputs[i].shape[0] * inputs[i].shape[1] * (int64_t)sizeof(int64_t));
    if (strcmp(inputs[i].name, "input_ids") == 0) ids = inputs[i].data;
    if (strcmp(inputs[i].name, "attention_mask") == 0) mask = inputs[i].data;
  }
  size_t rows = (size_t)inputs[0].shape[0], length = (size_t)inputs[0].shape[1];
  assert_true(rows <= STUB_ROWS_MAX && length <= STUB_LENGTH_MAX);
  engine->batches++;
  engine->rows = rows;
  engine->length = length;
  if (engine->fails_above > 0 && rows > engine->fails_above) return rh_fail(error, RH_NO_MEMORY, "too many at once");
  for (size_t i = 0; i < rows * length && engine->fails_on != 0; i++) {
    if (ids[i] == engine->fails_on) return rh_fail(error, RH_INTERNAL, "not this one");
  }
  bool tokens = engine->outputs[0].rank == 3;
  size_t width = engine->batches > 1 && engine->later_width > 0 ? engine->later_width : engine->width;
  size_t each = tokens ? length * width : width;
  for (size_t r = 0; r < rows; r++) {
    engine->answer(ids + r * length, mask + r * length, length, width, engine->values + r * each);
  }
  engine->output = (rh_tensor){.name = wanted[0], .type = RH_DTYPE_F32, .rank = engine->outputs[0].rank};
  engine->output.shape[0] = (int64_t)rows;
  engine->output.shape[1] = (int64_t)(tokens ? length : width);
  engine->output.shape[2] = (int64_t)width;
  engine->output.data = engine->values;
  engine->output.bytes = rows * each * sizeof(float);
  *outputs = &engine->output;
  *output_count = 1;
  return RH_OK;
}

static rh_status stub_tokenize(rh_engine *engine, const char *text, size_t length, const char *pair, size_t pair_length,
                               bool add_special, rh_token_text *out, rh_error *error) {
  (void)add_special;
  (void)error;
  size_t count = 0, frame = engine->framed ? 1 : 0;
  assert_true(length + pair_length + 2 <= STUB_LENGTH_MAX);
  engine->starts[0] = engine->ends[0] = 0;
  if (engine->framed) engine->ids[count++] = 1;
  for (size_t i = 0; i < length + pair_length; i++) {
    engine->starts[count] = (uint32_t)(i < length ? i : i - length);
    engine->ends[count] = engine->starts[count] + 1;
    engine->ids[count++] = (unsigned char)(i < length ? text[i] : pair[i - length]);
  }
  engine->starts[count] = engine->ends[count] = 0;
  if (engine->framed) engine->ids[count++] = 2;
  *out = (rh_token_text){.ids = engine->ids, .starts = engine->starts, .ends = engine->ends, .count = count};
  out->head = out->tail = frame;
  return RH_OK;
}

static const rh_engine_infer_ops stub_texts = {
    .folder = stub_folder, .config = stub_config, .graph = stub_graph, .run = stub_run, .tokenize = stub_tokenize};
static const rh_engine_infer_ops *stub_infer(const rh_engine *engine) {
  (void)engine;
  return &stub_texts;
}
static const rh_engine_ops stub_ops = {.name = "stub", .infer = stub_infer};

typedef struct stub_result {
  rh_result_kind kind;
  size_t count;
  float values[STUB_WIDTH_MAX];
  char labels[STUB_WIDTH_MAX][24];
  uint32_t starts[STUB_WIDTH_MAX], ends[STUB_WIDTH_MAX];
  int32_t indices[STUB_WIDTH_MAX];
  int64_t tokens;
  uint32_t windows;
  bool truncated;
  rh_error error;
} stub_result;

typedef struct stub {
  rh_engine engine;
  rh_model_info info;
  rh_inference *inference;
  stub_result results[STUB_RESULTS_MAX];
  size_t result_count;
  bool ended;
} stub;

static rh_verdict stub_event(void *ctx, const rh_event *event) {
  stub *s = ctx;
  if (event->kind == RH_EVENT_END) s->ended = true;
  if (event->kind != RH_EVENT_RESULT) return RH_GO;
  const rh_result *result = &event->as.result;
  assert_true(s->result_count < STUB_RESULTS_MAX);
  stub_result *r = &s->results[s->result_count++];
  r->kind = result->kind;
  r->count = result->count;
  r->error = result->error;
  r->tokens = result->tokens;
  r->windows = result->windows;
  r->truncated = result->truncated;
  for (size_t i = 0; i < result->count && i < STUB_WIDTH_MAX; i++) {
    if (result->kind == RH_RESULT_VECTOR) r->values[i] = result->vector[i];
    if (result->kind == RH_RESULT_SCORES) {
      r->values[i] = result->scores[i].score;
      if (result->scores[i].label != NULL) snprintf(r->labels[i], sizeof r->labels[i], "%s", result->scores[i].label);
    }
    if (result->kind == RH_RESULT_SPANS) {
      r->values[i] = result->spans[i].score;
      r->starts[i] = result->spans[i].start;
      r->ends[i] = result->spans[i].end;
      r->indices[i] = result->spans[i].index;
      snprintf(r->labels[i], sizeof r->labels[i], "%s", result->spans[i].label);
    }
  }
  return RH_GO;
}

// A model with three token inputs and one output.
__attribute__((unused)) static stub *stub_open(const char *config, const char *output, size_t rank, size_t width) {
  stub *s = calloc(1, sizeof *s);
  assert_non_null(s);
  static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids"};
  for (size_t i = 0; i < 3; i++) {
    s->engine.inputs[i] = (rh_graph_port){.name = names[i], .type = RH_DTYPE_I64, .shape = {-1, -1}, .rank = 2};
  }
  s->engine.outputs[0] = (rh_graph_port){.name = output, .type = RH_DTYPE_F32, .shape = {-1, -1, -1}, .rank = rank};
  s->engine.outputs[0].shape[rank - 1] = (int64_t)width;
  s->engine.graph =
      (rh_graph){.inputs = s->engine.inputs, .outputs = s->engine.outputs, .input_count = 3, .output_count = 1};
  s->engine.config = config;
  s->engine.width = width;
  s->info = (rh_model_info){.engine = "stub", .task = "tensor", .device = "cpu", .slots = 4};
  return s;
}

__attribute__((unused)) static void stub_start(stub *s) {
  rh_error error = {0};
  rh_inference_options options = {.wait_us = -1};
  assert_int_equal(rh_inference_new(&stub_ops, &s->engine, &s->info, &options, &s->inference, &error), RH_OK);
}

// One run to its end. The status is that of its beginning.
__attribute__((unused)) static rh_status stub_compute(stub *s, rh_task task, const rh_infer *infer, rh_error *error) {
  rh_run run = {.task = task, .infer = infer};
  rh_sink sink = {.push = stub_event, .ctx = s};
  rh_inference_run *begun = NULL;
  s->result_count = 0;
  s->ended = false;
  rh_status status = rh_inference_begin(s->inference, &run, &sink, &begun, error);
  if (status != RH_OK) return status;
  bool worked = true;
  uint64_t until = 0;
  for (int i = 0; i < 1000 && !rh_inference_run_finished(begun); i++) {
    rh_inference_step(s->inference, &worked, &until);
  }
  assert_true(s->ended);
  rh_inference_run_free(begun);
  return RH_OK;
}

__attribute__((unused)) static void stub_close(stub *s) {
  rh_inference_free(s->inference);
  free(s);
}

#define STUB_ITEM(literal) \
  { .text = (literal), .length = sizeof(literal) - 1 }

__attribute__((unused)) static void expect_near(float got, double wanted) {
  double distance = (double)got - wanted;
  if (distance > 1e-5 || distance < -1e-5) fail_msg("%.8f is not %.8f", (double)got, wanted);
}

#endif
