// SPDX-License-Identifier: Apache-2.0
//
// route/decide against tens of thousands of random policies, members and requests: what must hold of every plan, whatever is
// configured. Above all: a request that must stay on this machine never has a member in its plan that would take it away.
#include <stdio.h>
#include <stdlib.h>

#include "route_fixture.h"

#define ROUNDS 40000
#define MEMBERS_MAX 12

static uint64_t state_of_chance = 88172645463325252u;

static unsigned below(unsigned limit) {
  state_of_chance ^= state_of_chance << 13;
  state_of_chance ^= state_of_chance >> 7;
  state_of_chance ^= state_of_chance << 17;
  return (unsigned)(state_of_chance >> 33) % limit;
}

static const char *const providers[] = {"local", "onnx", "anthropic", "openrouter", "vllm"};
static const char *const models[] = {"a", "b", "c", "d/e"};
static const char *const modes[] = {"rule-based", "round-robin",       "load-balanced", "latency-optimized",
                                    "learned",    "quality-optimized", "cost-optimized"};
static const char *const conditions[] = {"{}",
                                         "{'privacy':'high'}",
                                         "{'localOnly':true}",
                                         "{'hasCode':true}",
                                         "{'complexity':'low'}",
                                         "{'not':{'language':'en'}}",
                                         "{'any':[{'stream':true},{'tools':2}]}"};

static const char *target(void) {
  static char text[4][160];
  static unsigned next = 0;
  char *out = text[next++ % 4];
  const char *provider = providers[below(5)];
  const char *model = models[below(4)];
  switch (below(4)) {
    case 0: snprintf(out, 160, "'%s'", provider); break;
    case 1: snprintf(out, 160, "'%s/%s'", provider, model); break;
    case 2: snprintf(out, 160, "'%s'", model); break;
    default: snprintf(out, 160, "{'provider':'%s','model':'%s','weight':%u}", provider, model, 1 + below(4)); break;
  }
  return out;
}

static rh_policy *random_policy(void) {
  char text[4096];
  int used = snprintf(text, sizeof text,
                      "{'fallbackChain':[%s,%s],%s'routing':{'mode':'%s','sticky':'%s','fallback_named':%s,", target(),
                      target(), below(2) ? "'defaultProvider':'anthropic'," : "", modes[below(7)],
                      below(2) ? "prefix" : "session", below(2) ? "true" : "false");
  used += snprintf(
      text + used, sizeof text - (size_t)used,
      "'exploration':0.3,'fallbacks':{'a':[%s]},'groups':{'g':{'members':[%s,%s],'strategy':'%s','fallback':[%s]}},",
      target(), target(), target(), modes[below(7)], target());
  if (below(3) == 0)
    used += snprintf(text + used, sizeof text - (size_t)used, "'cascade':{'confidence_min':0.5,'members':[%s,%s]},",
                     target(), target());
  used += snprintf(text + used, sizeof text - (size_t)used, "'rules':[");
  unsigned rules = below(4);
  for (unsigned i = 0; i < rules; i++) {
    used += snprintf(text + used, sizeof text - (size_t)used, "%s{'condition':%s,'action':{", i > 0 ? "," : "",
                     conditions[below(7)]);
    if (below(4) == 0)
      used += snprintf(text + used, sizeof text - (size_t)used, "'group':'g'");
    else
      used += snprintf(text + used, sizeof text - (size_t)used, "'provider':'%s'%s", providers[below(5)],
                       below(2) ? ",'model':'b'" : "");
    if (below(2)) used += snprintf(text + used, sizeof text - (size_t)used, ",'strategy':'%s'", modes[below(7)]);
    used += snprintf(text + used, sizeof text - (size_t)used, ",'fallback':[%s,%s]}}", target(), target());
  }
  snprintf(text + used, sizeof text - (size_t)used, "]}}");
  return policy_of(text);
}

static size_t random_members(rh_route_member *members, rh_route_stats *stats) {
  size_t count = below(MEMBERS_MAX + 1);
  for (size_t i = 0; i < count; i++) {
    members[i] = member_of(providers[below(5)], models[below(4)]);
    members[i].local = members[i].local || below(6) == 0;  // a server on this machine
    members[i].available = below(3) != 0;
    members[i].why_not = "out";
    members[i].ready = below(2) == 0;
    members[i].on_gpu = below(2) == 0;
    if (below(3) == 0) members[i].abilities &= ~(1u << below(10));
    members[i].context = below(3) == 0 ? 1000 : 0;
    members[i].price_in = below(5) == 0 ? NAN : (double)below(10);
    members[i].quality = below(3) == 0 ? NAN : below(100) / 100.0;
    members[i].running = below(5), members[i].queued = below(5), members[i].slots = below(3);
    stats[i] =
        (rh_route_stats){.first_ms = below(3) * 100.0, .token_ms = below(20), .samples = below(9), .quality = NAN};
    if (below(2)) members[i].stats = &stats[i];
  }
  return count;
}

