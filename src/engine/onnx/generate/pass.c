// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one call of a decoder's graph for some rows: tokens, mask and positions in, logits out.
// Data owned: the generator's pass, the room for its inputs, and the logits until the next pass.
// Threads: the engine thread; ONNX Runtime's own compute.
// Not here: keys and values (cache_grown.c, cache_shared.c), and which rows a pass has (step.c).
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/onnx/generate/generate.h"

static rh_status no_memory(rh_error *error) {
  return rh_fail(error, RH_NO_MEMORY, "no memory for a call of the graph");
}

void rh_pass_forget(rh_engine *engine) {
  rh_generator *generator = engine->generator;
  if (generator->logits) engine->library->api->ReleaseValue(generator->logits);
  generator->logits = NULL;
  generator->logits_data = NULL;
}

rh_status rh_pass_begin(rh_engine *engine, size_t rows, int64_t width, rh_error *error) {
  rh_pass *pass = &engine->generator->pass;
  assert(rows > 0 && rows <= RH_GEN_SLOTS_MAX && width > 0);
  rh_pass_forget(engine);
  size_t tokens = rows * (size_t)width;
  if (tokens > pass->token_room) {
    int32_t *room = realloc(pass->tokens, tokens * sizeof *room);
    if (!room) return no_memory(error);
    pass->tokens = room;
    pass->token_room = tokens;
  }
  pass->rows = rows;
  pass->width = width;
  return RH_OK;
}

rh_status rh_pass_bind_value(rh_engine *engine, bool input, const char *name, const OrtValue *value, rh_error *error) {
  const OrtApi *api = engine->library->api;
  OrtIoBinding *binding = engine->generator->binding;
  OrtStatus *failed = input ? api->BindInput(binding, name, value) : api->BindOutput(binding, name, value);
  return failed ? rh_ort_fail(failed, RH_INTERNAL, error, name) : RH_OK;
}

// --- inputs ---------------------------------------------------------------------------------------------------------

// Whole numbers as the port wants them, bound under its name. The binding reads them in place where it computes on the CPU.
static rh_status bind_numbers(rh_engine *engine, const rh_graph_port *port, int64_t *numbers, const int64_t *shape,
                              size_t rank, rh_error *error) {
  rh_tensor tensor = {.name = port->name, .type = port->type, .rank = rank, .data = numbers};
  size_t count = 1;
  for (size_t i = 0; i < rank; i++) {
    tensor.shape[i] = shape[i];
    count *= (size_t)shape[i];
  }
  // In place: a narrower number never lies behind the one it is made from.
  if (port->type == RH_DTYPE_I32) {
    for (size_t i = 0; i < count; i++) {
      int32_t narrow = (int32_t)numbers[i];
      memcpy((char *)numbers + i * sizeof narrow, &narrow, sizeof narrow);
    }
  } else if (port->type == RH_DTYPE_BOOL) {
    for (size_t i = 0; i < count; i++) ((uint8_t *)numbers)[i] = numbers[i] != 0;
  }
  tensor.bytes = count * rh_dtype_bytes(port->type);
  OrtValue *value = NULL;
  rh_status status = rh_ort_value_make(engine, &tensor, &value, error);
  if (status != RH_OK) return status;
  status = rh_pass_bind_value(engine, true, port->name, value, error);
  engine->library->api->ReleaseValue(value);
  return status;
}

// A part of the room for numbers.
static int64_t *take(int64_t **room, size_t count) {
  int64_t *taken = *room;
  *room += count;
  return taken;
}

static rh_status bind_ids(rh_engine *engine, const rh_pass *pass, int64_t **room, rh_error *error) {
  const rh_graph_port *port = engine->generator->ports.ids;
  size_t count = pass->rows * (size_t)pass->width;
  int64_t *ids = take(room, count);
  for (size_t i = 0; i < count; i++) ids[i] = pass->tokens[i];
  return bind_numbers(engine, port, ids, (int64_t[]){(int64_t)pass->rows, pass->width}, 2, error);
}

