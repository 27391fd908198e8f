// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what a session's graph takes and gives: names, types, shapes, the words for its dimensions.
// Data owned: none; all of it lies in the engine's arena.
// Threads: the engine thread.
// Not here: sequences, maps and optional values; such a port has the type "none" and a word that says what it is.
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "engine/onnx/internal.h"

#define PORTS_MAX 4096

typedef struct side {
  OrtStatus *(*count)(const OrtSession *session, size_t *out);
  OrtStatus *(*name)(const OrtSession *session, size_t index, OrtAllocator *allocator, char **value);
  OrtStatus *(*type)(const OrtSession *session, size_t index, OrtTypeInfo **type_info);
  const char *what;
} side;

static const char *kind_word(ONNXType kind) {
  switch (kind) {
    case ONNX_TYPE_SEQUENCE: return "a sequence";
    case ONNX_TYPE_MAP: return "a map";
    case ONNX_TYPE_OPTIONAL: return "an optional value";
    case ONNX_TYPE_SPARSETENSOR: return "a sparse tensor";
    default: return "of a type of its own";
  }
}

static OrtStatus *read_shape(rh_engine *engine, const OrtTensorTypeAndShapeInfo *tensor, rh_graph_port *port,
                             const char **odd) {
  const OrtApi *api = engine->library->api;
  const char *words[RH_TENSOR_RANK_MAX] = {NULL};
  size_t rank = 0;
  OrtStatus *status = api->GetDimensionsCount(tensor, &rank);
  if (status) return status;
  if (rank > RH_TENSOR_RANK_MAX) {
    *odd = "a tensor of too many dimensions";
    return NULL;
  }
  port->rank = rank;
  status = api->GetDimensions(tensor, port->shape, rank);
  if (!status) status = api->GetSymbolicDimensions(tensor, words, rank);
  for (size_t i = 0; !status && i < rank; i++) {
    if (port->shape[i] < 0) port->shape[i] = -1;
    if (words[i] && words[i][0]) port->dimension[i] = rh_arena_strdup(engine->arena, words[i]);
  }
  return status;
}

static OrtStatus *read_type(rh_engine *engine, const OrtTypeInfo *info, rh_graph_port *port, const char **odd) {
  const OrtApi *api = engine->library->api;
  ONNXType kind = ONNX_TYPE_UNKNOWN;
  OrtStatus *status = api->GetOnnxTypeFromTypeInfo(info, &kind);
  if (status) return status;
  if (kind != ONNX_TYPE_TENSOR) {
    *odd = kind_word(kind);
    return NULL;
  }
  const OrtTensorTypeAndShapeInfo *tensor = NULL;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  status = api->CastTypeInfoToTensorInfo(info, &tensor);
  if (!status) status = api->GetTensorElementType(tensor, &type);
  if (!status) status = read_shape(engine, tensor, port, odd);
  port->type = rh_ort_dtype(type);
  if (port->type == RH_DTYPE_NONE && !*odd) {
    *odd = rh_arena_printf(engine->arena, "a tensor of %s", rh_ort_foreign_type(type));
  }
  if (*odd) port->type = RH_DTYPE_NONE;
  return status;
}

static rh_status read_port(rh_engine *engine, const side *from, size_t index, rh_graph_port *port, const char **odd,
                           rh_error *error) {
  const OrtApi *api = engine->library->api;
  char *name = NULL;
  OrtTypeInfo *info = NULL;
  OrtStatus *status = from->name(engine->session, index, engine->library->allocator, &name);
  if (!status) status = from->type(engine->session, index, &info);
  if (!status) status = read_type(engine, info, port, odd);
  if (name) {
    port->name = rh_arena_strdup(engine->arena, name);
    engine->library->allocator->Free(engine->library->allocator, name);
  }
  if (info) api->ReleaseTypeInfo(info);
  if (status) return rh_ort_fail(status, RH_LOAD_FAILED, error, engine->name);
  return port->name ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the inputs of %s", engine->name);
}

static rh_status read_side(rh_engine *engine, const side *from, const rh_graph_port **ports, size_t *count,
                           const char ***odd, rh_error *error) {
  OrtStatus *status = from->count(engine->session, count);
  if (status) return rh_ort_fail(status, RH_LOAD_FAILED, error, engine->name);
  if (*count > PORTS_MAX) {
    return rh_fail(error, RH_UNSUPPORTED, "%s has %zu %s; at most %d are served", engine->name, *count, from->what,
                   PORTS_MAX);
  }
  rh_graph_port *all = rh_arena_alloc_array(engine->arena, *count + 1, sizeof *all);
  *odd = rh_arena_alloc_array(engine->arena, *count + 1, sizeof **odd);
  if (!all || !*odd) return rh_fail(error, RH_NO_MEMORY, "no memory for the %s of %s", from->what, engine->name);
  *ports = all;
  rh_status result = RH_OK;
  for (size_t i = 0; result == RH_OK && i < *count; i++) {
    result = read_port(engine, from, i, &all[i], &(*odd)[i], error);
  }
  return result;
}

rh_status rh_ort_graph_read(rh_engine *engine, rh_error *error) {
  const OrtApi *api = engine->library->api;
  const side in = {api->SessionGetInputCount, api->SessionGetInputName, api->SessionGetInputTypeInfo, "inputs"};
  const side out = {api->SessionGetOutputCount, api->SessionGetOutputName, api->SessionGetOutputTypeInfo, "outputs"};
  rh_graph *graph = &engine->graph;
  rh_status status = read_side(engine, &in, &graph->inputs, &graph->input_count, &engine->not_tensor_in, error);
  if (status == RH_OK) {
    status = read_side(engine, &out, &graph->outputs, &graph->output_count, &engine->not_tensor_out, error);
  }
  return status;
}

// --- for messages ---------------------------------------------------------------------------------------------------

void rh_ort_port_text(const rh_graph_port *port, char *out, size_t size) {
  size_t used = 0;
  int wrote = snprintf(out, size, "%s %s[", port->name, rh_dtype_name(port->type));
  for (size_t i = 0; i <= port->rank && wrote > 0; i++) {
    used += (size_t)wrote;
    if (used >= size) return;
    const char *comma = i > 0 && i < port->rank ? "," : "";
    if (i == port->rank) {
      wrote = snprintf(out + used, size - used, "]");
    } else if (port->shape[i] >= 0) {
      wrote = snprintf(out + used, size - used, "%s%lld", comma, (long long)port->shape[i]);
    } else {
      wrote = snprintf(out + used, size - used, "%s%s", comma, port->dimension[i] ? port->dimension[i] : "?");
    }
  }
}

void rh_ort_graph_inputs_text(const rh_engine *engine, char *out, size_t size) {
  size_t used = 0;
  out[0] = '\0';
  for (size_t i = 0; i < engine->graph.input_count && used + 4 < size; i++) {
    if (i > 0) used += (size_t)snprintf(out + used, size - used, ", ");
    if (engine->not_tensor_in[i]) {
      (void)snprintf(out + used, size - used, "%s %s", engine->graph.inputs[i].name, engine->not_tensor_in[i]);
    } else {
      rh_ort_port_text(&engine->graph.inputs[i], out + used, size - used);
    }
    used += strlen(out + used);
  }
  if (used == 0) (void)rh_text_copy(out, size, "no inputs");
}
