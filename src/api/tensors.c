// SPDX-License-Identifier: Apache-2.0
//
// Tensors of a body: {"dtype", "shape", "data"}, where the data is numbers, nested as the shape or flat, or base64 of the
// bytes (little endian). JSON has no words for what is not finite, so "NaN", "Infinity" and "-Infinity" are taken as
// strings. Everything lives in the request's arena. Pure, any thread.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/base64.h"
#include "api/half.h"
#include "api/infer.h"

typedef struct filling {
  rh_decoding *decoding;
  rh_tensor *tensor;
  const char *path;
  char *at;  // where the next element goes
} filling;

bool rh_infer_looks_like_tensors(const json_t *value) {
  const char *key;
  json_t *member;
  // jansson's iterators take a plain pointer, though they change nothing.
  json_object_foreach((json_t *)(uintptr_t)value, key, member) {
    (void)key;
    return json_is_object(member) && json_object_get(member, "data") != NULL;
  }
  return false;
}

static rh_status wrong(const filling *fill, const char *what) {
  return rh_fail_param(fill->decoding->error, RH_INVALID, fill->path, "the tensor \"%.64s\" %s", fill->tensor->name,
                       what);
}

// --- one element ---------------------------------------------------------------------------------------------------

static bool read_number(const json_t *value, double *out) {
  const char *word = json_string_value(value);
  *out = json_number_value(value);
  if (word == NULL) return json_is_number(value);
  if (strcmp(word, "NaN") == 0)
    *out = (double)NAN;
  else if (strcmp(word, "Infinity") == 0 || strcmp(word, "-Infinity") == 0)
    *out = word[0] == '-' ? -(double)INFINITY : (double)INFINITY;
  else
    return false;
  return true;
}

static bool put_real(rh_dtype type, const json_t *value, char *at) {
  double number = 0;
  if (!read_number(value, &number)) return false;
  float single = 0;
  uint16_t half = 0;
  switch (type) {
    case RH_DTYPE_F64: memcpy(at, &number, sizeof number); return true;
    case RH_DTYPE_F16: half = rh_half_from_number(number); break;
    case RH_DTYPE_BF16: half = rh_bfloat_from_number(number); break;
    default:
      if (isfinite(number) && fabs(number) > (double)FLT_MAX) return false;
      single = (float)number;
      memcpy(at, &single, sizeof single);
      return true;
  }
  memcpy(at, &half, sizeof half);
  return true;
}

static bool put_whole(rh_dtype type, const json_t *value, char *at) {
  static const struct {
    int64_t min, max;
  } ranges[RH_DTYPE_COUNT] = {
      [RH_DTYPE_I8] = {INT8_MIN, INT8_MAX},
      [RH_DTYPE_U8] = {0, UINT8_MAX},
      [RH_DTYPE_I16] = {INT16_MIN, INT16_MAX},
      [RH_DTYPE_U16] = {0, UINT16_MAX},
      [RH_DTYPE_I32] = {INT32_MIN, INT32_MAX},
      [RH_DTYPE_U32] = {0, UINT32_MAX},
      [RH_DTYPE_I64] = {INT64_MIN, INT64_MAX},
      [RH_DTYPE_U64] = {0, INT64_MAX},
      [RH_DTYPE_BOOL] = {0, 1},
  };
  int64_t whole = json_is_true(value) ? 1 : json_integer_value(value);
  bool right = json_is_integer(value) || (type == RH_DTYPE_BOOL && json_is_boolean(value));
  if (!right || whole < ranges[type].min || whole > ranges[type].max) return false;
  // Little endian: the low bytes stand first, whatever the width.
  memcpy(at, &whole, rh_dtype_bytes(type));
  return true;
}

