// SPDX-License-Identifier: Apache-2.0
//
// route/policy: what a configuration may say, what conditions hold for, and what is said about a slip.
#include "route_fixture.h"

static const char *header_value(void *ctx, const char *name) {
  (void)ctx;
  return strcmp(name, "x-team") == 0 ? "blue-7" : NULL;
}

// Is the rule with this condition the one that decides?
static bool holds(const char *condition, rh_features *features) {
  char text[2048];
  snprintf(text, sizeof text, "{'routing':{'rules':[{'condition':%s,'action':{'provider':'anthropic'}}]}}", condition);
  rh_policy *policy = policy_of(text);
  rh_route_member members[] = {member_of("local", "m"), member_of("anthropic", "c"), member_of("onnx", "o")};
  if (features->local_only) members[1].local = true;
  rh_route_question question = question_of(features, members, 3);
  question.header = header_value;
  rh_plan plan;
  rh_error error = {0};
  if (rh_route_decide(policy, &question, &plan, &error) != RH_OK) fail_msg("%s", error.message);
  rh_policy_free(policy);
  return plan.rule == 0;
}

static void fields_hold_as_documented(void **state) {
  (void)state;
  rh_features f = plain_features();
  f.agent_type = "researcher";
  f.key = "team-blue";
  f.has_code = true;
  f.tools = 3;
  f.has_tools = true;
  f.prompt_tokens = 500;
  f.minute_of_day = 23 * 60;
  f.weekday = 1;
  assert_true(holds("{}", &f));
  assert_true(holds("{'agentType':['coder','researcher'],'complexity':'medium'}", &f));
  assert_true(holds("{'agent_type':'research*'}", &f));
  assert_false(holds("{'agentType':'coder'}", &f));
  assert_false(holds("{'agentType':['researcher'],'complexity':'low'}", &f));
  assert_true(holds("{'complexity':['medium','high']}", &f));
  assert_true(holds("{'complexity':{'min':0.4,'max':0.6}}", &f));
  assert_false(holds("{'complexity':{'min':0.6}}", &f));
  assert_false(holds("{'privacy':'high'}", &f));
  assert_false(holds("{'localOnly':true}", &f));
  assert_true(holds("{'localOnly':false}", &f));
  assert_true(holds("{'task':['chat','embed']}", &f));
  assert_false(holds("{'task':'complete'}", &f));
  assert_true(holds("{'promptTokens':{'min':500},'hasCode':true,'tools':{'max':3},'hasTools':true}", &f));
  assert_false(holds("{'prompt_tokens':{'max':499}}", &f));
  assert_true(holds("{'language':['de','en'],'key':['team-*']}", &f));
  assert_false(holds("{'key':'team'}", &f));
  assert_true(holds("{'header':{'x-team':'blue-7'}}", &f));
  assert_true(holds("{'header':{'x-team':{'prefix':'blue'},'x-none':{'exists':false}}}", &f));
  assert_false(holds("{'header':{'x-team':{'contains':'red'}}}", &f));
  assert_true(holds("{'any':[{'language':'de'},{'not':{'stream':true}}]}", &f));
  assert_false(holds("{'all':[{'language':'en'},{'stream':true}]}", &f));
}

static void times_go_over_midnight(void **state) {
  (void)state;
  rh_features f = plain_features();
  f.minute_of_day = 23 * 60;
  f.weekday = 1;
  assert_true(holds("{'time':{'from':'22:00','to':'06:00'}}", &f));
  assert_true(holds("{'time':{'from':'22:00','to':'06:00','days':['mon']}}", &f));
  assert_true(holds("{'time':{'days':['monday']}}", &f));
  f.minute_of_day = 5 * 60;
  f.weekday = 2;  // the night that began on Monday
  assert_true(holds("{'time':{'from':'22:00','to':'06:00','days':['mon']}}", &f));
  assert_false(holds("{'time':{'from':'22:00','to':'06:00','days':['tue']}}", &f));
  f.minute_of_day = 6 * 60;
  assert_false(holds("{'time':{'from':'22:00','to':'06:00'}}", &f));
  assert_false(holds("{'time':{'from':'09:00','to':'17:00'}}", &f));
}

// The first configuration that this project had to take: a request that says privacy high (which implies local_only).
static void privacy_and_local_only(void **state) {
  (void)state;
  const char *condition = "{'privacy':'high','localOnly':true}";
  rh_features f = plain_features();
  f.privacy = RH_PRIVACY_HIGH;
  f.local_only = true;
  assert_true(holds(condition, &f));
  f.privacy = RH_PRIVACY_UNSET;  // local_only alone says nothing of privacy
  assert_false(holds(condition, &f));
  f.privacy = RH_PRIVACY_MEDIUM;
  f.local_only = false;
  assert_false(holds(condition, &f));
}

static void refused(const char *text, const char *path, const char *says) {
  rh_error error = {0};
  rh_policy *policy = try_policy(text, &error);
  if (policy != NULL) fail_msg("accepted: %s", text);
  if (strstr(error.message, path) == NULL || strstr(error.message, says) == NULL)
    fail_msg("\"%s\" lacks \"%s\" or \"%s\"", error.message, path, says);
  assert_int_equal(error.status, RH_INVALID);
}

