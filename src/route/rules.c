// SPDX-License-Identifier: Apache-2.0
//
// Purpose: "routing.rules", "routing.groups" and "routing.cascade", read into the policy.
// Data owned: none; all lives in the policy's arena. Threads: the one that loads the configuration.
#include <string.h>

#include "base/json.h"
#include "route/internal.h"

#define PATH_BYTES 256

rh_status rh_strategy_parse(const char *path, const json_t *value, rh_strategy *out, rh_error *error) {
  static const char *const names[] = {"rule-based",        "manual",
                                      "round-robin",       "load-balanced",
                                      "latency-optimized", "performance-optimized",
                                      "quality-optimized", "cost-optimized",
                                      "learned",           "cost",
                                      "latency",           "performance",
                                      "quality",           "balanced"};
  if (!json_is_string(value)) return rh_route_wants(path, value, "a strategy's name", error);
  *out = rh_strategy_from_name(json_string_value(value));
  if (*out != RH_STRATEGY_COUNT) return RH_OK;
  int index = 0;
  return rh_route_word(names, sizeof names / sizeof *names, path, value, &index, error);
}

// A text for people that may also become a header: no line breaks or other control characters.
static rh_status read_text(rh_policy *policy, const char *path, const json_t *value, const char **out,
                           rh_error *error) {
  if (!json_is_string(value)) return rh_route_wants(path, value, "a text", error);
  char *copy = rh_arena_strdup(policy->arena, json_string_value(value));
  if (copy == NULL) return rh_route_no_memory(error);
  for (char *at = copy; *at != '\0'; at++) {
    if ((unsigned char)*at < ' ' || *at == 0x7f) *at = ' ';
  }
  *out = copy;
  return RH_OK;
}

// --- rules ---------------------------------------------------------------------------------------------------------

static rh_status read_action(rh_policy *policy, const char *path, const json_t *action, rh_rule *rule,
                             rh_error *error) {
  static const char *const names[] = {"provider", "model", "group", "strategy", "fallback", "fallbacks"};
  const json_t *values[6] = {NULL};
  const char *key = NULL;
  json_t *item = NULL;
  char own[PATH_BYTES];
  rh_status status = RH_OK;
  if (!json_is_object(action)) return rh_route_wants(path, action, "an object with a provider or a model", error);
  json_object_foreach((json_t *)(uintptr_t)action, key, item) {
    int field = rh_route_field(names, 6, path, key, error);
    if (field < 0) return RH_INVALID;
    values[field] = item;
  }
  rule->strategy = RH_STRATEGY_COUNT;
  if (values[0] != NULL || values[1] != NULL) {
    json_t *target = json_object();
    for (size_t i = 0; i < 2; i++) {
      if (values[i] != NULL) (void)json_object_set(target, names[i], (json_t *)(uintptr_t)values[i]);
    }
    status = rh_targets_parse(policy, path, target, &rule->targets, error);
    json_decref(target);
  }
  snprintf(own, sizeof own, "%.200s.group", path);
  if (status == RH_OK && values[2] != NULL) status = read_text(policy, own, values[2], &rule->group, error);
  snprintf(own, sizeof own, "%.200s.strategy", path);
  if (status == RH_OK && values[3] != NULL) status = rh_strategy_parse(own, values[3], &rule->strategy, error);
  const json_t *fallbacks = values[4] != NULL ? values[4] : values[5];
  snprintf(own, sizeof own, "%.200s.fallback", path);
  if (status == RH_OK && fallbacks != NULL) status = rh_targets_parse(policy, own, fallbacks, &rule->fallbacks, error);
  if (status != RH_OK) return status;
  if (rule->targets.count == 0 && rule->group == NULL && rule->strategy == RH_STRATEGY_COUNT)
    return rh_fail_param(error, RH_INVALID, path, "%s names no provider, model, group or strategy", path);
  if (rule->targets.count > 0 && rule->group != NULL)
    return rh_fail_param(error, RH_INVALID, path, "%s names a group and also a provider or model; choose one", path);
  return RH_OK;
}

static rh_status read_rule(rh_policy *policy, const char *path, const json_t *value, rh_rule *rule, rh_error *error) {
  static const char *const names[] = {"condition", "action", "reason", "name"};
  char own[PATH_BYTES];
  const char *key = NULL;
  json_t *item = NULL;
  bool acts = false;
  if (!json_is_object(value)) return rh_route_wants(path, value, "an object with condition and action", error);
  rule->condition = (rh_test){.kind = RH_TEST_ALL, .path = ""};
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    int field = rh_route_field(names, 4, path, key, error);
    rh_status status = field < 0 ? RH_INVALID : RH_OK;
    if (field >= 0) snprintf(own, sizeof own, "%.180s.%.60s", path, names[field]);
    if (field == 0) status = rh_condition_parse(policy->arena, own, item, &rule->condition, error);
    if (field == 1) status = read_action(policy, own, item, rule, error);
    if (field == 2) status = read_text(policy, own, item, &rule->reason, error);
    if (field == 3) status = read_text(policy, own, item, &rule->name, error);
    if (status != RH_OK) return status;
    acts = acts || field == 1;
  }
  return acts ? RH_OK : rh_fail_param(error, RH_INVALID, path, "%s has no action, so it would do nothing", path);
}

