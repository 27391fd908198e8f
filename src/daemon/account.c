// SPDX-License-Identifier: Apache-2.0
//
// The account of a request: metrics, one log line, and /last_request_stats. The prompt itself is never written, only a
// hash of it, unless "log_prompts" asks for it.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/internal.h"
#include "flow/fit.h"

#define HASH_DIGITS 16
#define LOGGED_PROMPT_BYTES_MAX 4096

static void append_infer(const rh_infer *infer, rh_dynbuf *out) {
  for (size_t i = 0; i < infer->item_count; i++) {
    const rh_item *item = &infer->items[i];
    if (i > 0) (void)rh_dynbuf_append_char(out, '\n');
    if (item->text != NULL) (void)rh_dynbuf_append(out, item->text, item->length);
    if (item->pair != NULL) (void)rh_dynbuf_append_char(out, '\t');
    if (item->pair != NULL) (void)rh_dynbuf_append(out, item->pair, item->pair_length);
    if (item->token_count > 0) (void)rh_dynbuf_append(out, item->tokens, item->token_count * sizeof *item->tokens);
  }
  for (size_t i = 0; i < infer->tensor_count; i++) {
    (void)rh_dynbuf_printf(out, "%s\n", infer->tensors[i].name);
    (void)rh_dynbuf_append(out, infer->tensors[i].data, infer->tensors[i].bytes);
  }
}

// Everything the request asks, in order, with separators: equal prompts hash equally, others do not.
static bool prompt_text(const rh_request *request, rh_dynbuf *out) {
  if (request->infer != NULL) append_infer(request->infer, out);
  for (size_t i = 0; i < request->prompt_count; i++) {
    const rh_prompt *prompt = &request->prompts[i];
    for (size_t j = 0; prompt->kind == RH_PROMPT_MESSAGES && j < prompt->count; j++) {
      if (i + j > 0) (void)rh_dynbuf_append_char(out, '\n');
      (void)rh_dynbuf_append_text(out, prompt->messages[j].role);
      (void)rh_dynbuf_append(out, ": ", 2);
      (void)rh_dynbuf_append_text(out, prompt->messages[j].content);
    }
    if (prompt->kind == RH_PROMPT_TEXT) (void)rh_dynbuf_append(out, prompt->text, prompt->count);
    if (prompt->kind == RH_PROMPT_TOKENS) {
      (void)rh_dynbuf_append(out, prompt->tokens, prompt->count * sizeof *prompt->tokens);
    }
    if (i + 1 < request->prompt_count) (void)rh_dynbuf_append_char(out, '\n');
  }
  return out->length > 0 && !out->failed;
}

static const char *outcome_of(const rh_call *call) {
  return call->error.status == RH_OK ? "ok" : rh_status_name(call->error.status);
}

static int64_t completion_tokens(const rh_call *call) {
  return call->usage.completion_tokens > 0 ? call->usage.completion_tokens : call->deltas_tokens;
}

// Inputs of a task that does not generate.
static int64_t items_of(const rh_call *call) {
  const rh_infer *infer = call->asked->request.infer;
  if (infer == NULL) return 0;
  return infer->item_count > 0 ? (int64_t)infer->item_count : 1;
}

// The task that was done, where one was found out; a request that could not be read has none.
static rh_task task_of(const rh_call *call) {
  if (call->asked->request.infer == NULL && call->asked->request.prompt_count == 0) return RH_TASK_COUNT;
  return rh_task_resolve(call->asked->request.task, call->meta.info);
}

// An endpoint that serves many tasks counts each as what it is.
static const char *operation_of(const rh_call *call) {
  rh_task task = task_of(call);
  if (call->asked->request.infer == NULL || task == RH_TASK_OWN) return call->endpoint->operation;
  return task == RH_TASK_EMBED ? "embeddings" : rh_task_name(task);
}

static double first_token_ms(const rh_call *call) {
  return call->meta.first_token_ns == 0 ? 0 : rh_ns_to_ms(call->meta.first_token_ns - call->meta.received_ns);
}

