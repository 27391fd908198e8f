// SPDX-License-Identifier: Apache-2.0
//
// Answers: events of the call's work go through the call's encoder to the client, one buffer deep. When the client reads
// too slowly the sink says WAIT, the member withholds credit and the worker pauses that run; nothing grows.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/internal.h"

#define ANSWER_BYTES_MAX (128u * 1024u * 1024u)  // more than any encoder holds

static void mark_answered(rh_call *call) {
  call->answered = true;
  call->answered_ns = rh_clock_now_ns();
}

// --- who answers ---------------------------------------------------------------------------------------------------

static const char *version_of(const char *model) {
  const char *colon = strrchr(model, ':');
  return colon != NULL ? colon + 1 : "";
}

// Kept while the call lives: what is told of a model must not vanish with it.
static void guard(rh_call *call, rh_served *served) {
  if (served == NULL || served == call->served) return;
  rh_served_guard(served);
  if (call->served != NULL) rh_served_release(call->served);
  call->served = served;
}

// Where a fallback was taken, the reason says from whom and why.
static void note_fallback(rh_call *call, const rh_work_facts *facts) {
  if (facts->fallback == NULL || facts->fallback[0] == '\0') return;
  const char *text = rh_arena_printf(call->asked->arena, "%s; %s", call->way->reason, facts->fallback);
  if (text != NULL) call->meta.route_reason = text;
}

void rh_answer_note_member(rh_call *call) {
  const rh_work_facts *facts = call->follower != NULL ? rh_follower_facts(call->follower) : &call->facts;
  guard(call, facts->served);
  if (facts->model != NULL && strcmp(call->meta.model, facts->model) != 0) {
    const char *model = rh_arena_strdup(call->asked->arena, facts->model);
    call->meta.model = model != NULL ? model : "";
    call->meta.version = version_of(call->meta.model);
  }
  if (facts->provider != NULL) call->meta.provider = facts->provider;
  call->meta.info = facts->info;
  call->meta.attempts = facts->attempts > 1 ? (int)facts->attempts : 0;  // what is usual needs no words
  call->meta.confidence = facts->confidence;
  note_fallback(call, facts);
}

// --- headers -------------------------------------------------------------------------------------------------------

static void set_header(rh_call *call, const char *name, const char *value) {
  (void)rh_http_set_header(call->exchange, name, value);
}

// A rule's reason is somebody's free text, and a header is one line of ASCII.
static void set_reason(rh_call *call) {
  char text[2 * RH_REASON_MAX];
  (void)rh_text_copy(text, sizeof text, call->meta.route_reason);
  for (char *c = text; *c != '\0'; c++) *c = *c >= ' ' && *c < 127 ? *c : '?';
  if (text[0] != '\0') set_header(call, "x-roundhouse-route", text);
}

static void set_headers(rh_call *call, bool whole) {
  char text[48];
  if (call->meta.model[0] == '\0') return;  // none was chosen
  set_header(call, "x-roundhouse-model", call->meta.model);
  set_header(call, "x-roundhouse-provider", call->meta.provider);
  set_reason(call);
  set_header(call, "x-roundhouse-cache", call->meta.cache);
  if (strcmp(call->meta.cache, "hit") == 0) {
    (void)rh_text_format_int(text, llround(call->meta.cache_age_s));
    set_header(call, "Age", text);
  }
  if (call->meta.attempts > 1) {
    snprintf(text, sizeof text, "%d", call->meta.attempts);
    set_header(call, "x-roundhouse-attempts", text);
  }
  if (!whole) return;  // a stream's cost is not known before its end, where it stands in the last event
  if (call->meta.cost_usd > 0) (void)snprintf(text, sizeof text, "%.8g", call->meta.cost_usd);
  set_header(call, "x-roundhouse-cost-usd", call->meta.cost_usd > 0 ? text : "0");
}

void rh_answer_begin_stream(rh_call *call) {
  rh_http_exchange *exchange = call->exchange;
  (void)rh_http_set_header(exchange, "Cache-Control", "no-cache");
  (void)rh_http_set_header(exchange, "X-Accel-Buffering", "no");
  set_headers(call, false);
  call->http_status = 200;
  call->streaming = true;
  (void)rh_http_stream_begin(exchange, 200, call->endpoint->stream_type);
}

// What waits goes out in pieces that http has room for. False: there is no room for more.
static bool send_pending(rh_call *call) {
  size_t piece = (size_t)call->daemon->settings->stream_buffer;
  while (call->pending.length > 0) {
    size_t length = call->pending.length < piece ? call->pending.length : piece;
    rh_http_room room = rh_http_stream_write(call->exchange, rh_dynbuf_data(&call->pending), length);
    rh_dynbuf_consume(&call->pending, length);
    call->full = room == RH_HTTP_WAIT;
    if (call->full) return false;
  }
  // One large event must not cost its size until the end.
  rh_dynbuf_free(&call->pending);
  return true;
}