static rh_status put_element(filling *fill, const json_t *value) {
  rh_dtype type = fill->tensor->type;
  bool real = type == RH_DTYPE_F32 || type == RH_DTYPE_F64 || type == RH_DTYPE_F16 || type == RH_DTYPE_BF16;
  bool done = false;
  if (type == RH_DTYPE_STRING) {
    uint32_t length = (uint32_t)json_string_length(value);
    done = json_is_string(value);
    if (done) {
      memcpy(fill->at, &length, sizeof length);
      memcpy(fill->at + sizeof length, json_string_value(value), length);
      fill->at += sizeof length + length;
    }
  } else {
    done = real ? put_real(type, value, fill->at) : put_whole(type, value, fill->at);
    fill->at += rh_dtype_bytes(type);
  }
  if (done) return RH_OK;
  char what[96];
  (void)snprintf(what, sizeof what, "holds something that is no %s: %s", rh_dtype_name(type), rh_json_type_name(value));
  return wrong(fill, what);
}

// --- nesting -------------------------------------------------------------------------------------------------------

// All leaves, in order. `depth` is that of `value`; where `nested`, each list is as long as the shape says.
static rh_status put_list(filling *fill, const json_t *value, size_t depth, bool nested) {
  if (!json_is_array(value)) {
    if (nested && depth != fill->tensor->rank) return wrong(fill, "has data that is not nested as its shape says");
    return put_element(fill, value);
  }
  if (nested ? depth >= fill->tensor->rank : depth > 0) {
    return wrong(fill, "has data that is nested more deeply than its shape says");
  }
  size_t count = json_array_size(value);
  if (nested && (int64_t)count != fill->tensor->shape[depth]) {
    return wrong(fill, "has data that is not nested as its shape says");
  }
  for (size_t i = 0; i < count; i++) {
    rh_status status = put_list(fill, json_array_get(value, i), depth + 1, nested);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// The shape that the first of everything has; put_list finds out whether the others agree.
static rh_status shape_of(const filling *fill, const json_t *data) {
  rh_tensor *tensor = fill->tensor;
  tensor->rank = 0;
  for (; json_is_array(data); data = json_array_get(data, 0)) {
    if (tensor->rank == RH_TENSOR_RANK_MAX) return wrong(fill, "has more than 16 dimensions");
    tensor->shape[tensor->rank++] = (int64_t)json_array_size(data);
  }
  return RH_OK;
}

// Counted before anything is taken: a shape alone may promise very much.
static size_t count_leaves(const json_t *value) {
  if (!json_is_array(value)) return 1;
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(value); i++) count += count_leaves(json_array_get(value, i));
  return count;
}

// Bytes that the strings of `value` take; what is no string is refused later.
static size_t string_bytes(const json_t *value) {
  if (!json_is_array(value)) return sizeof(uint32_t) + json_string_length(value);
  size_t bytes = 0;
  for (size_t i = 0; i < json_array_size(value); i++) bytes += string_bytes(json_array_get(value, i));
  return bytes;
}

static rh_status read_json_data(filling *fill, const json_t *data, bool has_shape) {
  rh_tensor *tensor = fill->tensor;
  rh_status status = has_shape ? RH_OK : shape_of(fill, data);
  if (status != RH_OK) return status;
  int64_t elements = rh_tensor_elements(tensor);
  size_t leaves = count_leaves(data);
  if (elements < 0) return wrong(fill, "has an impossible shape");
  if ((uint64_t)elements != leaves) {
    char what[96];
    (void)snprintf(what, sizeof what, "has %zu elements in its data, and by its shape %lld", leaves,
                   (long long)elements);
    return wrong(fill, what);
  }
  bool flat = json_is_array(data) && !json_is_array(json_array_get(data, 0));
  bool nested = !flat || tensor->rank == 1;
  tensor->bytes = tensor->type == RH_DTYPE_STRING ? string_bytes(data) : leaves * rh_dtype_bytes(tensor->type);
  fill->at = rh_api_alloc_array(fill->decoding, tensor->bytes + 1, 1);
  tensor->data = fill->at;
  return fill->at == NULL ? RH_TOO_LARGE : put_list(fill, data, 0, nested);
}

static rh_status read_base64_data(filling *fill, const json_t *data, bool has_shape) {
  rh_tensor *tensor = fill->tensor;
  size_t length = json_string_length(data);
  unsigned char *bytes = rh_api_alloc_array(fill->decoding, rh_base64_room(length), 1);
  if (bytes == NULL) return RH_TOO_LARGE;
  if (!rh_base64_decode(json_string_value(data), length, bytes, &tensor->bytes)) {
    return wrong(fill, "has data that is not base64");
  }
  tensor->data = bytes;
  size_t each = rh_dtype_bytes(tensor->type);
  if (!has_shape) {
    tensor->rank = 1;
    tensor->shape[0] = (int64_t)(tensor->bytes / each);
  }
  return RH_OK;
}

// --- a tensor ------------------------------------------------------------------------------------------------------

static rh_status read_shape(const filling *fill, const json_t *list) {
  rh_tensor *tensor = fill->tensor;
  tensor->rank = json_array_size(list);
  if (!json_is_array(list) || tensor->rank > RH_TENSOR_RANK_MAX) {
    return wrong(fill, "must have a \"shape\" of at most 16 whole numbers");
  }
  for (size_t i = 0; i < tensor->rank; i++) {
    const json_t *size = json_array_get(list, i);
    tensor->shape[i] = json_integer_value(size);
    if (!json_is_integer(size) || tensor->shape[i] < 0) {
      return wrong(fill, "must have a \"shape\" of whole numbers that are not negative");
    }
  }
  return RH_OK;
}

static rh_status check_members(const filling *fill, const json_t *value) {
  const char *key;
  json_t *member;
  if (!json_is_object(value)) return wrong(fill, "must be an object with \"dtype\", \"shape\" and \"data\"");
  json_object_foreach((json_t *)(uintptr_t)value, key, member) {
    (void)member;
    if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 && strcmp(key, "data") != 0) {
      return wrong(fill, "has a field besides \"dtype\", \"shape\" and \"data\"");
    }
  }
  return RH_OK;
}

