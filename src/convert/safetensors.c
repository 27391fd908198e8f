// SPDX-License-Identifier: Apache-2.0
//
// Purpose: find the tensors in a safetensors file, trusting nothing that the file says.
// Data owned: the table of tensors and the mapping. Threads: any, one owner.
// Not here: what the tensors mean, and their conversion.
#include "convert/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"

#define LENGTH_BYTES 8

static uint64_t read_u64(const uint8_t *bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < 8; i++) value |= (uint64_t)bytes[i] << (8 * i);
  return value;
}

// Bytes of one element, 0 for a type that has none of its own here (they are then not checked against the shape).
static uint64_t read_dtype(const char *name, rh_dtype *out) {
  static const struct {
    const char *name;
    rh_dtype dtype;
    unsigned bytes;
  } known[] = {
      {"F32", RH_DTYPE_F32, 4},    {"F16", RH_DTYPE_F16, 2},   {"BF16", RH_DTYPE_BF16, 2}, {"F64", RH_DTYPE_OTHER, 8},
      {"I64", RH_DTYPE_OTHER, 8},  {"I32", RH_DTYPE_OTHER, 4}, {"I16", RH_DTYPE_OTHER, 2}, {"I8", RH_DTYPE_OTHER, 1},
      {"U64", RH_DTYPE_OTHER, 8},  {"U32", RH_DTYPE_OTHER, 4}, {"U16", RH_DTYPE_OTHER, 2}, {"U8", RH_DTYPE_OTHER, 1},
      {"BOOL", RH_DTYPE_OTHER, 1},
  };
  *out = RH_DTYPE_OTHER;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(known[i].name, name) != 0) continue;
    *out = known[i].dtype;
    return known[i].bytes;
  }
  return 0;
}

static rh_status read_shape(const json_t *shape, rh_safetensor *out, rh_error *error) {
  if (!json_is_array(shape) || json_array_size(shape) > RH_SAFETENSORS_DIMS_MAX)
    return rh_fail(error, RH_INVALID, "tensor \"%.100s\": its shape is not an array of at most %d numbers", out->name,
                   RH_SAFETENSORS_DIMS_MAX);
  out->dims = (unsigned)json_array_size(shape);
  out->elements = 1;
  for (unsigned i = 0; i < out->dims; i++) {
    const json_t *value = json_array_get(shape, i);
    json_int_t size = json_integer_value(value);
    if (!json_is_integer(value) || size < 0 || __builtin_mul_overflow(out->elements, size, &out->elements))
      return rh_fail(error, RH_INVALID, "tensor \"%.100s\": its shape is not a list of sizes", out->name);
    out->shape[i] = size;
  }
  return RH_OK;
}

// `data_bytes`: what follows the header in the file.
static rh_status read_place(const json_t *place, uint64_t data_start, uint64_t data_bytes, rh_safetensor *out,
                            rh_error *error) {
  const json_t *first = json_array_get(place, 0), *second = json_array_get(place, 1);
  if (json_array_size(place) != 2 || !json_is_integer(first) || !json_is_integer(second))
    return rh_fail(error, RH_INVALID, "tensor \"%.100s\": data_offsets is not a pair of numbers", out->name);
  json_int_t begin = json_integer_value(first), end = json_integer_value(second);
  if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
    return rh_fail(error, RH_INVALID,
                   "tensor \"%.100s\" lies at bytes %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT
                   ", but the file has only %" PRIu64 " bytes of data; it was probably not fetched whole",
                   out->name, begin, end, data_bytes);
  out->offset = data_start + (uint64_t)begin;
  out->bytes = (uint64_t)(end - begin);
  return RH_OK;
}

