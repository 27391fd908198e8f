// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one small call at the load, which tells whether past and present may be one buffer. Asked for one token behind a
// buffer of some positions that the mask says are empty, GroupQueryAttention writes into the buffer and gives it back as
// long as it was; a graph that puts the new position behind the old ones gives one more, or refuses.
// Data owned: none after the call. Threads: the engine thread.
// Not here: whether the numbers are right. The names of inputs and outputs are a contract that exporters keep.
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
  rh_tensor tensor;
  (void)pass;
  const char *name = engine->generator->ports.kv[0].present;
  rh_status status = rh_ort_value_shape(engine, name, outputs[0], &tensor, error);
  if (status != RH_OK) return status;
  engine->generator->trial_positions = tensor.rank == 4 ? tensor.shape[2] : -1;
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
  generator->pass.tokens[0] = generator->files.ends[0];
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

rh_status rh_gen_try(rh_engine *engine, rh_error *error) {
  rh_generator *generator = engine->generator;
  int64_t positions = 0;
  if (generator->ports.mask && !generator->files.forbid_shared && generator->may_share) {
    generator->run_options = quiet(engine->library->api);
    rh_status status = call(engine, TRIAL_POSITIONS, &positions, NULL);
    if (generator->run_options) engine->library->api->ReleaseRunOptions(generator->run_options);
    generator->run_options = NULL;
    if (status == RH_NO_MEMORY) return rh_fail(error, status, "no memory for a call of %s", engine->name);
    if (status == RH_OK && positions == TRIAL_POSITIONS) {
      generator->cache = &rh_cache_shared;
      return RH_OK;
    }
  }
  rh_status status = call(engine, 0, &positions, error);
  if (status != RH_OK) return status;
  if (positions != 1) {
    return rh_fail(error, RH_UNSUPPORTED, "one token made %lld positions of keys instead of one", (long long)positions);
  }
  generator->cache = &rh_cache_grown;
  return RH_OK;
}