static rh_status bind_mask(rh_engine *engine, const rh_pass *pass, int64_t **room, rh_error *error) {
  const rh_graph_port *port = engine->generator->ports.mask;
  if (!port) return RH_OK;
  int64_t *mask = take(room, pass->rows * (size_t)pass->total);
  for (size_t row = 0; row < pass->rows; row++) {
    int64_t begin = pass->starts[row], end = begin + pass->lengths[row] + pass->width;
    for (int64_t i = 0; i < pass->total; i++) mask[(int64_t)row * pass->total + i] = i >= begin && i < end;
  }
  return bind_numbers(engine, port, mask, (int64_t[]){(int64_t)pass->rows, pass->total}, 2, error);
}

static rh_status bind_positions(rh_engine *engine, const rh_pass *pass, int64_t **room, rh_error *error) {
  const rh_graph_port *port = engine->generator->ports.positions;
  if (!port) return RH_OK;
  int64_t *positions = take(room, pass->rows * (size_t)pass->width);
  for (size_t row = 0; row < pass->rows; row++) {
    for (int64_t i = 0; i < pass->width; i++) {
      positions[(int64_t)row * pass->width + i] = pass->lengths[row] + i;
    }
  }
  return bind_numbers(engine, port, positions, (int64_t[]){(int64_t)pass->rows, pass->width}, 2, error);
}

static rh_status bind_types(rh_engine *engine, const rh_pass *pass, int64_t **room, rh_error *error) {
  const rh_graph_port *port = engine->generator->ports.types;
  if (!port) return RH_OK;
  size_t count = pass->rows * (size_t)pass->width;
  int64_t *types = take(room, count);
  memset(types, 0, count * sizeof *types);
  return bind_numbers(engine, port, types, (int64_t[]){(int64_t)pass->rows, pass->width}, 2, error);
}

static rh_status bind_places(rh_engine *engine, const rh_pass *pass, int64_t **room, rh_error *error) {
  const rh_graph_port *port = engine->generator->ports.cache_position;
  if (!port) return RH_OK;
  int64_t *places = take(room, (size_t)pass->width);
  for (int64_t i = 0; i < pass->width; i++) places[i] = pass->starts[0] + pass->lengths[0] + i;
  return bind_numbers(engine, port, places, (int64_t[]){pass->width}, 1, error);
}

static rh_status bind_one(rh_engine *engine, const rh_graph_port *port, int64_t number, int64_t **room,
                          rh_error *error) {
  if (!port) return RH_OK;
  int64_t *numbers = take(room, 1);
  numbers[0] = number;
  return bind_numbers(engine, port, numbers, (int64_t[]){1}, port->rank, error);
}

static rh_status bind_inputs(rh_engine *engine, const rh_pass *pass, rh_error *error) {
  rh_generator *generator = engine->generator;
  size_t need = pass->rows * (3 * (size_t)pass->width + (size_t)pass->total) + (size_t)pass->width + 2;
  if (need > generator->word_room) {
    // Grown by more than is needed now, for the mask is longer at every step.
    size_t room = need + need / 2;
    int64_t *words = realloc(generator->words, room * sizeof *words);
    if (!words) return no_memory(error);
    generator->words = words;
    generator->word_room = room;
  }
  int64_t *room = generator->words;
  rh_status status = bind_ids(engine, pass, &room, error);
  if (status == RH_OK) status = bind_mask(engine, pass, &room, error);
  if (status == RH_OK) status = bind_positions(engine, pass, &room, error);
  if (status == RH_OK) status = bind_types(engine, pass, &room, error);
  if (status == RH_OK) status = bind_places(engine, pass, &room, error);
  if (status == RH_OK) status = bind_one(engine, generator->ports.use_cache, pass->lengths[0] > 0, &room, error);
  if (status == RH_OK) status = bind_one(engine, generator->ports.kept_logits, 1, &room, error);
  return status;
}

// --- the call -------------------------------------------------------------------------------------------------------

