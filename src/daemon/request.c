// SPDX-License-Identifier: Apache-2.0
//
// The spine: the way of one request, as a table of steps. Each step asks one layer and says which step is next.
//
//   READ → DECODE → ADMIT → ROUTE → CACHE → SCHEDULE → RUN → ACCOUNT → DONE
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

static rh_status decode_body(rh_call *call, const char *body, size_t length, bool stream) {
  // Room for the body's strings, the structures around them, and the codec's notes. The factor covers a prompt given as
  // an array of one-digit token ids ("1,"), whose native form is larger than its text.
  call->asked->arena = rh_arena_new(1024 * 1024 + 8 * length);
  if (call->asked->arena == NULL) {
    return rh_fail(&call->error, RH_NO_MEMORY, "no memory for this request; try again later");
  }
  rh_request *request = &call->asked->request;
  request->stream = call->decoded_stream = stream;
  rh_status status = call->endpoint->decode(body, length, call->asked->arena, request, &call->warnings, &call->error);
  rh_request *copy = status == RH_OK ? rh_arena_alloc(call->asked->arena, sizeof *copy) : NULL;
  if (copy != NULL) *copy = *request;
  call->decoded = copy;
  return status;
}

static rh_step step_decode(rh_call *call) {
  size_t length = 0;
  const char *body = rh_http_body(call->exchange, &length);
  bool stream = call->endpoint->streams_by_default || accepts_event_stream(call->exchange);
  bool known = rh_memo_recall(call, body, length, stream);
  rh_status status = known ? RH_OK : decode_body(call, body, length, stream);
  rh_text_copy(call->asked->request.id, sizeof call->asked->request.id, call->id);
  if (status == RH_OK) status = rh_hints_read(call->exchange, call->asked, &call->error);
  return status == RH_OK ? RH_STEP_ADMIT : reject(call);
}

static rh_step step_admit(rh_call *call) {
  if (call->daemon->stopping) {
    (void)rh_fail(&call->error, RH_UNAVAILABLE, "the server is shutting down; try again in a moment");
    return reject(call);
  }
  rh_step next = rh_admit_step(call);
  return next != RH_STEP_COUNT ? next : reject(call);
}

// A label of a metric must not be a rule's free text with numbers in it.
static const char *selection_label(const rh_way *way) {
  if (way->experiment[0] != '\0') return "experiment";
  if (!way->routed) return way->reason;
  return way->rule >= 0 ? "rule" : rh_strategy_name(way->strategy);
}

static rh_step step_route(rh_call *call) {
  rh_way *way = rh_arena_alloc(call->asked->arena, sizeof *way);
  if (way == NULL) {
    (void)rh_fail(&call->error, RH_NO_MEMORY, "no memory for this request; try again later");
    return reject(call);
  }
  if (rh_gateway_find_way(call->daemon->gateway, &call->asked->request, &call->caller, way, &call->error) != RH_OK) {
    return reject(call);
  }
  rh_way_hold(way);
  call->way = way;
  call->meta.route_reason = way->reason;
  if (way->experiment[0] != '\0') {
    call->meta.experiment = way->experiment;
    call->meta.arm = way->arm;
  }
  rh_way_describe_first(call->daemon->gateway, way, &call->facts);
  rh_answer_note_member(call);
  const char *labels[] = {call->meta.model, selection_label(way)};
  rh_metrics_add(call->daemon->metrics, RH_M_MODEL_SELECTED, labels, 1);
  return RH_STEP_CACHE;
}

static rh_step step_cache(rh_call *call) {
  rh_step next = rh_lookup_step(call);
  return next != RH_STEP_COUNT ? next : reject(call);
}

uint64_t rh_call_deadline(const rh_call *call) {
  uint64_t most = call->daemon->settings->request_timeout;
  uint64_t wanted = call->asked->request.timeout_ns;
  return call->meta.received_ns + (wanted != 0 && wanted < most ? wanted : most);
}

static rh_step step_schedule(rh_call *call) {
  rh_request *request = &call->asked->request;
  rh_work_options options = {
      .deadline_ns = rh_call_deadline(call),
      .priority = request->priority,
      .key = call->cacheable ? &call->cache_key : NULL,
      .local_only = call->way->features.local_only,
  };
  rh_sink sink = {.push = rh_answer_event, .ctx = call};
  rh_status status = rh_work_start(call->daemon->gateway, call->asked, call->way, &options, &sink, request->stream,
                                   &call->follower, &call->error);
  if (status != RH_OK) return reject(call);
  call->ran = true;
  rh_answer_note_member(call);
  rh_gateway_begin_shadows(call->daemon->gateway, call->asked, &call->caller, call->way);
  if (request->stream) rh_loop_timer_set(call->daemon->loop, &call->ping, PING_NS);
  return RH_STEP_RUN;
}

