// SPDX-License-Identifier: Apache-2.0
//
// Reading protobuf's wire format from something that can be read at an offset, through a small window and with bounds.
// Knows no message; who reads says which fields it wants and jumps over the rest.
#ifndef RH_MODEL_PROTOBUF_H
#define RH_MODEL_PROTOBUF_H

#include "model/format_private.h"

enum { RH_PB_VARINT = 0, RH_PB_64 = 1, RH_PB_BYTES = 2, RH_PB_32 = 5 };

typedef struct rh_pb {
  const rh_format_source *source;
  uint8_t *window;
  int64_t window_at;     // where the window begins in the file
  size_t window_length;  // what of it is filled
  int64_t fields;        // read so far, for a limit
  rh_status status;      // sticky: the first failure
} rh_pb;

// A field of a message: its number, and its value or where its bytes lie.
typedef struct rh_pb_field {
  uint32_t number;
  unsigned wire;
  uint64_t value;
  int64_t from, to;
} rh_pb_field;

bool rh_pb_open(rh_pb *pb, const rh_format_source *source);  // false when memory is short
void rh_pb_close(rh_pb *pb);
bool rh_pb_fail(rh_pb *pb, rh_status status);  // remembers the first failure; false

// The field at *at, and *at behind it. False at the end of the message and on failure (RH_INVALID, RH_IO).
bool rh_pb_next(rh_pb *pb, int64_t *at, int64_t end, rh_pb_field *out);
// A short text of a field; false when it is longer than `size` or holds a NUL.
bool rh_pb_text(rh_pb *pb, const rh_pb_field *field, char *out, size_t size);
// A number at *at, and *at behind it: for repeated numbers that are packed into one field.
bool rh_pb_varint(rh_pb *pb, int64_t *at, int64_t end, uint64_t *out);

#endif
