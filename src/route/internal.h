// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share. Nobody outside includes this.
//
// A policy is compiled once: names stand in its arena, conditions are trees of small nodes, sets are bit masks or sorted arrays. A
// decision works on the stack (route_work) and asks for no memory.
#ifndef RH_ROUTE_INTERNAL_H
#define RH_ROUTE_INTERNAL_H

#include "base/arena.h"
#include "route/route.h"

#define RH_RULES_MAX 1024
#define RH_GROUPS_MAX 64
#define RH_TARGETS_MAX 256           // in one list
#define RH_CONDITION_DEPTH_MAX 8     // of all, any and not
#define RH_CONDITION_WORDS_MAX 4096  // words, headers and fields of one condition's lists

// --- fields.c: a field's name is the same with capitals, '_' and '-' or without --------------------------------------

bool rh_route_same_word(const char *a, const char *b);
// Which of `count` names a key of `path` is; -1 with an error that names the path and the nearest.
int rh_route_field(const char *const *names, size_t count, const char *path, const char *key, rh_error *error);
// One of the words, from a JSON string.
rh_status rh_route_word(const char *const *names, size_t count, const char *path, const json_t *value, int *out,
                        rh_error *error) RH_MUST_CHECK;
rh_status rh_route_wants(const char *path, const json_t *value, const char *what, rh_error *error) RH_MUST_CHECK;
rh_status rh_route_number(const char *path, const json_t *value, double min, double max, double *out,
                          rh_error *error) RH_MUST_CHECK;
