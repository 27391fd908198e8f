// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the order of the candidates: scores, turns, sessions, exploration, the wish for a processor.
// Data owned: the policy's turns. Threads: the policy's one.
//
// Turns are the smooth weighted round robin of nginx's upstreams: each decision every candidate gains its weight, the greatest is chosen
// and pays the sum. Sessions use weighted rendezvous hashing (Thaler and Ravishankar 1998): every member draws a number from a hash of
// session and member, the best keeps the session; when a member comes or goes only its own sessions move.
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "route/internal.h"

#define NEAR_LATENCY 1.25  // a session stays with a member that is so much slower than the fastest
#define CROWDED 4          // requests for each slot; a session does not wait behind more
#define EQUAL 1e-9

static const rh_route_member *member_of(const rh_route_work *work, size_t place) {
  return &work->question->members[work->order[place]];
}

static uint64_t identity(uint64_t seed, const rh_route_member *member) {
  uint64_t hash = rh_hash_bytes(seed, member->provider, strlen(member->provider));
  return rh_hash_bytes(hash, member->model, strlen(member->model));
}

static void to_front(rh_route_work *work, size_t place) {
  uint16_t chosen = work->order[place];
  memmove(&work->order[1], &work->order[0], place * sizeof *work->order);
  work->order[0] = chosen;
}

// --- turns ---------------------------------------------------------------------------------------------------------

// The table is never full: it is begun anew before, which costs the turns that were owed.
static rh_turn *turn_of(rh_policy *policy, uint64_t key) {
  size_t at = (size_t)(key & (RH_TURNS - 1));
  while (policy->turns[at].key != 0 && policy->turns[at].key != key) at = (at + 1) & (RH_TURNS - 1);
  return &policy->turns[at];
}

static bool is_before(const rh_route_work *work, uint16_t a, uint16_t b) {
  const rh_route_score *one = &work->scores[a];
  const rh_route_score *two = &work->scores[b];
  if (one->first != two->first) return one->first > two->first;
  return one->second > two->second;
}

static void take_turns(rh_route_work *work, const rh_ranking *ranking) {
  rh_policy *policy = work->policy;
  double total = 0;
  uint64_t keys[RH_ROUTE_MEMBERS_MAX];
  if (policy->turns_used + work->candidates > RH_TURNS * 3 / 4) {
    memset(policy->turns, 0, RH_TURNS * sizeof *policy->turns);
    policy->turns_used = 0;
  }
  for (size_t i = 0; i < work->candidates; i++) {
    const rh_route_member *member = member_of(work, i);
    double weight = rh_score_weight(policy, ranking->group, member);
    keys[i] = identity(ranking->scope, member) | 1;
    double current = turn_of(policy, keys[i])->current + weight;
    total += weight;
    work->scores[work->order[i]] = (rh_route_score){current, weight};
  }
  if (work->dry) return;
  size_t best = 0;
  for (size_t i = 0; i < work->candidates; i++) {
    // By the order that decides: the turn is taken from the one that gets it.
    if (is_before(work, work->order[i], work->order[best])) best = i;
  }
  for (size_t i = 0; i < work->candidates; i++) {
    rh_turn *turn = turn_of(policy, keys[i]);
    policy->turns_used += turn->key == 0;
    turn->key = keys[i];
    // A member that is out for long must not come back with turns saved up, nor pay for others for ever.
    double current = work->scores[work->order[i]].first - (i == best ? total : 0);
    turn->current = fmin(fmax(current, -total), total);
  }
}

// --- order ---------------------------------------------------------------------------------------------------------

// Insertion: stable, and short lists are the rule. Long ones are put in order by merging runs of it.
static void insert_sort(rh_route_work *work, size_t begin, size_t end) {
  for (size_t i = begin + 1; i < end; i++) {
    uint16_t member = work->order[i];
    size_t at = i;
    for (; at > begin && is_before(work, member, work->order[at - 1]); at--) work->order[at] = work->order[at - 1];
    work->order[at] = member;
  }
}

static void merge(rh_route_work *work, const uint16_t *from, uint16_t *to, size_t begin, size_t middle, size_t end) {
  size_t left = begin;
  size_t right = middle;
  for (size_t at = begin; at < end; at++) {
    bool take_right = right < end && (left >= middle || is_before(work, from[right], from[left]));
    to[at] = take_right ? from[right++] : from[left++];
  }
}

static void sort_by_score(rh_route_work *work) {
  enum { RUN = 32 };
  uint16_t other[RH_ROUTE_MEMBERS_MAX];
  size_t count = work->candidates;
  for (size_t i = 0; i < count; i += RUN) insert_sort(work, i, i + RUN < count ? i + RUN : count);
  for (size_t width = RUN; width < count; width *= 2) {
    for (size_t i = 0; i < count; i += 2 * width) {
      size_t middle = i + width < count ? i + width : count;
      size_t end = i + 2 * width < count ? i + 2 * width : count;
      merge(work, work->order, other, i, middle, end);
    }
    memcpy(work->order, other, count * sizeof *other);
  }
}

// Equals at the front: chance decides, or the first would have all the work of idle members.
static void break_tie(rh_route_work *work) {
  size_t equals = 1;
  const rh_route_score *best = &work->scores[work->order[0]];
  while (equals < work->candidates) {
    const rh_route_score *score = &work->scores[work->order[equals]];
    if (fabs(score->first - best->first) > EQUAL || fabs(score->second - best->second) > EQUAL) break;
    equals++;
  }
  if (equals > 1 && !work->dry) to_front(work, (work->question->chance >> 8) % equals);
}