static rh_status read_tensor(filling *fill, const json_t *value) {
  rh_status status = check_members(fill, value);
  if (status != RH_OK) return status;
  const json_t *shape = json_object_get(value, "shape");
  const json_t *data = json_object_get(value, "data");
  const char *dtype = json_string_value(json_object_get(value, "dtype"));
  bool has_shape = shape != NULL && !json_is_null(shape);
  fill->tensor->type = rh_dtype_from_name(dtype);
  if (fill->tensor->type == RH_DTYPE_NONE) {
    return wrong(fill, "must have a \"dtype\" such as \"float32\", \"int64\", \"bool\" or \"string\"");
  }
  if (data == NULL || json_is_null(data)) return wrong(fill, "has no \"data\"");
  if (has_shape) status = read_shape(fill, shape);
  if (status != RH_OK) return status;
  bool base64 = json_is_string(data) && fill->tensor->type != RH_DTYPE_STRING;
  status = base64 ? read_base64_data(fill, data, has_shape) : read_json_data(fill, data, has_shape);
  return status == RH_OK ? rh_tensor_check(fill->tensor, fill->decoding->error) : status;
}

rh_status rh_infer_read_tensors(rh_decoding *decoding, const json_t *value, const char *path) {
  size_t count = json_object_size(value);
  if (!json_is_object(value) || count == 0 || count > RH_TENSORS_MAX) {
    return rh_fail_param(decoding->error, RH_INVALID, path,
                         "\"%s\" must be an object of 1 to %d tensors by name: {\"x\": {\"dtype\": \"float32\", "
                         "\"shape\": [1, 2], \"data\": [[0.5, 1]]}}",
                         path, RH_TENSORS_MAX);
  }
  rh_tensor *tensors = rh_api_alloc_array(decoding, count, sizeof *tensors);
  if (tensors == NULL) return RH_TOO_LARGE;
  decoding->infer->tensors = tensors;
  const char *key;
  json_t *member;
  json_object_foreach((json_t *)(uintptr_t)value, key, member) {
    rh_tensor *tensor = &tensors[decoding->infer->tensor_count++];
    filling fill = {.decoding = decoding, .tensor = tensor, .path = path};
    rh_status status = rh_api_copy_string(decoding, key, &tensor->name);
    if (status == RH_OK) status = read_tensor(&fill, member);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}
