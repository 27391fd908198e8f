// SPDX-License-Identifier: Apache-2.0
//
// The spine: the way of one request, as a table of steps. Each step asks one layer and says which step is next.
//
//   READ → DECODE → ADMIT → ROUTE → SCHEDULE → RUN → ACCOUNT → DONE
//
// A step that fails sets call->error and goes to ACCOUNT by way of an error answer. A client that leaves cancels the
// call's jobs at any step. Loop thread only; a call is owned by this file and lives until http is done with its exchange.
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/internal.h"
#include "flow/fit.h"

#define WARNINGS_BYTES_MAX 4096
// A silent stream gets a comment this often, so that no proxy between us and the client gives up on it.
#define PING_NS (15 * RH_NS_PER_S)

static rh_step reject(rh_call *call) {
  rh_call_stop_work(call);
  rh_answer_error(call);
  return RH_STEP_ACCOUNT;
}

static rh_step step_read(rh_call *call) {
  (void)call;
  return RH_STEP_PARK;  // rh_routes_request moves it on
}

static bool accepts_event_stream(const rh_http_exchange *exchange) {
  const char *accept = rh_http_header(exchange, "Accept");
  return accept != NULL && strstr(accept, "text/event-stream") != NULL;
}

static rh_step step_decode(rh_call *call) {
  size_t length = 0;
  const char *body = rh_http_body(call->exchange, &length);
  // Room for the body's strings, the structures around them, and the codec's notes. The factor covers a prompt given as
  // an array of one-digit token ids ("1,"), whose native form is larger than its text.
  call->arena = rh_arena_new(1024 * 1024 + 8 * length);
  if (call->arena == NULL) {
    (void)rh_fail(&call->error, RH_NO_MEMORY, "no memory for this request; try again later");
    return reject(call);
  }
  rh_request *request = &call->request;
  request->stream = call->endpoint->streams_by_default || accepts_event_stream(call->exchange);
  rh_text_copy(request->id, sizeof request->id, call->id);
  rh_status status = call->endpoint->decode(body, length, call->arena, request, &call->warnings, &call->error);
  return status == RH_OK ? RH_STEP_ADMIT : reject(call);
}

static rh_step step_admit(rh_call *call) {
  if (call->daemon->stopping) {
    (void)rh_fail(&call->error, RH_UNAVAILABLE, "the server is shutting down; try again in a moment");
    return reject(call);
  }
  return RH_STEP_ROUTE;
}

static const char *version_of(const char *model) {
  const char *colon = strrchr(model, ':');
  return colon != NULL ? colon + 1 : "";
}

static rh_step step_route(rh_call *call) {
  rh_resolution found;
  rh_status status = rh_manager_resolve(call->daemon->manager, call->request.model, &found, &call->error);
  if (status != RH_OK) return reject(call);
  const char *reason = rh_arena_strdup(call->arena, found.reason);
  call->served = found.served;
  rh_served_hold(call->served, call->request.keep_alive);
  call->meta.model = rh_served_spec(call->served)->name;
  call->meta.version = version_of(call->meta.model);
  call->meta.route_reason = reason != NULL ? reason : "";
  // A model that was loaded once need not be loaded again to say that it is for something else.
  const rh_model_info *info = rh_member_info(rh_served_member(call->served));
  if (info != NULL && rh_task_check(call->request.task, info, call->meta.model, &call->error) != RH_OK) {
    return reject(call);
  }
  const char *labels[] = {call->meta.model, call->meta.route_reason};
  rh_metrics_add(call->daemon->metrics, RH_M_MODEL_SELECTED, labels, 1);
  return RH_STEP_SCHEDULE;
}

static void fill_part(rh_call *call, size_t index) {
  const rh_request *request = &call->request;
  rh_part *part = &call->parts[index];
  size_t choices = (size_t)request->choices;
  part->call = call;
  part->run = (rh_run){
      .task = request->task,
      .generate = request->generate,
      .infer = request->infer,
      .request_id = request->id,
  };
  if (request->infer == NULL) part->run.prompt = request->prompts[index / choices];
  // Several answers to one prompt under one seed would all be the same text.
  if (request->generate.has_seed) part->run.generate.seed += (uint32_t)(index % choices);
}

