// SPDX-License-Identifier: Apache-2.0
//
// A run from its beginning to its final event: its states, its sink, and what other people may do with it. Owns the runs, which
// are used again with their buffers (provider->spares). Loop's thread. What happens on the network is attempt.c.
//
// A sink may do anything to any run from inside push. So every function here that called one asks rh_run_is_over() before it
// goes on, and a run's memory stays valid until the outermost rh_providers_leave().
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/limits.h"
#include "provider/explain.h"
#include "provider/transport.h"

#define LINES_BYTES_MAX (64u * 1024u)

// --- states ------------------------------------------------------------------------------------------------------------

static bool counts_as_running(rh_run_state state) {
  return state == RH_RUN_CHOSEN || state == RH_RUN_ACTIVE || state == RH_RUN_HELD || state == RH_RUN_PAUSING;
}

bool rh_run_is_over(const rh_provider_run *run) { return run->state == RH_RUN_OVER || run->state == RH_RUN_DOOMED; }

static void choose_next(rh_provider *provider) {
  while (provider->running < provider->running_max) {
    rh_provider_run *run = rh_provider_queue_pop(provider);
    if (run == NULL) return;
    rh_run_move(run, RH_RUN_CHOSEN);
  }
}

void rh_run_move(rh_provider_run *run, rh_run_state state) {
  rh_provider *provider = run->provider;
  bool ran = counts_as_running(run->state), runs = counts_as_running(state);
  if (run->state == RH_RUN_QUEUED && run->queue_place != 0) rh_provider_queue_remove(provider, run);
  if (run->state == RH_RUN_CHOSEN) rh_list_remove(&provider->chosen, &run->node);
  run->state = state;
  if (state == RH_RUN_CHOSEN) {
    rh_list_push_back(&provider->chosen, &run->node);
    rh_loop_defer(provider->owner->loop, &provider->owner->pump);
  }
  if (runs && !ran) provider->running++;
  if (!runs && ran) {
    assert(provider->running > 0);
    provider->running--;
    if (!provider->owner->closing) choose_next(provider);
  }
}

void rh_run_doom(rh_provider_run *run) {
  rh_providers *owner = run->provider->owner;
  assert(run->state != RH_RUN_DOOMED && run->state != RH_RUN_SPARE);
  rh_run_move(run, RH_RUN_DOOMED);
  rh_loop_timer_cancel(owner->loop, &run->timer);
  rh_loop_undefer(owner->loop, &run->resumed);
  rh_list_push_back(&owner->doomed, &run->node);
}

static void keep_small(rh_dynbuf *buf) {
  if (buf->capacity > RH_PROVIDER_KEPT_BYTES_MAX) {
    rh_dynbuf_free(buf);
  } else {
    rh_dynbuf_clear(buf);
  }
}

static void recycle(rh_provider_run *run) {
  rh_provider *provider = run->provider;
  run->state = RH_RUN_SPARE;
  keep_small(&run->body);
  keep_small(&run->lines);
  keep_small(&run->said);
  if (provider->spares.count < RH_PROVIDER_SPARES_MAX) {
    rh_list_push_front(&provider->spares, &run->node);
    return;
  }
  rh_dynbuf_free(&run->body);
  rh_dynbuf_free(&run->lines);
  rh_dynbuf_free(&run->said);
  free(run);
}

void rh_run_reap(rh_provider_run *run) {
  assert(run->state == RH_RUN_DOOMED);
  rh_list_remove(&run->provider->owner->doomed, &run->node);
  rh_list_remove(&run->provider->runs, &run->all);
  rh_attempt_end(run);
  recycle(run);
}

// --- events ------------------------------------------------------------------------------------------------------------

