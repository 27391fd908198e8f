// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what the configuration writes where it means members: a provider, a model, or both; and how that becomes the names
// which members have.
// Data owned: none; strings live in the policy's arena. Threads: the one that loads the configuration.
#include <string.h>

#include "base/json.h"
#include "route/internal.h"

#define LOCAL "local"

static bool is_provider(const rh_policy *policy, const char *name) {
  if (strcmp(name, LOCAL) == 0) return true;
  for (size_t i = 0; i < policy->provider_count; i++) {
    if (strcmp(policy->providers[i], name) == 0) return true;
  }
  return false;
}

rh_status rh_target_check_provider(const rh_policy *policy, const char *path, const char *name, rh_error *error) {
  if (is_provider(policy, name)) return RH_OK;
  const char *nearest = rh_text_nearest(name, policy->providers, policy->provider_count);
  return rh_fail_param(
      error, RH_INVALID, path,
      "%s: no provider is called \"%.63s\"%s%s%s; \"providers\" lists those there are, and \"local\" is "
      "this machine's own models",
      path, name, nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
      nearest != NULL ? "\"?" : "");
}

static rh_status keep(const rh_policy *policy, rh_target *target, const char *provider, const char *model,
                      rh_error *error) {
  target->said_provider = target->provider = rh_arena_strdup(policy->arena, provider);
  target->said_model = target->model = rh_arena_strdup(policy->arena, model);
  bool failed = (provider != NULL && target->provider == NULL) || (model != NULL && target->model == NULL);
  return failed ? rh_route_no_memory(error) : RH_OK;
}

// "provider", "provider/model" when what stands before the first '/' is one, else a model's name by itself.
rh_status rh_target_from(const rh_policy *policy, const char *path, const char *text, rh_target *out, rh_error *error) {
  char provider[128];
  const char *slash = strchr(text, '/');
  if (text[0] == '\0') return rh_fail_param(error, RH_INVALID, path, "%s is empty; name a provider or a model", path);
  if (is_provider(policy, text)) return keep(policy, out, text, NULL, error);
  if (slash != NULL && (size_t)(slash - text) < sizeof provider && slash[1] != '\0') {
    memcpy(provider, text, (size_t)(slash - text));
    provider[slash - text] = '\0';
    if (is_provider(policy, provider)) return keep(policy, out, provider, slash + 1, error);
  }
  return keep(policy, out, NULL, text, error);
}

static rh_status read_object(const rh_policy *policy, const char *path, const json_t *value, rh_target *out,
                             rh_error *error) {
  static const char *const names[] = {"provider", "model", "weight"};
  const char *texts[2] = {NULL, NULL};
  const char *key = NULL;
  json_t *item = NULL;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    int field = rh_route_field(names, 3, path, key, error);
    rh_status status = field < 0 ? RH_INVALID : RH_OK;
    if (field == 2) status = rh_route_number(path, item, 1e-6, 1e6, &out->weight, error);
    if (field == 0 || field == 1) {
      texts[field] = json_string_value(item);
      if (texts[field] == NULL) status = rh_route_wants(path, item, "made of words and a weight", error);
    }
    if (status != RH_OK) return status;
  }
  if (texts[0] == NULL && texts[1] == NULL)
    return rh_fail_param(error, RH_INVALID, path, "%s names neither a provider nor a model", path);
  if (texts[0] == NULL) return rh_target_from(policy, path, texts[1], out, error);
  rh_status status = rh_target_check_provider(policy, path, texts[0], error);
  return status == RH_OK ? keep(policy, out, texts[0], texts[1], error) : status;
}

