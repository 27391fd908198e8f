// SPDX-License-Identifier: Apache-2.0
//
// route/decide: plans by rules, strategies, groups, cascades and names; what is said when nobody is left; what explain shows.
#include "route_fixture.h"

static rh_error last_error;

static rh_status decide(rh_policy *policy, const rh_route_question *question, rh_plan *plan) {
  last_error = (rh_error){0};
  return rh_route_decide(policy, question, plan, &last_error);
}

static void expect_plan(rh_policy *policy, const rh_route_question *question, const char *expected) {
  rh_plan plan;
  char got[512] = "";
  if (decide(policy, question, &plan) != RH_OK) fail_msg("%s", last_error.message);
  for (size_t i = 0; i < plan.count; i++) {
    strcat(got, i > 0 ? " " : "");
    strcat(got, question->members[plan.entries[i].member].model);
  }
  assert_string_equal(got, expected);
}

static rh_plan plan_of(rh_policy *policy, const rh_route_question *question) {
  rh_plan plan;
  if (decide(policy, question, &plan) != RH_OK) fail_msg("%s", last_error.message);
  return plan;
}

static void rules_then_fallbacks_then_chain_then_rest(void **state) {
  (void)state;
  rh_policy *policy = policy_of(
      "{'defaultProvider':'anthropic','fallbackChain':['anthropic','openrouter','onnx'],'routing':{'mode':'rule-based',"
      "'rules':["
      "{'condition':{'complexity':'low'},'action':{'provider':'onnx','fallback':['vllm/"
      "v']},'reason':'Simple\\nones'}]}}");
  rh_route_member members[] = {member_of("vllm", "w"), member_of("openrouter", "o"), member_of("anthropic", "a"),
                               member_of("onnx", "p"), member_of("vllm", "v")};
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 5);
  expect_plan(policy, &question, "a o p w v");
  f.level = RH_LEVEL_LOW;
  expect_plan(policy, &question, "p v a o w");
  rh_plan plan = plan_of(policy, &question);
  assert_int_equal(plan.rule, 0);
  assert_string_equal(plan.reason, "rules[0]: Simple ones");
  members[3].available = false;  // the rule's choice is out: its fallback comes first, and it is still its decision
  expect_plan(policy, &question, "v a o w");
  assert_int_equal(plan_of(policy, &question).rule, 0);
  members[3].abilities = 0;  // it cannot: but the fallback can
  expect_plan(policy, &question, "v a o w");
  members[4].abilities = 0;  // nobody of the rule can: as if it were not there
  expect_plan(policy, &question, "a o w");
  assert_int_equal(plan_of(policy, &question).rule, -1);
  rh_policy_free(policy);
}

static void cheapest_with_enough_quality(void **state) {
  (void)state;
  rh_policy *policy = policy_of(
      "{'routing':{'mode':'cost-optimized','objective':{'quality_min':0.6},"
      "'qualities':{'anthropic/a':0.9,'openrouter':0.7,'onnx/p':0.3}}}");
  rh_route_member members[] = {member_of("anthropic", "a"), member_of("openrouter", "o"), member_of("onnx", "p")};
  members[0].price_in = 3, members[0].price_out = 15;
  members[1].price_in = 1, members[1].price_out = 2;
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 3);
  expect_plan(policy, &question, "o a p");
  assert_string_equal(plan_of(policy, &question).reason, "cheapest of 3");
  question.strategy = "quality";
  expect_plan(policy, &question, "a o p");
  question.strategy = "qualty";
  rh_plan plan;
  assert_int_equal(decide(policy, &question, &plan), RH_INVALID);
  assert_non_null(strstr(last_error.message, "quality"));
  rh_policy_free(policy);
}

