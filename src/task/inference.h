// SPDX-License-Identifier: Apache-2.0
//
// The tasks that do not generate: one runner for a loaded model, many runs at once, one batch a step. Texts of all runs
// share batches; each run gets its results in the order of its items. Engine thread only.
#ifndef RH_TASK_INFERENCE_H
#define RH_TASK_INFERENCE_H

#include "engine/engine.h"
#include "flow/event.h"
#include "flow/model_info.h"
#include "flow/request.h"

// How batches are made; 0 = the usual.
typedef struct rh_inference_options {
  int64_t batch_tokens;  // of one batch, padding included; 0 = 2048 on a CPU, 16384 elsewhere
  int64_t batch_rows;    // texts of one batch; 0 = 64 on a CPU, 256 elsewhere
  int64_t wait_us;       // how long a batch waits for more work that is likely to come; 0 = 2000, -1 = never
} rh_inference_options;

typedef struct rh_inference rh_inference;
typedef struct rh_inference_run rh_inference_run;

// *out is NULL for a model that does nothing but generate. `info` is what the engine's describe() said: with an empty task
// the model generates, and may be run raw besides; otherwise what the model's files say about its task, its dimensions and its maximum length is written into it. Files or a tokenizer that cannot be
// read do not fail a model that can be run raw: its other tasks are refused with the reason.
rh_status rh_inference_new(const rh_engine_ops *ops, rh_engine *engine, rh_model_info *info,
                           const rh_inference_options *options, rh_inference **out, rh_error *error) RH_MUST_CHECK;
const char *rh_inference_task(const rh_inference *inference);  // what the model is for, a name of rh_task_name
bool rh_inference_generates(const rh_inference *inference);    // it can generate too
void rh_inference_free(rh_inference *inference);               // all runs must have been freed; NULL is allowed

// The sink (copied) gets START at once and the rest from inside step() and pause(). `run` and all it points at must stay
// until the run is freed. On an error nothing was pushed and nothing is kept: RH_UNSUPPORTED (the model is for another
// task), RH_INVALID, RH_AGAIN (as many runs as the model's slots are on their way).
rh_status rh_inference_begin(rh_inference *inference, const rh_run *run, const rh_sink *sink, rh_inference_run **out,
                             rh_error *error) RH_MUST_CHECK;
bool rh_inference_run_finished(const rh_inference_run *run);  // a final event was pushed
// A run whose sink says RH_WAIT pauses itself: nothing is computed for it until this is called with false. Its clock
// stands still meanwhile.
void rh_inference_run_pause(rh_inference_run *run, bool paused);
void rh_inference_run_free(rh_inference_run *run);  // pushes nothing

// One batch. *worked is false when nothing was computed: nothing is there, or a batch waits for more until *until_ns on
// the monotonic clock (0 = it does not wait).
void rh_inference_step(rh_inference *inference, bool *worked, uint64_t *until_ns);

// Batches and tokens so far; and how much of all computed tokens was padding.
void rh_inference_counts(const rh_inference *inference, rh_engine_counts *counts);
double rh_inference_padding(const rh_inference *inference);

#endif
