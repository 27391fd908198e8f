// SPDX-License-Identifier: Apache-2.0
//
// The runs of the loaded model: those with a slot, and a short line of those without. Private to src/worker; engine
// thread.
#ifndef RH_WORKER_RUNS_H
#define RH_WORKER_RUNS_H

#include "engine/engine.h"
#include "task/inference.h"
#include "worker/mailbox.h"
#include "worker/port.h"

#define RH_WORKER_WAITING_MAX 256

typedef struct rh_worker_runs {
  const rh_engine_ops *ops;
  rh_engine *engine;
  rh_inference *inference;  // NULL: the model does nothing but generate
  rh_port *port;
  rh_list active;      // have a generation, or a run of the inference
  rh_list waiting;     // have a command; the oldest first
  size_t generating;   // of the active ones
  uint64_t cancelled;  // so far
} rh_worker_runs;

void rh_worker_runs_init(rh_worker_runs *runs, const rh_engine_ops *ops, rh_engine *engine, rh_inference *inference,
                         rh_port *port);

// Takes the command. A run that cannot begin gets its final event. RH_PROTOCOL: the stream is open already or is 0.
rh_status rh_worker_runs_begin(rh_worker_runs *runs, rh_command *command, rh_error *error) RH_MUST_CHECK;
void rh_worker_runs_cancel(rh_worker_runs *runs, uint32_t stream);  // confirmed with a final event when it was open
void rh_worker_runs_credit(rh_worker_runs *runs, uint32_t stream, uint32_t credit);
// Drop what is finished and let waiting ones have the free slots. True when one began.
bool rh_worker_runs_sweep(rh_worker_runs *runs);
// End all: with `why` as their final event, or silently when it is NULL.
void rh_worker_runs_end(rh_worker_runs *runs, const rh_error *why);
size_t rh_worker_runs_paused(const rh_worker_runs *runs);  // of the active ones

#endif
