// SPDX-License-Identifier: Apache-2.0
//
// One member's try at a request, and what follows when it fails.
//
// Before anything was passed on, the next member simply begins anew. After that, one that can go on with an answer's beginning does
// so, where the answer is nothing but text. Further attempts are bounded three times: by the way's length, by attempts_max, and by
// the retry budget of all requests together. Loop thread only.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/fit.h"
#include "gateway/internal.h"

// --- which errors another member might not make --------------------------------------------------------------------

static const bool another_may_do[RH_STATUS_COUNT] = {
    // What we understood and one member finds wrong may be a thing that only this member cannot do.
    [RH_INVALID] = true,    [RH_NOT_FOUND] = true, [RH_UNSUPPORTED] = true, [RH_CONTEXT_OVERFLOW] = true,
    [RH_QUEUE_FULL] = true, [RH_DEADLINE] = true,  [RH_UNAVAILABLE] = true, [RH_LOAD_FAILED] = true,
    [RH_PROTOCOL] = true,   [RH_NO_MEMORY] = true, [RH_IO] = true,          [RH_OFFLINE] = true,
    [RH_NO_ROOM] = true,    [RH_HARDWARE] = true,  [RH_LIMITED] = true,     [RH_UPSTREAM] = true,
    [RH_INTERNAL] = true,
};

// Those that say that the member itself is not well.
static const bool is_a_fault[RH_STATUS_COUNT] = {
    [RH_DEADLINE] = true, [RH_UNAVAILABLE] = true, [RH_LOAD_FAILED] = true, [RH_PROTOCOL] = true,
    [RH_IO] = true,       [RH_LIMITED] = true,     [RH_UPSTREAM] = true,    [RH_INTERNAL] = true,
};

// Where the way goes on after the member at hand; way.count = nowhere. Past attempts_max only the last resort is left.
static size_t next_at(const rh_work *work) {
  if (work->facts.attempts < (unsigned)work->gateway->values->attempts_max) return work->at + 1;
  return work->last_resort && work->at + 1 < work->way.count ? work->way.count - 1 : work->way.count;
}

bool rh_try_has_next(const rh_work *work) { return next_at(work) < work->way.count; }

// --- ends ----------------------------------------------------------------------------------------------------------

static bool is_blamed(const rh_work *work, rh_status status, uint64_t now) {
  if (!is_a_fault[status]) return false;
  // A time that the client itself chose to be short says nothing of the member.
  return status != RH_DEADLINE || work->asked->request.timeout_ns == 0 || now < work->options.deadline_ns;
}

static void tell_outcome(rh_work *work, const rh_error *error) {
  rh_seat *seat = work->seat;
  if (!work->counted) return;
  work->counted = false;
  uint64_t now = rh_clock_now_ns();
  if (error == NULL) {
    int64_t tokens = work->parts[0].attempt_tokens;
    double first_ms = work->first_ns != 0 ? rh_ns_to_ms(work->first_ns - work->attempt_ns) : 0;
    double token_ms = tokens > 1 ? rh_ns_to_ms(work->last_ns - work->first_ns) / (double)(tokens - 1) : 0;
    rh_route_stats_success(&seat->stats, &work->gateway->breaker, first_ms, token_ms, now);
  } else if (is_blamed(work, error->status, now)) {
    rh_route_stats_failure(&seat->stats, &work->gateway->breaker, (uint64_t)error->retry_after_ms * 1000000, now);
  } else {
    rh_route_stats_abandoned(&seat->stats);
  }
}

void rh_try_stop(rh_work *work) {
  rh_loop_timer_cancel(work->gateway->loop, &work->hold);
  for (size_t i = 0; i < work->part_count; i++) {
    rh_work_part *part = &work->parts[i];
    rh_job *job = part->job;
    rh_provider_run *remote = part->remote;
    part->job = NULL;
    part->remote = NULL;
    part->held = false;
    if (job != NULL) rh_sched_cancel(job);
    if (remote != NULL) rh_provider_run_cancel(remote);
  }
  if (work->counted) rh_route_stats_abandoned(&work->seat->stats);
  work->counted = false;
  // The facts keep pointing at the model's info, which outlives the hold only as long as the model does.
  if (work->served != NULL) rh_served_release(work->served);
  work->served = NULL;
  work->facts.served = NULL;
  work->facts.info = NULL;
}

