// SPDX-License-Identifier: Apache-2.0
//
// Purpose: keys and values that grow: what a call gives as present is the next call's past. Rows of different lengths begin
// with padding, which the mask hides. As long as the same slots compute together nothing is copied here; when one joins
// or leaves, the rows are gathered anew.
// Data owned: the sets that the slots hold. Threads: the engine thread.
// Not here: devices whose memory we cannot copy: there every slot computes alone, and nothing is gathered.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/onnx/generate/generate.h"

// --- sets -----------------------------------------------------------------------------------------------------------

static rh_kv_set *set_new(const rh_engine *engine, size_t rows, int64_t positions) {
  size_t count = engine->generator->ports.kv_count;
  rh_kv_set *set = calloc(1, sizeof *set + count * sizeof set->values[0]);
  if (!set) return NULL;
  set->rows = (int64_t)rows;
  set->positions = positions;
  set->count = count;
  return set;
}

static void set_free(const rh_engine *engine, rh_kv_set *set) {
  for (size_t i = 0; i < set->count; i++) {
    if (set->values[i]) engine->library->api->ReleaseValue(set->values[i]);
  }
  free(set);
}

static void drop(rh_engine *engine, rh_kv_place *place) {
  rh_kv_set *set = place->set;
  *place = (rh_kv_place){0};
  if (set && --set->holders == 0) set_free(engine, set);
}

static void put(rh_engine *engine, rh_kv_place *place, rh_kv_set *set, size_t row, int64_t start) {
  set->holders++;
  drop(engine, place);
  *place = (rh_kv_place){.set = set, .row = row, .start = start};
}

static rh_status no_memory(const rh_engine *engine, rh_error *error) {
  return rh_fail(error, RH_NO_MEMORY, "no memory for the keys and values of %s", engine->name);
}

// --- gathering ------------------------------------------------------------------------------------------------------

// One row's positions [place.start, + length) behind `pad` positions of zeros. Zeros, because a hidden position's weight of 0
// must not meet a value that is no number.
static void copy_row(const rh_generator *generator, size_t i, const rh_kv_place *place, const char *from, char *to,
                     int64_t positions, int64_t length) {
  const rh_kv_port *port = &generator->ports.kv[i];
  size_t width = (size_t)port->width * rh_dtype_bytes(generator->ports.kv_type);
  size_t pad = (size_t)(positions - length);
  for (int64_t head = 0; head < port->heads; head++) {
    char *at = to + (size_t)(head * positions) * width;
    memset(at, 0, pad * width);
    if (length == 0) continue;
    int64_t first = ((int64_t)place->row * port->heads + head) * place->set->positions + place->start;
    memcpy(at + pad * width, from + (size_t)first * width, (size_t)length * width);
  }
}

static rh_status gather_port(rh_engine *engine, const size_t *slots, rh_kv_set *into, size_t i, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  const rh_kv_port *port = &generator->ports.kv[i];
  const int64_t shape[] = {into->rows, port->heads, into->positions, port->width};
  size_t row_bytes = (size_t)(port->heads * into->positions * port->width) * rh_dtype_bytes(generator->ports.kv_type);
  void *to = NULL;
  OrtStatus *failed = api->CreateTensorAsOrtValue(engine->library->allocator, shape, 4,
                                                  rh_ort_element(generator->ports.kv_type), &into->values[i]);
  if (!failed && row_bytes > 0) failed = api->GetTensorMutableData(into->values[i], &to);
  for (int64_t row = 0; !failed && row_bytes > 0 && row < into->rows; row++) {
    const rh_kv_place *place = &generator->places[slots[row]];
    void *from = NULL;
    int64_t length = generator->prefixes[slots[row]].count;
    if (length > 0) failed = api->GetTensorMutableData(place->set->values[i], &from);
    if (!failed) {
      copy_row(generator, i, place, from, (char *)to + (size_t)row * row_bytes, into->positions, length);
    }
  }
  return failed ? rh_ort_fail(failed, RH_NO_MEMORY, error, port->past) : RH_OK;
}

// A new set with these slots as its rows; their places are there then.
static rh_status gather(rh_engine *engine, const size_t *slots, size_t rows, rh_error *error) {
  rh_generator *generator = engine->generator;
  int64_t positions = 0;
  for (size_t row = 0; row < rows; row++) {
    int64_t length = generator->prefixes[slots[row]].count;
    if (length > positions) positions = length;
  }
  rh_kv_set *set = set_new(engine, rows, positions);
  if (!set) return no_memory(engine, error);
  for (size_t i = 0; i < set->count; i++) {
    rh_status status = gather_port(engine, slots, set, i, error);
    if (status == RH_OK) continue;
    set_free(engine, set);
    return status;
  }
  for (size_t row = 0; row < rows; row++) {
    put(engine, &generator->places[slots[row]], set, row, positions - generator->prefixes[slots[row]].count);
  }
  return RH_OK;
}

