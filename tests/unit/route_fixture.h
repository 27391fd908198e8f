// SPDX-License-Identifier: Apache-2.0
//
// Policies from text and members from a line, for the tests of src/route.
#ifndef RH_TESTS_ROUTE_FIXTURE_H
#define RH_TESTS_ROUTE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "route/route.h"

#define ALL_ABILITIES 0xffffu
// The distributions' cmocka is older than its own assert_double_equal.
#define assert_near(value, expected, within) assert_true(fabs((value) - (expected)) <= (within))

// NULL, and the error, when it is refused. Single quotes stand for double ones.
static inline rh_policy *try_policy(const char *text, rh_error *error) {
  static const char *const providers[] = {"onnx", "anthropic", "openrouter", "vllm", NULL};
  char json[8192];
  assert_true(strlen(text) < sizeof json);
  strcpy(json, text);
  for (char *at = json; *at != '\0'; at++) {
    if (*at == '\'') *at = '"';
  }
  json_t *root = rh_json_parse(json, strlen(json), error);
  assert_non_null(root);
  rh_policy *policy = NULL;
  rh_status status =
      rh_policy_parse(json_object_get(root, "routing"), json_object_get(root, "fallbackChain"),
                      json_string_value(json_object_get(root, "defaultProvider")), providers, &policy, error);
  assert_int_equal(status == RH_OK, policy != NULL);
  json_decref(root);
  return policy;
}

static inline rh_policy *policy_of(const char *text) {
  rh_error error = {0};
  rh_policy *policy = try_policy(text, &error);
  if (policy == NULL) fail_msg("%s", error.message);
  return policy;
}

static inline rh_route_member member_of(const char *provider, const char *model) {
  bool local = strcmp(provider, "local") == 0 || strcmp(provider, "onnx") == 0;
  return (rh_route_member){.provider = provider,
                           .model = model,
                           .local = local,
                           .abilities = ALL_ABILITIES,
                           .ready = true,
                           .available = true,
                           .quality = NAN,
                           .weight = 1};
}

static inline rh_features plain_features(void) {
  return (rh_features){.task = RH_TASK_CHAT,
                       .prompt_tokens = 100,
                       .answer_tokens = 100,
                       .turns = 1,
                       .messages = 1,
                       .level = RH_LEVEL_MEDIUM,
                       .complexity = 0.5,
                       .language = "en"};
}

static inline rh_route_question question_of(rh_features *features, const rh_route_member *members, size_t count) {
  return (rh_route_question){.features = features,
                             .members = members,
                             .member_count = count,
                             .needs = RH_ABILITY_CHAT,
                             .now_ns = 1000000000000u,
                             .chance = 0xffffffff};
}

#endif
