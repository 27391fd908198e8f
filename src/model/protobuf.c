// SPDX-License-Identifier: Apache-2.0
//
// The wire format of protobuf (its encoding guide). Owns its window; any thread that owns the reader.
#include "model/protobuf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES 65536
#define FIELDS_MAX 20000000  // in one reading; the largest public graphs have below a million

bool rh_pb_open(rh_pb *pb, const rh_format_source *source) {
  *pb = (rh_pb){.source = source, .window = malloc(WINDOW_BYTES)};
  return pb->window != NULL;
}

void rh_pb_close(rh_pb *pb) {
  free(pb->window);
  pb->window = NULL;
}

bool rh_pb_fail(rh_pb *pb, rh_status status) {
  if (pb->status == RH_OK) pb->status = status;
  return false;
}

// `length` bytes at `offset`; they must lie in the file.
static const uint8_t *look(rh_pb *pb, int64_t offset, size_t length) {
  assert(length <= WINDOW_BYTES && offset >= 0 && offset + (int64_t)length <= pb->source->size);
  bool inside = offset >= pb->window_at && offset + (int64_t)length <= pb->window_at + (int64_t)pb->window_length;
  if (!inside) {
    int64_t left = pb->source->size - offset;
    pb->window_length = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
    pb->window_at = offset;
    if (!pb->source->read(pb->source->ctx, offset, pb->window, pb->window_length)) {
      pb->window_length = 0;
      (void)rh_pb_fail(pb, RH_IO);
      return NULL;
    }
  }
  return pb->window + (offset - pb->window_at);
}

bool rh_pb_varint(rh_pb *pb, int64_t *at, int64_t end, uint64_t *out) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (*at >= end) return rh_pb_fail(pb, RH_INVALID);
    const uint8_t *byte = look(pb, *at, 1);
    if (byte == NULL) return false;
    ++*at;
    value |= (uint64_t)(*byte & 0x7f) << shift;
    if ((*byte & 0x80) == 0) {
      *out = value;
      return true;
    }
  }
  return rh_pb_fail(pb, RH_INVALID);
}

// The field at *at, and *at behind it. False at the end of the message and on failure.
bool rh_pb_next(rh_pb *pb, int64_t *at, int64_t end, rh_pb_field *out) {
  uint64_t key, length = 0;
  if (pb->status != RH_OK || *at >= end) return false;
  if (++pb->fields > FIELDS_MAX) return rh_pb_fail(pb, RH_INVALID);
  if (!rh_pb_varint(pb, at, end, &key)) return false;
  *out = (rh_pb_field){.number = (uint32_t)(key >> 3), .wire = (unsigned)(key & 7)};
  if (out->number == 0 || key >> 3 > 536870911) return rh_pb_fail(pb, RH_INVALID);
  switch (out->wire) {
    case RH_PB_VARINT: return rh_pb_varint(pb, at, end, &out->value);
    case RH_PB_64: length = 8; break;
    case RH_PB_32: length = 4; break;
    case RH_PB_BYTES:
      if (!rh_pb_varint(pb, at, end, &length)) return false;
      break;
    default: return rh_pb_fail(pb, RH_INVALID);  // groups are older than ONNX
  }
  if (length > (uint64_t)(end - *at)) return rh_pb_fail(pb, RH_INVALID);
  out->from = *at;
  *at += (int64_t)length;
  out->to = *at;
  return true;
}

// A short text of a field; false when it is longer than `size` or holds a NUL.
bool rh_pb_text(rh_pb *pb, const rh_pb_field *field, char *out, size_t size) {
  size_t length = (size_t)(field->to - field->from);
  if (field->wire != RH_PB_BYTES || length >= size) return false;
  const uint8_t *bytes = length == 0 ? (const uint8_t *)"" : look(pb, field->from, length);
  if (bytes == NULL || memchr(bytes, '\0', length) != NULL) return false;
  memcpy(out, bytes, length);
  out[length] = '\0';
  return true;
}
