// SPDX-License-Identifier: Apache-2.0
//
// Tensors of an answer: the same {"dtype", "shape", "data"} that bodies have. Numbers are nested as the shape; strings are
// always written as such. Writers only; they keep nothing.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "api/base64.h"
#include "api/half.h"
#include "api/infer.h"

static void put_double(rh_dynbuf *out, double value) {
  char text[40];
  if (!isfinite(value)) {
    rh_put_float(out, (float)value);
    return;
  }
  rh_text_format_number(text, sizeof text, value);
  rh_put(out, text);
}

static void put_whole(rh_dynbuf *out, const rh_tensor *tensor, const char *at) {
  // The widths in one place: bytes into the low end of a word, then the sign where there is one.
  uint64_t bits = 0;
  size_t bytes = rh_dtype_bytes(tensor->type);
  memcpy(&bits, at, bytes);
  bool is_signed = tensor->type == RH_DTYPE_I8 || tensor->type == RH_DTYPE_I16 || tensor->type == RH_DTYPE_I32 ||
                   tensor->type == RH_DTYPE_I64;
  uint64_t top = UINT64_C(1) << (8 * bytes - 1);
  if (is_signed)
    rh_put_int(out, (int64_t)((bits ^ top) - top));
  else
    (void)rh_dynbuf_printf(out, "%" PRIu64, bits);
}

// One element at `at`; gives where the next one is.
static const char *put_element(rh_dynbuf *out, const rh_tensor *tensor, const char *at) {
  float single;
  double number;
  uint16_t half;
  uint32_t length;
  switch (tensor->type) {
    case RH_DTYPE_F32:
      memcpy(&single, at, sizeof single);
      rh_put_float(out, single);
      break;
    case RH_DTYPE_F64:
      memcpy(&number, at, sizeof number);
      put_double(out, number);
      break;
    case RH_DTYPE_F16:
    case RH_DTYPE_BF16:
      memcpy(&half, at, sizeof half);
      rh_put_float(out, (float)(tensor->type == RH_DTYPE_F16 ? rh_half_to_number(half) : rh_bfloat_to_number(half)));
      break;
    case RH_DTYPE_BOOL: rh_put(out, *at != 0 ? "true" : "false"); break;
    case RH_DTYPE_STRING:
      memcpy(&length, at, sizeof length);
      (void)rh_json_append_string(out, at + sizeof length, length);
      return at + sizeof length + length;
    default: put_whole(out, tensor, at); break;
  }
  return at + rh_dtype_bytes(tensor->type);
}

static const char *put_nested(rh_dynbuf *out, const rh_tensor *tensor, size_t depth, const char *at) {
  if (depth == tensor->rank) return put_element(out, tensor, at);
  rh_put(out, "[");
  // What does not fit any more need not be computed either.
  for (int64_t i = 0; i < tensor->shape[depth] && !out->failed; i++) {
    if (i > 0) rh_put(out, ",");
    at = put_nested(out, tensor, depth + 1, at);
  }
  rh_put(out, "]");
  return at;
}

static void put_tensor(rh_dynbuf *out, const rh_tensor *tensor, bool base64) {
  rh_put(out, "{\"dtype\":");
  rh_put_string(out, rh_dtype_name(tensor->type));
  rh_put(out, ",\"shape\":[");
  for (size_t i = 0; i < tensor->rank; i++) {
    if (i > 0) rh_put(out, ",");
    rh_put_int(out, tensor->shape[i]);
  }
  rh_put(out, "],\"data\":");
  if (base64 && tensor->type != RH_DTYPE_STRING)
    rh_put_base64(out, tensor->data, tensor->bytes);
  else
    (void)put_nested(out, tensor, 0, tensor->data);
  rh_put(out, "}");
}

void rh_put_tensor_map(rh_dynbuf *out, const rh_result *result, bool base64) {
  rh_put(out, "{");
  for (size_t i = 0; i < result->count; i++) {
    if (i > 0) rh_put(out, ",");
    rh_put_string(out, result->tensors[i].name);
    rh_put(out, ":");
    put_tensor(out, &result->tensors[i], base64);
  }
  rh_put(out, "}");
}