rh_status rh_route_bool(const char *path, const json_t *value, bool *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_route_no_memory(rh_error *error) RH_MUST_CHECK;

// --- conditions ----------------------------------------------------------------------------------------------------

typedef enum rh_test_kind {
  RH_TEST_ALL,
  RH_TEST_ANY,
  RH_TEST_NOT,
  RH_TEST_MASK,   // a small number or a flag is one of a set
  RH_TEST_RANGE,  // a number lies within
  RH_TEST_WORDS,  // a string is one of a list, or begins as one of it
  RH_TEST_HEADER,
  RH_TEST_TIME,
} rh_test_kind;

typedef enum rh_subject {  // what a test looks at
  RH_SUBJECT_PRIVACY,
  RH_SUBJECT_LOCAL_ONLY,
  RH_SUBJECT_AGENT,
  RH_SUBJECT_LEVEL,
  RH_SUBJECT_COMPLEXITY,
  RH_SUBJECT_TASK,
  RH_SUBJECT_PROMPT_TOKENS,
  RH_SUBJECT_ANSWER_TOKENS,
  RH_SUBJECT_TURNS,
  RH_SUBJECT_MESSAGES,
  RH_SUBJECT_TOOLS,
  RH_SUBJECT_CODE,
  RH_SUBJECT_MATH,
  RH_SUBJECT_HAS_TOOLS,
  RH_SUBJECT_HAS_CODE,
  RH_SUBJECT_HAS_MATH,
  RH_SUBJECT_HAS_IMAGES,
  RH_SUBJECT_STREAM,
  RH_SUBJECT_JSON,
  RH_SUBJECT_LANGUAGE,
  RH_SUBJECT_KEY,
  RH_SUBJECT_MODEL,
  RH_SUBJECT_USER,
  RH_SUBJECT_SESSION,
  RH_SUBJECT_COUNT
} rh_subject;

typedef enum rh_header_test { RH_HEADER_IS, RH_HEADER_PREFIX, RH_HEADER_CONTAINS, RH_HEADER_EXISTS } rh_header_test;

typedef struct rh_words {
  const char **exact;  // sorted
  size_t exact_count;
  const char **prefixes;  // of words with '*' at their end
  size_t prefix_count;
} rh_words;

typedef struct rh_header_wish {
  const char *name, *text;
  rh_header_test test;
  bool exists;
} rh_header_wish;

// Small, for a decision walks through those of all rules.
typedef struct rh_test {
  rh_test_kind kind;
  rh_subject subject;
  const char *path;  // within the condition: "any[1].key"
  uint64_t mask;     // no bit in common with the fact's: it does not hold. Of MASK and WORDS
  bool reads_text;   // it, or one within it, looks at what only reading the prompt tells
  union {
    struct {
      const struct rh_test *tests;
      size_t count;
    } list;
    struct {
      double min, max;
    } range;
    const rh_words *words;
    const rh_header_wish *header;
    struct {
      int from, to;  // minutes; equal = the whole day
      uint32_t days;
    } time;
  } as;
} rh_test;

rh_status rh_condition_parse(rh_arena *arena, const char *path, const json_t *condition, rh_test *out,
                             rh_error *error) RH_MUST_CHECK;

// What tests look at, by subject, in the form in which they compare it. Made once for a decision.
typedef struct rh_fact {
  uint64_t bits;  // the only one of a small number; of a text those of rh_text_bits
  double number;
  const char *text;
} rh_fact;
typedef struct rh_facts {
  const rh_route_question *question;
  bool whole;  // what the prompt's text tells is among them
  rh_fact of[RH_SUBJECT_COUNT];
} rh_facts;

void rh_facts_begin(rh_facts *facts, const rh_route_question *question);
bool rh_subject_is_text(rh_subject subject);  // reading the prompt tells it
// Two bits: one of a hash of all of it in the lower half, one of its first byte in the upper one. Two texts without one in common
// are not the same, and the one does not begin as the other.
uint64_t rh_text_bits(const char *text);
#define RH_TEXT_BITS_WHOLE UINT64_C(0xffffffff)
// `failed`: the first test that did not hold; may be NULL.
bool rh_condition_holds(const rh_test *condition, rh_facts *facts, const rh_test **failed);

// --- the policy ----------------------------------------------------------------------------------------------------

// Some members: of a provider, a model, or both. What the configuration wrote, and what members are called.
typedef struct rh_target {
  const char *said_provider, *said_model;  // NULL = any, or its default
  const char *provider, *model;            // resolved; NULL = any
  double weight;                           // in a group; 0 = the member's own
} rh_target;

typedef struct rh_targets {
  rh_target *list;
  size_t count;
} rh_targets;

typedef struct rh_rule {
  const char *name, *reason;  // NULL = none
  rh_test condition;
  rh_targets targets;    // one from provider and model; none: everybody, by strategy
  const char *group;     // in place of targets; NULL = none
  rh_strategy strategy;  // RH_STRATEGY_COUNT = targets in their order
  rh_targets fallbacks;
} rh_rule;

typedef enum rh_stickiness { RH_STICKY_OFF, RH_STICKY_BY_SESSION, RH_STICKY_BY_PREFIX } rh_stickiness;

typedef struct rh_group {
  const char *name;
  rh_strategy strategy;  // RH_STRATEGY_COUNT = the policy's
  rh_targets members;
  rh_targets fallbacks;
  rh_stickiness sticky;
  double confidence_min;  // > 0: its members are a cascade, in their order
} rh_group;

typedef struct rh_named_number {  // of "provider/model", "provider" or "model"
  rh_target target;
  double value;
} rh_named_number;

typedef struct rh_numbers {
  rh_named_number *list;
  size_t count;
} rh_numbers;

typedef struct rh_named_fallbacks {
  const char *model;
  rh_target target;
  rh_targets fallbacks;
} rh_named_fallbacks;

#define RH_TURNS 4096u  // a power of two
typedef struct rh_turn {
  uint64_t key;  // 0 = free
  double current;
} rh_turn;

struct rh_policy {
  rh_arena *arena;
  const char *const *providers;  // copied; NULL-terminated
  size_t provider_count;
  bool is_set;
  rh_strategy strategy;
  rh_stickiness sticky;
  double exploration;
  double quality_min, cost_max;  // of the cost-optimized strategy; 0 = none
  bool fallback_named;
  rh_rule *rules;
  size_t rule_count;
  rh_group *groups;
  size_t group_count;
  rh_targets chain, first;  // `first`: the default provider, or nothing
  rh_group cascade;         // no members = none
  rh_numbers qualities, weights;
  rh_named_fallbacks *named;
  size_t named_count;
  rh_scorer scorer;
  void *scorer_ctx;
  rh_turn *turns;  // of the round robin
  size_t turns_used;
};

// --- reading the configuration (targets.c, policy.c, rules.c) ------------------------------------------------------

// "provider", "provider/model", "model" or {"provider","model","weight"}; `value` may be an array of them.
rh_status rh_targets_parse(const rh_policy *policy, const char *path, const json_t *value, rh_targets *out,
                           rh_error *error) RH_MUST_CHECK;
rh_status rh_target_from(const rh_policy *policy, const char *path, const char *text, rh_target *out,
                         rh_error *error) RH_MUST_CHECK;
rh_status rh_target_check_provider(const rh_policy *policy, const char *path, const char *name,
                                   rh_error *error) RH_MUST_CHECK;
bool rh_target_is(const rh_target *target, const rh_route_member *member);
rh_status rh_rules_parse(rh_policy *policy, const json_t *rules, rh_error *error) RH_MUST_CHECK;
rh_status rh_groups_parse(rh_policy *policy, const json_t *groups, rh_error *error) RH_MUST_CHECK;
rh_status rh_group_parse(rh_policy *policy, const char *path, const json_t *value, bool is_cascade, rh_group *out,
                         rh_error *error) RH_MUST_CHECK;
rh_status rh_strategy_parse(const char *path, const json_t *value, rh_strategy *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_stickiness_parse(const char *path, const json_t *value, rh_stickiness *out, rh_error *error) RH_MUST_CHECK;
const rh_group *rh_policy_group(const rh_policy *policy, const char *name);

// The question's features, with these parts (RH_FEATURES_) of them read.
static inline const rh_features *rh_question_features(const rh_route_question *question, unsigned parts) {
  if (question->request != NULL) rh_features_read(question->request, question->features, parts);
  return question->features;
}

// --- deciding ------------------------------------------------------------------------------------------------------

typedef enum rh_out {  // why a member is not asked; the first that holds
  RH_OUT_NOT,
  RH_OUT_REMOTE,       // the request must stay on this machine
  RH_OUT_ABILITY,      // it lacks what the request needs
  RH_OUT_CONTEXT,      // the prompt is clearly too long for it
  RH_OUT_UNAVAILABLE,  // just now
} rh_out;

typedef struct rh_route_score {  // higher is better
  double first, second;          // `second` decides among equals
} rh_route_score;

// A decision under way. `order`: the candidates of the choice at hand, the best first; the scores are by member.
typedef struct rh_route_work {
  rh_policy *policy;
  const rh_route_question *question;
  size_t count;
  bool dry;           // explain: nothing is changed, and no chance
  rh_strategy asked;  // the client's word; RH_STRATEGY_COUNT = none
  size_t candidates;
  uint8_t out[RH_ROUTE_MEMBERS_MAX];  // rh_out
  bool planned[RH_ROUTE_MEMBERS_MAX];
  bool considered[RH_ROUTE_MEMBERS_MAX];  // was among those that the request or its route meant
  uint16_t order[RH_ROUTE_MEMBERS_MAX];
  rh_route_score scores[RH_ROUTE_MEMBERS_MAX];
} rh_route_work;

void rh_work_begin(rh_route_work *work, rh_policy *policy, const rh_route_question *question);
void rh_work_filter(rh_route_work *work);                             // fills `out`
bool rh_work_is_permitted(const rh_route_work *work, size_t member);  // it may be asked, now or later
void rh_work_why_not(const rh_route_work *work, size_t member, char *text, size_t size);
rh_status rh_work_fail(const rh_route_work *work, rh_error *error);  // nobody is left: why
void rh_abilities_text(uint32_t abilities, char *text, size_t size);

// How the candidates are put in order.
typedef struct rh_ranking {
  rh_strategy strategy;   // RH_STRATEGY_COUNT = as they stand
  const rh_group *group;  // whose weights count; NULL = none
  rh_stickiness sticky;
  uint64_t scope;  // who takes turns with whom
  bool explore;
} rh_ranking;
typedef struct rh_ranked {
  bool sticky, explored;
  double confidence;
} rh_ranked;
rh_ranked rh_work_rank(rh_route_work *work, const rh_ranking *ranking);

// --- scores (score.c) ----------------------------------------------------------------------------------------------

double rh_score_expected_ms(const rh_route_question *question, const rh_route_member *member);  // NaN = unknown
double rh_score_cost(const rh_route_question *question, const rh_route_member *member);         // NaN = unknown
double rh_score_quality(const rh_policy *policy, const rh_route_member *member);
double rh_score_weight(const rh_policy *policy, const rh_group *group, const rh_route_member *member);
double rh_score_load(const rh_route_member *member, double weight);
void rh_score_candidates(rh_route_work *work, const rh_ranking *ranking);

// The plan and, for explain, which rule each verdict belongs to.
rh_status rh_work_plan(rh_route_work *work, rh_plan *plan, rh_error *error) RH_MUST_CHECK;
bool rh_rule_has_members(const rh_route_work *work, const rh_rule *rule);

#endif