static void pass_failure(rh_work *work, const rh_error *error) {
  rh_event event = {.kind = RH_EVENT_ERROR};
  event.as.error = *error;
  work->over = true;
  rh_work_pass(work, &event);
  rh_work_finish(work);
}

// --- the next member -----------------------------------------------------------------------------------------------

static bool goes_on_with_text(const rh_work *work, const rh_seat *seat) {
  const rh_request *request = &work->asked->request;
  if (work->part_count != 1 || work->mixed || request->infer != NULL || work->parts[0].said.failed) return false;
  if (request->generate.top_logprobs >= 0) return false;  // positions of tokens would not fit together
  return seat->remote == NULL || seat->spec->prefill;
}

bool rh_try_may_follow(const rh_work *work, rh_status status) {
  if (!another_may_do[status] || !rh_try_has_next(work)) return false;
  if (rh_clock_now_ns() >= work->options.deadline_ns) return false;
  return !work->passed || goes_on_with_text(work, work->way.seats[next_at(work)]);
}

static void note_fallback(rh_work *work, const rh_error *error) {
  work->seat->fallbacks[error->status]++;
  (void)snprintf(work->fallback, sizeof work->fallback, "%.80s/%.100s failed (%s)", work->seat->provider,
                 work->seat->model, rh_status_name(error->status));
  RH_LOG(RH_LOG_INFO, "request goes to the next model", rh_log_str("request_id", work->asked->request.id),
         rh_log_str("provider", work->seat->provider), rh_log_str("model", work->seat->model),
         rh_log_str("status", rh_status_name(error->status)), rh_log_int("attempt", work->facts.attempts),
         rh_log_bool("shadow", work->options.shadow));
}

void rh_try_give_up(rh_work *work, const rh_error *error, bool blame) {
  rh_error copy = *error;
  if (blame) tell_outcome(work, &copy);
  rh_try_count_unfinished(work);  // those beside the failed one, and one that was too slow or not sure enough
  rh_try_stop(work);
  // Who was not burdened costs nothing of the budget.
  if (!rh_try_may_follow(work, copy.status) || (blame && !rh_retry_budget_spend(&work->gateway->budget))) {
    pass_failure(work, &copy);
    return;
  }
  note_fallback(work, &copy);
  work->at = next_at(work);
  work->between = true;
  rh_loop_defer(work->gateway->loop, &work->next);
}

void rh_try_on_next(void *ctx) {
  rh_work *work = ctx;
  rh_error error = {0};
  work->inside++;
  if (rh_try_begin(work, &error) != RH_OK) pass_failure(work, &error);
  rh_work_leave_inside(work);
}

void rh_try_on_late(void *ctx) {
  rh_work *work = ctx;
  // Slow is better than nothing: without anybody to go to, this one is waited for.
  if (!rh_try_may_follow(work, RH_DEADLINE) || !rh_retry_budget_has(&work->gateway->budget, 1)) return;
  rh_error error;
  (void)rh_fail(&error, RH_DEADLINE, "it said nothing for %.1f s", rh_ns_to_s(rh_clock_now_ns() - work->attempt_ns));
  work->inside++;
  rh_try_give_up(work, &error, true);
  rh_work_leave_inside(work);
}

// --- events of the member at hand ----------------------------------------------------------------------------------

static void note_said(rh_work *work, rh_work_part *part, const rh_event *event) {
  uint64_t now = rh_clock_now_ns();
  if (work->first_ns == 0) {
    work->first_ns = now;
    rh_loop_timer_cancel(work->gateway->loop, &work->hold);
  }
  work->last_ns = now;
  if (event->kind == RH_EVENT_DELTA) part->attempt_bytes += event->as.delta.length;
  if (event->kind == RH_EVENT_TOOL) part->attempt_bytes += event->as.tool.length;
  if (event->kind != RH_EVENT_DELTA || event->as.delta.reasoning) {
    work->mixed = true;
    return;
  }
  part->attempt_tokens += event->as.delta.token_count;
  // Only where another member could go on is the text remembered.
  if (work->at + 1 < work->way.count) {
    (void)rh_dynbuf_append(&part->said, event->as.delta.text, event->as.delta.length);
  }
}

static void pass_start(rh_work *work, rh_work_part *part, const rh_event *start) {
  part->start_kept = false;
  // Who goes on with the text that was sent begins nothing anew. Else those who see nothing before the end must forget what came.
  if (part->started && part->run.prefix != NULL) return;
  part->started = true;
  rh_work_pass(work, start);
}

