// SPDX-License-Identifier: Apache-2.0
//
// The router: which model answers a request, and who is next when it cannot. A decision is a pure function of the request's
// features, the policy and a snapshot of the members; it takes microseconds and can explain itself. What is learned along the way
// (speeds, faults) is in rh_member_stats of this folder (stats.h), fed by the gateway.
//
// No I/O, no clock (time comes in as an argument), no allocation in a decision. Any thread, but one policy's rotation counters
// belong to one.
#ifndef RH_ROUTE_ROUTE_H
#define RH_ROUTE_ROUTE_H

#include <jansson.h>

#include "base/status.h"
#include "flow/limits.h"
#include "flow/request.h"
#include "route/stats.h"

// --- features ------------------------------------------------------------------------------------------------------

typedef enum rh_level { RH_LEVEL_UNSET, RH_LEVEL_LOW, RH_LEVEL_MEDIUM, RH_LEVEL_HIGH } rh_level;

// Parts of the features that cost time. Decisions read what they need.
enum {
  RH_FEATURES_TEXT = 1 << 0,     // all but the other parts' and what the request says of itself
  RH_FEATURES_CLOCK = 1 << 1,    // minute_of_day and weekday
  RH_FEATURES_SESSION = 1 << 2,  // session_hash
  RH_FEATURES_ALL = 7,
};

// What the router looks at; made in microseconds (features.c documents the formulas, docs/gateway.md repeats them).
typedef struct rh_features {
  unsigned read;   // RH_FEATURES_ bits
  int64_t wall_s;  // when it was asked
  rh_task task;
  int64_t prompt_tokens;  // estimated
  int64_t answer_tokens;  // max_tokens, or a guess
  int64_t turns;          // messages of the user
  int64_t messages;
  int64_t tools;      // given
  double complexity;  // 0..1
  rh_level level;     // of complexity: LOW < 0.33 <= MEDIUM < 0.66 <= HIGH; or the client's word
  double code, math;  // 0..1: how much of the prompt looks like it
  bool has_code, has_math, has_images, has_tools, wants_json, stream;
  char language[4];  // ISO 639-1 of the last message, "" = unknown
  rh_privacy privacy;
  bool local_only;                                        // also when privacy is HIGH
  const char *agent_type, *key, *session, *user, *model;  // borrowed from the request; NULL = none
  uint64_t session_hash;       // of the session, else of the prompt's beginning (for sticky members); 0 = none
  int minute_of_day, weekday;  // local time; 0 = Sunday
} rh_features;

// A header's value by name, NULL when absent; for conditions on headers.
typedef const char *(*rh_header_lookup)(void *ctx, const char *name);
// What the request says of itself: task, privacy, names, needs. Nothing is read yet.
void rh_features_begin(const rh_request *request, const char *key, int64_t wall_s, rh_features *out);
// Reads those of `parts` that were not read before, from the same request.
void rh_features_read(const rh_request *request, rh_features *features, unsigned parts);
// Both, with all parts.
void rh_features_extract(const rh_request *request, const char *key, int64_t wall_s, rh_features *out);
json_t *rh_features_json(const rh_features *features);  // new reference; no text of the prompt

// --- members: what can be chosen -----------------------------------------------------------------------------------

enum {
  RH_ABILITY_CHAT = 1 << 8,  // below: RH_NEEDS_ bits
  RH_ABILITY_COMPLETE = 1 << 9,
  RH_ABILITY_EMBED = 1 << 10,
  RH_ABILITY_OTHER = 1 << 11,  // tasks of this machine's models only
};

// A snapshot of one (provider, model). Strings are borrowed.
typedef struct rh_route_member {
  const char *provider;  // "local", or a provider's name
  const char *model;     // as the provider calls it
  bool local;            // does not leave this machine
  uint32_t abilities;    // RH_NEEDS_ and RH_ABILITY_ bits; all bits when nothing is known yet
  bool on_gpu, ready;    // loaded now (remote ones always)
  bool available;        // false: breaker open, resting, failed to load, disabled. `why_not` says it
  const char *why_not;
  uint64_t back_ns;            // when it is available again, as far as is known beyond its breaker; 0 = not known
  int64_t context;             // tokens; 0 = unknown
  double price_in, price_out;  // US dollars a million tokens
  double quality;              // 0..1; NaN = unknown
  double weight;
  int64_t running, queued, slots;  // slots 0 = unknown
  const rh_route_stats *stats;     // may be NULL
} rh_route_member;

// --- policy --------------------------------------------------------------------------------------------------------

typedef enum rh_strategy {
  RH_STRATEGY_RULES,        // "rule-based", "manual": rules, then the default
  RH_STRATEGY_ROUND_ROBIN,  // "round-robin", by weight
  RH_STRATEGY_BALANCED,     // "load-balanced": least outstanding work for its weight
  RH_STRATEGY_LATENCY,      // "latency-optimized", "performance-optimized"
  RH_STRATEGY_QUALITY,      // "quality-optimized"
  RH_STRATEGY_COST,         // "cost-optimized"
  RH_STRATEGY_LEARNED,      // the learned router's place: a scorer given by rh_policy_set_scorer
  RH_STRATEGY_COUNT
} rh_strategy;
const char *rh_strategy_name(rh_strategy strategy);
rh_strategy rh_strategy_from_name(
    const char *name);  // also "cost", "latency", "quality", ...; RH_STRATEGY_COUNT = unknown