static rh_status read_tensor(const char *name, const json_t *entry, uint64_t data_start, uint64_t data_bytes,
                             rh_safetensor *out, rh_error *error) {
  out->name = strdup(name);
  if (out->name == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the table of tensors");
  const char *dtype = json_string_value(json_object_get(entry, "dtype"));
  if (dtype == NULL) return rh_fail(error, RH_INVALID, "tensor \"%.100s\" has no dtype", name);
  (void)rh_text_copy(out->dtype_name, sizeof out->dtype_name, dtype);
  uint64_t each = read_dtype(dtype, &out->dtype);
  rh_status status = read_shape(json_object_get(entry, "shape"), out, error);
  if (status == RH_OK) status = read_place(json_object_get(entry, "data_offsets"), data_start, data_bytes, out, error);
  if (status != RH_OK || each == 0) return status;
  uint64_t wanted;
  if (__builtin_mul_overflow((uint64_t)out->elements, each, &wanted) || wanted != out->bytes)
    return rh_fail(error, RH_INVALID, "tensor \"%.100s\" has %" PRIu64 " bytes, which does not fit its shape and %s",
                   name, out->bytes, out->dtype_name);
  return RH_OK;
}

static rh_status read_table(json_t *header, uint64_t data_start, uint64_t data_bytes, rh_safetensors *out,
                            rh_error *error) {
  size_t size = json_object_size(header);
  if (size > RH_SAFETENSORS_TENSORS_MAX)
    return rh_fail(error, RH_TOO_LARGE, "the file names %zu tensors, more than %d", size, RH_SAFETENSORS_TENSORS_MAX);
  out->tensors = calloc(size + 1, sizeof *out->tensors);
  if (out->tensors == NULL) return rh_fail(error, RH_NO_MEMORY, "out of memory for the table of tensors");
  const char *name;
  json_t *entry;
  json_object_foreach(header, name, entry) {
    if (strcmp(name, "__metadata__") == 0) continue;
    // Counted before it is complete, so that a failure frees its name.
    rh_status status = read_tensor(name, entry, data_start, data_bytes, &out->tensors[out->count++], error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

rh_status rh_safetensors_parse(const void *bytes, uint64_t length, rh_safetensors *out, rh_error *error) {
  *out = (rh_safetensors){0};
  if (length < LENGTH_BYTES)
    return rh_fail(error, RH_INVALID, "no safetensors file: shorter than %d bytes", LENGTH_BYTES);
  uint64_t header_bytes = read_u64(bytes);
  if (header_bytes > RH_SAFETENSORS_HEADER_MAX || header_bytes > length - LENGTH_BYTES)
    return rh_fail(error, RH_INVALID,
                   "no safetensors file, or not fetched whole: its header would be %" PRIu64
                   " bytes, the file has %" PRIu64,
                   header_bytes, length);
  rh_error inner = {0};
  json_t *header = rh_json_parse((const char *)bytes + LENGTH_BYTES, (size_t)header_bytes, &inner);
  if (!json_is_object(header)) {
    json_decref(header);
    return rh_fail(error, RH_INVALID, "its header is not a JSON object: %s", inner.message);
  }
  uint64_t data_start = LENGTH_BYTES + header_bytes;
  rh_status status = read_table(header, data_start, length - data_start, out, error);
  json_decref(header);
  if (status != RH_OK) rh_safetensors_close(out);
  return status;
}

rh_status rh_safetensors_open(const char *path, rh_safetensors *out, rh_error *error) {
  *out = (rh_safetensors){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat about;
  if (fd < 0 || fstat(fd, &about) != 0) {
    int number = errno;
    if (fd >= 0) close(fd);
    return rh_fail(error, number == ENOENT ? RH_NOT_FOUND : RH_IO, "cannot open %s: %s", path, strerror(number));
  }
  if (!S_ISREG(about.st_mode) || about.st_size < LENGTH_BYTES) {
    close(fd);
    return rh_fail(error, RH_INVALID, "%s is no safetensors file: it is empty or no file at all", path);
  }
  uint64_t length = (uint64_t)about.st_size;
  void *map = mmap(NULL, (size_t)length, PROT_READ, MAP_PRIVATE, fd, 0);
  int number = errno;
  close(fd);
  if (map == MAP_FAILED) return rh_fail(error, RH_IO, "cannot map %s: %s", path, strerror(number));
  rh_error inner = {0};
  rh_status status = rh_safetensors_parse(map, length, out, &inner);
  if (status != RH_OK) {
    munmap(map, (size_t)length);
    return rh_fail(error, status, "%s: %s", path, inner.message);
  }
  out->map = map;
  out->map_bytes = length;
  return RH_OK;
}

void rh_safetensors_close(rh_safetensors *self) {
  for (size_t i = 0; i < self->count; i++) free(self->tensors[i].name);
  free(self->tensors);
  if (self->map != NULL) munmap((void *)(uintptr_t)self->map, (size_t)self->map_bytes);
  *self = (rh_safetensors){0};
}

void rh_safetensors_forget(const rh_safetensors *self, const rh_safetensor *tensor, uint64_t first, uint64_t bytes) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t begin = (uintptr_t)(self->map + tensor->offset + first), end = begin + bytes;
  // Pages that are shared with a neighbour go too: they are read again when they are wanted.
  begin = begin / page * page;
  end = end / page * page;
  if (end > begin) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
