// SPDX-License-Identifier: Apache-2.0
//
// What people can see of the gateway: a decision explained, the providers and models with what was learned of them; and feedback,
// which teaches it. Writes JSON; changes nothing but by feedback. Loop thread only.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/internal.h"

json_t *rh_gateway_explain(rh_gateway *gateway, const rh_request *request, const rh_caller *caller, rh_error *error) {
  gateway->decisions++;
  rh_features features;
  rh_route_question question;
  if (rh_way_ask(gateway, request, caller, request->model, &features, &question, error) != RH_OK) return NULL;
  json_t *answer = rh_route_explain(gateway->config->policy, &question);
  if (answer == NULL) (void)rh_fail(error, RH_NO_MEMORY, "no memory to explain the decision");
  return answer;
}

static json_t *describe_seat(rh_gateway *gateway, rh_seat *seat, uint64_t now_ns) {
  rh_route_member member;
  rh_seat_describe(gateway, seat, now_ns, &member);
  const rh_route_stats *stats = &seat->stats;
  bool judged = stats->quality_samples > 0;
  return json_pack("{s:s,s:s,s:b,s:b,s:b,s:s?,s:I,s:I,s:s,s:f,s:f,s:f,s:I,s:I,s:o,s:o}", "provider", seat->provider,
                   "model", seat->model, "local", (int)member.local, "ready", (int)member.ready, "available",
                   (int)member.available, "why_not", member.why_not, "running", (json_int_t)member.running, "queued",
                   (json_int_t)member.queued, "breaker", rh_breaker_state_name(stats->state), "first_token_ms",
                   stats->first_ms, "token_ms", stats->token_ms, "error_rate", stats->error_rate, "attempts",
                   (json_int_t)stats->samples, "failures", (json_int_t)stats->failures, "price",
                   seat->priced ? json_pack("{s:f,s:f}", "input_usd_per_million", seat->price.input,
                                            "output_usd_per_million", seat->price.output)
                                : json_null(),
                   "quality", judged ? json_real(stats->quality) : json_null());
}

static json_t *describe_provider(const rh_gateway *gateway, const rh_provider_spec *spec, uint64_t now_ns) {
  const rh_provider *remote =
      spec->in_process || gateway->providers == NULL ? NULL : rh_providers_find(gateway->providers, spec->name);
  json_t *models = json_object();
  for (size_t i = 0; i < spec->model_count; i++) {
    json_object_set_new(models, spec->models[i].word, json_string(spec->models[i].model));
  }
  uint64_t resting = remote != NULL ? rh_provider_resting_until_ns(remote) : 0;
  return json_pack("{s:s,s:b,s:b,s:s?,s:s,s:s?,s:I,s:I,s:f,s:o}", "name", spec->name, "enabled", (int)spec->enabled,
                   "local", (int)(spec->in_process || spec->local), "base_url",
                   spec->in_process ? NULL : spec->base_url, "key",
                   spec->in_process || (spec->key == NULL && spec->key_error == NULL) ? "none"
                   : spec->key != NULL                                                ? "set"
                                                                                      : "missing",
                   "key_error", spec->key == NULL ? spec->key_error : NULL, "running",
                   (json_int_t)(remote != NULL ? rh_provider_running(remote) : 0), "queued",
                   (json_int_t)(remote != NULL ? rh_provider_queued(remote) : 0), "resting_s",
                   resting > now_ns ? rh_ns_to_s(resting - now_ns) : 0.0, "models", models);
}

json_t *rh_gateway_providers(const rh_gateway *gateway) {
  uint64_t now = rh_clock_now_ns();
  json_t *providers = json_array(), *members = json_array();
  for (size_t i = 0; i < gateway->config->provider_count; i++) {
    json_array_append_new(providers, describe_provider(gateway, &gateway->config->providers[i], now));
  }
  for (size_t i = 0; i < gateway->seat_count; i++) {
    rh_seat *seat = gateway->seats[i];
    // Names that were only ever asked for are no members.
    if (!seat->listed && seat->stats.samples == 0) continue;
    json_array_append_new(members, describe_seat((rh_gateway *)(uintptr_t)gateway, seat, now));
  }
  return json_pack("{s:o,s:o}", "providers", providers, "members", members);
}

bool rh_gateway_member_at(const rh_gateway *gateway, size_t index, rh_member_figures *out) {
  if (index >= gateway->seat_count) return false;
  const rh_seat *seat = gateway->seats[index];
  *out = (rh_member_figures){
      .provider = seat->provider,
      .model = seat->model,
      .breaker = seat->stats.state,
      .first_token_ms = seat->stats.first_ms,
      .cost_usd = seat->cost_usd,
      .fallbacks = seat->fallbacks,
      .used = seat->listed || seat->stats.samples > 0,
  };
  return true;
}

// --- feedback ------------------------------------------------------------------------------------------------------

typedef struct feedback {
  rh_gateway *gateway;
  double rating;
  rh_ledger_done done;
  void *ctx;
} feedback;

static const char *text_of(const json_t *answer, const char *name) {
  const char *text = json_string_value(json_object_get(answer, name));
  return text != NULL ? text : "";
}

static void on_feedback(void *ctx, rh_status status, json_t *answer, const rh_error *error) {
  feedback *given = ctx;
  rh_gateway *gateway = given->gateway;
  if (status == RH_OK) {
    rh_seat *seat = rh_seat_find(gateway, text_of(answer, "provider"), text_of(answer, "model"));
    const char *experiment = text_of(answer, "experiment");
    bool first = json_object_get(answer, "previous") == NULL;  // a changed mind is not two opinions
    if (first && seat != NULL) rh_route_stats_feedback(&seat->stats, given->rating);
    if (first && experiment[0] != '\0') {
      rh_experiment_feedback(gateway->experiments, experiment, text_of(answer, "arm"), given->rating);
      gateway->experiments_changed = true;
    }
  }
  if (given->done != NULL) given->done(given->ctx, status, answer, error);
  free(given);
}

rh_status rh_gateway_feedback(rh_gateway *gateway, const char *request_id, const char *key, double rating,
                              const char *comment, rh_ledger_done done, void *ctx, rh_error *error) {
  if (gateway->ledger == NULL) {
    return rh_fail(error, RH_UNAVAILABLE, "the state database cannot be used, so no request is remembered");
  }
  feedback *given = calloc(1, sizeof *given);
  if (given == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for the feedback; try again later");
  *given = (feedback){.gateway = gateway, .rating = rating, .done = done, .ctx = ctx};
  rh_status status =
      rh_ledger_feedback(gateway->ledger, request_id, key, rating, comment, on_feedback, given, NULL, error);
  if (status != RH_OK) free(given);
  return status;
}