static double tokens_per_second(const rh_call *call) {
  double ms = call->usage.decode_ms;
  if (ms <= 0 && call->meta.first_token_ns != 0) ms = rh_ns_to_ms(call->last_token_ns - call->meta.first_token_ns);
  int64_t after_first = completion_tokens(call) - (int64_t)rh_request_runs(&call->asked->request);
  return ms > 0 && after_first > 0 ? (double)after_first * 1000.0 / ms : 0;
}

static void count(const rh_call *call, double latency_s) {
  rh_metrics *metrics = call->daemon->metrics;
  const char *model = call->meta.model;
  char status[RH_INT_TEXT_SIZE];
  (void)rh_text_format_int(status, call->http_status);
  // A name that is served nowhere is a stranger's word and must not become a label of its own.
  const char *asked = call->way == NULL ? "" : call->asked->request.model != NULL ? call->asked->request.model : "";
  const char *request_labels[] = {operation_of(call),
                                  asked,
                                  model,
                                  call->meta.provider,
                                  call->endpoint->name,
                                  status,
                                  call->error.status == RH_OK ? "" : outcome_of(call),
                                  call->meta.cache};
  rh_metrics_add(metrics, RH_M_REQUESTS, request_labels, 1);
  if (call->http_status == 429) rh_metrics_add(metrics, RH_M_RATE_LIMITED, NULL, 1);
  const char *route_labels[] = {call->endpoint->name, model};
  rh_metrics_observe(metrics, RH_M_LATENCY, route_labels, latency_s);
  if (strcmp(call->meta.cache, "hit") == 0) rh_metrics_add(metrics, RH_M_CACHE_HITS, NULL, 1);
  if (call->way == NULL) return;
  int64_t tokens = completion_tokens(call);
  rh_metrics_add(metrics, RH_M_TOKENS_GENERATED, &model, (double)tokens);
  rh_metrics_add(metrics, RH_M_PROMPT_TOKENS, &model, (double)call->usage.prompt_tokens);
  rh_metrics_add(metrics, RH_M_CACHED_TOKENS, &model, (double)call->usage.cached_tokens);
  if (call->asked->request.infer != NULL && call->error.status == RH_OK) {
    const char *item_labels[] = {model, operation_of(call)};
    rh_metrics_add(metrics, RH_M_ITEMS, item_labels, (double)items_of(call));
    rh_metrics_add(metrics, RH_M_ITEMS_FAILED, item_labels, (double)call->items_failed);
  }
  if (call->meta.first_token_ns != 0) {
    rh_metrics_observe(metrics, RH_M_FIRST_TOKEN, &model, first_token_ms(call) / 1000.0);
  }
  if (tokens_per_second(call) > 0) {
    rh_metrics_observe(metrics, RH_M_PER_OUTPUT_TOKEN, &model, 1.0 / tokens_per_second(call));
  }
  if (call->error.status == RH_OK) {
    rh_metrics_observe(metrics, RH_M_GEN_LATENCY, &model, (call->usage.prompt_ms + call->usage.decode_ms) / 1000.0);
  }
}

// Three decimals are what anybody reads, and all digits of a quotient take longer to write than the rest of the line.
static double rounded(double value) { return round(value * 1000) / 1000; }

