// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the decision: a plan of members, the choice first, then who follows.
// Data owned: none. Threads: the policy's one. No allocation: work and plan are on the stack.
//
// A named model: those that are it, then what is configured to follow it. A group: its members, then its fallbacks. Everything else:
// the first rule that holds and has a member; else the cascade; else the default provider or the strategy; then the rule's fallbacks,
// the chain, the rest. Members that may not or cannot were taken out before any of it (eligible.c).
#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/utf8.h"
#include "route/internal.h"

static const rh_route_member *member_at(const rh_route_work *work, size_t member) {
  return &work->question->members[member];
}

static void RH_PRINTF(2, 3) say(rh_plan *plan, const char *format, ...) {
  size_t used = strlen(plan->reason);
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(plan->reason + used, sizeof plan->reason - used, format, arguments);
  va_end(arguments);
  plan->reason[rh_utf8_complete_prefix(plan->reason, strlen(plan->reason))] = '\0';
}

// --- candidates ----------------------------------------------------------------------------------------------------

static bool is_candidate(const rh_route_work *work, size_t member) {
  for (size_t i = 0; i < work->candidates; i++) {
    if (work->order[i] == member) return true;
  }
  return false;
}

static void add_candidate(rh_route_work *work, size_t member) {
  work->considered[member] = true;
  if (work->out[member] != RH_OUT_NOT || work->planned[member]) return;
  work->order[work->candidates++] = (uint16_t)member;
}

// A provider by itself means its default model. When that one cannot serve the request, or is not there, another of the
// provider's may; but not when it is only out just now, for then the configured fallbacks come first.
static bool means_others(const rh_route_work *work, const rh_target *target) {
  if (target->said_model != NULL || target->provider == NULL) return false;
  for (size_t i = 0; i < work->count; i++) {
    if (rh_target_is(target, member_at(work, i)) && rh_work_is_permitted(work, i)) return false;
  }
  return true;
}

static bool is_meant(const rh_target *target, const rh_route_member *member, bool others) {
  return rh_target_is(target, member) || (others && strcmp(target->provider, member->provider) == 0);
}

typedef enum breadth {
  ONE,    // of a provider by itself, one model
  ALL,    // everything that is meant
  WHOLE,  // of a provider by itself, all its models
} breadth;

static void collect_target(rh_route_work *work, const rh_target *target, breadth how) {
  bool alone = target->said_model == NULL && target->provider != NULL;
  bool others = (how == WHOLE && alone) || means_others(work, target);
  for (size_t i = 0; i < work->count; i++) {
    if (!is_meant(target, member_at(work, i), others)) continue;
    if (work->candidates > 0 && is_candidate(work, i)) continue;
    size_t before = work->candidates;
    add_candidate(work, i);
    if (how == ONE && alone && work->candidates > before) return;
  }
}

static void collect(rh_route_work *work, const rh_targets *targets, breadth how) {
  work->candidates = 0;
  for (size_t i = 0; i < targets->count; i++) collect_target(work, &targets->list[i], how);
}

static void collect_everybody(rh_route_work *work) {
  work->candidates = 0;
  for (size_t i = 0; i < work->count; i++) add_candidate(work, i);
}

// "provider/model" or a model's own name; the first wins where a name could be both.
static bool is_full_name(const char *name, const rh_route_member *member) {
  size_t length = strlen(member->provider);
  return strncmp(name, member->provider, length) == 0 && name[length] == '/' &&
         strcmp(name + length + 1, member->model) == 0;
}

static void collect_pinned(rh_route_work *work, const char *name) {
  work->candidates = 0;
  bool full = false;
  for (size_t i = 0; !full && i < work->count; i++) full = is_full_name(name, member_at(work, i));
  for (size_t i = 0; i < work->count; i++) {
    const rh_route_member *member = member_at(work, i);
    if (full ? is_full_name(name, member) : strcmp(name, member->model) == 0) add_candidate(work, i);
  }
}

// --- the plan ------------------------------------------------------------------------------------------------------

