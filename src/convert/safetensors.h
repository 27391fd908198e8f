// SPDX-License-Identifier: Apache-2.0
//
// The header of a safetensors file as a pure function over bytes, and the file itself mapped read-only.
// Format: 8 bytes with the header's length (little-endian), a JSON object {"name": {"dtype", "shape", "data_offsets"}},
// then the tensors' bytes; offsets count from the end of the header.
#ifndef RH_CONVERT_SAFETENSORS_H
#define RH_CONVERT_SAFETENSORS_H

#include <stdint.h>

#include "base/status.h"

#define RH_SAFETENSORS_HEADER_MAX ((uint64_t)100 << 20)  // the format's own limit
#define RH_SAFETENSORS_TENSORS_MAX 1000000
#define RH_SAFETENSORS_DIMS_MAX 8

typedef enum rh_dtype { RH_DTYPE_F32, RH_DTYPE_F16, RH_DTYPE_BF16, RH_DTYPE_OTHER } rh_dtype;

typedef struct rh_safetensor {
  char *name;
  rh_dtype dtype;
  char dtype_name[12];  // as the file says it
  unsigned dims;
  int64_t shape[RH_SAFETENSORS_DIMS_MAX];  // row-major, the fastest dimension last
  int64_t elements;
  uint64_t offset, bytes;  // within the file
} rh_safetensor;

typedef struct rh_safetensors {
  rh_safetensor *tensors;
  size_t count;
  const uint8_t *map;  // the whole file; NULL after a mere parse
  uint64_t map_bytes;
} rh_safetensors;

// Read the header at `bytes`; the file has `length` bytes, all of them readable. On success every tensor lies within the
// file and has as many bytes as its shape and type need. RH_INVALID with what is wrong otherwise; *out is empty then.
rh_status rh_safetensors_parse(const void *bytes, uint64_t length, rh_safetensors *out, rh_error *error) RH_MUST_CHECK;

// Map the file and parse it.
rh_status rh_safetensors_open(const char *path, rh_safetensors *out, rh_error *error) RH_MUST_CHECK;
void rh_safetensors_close(rh_safetensors *self);  // also after a mere parse, or a failure

// Tell the kernel that these bytes of a tensor are not needed any more.
void rh_safetensors_forget(const rh_safetensors *self, const rh_safetensor *tensor, uint64_t first, uint64_t bytes);

#endif