// While another member could follow, a START says nothing yet: the client should hear of the one that answers.
static void take_start(rh_work *work, rh_work_part *part, const rh_event *event) {
  work->facts.info = work->served != NULL ? rh_member_info(rh_served_member(work->served)) : NULL;
  part->attempt_tokens = 0;
  part->attempt_prompt = event->as.start.prompt_tokens;
  part->answered = true;
  part->start = *event;
  part->start_kept = true;
  if (!rh_try_has_next(work)) pass_start(work, part, event);
}

static void take(rh_work *work, rh_work_part *part, const rh_event *event) {
  rh_event copy = *event;
  if (event->kind == RH_EVENT_START) {
    take_start(work, part, event);
    return;
  }
  bool said = event->kind == RH_EVENT_DELTA || event->kind == RH_EVENT_TOOL || event->kind == RH_EVENT_RESULT;
  if (said) note_said(work, part, event);
  if (event->kind == RH_EVENT_USAGE) rh_try_add_usage(work, part, &copy.as.usage);
  bool judged = part->kept != NULL || (event->kind != RH_EVENT_PROGRESS && rh_judge_wanted(work));
  if (part->start_kept && !judged && event->kind != RH_EVENT_PROGRESS) pass_start(work, part, &part->start);
  if (judged && part->start_kept) {
    part->start_kept = false;
    part->started = true;
    rh_judge_take(work, part, &part->start);
  }
  if (judged)
    rh_judge_take(work, part, &copy);
  else
    rh_work_pass(work, &copy);
}

static rh_verdict on_event(void *ctx, const rh_event *event) {
  rh_work_part *part = ctx;
  rh_work *work = part->work;
  bool remote = part->remote != NULL;
  bool sent = !remote || rh_provider_run_was_sent(part->remote);
  if (rh_event_is_final(event)) {
    part->job = NULL;
    part->remote = NULL;
  }
  if (work->over || work->unwanted || work->between) return RH_GO;
  work->inside++;
  if (event->kind == RH_EVENT_ERROR) {
    // One that refuses wants no money; one that breaks off in the middle does.
    if (remote && part->answered) rh_try_count_part(work, part);
    rh_try_give_up(work, &event->as.error, sent);
  } else {
    take(work, part, event);
    if (event->kind == RH_EVENT_END && !work->between && !work->over && ++work->ended == work->part_count) {
      tell_outcome(work, NULL);
      rh_work_finish(work);
    }
  }
  bool flows = work->over || work->unwanted || work->between || rh_work_may_flow(work);
  if (!flows) part->held = true;
  rh_work_leave_inside(work);
  return flows ? RH_GO : RH_WAIT;
}

// --- beginning -----------------------------------------------------------------------------------------------------

static rh_status begin_local_part(rh_work *work, rh_work_part *part, rh_error *error) {
  uint64_t deadline = work->options.deadline_ns;
  uint64_t own = work->attempt_ns + work->seat->timeout_ns;
  if (work->seat->timeout_ns != 0 && (deadline == 0 || own < deadline)) deadline = own;
  rh_job_options options = {
      .priority = work->options.priority,
      .deadline_ns = deadline,
      .choice = part->index,
      .buffered = !work->stream,
  };
  rh_sink sink = {.push = on_event, .ctx = part};
  return rh_sched_submit(rh_served_queue(work->served), &part->run, &options, &sink, &part->job, error);
}

static bool may_retry(void *ctx) {
  rh_work *work = ctx;
  rh_retry_budget *budget = &work->gateway->budget;
  // Somebody else is worth more than the same one again: what is left of the budget is kept for that.
  if (rh_try_may_follow(work, RH_UPSTREAM) && !rh_retry_budget_has(budget, 2)) return false;
  return rh_retry_budget_spend(budget);
}

static rh_status begin_remote_part(rh_work *work, rh_work_part *part, rh_error *error) {
  rh_provider_options options = {
      .priority = work->options.priority,
      .deadline_ns = work->options.deadline_ns,
      .choice = part->index,
      .stream = work->stream,
      .may_retry = may_retry,
      .retry_ctx = work,
  };
  rh_sink sink = {.push = on_event, .ctx = part};
  return rh_provider_run_begin(work->seat->remote, work->seat->model, &part->run, &options, &sink, &part->remote,
                               error);
}