rh_status rh_rules_parse(rh_policy *policy, const json_t *rules, rh_error *error) {
  size_t count = json_array_size(rules);
  char path[PATH_BYTES];
  if (!json_is_array(rules)) return rh_route_wants("routing.rules", rules, "an array", error);
  if (count > RH_RULES_MAX)
    return rh_fail_param(error, RH_INVALID, "routing.rules", "routing.rules has %zu rules, but at most %d are allowed",
                         count, RH_RULES_MAX);
  policy->rules = rh_arena_alloc_array(policy->arena, count > 0 ? count : 1, sizeof *policy->rules);
  if (policy->rules == NULL) return rh_route_no_memory(error);
  for (size_t i = 0; i < count; i++) {
    snprintf(path, sizeof path, "routing.rules[%zu]", i);
    rh_status status = read_rule(policy, path, json_array_get(rules, i), &policy->rules[i], error);
    if (status != RH_OK) return status;
    policy->rule_count = i + 1;
  }
  return RH_OK;
}

// --- groups and the cascade ----------------------------------------------------------------------------------------

rh_status rh_stickiness_parse(const char *path, const json_t *value, rh_stickiness *out, rh_error *error) {
  static const char *const names[] = {"off", "session", "prefix"};
  if (json_is_boolean(value)) {
    *out = json_is_true(value) ? RH_STICKY_BY_SESSION : RH_STICKY_OFF;
    return RH_OK;
  }
  int index = 0;
  rh_status status = rh_route_word(names, 3, path, value, &index, error);
  *out = (rh_stickiness)index;
  return status;
}

rh_status rh_group_parse(rh_policy *policy, const char *path, const json_t *value, bool is_cascade, rh_group *out,
                         rh_error *error) {
  static const char *const names[] = {"members", "confidence_min", "strategy", "sticky", "fallback", "fallbacks"};
  char own[PATH_BYTES];
  const char *key = NULL;
  json_t *item = NULL;
  out->strategy = RH_STRATEGY_COUNT;
  out->sticky = policy->sticky;
  if (!json_is_object(value)) return rh_route_wants(path, value, "an object with members", error);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    int field = rh_route_field(names, is_cascade ? 2 : 6, path, key, error);
    rh_status status = field < 0 ? RH_INVALID : RH_OK;
    if (field >= 0) snprintf(own, sizeof own, "%.180s.%.60s", path, names[field]);
    if (field == 0) status = rh_targets_parse(policy, own, item, &out->members, error);
    if (field == 1) status = rh_route_number(own, item, 0, 1, &out->confidence_min, error);
    if (field == 2) status = rh_strategy_parse(own, item, &out->strategy, error);
    if (field == 3) status = rh_stickiness_parse(own, item, &out->sticky, error);
    if (field >= 4) status = rh_targets_parse(policy, own, item, &out->fallbacks, error);
    if (status != RH_OK) return status;
  }
  if (out->members.count == 0) return rh_fail_param(error, RH_INVALID, path, "%s has no members", path);
  if (is_cascade && out->confidence_min <= 0)
    return rh_fail_param(error, RH_INVALID, path,
                         "%s has no confidence_min above 0, so its second member would never be asked", path);
  return RH_OK;
}

rh_status rh_groups_parse(rh_policy *policy, const json_t *groups, rh_error *error) {
  size_t count = json_object_size(groups);
  char path[PATH_BYTES];
  const char *key = NULL;
  json_t *item = NULL;
  if (!json_is_object(groups)) return rh_route_wants("routing.groups", groups, "an object of names and groups", error);
  if (count > RH_GROUPS_MAX)
    return rh_fail_param(error, RH_INVALID, "routing.groups",
                         "routing.groups has %zu groups, but at most %d are allowed", count, RH_GROUPS_MAX);
  policy->groups = rh_arena_alloc_array(policy->arena, count > 0 ? count : 1, sizeof *policy->groups);
  if (policy->groups == NULL) return rh_route_no_memory(error);
  json_object_foreach((json_t *)(uintptr_t)groups, key, item) {
    rh_group *group = &policy->groups[policy->group_count];
    size_t length = strlen(key);
    if (length == 0 || length > RH_MODEL_NAME_MAX)
      return rh_fail_param(error, RH_INVALID, "routing.groups", "routing.groups: a name has 1 to %d bytes, not %zu",
                           RH_MODEL_NAME_MAX, length);
    snprintf(path, sizeof path, "routing.groups.%s", key);
    group->name = rh_arena_strdup(policy->arena, key);
    if (group->name == NULL) return rh_route_no_memory(error);
    rh_status status = rh_group_parse(policy, path, item, false, group, error);
    if (status != RH_OK) return status;
    policy->group_count++;
  }
  return RH_OK;
}

const rh_group *rh_policy_group(const rh_policy *policy, const char *name) {
  for (size_t i = 0; i < policy->group_count; i++) {
    if (strcmp(policy->groups[i].name, name) == 0) return &policy->groups[i];
  }
  return NULL;
}