static void random_features(rh_features *f) {
  static const char *const languages[] = {"", "en", "de"};
  *f = plain_features();
  f->privacy = (rh_privacy)below(4);
  f->local_only = below(3) == 0;  // privacy alone is enough, even when nobody derived this from it
  f->level = (rh_level)(1 + below(3));
  f->has_code = below(2);
  f->stream = below(2);
  f->tools = below(3);
  f->prompt_tokens = below(3000);
  f->session = below(2) ? "s" : NULL;
  f->session_hash = below(2) ? below(1000) + 1 : 0;
  snprintf(f->language, sizeof f->language, "%s", languages[below(3)]);
}

static bool may(const rh_route_question *question, const rh_route_member *member) {
  const rh_features *f = question->features;
  bool stays = f->local_only || f->privacy == RH_PRIVACY_HIGH;
  return (!stays || member->local) && (question->needs & ~member->abilities) == 0;
}

static void check_plan(const rh_route_question *question, const rh_plan *plan) {
  assert_in_range(plan->count, 1, RH_PLAN_MAX);
  assert_true(plan->confidence >= 0 && plan->confidence <= 1);
  assert_true(plan->reason[0] != '\0' && plan->cascade_count <= plan->count);
  for (size_t i = 0; i < plan->count; i++) {
    assert_true(plan->entries[i].member < question->member_count);
    const rh_route_member *member = &question->members[plan->entries[i].member];
    assert_true(may(question, member));
    assert_true(member->available);
    for (size_t k = 0; k < i; k++) assert_true(plan->entries[k].member != plan->entries[i].member);
  }
}

// Routed to anybody: then there is a plan exactly if somebody may and is there, and it has all of them.
static void check_refusal(const rh_route_question *question, rh_status status, size_t planned) {
  size_t able = 0;
  size_t there = 0;
  for (size_t i = 0; i < question->member_count; i++) {
    able += may(question, &question->members[i]);
    there += may(question, &question->members[i]) && question->members[i].available;
  }
  if (question->pinned != NULL || question->group != NULL) return;
  if (status == RH_OK) assert_true(there > 0 && planned <= there);
  if (status == RH_UNAVAILABLE) assert_true(able > 0);
  if (status == RH_FORBIDDEN || status == RH_UNSUPPORTED) assert_true(able == 0);
}

static void every_plan_keeps_the_promises(void **state) {
  (void)state;
  rh_route_member members[MEMBERS_MAX];
  rh_route_stats stats[MEMBERS_MAX];
  static const char *const words[] = {"cost", "latency", "quality", "round-robin"};
  size_t stayed = 0;
  size_t plans = 0;
  rh_policy *policy = NULL;
  for (int i = 0; i < ROUNDS; i++) {
    rh_features f;
    rh_plan plan;
    rh_error error = {0};
    if (i % 4 == 0) {
      rh_policy_free(policy);
      policy = random_policy();
    }
    random_features(&f);
    rh_route_question question = question_of(&f, members, random_members(members, stats));
    question.needs = RH_ABILITY_CHAT | (below(3) == 0 ? RH_NEEDS_TOOLS : 0) | (below(4) == 0 ? RH_NEEDS_IMAGES : 0);
    question.chance = below(1u << 30) * 4u;
    question.prefer_backend = below(4) == 0 ? "gpu" : NULL;
    question.strategy = below(4) == 0 ? words[below(4)] : NULL;
    if (below(5) == 0)
      question.pinned = below(2) ? "a" : "vllm/b";
    else if (below(5) == 0)
      question.group = "g";
    rh_status status = rh_route_decide(policy, &question, &plan, &error);
    if (status == RH_OK)
      check_plan(&question, &plan);
    else
      assert_true(plan.count == 0 && error.message[0] != '\0' && error.status == status);
    check_refusal(&question, status, plan.count);
    plans += status == RH_OK;
    stayed += status == RH_OK && (f.local_only || f.privacy == RH_PRIVACY_HIGH);
    if (i % 16 == 0) json_decref(rh_route_explain(policy, &question));
  }
  rh_policy_free(policy);
  assert_true(plans > ROUNDS / 3 && stayed > ROUNDS / 20);  // or the test would say nothing
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_plan_keeps_the_promises)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