static void slips_are_named(void **state) {
  (void)state;
  refused("{'routing':{'rules':[{'action':{'provider':'onnx'}},{'condition':{'complexty':'low'},'action':{}}]}}",
          "routing.rules[1].condition.complexty", "complexity");
  refused("{'routing':{'rules':[{'condition':{'complexity':'hihg'},'action':{}}]}}",
          "routing.rules[0].condition.complexity", "high");
  refused("{'routing':{'rules':[{'condition':{'any':[{'key':1}]},'action':{}}]}}", "rules[0].condition.any[0].key",
          "word");
  refused("{'routing':{'rules':[{'action':{'provider':'antropic'}}]}}", "routing.rules[0].action", "anthropic");
  refused("{'routing':{'rules':[{'condition':{}}]}}", "routing.rules[0]", "no action");
  refused("{'routing':{'mode':'cost-optimised'}}", "routing.mode", "cost-optimized");
  refused("{'routing':{'rulez':[]}}", "routing.rulez", "rules");
  refused("{'routing':{'groups':{'g':{'members':[]}}}}", "routing.groups.g", "no members");
  refused("{'routing':{'rules':[{'action':{'group':'gone'}}]}}", "routing.rules[0].action.group", "gone");
  refused("{'routing':{'exploration':3}}", "routing.exploration", "between");
  refused("{'routing':{'fallback_named':true,'fallbackNamed':true}}", "routing.fallback_named", "twice");
  refused("{'routing':{'cascade':{'members':['onnx']}}}", "routing.cascade", "confidence_min");
  refused("{'defaultProvider':'onxx'}", "defaultProvider", "onnx");
  refused("{'routing':{'rules':[{'condition':{'time':{'from':'25:00'}},'action':{}}]}}", "condition.time", "HH:MM");
  refused("{'routing':{'rules':[{'condition':{'promptTokens':{'min':3,'max':2}},'action':{}}]}}", "promptTokens",
          "never holds");
}

static void depth_is_bounded(void **state) {
  (void)state;
  char text[2048] = "{'routing':{'rules':[{'condition':";
  for (int i = 0; i < 9; i++) strcat(text, "{'not':");
  strcat(text, "{}");
  for (int i = 0; i < 9; i++) strcat(text, "}");
  strcat(text, ",'action':{'provider':'onnx'}}]}}");
  refused(text, "routing.rules[0].condition.not", "deep");
}

static void nothing_configured_is_not_set(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{}");
  assert_false(rh_policy_is_set(policy));
  rh_policy_free(policy);
  policy = policy_of("{'routing':{'mode':'rule-based','groups':{'smart':{'members':['vllm']}}}}");
  assert_false(rh_policy_is_set(policy));
  assert_true(rh_policy_has_group(policy, "smart"));
  const char *names[2];
  assert_int_equal(rh_policy_groups(policy, names, 2), 1);
  assert_string_equal(names[0], "smart");
  rh_policy_free(policy);
  policy = policy_of("{'defaultProvider':'onnx'}");
  assert_true(rh_policy_is_set(policy));
  rh_policy_free(policy);
}

static bool resolver(void *ctx, const char *provider, const char *word, const char **member_provider,
                     const char **member_model) {
  (void)ctx;
  if (provider == NULL || strcmp(provider, "onnx") != 0) return false;
  *member_provider = "local";
  *member_model = word == NULL || strcmp(word, "default") == 0 ? "phi" : strcmp(word, "fast") == 0 ? "tiny" : word;
  return true;
}

static void words_become_names(void **state) {
  (void)state;
  rh_policy *policy = policy_of(
      "{'routing':{'rules':[{'condition':{'complexity':'low'},'action':{'provider':'onnx','model':'fast'}},"
      "{'action':{'provider':'onnx','fallback':['anthropic/c']}}]}}");
  rh_route_member members[] = {member_of("anthropic", "c"), member_of("local", "tiny"), member_of("local", "phi")};
  rh_error error = {0};
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 3);
  rh_plan plan;
  for (int again = 0; again < 2; again++) {  // a second time changes nothing
    assert_int_equal(rh_policy_resolve(policy, resolver, NULL, &error), RH_OK);
    f.level = RH_LEVEL_LOW;
    assert_int_equal(rh_route_decide(policy, &question, &plan, &error), RH_OK);
    assert_int_equal(plan.entries[0].member, 1);
    f.level = RH_LEVEL_HIGH;
    assert_int_equal(rh_route_decide(policy, &question, &plan, &error), RH_OK);
    assert_int_equal(plan.entries[0].member, 2);
    assert_int_equal(plan.entries[1].member, 0);
  }
  rh_policy_free(policy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fields_hold_as_documented), cmocka_unit_test(times_go_over_midnight),
      cmocka_unit_test(privacy_and_local_only),    cmocka_unit_test(slips_are_named),
      cmocka_unit_test(depth_is_bounded),          cmocka_unit_test(nothing_configured_is_not_set),
      cmocka_unit_test(words_become_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