static void append(rh_route_work *work, rh_plan *plan, size_t max) {
  for (size_t i = 0; i < work->candidates && i < max && plan->count < RH_PLAN_MAX; i++) {
    size_t member = work->order[i];
    assert(work->out[member] == RH_OUT_NOT);
    if (work->planned[member]) continue;
    work->planned[member] = true;
    plan->entries[plan->count++] = (rh_plan_entry){.member = member, .score = work->scores[member].first};
  }
}

// Who follows, in the order it was written.
static void append_targets(rh_route_work *work, rh_plan *plan, const rh_targets *targets) {
  if (targets->count == 0) return;
  collect(work, targets, ONE);
  append(work, plan, SIZE_MAX);
}

static void append_rest(rh_route_work *work, rh_plan *plan) {
  append_targets(work, plan, &work->policy->chain);
  collect_everybody(work);
  append(work, plan, SIZE_MAX);
}

static rh_strategy strategy_of(const rh_route_work *work, rh_strategy configured) {
  return work->asked != RH_STRATEGY_COUNT ? work->asked : configured;
}

static void note_ranked(const rh_route_work *work, rh_plan *plan, rh_ranked ranked) {
  const char *wanted = work->question->prefer_backend;
  plan->sticky = ranked.sticky;
  plan->confidence = ranked.confidence;
  if (plan->count == 0) return;
  if (ranked.explored) say(plan, "; another than the best, to learn how it does now");
  if (ranked.sticky) say(plan, "; where the session was");
  if (wanted == NULL || (strcmp(wanted, "cpu") != 0 && strcmp(wanted, "gpu") != 0)) return;
  const rh_route_member *first = member_at(work, plan->entries[0].member);
  bool fits = first->local && first->on_gpu == (wanted[0] == 'g');
  say(plan, fits ? "; on the %s as asked" : "; no candidate on the %s, which was preferred", wanted);
}

static void say_strategy(const rh_route_work *work, rh_plan *plan, rh_strategy strategy) {
  static const char *const words[RH_STRATEGY_COUNT] = {
      [RH_STRATEGY_RULES] = "first",          [RH_STRATEGY_ROUND_ROBIN] = "next in turn",
      [RH_STRATEGY_BALANCED] = "least busy",  [RH_STRATEGY_LATENCY] = "fastest",
      [RH_STRATEGY_QUALITY] = "best",         [RH_STRATEGY_COST] = "cheapest",
      [RH_STRATEGY_LEARNED] = "best learned",
  };
  if (strategy == RH_STRATEGY_LEARNED && work->policy->scorer == NULL)
    say(plan, "best of %zu (nothing is learned yet)", work->candidates);
  else if (work->candidates == 1)
    say(plan, "the only one that can");
  else
    say(plan, "%s of %zu", words[strategy], work->candidates);
}

// --- a named model, a group ----------------------------------------------------------------------------------------

static void plan_pinned(rh_route_work *work, rh_plan *plan) {
  const rh_policy *policy = work->policy;
  const char *name = work->question->pinned;
  collect_pinned(work, name);
  plan->strategy = strategy_of(work, policy->strategy);
  rh_ranked ranked =
      rh_work_rank(work, &(rh_ranking){.strategy = plan->strategy, .sticky = policy->sticky, .scope = 3});
  say(plan, "named");
  append(work, plan, SIZE_MAX);
  note_ranked(work, plan, ranked);
  for (size_t i = 0; i < policy->named_count; i++) {
    const rh_named_fallbacks *named = &policy->named[i];
    bool meant = strcmp(named->model, name) == 0;
    for (size_t k = 0; !meant && k < work->count; k++) {
      bool is_it = is_full_name(name, member_at(work, k)) || strcmp(name, member_at(work, k)->model) == 0;
      meant = is_it && named->target.model != NULL && rh_target_is(&named->target, member_at(work, k));
    }
    if (meant) append_targets(work, plan, &named->fallbacks);
  }
  // Nobody is asked in place of a name that nobody has: a slip of the pen must not be answered by another model.
  bool exists = false;
  for (size_t i = 0; i < work->count; i++) exists = exists || work->considered[i];
  if (policy->fallback_named && exists) append_rest(work, plan);
}