static void fastest_for_this_length(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'routing':{'mode':'performance-optimized','exploration':0}}");
  rh_route_stats quick = {.first_ms = 50, .token_ms = 20, .samples = 1000, .last_ns = 1000000000000u, .quality = NAN};
  rh_route_stats steady = {.first_ms = 400, .token_ms = 5, .samples = 1000, .last_ns = 1000000000000u, .quality = NAN};
  rh_route_member members[] = {member_of("vllm", "quick"), member_of("vllm", "steady")};
  members[0].stats = &quick;
  members[1].stats = &steady;
  members[0].slots = members[1].slots = 2;
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 2);
  f.answer_tokens = 5;
  expect_plan(policy, &question, "quick steady");
  f.answer_tokens = 500;
  expect_plan(policy, &question, "steady quick");
  members[1].running = 2, members[1].queued = 20;
  expect_plan(policy, &question, "quick steady");
  members[1].running = members[1].queued = 0;
  steady.error_rate = 0.9;
  expect_plan(policy, &question, "quick steady");
  steady = (rh_route_stats){.quality = NAN};  // unknown: hoped to be twice as fast as the mean
  expect_plan(policy, &question, "steady quick");
  members[1].ready = false;  // but it would have to be loaded
  f.answer_tokens = 5;
  expect_plan(policy, &question, "quick steady");
  rh_policy_free(policy);
}

static void exploration_takes_its_share(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'routing':{'mode':'latency-optimized','exploration':0.1}}");
  rh_route_stats stats[2] = {{.first_ms = 50, .samples = 1000, .last_ns = 1000000000000u, .quality = NAN},
                             {.first_ms = 500, .samples = 1000, .last_ns = 1000000000000u, .quality = NAN}};
  rh_route_member members[] = {member_of("vllm", "a"), member_of("vllm", "b")};
  for (size_t i = 0; i < 2; i++) members[i].stats = &stats[i];
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 2);
  int other = 0;
  uint64_t random = 1;
  for (int i = 0; i < 10000; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    question.chance = (uint32_t)(random >> 32);
    other += plan_of(policy, &question).entries[0].member == 1;
  }
  assert_in_range(other, 850, 1150);
  rh_policy_free(policy);
}

static void turns_by_weight(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'routing':{'mode':'round-robin','weights':{'vllm/a':3}}}");
  rh_route_member members[] = {member_of("vllm", "a"), member_of("vllm", "b"), member_of("vllm", "c")};
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 3);
  int count[3] = {0};
  size_t before = 9;
  int repeats = 0;
  for (int i = 0; i < 500; i++) {
    size_t first = plan_of(policy, &question).entries[0].member;
    json_decref(rh_route_explain(policy, &question));  // which takes nobody's turn
    count[first]++;
    repeats += first == before;
    before = first;
  }
  assert_int_equal(count[0], 300);
  assert_int_equal(count[1], 100);
  assert_true(repeats <= 100);  // smooth: a b a c a, not a a a b c
  rh_policy_free(policy);
}

static void least_outstanding_by_weight(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'routing':{'strategy':'load-balanced'}}");
  rh_route_member members[] = {member_of("vllm", "a"), member_of("vllm", "b"), member_of("vllm", "c")};
  members[0].running = 3;
  members[1].running = 5, members[1].weight = 4;
  members[2].queued = 2;
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 3);
  expect_plan(policy, &question, "b c a");
  int count[3] = {0};
  for (size_t i = 0; i < 3; i++) members[i].running = members[i].queued = 0, members[i].weight = 1;
  for (uint32_t i = 0; i < 300; i++) {  // all idle: chance, not always the first
    question.chance = i << 8;
    count[plan_of(policy, &question).entries[0].member]++;
  }
  for (size_t i = 0; i < 3; i++) assert_int_equal(count[i], 100);
  rh_policy_free(policy);
}

static void sessions_stay_and_few_move(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'routing':{'mode':'load-balanced'}}");
  rh_route_member members[5];
  static const char *const names[] = {"a", "b", "c", "d", "e"};
  for (size_t i = 0; i < 5; i++) members[i] = member_of("vllm", names[i]);
  rh_features f = plain_features();
  f.session = "s";
  rh_route_question question = question_of(&f, members, 5);
  size_t count[5] = {0};
  int moved = 0;
  for (uint64_t i = 1; i <= 2000; i++) {
    f.session_hash = i * 0x9e3779b97f4a7c15u | 1;
    members[4].available = true;
    rh_plan with = plan_of(policy, &question);
    assert_true(with.sticky);
    assert_int_equal(plan_of(policy, &question).entries[0].member, with.entries[0].member);
    members[4].available = false;
    rh_plan without = plan_of(policy, &question);
    count[with.entries[0].member]++;
    if (with.entries[0].member != 4) moved += with.entries[0].member != without.entries[0].member;
  }
  assert_int_equal(moved, 0);
  for (size_t i = 0; i < 5; i++) assert_in_range(count[i], 320, 480);
  f.session = NULL;  // the prompt's beginning counts only when it is asked for
  assert_false(plan_of(policy, &question).sticky);
  rh_policy_free(policy);
}

