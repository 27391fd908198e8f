// SPDX-License-Identifier: Apache-2.0
//
// Rate limits: asks Redis while it is there and memory otherwise, and tells the caller in one form. Memory follows Redis'
// answers, so that it knows the state when it has to decide. Owns the questions on their way and the buckets in memory.
// Thread: the event loop's. It knows neither keys nor HTTP.
#include "admit/limits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admit/limits_private.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/text.h"

#define BUCKETS_DEFAULT 100000
#define PREFIX_SIZE 128
#define PREFIX_DEFAULT "roundhouse:"
#define TOKENS_MAX INT64_C(1000000000000)

struct rh_limits {
  rh_redis *redis;
  char prefix[PREFIX_SIZE];
  rh_buckets *buckets;
  rh_list questions;
  uint64_t latest_ns;  // of the callers' clock
  uint64_t skew_ns;    // what it has stepped back so far
  bool told_refused;   // the log has said that Redis does not run the script
  rh_limits_counts counts;
};

struct rh_limits_question {
  rh_list_node node;
  rh_limits *limits;
  rh_redis_request *request;
  rh_limit wanted[RH_LIMITS_AT_ONCE];
  size_t count;
  int64_t tokens;
  uint64_t now_ns;    // the caller's
  uint64_t asked_ns;  // ours, at the same time
  rh_limits_done done;
  void *ctx;
};

rh_limits *rh_limits_new(rh_loop *loop, const rh_limits_options *options) {
  (void)loop;  // everything that takes time is the Redis client's
  rh_limits *limits = calloc(1, sizeof *limits);
  if (limits == NULL) return NULL;
  limits->redis = options->redis;
  (void)rh_text_copy(limits->prefix, sizeof limits->prefix, options->prefix != NULL ? options->prefix : PREFIX_DEFAULT);
  rh_list_init(&limits->questions);
  limits->buckets = rh_buckets_new(options->buckets_max > 0 ? options->buckets_max : BUCKETS_DEFAULT);
  if (limits->buckets != NULL) return limits;
  free(limits);
  return NULL;
}

void rh_limits_forget(rh_limits_question *question) {
  if (question == NULL) return;
  rh_redis_forget(question->request);
  rh_list_remove(&question->limits->questions, &question->node);
  free(question);
}

void rh_limits_free(rh_limits *limits) {
  if (limits == NULL) return;
  while (limits->questions.count > 0)
    rh_limits_forget(rh_list_entry(rh_list_first(&limits->questions), rh_limits_question, node));
  rh_buckets_free(limits->buckets);
  free(limits);
}

// Time that never goes back and, after a step back, goes on at its usual pace.
static uint64_t make_monotone(rh_limits *limits, uint64_t now_ns) {
  uint64_t now = now_ns + limits->skew_ns;
  if (now < limits->latest_ns) {
    limits->skew_ns += limits->latest_ns - now;
    now = limits->latest_ns;
  }
  limits->latest_ns = now;
  return now;
}

// Those of `wanted` that limit anything.
static size_t keep_limited(const rh_limit *wanted, size_t count, rh_limit *kept) {
  assert(count <= RH_LIMITS_AT_ONCE);
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    if (wanted[i].requests_per_minute > 0 || wanted[i].tokens_per_minute > 0) kept[used++] = wanted[i];
  }
  return used;
}

static rh_limits_cost cost_of(int64_t requests, int64_t tokens) {
  int64_t most = tokens < TOKENS_MAX ? tokens : TOKENS_MAX;
  return (rh_limits_cost){{(double)requests, (double)(most > -TOKENS_MAX ? most : -TOKENS_MAX)}};
}

static void write_back(rh_limits *limits, const rh_limit *wanted, size_t count, uint64_t now, const rh_levels *levels) {
  for (size_t i = 0; i < count; i++) rh_buckets_write(limits->buckets, &wanted[i], now, &levels[i]);
  limits->counts.buckets = rh_buckets_count(limits->buckets);
}

static rh_status conclude(rh_limits *limits, const rh_limit *wanted, size_t count, const rh_limits_cost *cost,
                          bool allowed, const rh_levels *levels, rh_limit_state *state, rh_error *error) {
  if (state != NULL) rh_limits_describe(wanted, count, levels, state);
  if (!allowed) {
    limits->counts.refused++;
    return rh_limits_refuse(wanted, count, cost, levels, error);
  }
  limits->counts.taken++;
  return RH_OK;
}

static rh_status decide_in_memory(rh_limits *limits, const rh_limit *wanted, size_t count, int64_t tokens,
                                  uint64_t now_ns, rh_limit_state *state, rh_error *error) {
  uint64_t now = make_monotone(limits, now_ns);
  rh_limits_cost cost = cost_of(1, tokens);
  rh_levels levels[RH_LIMITS_AT_ONCE] = {0};
  for (size_t i = 0; i < count; i++) levels[i] = rh_buckets_read(limits->buckets, &wanted[i], now);
  bool allowed = rh_limits_enough(wanted, count, &cost, levels);
  if (allowed) {
    rh_limits_subtract(wanted, count, &cost, levels);
    write_back(limits, wanted, count, now, levels);
  }
  return conclude(limits, wanted, count, &cost, allowed, levels, state, error);
}

