// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a decision at length, as JSON for people: what was seen, what each rule said, what each member is worth, what was chosen.
// Data owned: none; the result is the caller's. Threads: the policy's one. Changes nothing: no turn is taken, nothing explored.
// Not here: the decision itself; this runs the same code as rh_route_decide.
#include <math.h>
#include <string.h>

#include "route/internal.h"

static void set(json_t *object, const char *key, json_t *value) { (void)json_object_set_new(object, key, value); }

static void set_text(json_t *object, const char *key, const char *text) {
  set(object, key, text != NULL ? json_string(text) : json_null());
}

// Rounded, so that people see 0.123 and not 0.12300000000000001.
static json_t *rounded(double value, double steps) {
  return isfinite(value) ? json_real(round(value * steps) / steps) : json_null();
}

json_t *rh_features_json(const rh_features *features) {
  static const char *const levels[] = {[RH_LEVEL_LOW] = "low", [RH_LEVEL_MEDIUM] = "medium", [RH_LEVEL_HIGH] = "high"};
  json_t *out = json_object();
  if (out == NULL) return NULL;
  set_text(out, "task", rh_task_name(features->task));
  set(out, "prompt_tokens", json_integer(features->prompt_tokens));
  set(out, "answer_tokens", json_integer(features->answer_tokens));
  set(out, "turns", json_integer(features->turns));
  set(out, "messages", json_integer(features->messages));
  set(out, "tools", json_integer(features->tools));
  set(out, "complexity", rounded(features->complexity, 1000));
  set_text(out, "level", features->level == RH_LEVEL_UNSET ? NULL : levels[features->level]);
  set(out, "code", rounded(features->code, 1000));
  set(out, "math", rounded(features->math, 1000));
  set(out, "has_code", json_boolean(features->has_code));
  set(out, "has_math", json_boolean(features->has_math));
  set(out, "has_images", json_boolean(features->has_images));
  set(out, "has_tools", json_boolean(features->has_tools));
  set(out, "json", json_boolean(features->wants_json));
  set(out, "stream", json_boolean(features->stream));
  set_text(out, "language", features->language[0] != '\0' ? features->language : NULL);
  set_text(out, "privacy", features->privacy == RH_PRIVACY_UNSET ? NULL : levels[features->privacy]);
  set(out, "local_only", json_boolean(features->local_only));
  set_text(out, "agent_type", features->agent_type);
  set_text(out, "key", features->key);
  set_text(out, "model", features->model);
  set(out, "has_session", json_boolean(features->session != NULL && features->session[0] != '\0'));
  set(out, "minute_of_day", json_integer(features->minute_of_day));
  set(out, "weekday", json_integer(features->weekday));
  return out;
}

static json_t *rules_json(const rh_route_work *work, const rh_plan *plan) {
  json_t *out = json_array();
  rh_facts facts;
  rh_facts_begin(&facts, work->question);
  for (size_t i = 0; i < work->policy->rule_count; i++) {
    const rh_rule *rule = &work->policy->rules[i];
    const rh_test *failed = NULL;
    json_t *one = json_object();
    bool holds = rh_condition_holds(&rule->condition, &facts, &failed);
    set(one, "index", json_integer((json_int_t)i));
    if (rule->name != NULL) set_text(one, "name", rule->name);
    set_text(one, "reason", rule->reason);
    set(one, "matched", json_boolean(holds));
    if (!holds) set_text(one, "failed", failed != NULL ? failed->path : "");
    bool usable = holds && rh_rule_has_members(work, rule);
    if (holds && !usable) set_text(one, "passed_over", "none of its members may or can answer this request");
    set(one, "decided", json_boolean(plan->rule == (int)i));
    (void)json_array_append_new(out, one);
  }
  return out;
}

static json_t *parts_json(const rh_route_work *work, const rh_route_member *member) {
  json_t *out = json_object();
  double weight = rh_score_weight(work->policy, NULL, member);
  set(out, "expected_ms", rounded(rh_score_expected_ms(work->question, member), 10));
  set(out, "cost_usd", rounded(rh_score_cost(work->question, member), 1e9));
  set(out, "quality", rounded(rh_score_quality(work->policy, member), 1000));
  set(out, "load", rounded(rh_score_load(member, weight), 1000));
  set(out, "weight", rounded(weight, 1000));
  if (member->stats != NULL) set(out, "error_rate", rounded(member->stats->error_rate, 1000));
  return out;
}

static json_t *members_json(const rh_route_work *work, const rh_plan *plan) {
  json_t *out = json_array();
  for (size_t i = 0; i < work->count; i++) {
    const rh_route_member *member = &work->question->members[i];
    json_t *one = json_object();
    json_t *place = json_null();
    json_t *score = json_null();
    for (size_t k = 0; k < plan->count; k++) {
      if (plan->entries[k].member != i) continue;
      place = json_integer((json_int_t)k + 1);
      score = rounded(plan->entries[k].score, 1e6);
    }
    set_text(one, "provider", member->provider);
    set_text(one, "model", member->model);
    set(one, "local", json_boolean(member->local));
    set(one, "ready", json_boolean(member->ready));
    set(one, "place", place);
    set(one, "score", score);
    if (work->out[i] != RH_OUT_NOT) {
      char why[256];
      rh_work_why_not(work, i, why, sizeof why);
      set_text(one, "out", why);
    } else if (!work->planned[i]) {
      set_text(one, "out", work->considered[i] ? "the plan is full" : "not among those meant by this request");
    }
    set(one, "parts", parts_json(work, member));
    (void)json_array_append_new(out, one);
  }
  return out;
}

static json_t *choice_json(const rh_route_work *work, const rh_plan *plan) {
  if (plan->count == 0) return json_null();
  const rh_route_member *member = &work->question->members[plan->entries[0].member];
  return json_pack("{s:s, s:s}", "provider", member->provider, "model", member->model);
}

static json_t *plan_json(const rh_route_work *work, const rh_plan *plan) {
  json_t *out = json_array();
  for (size_t i = 0; i < plan->count; i++) {
    const rh_route_member *member = &work->question->members[plan->entries[i].member];
    (void)json_array_append_new(out, json_pack("{s:s, s:s}", "provider", member->provider, "model", member->model));
  }
  return out;
}

json_t *rh_route_explain(rh_policy *policy, const rh_route_question *question) {
  rh_route_work work;
  rh_plan plan;
  rh_error error = {0};
  (void)rh_question_features(question, RH_FEATURES_ALL);
  rh_work_begin(&work, policy, question);
  work.dry = true;
  rh_status status = rh_work_plan(&work, &plan, &error);
  json_t *out = json_object();
  if (out == NULL) return NULL;
  set(out, "features", rh_features_json(question->features));
  set(out, "rules", rules_json(&work, &plan));
  set(out, "members", members_json(&work, &plan));
  set(out, "choice", choice_json(&work, &plan));
  set(out, "plan", plan_json(&work, &plan));
  set_text(out, "strategy", rh_strategy_name(plan.strategy));
  set_text(out, "reason", status == RH_OK ? plan.reason : NULL);
  set(out, "rule", plan.rule >= 0 ? json_integer(plan.rule) : json_null());
  set(out, "confidence", rounded(plan.confidence, 1000));
  set(out, "sticky", json_boolean(plan.sticky));
  if (plan.cascade_min > 0) {
    set(out, "cascade_min", rounded(plan.cascade_min, 1000));
    set(out, "cascade_count", json_integer((json_int_t)plan.cascade_count));
  }
  if (status != RH_OK)
    set(out, "error", json_pack("{s:s, s:s}", "status", rh_status_name(status), "message", error.message));
  return out;
}