static void groups_and_cascades(void **state) {
  (void)state;
  rh_policy *policy = policy_of(
      "{'routing':{'groups':{'smart':{'strategy':'round-robin','members':[{'provider':'vllm','model':'a'},'anthropic/"
      "b'],"
      "'fallback':['onnx/p']}},'cascade':{'confidence_min':0.6,'members':['onnx/p','anthropic/b']}}}");
  rh_route_member members[] = {member_of("vllm", "a"), member_of("anthropic", "b"), member_of("onnx", "p")};
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 3);
  question.group = "smart";
  expect_plan(policy, &question, "a b p");
  expect_plan(policy, &question, "b a p");
  question.group = NULL;
  expect_plan(policy, &question, "p b a");
  rh_plan plan = plan_of(policy, &question);
  assert_near(plan.cascade_min, 0.6, 1e-9);
  assert_int_equal(plan.cascade_count, 2);
  rh_policy_free(policy);
}

static void names_are_pinned(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'fallbackChain':['anthropic'],'routing':{'fallbacks':{'m':['anthropic/b']}}}");
  rh_route_member members[] = {member_of("vllm", "m"), member_of("anthropic", "b"), member_of("openrouter", "m"),
                               member_of("openrouter", "z")};
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 4);
  question.pinned = "vllm/m";
  expect_plan(policy, &question, "m b");
  question.pinned = "m";
  expect_plan(policy, &question, "m m b");
  question.pinned = "z";
  expect_plan(policy, &question, "z");
  rh_plan plan;
  question.pinned = "nobody";
  assert_int_equal(decide(policy, &question, &plan), RH_NOT_FOUND);
  rh_policy_free(policy);
  policy = policy_of("{'fallbackChain':['anthropic'],'routing':{'fallbackNamed':true}}");
  question.pinned = "z";
  expect_plan(policy, &question, "z b m m");
  question.pinned = "nobody";  // a slip is not answered by another model
  assert_int_equal(decide(policy, &question, &plan), RH_NOT_FOUND);
  rh_policy_free(policy);
}

static void processors_are_preferred_not_demanded(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'routing':{'mode':'load-balanced'}}");
  rh_route_member members[] = {member_of("local", "c"), member_of("local", "g"), member_of("anthropic", "a")};
  members[1].on_gpu = true;
  members[1].running = 9;
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 3);
  question.prefer_backend = "gpu";
  assert_int_equal(plan_of(policy, &question).entries[0].member, 1);
  assert_int_equal(plan_of(policy, &question).count, 3);
  members[1].available = false;
  rh_plan plan = plan_of(policy, &question);
  assert_int_equal(plan.count, 2);
  assert_non_null(strstr(plan.reason, "preferred"));
  rh_policy_free(policy);
}

static void refusals_say_why(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'routing':{'mode':'cost-optimized'}}");
  rh_route_stats stats = {.state = RH_BREAKER_OPEN, .open_until_ns = 1000000000000u + 5000000000u, .quality = NAN};
  rh_route_member members[] = {member_of("anthropic", "a"), member_of("local", "l")};
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 2);
  rh_plan plan;
  question.needs |= RH_NEEDS_IMAGES;
  members[1].abilities &= ~(uint32_t)RH_NEEDS_IMAGES;
  f.local_only = true;
  assert_int_equal(decide(policy, &question, &plan), RH_FORBIDDEN);
  assert_int_equal(plan.count, 0);
  assert_non_null(strstr(last_error.message, "anthropic/a"));
  f.local_only = false;
  members[0].abilities &= ~(uint32_t)RH_NEEDS_IMAGES;
  assert_int_equal(decide(policy, &question, &plan), RH_UNSUPPORTED);
  assert_non_null(strstr(last_error.message, "local/l: lacks images"));
  question.needs = RH_ABILITY_CHAT;
  members[0].available = members[1].available = false;
  members[0].why_not = "breaker open";
  members[0].stats = &stats;
  assert_int_equal(decide(policy, &question, &plan), RH_UNAVAILABLE);
  assert_non_null(strstr(last_error.message, "anthropic/a: breaker open"));
  assert_in_range(last_error.retry_after_ms, 5000, 5001);
  question.member_count = 0;
  assert_int_equal(decide(policy, &question, &plan), RH_NOT_FOUND);
  rh_policy_free(policy);
}