// A Redis that answers with errors (no memory, read only, not allowed) is one line in the log, not one a request.
static void tell_refused(rh_limits *limits, const rh_redis_reply *reply) {
  if (limits->told_refused) return;
  limits->told_refused = true;
  char why[160] = "not an answer of the script";
  if (reply->kind == RH_REDIS_ERROR) (void)rh_text_copy(why, sizeof why, reply->bytes);
  RH_LOG(RH_LOG_WARN, "Redis does not count rate limits: this process counts by itself", rh_log_str("reason", why));
}

static void on_answer(void *ctx, rh_status status, const rh_redis_reply *reply) {
  rh_limits_question *question = ctx;
  rh_limits *limits = question->limits;
  uint64_t now_ns = question->now_ns + (rh_clock_now_ns() - question->asked_ns);
  bool allowed = false;
  rh_levels levels[RH_LIMITS_AT_ONCE] = {0};
  rh_limit_state state = {0};
  rh_error error = {0};
  rh_status verdict;
  if (status == RH_OK && rh_limits_read_answer(reply, question->wanted, question->count, &allowed, levels)) {
    limits->told_refused = false;
    write_back(limits, question->wanted, question->count, make_monotone(limits, now_ns), levels);
    rh_limits_cost cost = cost_of(1, question->tokens);
    verdict = conclude(limits, question->wanted, question->count, &cost, allowed, levels, &state, &error);
  } else {
    if (status == RH_OK) tell_refused(limits, reply);
    limits->counts.by_memory++;
    verdict = decide_in_memory(limits, question->wanted, question->count, question->tokens, now_ns, &state, &error);
  }
  rh_limits_done done = question->done;
  void *done_ctx = question->ctx;
  rh_list_remove(&limits->questions, &question->node);
  free(question);
  done(done_ctx, verdict, &state, &error);
}

// False: Redis is not there.
static bool ask_redis(rh_limits *limits, const rh_limits_question *filled, rh_limits_question **out) {
  if (limits->redis == NULL || !rh_redis_connected(limits->redis)) return false;
  rh_limits_question *question = malloc(sizeof *question);
  if (question == NULL) return false;
  *question = *filled;
  question->limits = limits;
  question->asked_ns = rh_clock_now_ns();
  if (rh_limits_ask(limits->redis, limits->prefix, false, question->wanted, question->count, question->tokens,
                    on_answer, question, &question->request) != RH_OK) {
    free(question);
    return false;
  }
  rh_list_push_back(&limits->questions, &question->node);
  if (out != NULL) *out = question;
  return true;
}

rh_status rh_limits_take(rh_limits *limits, const rh_limit *wanted, size_t count, int64_t tokens, uint64_t now_ns,
                         rh_limit_state *state, rh_limits_done done, void *ctx, rh_limits_question **out,
                         rh_error *error) {
  if (out != NULL) *out = NULL;
  if (state != NULL) memset(state, 0, sizeof *state);
  rh_limits_question question = {.tokens = tokens > 0 ? tokens : 0, .now_ns = now_ns, .done = done, .ctx = ctx};
  question.count = keep_limited(wanted, count, question.wanted);
  if (question.count == 0) {
    limits->counts.taken++;
    return RH_OK;
  }
  if (done != NULL && ask_redis(limits, &question, out)) return RH_AGAIN;
  limits->counts.by_memory += limits->redis != NULL;
  return decide_in_memory(limits, question.wanted, question.count, question.tokens, now_ns, state, error);
}

void rh_limits_settle(rh_limits *limits, const rh_limit *wanted, size_t count, int64_t tokens_more, uint64_t now_ns) {
  rh_limit kept[RH_LIMITS_AT_ONCE];
  size_t used = keep_limited(wanted, count, kept);
  if (used == 0 || tokens_more == 0) return;
  uint64_t now = make_monotone(limits, now_ns);
  rh_limits_cost cost = cost_of(0, tokens_more);
  rh_levels levels[RH_LIMITS_AT_ONCE] = {0};
  for (size_t i = 0; i < used; i++) levels[i] = rh_buckets_read(limits->buckets, &kept[i], now);
  rh_limits_subtract(kept, used, &cost, levels);
  write_back(limits, kept, used, now, levels);
  if (limits->redis == NULL || !rh_redis_connected(limits->redis)) return;
  // Nobody waits for it. When it is lost with the connection, the estimate stands.
  if (rh_limits_ask(limits->redis, limits->prefix, true, kept, used, tokens_more, NULL, NULL, NULL) != RH_OK)
    limits->counts.by_memory++;
}

const rh_limits_counts *rh_limits_get_counts(const rh_limits *limits) { return &limits->counts; }
