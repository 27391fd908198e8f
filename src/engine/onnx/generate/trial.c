// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one small call at the load, which tells whether past and present may be one buffer. Asked for one token behind a
// buffer of some positions that the mask says are empty, GroupQueryAttention writes into the buffer and gives it back as
// long as it was; a graph that puts the new position behind the old ones gives one more, or refuses.
// Data owned: none after the call. Threads: the engine thread.
// Not here: whether the numbers are right. The names of inputs and outputs are a contract that exporters keep.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/onnx/generate/generate.h"

#define TRIAL_POSITIONS 8

static rh_status bind_empty(rh_engine *engine, rh_pass *pass, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  pass->lengths[0] = 0;
  pass->starts[0] = 0;
  pass->total = pass->width;
  for (size_t i = 0; i < generator->ports.kv_count; i++) {
    const rh_kv_port *port = &generator->ports.kv[i];
    const int64_t shape[] = {1, port->heads, generator->trial_positions, port->width};
    OrtValue *value = NULL;
    void *data = NULL;
    OrtStatus *failed = api->CreateTensorAsOrtValue(engine->library->allocator, shape, 4,
                                                    rh_ort_element(generator->ports.kv_type), &value);
    size_t bytes =
        (size_t)(port->heads * generator->trial_positions * port->width) * rh_dtype_bytes(generator->ports.kv_type);
    if (!failed && bytes > 0) failed = api->GetTensorMutableData(value, &data);
    if (!failed && bytes > 0) memset(data, 0, bytes);
    if (!failed) failed = api->BindInput(generator->binding, port->past, value);
    if (!failed) failed = api->BindOutputToDevice(generator->binding, port->present, engine->library->cpu);
    if (value) api->ReleaseValue(value);
    if (failed) return rh_ort_fail(failed, RH_INTERNAL, error, port->past);
  }
  return RH_OK;
}

static rh_status look(rh_engine *engine, const rh_pass *pass, OrtValue **outputs, rh_error *error) {
  rh_generator *generator = engine->generator;
  int64_t positions = -1;
  (void)pass;
  for (size_t i = 0; i < generator->ports.kv_count; i++) {
    rh_tensor tensor;
    rh_status status = rh_ort_value_shape(engine, generator->ports.kv[i].present, outputs[i], &tensor, error);
    if (status != RH_OK) return status;
    int64_t here = tensor.rank == 4 ? tensor.shape[2] : -1;
    if (i > 0 && here != positions) {
      return rh_fail(error, RH_UNSUPPORTED, "its layers keep keys of different numbers of positions");
    }
    positions = here;
  }
  generator->trial_positions = positions;
  return RH_OK;
}

static const rh_cache_ops trial = {.name = "trial", .bind = bind_empty, .take = look};

// How many positions present has when past has room for `positions` and none is used.
static rh_status call(rh_engine *engine, int64_t positions, int64_t *out, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  generator->cache = &trial;
  generator->trial_positions = positions;
  rh_status status = rh_pass_begin(engine, 1, 1, error);
  if (status != RH_OK) return status;
  generator->pass.slots[0] = 0;
  generator->pass.tokens[0] = 0;  // every vocabulary has it
  status = rh_pass_run(engine, error);
  *out = generator->trial_positions;
  generator->cache = NULL;
  api->ClearBoundInputs(generator->binding);
  api->ClearBoundOutputs(generator->binding);
  generator->bound = false;
  rh_pass_forget(engine);
  return status;
}

// Complaints of a graph that is asked what it cannot do are no news to anybody.
static OrtRunOptions *quiet(const OrtApi *api) {
  OrtRunOptions *options = NULL;
  OrtStatus *failed = api->CreateRunOptions(&options);
  if (!failed) failed = api->RunOptionsSetRunLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL);
  if (failed) api->ReleaseStatus(failed);
  return options;
}

// Before 1.20 GroupQueryAttention took several tokens behind others for a new beginning.
static bool is_old(const rh_ort_library *library) {
  int major = 0, minor = 0;
  return sscanf(library->version, "%d.%d", &major, &minor) == 2 && major == 1 && minor < 20;
}

static bool try_shared(rh_engine *engine, rh_status *status) {
  rh_generator *generator = engine->generator;
  int64_t positions = 0;
  generator->run_options = quiet(engine->library->api);
  *status = call(engine, TRIAL_POSITIONS, &positions, NULL);
  if (generator->run_options) engine->library->api->ReleaseRunOptions(generator->run_options);
  generator->run_options = NULL;
  return *status == RH_OK && positions == TRIAL_POSITIONS;
}

rh_status rh_gen_try(rh_engine *engine, rh_error *error) {
  rh_generator *generator = engine->generator;
  int64_t positions = 0;
  rh_status status = RH_OK;
  bool in_place = generator->ports.mask && try_shared(engine, &status);
  if (status == RH_NO_MEMORY) return rh_fail(error, status, "no memory for a call of %s", engine->name);
  // Traced with one token behind others, the branch of a merged graph may not hide a piece's later tokens from its earlier ones.
  generator->whole_prompts = generator->ports.use_cache || (in_place && is_old(engine->library));
  if (in_place && generator->may_share && !generator->files.forbid_shared) {
    generator->cache = &rh_cache_shared;
    return RH_OK;
  }
  rh_error reason = {0};
  status = call(engine, 0, &positions, &reason);
  // Whatever the graph minds, it can still be run with a client's own tensors.
  if (status == RH_NO_MEMORY) return rh_fail(error, status, "%s", reason.message);
  if (status != RH_OK) return rh_fail(error, RH_UNSUPPORTED, "%s", reason.message);
  if (positions != 1) {
    return rh_fail(error, RH_UNSUPPORTED, "one token made %lld positions of keys instead of one", (long long)positions);
  }
  // Such attention reads rows from their beginning, where padding would be.
  if (in_place) generator->ports.rows_max = 1;
  generator->cache = &rh_cache_grown;
  return RH_OK;
}