rh_status rh_targets_parse(const rh_policy *policy, const char *path, const json_t *value, rh_targets *out,
                           rh_error *error) {
  size_t count = json_is_array(value) ? json_array_size(value) : 1;
  if (count > RH_TARGETS_MAX)
    return rh_fail_param(error, RH_INVALID, path, "%s lists %zu, but at most %d are allowed", path, count,
                         RH_TARGETS_MAX);
  out->count = 0;
  out->list = rh_arena_alloc_array(policy->arena, count > 0 ? count : 1, sizeof *out->list);
  if (out->list == NULL) return rh_route_no_memory(error);
  for (size_t i = 0; i < count; i++) {
    char own[256];
    const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
    snprintf(own, sizeof own, json_is_array(value) ? "%s[%zu]" : "%s", path, i);
    rh_status status = RH_OK;
    if (json_is_string(item))
      status = rh_target_from(policy, own, json_string_value(item), &out->list[i], error);
    else if (json_is_object(item))
      status = read_object(policy, own, item, &out->list[i], error);
    else
      status = rh_route_wants(own, item, "\"provider/model\" or {\"provider\": ..., \"model\": ...}", error);
    if (status != RH_OK) return status;
    out->count = i + 1;
  }
  return RH_OK;
}

bool rh_target_is(const rh_target *target, const rh_route_member *member) {
  return (target->model == NULL || strcmp(target->model, member->model) == 0) &&
         (target->provider == NULL || strcmp(target->provider, member->provider) == 0);
}

// --- resolving -----------------------------------------------------------------------------------------------------

typedef struct resolving {
  rh_policy *policy;
  rh_route_resolver resolver;
  void *ctx;
  rh_status status;
  rh_error *error;
} resolving;

// The name as it is found now, in the policy's memory. Without memory what was said stays: NULL would mean "any", and a target
// that means one model must not come to mean all.
static const char *kept(resolving *in, const char *old, const char *said, const char *name) {
  if (name == NULL || (old != NULL && strcmp(old, name) == 0)) return name == NULL ? NULL : old;
  const char *copy = rh_arena_strdup(in->policy->arena, name);
  if (copy != NULL) return copy;
  in->status = rh_route_no_memory(in->error);
  return old != NULL ? old : said;
}

static void resolve_one(resolving *in, rh_target *target) {
  const char *provider = NULL;
  const char *model = NULL;
  bool known = in->resolver(in->ctx, target->said_provider, target->said_model, &provider, &model);
  target->provider = known ? kept(in, target->provider, target->said_provider, provider) : target->said_provider;
  target->model = known ? kept(in, target->model, target->said_model, model) : target->said_model;
}

static void resolve_all(resolving *in, rh_targets *targets) {
  for (size_t i = 0; i < targets->count; i++) resolve_one(in, &targets->list[i]);
}

static void resolve_group(resolving *in, rh_group *group) {
  resolve_all(in, &group->members);
  resolve_all(in, &group->fallbacks);
}

rh_status rh_policy_resolve(rh_policy *policy, rh_route_resolver resolver, void *ctx, rh_error *error) {
  resolving in = {.policy = policy, .resolver = resolver, .ctx = ctx, .error = error};
  for (size_t i = 0; i < policy->rule_count; i++) {
    resolve_all(&in, &policy->rules[i].targets);
    resolve_all(&in, &policy->rules[i].fallbacks);
  }
  for (size_t i = 0; i < policy->group_count; i++) resolve_group(&in, &policy->groups[i]);
  for (size_t i = 0; i < policy->named_count; i++) {
    resolve_one(&in, &policy->named[i].target);
    resolve_all(&in, &policy->named[i].fallbacks);
  }
  // A number of a provider alone is for all its models, so it is left as it is but for the provider's name.
  for (size_t i = 0; i < policy->qualities.count + policy->weights.count; i++) {
    rh_numbers *numbers = i < policy->qualities.count ? &policy->qualities : &policy->weights;
    rh_target *target = &numbers->list[i < policy->qualities.count ? i : i - policy->qualities.count].target;
    resolve_one(&in, target);
    if (target->said_model == NULL) target->model = NULL;
  }
  resolve_group(&in, &policy->cascade);
  resolve_all(&in, &policy->chain);
  resolve_all(&in, &policy->first);
  return in.status;
}
