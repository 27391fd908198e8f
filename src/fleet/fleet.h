// SPDX-License-Identifier: Apache-2.0
//
// The fleet: members that can do work. A member is one worker process that holds one model.
//
// Thread: the event loop's. A member starts its worker on demand, notices when it dies or hangs, and starts it again with
// a growing pause. It holds no queue and no policy: the scheduler above decides what runs where and what is tried again.
#ifndef RH_FLEET_FLEET_H
#define RH_FLEET_FLEET_H

#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/status.h"
#include "flow/event.h"
#include "flow/model_info.h"
#include "flow/request.h"

typedef enum rh_member_state {
  RH_MEMBER_COLD,      // no process; none is wanted
  RH_MEMBER_STARTING,  // the process runs; HELLO has not come yet
  RH_MEMBER_LOADING,   // LOAD was sent
  RH_MEMBER_READY,     // serves runs
  RH_MEMBER_DRAINING,  // UNLOAD was sent; ends by itself or is killed after the grace time
  RH_MEMBER_BACKOFF,   // the process died; the next start waits for a timer
  RH_MEMBER_FAILED,    // the model cannot be loaded; `reason` says why. A new start is tried on demand after a pause
} rh_member_state;

const char *rh_member_state_name(rh_member_state state);  // "cold", "loading", "ready", ... for people

typedef struct rh_member rh_member;
typedef struct rh_member_run rh_member_run;  // one run inside a member

typedef struct rh_member_options {
  const char *name;         // the model's name
  const char *worker_path;  // executable
  rh_load load;
  uint64_t start_timeout_ns;  // HELLO must come within
  uint64_t load_timeout_ns;   // no load progress for so long = hung
  uint64_t ping_interval_ns;
  uint64_t ping_timeout_ns;  // no PONG for so long = hung
  uint64_t step_timeout_ns;  // one engine step longer than this = hung
  uint64_t cancel_grace_ns;  // a cancelled run that is not confirmed for so long = hung
  uint64_t backoff_min_ns, backoff_max_ns;
} rh_member_options;

typedef struct rh_member_listener {
  // The state changed. READY: runs may be started. FAILED, BACKOFF and COLD: all runs have been told already.
  void (*state)(void *ctx, rh_member *member, rh_member_state state);
  void *ctx;
} rh_member_listener;

typedef struct rh_run_listener {
  // An event of the run. RH_WAIT: the member withholds credit until rh_member_run_resume. A final event ends the run:
  // the handle is dead when this returns. When the worker is lost the run gets ERROR with RH_UNAVAILABLE and
  // `worker_lost` is true, so that the scheduler may try again.
  rh_verdict (*event)(void *ctx, const rh_event *event, bool worker_lost);
  void *ctx;
} rh_run_listener;

rh_status rh_member_new(rh_loop *loop, const rh_member_options *options, const rh_member_listener *listener,
                        rh_member **out, rh_error *error) RH_MUST_CHECK;
// Kills the worker at once; running runs get no further event.
void rh_member_free(rh_member *member);

void rh_member_start(rh_member *member);  // wanted: COLD or FAILED (pause over) -> STARTING; otherwise nothing
bool rh_member_may_start(const rh_member *member);  // rh_member_start would do something now
// How many threads its worker may compute with from its next step on, also while it loads; 0 = all of its own.
void rh_member_share(rh_member *member, int32_t threads);
void rh_member_unload(rh_member *member, uint64_t grace_ns);  // READY -> DRAINING -> COLD

rh_member_state rh_member_get_state(const rh_member *member);
const rh_error *rh_member_failure(const rh_member *member);  // FAILED: why. Else the last death, or empty
double rh_member_load_fraction(const rh_member *member);
const rh_model_info *rh_member_info(const rh_member *member);  // NULL until it was READY once
const rh_worker_stats *rh_member_stats(const rh_member *member);
pid_t rh_member_pid(const rh_member *member);          // 0 when there is no process
size_t rh_member_runs(const rh_member *member);        // running, cancelled-but-not-confirmed ones included
size_t rh_member_free_slots(const rh_member *member);  // 0 unless READY
uint64_t rh_member_restarts(const rh_member *member);
uint64_t rh_member_ready_since_ns(const rh_member *member);  // 0 unless READY

// Only while READY and a slot is free. The listener is copied. `run` is only read during the call. RH_UNSUPPORTED: the model
// is for another task (flow/fit.h).
rh_status rh_member_run_begin(rh_member *member, const rh_run *run, const rh_run_listener *listener,
                              rh_member_run **out, rh_error *error) RH_MUST_CHECK;
void rh_member_run_resume(rh_member_run *run);  // after RH_WAIT: credit flows again
// The listener is never called again; the slot is free when the worker confirms.
void rh_member_run_cancel(rh_member_run *run);

#endif
