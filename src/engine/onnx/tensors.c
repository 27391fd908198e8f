// SPDX-License-Identifier: Apache-2.0
//
// Purpose: tensors of ours as values of ONNX Runtime's and back, without copying where that is safe.
// Data owned: none; copies lie in the engine's scratch arena until the next run.
// Threads: the engine thread.
// Not here: whether a tensor is what the graph takes (run.c).
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/onnx/internal.h"

static const ONNXTensorElementDataType types[RH_DTYPE_COUNT] = {
    [RH_DTYPE_NONE] = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, [RH_DTYPE_F32] = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    [RH_DTYPE_F64] = ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,     [RH_DTYPE_F16] = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    [RH_DTYPE_BF16] = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,  [RH_DTYPE_I8] = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    [RH_DTYPE_U8] = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,       [RH_DTYPE_I16] = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    [RH_DTYPE_U16] = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,     [RH_DTYPE_I32] = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
    [RH_DTYPE_U32] = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,     [RH_DTYPE_I64] = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    [RH_DTYPE_U64] = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,     [RH_DTYPE_BOOL] = ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
    [RH_DTYPE_STRING] = ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
};

rh_dtype rh_ort_dtype(ONNXTensorElementDataType type) {
  for (int i = RH_DTYPE_NONE + 1; i < RH_DTYPE_COUNT; i++) {
    if (types[i] == type) return (rh_dtype)i;
  }
  return RH_DTYPE_NONE;
}

ONNXTensorElementDataType rh_ort_element(rh_dtype type) { return types[type]; }

const char *rh_ort_foreign_type(ONNXTensorElementDataType type) {
  switch ((int)type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64: return "complex64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128: return "complex128";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN: return "float8e4m3fn";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ: return "float8e4m3fnuz";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2: return "float8e5m2";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ: return "float8e5m2fnuz";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4: return "uint4";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4: return "int4";
    default: return "an unknown type";
  }
}

static rh_status no_memory(const rh_tensor *tensor, rh_error *error) {
  return rh_fail_param(error, RH_NO_MEMORY, tensor->name, "no memory for the tensor \"%.64s\"", tensor->name);
}

// --- in -------------------------------------------------------------------------------------------------------------

static rh_status fill_strings(rh_engine *engine, const rh_tensor *tensor, size_t elements, OrtValue *value,
                              rh_error *error) {
  const OrtApi *api = engine->library->api;
  const char *at = tensor->data;
  for (size_t i = 0; i < elements; i++) {
    uint32_t length;
    char *room = NULL;
    memcpy(&length, at, sizeof length);
    OrtStatus *status = api->GetResizedStringTensorElementBuffer(value, i, length, &room);
    if (status) return rh_ort_fail(status, RH_INVALID, error, tensor->name);
    if (length > 0) memcpy(room, at + sizeof length, length);
    at += sizeof length + length;
  }
  return RH_OK;
}

static rh_status make_strings(rh_engine *engine, const rh_tensor *tensor, OrtValue **out, rh_error *error) {
  const OrtApi *api = engine->library->api;
  OrtStatus *status = api->CreateTensorAsOrtValue(engine->library->allocator, tensor->shape, tensor->rank,
                                                  ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, out);
  if (status) return rh_ort_fail(status, RH_INVALID, error, tensor->name);
  return fill_strings(engine, tensor, (size_t)rh_tensor_elements(tensor), *out, error);
}

static rh_status check_bools(const rh_tensor *tensor, rh_error *error) {
  const uint8_t *bytes = tensor->data;
  for (size_t i = 0; i < tensor->bytes; i++) {
    if (bytes[i] <= 1) continue;
    return rh_fail_param(error, RH_INVALID, tensor->name,
                         "the tensor \"%.64s\" is of bool, but element %zu is %u; it must be 0 or 1", tensor->name, i,
                         bytes[i]);
  }
  return RH_OK;
}