typedef struct rh_policy rh_policy;

// From the configuration: "routing", "fallbackChain", "defaultProvider" (any may be NULL). Errors name the path and the nearest
// known word ("routing.rules[2].condition.complexty"). `providers`: the known providers' names, NULL-terminated, so that a rule to
// none of them is an error.
rh_status rh_policy_parse(const json_t *routing, const json_t *fallback_chain, const char *default_provider,
                          const char *const *providers, rh_policy **out, rh_error *error) RH_MUST_CHECK;
void rh_policy_free(rh_policy *policy);

// How the snapshot's members are called for what the configuration says: `provider` (NULL: it named a model alone) and `word`
// ("default", "fast", a name; NULL: the provider alone, so its default model). Writes what the members' fields hold ("local" for a
// provider whose models run here); *member_model NULL = any model of it. Strings need to live only during the call. False: nothing
// is known of it, and it stays as it was written.
typedef bool (*rh_route_resolver)(void *ctx, const char *provider, const char *word, const char **member_provider,
                                  const char **member_model);
// Once, after parsing (and again when names have changed): goes through every rule, fallback, group, cascade and chain. Fails only
// with RH_NO_MEMORY.
rh_status rh_policy_resolve(rh_policy *policy, rh_route_resolver resolver, void *ctx, rh_error *error) RH_MUST_CHECK;
bool rh_policy_is_set(const rh_policy *policy);  // something was configured: requests without a model are routed
// A name of "routing.groups" (a virtual model: several members under one name).
bool rh_policy_has_group(const rh_policy *policy, const char *name);
size_t rh_policy_groups(const rh_policy *policy, const char **names, size_t max);

// The learned router: writes a score (higher is better) for each of `count` members. NULL takes it away.
typedef void (*rh_scorer)(void *ctx, const rh_features *features, const rh_route_member *members, size_t count,
                          double *scores);
void rh_policy_set_scorer(rh_policy *policy, rh_scorer scorer, void *ctx);

// --- a decision ----------------------------------------------------------------------------------------------------

#define RH_PLAN_MAX 16  // members tried for one request
#define RH_REASON_MAX 256
#define RH_ROUTE_MEMBERS_MAX 1024  // further members of a snapshot are not looked at

typedef struct rh_plan_entry {
  size_t member;  // index into the snapshot
  double score;
} rh_plan_entry;

typedef struct rh_plan {
  rh_plan_entry entries[RH_PLAN_MAX];  // the choice first, then who follows when it fails
  size_t count;
  char reason[RH_REASON_MAX];  // "rule 2: simple tasks use free local inference", "cheapest of 3", ...
  rh_strategy strategy;
  int rule;            // index of the rule that decided; -1 = none
  double confidence;   // 0..1, of the choice: how far it leads
  double cascade_min;  // below this confidence of an answer the next member is asked; 0 = off
  size_t
      cascade_count;  // so many entries from the front are the cascade; what follows are fallbacks, and the last's answer stands
  bool sticky;  // chosen because the session was there before
} rh_plan;

typedef struct rh_route_question {
  rh_features *features;
  const rh_request *request;  // the features' parts are read from it when they are needed; NULL = they are complete
  const rh_route_member *members;
  size_t member_count;
  const char
      *pinned;  // an exact "provider/model" or local name that the request named: members that are it; NULL = route
  const char *group;           // a group's name; NULL = none
  const char *prefer_backend;  // NULL, "cpu", "gpu", "auto"
  uint32_t needs;              // RH_NEEDS_ | RH_ABILITY_ bits
  uint64_t now_ns;
  uint32_t chance;  // random bits, for exploration and weights
  rh_header_lookup header;
  void *header_ctx;
  const char *strategy;  // the client's word for one (rh_hints.strategy), in place of the configured; NULL = that
} rh_route_question;

// RH_INVALID: an unknown strategy or group. RH_NOT_FOUND: nobody can; RH_UNSUPPORTED: nobody has the abilities (says which and who lacks them); RH_FORBIDDEN: only remote
// members could, and the request must stay here; RH_UNAVAILABLE: all who could are out just now. A local-only request's plan holds
// local members only, whatever else is configured.
rh_status rh_route_decide(rh_policy *policy, const rh_route_question *question, rh_plan *out,
                          rh_error *error) RH_MUST_CHECK;
// The same at length, for people: features, each rule's verdict, each member with its score or why it is out, the choice.
// Changes no rotation and explores nothing. New reference.
json_t *rh_route_explain(rh_policy *policy, const rh_route_question *question);

#endif
