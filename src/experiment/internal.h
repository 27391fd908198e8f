// SPDX-License-Identifier: Apache-2.0
//
// What the files of this folder share.
#ifndef RH_EXPERIMENT_INTERNAL_H
#define RH_EXPERIMENT_INTERNAL_H

#include "experiment/experiment.h"
#include "experiment/intervals.h"
#include "experiment/sketch.h"

#define RH_ARM_MODEL_MAX 255
#define RH_WHY_MAX 255
#define RH_GUARD_ALPHA 0.01  // how often one rule of the guardrail may stop an arm that does not break it
#define RH_TIGHTEST_AT 10    // the confidence sequence is at its tightest at so many minimum samples an arm

typedef enum rh_metric {
  RH_METRIC_LATENCY,
  RH_METRIC_FIRST_TOKEN,
  RH_METRIC_COST,
  RH_METRIC_ERROR,
  RH_METRIC_FEEDBACK,
  RH_METRIC_TOKENS,
  RH_METRIC_COUNT
} rh_metric;

// 0 switches a rule off.
typedef struct rh_guardrail {
  double error_rate_max;    // the arm's own rate
  double error_rate_ratio;  // of its rate and the control's
  double latency_ratio;     // of its geometric mean and the control's
  uint64_t minimum;         // requests before it judges
} rh_guardrail;

// A duration: its own mean, that of its logarithm (which is what is compared: long tails are tame there), and quantiles.
typedef struct rh_duration {
  rh_moments plain, logs;
  rh_sketch sketch;
} rh_duration;

// How one arm compares with the control in the experiment's metric.
typedef struct rh_sequential {
  double p_least;  // the always valid p-value: the smallest so far
  bool decided;
  bool better;  // the arm, when decided
  int64_t decided_s;
  uint64_t decided_arm, decided_control;  // samples at that moment
} rh_sequential;

typedef struct rh_arm {
  char name[RH_EXPERIMENT_NAME_MAX + 1];
  char model[RH_ARM_MODEL_MAX + 1];
  double weight;
  bool stopped;
  int64_t stopped_s;
  char why[RH_WHY_MAX + 1];

  uint64_t requests, errors;
  rh_duration latency, first_token;  // of those that did not fail
  rh_moments tokens;                 // of those that did not fail
  rh_moments cost;                   // of all
  rh_moments feedback;
  int64_t token_sum;
  double cost_sum;
  rh_sequential sequential;  // not of the control
} rh_arm;

struct rh_experiment {
  char name[RH_EXPERIMENT_NAME_MAX + 1];
  char model[RH_ARM_MODEL_MAX + 1];
  bool shadow;
  rh_sticky sticky;
  double traffic;
  rh_metric metric;
  double alpha;
  uint64_t minimum;
  rh_guardrail guardrail;

  rh_experiment_state state;
  char why[RH_WHY_MAX + 1];              // of the state; empty = nobody said
  int64_t created_s, changed_s, seen_s;  // seen_s: of the last outcome

  double tau2;  // of the sequential test, from alpha and the minimum
  size_t arm_count;
  rh_arm arms[RH_ARMS_MAX];
};

struct rh_experiments {
  rh_experiment *list[RH_EXPERIMENTS_MAX];  // in the order in which they were added
  size_t count;
};

// definition.c: into an empty experiment. RH_INVALID names the field.
rh_status rh_experiment_parse(const json_t *definition, rh_experiment *out, rh_error *error) RH_MUST_CHECK;
json_t *rh_experiment_define(const rh_experiment *experiment);  // the same as JSON; new reference; NULL = no memory
const char *rh_metric_name(rh_metric metric);
const char *rh_experiment_state_name(rh_experiment_state state);
rh_status rh_experiment_check_keys(const json_t *object, const char *path, const char *const *known,
                                   rh_error *error) RH_MUST_CHECK;
int rh_experiment_find_word(const char *word, const char *const *words);  // -1 = none; the table ends with NULL

// compare.c
double rh_experiment_alpha(const rh_experiment *experiment);  // of one comparison
// Of an arm and the control in the experiment's metric: a difference of logarithms for durations. `samples` (may be NULL): of
// the control and of the arm.
rh_estimate rh_experiment_compare(const rh_experiment *experiment, size_t arm, uint64_t samples[2]);
bool rh_metric_is_duration(rh_metric metric);
const rh_duration *rh_arm_duration(const rh_arm *arm, rh_metric metric);  // NULL for other metrics
const rh_moments *rh_arm_moments(const rh_arm *arm, rh_metric metric);    // NULL for errors
// After a change of an arm's figures (of all arms': the control's).
void rh_experiment_look(rh_experiment *experiment, size_t arm, int64_t now_s);
// guardrail.c: true when it stopped the arm.
bool rh_experiment_guard(rh_experiment *experiment, size_t arm, int64_t now_s, char why[RH_WHY_MAX + 1]);

#endif
