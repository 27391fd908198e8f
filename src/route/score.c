// SPDX-License-Identifier: Apache-2.0
//
// Purpose: how good a member is for a request, by each strategy. docs/gateway.md repeats the formulas.
// Data owned: none. Threads: any.
// Not here: order, turns, chance and sessions (rank.c).
#include <math.h>
#include <string.h>

#include "route/internal.h"

#define QUALITY_UNKNOWN 0.5
#define FEEDBACK_PRIOR 10.0  // so many ratings weigh as much as the configured quality
#define LOAD_MS 5000.0       // a model that is not in memory yet
#define OPTIMISM 0.5         // how much faster a member is hoped to be about which nothing is known
#define FORGET_NS 600e9      // samples of ten minutes ago count half
#define SUCCESS_LEAST 0.05
#define FIRST_MS_UNKNOWN 500.0  // when nothing is known of anybody
#define COST_UNKNOWN 1e9

double rh_score_weight(const rh_policy *policy, const rh_group *group, const rh_route_member *member) {
  for (size_t i = 0; group != NULL && i < group->members.count; i++) {
    if (group->members.list[i].weight > 0 && rh_target_is(&group->members.list[i], member))
      return group->members.list[i].weight;
  }
  for (size_t i = 0; i < policy->weights.count; i++) {
    const rh_named_number *number = &policy->weights.list[i];
    if (number->value > 0 && rh_target_is(&number->target, member)) return number->value;
  }
  return member->weight > 0 && isfinite(member->weight) ? member->weight : 1.0;
}

double rh_score_load(const rh_route_member *member, double weight) {
  double outstanding = (double)member->running + (double)member->queued + 1.0;
  return (outstanding > 1.0 ? outstanding : 1.0) / weight;
}

static double configured_quality(const rh_policy *policy, const rh_route_member *member) {
  for (size_t i = 0; i < policy->qualities.count; i++) {
    if (rh_target_is(&policy->qualities.list[i].target, member)) return policy->qualities.list[i].value;
  }
  return isfinite(member->quality) ? member->quality : QUALITY_UNKNOWN;
}

double rh_score_quality(const rh_policy *policy, const rh_route_member *member) {
  double quality = configured_quality(policy, member);
  const rh_route_stats *stats = member->stats;
  if (stats == NULL || stats->quality_samples == 0 || !isfinite(stats->quality)) return quality;
  double ratings = (double)stats->quality_samples;
  return (quality * FEEDBACK_PRIOR + stats->quality * ratings) / (FEEDBACK_PRIOR + ratings);
}

double rh_score_cost(const rh_route_question *question, const rh_route_member *member) {
  const rh_features *features = rh_question_features(question, RH_FEATURES_TEXT);
  double in = (double)features->prompt_tokens * member->price_in;
  double out = (double)features->answer_tokens * member->price_out;
  return (in + out) / 1e6;
}

// What the queue adds: somebody who finds all slots taken waits for as many rounds as there are requests before him for each slot.
static double queue_factor(const rh_route_member *member) {
  double before = (double)member->running + (double)member->queued;
  if (member->slots <= 0) return 1.0 + 0.5 * (double)member->queued;
  return 1.0 + fmax(0.0, before + 1.0 - (double)member->slots) / (double)member->slots;
}

double rh_score_expected_ms(const rh_route_question *question, const rh_route_member *member) {
  const rh_route_stats *stats = member->stats;
  if (stats == NULL || stats->first_ms <= 0) return NAN;
  const rh_features *features = rh_question_features(question, RH_FEATURES_TEXT);
  double ms = stats->first_ms + (double)features->answer_tokens * stats->token_ms;
  ms *= queue_factor(member);
  // An attempt that fails is made again elsewhere: its time was spent for nothing.
  return ms / fmax(1.0 - stats->error_rate, SUCCESS_LEAST);
}

// Few or old samples: the member is hoped to be faster than they say, so that it is tried again and shows what it can do now.
static double hoped(const rh_route_question *question, const rh_route_member *member, double ms) {
  const rh_route_stats *stats = member->stats;
  double age = question->now_ns > stats->last_ns ? (double)(question->now_ns - stats->last_ns) : 0;
  double samples = (double)stats->samples * exp2(-age / FORGET_NS);
  return ms * (1.0 - OPTIMISM / (1.0 + samples));
}