static rh_verdict deliver(rh_provider_run *run, rh_event *event) {
  assert(run->provider->owner->depth > 0);
  rh_sink sink = run->sink;
  event->choice = run->options.choice;
  run->passed = true;
  if (!rh_event_is_final(event)) {
    rh_verdict verdict = rh_sink_push(&sink, event);
    if (verdict == RH_WAIT && !rh_run_is_over(run)) run->waiting = true;
    return verdict;
  }
  if (event->kind == RH_EVENT_ERROR) rh_provider_hide_secrets(run->provider->spec, &event->as.error);
  // Over first: to the sink the place at the provider is free already, and cancelling does nothing.
  if (run->transfer.added) {
    run->waiting = false;
    rh_run_move(run, RH_RUN_OVER);
    rh_run_arm(run);
  } else {
    rh_run_doom(run);
  }
  (void)rh_sink_push(&sink, event);
  return RH_GO;
}

static rh_verdict on_event(void *ctx, const rh_event *event) {
  rh_provider_run *run = ctx;
  if (rh_run_is_over(run)) return RH_GO;  // a sink cancelled it while its reader had more
  rh_event own = *event;
  // It knows why there is no more.
  if (event->kind == RH_EVENT_ERROR && run->result != CURLE_OK) rh_answer_cut(run, run->result, &own.as.error);
  return deliver(run, &own);
}

rh_sink rh_run_tap(rh_provider_run *run) { return (rh_sink){.push = on_event, .ctx = run}; }

void rh_run_fail(rh_provider_run *run, const rh_error *error) {
  if (rh_run_is_over(run)) return;
  rh_event event = {.kind = RH_EVENT_ERROR, .as.error = *error};
  (void)deliver(run, &event);
}

// --- resting -------------------------------------------------------------------------------------------------------------

static rh_status say_resting(const rh_provider *provider, uint64_t now, rh_error *error) {
  uint64_t left_ms = (provider->resting_until_ns - now) / RH_NS_PER_MS + 1;
  rh_status status = rh_fail(error, RH_LIMITED,
                             "provider \"%s\" asked everybody to stay away; it takes requests again in %" PRIu64 " ms",
                             provider->spec->name, left_ms);
  if (error != NULL) error->retry_after_ms = (unsigned)left_ms;
  return status;
}

uint64_t rh_provider_resting_until_ns(const rh_provider *provider) {
  return provider->resting_until_ns > rh_clock_now_ns() ? provider->resting_until_ns : 0;
}

// Those that wait are told now: somebody else may have time for them.
void rh_provider_rest(rh_provider *provider, unsigned retry_after_ms) {
  uint64_t now = rh_clock_now_ns();
  uint64_t until = now + retry_after_ms * RH_NS_PER_MS;
  if (until <= provider->resting_until_ns) return;
  provider->resting_until_ns = until;
  RH_LOG(RH_LOG_WARN, "provider rests", rh_log_str("provider", provider->spec->name),
         rh_log_int("ms", (int64_t)retry_after_ms));
  rh_error error;
  memset(&error, 0, sizeof error);
  (void)say_resting(provider, now, &error);
  for (rh_list_node *node; (node = rh_list_first(&provider->chosen)) != NULL;) {
    rh_run_fail(rh_list_entry(node, rh_provider_run, node), &error);
  }
  for (rh_provider_run *run; (run = rh_provider_queue_pop(provider)) != NULL;) rh_run_fail(run, &error);
}

// --- what others call ----------------------------------------------------------------------------------------------------

static void on_resumed(void *ctx) {
  rh_provider_run *run = ctx;
  if (!run->waiting) return;
  rh_providers *owner = run->provider->owner;
  rh_providers_enter(owner);
  run->waiting = false;
  if (run->state == RH_RUN_HELD) {
    rh_attempt_settle(run, run->result);
  } else {
    run->byte_ns = rh_clock_now_ns();  // the silence was ours
    rh_run_arm(run);
    bool paused = run->paused;
    run->paused = false;
    // What libcurl kept meanwhile comes now, through the callback, which may pause again.
    if (paused) (void)curl_easy_pause(run->transfer.easy, CURLPAUSE_CONT);
  }
  rh_providers_leave(owner);
}