// What does not fit in `pending` is left out whole, so that events stay events; false tells it.
static bool send_bytes(rh_call *call, const rh_dynbuf *bytes, bool *room) {
  if (!call->full && bytes->length <= call->daemon->settings->stream_buffer) {
    call->full = rh_http_stream_write(call->exchange, rh_dynbuf_data(bytes), bytes->length) == RH_HTTP_WAIT;
    *room = !call->full;
    return true;
  }
  *room = false;
  if (rh_dynbuf_append(&call->pending, rh_dynbuf_data(bytes), bytes->length) != RH_OK) {
    call->pending.failed = false;
    return false;
  }
  *room = !call->full && send_pending(call);
  return true;
}

static void end_stream(rh_call *call) {
  mark_answered(call);
  call->ending = call->pending.length > 0;  // then when the last of it has gone
  if (!call->ending) rh_http_stream_end(call->exchange);
}

static void answer_whole(rh_call *call, unsigned status, const rh_dynbuf *body) {
  set_headers(call, true);
  call->http_status = status;
  mark_answered(call);
  (void)rh_http_respond(call->exchange, status, "application/json", rh_dynbuf_data(body), body->length);
}

static unsigned retry_after(const rh_call *call) {
  if (call->error.retry_after_ms > 0) return (call->error.retry_after_ms + 999) / 1000;
  return call->served != NULL ? rh_sched_retry_after_s(rh_served_queue(call->served)) : 1;
}

void rh_answer_error(rh_call *call) {
  if (call->gone || call->answered) return;
  rh_dynbuf body;
  rh_dynbuf_init(&body, ANSWER_BYTES_MAX);
  (void)call->endpoint->encode_error(call->id, &call->error, call->streaming, &body);
  if (call->streaming) {
    bool room;
    (void)send_bytes(call, &body, &room);
    end_stream(call);
  } else {
    rh_headers_error(call->exchange, &call->error, retry_after(call));
    answer_whole(call, rh_api_http_status(call->error.status), &body);
  }
  rh_dynbuf_free(&body);
}

void rh_answer_plain_error(rh_daemon *daemon, rh_http_exchange *exchange, const char *id, const rh_error *error) {
  (void)daemon;
  rh_dynbuf body;
  rh_dynbuf_init(&body, ANSWER_BYTES_MAX);
  (void)rh_api_error_body(rh_http_path(exchange), id, error, &body);
  rh_headers_error(exchange, error, (error->retry_after_ms + 999) / 1000);
  (void)rh_http_respond(exchange, rh_api_http_status(error->status), "application/json", rh_dynbuf_data(&body),
                        body.length);
  rh_dynbuf_free(&body);
}

// A preference is no order: where it could not be followed, the route's reason says so.
static void note_backend(rh_call *call) {
  const char *wanted = call->asked->request.prefer_backend;
  const rh_model_info *info = call->meta.info;
  if (wanted == NULL || strcmp(wanted, "auto") == 0 || info == NULL) return;
  bool on_cpu = strncmp(info->device, "cpu", 3) == 0;
  if (on_cpu == (strcmp(wanted, "cpu") == 0)) return;
  const char *text =
      rh_arena_printf(call->asked->arena, "%s; prefer_backend %s was not possible: this model runs on %s",
                      call->meta.route_reason, wanted, info->device);
  if (text != NULL) call->meta.route_reason = text;
}

// A piece of the answer. A provider does not say how many tokens a piece is.
static bool is_text(const rh_event *event) {
  if (event->kind == RH_EVENT_TOOL) return true;
  return event->kind == RH_EVENT_DELTA && (event->as.delta.token_count > 0 || event->as.delta.length > 0);
}

static void add_usage(rh_usage *sum, const rh_usage *usage, int sign) {
  sum->prompt_tokens += sign * usage->prompt_tokens;
  sum->completion_tokens += sign * usage->completion_tokens;
  sum->cached_tokens += sign * usage->cached_tokens;
  sum->written_tokens += sign * usage->written_tokens;
  sum->reasoning_tokens += sign * usage->reasoning_tokens;
  sum->queue_ms += sign * usage->queue_ms;
  sum->prompt_ms += sign * usage->prompt_ms;
  sum->decode_ms += sign * usage->decode_ms;
}

// What a run had used before it began anew is not in the answer.
static void begin_run(rh_call *call, rh_call_run *run) {
  add_usage(&call->usage, &run->usage, -1);
  call->deltas_tokens -= run->deltas_tokens;
  call->items_failed -= run->items_failed;
  *run = (rh_call_run){0};
}

