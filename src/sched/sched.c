// SPDX-License-Identifier: Apache-2.0
//
// The scheduler: jobs wait in one bounded queue per model and are handed to the model's member while it has free slots.
//
// It owns jobs and queues; members belong to the fleet. Loop thread only. It does not know engines, sockets or dialects,
// and it never looks at a prompt.
#include "sched/sched.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define RETRY_AFTER_S_MAX 60.0
#define ATTEMPTS_MAX 2

struct rh_sched {
  rh_loop *loop;
  rh_list models;
};

struct rh_sched_model {
  rh_sched *sched;
  rh_list_node node;
  rh_member *member;
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
  unsigned attempts;
  bool announced;  // START was passed on
  bool sent;       // something the client may have seen was passed on
  uint64_t queued_ns, started_ns;
  rh_timer deadline;
};

static void dispatch(rh_sched_model *model);

rh_sched *rh_sched_new(rh_loop *loop) {
  rh_sched *sched = calloc(1, sizeof *sched);
  if (sched == NULL) return NULL;
  sched->loop = loop;
  rh_list_init(&sched->models);
  return sched;
}

void rh_sched_free(rh_sched *sched) {
  if (sched == NULL) return;
  rh_list_each(&sched->models, node) {
    rh_sched_model *model = rh_list_entry(node, rh_sched_model, node);
    assert(model->queue.count == 0 && model->running.count == 0);
    rh_list_remove(&sched->models, node);
    free(model);
  }
  free(sched);
}

rh_status rh_sched_add_model(rh_sched *sched, rh_member *member, size_t queue_max, rh_sched_model **out) {
  rh_sched_model *model = calloc(1, sizeof *model);
  if (model == NULL) return RH_NO_MEMORY;
  model->sched = sched;
  model->member = member;
  model->queue_max = queue_max;
  rh_list_init(&model->queue);
  rh_list_init(&model->running);
  rh_list_push_back(&sched->models, &model->node);
  *out = model;
  return RH_OK;
}

// Higher priorities first, equal ones in order of arrival.
static void enqueue(rh_job *job) {
  rh_list *queue = &job->model->queue;
  rh_list_node *at = queue->head.prev;
  while (at != &queue->head && rh_list_entry(at, rh_job, node)->options.priority < job->options.priority) at = at->prev;
  rh_list_insert_after(queue, at, &job->node);
}

// A job that lost its worker has waited already: before all others of its priority.
static void enqueue_again(rh_job *job) {
  rh_list *queue = &job->model->queue;
  rh_list_node *at = &queue->head;
  while (at->next != &queue->head && rh_list_entry(at->next, rh_job, node)->options.priority > job->options.priority) {
    at = at->next;
  }
  rh_list_insert_after(queue, at, &job->node);
}

static void unlink_job(rh_job *job) {
  rh_list *list = job->started != NULL ? &job->model->running : &job->model->queue;
  rh_list_remove(list, &job->node);
  job->started = NULL;
}

static void free_job(rh_job *job) {
  rh_loop_timer_cancel(job->model->sched->loop, &job->deadline);
  free(job);
}

// The job's end by an error that the scheduler itself found.
static void finish_with_error(rh_job *job, const rh_error *error) {
  rh_event event = {.kind = RH_EVENT_ERROR, .choice = job->options.choice, .as.error = *error};
  rh_sink sink = job->sink;
  if (job->node.next != NULL) unlink_job(job);
  free_job(job);
  (void)rh_sink_push(&sink, &event);
}

static void on_deadline(void *ctx) {
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
  dispatch(model);
}

static void note_duration(rh_sched_model *model, const rh_job *job) {
  double ms = rh_ns_to_ms(rh_clock_now_ns() - job->started_ns);
  model->run_ms = model->run_ms == 0 ? ms : 0.8 * model->run_ms + 0.2 * ms;
}

