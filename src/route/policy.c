// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the policy: "routing", "fallbackChain" and "defaultProvider" of the configuration, read once.
// Data owned: the policy with its arena and the round robin's turns. Threads: one; constant after loading but for the turns.
// Not here: what rules and targets look like (rules.c, condition.c, targets.c), and deciding (decide.c).
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "route/internal.h"

#define ARENA_MAX (8u * 1024 * 1024)
#define EXPLORATION 0.02

static rh_status read_numbers(rh_policy *policy, const char *path, const json_t *value, double max, rh_numbers *out,
                              rh_error *error) {
  const char *key = NULL;
  json_t *item = NULL;
  char own[256];
  if (!json_is_object(value)) return rh_route_wants(path, value, "an object of \"provider/model\" and number", error);
  out->list = rh_arena_alloc_array(policy->arena, json_object_size(value) + 1, sizeof *out->list);
  if (out->list == NULL) return rh_route_no_memory(error);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    rh_named_number *number = &out->list[out->count];
    snprintf(own, sizeof own, "%.180s.%.60s", path, key);
    rh_status status = rh_target_from(policy, own, key, &number->target, error);
    if (status == RH_OK) status = rh_route_number(own, item, 0, max, &number->value, error);
    if (status != RH_OK) return status;
    out->count++;
  }
  return RH_OK;
}

static rh_status read_named(rh_policy *policy, const char *path, const json_t *value, rh_error *error) {
  const char *key = NULL;
  json_t *item = NULL;
  char own[256];
  if (!json_is_object(value)) return rh_route_wants(path, value, "an object of models and lists", error);
  policy->named = rh_arena_alloc_array(policy->arena, json_object_size(value) + 1, sizeof *policy->named);
  if (policy->named == NULL) return rh_route_no_memory(error);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    rh_named_fallbacks *named = &policy->named[policy->named_count];
    snprintf(own, sizeof own, "%.180s.%.60s", path, key);
    named->model = rh_arena_strdup(policy->arena, key);
    if (named->model == NULL) return rh_route_no_memory(error);
    rh_status status = rh_target_from(policy, own, key, &named->target, error);
    if (status == RH_OK) status = rh_targets_parse(policy, own, item, &named->fallbacks, error);
    if (status != RH_OK) return status;
    policy->named_count++;
  }
  return RH_OK;
}