static void log_line(const rh_call *call, const char *hash, const char *prompt, double latency_ms) {
  rh_log_level level = call->http_status >= 500 ? RH_LOG_WARN : RH_LOG_INFO;
  RH_LOG(level, "request", rh_log_str("request_id", call->id), rh_log_str("route", call->endpoint->name),
         rh_log_str("model", call->meta.model), rh_log_int("status", call->http_status),
         rh_log_str("outcome", outcome_of(call)), rh_log_str("prompt_hash", hash), rh_log_num("latency_ms", latency_ms),
         rh_log_num("queue_ms", rounded(call->usage.queue_ms)), rh_log_num("first_token_ms", first_token_ms(call)),
         rh_log_int("prompt_tokens", call->usage.prompt_tokens), rh_log_int("cached_tokens", call->usage.cached_tokens),
         rh_log_int("tokens", completion_tokens(call)),
         rh_log_num("tokens_per_second", rounded(tokens_per_second(call))), rh_log_str("cache", call->meta.cache),
         rh_log_str("provider", call->meta.provider), rh_log_int("attempts", call->meta.attempts),
         rh_log_num("cost_usd", call->meta.cost_usd),
         rh_log_str("key", call->caller.key != NULL ? call->caller.key->id : ""),
         rh_log_bool("stream", call->asked->request.stream), rh_log_str("route_reason", call->meta.route_reason),
         rh_log_str("operation", operation_of(call)), rh_log_int("items", items_of(call)),
         rh_log_int("items_failed", call->items_failed),
         prompt != NULL ? rh_log_str("prompt", prompt) : (rh_log_field){.type = RH_FIELD_END},
         (rh_log_field){.type = RH_FIELD_END});
  if (call->error.status != RH_OK) {
    RH_LOG(RH_LOG_DEBUG, "request failed", rh_log_str("request_id", call->id),
           rh_log_str("error", call->error.message));
  }
}

static void remember(const rh_call *call, const char *hash, double latency_ms) {
  rh_last_request *last = &call->daemon->last;
  const rh_model_info *info = call->meta.info;
  rh_text_copy(last->id, sizeof last->id, call->id);
  rh_text_copy(last->model, sizeof last->model, call->meta.model);
  rh_text_copy(last->route_reason, sizeof last->route_reason, call->meta.route_reason);
  rh_text_copy(last->prompt_hash, sizeof last->prompt_hash, hash);
  rh_text_copy(last->engine, sizeof last->engine, info != NULL ? info->engine : "");
  rh_text_copy(last->device, sizeof last->device, info != NULL ? info->device : "");
  rh_text_copy(last->acceleration, sizeof last->acceleration, info != NULL ? info->acceleration : "");
  rh_text_copy(last->provider, sizeof last->provider, call->meta.provider);
  last->attempts = call->meta.attempts;
  last->error = call->error;
  last->endpoint = call->endpoint;
  last->cache = call->meta.cache;
  last->status = call->http_status;
  last->stream = call->asked->request.stream;
  last->created = call->meta.created;
  last->usage = call->usage;
  last->tokens = completion_tokens(call);
  last->latency_ms = latency_ms;
  last->first_token_ms = first_token_ms(call);
  last->tokens_per_second = tokens_per_second(call);
  last->cost_usd = call->meta.cost_usd;
  last->task = task_of(call);
  last->items = items_of(call);
  last->items_failed = call->items_failed;
}

// What only tasks that do not generate have.
static json_t *with_items(json_t *object, const rh_last_request *last) {
  const char *task = last->task < RH_TASK_COUNT ? rh_task_name(last->task) : NULL;
  json_object_set_new(object, "task", task != NULL ? json_string(task) : json_null());
  if (last->items == 0) return object;
  json_object_set_new(object, "items", json_integer(last->items));
  json_object_set_new(object, "items_failed", json_integer(last->items_failed));
  json_object_set_new(object, "batch_size", json_integer(last->usage.work.batch_items));
  json_object_set_new(object, "padding", json_real(last->usage.work.padding));
  return object;
}