static void too_long_prompts_go_elsewhere(void **state) {
  (void)state;
  rh_policy *policy = policy_of("{'defaultProvider':'onnx'}");
  rh_route_member members[] = {member_of("onnx", "small"), member_of("anthropic", "large")};
  members[0].context = 4096;
  members[1].context = 200000;
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 2);
  f.prompt_tokens = 9000;
  expect_plan(policy, &question, "large");
  members[1].abilities = 0;  // nobody else: the estimate may be wrong
  expect_plan(policy, &question, "small");
  rh_policy_free(policy);
}

static void test_scorer(void *ctx, const rh_features *features, const rh_route_member *members, size_t count,
                        double *scores) {
  (void)features;
  *(int *)ctx += 1;
  for (size_t i = 0; i < count; i++) scores[i] = strcmp(members[i].model, "b") == 0 ? 0.9 : 0.3;
}

static void a_scorer_decides(void **state) {
  (void)state;
  int calls = 0;
  rh_policy *policy = policy_of("{'routing':{'mode':'learned','exploration':0,'qualities':{'vllm/a':0.9}}}");
  rh_route_member members[] = {member_of("vllm", "a"), member_of("vllm", "b")};
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 2);
  expect_plan(policy, &question, "a b");
  rh_policy_set_scorer(policy, test_scorer, &calls);
  expect_plan(policy, &question, "b a");
  assert_near(plan_of(policy, &question).confidence, 2.0 / 3.0, 1e-9);
  assert_int_equal(calls, 2);
  rh_policy_set_scorer(policy, NULL, NULL);
  expect_plan(policy, &question, "a b");
  rh_policy_free(policy);
}

static void explained_for_people(void **state) {
  (void)state;
  rh_policy *policy = policy_of(
      "{'routing':{'rules':[{'condition':{'language':'en','any':[{'privacy':'high'},{'hasCode':true}]},"
      "'action':{'provider':'onnx'}},{'condition':{'complexity':'medium'},'action':{'provider':'vllm'},'reason':'usual'"
      "}]}}");
  rh_route_member members[] = {member_of("anthropic", "a"), member_of("vllm", "v"), member_of("onnx", "p")};
  members[0].available = false;
  members[0].why_not = "resting";
  rh_features f = plain_features();
  rh_route_question question = question_of(&f, members, 3);
  json_t *out = rh_route_explain(policy, &question);
  const json_t *rules = json_object_get(out, "rules");
  assert_string_equal(json_string_value(json_object_get(json_array_get(rules, 0), "failed")), "any");
  assert_true(json_is_true(json_object_get(json_array_get(rules, 1), "decided")));
  const json_t *first = json_array_get(json_object_get(out, "members"), 0);
  assert_string_equal(json_string_value(json_object_get(first, "out")), "resting");
  assert_string_equal(json_string_value(json_object_get(json_object_get(out, "choice"), "model")), "v");
  assert_string_equal(json_string_value(json_object_get(out, "reason")), "rules[1]: usual");
  assert_non_null(json_object_get(json_object_get(out, "features"), "complexity"));
  json_decref(out);
  f.local_only = true;
  members[2].available = false;
  out = rh_route_explain(policy, &question);
  assert_true(json_is_null(json_object_get(out, "choice")));
  assert_non_null(json_object_get(json_object_get(out, "error"), "message"));
  json_decref(out);
  rh_policy_free(policy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rules_then_fallbacks_then_chain_then_rest),
      cmocka_unit_test(cheapest_with_enough_quality),
      cmocka_unit_test(fastest_for_this_length),
      cmocka_unit_test(exploration_takes_its_share),
      cmocka_unit_test(turns_by_weight),
      cmocka_unit_test(least_outstanding_by_weight),
      cmocka_unit_test(sessions_stay_and_few_move),
      cmocka_unit_test(groups_and_cascades),
      cmocka_unit_test(names_are_pinned),
      cmocka_unit_test(processors_are_preferred_not_demanded),
      cmocka_unit_test(refusals_say_why),
      cmocka_unit_test(too_long_prompts_go_elsewhere),
      cmocka_unit_test(a_scorer_decides),
      cmocka_unit_test(explained_for_people),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