static void plan_group(rh_route_work *work, rh_plan *plan, const rh_group *group) {
  bool cascade = group->confidence_min > 0;
  rh_strategy configured = group->strategy != RH_STRATEGY_COUNT ? group->strategy : work->policy->strategy;
  if (group->strategy == RH_STRATEGY_COUNT && configured == RH_STRATEGY_RULES) configured = RH_STRATEGY_BALANCED;
  plan->strategy = cascade ? RH_STRATEGY_RULES : strategy_of(work, configured);
  uint64_t scope = group->name != NULL ? rh_hash_bytes(1, group->name, strlen(group->name)) : 2;
  rh_ranking ranking = {
      .strategy = plan->strategy, .group = group, .sticky = group->sticky, .scope = scope, .explore = true};
  collect(work, &group->members, cascade ? ONE : WHOLE);
  if (cascade) ranking.strategy = RH_STRATEGY_COUNT;
  rh_ranked ranked = rh_work_rank(work, &ranking);
  if (group->name != NULL) say(plan, "group %s: ", group->name);
  if (cascade)
    say(plan, "first of a cascade of %zu", work->candidates);
  else
    say_strategy(work, plan, plan->strategy);
  append(work, plan, SIZE_MAX);
  note_ranked(work, plan, ranked);
  if (cascade) {
    plan->cascade_min = group->confidence_min;
    plan->cascade_count = plan->count;
  }
  append_targets(work, plan, &group->fallbacks);
}

// --- rules ---------------------------------------------------------------------------------------------------------

static bool have_members(const rh_route_work *work, const rh_targets *targets) {
  for (size_t i = 0; i < targets->count; i++) {
    bool others = means_others(work, &targets->list[i]);
    for (size_t k = 0; k < work->count; k++) {
      if (is_meant(&targets->list[i], member_at(work, k), others) && rh_work_is_permitted(work, k)) return true;
    }
  }
  return false;
}

bool rh_rule_has_members(const rh_route_work *work, const rh_rule *rule) {
  if (have_members(work, &rule->fallbacks)) return true;
  const rh_group *group = rule->group != NULL ? rh_policy_group(work->policy, rule->group) : NULL;
  if (group != NULL) return have_members(work, &group->members) || have_members(work, &group->fallbacks);
  if (rule->targets.count > 0) return have_members(work, &rule->targets);
  for (size_t i = 0; i < work->count; i++) {
    if (rh_work_is_permitted(work, i)) return true;
  }
  return false;
}

static void plan_rule(rh_route_work *work, rh_plan *plan, size_t index) {
  const rh_rule *rule = &work->policy->rules[index];
  const rh_group *group = rule->group != NULL ? rh_policy_group(work->policy, rule->group) : NULL;
  plan->rule = (int)index;
  if (rule->name != NULL)
    say(plan, "rule %s", rule->name);
  else
    say(plan, "rules[%zu]", index);
  if (rule->reason != NULL) say(plan, ": %s", rule->reason);
  if (group != NULL) {
    say(plan, "; ");
    plan_group(work, plan, group);
  } else {
    bool ordered = rule->strategy == RH_STRATEGY_COUNT || rule->strategy == RH_STRATEGY_RULES;
    if (rule->targets.count > 0)
      collect(work, &rule->targets, ordered ? ONE : WHOLE);
    else
      collect_everybody(work);
    plan->strategy = ordered ? RH_STRATEGY_RULES : rule->strategy;
    rh_ranked ranked = rh_work_rank(
        work,
        &(rh_ranking){
            .strategy = plan->strategy, .sticky = work->policy->sticky, .scope = 16 + index, .explore = !ordered});
    if (!ordered) {
      say(plan, "; ");
      say_strategy(work, plan, plan->strategy);
    }
    append(work, plan, SIZE_MAX);
    note_ranked(work, plan, ranked);
  }
  if (plan->count == 0) say(plan, "; its choice is out just now");
  append_targets(work, plan, &rule->fallbacks);
  append_rest(work, plan);
}

// --- everything else -----------------------------------------------------------------------------------------------

