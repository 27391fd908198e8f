// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one run of the graph: inputs by name in, outputs by name out.
// Data owned: the last run's values and what was copied for them, in the engine, until the next run.
// Threads: the engine thread; ONNX Runtime's own compute.
// Not here: batching; who calls decides what one run holds.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/onnx/internal.h"

void rh_ort_run_forget(rh_engine *engine) {
  for (size_t i = 0; i < engine->value_count; i++) {
    if (engine->values[i]) engine->library->api->ReleaseValue(engine->values[i]);
  }
  free(engine->values);
  free(engine->results);
  engine->values = NULL;
  engine->results = NULL;
  engine->value_count = 0;
  rh_arena_reset(engine->scratch);
}

static rh_status wrong_inputs(const rh_engine *engine, const char *param, const char *what, rh_error *error) {
  char takes[384];
  rh_ort_graph_inputs_text(engine, takes, sizeof takes);
  return rh_fail_param(error, RH_INVALID, param, "%s; %s takes %s", what, engine->name, takes);
}

static size_t find_port(const rh_graph_port *ports, size_t count, const char *name) {
  size_t i = 0;
  while (i < count && strcmp(ports[i].name, name) != 0) i++;
  return i;
}

static void shape_text(const rh_tensor *tensor, char *out, size_t size) {
  rh_graph_port port = {.name = tensor->name, .type = tensor->type, .rank = tensor->rank};
  memcpy(port.shape, tensor->shape, sizeof port.shape);
  rh_ort_port_text(&port, out, size);
}

static rh_status check_input(const rh_engine *engine, const rh_tensor *tensor, const rh_graph_port *port,
                             rh_error *error) {
  char given[160], what[224];
  bool fits = tensor->type == port->type && tensor->rank == port->rank;
  for (size_t i = 0; fits && i < port->rank; i++) fits = port->shape[i] < 0 || port->shape[i] == tensor->shape[i];
  if (fits) return RH_OK;
  if (tensor->rank > RH_TENSOR_RANK_MAX) return rh_tensor_check(tensor, error);
  shape_text(tensor, given, sizeof given);
  (void)snprintf(what, sizeof what, "the input %s does not fit", given);
  return wrong_inputs(engine, tensor->name, what, error);
}

// A value for each input, in the callers' order. `names` are the graph's.
static rh_status make_inputs(rh_engine *engine, const rh_tensor *inputs, size_t count, const char **names,
                             OrtValue **values, rh_error *error) {
  const rh_graph *graph = &engine->graph;
  char what[192];
  for (size_t i = 0; i < count; i++) {
    size_t port = find_port(graph->inputs, graph->input_count, inputs[i].name);
    if (port == graph->input_count) {
      (void)snprintf(what, sizeof what, "there is no input \"%.64s\"", inputs[i].name);
      return wrong_inputs(engine, inputs[i].name, what, error);
    }
    if (engine->not_tensor_in[port]) {
      return rh_fail_param(error, RH_UNSUPPORTED, inputs[i].name,
                           "the input \"%.64s\" of %s is %s, which cannot be given here", inputs[i].name, engine->name,
                           engine->not_tensor_in[port]);
    }
    for (size_t j = 0; j < i; j++) {
      if (strcmp(inputs[j].name, inputs[i].name) != 0) continue;
      return rh_fail_param(error, RH_INVALID, inputs[i].name, "the input \"%.64s\" is given twice", inputs[i].name);
    }
    rh_status status = check_input(engine, &inputs[i], &graph->inputs[port], error);
    if (status == RH_OK) status = rh_ort_value_make(engine, &inputs[i], &values[i], error);
    if (status != RH_OK) return status;
    names[i] = graph->inputs[port].name;
  }
  for (size_t port = 0; count < graph->input_count && port < graph->input_count; port++) {
    size_t i = 0;
    while (i < count && names[i] != graph->inputs[port].name) i++;
    if (i < count) continue;
    (void)snprintf(what, sizeof what, "the input \"%.64s\" is missing", graph->inputs[port].name);
    return wrong_inputs(engine, graph->inputs[port].name, what, error);
  }
  return RH_OK;
}

// The outputs that are wanted, by the graph's own names. Asked for all, what is no tensor is left out.
static rh_status choose_outputs(const rh_engine *engine, const char *const *wanted, size_t wanted_count,
                                const char **names, size_t *count, rh_error *error) {
  const rh_graph *graph = &engine->graph;
  *count = 0;
  for (size_t i = 0; !wanted && i < graph->output_count; i++) {
    if (!engine->not_tensor_out[i]) names[(*count)++] = graph->outputs[i].name;
  }
  for (size_t i = 0; wanted && i < wanted_count; i++) {
    size_t port = find_port(graph->outputs, graph->output_count, wanted[i]);
    if (port == graph->output_count) {
      return rh_fail_param(error, RH_INVALID, "outputs", "%s has no output \"%.64s\"; its first is \"%.64s\"",
                           engine->name, wanted[i], graph->output_count > 0 ? graph->outputs[0].name : "");
    }
    if (engine->not_tensor_out[port]) {
      return rh_fail_param(error, RH_UNSUPPORTED, "outputs",
                           "the output \"%.64s\" of %s is %s, which cannot be returned", wanted[i], engine->name,
                           engine->not_tensor_out[port]);
    }
    names[(*count)++] = graph->outputs[port].name;
  }
  if (*count > 0) return RH_OK;
  return rh_fail_param(error, RH_UNSUPPORTED, "outputs",
                       "%s has no output that is a tensor; its output \"%.64s\" is %s", engine->name,
                       graph->output_count > 0 ? graph->outputs[0].name : "",
                       graph->output_count > 0 ? engine->not_tensor_out[0] : "not there");
}

