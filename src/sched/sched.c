// SPDX-License-Identifier: Apache-2.0
//
// The scheduler: jobs wait in one bounded queue per model and are handed to the model's member while it has free slots.
//
// It owns jobs and queues; members belong to the fleet. Loop thread only. It does not know engines, sockets or dialects,
// and it never looks at a prompt. When a member is started is its owner's decision, if the model has one.
#include "sched/sched.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "sched/sched_private.h"

#define RETRY_AFTER_S_MAX 60.0
#define ATTEMPTS_MAX 2

rh_sched *rh_sched_new(rh_loop *loop) {
  rh_sched *sched = calloc(1, sizeof *sched);
  if (sched == NULL) return NULL;
  sched->loop = loop;
  rh_list_init(&sched->models);
  return sched;
}

void rh_sched_remove_model(rh_sched_model *model) {
  if (model == NULL) return;
  assert(model->queue.count == 0 && model->running.count == 0);
  rh_share_set(model, false);
  rh_list_remove(&model->sched->models, &model->node);
  free(model);
}

void rh_sched_free(rh_sched *sched) {
  if (sched == NULL) return;
  rh_list_each(&sched->models, node) rh_sched_remove_model(rh_list_entry(node, rh_sched_model, node));
  free(sched);
}

rh_status rh_sched_add_model(rh_sched *sched, rh_member *member, size_t queue_max, const rh_sched_owner *owner,
                             rh_sched_model **out) {
  rh_sched_model *model = calloc(1, sizeof *model);
  if (model == NULL) return RH_NO_MEMORY;
  model->sched = sched;
  model->member = member;
  model->queue_max = queue_max;
  if (owner != NULL) {
    assert(owner->wanted != NULL && owner->unwanted != NULL && owner->idle != NULL);
    model->owner = *owner;
  }
  rh_list_init(&model->queue);
  rh_list_init(&model->running);
  rh_list_push_back(&sched->models, &model->node);
  *out = model;
  return RH_OK;
}

static void note_duration(rh_sched_model *model, const rh_job *job) {
  double ms = rh_ns_to_ms(rh_clock_now_ns() - job->started_ns);
  model->run_ms = model->run_ms == 0 ? ms : 0.8 * model->run_ms + 0.2 * ms;
}

// True when the loss is survived: the client has seen nothing of this job yet, so another worker may do it whole.
static bool try_again(rh_job *job) {
  if (job->attempts >= ATTEMPTS_MAX || (job->sent && !job->options.buffered)) return false;
  rh_job_unlink(job);
  rh_queue_add_again(job);
  job->model->counts.retried++;
  RH_LOG(RH_LOG_INFO, "request waits for a new worker", rh_log_str("request_id", job->run->request_id));
  return true;
}

static rh_verdict pass_on(rh_job *job, const rh_event *event) {
  if (event->kind == RH_EVENT_START) {
    if (job->announced && !job->options.buffered) return RH_GO;
    job->announced = true;
  }
  if (event->kind == RH_EVENT_DELTA || event->kind == RH_EVENT_TOOL || event->kind == RH_EVENT_RESULT) job->sent = true;
  rh_event copy = *event;
  copy.choice = job->options.choice;
  if (event->kind == RH_EVENT_USAGE) copy.as.usage.queue_ms = rh_ns_to_ms(job->started_ns - job->queued_ns);
  return rh_sink_push(&job->sink, &copy);
}

rh_verdict rh_job_on_event(void *ctx, const rh_event *event, bool worker_lost) {
  rh_job *job = ctx;
  rh_sched_model *model = job->model;
  if (!rh_event_is_final(event)) return pass_on(job, event);
  if (worker_lost && try_again(job)) return RH_GO;
  if (event->kind == RH_EVENT_END) {
    model->counts.completed++;
    note_duration(model, job);
  } else {
    model->counts.failed++;
  }
  // The job is gone before its owner hears of the end, so that the owner may do what it likes, also submit again.
  rh_event copy = *event;
  copy.choice = job->options.choice;
  rh_sink sink = job->sink;
  rh_job_unlink(job);
  rh_job_free(job);
  (void)rh_sink_push(&sink, &copy);
  rh_queue_dispatch(model);
  rh_queue_settle(model, false);
  return RH_GO;
}