static uint64_t deadline_of(const rh_call *call) {
  uint64_t most = call->daemon->settings->request_timeout;
  uint64_t wanted = call->request.timeout_ns;
  return call->meta.received_ns + (wanted != 0 && wanted < most ? wanted : most);
}

static rh_status submit(rh_call *call, size_t index) {
  rh_part *part = &call->parts[index];
  fill_part(call, index);
  rh_job_options options = {
      .priority = call->request.priority,
      .deadline_ns = deadline_of(call),
      .choice = (uint32_t)index,
      .buffered = !call->request.stream,
  };
  rh_sink sink = {.push = rh_answer_event, .ctx = part};
  return rh_sched_submit(rh_served_queue(call->served), &part->run, &options, &sink, &part->job, &call->error);
}

static rh_step step_schedule(rh_call *call) {
  size_t count = rh_request_runs(&call->request);
  assert(count >= 1 && count <= RH_JOBS_MAX);
  call->parts = rh_arena_alloc_array(call->arena, count, sizeof *call->parts);
  call->encoder = rh_encoder_new(call->endpoint, &call->request, &call->meta, rh_dynbuf_data(&call->warnings));
  if (call->parts == NULL || call->encoder == NULL) {
    (void)rh_fail(&call->error, RH_NO_MEMORY, "no memory for this request; try again later");
    return reject(call);
  }
  call->part_count = count;
  call->meta.info = rh_member_info(rh_served_member(call->served));
  for (size_t i = 0; i < count; i++) {
    if (submit(call, i) != RH_OK) return reject(call);
  }
  if (call->request.stream) rh_loop_timer_set(call->daemon->loop, &call->ping, PING_NS);
  return RH_STEP_RUN;
}

static rh_step step_run(rh_call *call) {
  return call->answered ? RH_STEP_ACCOUNT : RH_STEP_PARK;  // events move it on
}

// Counting and logging wait until the answer is out: the client must not wait for them.
static rh_step step_account(rh_call *call) {
  if (!call->over) return RH_STEP_PARK;
  rh_loop_timer_cancel(call->daemon->loop, &call->ping);
  rh_account_call(call);
  return RH_STEP_DONE;
}

static rh_step step_done(rh_call *call) {
  (void)call;
  return RH_STEP_PARK;  // nothing is left to do
}

typedef rh_step (*rh_step_fn)(rh_call *call);

static const rh_step_fn steps[RH_STEP_COUNT] = {
    [RH_STEP_READ] = step_read,       [RH_STEP_DECODE] = step_decode,     [RH_STEP_ADMIT] = step_admit,
    [RH_STEP_ROUTE] = step_route,     [RH_STEP_SCHEDULE] = step_schedule, [RH_STEP_RUN] = step_run,
    [RH_STEP_ACCOUNT] = step_account, [RH_STEP_DONE] = step_done,
};

void rh_call_advance(rh_call *call) {
  for (;;) {
    assert(call->step < RH_STEP_COUNT);
    rh_step next = steps[call->step](call);
    if (next == RH_STEP_PARK) return;
    assert(next > call->step);  // the way leads forwards only
    call->step = next;
  }
}

void rh_call_stop_work(rh_call *call) {
  for (size_t i = 0; i < call->part_count; i++) {
    rh_job *job = call->parts[i].job;
    call->parts[i].job = NULL;
    if (job != NULL) rh_sched_cancel(job);
  }
}

void rh_call_fail(rh_call *call, const rh_error *error) {
  if (call->step >= RH_STEP_ACCOUNT) return;
  call->error = *error;
  call->step = reject(call);
  rh_call_advance(call);
}

static void on_ping(void *ctx) {
  rh_call *call = ctx;
  if (call->answered || call->gone) return;
  uint64_t last = call->streaming ? rh_http_stream_last_write_ns(call->exchange) : call->meta.received_ns;
  uint64_t silent = rh_clock_now_ns() - last;
  if (call->pending.length > 0) silent = 0;  // half an event is out, and who reads it slowly hears enough
  if (silent + RH_NS_PER_S / 10 >= PING_NS) {
    if (!call->streaming) rh_answer_begin_stream(call);
    (void)rh_http_stream_write(call->exchange, call->endpoint->ping, strlen(call->endpoint->ping));
    silent = 0;
  }
  rh_loop_timer_set(call->daemon->loop, &call->ping, PING_NS - silent);
}