static rh_status hold_model(rh_work *work, rh_error *error) {
  const rh_request *request = &work->asked->request;
  rh_served *served = rh_manager_peek(work->gateway->manager, work->seat->model);
  if (served == NULL) {
    return rh_fail_param(error, RH_NOT_FOUND, "model", "the model \"%.100s\" is not here any more", work->seat->model);
  }
  rh_served_hold(served, request->keep_alive);
  work->served = served;
  work->facts.served = served;
  work->facts.model = rh_served_spec(served)->name;
  const rh_model_info *info = rh_member_info(rh_served_member(served));
  work->facts.info = info;
  return info != NULL ? rh_task_check(request->task, info, work->facts.model, error) : RH_OK;
}

// What the answer's beginning changes in the run that goes on with it.
static void go_on_with_text(rh_work_part *part, rh_work *work) {
  part->said_tokens += part->attempt_tokens;
  part->attempt_tokens = 0;
  if (!work->passed || part->said.length == 0) return;
  part->run.prefix = rh_arena_strndup(work->asked->arena, rh_dynbuf_data(&part->said), part->said.length);
  int64_t most = work->asked->request.generate.max_tokens;
  if (most > 0) part->run.generate.max_tokens = most > part->said_tokens ? most - part->said_tokens : 1;
}

static void prepare_part(rh_work *work, rh_work_part *part) {
  rh_judge_drop(part);
  part->ended = false;
  part->start_kept = part->answered = part->used = false;
  part->attempt_prompt = 0;
  part->attempt_bytes = 0;
  if (!work->passed) {
    part->said_tokens = 0;
    part->attempt_tokens = 0;
    rh_dynbuf_clear(&part->said);
  }
  go_on_with_text(part, work);
  part->run.generate.top_logprobs = work->asked->request.generate.top_logprobs;
  if (rh_judge_wanted(work) && work->seat->remote == NULL && part->run.generate.top_logprobs < 0) {
    part->run.generate.top_logprobs = 0;
  }
}

static rh_status begin_at(rh_work *work, rh_error *error) {
  rh_seat *seat = work->way.seats[work->at];
  uint64_t now = rh_clock_now_ns();
  work->seat = seat;
  work->between = false;
  work->ended = 0;
  work->first_ns = work->last_ns = 0;
  work->attempt_ns = now;
  work->facts.provider = seat->remote != NULL ? seat->spec->name : "local";  // outlives the seat
  work->facts.model = seat->model;
  work->facts.usage = (rh_usage){0};
  for (size_t i = 0; i < work->part_count; i++) prepare_part(work, &work->parts[i]);
  work->facts.attempts++;
  // The router left these out. Whatever comes to be wrong there, nothing leaves from here.
  if (work->options.local_only && !rh_seat_local(seat)) {
    return rh_fail_param(error, RH_FORBIDDEN, "model", "%s/%s is not on this machine, which the request must not leave",
                         seat->provider, seat->model);
  }
  if (!rh_breaker_admits(&seat->stats, now) && rh_try_has_next(work)) {
    return rh_fail(error, RH_UNAVAILABLE, "%s/%s failed lately and is left alone for a while", seat->provider,
                   seat->model);
  }
  rh_status status = seat->remote == NULL ? hold_model(work, error) : RH_OK;
  for (size_t i = 0; status == RH_OK && i < work->part_count; i++) {
    status = seat->remote == NULL ? begin_local_part(work, &work->parts[i], error)
                                  : begin_remote_part(work, &work->parts[i], error);
  }
  if (status != RH_OK) return status;
  rh_breaker_begin(&seat->stats);
  work->counted = true;
  uint64_t patience = work->gateway->values->hold_timeout;
  if (patience > 0 && rh_try_has_next(work)) rh_loop_timer_set(work->gateway->loop, &work->hold, patience);
  return RH_OK;
}

rh_status rh_try_begin(rh_work *work, rh_error *error) {
  for (;;) {
    rh_error own = {0};
    rh_status status = begin_at(work, &own);
    if (status == RH_OK) return RH_OK;
    own.status = status;
    // It was not asked: its own queue, breaker or rest says so already.
    if (is_a_fault[status] && status != RH_UNAVAILABLE && status != RH_LIMITED && status != RH_DEADLINE) {
      rh_route_stats_failure(&work->seat->stats, &work->gateway->breaker, (uint64_t)own.retry_after_ms * 1000000,
                             rh_clock_now_ns());
    }
    rh_try_stop(work);
    if (!rh_try_may_follow(work, own.status)) {
      if (error != NULL) *error = own;
      return status;
    }
    note_fallback(work, &own);
    work->at = next_at(work);
    work->facts.attempts--;
  }
}
