// SPDX-License-Identifier: Apache-2.0
//
// What a finished request leaves behind: a row of the ledger, a line of the decision log, its part in an experiment, its cost in the
// key's budget. All of it is off the way of the answer: the client has everything by then. Loop thread only.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/internal.h"

#define LINE_BYTES_MAX 16384
#define HASH_DIGITS 16

static void copy(char *out, size_t size, const char *text) { (void)rh_text_copy(out, size, text != NULL ? text : ""); }

// What the configured reference model would have cost: the savings are the difference.
static double reference_cost(const rh_gateway *gateway, const rh_usage *usage) {
  const char *name = gateway->values->reference_model;
  const char *slash = name != NULL ? strchr(name, '/') : NULL;
  char provider[RH_PROVIDER_NAME_MAX + 1];
  rh_price price;
  if (slash == NULL || (size_t)(slash - name) >= sizeof provider) return 0;
  memcpy(provider, name, (size_t)(slash - name));
  provider[slash - name] = '\0';
  return rh_prices_find(gateway->config->prices, provider, slash + 1, &price) ? rh_price_cost(&price, usage) : 0;
}

static void add_record(rh_gateway *gateway, const rh_finished *finished) {
  rh_ledger_record record = {
      .time_ms = finished->wall_ms,
      .shadow = finished->shadow,
      .prompt_tokens = finished->usage.prompt_tokens,
      .completion_tokens = finished->usage.completion_tokens,
      .cached_tokens = finished->usage.cached_tokens,
      .reasoning_tokens = finished->usage.reasoning_tokens,
      .cost_usd = finished->cost_usd,
      .reference_usd = finished->failed || finished->shadow ? 0 : reference_cost(gateway, &finished->usage),
      .latency_ms = finished->latency_ms,
      .first_token_ms = finished->first_token_ms,
      .attempts = finished->facts != NULL ? finished->facts->attempts : 0,
  };
  copy(record.request_id, sizeof record.request_id, finished->request->id);
  copy(record.key, sizeof record.key, finished->key != NULL ? finished->key->id : "");
  copy(record.provider, sizeof record.provider, finished->provider);
  copy(record.model, sizeof record.model, finished->model);
  // A name that is served nowhere is a stranger's word.
  copy(record.asked, sizeof record.asked, finished->way != NULL ? finished->request->model : "");
  copy(record.operation, sizeof record.operation, finished->operation);
  copy(record.outcome, sizeof record.outcome, finished->outcome);
  copy(record.cache, sizeof record.cache, finished->cache);
  if (finished->way != NULL) {
    copy(record.experiment, sizeof record.experiment, finished->way->experiment);
    copy(record.arm, sizeof record.arm, finished->way->arm);
  }
  rh_ledger_add(gateway->ledger, &record);
}

// --- the decision log ----------------------------------------------------------------------------------------------

static json_t *who(const rh_finished *finished) {
  char hash[65] = "";
  if (finished->address != NULL) rh_sha256_hex(finished->address, strlen(finished->address), hash);
  hash[HASH_DIGITS] = '\0';
  return json_pack("{s:s?,s:s}", "key", finished->key != NULL ? finished->key->id : NULL, "address_hash", hash);
}

static json_t *choice(const rh_finished *finished) {
  const rh_way *way = finished->way;
  if (way == NULL) return json_null();
  json_t *members = json_array();
  for (size_t i = 0; i < way->count; i++) {
    json_array_append_new(members, json_sprintf("%s/%s", way->seats[i]->provider, way->seats[i]->model));
  }
  bool part = way->experiment[0] != '\0';
  return json_pack("{s:o,s:s,s:i,s:b,s:f,s:s,s:s?,s:s?}", "members", members, "reason", way->reason, "rule", way->rule,
                   "routed", (int)way->routed, "confidence", way->confidence, "strategy",
                   way->routed ? rh_strategy_name(way->strategy) : "named", "experiment", part ? way->experiment : NULL,
                   "arm", part ? way->arm : NULL);
}

static json_t *features_of(const rh_finished *finished) {
  if (finished->way == NULL) return json_null();
  rh_features features = finished->way->features;
  rh_features_read(finished->request, &features, RH_FEATURES_ALL);
  return rh_features_json(&features);
}

