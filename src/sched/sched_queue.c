// SPDX-License-Identifier: Apache-2.0
//
// One model's queue: the order of waiting, handing jobs to the member while it has free slots, and the ends that the
// scheduler itself finds (deadlines, a model that cannot be loaded).
//
// It works on the scheduler's jobs; loop thread only. Sinks are called last, when the job is gone: they may submit again
// or cancel others. It does not decide who is admitted, nor when a member is started.
#include <stdlib.h>

#include "base/clock.h"
#include "sched/sched_private.h"

// Higher priorities first, equal ones in order of arrival.
void rh_queue_add(rh_job *job) {
  rh_list *queue = &job->model->queue;
  rh_list_node *at = queue->head.prev;
  while (at != &queue->head && rh_list_entry(at, rh_job, node)->options.priority < job->options.priority) at = at->prev;
  rh_list_insert_after(queue, at, &job->node);
}

// A job that lost its worker has waited already: before all others of its priority.
void rh_queue_add_again(rh_job *job) {
  rh_list *queue = &job->model->queue;
  rh_list_node *at = &queue->head;
  while (at->next != &queue->head && rh_list_entry(at->next, rh_job, node)->options.priority > job->options.priority) {
    at = at->next;
  }
  rh_list_insert_after(queue, at, &job->node);
}

void rh_job_unlink(rh_job *job) {
  rh_list *list = job->started != NULL ? &job->model->running : &job->model->queue;
  rh_list_remove(list, &job->node);
  if (job->started != NULL) rh_share_note(job->model);
  job->started = NULL;
}

void rh_job_free(rh_job *job) {
  rh_loop_timer_cancel(job->model->sched->loop, &job->deadline);
  free(job);
}

size_t rh_queue_free_slots(const rh_sched_model *model) {
  return model->held ? 0 : rh_member_free_slots(model->member);
}

// The job's end by an error that the scheduler itself found.
static void finish_with_error(rh_job *job, const rh_error *error) {
  rh_event event = {.kind = RH_EVENT_ERROR, .choice = job->options.choice, .as.error = *error};
  rh_sink sink = job->sink;
  if (job->node.next != NULL) rh_job_unlink(job);
  rh_job_free(job);
  (void)rh_sink_push(&sink, &event);
}

// The member has no process and none is coming by itself.
static bool is_out(const rh_sched_model *model) {
  rh_member_state state = rh_member_get_state(model->member);
  return state == RH_MEMBER_COLD || state == RH_MEMBER_FAILED || state == RH_MEMBER_DRAINING;
}

void rh_queue_settle(rh_sched_model *model, bool waited) {
  if (model->owner.wanted == NULL || model->queue.count > 0) return;
  if (waited && is_out(model)) {
    model->owner.unwanted(model->owner.ctx);
  } else if (model->running.count == 0) {
    model->owner.idle(model->owner.ctx);
  }
}

void rh_queue_on_deadline(void *ctx) {
  rh_job *job = ctx;
  rh_sched_model *model = job->model;
  bool running = job->started != NULL;
  if (running) rh_member_run_cancel(job->started);
  model->counts.deadline++;
  rh_error error;
  (void)rh_fail(
      &error, RH_DEADLINE,
      running ? "the time allowed for this request is over; the work was stopped. Allow "
                "more with \"timeout\", or ask for fewer tokens"
              : "the time allowed for this request was over before a slot of the model was free; try again later or "
                "allow more with \"timeout\"");
  finish_with_error(job, &error);
  rh_queue_dispatch(model);
  rh_queue_settle(model, !running);
}

rh_status rh_queue_begin(rh_job *job, rh_error *error) {
  rh_run_listener listener = {.event = rh_job_on_event, .ctx = job};
  rh_member_run *started = NULL;
  rh_share_set(job->model, true);  // before the run, so that its first step knows
  rh_status status = rh_member_run_begin(job->model->member, job->run, &listener, &started, error);
  if (status != RH_OK) {
    rh_share_note(job->model);
    return status;
  }
  job->started = started;
  job->started_ns = rh_clock_now_ns();
  job->attempts++;
  rh_list_push_back(&job->model->running, &job->node);
  return RH_OK;
}

void rh_queue_dispatch(rh_sched_model *model) {
  bool failed = false;
  while (rh_list_first(&model->queue) != NULL && rh_queue_free_slots(model) > 0) {
    rh_job *job = rh_list_entry(rh_list_first(&model->queue), rh_job, node);
    rh_list_remove(&model->queue, &job->node);
    rh_error error = {0};
    if (rh_queue_begin(job, &error) != RH_OK) {
      model->counts.failed++;
      failed = true;
      finish_with_error(job, &error);
    }
  }
  if (failed) rh_queue_settle(model, true);
}

// Only who waits now: a sink may submit again, and that is a new try, not one more to fail.
void rh_queue_fail_all(rh_sched_model *model, const rh_error *error) {
  rh_error copy = *error;  // the caller's may change under the sinks
  uint64_t until = model->sched->next_serial;
  for (bool found = true; found;) {
    found = false;
    rh_list_each(&model->queue, node) {
      rh_job *job = rh_list_entry(node, rh_job, node);
      if (job->serial >= until) continue;
      model->counts.failed++;
      finish_with_error(job, &copy);
      found = true;  // the sink may have changed the list: from the start again
      break;
    }
  }
}