json_t *rh_account_last(const rh_daemon *daemon) {
  const rh_last_request *last = &daemon->last;
  if (last->id[0] == '\0') return json_pack("{s:n}", "request_id");
  const char *outcome = last->error.status == RH_OK ? "ok" : rh_status_name(last->error.status);
  json_t *object = json_pack(
      "{s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:f,s:f,s:f,s:I,s:I,s:I,s:f,s:s,s:b,s:s,s:s,s:s,s:s,s:s,s:I,s:f,s:s,s:i}",
      "request_id", last->id, "route", last->endpoint->name, "model", last->model, "outcome", outcome, "status",
      (int)last->status, "error", last->error.message, "prompt_hash", last->prompt_hash, "latency_ms", last->latency_ms,
      "queue_ms", last->usage.queue_ms, "first_token_latency_ms", last->first_token_ms, "prompt_tokens",
      (json_int_t)last->usage.prompt_tokens, "cached_tokens", (json_int_t)last->usage.cached_tokens, "tokens",
      (json_int_t)last->tokens, "tokens_per_second", last->tokens_per_second, "cache", last->cache, "stream",
      (int)last->stream, "route_reason", last->route_reason, "host", daemon->host, "engine", last->engine, "device",
      last->device, "acceleration", last->acceleration, "created", (json_int_t)last->created, "cost_usd",
      last->cost_usd, "provider", last->provider, "attempts", last->attempts);
  return object != NULL ? with_items(object, last) : NULL;
}

// The gateway's account: ledger, decision log, experiment, budget.
static void finish(rh_call *call, double latency_ms) {
  const rh_request *request = &call->asked->request;
  bool hit = strcmp(call->meta.cache, "hit") == 0;
  if (call->way == NULL && call->caller.key == NULL) return;  // a stranger's failed try is in the log and the metrics
  rh_finished finished = {
      .request = request,
      .way = call->way,
      .facts = call->ran && !hit ? &call->facts : NULL,
      .key = call->caller.key,
      .address = call->caller.address,
      .operation = operation_of(call),
      .outcome = outcome_of(call),
      .cache = call->meta.cache,
      .provider = call->way != NULL ? call->meta.provider : "",
      .model = call->meta.model,
      .wall_ms = (int64_t)(rh_clock_wall_ns() / 1000000) - (int64_t)latency_ms,
      .latency_ms = latency_ms,
      .first_token_ms = first_token_ms(call),
      .cost_usd = hit ? 0 : call->facts.cost_usd,
      .usage = call->usage,
      .failed = call->error.status != RH_OK,
  };
  rh_gateway_account(call->daemon->gateway, &finished);
}

void rh_account_call(rh_call *call) {
  if (call->accounted) return;
  call->accounted = true;
  if (call->http_status == 0) call->http_status = rh_api_http_status(call->error.status);
  uint64_t end = call->answered_ns != 0 ? call->answered_ns : rh_clock_now_ns();
  double latency_ms = rh_ns_to_ms(end - call->meta.received_ns);
  char own[HASH_DIGITS + 1] = "";
  char *hash = call->memo != NULL ? call->memo->prompt_hash : own;
  rh_dynbuf text;
  rh_dynbuf_init(&text, call->daemon->settings->body_bytes_max * 8 + 1024);
  bool wanted = hash[0] == '\0' || call->daemon->settings->log_prompts;
  if (wanted && prompt_text(&call->asked->request, &text)) {
    char digest[65];
    rh_sha256_hex(rh_dynbuf_data(&text), text.length, digest);
    (void)rh_text_copy(hash, HASH_DIGITS + 1, digest);
  }
  char *shown = NULL;
  bool readable = call->asked->request.infer == NULL || call->asked->request.infer->tensor_count == 0;
  if (call->daemon->settings->log_prompts && text.length > 0 && readable) {
    shown = strndup(rh_dynbuf_data(&text), LOGGED_PROMPT_BYTES_MAX);
  }
  count(call, latency_ms / 1000.0);
  log_line(call, hash, shown, latency_ms);
  remember(call, hash, latency_ms);
  finish(call, latency_ms);
  rh_semantic_learn(call);
  free(shown);
  rh_dynbuf_free(&text);
}

void rh_account_plain(rh_daemon *daemon, const char *route, unsigned status) {
  char text[16];
  snprintf(text, sizeof text, "%u", status);
  const char *labels[] = {"", "", "", "", route, text, "", ""};
  rh_metrics_add(daemon->metrics, RH_M_REQUESTS, labels, 1);
}