static rh_status compute(rh_engine *engine, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  // A binding keeps what the last call put there and would want the same shape again.
  OrtStatus *failed = api->BindOutputToDevice(generator->binding, generator->ports.logits->name, engine->library->cpu);
  if (!failed && !generator->on_cpu) failed = api->SynchronizeBoundInputs(generator->binding);
  if (!failed) failed = api->RunWithBinding(engine->session, generator->run_options, generator->binding);
  if (!failed && !generator->on_cpu) failed = api->SynchronizeBoundOutputs(generator->binding);
  return failed ? rh_ort_fail(failed, RH_INTERNAL, error, engine->name) : RH_OK;
}

static rh_status read_logits(rh_engine *engine, const rh_pass *pass, rh_error *error) {
  rh_generator *generator = engine->generator;
  rh_tensor logits;
  rh_status status = rh_ort_value_read(engine, "logits", generator->logits, &logits, error);
  if (status != RH_OK) return status;
  if (logits.rank != 3 || logits.shape[0] != (int64_t)pass->rows || logits.shape[1] < 1 ||
      logits.shape[1] > pass->width || logits.shape[2] < 1 || logits.shape[2] > INT32_MAX) {
    return rh_fail(error, RH_INTERNAL, "%s gave logits of another shape than [%zu,%lld,vocabulary]", engine->name,
                   pass->rows, (long long)pass->width);
  }
  // The trial has told what all room here is made for.
  if (generator->prefixes && (logits.shape[2] != generator->logits_width || logits.type != generator->logits_type)) {
    return rh_fail(error, RH_INTERNAL, "%s gave logits for %lld tokens, and %lld before", engine->name,
                   (long long)logits.shape[2], (long long)generator->logits_width);
  }
  generator->logits_data = logits.data;
  generator->logits_type = logits.type;
  generator->logits_rows = logits.shape[1];
  generator->logits_width = logits.shape[2];
  return RH_OK;
}

// The values that the call made: logits first, then ports.kv, as the trial and the caches have bound them.
static rh_status take_outputs(rh_engine *engine, const rh_pass *pass, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  OrtValue **values = NULL;
  size_t count = 0;
  OrtStatus *failed = api->GetBoundOutputValues(generator->binding, engine->library->allocator, &values, &count);
  if (failed) return rh_ort_fail(failed, RH_INTERNAL, error, engine->name);
  rh_status status = RH_OK;
  if (count != 1 + generator->ports.kv_count) {
    status = rh_fail(error, RH_INTERNAL, "%s gave %zu values", engine->name, count);
  } else {
    generator->logits = values[0];
    values[0] = NULL;
    status = read_logits(engine, pass, error);
    if (status == RH_OK) status = generator->cache->take(engine, pass, values + 1, error);
  }
  for (size_t i = 0; i < count; i++) {
    if (values[i]) api->ReleaseValue(values[i]);
  }
  if (values) engine->library->allocator->Free(engine->library->allocator, values);
  return status;
}

rh_status rh_pass_run(rh_engine *engine, rh_error *error) {
  rh_generator *generator = engine->generator;
  rh_pass *pass = &generator->pass;
  // The logits are bound first, so that they come first; see take_outputs.
  if (!generator->bound) {
    OrtStatus *failed = engine->library->api->BindOutputToDevice(generator->binding, generator->ports.logits->name,
                                                                 engine->library->cpu);
    if (failed) return rh_ort_fail(failed, RH_INTERNAL, error, engine->name);
    generator->bound = true;
  }
  rh_status status = generator->cache->bind(engine, pass, error);
  if (status == RH_OK) status = bind_inputs(engine, pass, error);
  if (status == RH_OK) status = compute(engine, error);
  if (status == RH_OK) status = take_outputs(engine, pass, error);
  return status;
}

// --- logits ---------------------------------------------------------------------------------------------------------

const float *rh_pass_logits(rh_engine *engine, size_t row) {
  rh_generator *generator = engine->generator;
  size_t width = (size_t)generator->logits_width, rows = (size_t)generator->logits_rows;
  assert(generator->logits_data && row < generator->pass.rows);
  size_t offset = ((row + 1) * rows - 1) * width;
  if (generator->logits_type == RH_DTYPE_F32) return (const float *)generator->logits_data + offset;
  const uint16_t *halves = (const uint16_t *)generator->logits_data + offset;
  rh_tensor_floats(generator->logits_type, halves, width, generator->floats);
  return generator->floats;
}
