// SPDX-License-Identifier: Apache-2.0
//
// A run is in exactly one of two lists: `waiting` while it has its command and no slot, `active` while it has a
// generation, or a run of the inference. Only begin(), sweep() and the end functions move it. Owns the runs, their commands
// and what works for them.
//
// Credit is counted here: a DELTA or a RESULT costs one, at zero the sink says RH_WAIT and the work pauses itself. It sends
// nothing by itself; the executor flushes the port.
#include "worker/runs.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "task/generate.h"

typedef struct worker_run {
  rh_list_node node;
  rh_port *port;
  uint32_t stream;
  uint32_t credit;
  rh_command *command;        // waiting: what to begin; an inference reads its inputs there until its end
  rh_generation *generation;  // active, one of the two
  rh_inference_run *inference;
} worker_run;

void rh_worker_runs_init(rh_worker_runs *runs, const rh_engine_ops *ops, rh_engine *engine, rh_inference *inference,
                         rh_port *port) {
  *runs = (rh_worker_runs){.ops = ops, .engine = engine, .inference = inference, .port = port};
  rh_list_init(&runs->active);
  rh_list_init(&runs->waiting);
}

static worker_run *find_in(const rh_list *list, uint32_t stream) {
  rh_list_each(list, node) {
    worker_run *run = rh_list_entry(node, worker_run, node);
    if (run->stream == stream) return run;
  }
  return NULL;
}

static void run_free(rh_worker_runs *runs, rh_list *list, worker_run *run) {
  rh_list_remove(list, &run->node);
  if (run->generation != NULL) runs->generating--;
  rh_generation_free(run->generation);
  rh_inference_run_free(run->inference);
  rh_command_free(run->command);
  free(run);
}

static bool is_finished(const worker_run *run) {
  if (run->generation != NULL) return rh_generation_finished(run->generation);
  return run->inference != NULL && rh_inference_run_finished(run->inference);
}

static rh_verdict on_event(void *ctx, const rh_event *event) {
  worker_run *run = ctx;
  rh_port_write_event(run->port, run->stream, event);
  if (event->kind == RH_EVENT_DELTA || event->kind == RH_EVENT_TOOL || event->kind == RH_EVENT_RESULT) {
    assert(run->credit > 0);
    run->credit--;
  }
  return run->credit > 0 ? RH_GO : RH_WAIT;
}

static rh_status work_begin(rh_worker_runs *runs, worker_run *run, rh_error *error) {
  const rh_run *what = &run->command->as.run;
  rh_sink sink = {.push = on_event, .ctx = run};
  if (!rh_task_generates(what->task)) {
    if (runs->inference != NULL) return rh_inference_begin(runs->inference, what, &sink, &run->inference, error);
    return rh_fail_param(error, RH_UNSUPPORTED, "task", "This model generates text; the task \"%s\" is not for it.",
                         rh_task_name(what->task));
  }
  // Of a model that has no task of its own the engine can say best why it makes no text.
  bool only_tensors = runs->inference != NULL && strcmp(rh_inference_task(runs->inference), "tensor") == 0;
  if (runs->inference != NULL && !rh_inference_generates(runs->inference) && !(only_tensors && runs->ops->start)) {
    return rh_fail_param(error, RH_UNSUPPORTED, "task", "This model does not generate text; it is for the task \"%s\".",
                         rh_inference_task(runs->inference));
  }
  return rh_generation_start(runs->ops, runs->engine, what, &sink, &run->generation, error);
}

// Try to give a waiting run a slot. RH_AGAIN: it goes on waiting. Otherwise it has left the list: it runs, or it has
// got its final event.
static rh_status start(rh_worker_runs *runs, worker_run *run) {
  rh_error error = {0};
  rh_status status = work_begin(runs, run, &error);
  if (status == RH_AGAIN) return status;
  if (status != RH_OK) {
    error.status = status;
    rh_port_write_error(runs->port, run->stream, &error);
    run_free(runs, &runs->waiting, run);
    return status;
  }
  if (run->generation != NULL) {
    runs->generating++;
    rh_command_free(run->command);
    run->command = NULL;
  }
  rh_list_remove(&runs->waiting, &run->node);
  rh_list_push_back(&runs->active, &run->node);
  return RH_OK;
}