// True when the loss is survived: the client has seen nothing of this job yet, so another worker may do it whole.
static bool try_again(rh_job *job) {
  if (job->attempts >= ATTEMPTS_MAX || (job->sent && !job->options.buffered)) return false;
  unlink_job(job);
  enqueue_again(job);
  job->model->counts.retried++;
  RH_LOG(RH_LOG_INFO, "request waits for a new worker", rh_log_str("request_id", job->run->request_id));
  return true;
}

static rh_verdict pass_on(rh_job *job, const rh_event *event) {
  if (event->kind == RH_EVENT_START) {
    if (job->announced && !job->options.buffered) return RH_GO;
    job->announced = true;
  }
  if (event->kind == RH_EVENT_DELTA) job->sent = true;
  rh_event copy = *event;
  copy.choice = job->options.choice;
  if (event->kind == RH_EVENT_USAGE) copy.as.usage.queue_ms = rh_ns_to_ms(job->started_ns - job->queued_ns);
  return rh_sink_push(&job->sink, &copy);
}

static rh_verdict on_event(void *ctx, const rh_event *event, bool worker_lost) {
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
  unlink_job(job);
  free_job(job);
  (void)rh_sink_push(&sink, &copy);
  dispatch(model);
  return RH_GO;
}

static rh_status begin(rh_job *job, rh_error *error) {
  rh_run_listener listener = {.event = on_event, .ctx = job};
  rh_member_run *started = NULL;
  rh_status status = rh_member_run_begin(job->model->member, job->run, &listener, &started, error);
  if (status != RH_OK) return status;
  job->started = started;
  job->started_ns = rh_clock_now_ns();
  job->attempts++;
  rh_list_push_back(&job->model->running, &job->node);
  return RH_OK;
}

static void dispatch(rh_sched_model *model) {
  while (rh_list_first(&model->queue) != NULL && rh_member_free_slots(model->member) > 0) {
    rh_job *job = rh_list_entry(rh_list_first(&model->queue), rh_job, node);
    rh_list_remove(&model->queue, &job->node);
    rh_error error = {0};
    if (begin(job, &error) != RH_OK) {
      model->counts.failed++;
      finish_with_error(job, &error);
    }
  }
}

void rh_sched_member_state(rh_sched_model *model, rh_member_state state) {
  if (state == RH_MEMBER_READY) {
    dispatch(model);
  } else if (state == RH_MEMBER_FAILED) {
    rh_error error = *rh_member_failure(model->member);
    for (rh_list_node *node; (node = rh_list_first(&model->queue)) != NULL;) {
      model->counts.failed++;
      finish_with_error(rh_list_entry(node, rh_job, node), &error);
    }
  } else if (state == RH_MEMBER_COLD && model->queue.count > 0) {
    rh_member_start(model->member);
  }
}

// RH_OK when a job may join: now, or after the wait for its turn.
static rh_status admit(rh_sched_model *model, rh_error *error) {
  rh_member_start(model->member);
  if (rh_member_get_state(model->member) == RH_MEMBER_FAILED) {
    if (error != NULL) *error = *rh_member_failure(model->member);
    return RH_LOAD_FAILED;
  }
  bool at_once = model->queue.count == 0 && rh_member_free_slots(model->member) > 0;
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
  job->deadline = (rh_timer){.fn = on_deadline, .ctx = job};
  if (model->queue.count == 0 && rh_member_free_slots(model->member) > 0) {
    status = begin(job, error);
    if (status != RH_OK) {
      free(job);
      return status;
    }
  } else {
    enqueue(job);
  }
  if (options->deadline_ns != 0) {
    rh_loop_timer_set(model->sched->loop, &job->deadline, options->deadline_ns > now ? options->deadline_ns - now : 0);
  }
  model->counts.submitted++;
  *out = job;
  return RH_OK;
}

void rh_sched_cancel(rh_job *job) {
  rh_sched_model *model = job->model;
  if (job->started != NULL) rh_member_run_cancel(job->started);
  model->counts.cancelled++;
  unlink_job(job);
  free_job(job);
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