// --- sessions ------------------------------------------------------------------------------------------------------

static uint64_t session_of(const rh_route_work *work, rh_stickiness sticky) {
  const rh_features *features = work->question->features;
  if (sticky == RH_STICKY_OFF) return 0;
  bool named = features->session != NULL && features->session[0] != '\0';
  if (sticky != RH_STICKY_BY_PREFIX && !named) return 0;
  return rh_question_features(work->question, RH_FEATURES_SESSION)->session_hash;
}

// Is a member good enough for a session to stay with it?
static bool is_near(const rh_route_work *work, rh_strategy strategy, size_t place) {
  double best = work->scores[work->order[0]].first;
  double own = work->scores[work->order[place]].first;
  switch (strategy) {
    case RH_STRATEGY_ROUND_ROBIN:
    case RH_STRATEGY_BALANCED: return true;
    case RH_STRATEGY_LATENCY: return own >= best * NEAR_LATENCY;
    default: return own >= best - EQUAL;
  }
}

static bool is_crowded(const rh_route_member *member) {
  return member->slots > 0 && member->running + member->queued >= CROWDED * member->slots;
}

// The place that a session belongs to; `candidates` = none.
static size_t session_place(const rh_route_work *work, const rh_ranking *ranking, uint64_t session) {
  size_t best = work->candidates;
  double highest = -INFINITY;
  for (size_t i = 0; i < work->candidates; i++) {
    const rh_route_member *member = member_of(work, i);
    if (!is_near(work, ranking->strategy, i) || is_crowded(member)) continue;
    double drawn = ((double)(identity(session, member) >> 11) + 0.5) * 0x1p-53;
    double score = -rh_score_weight(work->policy, ranking->group, member) / log(drawn);
    if (score <= highest) continue;
    highest = score;
    best = i;
  }
  return best;
}

// --- exploration and wishes ----------------------------------------------------------------------------------------

// A share of the decisions goes to somebody other than the best, so that what is known of the others stays true.
static bool explore(rh_route_work *work, const rh_ranking *ranking) {
  if (!ranking->explore || work->dry || work->candidates < 2) return false;
  if (ranking->strategy != RH_STRATEGY_LATENCY && ranking->strategy != RH_STRATEGY_LEARNED) return false;
  double drawn = (double)(work->question->chance & 0xffff) / 65536.0;
  if (drawn >= work->policy->exploration) return false;
  to_front(work, 1 + (work->question->chance >> 16) % (work->candidates - 1));
  return true;
}

// Those with the wanted processor first, otherwise in the same order. Of remote ones nobody knows the processor.
static void prefer_backend(rh_route_work *work) {
  uint16_t kept[RH_ROUTE_MEMBERS_MAX];
  const char *wanted = work->question->prefer_backend;
  if (wanted == NULL || (strcmp(wanted, "cpu") != 0 && strcmp(wanted, "gpu") != 0)) return;
  bool gpu = wanted[0] == 'g';
  size_t first = 0;
  for (int pass = 0; pass < 2; pass++) {
    for (size_t i = 0; i < work->candidates; i++) {
      const rh_route_member *member = member_of(work, i);
      bool fits = member->local && member->on_gpu == gpu;
      if (fits == (pass == 0)) kept[first++] = work->order[i];
    }
  }
  memcpy(work->order, kept, first * sizeof *kept);
}

// How far the first leads: the difference of the first two scores against the greater of them.
static double confidence_of(const rh_route_work *work) {
  if (work->candidates < 2) return 1.0;
  double first = work->scores[work->order[0]].first;
  double second = work->scores[work->order[1]].first;
  double size = fmax(fabs(first), fabs(second));
  double lead = size > 0 && isfinite(size) ? (first - second) / size : isfinite(second) ? 0.0 : 1.0;
  return fmin(fmax(lead, 0.0), 1.0);
}

rh_ranked rh_work_rank(rh_route_work *work, const rh_ranking *ranking) {
  rh_ranked result = {.confidence = 1.0};
  if (work->candidates == 0) return result;
  if (ranking->strategy >= RH_STRATEGY_COUNT || ranking->strategy == RH_STRATEGY_RULES) {
    rh_score_candidates(work, ranking);
    prefer_backend(work);
    return result;
  }
  uint64_t session = session_of(work, ranking->sticky);
  bool turns = ranking->strategy == RH_STRATEGY_ROUND_ROBIN;
  bool alone = work->candidates == 1 && !work->dry;  // nobody to compare it with
  if (!turns && !alone)
    rh_score_candidates(work, ranking);
  else if (!turns)
    work->scores[work->order[0]] = (rh_route_score){0};
  else if (session == 0)
    take_turns(work, ranking);
  else
    for (size_t i = 0; i < work->candidates; i++) work->scores[work->order[i]] = (rh_route_score){0};
  sort_by_score(work);
  size_t place = session != 0 ? session_place(work, ranking, session) : work->candidates;
  result.confidence = confidence_of(work);
  if (place < work->candidates) {
    to_front(work, place);
    result.sticky = true;
    result.confidence = 1.0;
  } else {
    if (!turns || session != 0) break_tie(work);
    result.explored = explore(work, ranking);
    if (result.explored) result.confidence = 0.0;
  }
  prefer_backend(work);
  return result;
}
