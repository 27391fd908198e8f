// SPDX-License-Identifier: Apache-2.0
//
// Purpose: keys and values in one buffer with room for every slot's whole context, which the graph writes in place. A call
// for neighbouring slots is a part of it, so that no key is ever copied.
// Data owned: a buffer [slots, heads, context, width] for each of ports.kv. On the CPU its pages come into memory when
// they are first written.
// Threads: the engine thread.
// Not here: which slots a call has. Rows without a run of their own are written at a position that nobody has read.
#include <assert.h>
#include <sys/mman.h>

#include "engine/onnx/generate/generate.h"

static size_t row_bytes(const rh_generator *generator, const rh_kv_port *port) {
  return (size_t)port->heads * (size_t)generator->size.tokens * (size_t)port->width *
         rh_dtype_bytes(generator->ports.kv_type);
}

static rh_status no_room(const rh_engine *engine, rh_error *error) {
  const rh_generator *generator = engine->generator;
  return rh_fail(error, RH_NO_MEMORY,
                 "no memory for the keys and values of %zu requests of %lld tokens of %s; fewer slots or a smaller "
                 "context need less",
                 generator->slot_count, (long long)generator->size.tokens, engine->name);
}

static rh_status make_on_device(rh_engine *engine, OrtAllocator *allocator, size_t i, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  const rh_kv_port *port = &generator->ports.kv[i];
  const int64_t shape[] = {(int64_t)generator->slot_count, port->heads, generator->size.tokens, port->width};
  OrtStatus *failed = api->CreateTensorAsOrtValue(allocator, shape, 4, rh_ort_element(generator->ports.kv_type),
                                                  &generator->buffer_values[i]);
  if (!failed) failed = api->GetTensorMutableData(generator->buffer_values[i], &generator->buffers[i]);
  return failed ? rh_ort_fail(failed, RH_NO_MEMORY, error, "keys and values") : RH_OK;
}

static rh_status make_here(rh_engine *engine, size_t i, rh_error *error) {
  rh_generator *generator = engine->generator;
  size_t bytes = row_bytes(generator, &generator->ports.kv[i]) * generator->slot_count;
  void *buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (buffer == MAP_FAILED) return no_room(engine, error);
  // Each head has a stretch of its own; whole huge pages would bring the unused ends of all of them into memory.
  (void)madvise(buffer, bytes, MADV_NOHUGEPAGE);
  generator->buffers[i] = buffer;
  generator->buffer_bytes[i] = bytes;
  return RH_OK;
}

static rh_status make(rh_engine *engine, rh_error *error) {
  const OrtApi *api = engine->library->api;
  rh_generator *generator = engine->generator;
  size_t count = generator->ports.kv_count;
  generator->buffers = rh_arena_alloc_array(engine->arena, count, sizeof *generator->buffers);
  generator->buffer_bytes = rh_arena_alloc_array(engine->arena, count, sizeof *generator->buffer_bytes);
  generator->buffer_values = rh_arena_alloc_array(engine->arena, count, sizeof(OrtValue *));
  if (!generator->buffers || !generator->buffer_bytes || !generator->buffer_values) return no_room(engine, error);
  for (size_t i = 0; i < count; i++) {
    generator->buffers[i] = NULL;
    generator->buffer_values[i] = NULL;
  }
  OrtAllocator *allocator = NULL;
  OrtStatus *failed = generator->memory ? api->CreateAllocator(engine->session, generator->memory, &allocator) : NULL;
  if (failed) return rh_ort_fail(failed, RH_HARDWARE, error, "the device's memory");
  rh_status status = RH_OK;
  for (size_t i = 0; status == RH_OK && i < count; i++) {
    status = allocator ? make_on_device(engine, allocator, i, error) : make_here(engine, i, error);
  }
  if (allocator) api->ReleaseAllocator(allocator);
  return status;
}

static void free_all(rh_engine *engine) {
  rh_generator *generator = engine->generator;
  bool made = generator->buffers && generator->buffer_bytes && generator->buffer_values;
  for (size_t i = 0; made && i < generator->ports.kv_count; i++) {
    if (generator->buffer_values[i]) {
      engine->library->api->ReleaseValue(generator->buffer_values[i]);
    } else if (generator->buffers[i]) {
      munmap(generator->buffers[i], generator->buffer_bytes[i]);
    }
  }
  generator->buffers = NULL;
}

static rh_status bind_port(rh_engine *engine, const rh_pass *pass, size_t i, rh_error *error) {
  rh_generator *generator = engine->generator;
  const rh_kv_port *port = &generator->ports.kv[i];
  const int64_t shape[] = {(int64_t)pass->rows, port->heads, generator->size.tokens, port->width};
  size_t bytes = row_bytes(generator, port);
  char *first = (char *)generator->buffers[i] + bytes * pass->slots[0];
  OrtValue *value = NULL;
  OrtStatus *failed = engine->library->api->CreateTensorWithDataAsOrtValue(
      generator->memory ? generator->memory : engine->library->cpu, first, bytes * pass->rows, shape, 4,
      rh_ort_element(generator->ports.kv_type), &value);
  if (failed) return rh_ort_fail(failed, RH_INTERNAL, error, port->past);
  rh_status status = rh_pass_bind_value(engine, true, port->past, value, error);
  if (status == RH_OK) status = rh_pass_bind_value(engine, false, port->present, value, error);
  engine->library->api->ReleaseValue(value);
  return status;
}

static rh_status bind(rh_engine *engine, rh_pass *pass, rh_error *error) {
  rh_generator *generator = engine->generator;
  int64_t longest = 0;
  for (size_t row = 0; row < pass->rows; row++) {
    assert(pass->slots[row] == pass->slots[0] + row && "only neighbours are one part of the buffer");
    pass->lengths[row] = generator->prefixes[pass->slots[row]].count;
    pass->starts[row] = 0;
    if (pass->lengths[row] > longest) longest = pass->lengths[row];
  }
  pass->total = longest + pass->width;
  assert(pass->total <= generator->size.tokens);
  if (generator->bound_rows == pass->rows && generator->bound_first == pass->slots[0]) return RH_OK;
  generator->bound_rows = 0;
  for (size_t i = 0; i < generator->ports.kv_count; i++) {
    rh_status status = bind_port(engine, pass, i, error);
    if (status != RH_OK) return status;
  }
  generator->bound_rows = pass->rows;
  generator->bound_first = pass->slots[0];
  return RH_OK;
}

// What the call gave are the buffers themselves.
static rh_status take(rh_engine *engine, const rh_pass *pass, OrtValue **outputs, rh_error *error) {
  (void)engine;
  (void)pass;
  (void)outputs;
  (void)error;
  return RH_OK;
}

// What lies behind the end is never read, and written again.
static bool rewind_to(rh_engine *engine, size_t slot, int64_t count) {
  engine->generator->prefixes[slot].count = count;
  return true;
}

static void rest(rh_engine *engine, size_t slot) {
  (void)engine;
  (void)slot;
}

const rh_cache_ops rh_cache_shared = {
    .name = "shared",
    .neighbours = true,
    .make = make,
    .free = free_all,
    .bind = bind,
    .take = take,
    .rewind = rewind_to,
    .rest = rest,
};
