// SPDX-License-Identifier: Apache-2.0
//
// The scheduler: one bounded queue per model, priorities, deadlines, cancellation, and one retry when a worker is lost
// before anything was sent.
//
// Thread: the event loop's. A job is owned by the scheduler from submit until its final event or its cancellation.
#ifndef RH_SCHED_SCHED_H
#define RH_SCHED_SCHED_H

#include "base/loop.h"
#include "base/status.h"
#include "fleet/fleet.h"
#include "flow/event.h"
#include "flow/request.h"

typedef struct rh_sched rh_sched;
typedef struct rh_sched_model rh_sched_model;  // one model's queue
typedef struct rh_job rh_job;

rh_sched *rh_sched_new(rh_loop *loop);
void rh_sched_free(rh_sched *sched);  // no jobs may be left

// Models that compute at the same time share so many cores; 0 (at first) = each uses all the threads it was given.
void rh_sched_set_cores(rh_sched *sched, int32_t cores);

// Who decides when a model's member is started. Called from inside the functions below; must not call back into them.
// The same may be said again: each job that comes while the member is COLD, or FAILED with its pause over, is "wanted".
typedef struct rh_sched_owner {
  void (*wanted)(void *ctx);    // jobs wait and the member is not on its way: somebody should start it
  void (*unwanted)(void *ctx);  // the last waiting job left while the member was COLD, FAILED or DRAINING
  void (*idle)(void *ctx);      // the last job has ended: nothing runs, nothing waits
  void *ctx;
} rh_sched_owner;

// The queue takes over the member's listener duty: call rh_sched_member_state from the member's state listener. `owner`
// NULL: the member is started as soon as a job comes.
rh_status rh_sched_add_model(rh_sched *sched, rh_member *member, size_t queue_max, const rh_sched_owner *owner,
                             rh_sched_model **out) RH_MUST_CHECK;
void rh_sched_remove_model(rh_sched_model *model);  // no job may be left; not from inside a sink or an owner's function
void rh_sched_member_state(rh_sched_model *model, rh_member_state state);
// Held: jobs are taken and wait, none is begun. For a model that has to drain.
void rh_sched_hold(rh_sched_model *model, bool held);
// Every waiting job ends with `error`.
void rh_sched_fail_waiting(rh_sched_model *model, const rh_error *error);

typedef struct rh_job_options {
  int32_t priority;      // higher first; equal ones in order of arrival
  uint64_t deadline_ns;  // absolute; 0 = none
  uint32_t choice;       // copied into every event
  bool buffered;         // the client sees nothing before the end: a lost worker may be survived at any point, and
                         // the sink then gets START again, which voids all it was given for this choice before
} rh_job_options;

// `run` and what it points at must live until the job's end. The sink gets the run's events; it is never called from
// inside this function. RH_QUEUE_FULL, RH_LOAD_FAILED (the model failed a moment ago), RH_UNAVAILABLE.
rh_status rh_sched_submit(rh_sched_model *model, const rh_run *run, const rh_job_options *options, const rh_sink *sink,
                          rh_job **out, rh_error *error) RH_MUST_CHECK;

void rh_sched_cancel(rh_job *job);  // the sink is never called again; work stops
void rh_sched_resume(rh_job *job);  // after the sink said RH_WAIT

size_t rh_sched_queued(const rh_sched_model *model);
size_t rh_sched_running(const rh_sched_model *model);
// Seconds after which a refused client may try again, from the queue's length and recent run times; at least 1.
unsigned rh_sched_retry_after_s(const rh_sched_model *model);

typedef struct rh_sched_counts {
  uint64_t submitted, completed, failed, cancelled, deadline, refused, retried;
} rh_sched_counts;
const rh_sched_counts *rh_sched_model_counts(const rh_sched_model *model);

#endif