// A graph may hand an input on as an output; then the bytes are the caller's and end with the call.
static rh_status keep_own(rh_engine *engine, const rh_tensor *inputs, size_t input_count, rh_tensor *out,
                          rh_error *error) {
  const char *data = out->data;
  for (size_t i = 0; i < input_count && out->bytes > 0; i++) {
    const char *from = inputs[i].data;
    if (!from || data < from || data >= from + inputs[i].bytes) continue;
    void *copy = rh_arena_alloc(engine->scratch, out->bytes);
    if (!copy) return rh_fail(error, RH_NO_MEMORY, "no memory for the output \"%.64s\"", out->name);
    out->data = memcpy(copy, data, out->bytes);
    break;
  }
  return RH_OK;
}

static rh_status read_outputs(rh_engine *engine, const rh_tensor *inputs, size_t input_count, const char *const *names,
                              rh_error *error) {
  rh_status status = RH_OK;
  for (size_t i = 0; status == RH_OK && i < engine->value_count; i++) {
    int there = 1;
    OrtStatus *failed = engine->library->api->HasValue(engine->values[i], &there);
    if (failed) return rh_ort_fail(failed, RH_INVALID, error, names[i]);
    if (!there) return rh_fail(error, RH_UNSUPPORTED, "the output \"%.64s\" has no value", names[i]);
    status = rh_ort_value_read(engine, names[i], engine->values[i], &engine->results[i], error);
    if (status == RH_OK) status = keep_own(engine, inputs, input_count, &engine->results[i], error);
  }
  return status;
}

// The graph's own complaints about its data are the caller's fault as far as anyone can tell.
static rh_status compute(rh_engine *engine, const char *const *in_names, OrtValue *const *in, size_t in_count,
                         const char *const *out_names, size_t out_count, rh_error *error) {
  const OrtApi *api = engine->library->api;
  engine->values = calloc(out_count, sizeof *engine->values);
  engine->results = calloc(out_count, sizeof *engine->results);
  if (!engine->values || !engine->results) return rh_fail(error, RH_NO_MEMORY, "no memory for the outputs");
  engine->value_count = out_count;
  OrtStatus *failed = api->Run(engine->session, NULL, in_names, (const OrtValue *const *)in, in_count, out_names,
                               out_count, engine->values);
  if (!failed) return RH_OK;
  rh_status status = api->GetErrorCode(failed) == ORT_NOT_IMPLEMENTED ? RH_UNSUPPORTED : RH_INVALID;
  return rh_ort_fail(failed, status, error, engine->name);
}

rh_status rh_ort_run(rh_engine *engine, const rh_tensor *inputs, size_t input_count, const char *const *wanted,
                     size_t wanted_count, const rh_tensor **outputs, size_t *output_count, rh_error *error) {
  assert(input_count <= RH_TENSORS_MAX && wanted_count <= RH_TENSORS_MAX);
  size_t out_max = wanted ? wanted_count : engine->graph.output_count, out_count = 0;
  const char *in_names[RH_TENSORS_MAX];
  OrtValue *in[RH_TENSORS_MAX];
  rh_ort_run_forget(engine);
  const char **out_names = rh_arena_alloc_array(engine->scratch, out_max + 1, sizeof *out_names);
  if (!out_names) return rh_fail(error, RH_NO_MEMORY, "no memory for the outputs");
  for (size_t i = 0; i < input_count; i++) in[i] = NULL;
  rh_status status = choose_outputs(engine, wanted, wanted_count, out_names, &out_count, error);
  if (status == RH_OK) status = make_inputs(engine, inputs, input_count, in_names, in, error);
  if (status == RH_OK) status = compute(engine, in_names, in, input_count, out_names, out_count, error);
  if (status == RH_OK) status = read_outputs(engine, inputs, input_count, out_names, error);
  for (size_t i = 0; i < input_count; i++) {
    if (in[i]) engine->library->api->ReleaseValue(in[i]);
  }
  if (status != RH_OK) {
    rh_ort_run_forget(engine);
    return status;
  }
  engine->counts.steps++;
  *outputs = engine->results;
  *output_count = engine->value_count;
  return RH_OK;
}