static rh_provider_run *new_run(rh_provider *provider) {
  rh_provider_run *run;
  rh_list_node *node = rh_list_first(&provider->spares);
  if (node != NULL) {
    rh_list_remove(&provider->spares, node);
    run = rh_list_entry(node, rh_provider_run, node);
    // All but the buffers and the header nodes begins anew.
    rh_dynbuf body = run->body, lines = run->lines, said = run->said;
    memset(run, 0, offsetof(rh_provider_run, headers));
    run->body = body;
    run->lines = lines;
    run->said = said;
  } else {
    run = calloc(1, sizeof *run);
    if (run == NULL) return NULL;
    rh_dynbuf_init(&run->body, RH_FRAME_BYTES_MAX);
    rh_dynbuf_init(&run->lines, LINES_BYTES_MAX);
    rh_dynbuf_init(&run->said, RH_PROVIDER_EXPLAIN_BYTES_MAX);
  }
  run->provider = provider;
  run->timer = (rh_timer){.fn = rh_run_expire, .ctx = run};
  run->resumed = (rh_deferred){.fn = on_resumed, .ctx = run};
  return run;
}

static rh_status may_begin(const rh_provider *provider, const rh_provider_options *options, rh_error *error) {
  const rh_provider_spec *spec = provider->spec;
  uint64_t now = rh_clock_now_ns();
  if (provider->ops == NULL) {
    return rh_fail(error, RH_UNSUPPORTED, "provider \"%s\" speaks a protocol that this build does not know",
                   spec->name);
  }
  if (spec->key_error != NULL) {
    return rh_fail(error, RH_UPSTREAM, "provider \"%s\" has no key: %s", spec->name, spec->key_error);
  }
  if (provider->resting_until_ns > now) return say_resting(provider, now, error);
  if (options->deadline_ns != 0 && options->deadline_ns <= now) {
    return rh_fail(error, RH_DEADLINE, "the request's deadline passed before provider \"%s\" was asked", spec->name);
  }
  if (provider->running >= provider->running_max && provider->queued >= provider->queue_max) {
    return rh_fail(error, RH_QUEUE_FULL, "provider \"%s\" is busy: %zu requests run and %zu wait already", spec->name,
                   provider->running, provider->queued);
  }
  return RH_OK;
}

rh_status rh_provider_run_begin(rh_provider *provider, const char *model, const rh_run *run,
                                const rh_provider_options *options, const rh_sink *sink, rh_provider_run **out,
                                rh_error *error) {
  rh_status status = may_begin(provider, options, error);
  if (status != RH_OK) return status;
  const char *name = provider->spec->name;
  rh_provider_run *made = new_run(provider);
  if (made == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a run at provider \"%s\"", name);
  made->options = *options;
  made->sink = *sink;
  made->model = model;
  made->run = run;
  status = provider->ops->write(provider->spec, model, run, options->stream, &made->body, &made->path, error);
  if (status == RH_OK && made->body.failed) {
    status = rh_fail(error, RH_TOO_LARGE, "the request is too large for provider \"%s\"", name);
  }
  if (status == RH_OK) status = rh_provider_headers(provider, run, &made->lines, made->headers, error);
  bool room = provider->running < provider->running_max;
  if (status == RH_OK && !room && (status = rh_provider_queue_push(provider, made)) != RH_OK) {
    (void)rh_fail(error, status, "provider \"%s\" is busy, and its queue cannot grow", name);
  }
  if (status != RH_OK) {
    recycle(made);
    return status;
  }
  rh_list_push_back(&provider->runs, &made->all);
  rh_run_move(made, room ? RH_RUN_CHOSEN : RH_RUN_QUEUED);
  if (options->deadline_ns != 0) rh_run_arm(made);
  *out = made;
  return RH_OK;
}

void rh_provider_run_resume(rh_provider_run *run) {
  if (!rh_run_is_over(run)) rh_loop_defer(run->provider->owner->loop, &run->resumed);
}

bool rh_provider_run_was_sent(const rh_provider_run *run) { return run->attempts > 0; }

void rh_provider_run_cancel(rh_provider_run *run) {
  if (rh_run_is_over(run)) return;  // from inside its own final push
  rh_run_doom(run);
  if (run->provider->owner->depth == 0) rh_run_reap(run);
}
