// SPDX-License-Identifier: Apache-2.0
//
// The ADMIT step: may this request run? Its key's budget and concurrency, then the rate limits of the key and of the client's
// address, in memory or in Redis. What was taken is settled when the request is over. Loop thread only.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/internal.h"

#define PRIORITY_MAX 100
#define ESTIMATE_MINUTES_MAX 60  // of the tightest limit

// --- what it will use ----------------------------------------------------------------------------------------------

// Put right at the end.
static int64_t prompt_tokens(const rh_request *request) {
  size_t bytes = 0, tokens = 1;
  for (size_t i = 0; i < request->prompt_count; i++) {
    const rh_prompt *prompt = &request->prompts[i];
    if (prompt->kind == RH_PROMPT_TEXT) bytes += prompt->count;
    if (prompt->kind == RH_PROMPT_TOKENS) tokens += prompt->count;
    for (size_t j = 0; prompt->kind == RH_PROMPT_MESSAGES && j < prompt->count; j++) {
      bytes += strlen(prompt->messages[j].content);
    }
  }
  for (size_t i = 0; request->infer != NULL && i < request->infer->item_count; i++) {
    const rh_item *item = &request->infer->items[i];
    bytes += item->length + item->pair_length;
    tokens += item->token_count;
  }
  return (int64_t)tokens + rh_tokens_of_bytes(bytes);
}

static int64_t estimate_tokens(const rh_request *request) {
  int64_t tokens = prompt_tokens(request);
  if (request->generate.given & RH_GIVEN_MAX_TOKENS) {
    tokens += request->generate.max_tokens * (int64_t)rh_request_runs(request);
  }
  return tokens;
}

// A bucket goes only so far below zero. What an enormous max_tokens took beyond that was never taken, and must not be given back.
static int64_t bound_estimate(const rh_call *call, int64_t tokens) {
  for (size_t i = 0; i < call->limit_count; i++) {
    int64_t limit = call->limits[i].tokens_per_minute;
    if (limit > 0 && tokens / ESTIMATE_MINUTES_MAX >= limit) tokens = limit * ESTIMATE_MINUTES_MAX;
  }
  return tokens;
}

// --- limits --------------------------------------------------------------------------------------------------------

static int64_t own_or(int64_t own, int64_t usual) { return own > 0 ? own : own < 0 ? 0 : usual; }

static void add_limit(rh_call *call, const char *kind, const char *name, int64_t requests, int64_t tokens) {
  if (requests <= 0 && tokens <= 0) return;
  rh_limit *limit = &call->limits[call->limit_count++];
  (void)snprintf(limit->subject, sizeof limit->subject, "%s:%s", kind, name);
  limit->requests_per_minute = requests > 0 ? requests : 0;
  limit->tokens_per_minute = tokens > 0 ? tokens : 0;
}

static void find_limits(rh_call *call) {
  const rh_gateway_values *values = &call->daemon->settings->gateway;
  const rh_key *key = call->caller.key;
  if (key != NULL) {
    add_limit(call, "key", key->id, own_or(key->requests_per_minute, values->limit_requests),
              own_or(key->tokens_per_minute, values->limit_tokens));
  }
  add_limit(call, "ip", call->caller.address, values->limit_ip_requests, values->limit_ip_tokens);
}

static void on_limits(void *ctx, rh_status status, const rh_limit_state *state, const rh_error *error) {
  rh_call *call = ctx;
  call->limits_question = NULL;
  if (state != NULL) rh_headers_limits(call->exchange, state);
  if (status == RH_OK) {
    rh_call_move_on(call, RH_STEP_ROUTE);
    return;
  }
  call->limit_count = 0;  // nothing was taken
  rh_call_fail(call, error);
}

static rh_step take_limits(rh_call *call) {
  rh_limit_state state = {0};
  find_limits(call);
  if (call->limit_count == 0) return RH_STEP_ROUTE;
  call->limit_tokens = bound_estimate(call, estimate_tokens(&call->asked->request));
  rh_status status =
      rh_limits_take(rh_gateway_limits(call->daemon->gateway), call->limits, call->limit_count, call->limit_tokens,
                     rh_clock_wall_ns(), &state, on_limits, call, &call->limits_question, &call->error);
  if (status == RH_AGAIN) return RH_STEP_PARK;
  rh_headers_limits(call->exchange, &state);
  if (status == RH_OK) return RH_STEP_ROUTE;
  call->limit_count = 0;
  return RH_STEP_COUNT;
}

// --- the key -------------------------------------------------------------------------------------------------------

static rh_status check_key(rh_call *call) {
  rh_key *key = call->caller.key;
  rh_status status = rh_key_check_budget(key, rh_clock_wall_s(), &call->error);
  if (status != RH_OK) return status;
  if (key->concurrency > 0 && key->running >= key->concurrency) {
    status = rh_fail(&call->error, RH_LIMITED, "the key %s may have %lld requests running at once, and has", key->id,
                     (long long)key->concurrency);
    call->error.retry_after_ms = 1000;
    return status;
  }
  key->running++;
  call->admitted = true;
  rh_request *request = &call->asked->request;
  int64_t priority = (int64_t)request->priority + key->priority;
  if (priority > PRIORITY_MAX) priority = PRIORITY_MAX;
  if (priority < -PRIORITY_MAX) priority = -PRIORITY_MAX;
  // Nobody raises themselves above their key's class.
  if (request->priority > 0) priority = key->priority;
  request->priority = (int32_t)priority;
  return RH_OK;
}

rh_step rh_admit_step(rh_call *call) {
  if (call->caller.key != NULL && check_key(call) != RH_OK) return RH_STEP_COUNT;
  return take_limits(call);
}

void rh_admit_leave(rh_call *call) {
  if (call->admitted) call->caller.key->running--;
  call->admitted = false;
  if (call->limit_count == 0) return;
  int64_t used = call->usage.prompt_tokens + call->usage.completion_tokens;
  if (used == 0) used = call->deltas_tokens;
  // One that was cut short has no count of its prompt, but a model has read it.
  if (call->started && !call->whole && call->usage.prompt_tokens == 0) used += prompt_tokens(&call->asked->request);
  rh_limits_settle(rh_gateway_limits(call->daemon->gateway), call->limits, call->limit_count, used - call->limit_tokens,
                   rh_clock_wall_ns());
  call->limit_count = 0;
}