// What the account needs is read off the events as they pass.
static void note(rh_call *call, const rh_event *event) {
  rh_call_run *run = &call->runs[event->choice];
  if (event->kind == RH_EVENT_START) {
    rh_answer_note_member(call);
    if (!call->started) note_backend(call);
    call->started = true;
    begin_run(call, run);
  } else if (is_text(event)) {
    uint64_t now = rh_clock_now_ns();
    if (call->meta.first_token_ns == 0) call->meta.first_token_ns = now;
    call->last_token_ns = now;
    int64_t tokens = event->kind == RH_EVENT_TOOL ? event->as.tool.token_count : event->as.delta.token_count;
    run->deltas_tokens += tokens;
    call->deltas_tokens += tokens;
  } else if (event->kind == RH_EVENT_RESULT) {
    int64_t failed = event->as.result.kind == RH_RESULT_FAILED;
    run->items_failed += failed;
    call->items_failed += failed;
  } else if (event->kind == RH_EVENT_USAGE) {
    call->usage.work = event->as.usage.work;
    add_usage(&run->usage, &event->as.usage, 1);
    add_usage(&call->usage, &event->as.usage, 1);
    if (call->follower != NULL && rh_follower_leads(call->follower)) {
      call->meta.cost_usd = rh_follower_facts(call->follower)->cost_usd;
      call->meta.cache = call->cacheable ? "miss" : "off";  // one that took the lead over had begun as a hit
    }
  }
}

static rh_verdict send_stream(rh_call *call, const rh_dynbuf *bytes) {
  if (!call->streaming) rh_answer_begin_stream(call);
  bool room = true;
  if (!send_bytes(call, bytes, &room)) {
    rh_error error;
    (void)rh_fail(&error, RH_TOO_LARGE, "the answer does not fit in what is held for a client that reads too slowly");
    rh_call_fail(call, &error);
    return RH_GO;
  }
  if (room) return RH_GO;
  call->held = true;
  return RH_WAIT;
}

static void finish(rh_call *call, const rh_dynbuf *bytes) {
  call->whole = true;
  rh_call_stop_work(call);
  if (call->streaming) {
    end_stream(call);
  } else {
    answer_whole(call, 200, bytes);
  }
  rh_call_advance(call);
}

// Equal requests have equal answers but for their ids and times, so what was written once is written again.
bool rh_answer_again(rh_call *call) {
  const rh_memo *memo = call->memo;
  if (memo == NULL || memo->form == NULL || memo->recording != call->cached || call->asked->request.stream)
    return false;
  if (!call->started) note_backend(call);
  call->started = true;
  if (!rh_form_fits(memo->form, &call->meta)) return false;
  if (memo->speaks) call->meta.first_token_ns = call->last_token_ns = rh_clock_now_ns();
  rh_dynbuf bytes;
  rh_dynbuf_init(&bytes, ANSWER_BYTES_MAX);
  bool written = rh_form_write(memo->form, call->id, &call->meta, &bytes) == RH_OK;
  if (written) {
    call->usage = memo->usage;
    call->deltas_tokens = memo->deltas_tokens;
    call->items_failed = memo->items_failed;
    finish(call, &bytes);
  } else {
    call->meta.first_token_ns = 0;
  }
  rh_dynbuf_free(&bytes);
  return written;
}

rh_verdict rh_answer_event(void *ctx, const rh_event *event) {
  rh_call *call = ctx;
  if (call->gone || call->answered) return RH_GO;
  note(call, event);
  if (event->kind == RH_EVENT_ERROR) {
    rh_call_fail(call, &event->as.error);
    return RH_GO;
  }
  rh_dynbuf bytes;
  rh_dynbuf_init(&bytes, ANSWER_BYTES_MAX);
  bool finished = false;
  rh_verdict verdict = RH_GO;
  rh_status status = rh_encoder_push(call->encoder, event, &bytes, &finished);
  if (status != RH_OK) {
    rh_call_fail(call, rh_encoder_error(call->encoder));
  } else {
    if (call->asked->request.stream && bytes.length > 0) verdict = send_stream(call, &bytes);
    if (finished && call->cached != NULL) rh_memo_keep_answer(call, rh_dynbuf_data(&bytes), bytes.length);
    if (finished && !call->answered) finish(call, &bytes);
  }
  rh_dynbuf_free(&bytes);
  return verdict;
}

void rh_answer_drain(rh_call *call) {
  call->full = false;
  bool room = send_pending(call);
  if (call->ending && call->pending.length == 0) {
    call->ending = false;
    rh_http_stream_end(call->exchange);
  }
  if (!room || call->answered) return;
  if (!call->held) return;
  call->held = false;
  if (call->follower != NULL)
    rh_follower_resume(call->follower);
  else if (call->cached != NULL)
    rh_loop_defer(call->daemon->loop, &call->replaying);
}
