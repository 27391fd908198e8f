// SPDX-License-Identifier: Apache-2.0
//
// The engine thread's work: it loads one model, serves its runs step by step, and decides how the process ends.
#ifndef RH_WORKER_EXECUTOR_H
#define RH_WORKER_EXECUTOR_H

#include "worker/mailbox.h"
#include "worker/port.h"
#include "worker/vitals.h"

// How the process ends; documented in docs/wire-protocol.md.
typedef enum rh_worker_exit {
  RH_EXIT_OK = 0,        // UNLOAD, or the daemon is gone
  RH_EXIT_PROTOCOL = 2,  // the daemon sent what it must not send
  RH_EXIT_LOAD = 3,      // the model could not be loaded
  RH_EXIT_ENGINE = 4,    // the engine broke, or the process lacks memory
  RH_EXIT_USAGE = 64,    // wrong flags, or not started by a daemon
} rh_worker_exit;

typedef struct rh_executor rh_executor;

// All three are borrowed and must outlive the executor. NULL when memory is short.
rh_executor *rh_executor_new(rh_mailbox *mailbox, rh_port *port, rh_vitals *vitals);
// Stops what runs, without events, and unloads the model. After _run has returned; any thread.
void rh_executor_free(rh_executor *executor);

// How many threads may compute from the next step on; 0 = all of the model's. Any thread.
void rh_executor_share(rh_executor *executor, int32_t threads);

// Returns when the work is over: UNLOAD, a closed mailbox or a failure. All frames that tell so are in the port then.
rh_worker_exit rh_executor_run(rh_executor *executor);

#endif