static rh_status read_objective(rh_policy *policy, const char *path, const json_t *value, rh_error *error) {
  static const char *const names[] = {"quality_min", "cost_max"};
  const char *key = NULL;
  json_t *item = NULL;
  char own[256];
  if (!json_is_object(value)) return rh_route_wants(path, value, "an object with quality_min or cost_max", error);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    int field = rh_route_field(names, 2, path, key, error);
    if (field < 0) return RH_INVALID;
    snprintf(own, sizeof own, "%.180s.%.60s", path, names[field]);
    rh_status status = field == 0 ? rh_route_number(own, item, 0, 1, &policy->quality_min, error)
                                  : rh_route_number(own, item, 0, 1e6, &policy->cost_max, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

enum {
  MODE,
  RULES,
  STRATEGY,
  STICKY,
  EXPLORE,
  FALLBACK_NAMED,
  FALLBACKS,
  GROUPS,
  CASCADE,
  QUALITIES,
  WEIGHTS,
  OBJECTIVE,
  FALLBACK_CHAIN,
  DEFAULT_PROVIDER,
  FIELDS
};
static const char *const names[FIELDS] = {
    [MODE] = "mode",           [RULES] = "rules",
    [STRATEGY] = "strategy",   [STICKY] = "sticky",
    [EXPLORE] = "exploration", [FALLBACK_NAMED] = "fallback_named",
    [GROUPS] = "groups",       [FALLBACKS] = "fallbacks",
    [CASCADE] = "cascade",     [WEIGHTS] = "weights",
    [QUALITIES] = "qualities", [FALLBACK_CHAIN] = "fallbackChain",
    [OBJECTIVE] = "objective", [DEFAULT_PROVIDER] = "defaultProvider",
};

static rh_status read_default(rh_policy *policy, const char *path, const char *name, rh_error *error) {
  json_t *text = json_string(name);
  if (text == NULL) return rh_route_no_memory(error);
  rh_status status = rh_target_check_provider(policy, path, name, error);
  if (status == RH_OK) status = rh_targets_parse(policy, path, text, &policy->first, error);
  json_decref(text);
  return status;
}

static rh_status read_field(rh_policy *policy, int field, const char *path, const json_t *value, rh_error *error) {
  switch (field) {
    case MODE:
    case STRATEGY: return rh_strategy_parse(path, value, &policy->strategy, error);
    case RULES: return rh_rules_parse(policy, value, error);
    case STICKY: return rh_stickiness_parse(path, value, &policy->sticky, error);
    case EXPLORE: return rh_route_number(path, value, 0, 0.5, &policy->exploration, error);
    case FALLBACK_NAMED: return rh_route_bool(path, value, &policy->fallback_named, error);
    case FALLBACKS: return read_named(policy, path, value, error);
    case GROUPS: return rh_groups_parse(policy, value, error);
    case CASCADE: return rh_group_parse(policy, path, value, true, &policy->cascade, error);
    case QUALITIES: return read_numbers(policy, path, value, 1, &policy->qualities, error);
    case WEIGHTS: return read_numbers(policy, path, value, 1e6, &policy->weights, error);
    case FALLBACK_CHAIN: return rh_targets_parse(policy, path, value, &policy->chain, error);
    case DEFAULT_PROVIDER:
      if (!json_is_string(value)) return rh_route_wants(path, value, "a provider's name", error);
      return read_default(policy, path, json_string_value(value), error);
    default: return read_objective(policy, path, value, error);
  }
}

// "mode" first and "strategy" after it, for it wins; "sticky" before the groups that inherit it: the table's order, not the file's.
static rh_status read_routing(rh_policy *policy, const json_t *routing, rh_error *error) {
  static const int order[FIELDS] = {MODE,      STRATEGY,  STICKY,         EXPLORE,         FALLBACK_NAMED,
                                    RULES,     GROUPS,    FALLBACKS,      CASCADE,         WEIGHTS,
                                    QUALITIES, OBJECTIVE, FALLBACK_CHAIN, DEFAULT_PROVIDER};
  const json_t *values[FIELDS] = {NULL};
  const char *key = NULL;
  json_t *item = NULL;
  char path[256];
  if (!json_is_object(routing)) return rh_route_wants("routing", routing, "an object", error);
  json_object_foreach((json_t *)(uintptr_t)routing, key, item) {
    int field = rh_route_field(names, FIELDS, "routing", key, error);
    if (field < 0) return RH_INVALID;
    snprintf(path, sizeof path, "routing.%.60s", names[field]);
    if (values[field] != NULL)
      return rh_fail_param(error, RH_INVALID, path, "%s is given twice, spelt differently", path);
    values[field] = item;
  }
  for (size_t i = 0; i < FIELDS; i++) {
    if (values[order[i]] == NULL || json_is_null(values[order[i]])) continue;
    snprintf(path, sizeof path, "routing.%.60s", names[order[i]]);
    rh_status status = read_field(policy, order[i], path, values[order[i]], error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// Rules may name groups that stand after them.
static rh_status check_groups(const rh_policy *policy, rh_error *error) {
  for (size_t i = 0; i < policy->rule_count; i++) {
    const char *group = policy->rules[i].group;
    if (group == NULL || rh_policy_group(policy, group) != NULL) continue;
    return rh_fail_param(error, RH_INVALID, "routing.rules",
                         "routing.rules[%zu].action.group: no group is called \"%.63s\"", i, group);
  }
  return RH_OK;
}

static rh_status copy_providers(rh_policy *policy, const char *const *providers, rh_error *error) {
  while (providers != NULL && providers[policy->provider_count] != NULL) policy->provider_count++;
  const char **copies = rh_arena_alloc_array(policy->arena, policy->provider_count + 1, sizeof *copies);
  if (copies == NULL) return rh_route_no_memory(error);
  for (size_t i = 0; i < policy->provider_count; i++) {
    copies[i] = rh_arena_strdup(policy->arena, providers[i]);
    if (copies[i] == NULL) return rh_route_no_memory(error);
  }
  policy->providers = copies;
  return RH_OK;
}

static rh_status fill(rh_policy *policy, const json_t *routing, const json_t *chain, const char *default_provider,
                      const char *const *providers, rh_error *error) {
  rh_status status = copy_providers(policy, providers, error);
  if (status == RH_OK && routing != NULL && !json_is_null(routing)) status = read_routing(policy, routing, error);
  if (status == RH_OK && chain != NULL && !json_is_null(chain))
    status = rh_targets_parse(policy, "fallbackChain", chain, &policy->chain, error);
  if (status == RH_OK && default_provider != NULL && default_provider[0] != '\0')
    status = read_default(policy, "defaultProvider", default_provider, error);
  return status == RH_OK ? check_groups(policy, error) : status;
}

rh_status rh_policy_parse(const json_t *routing, const json_t *fallback_chain, const char *default_provider,
                          const char *const *providers, rh_policy **out, rh_error *error) {
  *out = NULL;
  rh_policy *policy = calloc(1, sizeof *policy);
  if (policy == NULL) return rh_route_no_memory(error);
  policy->arena = rh_arena_new(ARENA_MAX);
  policy->turns = calloc(RH_TURNS, sizeof *policy->turns);
  policy->sticky = RH_STICKY_BY_SESSION;
  policy->exploration = EXPLORATION;
  rh_status status = policy->arena == NULL || policy->turns == NULL
                         ? rh_route_no_memory(error)
                         : fill(policy, routing, fallback_chain, default_provider, providers, error);
  if (status != RH_OK) {
    rh_policy_free(policy);
    return status;
  }
  policy->is_set = policy->rule_count > 0 || policy->strategy != RH_STRATEGY_RULES || policy->chain.count > 0 ||
                   policy->first.count > 0 || policy->cascade.members.count > 0;
  *out = policy;
  return RH_OK;
}

void rh_policy_free(rh_policy *policy) {
  if (policy == NULL) return;
  rh_arena_free(policy->arena);
  free(policy->turns);
  free(policy);
}

bool rh_policy_is_set(const rh_policy *policy) { return policy->is_set; }

bool rh_policy_has_group(const rh_policy *policy, const char *name) { return rh_policy_group(policy, name) != NULL; }

size_t rh_policy_groups(const rh_policy *policy, const char **group_names, size_t max) {
  for (size_t i = 0; i < policy->group_count && i < max; i++) group_names[i] = policy->groups[i].name;
  return policy->group_count;
}

void rh_policy_set_scorer(rh_policy *policy, rh_scorer scorer, void *ctx) {
  policy->scorer = scorer;
  policy->scorer_ctx = ctx;
}