static void on_request(rh_handler *handler) {
  rh_call *call = (rh_call *)(void *)handler;
  if (!rh_http_body_too_large(call->exchange)) {
    call->step = RH_STEP_DECODE;
    rh_call_advance(call);
    return;
  }
  rh_error error;
  (void)rh_fail(&error, RH_TOO_LARGE,
                "the request's body is larger than %llu bytes; send less or raise \"body_bytes_max\"",
                (unsigned long long)call->daemon->settings->body_bytes_max);
  rh_call_fail(call, &error);
}

static void on_drain(rh_handler *handler) { rh_answer_drain((rh_call *)(void *)handler); }

static void on_done(rh_handler *handler) {
  rh_call *call = (rh_call *)(void *)handler;
  rh_daemon *daemon = call->daemon;
  call->gone = call->over = true;
  rh_call_stop_work(call);
  if (call->step < RH_STEP_ACCOUNT) {
    (void)rh_fail(&call->error, RH_CANCELLED, "the client closed the connection");
    call->step = RH_STEP_ACCOUNT;
  }
  rh_call_advance(call);
  if (call->served != NULL) rh_served_release(call->served);
  rh_list_remove(&daemon->calls, &call->node);
  rh_encoder_free(call->encoder);
  rh_dynbuf_free(&call->pending);
  rh_dynbuf_free(&call->warnings);
  rh_arena_free(call->arena);
  free(call);
  rh_daemon_call_done(daemon);
}

static const rh_handler_ops call_ops = {.request = on_request, .drain = on_drain, .done = on_done};

rh_call *rh_call_find(const rh_daemon *daemon, const char *id) {
  rh_list_each(&daemon->calls, node) {
    rh_call *call = rh_list_entry(node, rh_call, node);
    if (call->step < RH_STEP_ACCOUNT && strcmp(call->id, id) == 0) return call;
  }
  return NULL;
}

// A client may name its request, so that it can cancel it before it has heard of it. The name must be harmless in headers
// and logs, and no other request's; otherwise the request gets one of ours.
static void name_call(rh_call *call) {
  const char *wanted = rh_http_header(call->exchange, "X-Request-Id");
  size_t length = wanted != NULL ? strlen(wanted) : 0;
  bool good = length > 0 && length < sizeof call->id;
  for (size_t i = 0; good && i < length; i++)
    good = isalnum((unsigned char)wanted[i]) || strchr("-_.:", wanted[i]) != NULL;
  if (good && rh_call_find(call->daemon, wanted) == NULL)
    rh_text_copy(call->id, sizeof call->id, wanted);
  else
    rh_id_make(call->id, "req-");
}

void rh_call_begin(rh_daemon *daemon, rh_http_exchange *exchange, const rh_api_endpoint *endpoint) {
  rh_call *call = calloc(1, sizeof *call);
  if (call == NULL) {
    rh_error error;
    (void)rh_fail(&error, RH_NO_MEMORY, "no memory for this request; try again later");
    rh_answer_plain_error(daemon, exchange, "", &error);
    return;
  }
  call->handler.ops = &call_ops;
  call->daemon = daemon;
  call->exchange = exchange;
  call->endpoint = endpoint;
  name_call(call);
  rh_dynbuf_init(&call->pending, RH_CALL_PENDING_BYTES_MAX);
  rh_dynbuf_init(&call->warnings, WARNINGS_BYTES_MAX);
  call->ping = (rh_timer){.fn = on_ping, .ctx = call};
  call->meta = (rh_answer_meta){
      .model = "",
      .version = "",
      .host = daemon->host,
      .provider = "local",
      .route_reason = "",
      .cache = "off",
      .created = rh_clock_wall_s(),
      .received_ns = rh_http_received_ns(exchange),
  };
  rh_list_push_back(&daemon->calls, &call->node);
  rh_http_set_user(exchange, call);
  rh_headers_common(daemon, exchange, call->id);
}