void rh_sched_member_state(rh_sched_model *model, rh_member_state state) {
  rh_share_note(model);
  if (state == RH_MEMBER_READY) {
    rh_queue_dispatch(model);
  } else if (state == RH_MEMBER_FAILED) {
    rh_queue_fail_all(model, rh_member_failure(model->member));
  } else if (state == RH_MEMBER_COLD && model->queue.count > 0) {
    if (model->owner.wanted != NULL)
      model->owner.wanted(model->owner.ctx);
    else
      rh_member_start(model->member);
  }
}

void rh_sched_hold(rh_sched_model *model, bool held) {
  model->held = held;
  rh_queue_dispatch(model);
}

void rh_sched_fail_waiting(rh_sched_model *model, const rh_error *error) {
  rh_queue_fail_all(model, error);
  rh_queue_settle(model, true);
}

// RH_OK when a job may join: now, or after the wait for its turn.
static rh_status admit(rh_sched_model *model, rh_error *error) {
  if (model->owner.wanted == NULL) rh_member_start(model->member);
  if (rh_member_get_state(model->member) == RH_MEMBER_FAILED && !rh_member_may_start(model->member)) {
    if (error != NULL) *error = *rh_member_failure(model->member);
    return RH_LOAD_FAILED;
  }
  bool at_once = model->queue.count == 0 && rh_queue_free_slots(model) > 0;
  if (at_once || model->queue.count < model->queue_max) return RH_OK;
  return rh_fail(error, RH_QUEUE_FULL,
                 "the queue of this model is full: %zu requests wait and %zu run; try again in %u s, or raise "
                 "\"queue_max\"",
                 model->queue.count, model->running.count, rh_sched_retry_after_s(model));
}

rh_status rh_sched_submit(rh_sched_model *model, const rh_run *run, const rh_job_options *options, const rh_sink *sink,
                          rh_job **out, rh_error *error) {
  rh_status status = admit(model, error);
  if (status != RH_OK) {
    model->counts.refused++;
    return status;
  }
  rh_job *job = calloc(1, sizeof *job);
  if (job == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a job");
  uint64_t now = rh_clock_now_ns();
  *job = (rh_job){.model = model, .run = run, .options = *options, .sink = *sink, .queued_ns = now};
  job->serial = model->sched->next_serial++;
  job->deadline = (rh_timer){.fn = rh_queue_on_deadline, .ctx = job};
  if (model->queue.count == 0 && rh_queue_free_slots(model) > 0) {
    status = rh_queue_begin(job, error);
    if (status != RH_OK) {
      free(job);
      return status;
    }
  } else {
    rh_queue_add(job);
  }
  if (options->deadline_ns != 0) {
    rh_loop_timer_set(model->sched->loop, &job->deadline, options->deadline_ns > now ? options->deadline_ns - now : 0);
  }
  model->counts.submitted++;
  *out = job;
  if (model->owner.wanted != NULL && rh_member_may_start(model->member)) model->owner.wanted(model->owner.ctx);
  return RH_OK;
}

void rh_sched_cancel(rh_job *job) {
  rh_sched_model *model = job->model;
  bool running = job->started != NULL;
  if (running) rh_member_run_cancel(job->started);
  model->counts.cancelled++;
  rh_job_unlink(job);
  rh_job_free(job);
  rh_queue_settle(model, !running);
}

void rh_sched_resume(rh_job *job) {
  if (job->started != NULL) rh_member_run_resume(job->started);
}

size_t rh_sched_queued(const rh_sched_model *model) { return model->queue.count; }
size_t rh_sched_running(const rh_sched_model *model) { return model->running.count; }
const rh_sched_counts *rh_sched_model_counts(const rh_sched_model *model) { return &model->counts; }

unsigned rh_sched_retry_after_s(const rh_sched_model *model) {
  const rh_model_info *info = rh_member_info(model->member);
  double slots = info != NULL && info->slots > 0 ? (double)info->slots : 1;
  double seconds = model->run_ms / 1000.0 * ((double)model->queue.count + 1) / slots;
  return (unsigned)fmax(1, fmin(RETRY_AFTER_S_MAX, ceil(seconds)));
}