rh_status rh_ort_value_make(rh_engine *engine, const rh_tensor *tensor, OrtValue **out, rh_error *error) {
  static char nothing[16];  // an empty tensor has no bytes, but the call wants an address
  rh_status result = rh_tensor_check(tensor, error);
  if (result == RH_OK && tensor->type == RH_DTYPE_BOOL) result = check_bools(tensor, error);
  if (result != RH_OK) return result;
  if (tensor->type == RH_DTYPE_STRING) return make_strings(engine, tensor, out, error);
  void *data = tensor->bytes > 0 ? (void *)(uintptr_t)tensor->data : nothing;
  // Bytes that came over a wire may begin anywhere; kernels count on whole addresses.
  if ((uintptr_t)data % rh_dtype_bytes(tensor->type) != 0) {
    void *copy = rh_arena_alloc(engine->scratch, tensor->bytes);
    if (!copy) return no_memory(tensor, error);
    data = memcpy(copy, data, tensor->bytes);
  }
  OrtStatus *status = engine->library->api->CreateTensorWithDataAsOrtValue(
      engine->library->cpu, data, tensor->bytes, tensor->shape, tensor->rank, types[tensor->type], out);
  return status ? rh_ort_fail(status, RH_INVALID, error, tensor->name) : RH_OK;
}

// --- out ------------------------------------------------------------------------------------------------------------

static rh_status read_strings(rh_engine *engine, OrtValue *value, size_t elements, rh_tensor *out, rh_error *error) {
  const OrtApi *api = engine->library->api;
  size_t length = 0;
  OrtStatus *status = api->GetStringTensorDataLength(value, &length);
  if (status) return rh_ort_fail(status, RH_INVALID, error, out->name);
  size_t *offsets = rh_arena_alloc_array(engine->scratch, elements + 1, sizeof *offsets);
  char *text = rh_arena_alloc(engine->scratch, length + 1);
  char *packed = rh_arena_alloc(engine->scratch, length + elements * sizeof(uint32_t) + 1);
  if (!offsets || !text || !packed) return no_memory(out, error);
  status = elements > 0 ? api->GetStringTensorContent(value, text, length, offsets, elements) : NULL;
  if (status) return rh_ort_fail(status, RH_INVALID, error, out->name);
  char *to = packed;
  for (size_t i = 0; i < elements; i++) {
    size_t end = i + 1 < elements ? offsets[i + 1] : length;
    uint32_t bytes = (uint32_t)(end - offsets[i]);
    memcpy(to, &bytes, sizeof bytes);
    memcpy(to + sizeof bytes, text + offsets[i], bytes);
    to += sizeof bytes + bytes;
  }
  out->data = packed;
  out->bytes = (size_t)(to - packed);
  return RH_OK;
}

static OrtStatus *read_shape(const OrtApi *api, OrtValue *value, rh_tensor *out, ONNXTensorElementDataType *type) {
  OrtTensorTypeAndShapeInfo *info = NULL;
  OrtStatus *status = api->GetTensorTypeAndShape(value, &info);
  if (!status) status = api->GetTensorElementType(info, type);
  if (!status) status = api->GetDimensionsCount(info, &out->rank);
  if (!status && out->rank <= RH_TENSOR_RANK_MAX) status = api->GetDimensions(info, out->shape, out->rank);
  if (info) api->ReleaseTensorTypeAndShapeInfo(info);
  return status;
}

rh_status rh_ort_value_shape(rh_engine *engine, const char *name, OrtValue *value, rh_tensor *out, rh_error *error) {
  const OrtApi *api = engine->library->api;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  *out = (rh_tensor){.name = name};
  OrtStatus *status = read_shape(api, value, out, &type);
  if (status) return rh_ort_fail(status, RH_INVALID, error, name);
  out->type = rh_ort_dtype(type);
  if (out->type == RH_DTYPE_NONE || out->rank > RH_TENSOR_RANK_MAX) {
    return rh_fail(error, RH_UNSUPPORTED, "the output \"%.64s\" is a tensor of %s with %zu dimensions", name,
                   rh_ort_foreign_type(type), out->rank);
  }
  return RH_OK;
}

rh_status rh_ort_value_read(rh_engine *engine, const char *name, OrtValue *value, rh_tensor *out, rh_error *error) {
  rh_status result = rh_ort_value_shape(engine, name, value, out, error);
  if (result != RH_OK) return result;
  int64_t elements = rh_tensor_elements(out);
  if (elements < 0) return rh_fail(error, RH_TOO_LARGE, "the output \"%.64s\" is too large", name);
  if (out->type == RH_DTYPE_STRING) return read_strings(engine, value, (size_t)elements, out, error);
  void *data = NULL;
  OrtStatus *status = engine->library->api->GetTensorMutableData(value, &data);
  if (status) return rh_ort_fail(status, RH_INVALID, error, name);
  out->data = data ? data : "";  // an empty tensor has no bytes; who copies it wants an address
  out->bytes = (size_t)elements * rh_dtype_bytes(out->type);
  return RH_OK;
}
