// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: a routing policy as JSON. Whatever it is, the parser gives a policy or a reason; and what any policy that it gives
// decides of a request that must stay on this machine stays there, distinct and explainable.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "route/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
  if (!holds) abort();
}

static bool resolve(void *ctx, const char *provider, const char *word, const char **member_provider,
                    const char **member_model) {
  (void)ctx;
  *member_provider = provider;
  *member_model = word != NULL ? word : "a";
  return provider != NULL;
}

static void decide(rh_policy *policy, bool stays, const char *pinned, const char *group) {
  const rh_route_member members[] = {
      {.provider = "local", .model = "a", .local = true, .abilities = ~0u, .available = true, .quality = NAN},
      {.provider = "onnx", .model = "b", .local = true, .abilities = ~0u, .available = true, .quality = 0.5},
      {.provider = "anthropic", .model = "c", .abilities = ~0u, .available = true, .quality = NAN, .price_in = 3},
      {.provider = "openrouter", .model = "a", .abilities = ~0u, .quality = NAN},
  };
  rh_features features = {.task = RH_TASK_CHAT, .level = RH_LEVEL_LOW, .local_only = stays, .session_hash = 7};
  rh_route_question question = {
      .features = &features, .members = members, .member_count = 4, .pinned = pinned, .group = group};
  rh_plan plan;
  rh_error error = {0};
  rh_status status = rh_route_decide(policy, &question, &plan, &error);
  require((status == RH_OK) == (plan.count > 0));
  require(status == RH_OK || error.message[0] != '\0');
  for (size_t i = 0; i < plan.count; i++) {
    require(plan.entries[i].member < 3);
    require(!stays || members[plan.entries[i].member].local);
    for (size_t k = 0; k < i; k++) require(plan.entries[k].member != plan.entries[i].member);
  }
  json_decref(rh_route_explain(policy, &question));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const providers[] = {"onnx", "anthropic", "openrouter", NULL};
  json_t *root = rh_json_parse((const char *)data, size, NULL);
  if (root == NULL) return 0;
  rh_policy *policy = NULL;
  rh_error error = {0};
  rh_status status =
      rh_policy_parse(json_object_get(root, "routing"), json_object_get(root, "fallbackChain"),
                      json_string_value(json_object_get(root, "defaultProvider")), providers, &policy, &error);
  json_decref(root);  // the policy keeps nothing of it
  require((status == RH_OK) == (policy != NULL));
  require(status == RH_OK || error.message[0] != '\0');
  if (policy == NULL) return 0;
  require(rh_policy_resolve(policy, resolve, NULL, &error) == RH_OK);
  const char *group = NULL;
  if (rh_policy_groups(policy, &group, 1) > 0) decide(policy, true, NULL, group);
  for (int i = 0; i < 4; i++) decide(policy, i % 2 == 0, i < 2 ? NULL : "a", NULL);
  rh_policy_free(policy);
  return 0;
}