rh_status rh_worker_runs_begin(rh_worker_runs *runs, rh_command *command, rh_error *error) {
  assert(command->kind == RH_COMMAND_RUN);
  uint32_t stream = command->stream;
  if (stream == 0 || find_in(&runs->active, stream) != NULL || find_in(&runs->waiting, stream) != NULL) {
    rh_command_free(command);
    return rh_fail(error, RH_PROTOCOL, "RUN on stream %u, which is %s", (unsigned)stream,
                   stream == 0 ? "the worker's own" : "open already");
  }
  worker_run *run = calloc(1, sizeof *run);
  if (run == NULL || runs->waiting.count >= RH_WORKER_WAITING_MAX) {
    rh_error refused;
    (void)rh_fail(&refused, run == NULL ? RH_NO_MEMORY : RH_QUEUE_FULL, "The worker has no room for one more run.");
    free(run);
    rh_command_free(command);
    rh_port_write_error(runs->port, stream, &refused);
    return RH_OK;
  }
  run->port = runs->port;
  run->stream = stream;
  run->credit = command->credit;
  run->command = command;
  bool first = runs->waiting.count == 0;
  rh_list_push_back(&runs->waiting, &run->node);
  // Behind others it must wait even when a slot is free, or it would overtake them.
  if (first) (void)start(runs, run);
  return RH_OK;
}

static void cancel_in(rh_worker_runs *runs, rh_list *list, worker_run *run) {
  rh_error error;
  (void)rh_fail(&error, RH_CANCELLED, "The run was cancelled.");
  bool open = !is_finished(run);
  uint32_t stream = run->stream;
  run_free(runs, list, run);
  if (!open) return;
  runs->cancelled++;
  rh_port_write_error(runs->port, stream, &error);
}

void rh_worker_runs_cancel(rh_worker_runs *runs, uint32_t stream) {
  worker_run *run = find_in(&runs->active, stream);
  if (run != NULL) {
    cancel_in(runs, &runs->active, run);
    return;
  }
  run = find_in(&runs->waiting, stream);
  if (run != NULL) cancel_in(runs, &runs->waiting, run);
}

void rh_worker_runs_credit(rh_worker_runs *runs, uint32_t stream, uint32_t credit) {
  worker_run *run = find_in(&runs->active, stream);
  if (run == NULL) run = find_in(&runs->waiting, stream);
  if (run == NULL) return;
  run->credit = credit > UINT32_MAX - run->credit ? UINT32_MAX : run->credit + credit;
  if (run->credit == 0) return;
  if (run->generation != NULL) rh_generation_pause(run->generation, false);
  if (run->inference != NULL) rh_inference_run_pause(run->inference, false);
}

bool rh_worker_runs_sweep(rh_worker_runs *runs) {
  rh_list_each(&runs->active, node) {
    worker_run *run = rh_list_entry(node, worker_run, node);
    if (is_finished(run)) run_free(runs, &runs->active, run);
  }
  bool began = false;
  for (rh_list_node *node; (node = rh_list_first(&runs->waiting)) != NULL;) {
    rh_status status = start(runs, rh_list_entry(node, worker_run, node));
    if (status == RH_AGAIN) break;
    if (status == RH_OK) began = true;
  }
  return began;
}

static void end_list(rh_worker_runs *runs, rh_list *list, const rh_error *why) {
  rh_list_each(list, node) {
    worker_run *run = rh_list_entry(node, worker_run, node);
    if (why != NULL && !is_finished(run)) rh_port_write_error(runs->port, run->stream, why);
    run_free(runs, list, run);
  }
}

void rh_worker_runs_end(rh_worker_runs *runs, const rh_error *why) {
  end_list(runs, &runs->active, why);
  end_list(runs, &runs->waiting, why);
}

size_t rh_worker_runs_paused(const rh_worker_runs *runs) {
  size_t paused = 0;
  rh_list_each(&runs->active, node) {
    if (rh_list_entry(node, worker_run, node)->credit == 0) paused++;
  }
  return paused;
}