static double mean_expected(const rh_route_work *work) {
  double sum = 0;
  double known = 0;
  for (size_t i = 0; i < work->candidates; i++) {
    double ms = rh_score_expected_ms(work->question, &work->question->members[work->order[i]]);
    if (!isfinite(ms)) continue;
    sum += ms;
    known += 1;
  }
  return known > 0 ? sum / known : FIRST_MS_UNKNOWN;
}

static void score_latency(rh_route_work *work) {
  double mean = mean_expected(work);
  for (size_t i = 0; i < work->candidates; i++) {
    const rh_route_member *member = &work->question->members[work->order[i]];
    double ms = rh_score_expected_ms(work->question, member);
    ms = isfinite(ms) ? hoped(work->question, member, ms) : mean * (1.0 - OPTIMISM) * queue_factor(member);
    if (!member->ready) ms += LOAD_MS;
    work->scores[work->order[i]] = (rh_route_score){-ms, -rh_score_load(member, 1.0)};
  }
}

// Members whose quality or cost is outside what the objective allows come after all others, but they come.
static void score_cost(rh_route_work *work) {
  const rh_policy *policy = work->policy;
  for (size_t i = 0; i < work->candidates; i++) {
    const rh_route_member *member = &work->question->members[work->order[i]];
    double cost = rh_score_cost(work->question, member);
    double quality = rh_score_quality(policy, member);
    if (!isfinite(cost)) cost = COST_UNKNOWN;
    bool outside = quality < policy->quality_min || (policy->cost_max > 0 && cost > policy->cost_max);
    work->scores[work->order[i]] = (rh_route_score){-(outside ? 2 * COST_UNKNOWN + cost : cost), quality};
  }
}

static void score_quality(rh_route_work *work) {
  for (size_t i = 0; i < work->candidates; i++) {
    const rh_route_member *member = &work->question->members[work->order[i]];
    double cost = rh_score_cost(work->question, member);
    work->scores[work->order[i]] =
        (rh_route_score){rh_score_quality(work->policy, member), isfinite(cost) ? -cost : -COST_UNKNOWN};
  }
}

static void score_balanced(rh_route_work *work, const rh_group *group) {
  for (size_t i = 0; i < work->candidates; i++) {
    const rh_route_member *member = &work->question->members[work->order[i]];
    double weight = rh_score_weight(work->policy, group, member);
    work->scores[work->order[i]] = (rh_route_score){-rh_score_load(member, weight), 0};
  }
}

// The scorer sees the candidates only, side by side.
static void score_learned(rh_route_work *work) {
  enum { AT_ONCE = 64 };
  rh_route_member members[AT_ONCE];
  double scores[AT_ONCE];
  const rh_features *features = rh_question_features(work->question, RH_FEATURES_ALL);
  for (size_t begin = 0; begin < work->candidates; begin += AT_ONCE) {
    size_t count = work->candidates - begin < AT_ONCE ? work->candidates - begin : AT_ONCE;
    for (size_t i = 0; i < count; i++) {
      members[i] = work->question->members[work->order[begin + i]];
      scores[i] = NAN;
    }
    work->policy->scorer(work->policy->scorer_ctx, features, members, count, scores);
    for (size_t i = 0; i < count; i++)
      work->scores[work->order[begin + i]] = (rh_route_score){isnan(scores[i]) ? -INFINITY : scores[i], 0};
  }
}

void rh_score_candidates(rh_route_work *work, const rh_ranking *ranking) {
  switch (ranking->strategy) {
    case RH_STRATEGY_LATENCY: score_latency(work); return;
    case RH_STRATEGY_COST: score_cost(work); return;
    case RH_STRATEGY_BALANCED: score_balanced(work, ranking->group); return;
    case RH_STRATEGY_LEARNED:
      if (work->policy->scorer != NULL) {
        score_learned(work);
        return;
      }
      score_quality(work);  // nothing was learned yet
      return;
    case RH_STRATEGY_QUALITY: score_quality(work); return;
    default:  // in the order they stand
      for (size_t i = 0; i < work->candidates; i++) work->scores[work->order[i]] = (rh_route_score){-(double)i, 0};
      return;
  }
}