static void plan_default(rh_route_work *work, rh_plan *plan) {
  const rh_policy *policy = work->policy;
  rh_ranked none = {.confidence = 1.0};
  collect(work, &policy->first, ONE);
  if (work->candidates > 0) {
    say(plan, "the default provider");
    append(work, plan, SIZE_MAX);
  } else {
    const char *why = policy->first.count > 0 ? "the default provider is out; " : "";
    collect(work, &policy->chain, ONE);
    bool chained = work->candidates > 0;
    if (!chained) collect_everybody(work);
    say(plan, "%sthe first %s", why, chained ? "of the fallback chain" : "that can");
    none = rh_work_rank(work, &(rh_ranking){.strategy = RH_STRATEGY_COUNT});
    append(work, plan, SIZE_MAX);
  }
  note_ranked(work, plan, none);
  append_rest(work, plan);
}

static void plan_strategy(rh_route_work *work, rh_plan *plan) {
  uint16_t rest[RH_ROUTE_MEMBERS_MAX];
  collect_everybody(work);
  rh_ranked ranked = rh_work_rank(
      work, &(rh_ranking){.strategy = plan->strategy, .sticky = work->policy->sticky, .scope = 1, .explore = true});
  say_strategy(work, plan, plan->strategy);
  append(work, plan, 1);
  note_ranked(work, plan, ranked);
  // The chain is what somebody wrote down, so it comes before what scores say of the rest.
  size_t count = work->candidates;
  memcpy(rest, work->order, count * sizeof *rest);
  append_targets(work, plan, &work->policy->chain);
  memcpy(work->order, rest, count * sizeof *rest);
  work->candidates = count;
  append(work, plan, SIZE_MAX);
}

static void plan_auto(rh_route_work *work, rh_plan *plan) {
  const rh_policy *policy = work->policy;
  for (size_t i = 0; i < work->count; i++) work->considered[i] = true;
  rh_facts facts;
  if (policy->rule_count > 0) rh_facts_begin(&facts, work->question);
  for (size_t i = 0; i < policy->rule_count; i++) {
    if (!rh_condition_holds(&policy->rules[i].condition, &facts, NULL)) continue;
    if (!rh_rule_has_members(work, &policy->rules[i])) continue;
    plan_rule(work, plan, i);
    return;
  }
  plan->strategy = strategy_of(work, policy->strategy);
  if (work->asked == RH_STRATEGY_COUNT && have_members(work, &policy->cascade.members)) {
    plan_group(work, plan, &policy->cascade);
    append_rest(work, plan);
  } else if (plan->strategy == RH_STRATEGY_RULES) {
    plan_default(work, plan);
  } else {
    plan_strategy(work, plan);
  }
}

static rh_status read_strategy(rh_route_work *work, rh_error *error) {
  const char *word = work->question->strategy;
  if (word == NULL || word[0] == '\0' || strcmp(word, "auto") == 0) return RH_OK;
  work->asked = rh_strategy_from_name(word);
  if (work->asked != RH_STRATEGY_COUNT) return RH_OK;
  json_t *text = json_string(word);
  rh_status status = rh_strategy_parse("strategy", text, &work->asked, error);
  json_decref(text);
  return status == RH_OK ? RH_INVALID : status;
}

rh_status rh_work_plan(rh_route_work *work, rh_plan *plan, rh_error *error) {
  const rh_route_question *question = work->question;
  *plan = (rh_plan){.rule = -1, .confidence = 1.0, .strategy = work->policy->strategy};
  rh_status status = read_strategy(work, error);
  if (status != RH_OK) return status;
  rh_work_filter(work);
  const rh_group *group = question->group != NULL ? rh_policy_group(work->policy, question->group) : NULL;
  if (question->group != NULL && group == NULL)
    return rh_fail_param(error, RH_INVALID, "model", "routing.groups has no group \"%.128s\"", question->group);
  if (question->pinned != NULL)
    plan_pinned(work, plan);
  else if (group != NULL)
    plan_group(work, plan, group);
  else
    plan_auto(work, plan);
  return plan->count > 0 ? RH_OK : rh_work_fail(work, error);
}

rh_status rh_route_decide(rh_policy *policy, const rh_route_question *question, rh_plan *out, rh_error *error) {
  rh_route_work work;
  rh_work_begin(&work, policy, question);
  return rh_work_plan(&work, out, error);
}