// Are these slots the rows of one set already, in order, each up to its end?
static bool is_gathered(const rh_generator *generator, const size_t *slots, size_t rows) {
  const rh_kv_set *set = generator->places[slots[0]].set;
  if (!set || set->rows != (int64_t)rows) return false;
  for (size_t row = 0; row < rows; row++) {
    const rh_kv_place *place = &generator->places[slots[row]];
    if (place->set != set || place->row != row) return false;
    if (place->start + generator->prefixes[slots[row]].count != set->positions) return false;
  }
  return true;
}

// --- the cache ------------------------------------------------------------------------------------------------------

static rh_status make(rh_engine *engine, rh_error *error) {
  (void)error;
  rh_gen_ports *ports = &engine->generator->ports;
  // Rows are gathered with this process's own hands. And a graph that is not told the positions may count the padding too.
  if (!engine->generator->on_cpu || !ports->positions) ports->rows_max = 1;
  return RH_OK;
}

static void free_all(rh_engine *engine) {
  rh_generator *generator = engine->generator;
  for (size_t i = 0; generator->places && i < generator->slot_count; i++) drop(engine, &generator->places[i]);
}

static rh_status bind(rh_engine *engine, rh_pass *pass, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  rh_status status = RH_OK;
  if (!is_gathered(generator, pass->slots, pass->rows)) status = gather(engine, pass->slots, pass->rows, error);
  if (status != RH_OK) return status;
  const rh_kv_set *set = generator->places[pass->slots[0]].set;
  for (size_t row = 0; row < pass->rows; row++) {
    pass->lengths[row] = generator->prefixes[pass->slots[row]].count;
    pass->starts[row] = generator->places[pass->slots[row]].start;
  }
  pass->total = set->positions + pass->width;
  const OrtMemoryInfo *memory = generator->memory ? generator->memory : engine->library->cpu;
  for (size_t i = 0; status == RH_OK && i < set->count; i++) {
    const rh_kv_port *port = &generator->ports.kv[i];
    status = rh_pass_bind_value(engine, true, port->past, set->values[i], error);
    OrtStatus *failed = status == RH_OK ? api->BindOutputToDevice(generator->binding, port->present, memory) : NULL;
    if (failed) status = rh_ort_fail(failed, RH_INTERNAL, error, port->present);
  }
  return status;
}

// Everything later reads these values by the shape they must have, so a graph that gives another is stopped here.
static rh_status check_shape(rh_engine *engine, const rh_kv_set *set, size_t i, rh_error *error) {
  const rh_kv_port *port = &engine->generator->ports.kv[i];
  rh_tensor tensor;
  rh_status status = rh_ort_value_shape(engine, port->present, set->values[i], &tensor, error);
  if (status != RH_OK) return status;
  if (tensor.rank == 4 && tensor.shape[0] == set->rows && tensor.shape[1] == port->heads &&
      tensor.shape[2] == set->positions && tensor.shape[3] == port->width &&
      tensor.type == engine->generator->ports.kv_type) {
    return RH_OK;
  }
  return rh_fail(error, RH_INTERNAL, "%s gave \"%.64s\" of another shape than [%lld,%lld,%lld,%lld]", engine->name,
                 port->present, (long long)set->rows, (long long)port->heads, (long long)set->positions,
                 (long long)port->width);
}

static rh_status take(rh_engine *engine, const rh_pass *pass, OrtValue **outputs, rh_error *error) {
  rh_generator *generator = engine->generator;
  rh_kv_set *set = set_new(engine, pass->rows, pass->total);
  if (!set) return no_memory(engine, error);
  rh_status status = RH_OK;
  for (size_t i = 0; i < set->count; i++) {
    set->values[i] = outputs[i];
    outputs[i] = NULL;
  }
  for (size_t i = 0; status == RH_OK && i < set->count; i++) status = check_shape(engine, set, i, error);
  // Else the binding would hold the old keys and values until the next call.
  engine->library->api->ClearBoundInputs(generator->binding);
  if (status != RH_OK) {
    set_free(engine, set);
    return status;
  }
  for (size_t row = 0; row < pass->rows; row++) {
    put(engine, &generator->places[pass->slots[row]], set, row, pass->starts[row]);
  }
  return RH_OK;
}

static bool rewind_to(rh_engine *engine, size_t slot, int64_t count) {
  rh_generator *generator = engine->generator;
  rh_prefix *prefix = &generator->prefixes[slot];
  if (count == 0) {
    drop(engine, &generator->places[slot]);
  } else if (count < prefix->count && !generator->on_cpu) {
    return false;
  }
  prefix->count = count;
  return true;
}

// A set of many rows would stay whole for one that rests; it takes its own along.
static void rest(rh_engine *engine, size_t slot) {
  rh_generator *generator = engine->generator;
  const rh_kv_set *set = generator->places[slot].set;
  if (!set || set->rows == 1 || generator->leaving) return;
  rh_error ignored;
  if (gather(engine, &slot, 1, &ignored) != RH_OK) (void)rewind_to(engine, slot, 0);
}

const rh_cache_ops rh_cache_grown = {
    .name = "grown",
    .make = make,
    .free = free_all,
    .bind = bind,
    .take = take,
    .rewind = rewind_to,
    .rest = rest,
};
