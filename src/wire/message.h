// SPDX-License-Identifier: Apache-2.0
//
// What stands inside the frames: native types to frames and back. Both sides of the wire use this one file.
//
// _write functions append a whole frame. _read functions take a decoded frame; what they return lives in `arena` (or in
// the struct itself). A frame that does not hold what its type promises gives RH_PROTOCOL.
#ifndef RH_WIRE_MESSAGE_H
#define RH_WIRE_MESSAGE_H

#include "base/arena.h"
#include "flow/event.h"
#include "flow/model_info.h"
#include "flow/request.h"
#include "wire/frame.h"

typedef struct rh_hello {
  uint32_t version;
  char name[64];      // "roundhouse-worker 0.1.0"
  char engines[128];  // "fake llama"
  int64_t pid;
} rh_hello;

rh_status rh_hello_write(rh_dynbuf *out, const rh_hello *hello) RH_MUST_CHECK;
rh_status rh_hello_read(const rh_frame *frame, rh_hello *hello, rh_error *error) RH_MUST_CHECK;

rh_status rh_load_write(rh_dynbuf *out, const rh_load *load) RH_MUST_CHECK;
rh_status rh_load_read(const rh_frame *frame, rh_arena *arena, rh_load *load, rh_error *error) RH_MUST_CHECK;

rh_status rh_load_progress_write(rh_dynbuf *out, double fraction) RH_MUST_CHECK;
rh_status rh_load_progress_read(const rh_frame *frame, double *fraction, rh_error *error) RH_MUST_CHECK;

rh_status rh_loaded_write(rh_dynbuf *out, const rh_model_info *info) RH_MUST_CHECK;
rh_status rh_loaded_read(const rh_frame *frame, rh_model_info *info, rh_error *error) RH_MUST_CHECK;

// `credit`: delta events the worker may send before it waits for CREDIT.
rh_status rh_run_write(rh_dynbuf *out, uint32_t stream, const rh_run *run, uint32_t credit) RH_MUST_CHECK;
rh_status rh_run_read(const rh_frame *frame, rh_arena *arena, rh_run *run, uint32_t *credit,
                      rh_error *error) RH_MUST_CHECK;

rh_status rh_event_write(rh_dynbuf *out, uint32_t stream, const rh_event *event) RH_MUST_CHECK;
rh_status rh_event_read(const rh_frame *frame, rh_arena *arena, rh_event *event, rh_error *error) RH_MUST_CHECK;

rh_status rh_credit_write(rh_dynbuf *out, uint32_t stream, uint32_t credit) RH_MUST_CHECK;
rh_status rh_credit_read(const rh_frame *frame, uint32_t *credit, rh_error *error) RH_MUST_CHECK;

// Threads that may compute from the next step on; 0 = as many as the model was loaded with.
rh_status rh_share_write(rh_dynbuf *out, int32_t threads) RH_MUST_CHECK;
rh_status rh_share_read(const rh_frame *frame, int32_t *threads, rh_error *error) RH_MUST_CHECK;

// `type` is RH_FRAME_STATS or RH_FRAME_PONG.
rh_status rh_stats_write(rh_dynbuf *out, rh_frame_type type, const rh_worker_stats *stats) RH_MUST_CHECK;
rh_status rh_stats_read(const rh_frame *frame, rh_worker_stats *stats, rh_error *error) RH_MUST_CHECK;

// CANCEL, UNLOAD, PING, GOODBYE: no content.
rh_status rh_plain_write(rh_dynbuf *out, rh_frame_type type, uint32_t stream) RH_MUST_CHECK;

#endif