static void log_decision(rh_gateway *gateway, const rh_finished *finished) {
  const rh_work_facts *facts = finished->facts;
  json_t *line = json_pack(
      "{s:I,s:s,s:o,s:o,s:o,s:{s:s,s:s?,s:s?,s:s?,s:i,s:s?,s:f,s:f,s:f,s:f,s:I,s:I},s:b}", "time_ms",
      (json_int_t)finished->wall_ms, "request_id", finished->request->id, "who", who(finished), "features",
      features_of(finished), "choice", choice(finished), "outcome", "status", finished->outcome, "provider",
      finished->provider, "model", finished->model, "cache", finished->cache, "attempts",
      facts != NULL ? (int)facts->attempts : 0, "fallback", facts != NULL ? facts->fallback : NULL, "latency_ms",
      finished->latency_ms, "first_token_ms", finished->first_token_ms, "cost_usd", finished->cost_usd, "confidence",
      facts != NULL ? facts->confidence : 0.0, "prompt_tokens", (json_int_t)finished->usage.prompt_tokens,
      "completion_tokens", (json_int_t)finished->usage.completion_tokens, "shadow", (int)finished->shadow);
  rh_dynbuf text;
  rh_dynbuf_init(&text, LINE_BYTES_MAX);
  if (line != NULL && rh_json_append_value(&text, line) == RH_OK) {
    rh_ledger_decision(gateway->ledger, rh_dynbuf_data(&text), text.length);
  } else {
    RH_LOG(RH_LOG_WARN, "a decision could not be written down", rh_log_str("request_id", finished->request->id));
  }
  rh_dynbuf_free(&text);
  json_decref(line);
}

// A request that could not be served by anybody, or that its client took back, says nothing about a model.
static bool is_the_askers(const char *outcome) {
  static const rh_status statuses[] = {RH_INVALID,   RH_TOO_LARGE, RH_UNSUPPORTED, RH_CONTEXT_OVERFLOW, RH_CANCELLED,
                                       RH_FORBIDDEN, RH_BUDGET,    RH_CONFLICT,    RH_UNAUTHENTICATED};
  for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
    if (strcmp(outcome, rh_status_name(statuses[i])) == 0) return true;
  }
  return false;
}

// --- experiments ---------------------------------------------------------------------------------------------------

static void record_outcome(rh_gateway *gateway, const rh_finished *finished) {
  const rh_way *way = finished->way;
  rh_outcome outcome = {
      // What another model answered in its place is no success of the arm.
      .failed = finished->failed || finished->facts->attempts > 1,
      .latency_ms = finished->latency_ms,
      .first_token_ms = finished->first_token_ms,
      .cost_usd = finished->cost_usd,
      .tokens = finished->usage.completion_tokens,
  };
  char why[256] = "";
  gateway->experiments_changed = true;
  bool stopped =
      rh_experiment_record(gateway->experiments, way->experiment, way->arm, &outcome, rh_clock_wall_s(), why);
  if (!stopped) return;
  RH_LOG(RH_LOG_WARN, "an experiment's arm was stopped", rh_log_str("experiment", way->experiment),
         rh_log_str("arm", way->arm), rh_log_str("why", why));
  rh_gateway_keep_experiments(gateway);
}

static void count_cost(rh_gateway *gateway, const rh_finished *finished) {
  rh_seat *seat = finished->cost_usd > 0 ? rh_seat_find(gateway, finished->provider, finished->model) : NULL;
  if (seat != NULL) seat->cost_usd += finished->cost_usd;
}

void rh_gateway_account(rh_gateway *gateway, const rh_finished *finished) {
  count_cost(gateway, finished);
  if (finished->key != NULL && finished->cost_usd > 0) {
    rh_key_spend(finished->key, finished->cost_usd, rh_clock_wall_s());
  }
  // A client that left, or asked what cannot be, says nothing about a model; a cached answer neither.
  bool telling = finished->facts != NULL && !is_the_askers(finished->outcome);
  if (finished->way != NULL && finished->way->experiment[0] != '\0' && telling) record_outcome(gateway, finished);
  if (gateway->ledger == NULL) return;
  add_record(gateway, finished);
  if (rh_ledger_logs_decisions(gateway->ledger)) log_decision(gateway, finished);
}