static bool make_encoder(rh_call *call) {
  call->encoder = rh_encoder_new(call->endpoint, &call->asked->request, &call->meta, rh_dynbuf_data(&call->warnings));
  size_t runs = rh_request_runs(&call->asked->request);
  call->runs = rh_arena_alloc_array(call->asked->arena, runs, sizeof *call->runs);
  if (call->runs != NULL) memset(call->runs, 0, runs * sizeof *call->runs);
  if (call->encoder != NULL && call->runs != NULL) return true;
  (void)rh_fail(&call->error, RH_NO_MEMORY, "no memory for this request; try again later");
  return false;
}

// Every event comes after this: whoever begins or joins work hears nothing from inside.
static rh_step step_run(rh_call *call) {
  if (call->answered) return RH_STEP_ACCOUNT;
  if (call->cached != NULL && rh_answer_again(call)) return RH_STEP_PARK;  // it has moved the call on
  if (call->encoder == NULL && !make_encoder(call)) return reject(call);
  if (call->cached != NULL) {
    // At once, so that the connection need not be suspended and woken again. It moves the call on by itself.
    rh_lookup_replay(call);
    return RH_STEP_PARK;
  }
  return RH_STEP_PARK;  // events move it on
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
    [RH_STEP_READ] = step_read,   [RH_STEP_DECODE] = step_decode,   [RH_STEP_ADMIT] = step_admit,
    [RH_STEP_ROUTE] = step_route, [RH_STEP_CACHE] = step_cache,     [RH_STEP_SCHEDULE] = step_schedule,
    [RH_STEP_RUN] = step_run,     [RH_STEP_ACCOUNT] = step_account, [RH_STEP_DONE] = step_done,
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

void rh_call_move_on(rh_call *call, rh_step step) {
  call->step = step != RH_STEP_COUNT ? step : reject(call);
  rh_call_advance(call);
}

void rh_call_stop_work(rh_call *call) {
  if (call->limits_question != NULL) {
    rh_limits_forget(call->limits_question);
    call->limit_count = 0;  // nobody knows whether anything was taken, so nothing is given back
  }
  if (call->cache_question != NULL) rh_cache_forget(call->cache_question);
  call->limits_question = NULL;
  call->cache_question = NULL;
  rh_semantic_stop(call);
  rh_loop_undefer(call->daemon->loop, &call->replaying);
  rh_recording_release(call->cached);
  call->cached = NULL;
  rh_follower *follower = call->follower;
  call->follower = NULL;
  if (follower == NULL) return;
  if (!call->whole) (void)rh_follower_pass_lead(follower);
  call->facts = *rh_follower_facts(follower);
  // These words are the work's own, and it may end here.
  call->facts.fallback = rh_arena_strdup(call->asked->arena, call->facts.fallback);
  if (call->facts.fallback == NULL) call->facts.fallback = "";
  if (!rh_follower_leads(follower)) call->facts.cost_usd = 0;
  // Cut short: what was not told to the client counts all the same.
  if (!call->whole && rh_follower_leads(follower) && call->facts.usage.prompt_tokens > 0) {
    call->usage = call->facts.usage;
    call->meta.cost_usd = call->facts.cost_usd;
  }
  rh_follower_leave(follower);
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
  rh_admit_leave(call);
  if (call->way != NULL) rh_way_release(call->way);
  if (call->served != NULL) rh_served_release(call->served);
  if (call->caller.key != NULL) rh_key_release(call->caller.key);
  rh_list_remove(&daemon->calls, &call->node);
  rh_encoder_free(call->encoder);
  rh_dynbuf_free(&call->pending);
  rh_dynbuf_free(&call->warnings);
  rh_asked_release(call->asked);
  rh_memo_release(call->memo);
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
  call->named = good && rh_call_find(call->daemon, wanted) == NULL;
  if (call->named)
    rh_text_copy(call->id, sizeof call->id, wanted);
  else
    rh_id_make(call->id, "req-");
}

static const char *find_header(void *ctx, const char *name) { return rh_http_header(ctx, name); }

static rh_call *new_call(void) {
  rh_call *call = calloc(1, sizeof *call);
  if (call == NULL) return NULL;
  call->asked = rh_asked_new();
  if (call->asked != NULL) return call;
  free(call);
  return NULL;
}

static void on_replaying(void *ctx) { rh_lookup_replay(ctx); }

void rh_call_begin(rh_daemon *daemon, rh_http_exchange *exchange, const rh_api_endpoint *endpoint, rh_key *key) {
  rh_call *call = new_call();
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
  call->replaying = (rh_deferred){.fn = on_replaying, .ctx = call};
  call->caller = (rh_caller){
      .key = key,
      .address = rh_gate_address(daemon, exchange),
      .header = find_header,
      .header_ctx = exchange,
  };
  if (key != NULL) rh_key_hold(key);
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
