// SPDX-License-Identifier: Apache-2.0
//
// Private to src/wire: how a frame's JSON is built and read.
#ifndef RH_WIRE_INTERNAL_H
#define RH_WIRE_INTERNAL_H

#include "base/json.h"
#include "wire/message.h"

// Reads run over all fields first and ask for the outcome once: after an error the later calls do nothing.
typedef struct rh_reader {
  const json_t *object;
  rh_error *error;
  rh_status status;
} rh_reader;

// Parse a frame's JSON as an object. `*root` is a new reference (NULL on error); `what` names the frame in errors.
rh_status rh_frame_reader_open(const rh_frame *frame, const char *what, json_t **root, rh_reader *reader,
                               rh_error *error);
int64_t rh_frame_reader_int(rh_reader *reader, const char *key, int64_t fallback);
double rh_frame_reader_number(rh_reader *reader, const char *key, double fallback);
bool rh_frame_reader_bool(rh_reader *reader, const char *key, bool fallback);
const char *rh_frame_reader_string(rh_reader *reader, const char *key);  // NULL when absent; belongs to the object
const json_t *rh_frame_reader_array(rh_reader *reader, const char *key);
rh_status rh_frame_reader_fail(rh_reader *reader, const char *what);  // RH_PROTOCOL with a reason

// Members of an object that is being written or read: an error, a run's inputs, an item's result. `tail` becomes the frame's
// binary tail. `reader` is on the object that holds them.
void rh_error_write(rh_dynbuf *json, const rh_error *error);
void rh_error_read(rh_reader *reader, rh_error *out);
void rh_infer_write(rh_dynbuf *json, rh_dynbuf *tail, const rh_infer *infer);
void rh_infer_read(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_infer *infer);
void rh_result_write(rh_dynbuf *json, rh_dynbuf *tail, const rh_result *result);
void rh_result_read(rh_reader *reader, const rh_frame *frame, rh_arena *arena, rh_result *result);

// Wrap `object` (whose reference is taken; NULL = out of memory) into a frame.
rh_status rh_frame_encode_object(rh_dynbuf *out, rh_frame_type type, uint32_t stream, json_t *object);

#endif
