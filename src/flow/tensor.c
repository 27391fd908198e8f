// SPDX-License-Identifier: Apache-2.0
//
// Element types and shapes of tensors. Constant tables and arithmetic that cannot overflow; any thread.
#include "flow/tensor.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"

#define ELEMENTS_MAX (INT64_C(1) << 40)

static const struct {
  const char *name, *other;
  size_t bytes;
} types[RH_DTYPE_COUNT] = {
    [RH_DTYPE_NONE] = {"none", NULL, 0},       [RH_DTYPE_F32] = {"float32", "float", 4},
    [RH_DTYPE_F64] = {"float64", "double", 8}, [RH_DTYPE_F16] = {"float16", "half", 2},
    [RH_DTYPE_BF16] = {"bfloat16", "bf16", 2}, [RH_DTYPE_I8] = {"int8", "i8", 1},
    [RH_DTYPE_U8] = {"uint8", "u8", 1},        [RH_DTYPE_I16] = {"int16", "i16", 2},
    [RH_DTYPE_U16] = {"uint16", "u16", 2},     [RH_DTYPE_I32] = {"int32", "i32", 4},
    [RH_DTYPE_U32] = {"uint32", "u32", 4},     [RH_DTYPE_I64] = {"int64", "i64", 8},
    [RH_DTYPE_U64] = {"uint64", "u64", 8},     [RH_DTYPE_BOOL] = {"bool", "boolean", 1},
    [RH_DTYPE_STRING] = {"string", "text", 0},
};

size_t rh_dtype_bytes(rh_dtype type) { return types[type].bytes; }
const char *rh_dtype_name(rh_dtype type) { return types[type].name; }

rh_dtype rh_dtype_from_name(const char *name) {
  for (int type = RH_DTYPE_NONE + 1; name != NULL && type < RH_DTYPE_COUNT; type++) {
    if (strcmp(name, types[type].name) == 0 || strcmp(name, types[type].other) == 0) return (rh_dtype)type;
  }
  if (name != NULL && strcmp(name, "f32") == 0) return RH_DTYPE_F32;
  if (name != NULL && strcmp(name, "f64") == 0) return RH_DTYPE_F64;
  return name != NULL && strcmp(name, "f16") == 0 ? RH_DTYPE_F16 : RH_DTYPE_NONE;
}

int64_t rh_tensor_elements(const rh_tensor *tensor) {
  int64_t count = 1;
  bool empty = false;
  for (size_t i = 0; i < tensor->rank; i++) {
    int64_t size = tensor->shape[i];
    if (size < 0 || size > ELEMENTS_MAX) return -1;
    empty = empty || size == 0;
    if (size > 0 && count > ELEMENTS_MAX / size) return -1;
    if (size > 0) count *= size;
  }
  return empty ? 0 : count;
}

static rh_status check_strings(const rh_tensor *tensor, int64_t elements, rh_error *error) {
  const uint8_t *at = tensor->data;
  size_t left = tensor->bytes;
  for (int64_t i = 0; i < elements; i++) {
    uint32_t length = 0;
    if (left >= 4) memcpy(&length, at, 4);
    if (left < 4 || length > left - 4) {
      return rh_fail_param(error, RH_INVALID, tensor->name,
                           "the tensor \"%.64s\" has fewer strings than its shape says", tensor->name);
    }
    if (!rh_utf8_valid((const char *)at + 4, length)) {
      return rh_fail_param(error, RH_INVALID, tensor->name, "a string of the tensor \"%.64s\" is not UTF-8",
                           tensor->name);
    }
    at += 4 + length;
    left -= 4 + length;
  }
  if (left == 0) return RH_OK;
  return rh_fail_param(error, RH_INVALID, tensor->name, "the tensor \"%.64s\" has more strings than its shape says",
                       tensor->name);
}

rh_status rh_tensor_check(const rh_tensor *tensor, rh_error *error) {
  int64_t elements = tensor->rank <= RH_TENSOR_RANK_MAX ? rh_tensor_elements(tensor) : -1;
  if (tensor->type <= RH_DTYPE_NONE || tensor->type >= RH_DTYPE_COUNT || elements < 0) {
    return rh_fail_param(error, RH_INVALID, tensor->name, "the tensor \"%.64s\" has no possible type or shape",
                         tensor->name);
  }
  if (tensor->type == RH_DTYPE_STRING) return check_strings(tensor, elements, error);
  uint64_t needed = (uint64_t)elements * rh_dtype_bytes(tensor->type);
  if (needed == tensor->bytes) return RH_OK;
  return rh_fail_param(error, RH_INVALID, tensor->name,
                       "the tensor \"%.64s\" has %zu bytes; %lld elements of %s are %llu bytes", tensor->name,
                       tensor->bytes, (long long)elements, rh_dtype_name(tensor->type), (unsigned long long)needed);
}

static float from_half(uint16_t half) {
  uint32_t exponent = (half >> 10) & 31, fraction = half & 1023;
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  // Below 2^-14 the numbers are whole multiples of 2^-24.
  if (exponent == 0) return (sign != 0 ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
  uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float from_bfloat(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void rh_tensor_floats(rh_dtype type, const void *data, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) {
    switch (type) {
      case RH_DTYPE_F32: out[i] = ((const float *)data)[i]; break;
      case RH_DTYPE_F64: out[i] = (float)((const double *)data)[i]; break;
      case RH_DTYPE_F16: out[i] = from_half(((const uint16_t *)data)[i]); break;
      case RH_DTYPE_BF16: out[i] = from_bfloat(((const uint16_t *)data)[i]); break;
      default: assert(false && "a type without a fraction");
    }
  }
}
