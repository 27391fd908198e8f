// SPDX-License-Identifier: Apache-2.0
//
// Private to the scheduler: jobs and their queues.
//
//   sched.c        models, admission, what a run's events mean
//   sched_queue.c  the order of waiting, handing over to the member, ends that the scheduler itself finds
//   sched_share.c  how many threads each model computes with
#ifndef RH_SCHED_PRIVATE_H
#define RH_SCHED_PRIVATE_H

#include "sched/sched.h"

struct rh_sched {
  rh_loop *loop;
  rh_list models;
  uint64_t next_serial;
  int32_t cores;  // to share among the models that compute; 0 = no sharing
  size_t busy;    // models that compute
};

struct rh_sched_model {
  rh_sched *sched;
  rh_list_node node;
  rh_member *member;
  rh_sched_owner owner;  // all NULL = none: the member is started as soon as a job comes
  bool held;
  bool busy;  // counted in sched->busy
  size_t queue_max;
  rh_list queue;  // jobs waiting, best first
  rh_list running;
  double run_ms;  // moving average of how long a run takes; 0 = none has ended yet
  rh_sched_counts counts;
};

struct rh_job {
  rh_sched_model *model;
  rh_list_node node;  // in model->queue, or in model->running when `started` is set
  rh_member_run *started;
  const rh_run *run;
  rh_job_options options;
  rh_sink sink;
  uint64_t serial;  // in order of submission
  unsigned attempts;
  bool announced;  // START was passed on
  bool sent;       // something the client may have seen was passed on
  uint64_t queued_ns, started_ns;
  rh_timer deadline;
};

// sched.c
rh_verdict rh_job_on_event(void *ctx, const rh_event *event, bool worker_lost);

// sched_queue.c
size_t rh_queue_free_slots(const rh_sched_model *model);  // 0 while held
void rh_queue_add(rh_job *job);
void rh_queue_add_again(rh_job *job);  // it lost its worker
rh_status rh_queue_begin(rh_job *job, rh_error *error) RH_MUST_CHECK;
void rh_queue_dispatch(rh_sched_model *model);
void rh_queue_on_deadline(void *ctx);
void rh_queue_fail_all(rh_sched_model *model, const rh_error *error);
void rh_job_unlink(rh_job *job);
void rh_job_free(rh_job *job);
// Tells the owner what an ended job changed for it. `waited`: the job had not begun.
void rh_queue_settle(rh_sched_model *model, bool waited);

// sched_share.c
void rh_share_set(rh_sched_model *model, bool busy);
void rh_share_note(rh_sched_model *model);  // after any change of its member's state or of its running jobs

#endif
