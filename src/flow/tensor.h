// SPDX-License-Identifier: Apache-2.0
//
// Named tensors, as they travel between clients, daemon, workers and engines: dense, row-major, little endian.
#ifndef RH_FLOW_TENSOR_H
#define RH_FLOW_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define RH_TENSOR_RANK_MAX 16
#define RH_TENSORS_MAX 256  // of one run, one way

typedef enum rh_dtype {
  RH_DTYPE_NONE,
  RH_DTYPE_F32,
  RH_DTYPE_F64,
  RH_DTYPE_F16,
  RH_DTYPE_BF16,
  RH_DTYPE_I8,
  RH_DTYPE_U8,
  RH_DTYPE_I16,
  RH_DTYPE_U16,
  RH_DTYPE_I32,
  RH_DTYPE_U32,
  RH_DTYPE_I64,
  RH_DTYPE_U64,
  RH_DTYPE_BOOL,    // one byte each, 0 or 1
  RH_DTYPE_STRING,  // data: for each element a u32 length and its UTF-8 bytes, one after another
  RH_DTYPE_COUNT
} rh_dtype;

// Whoever fills it owns what it points at; the comment at each use says for how long.
typedef struct rh_tensor {
  const char *name;
  rh_dtype type;
  int64_t shape[RH_TENSOR_RANK_MAX];
  size_t rank;  // 0 = a scalar
  const void *data;
  size_t bytes;
} rh_tensor;

size_t rh_dtype_bytes(rh_dtype type);           // of one element; 0 for strings
const char *rh_dtype_name(rh_dtype type);       // "float32", "int64", "string"
rh_dtype rh_dtype_from_name(const char *name);  // also "f32", "float"; RH_DTYPE_NONE when unknown

// Elements by its shape; -1 when a dimension is negative or the product is past 2^40.
int64_t rh_tensor_elements(const rh_tensor *tensor);
// Do shape, type and bytes agree? For strings every length is followed. The error names the tensor.
rh_status rh_tensor_check(const rh_tensor *tensor, rh_error *error) RH_MUST_CHECK;

// `count` numbers of a type with a fraction (F32, F64, F16, BF16) as floats.
void rh_tensor_floats(rh_dtype type, const void *data, size_t count, float *out);

#endif
