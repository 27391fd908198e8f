// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the collection of experiments: adding, finding, pausing, removing; and what comes in: outcomes and feedback.
// Data owned: the experiments. Threads: one. Not here: who gets which arm (assign.c), judging (compare.c, guardrail.c), clocks,
// disk and logs (the gateway).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "experiment/internal.h"

#define TOKENS_MAX (INT64_C(1) << 53)  // in all
#define AMOUNT_MAX 1e12                // more is nonsense, and sums of it would not stay finite

rh_experiments *rh_experiments_new(void) { return calloc(1, sizeof(rh_experiments)); }

void rh_experiments_free(rh_experiments *experiments) {
  if (experiments == NULL) return;
  for (size_t i = 0; i < experiments->count; i++) free(experiments->list[i]);
  free(experiments);
}

static rh_status make(const json_t *definition, int64_t now_s, rh_experiment **out, rh_error *error) {
  rh_experiment *made = calloc(1, sizeof *made);
  if (made == NULL) return rh_fail(error, RH_NO_MEMORY, "there is no memory for one more experiment");
  rh_status status = rh_experiment_parse(definition, made, error);
  if (status != RH_OK) {
    free(made);
    return status;
  }
  made->created_s = made->changed_s = now_s;
  made->tau2 = rh_mixture_tau2(rh_experiment_alpha(made), (double)made->minimum * RH_TIGHTEST_AT / 2);
  for (size_t i = 0; i < made->arm_count; i++) made->arms[i].sequential.p_least = 1;
  *out = made;
  return RH_OK;
}

rh_status rh_experiment_add(rh_experiments *experiments, const json_t *definition, int64_t now_s, rh_experiment **out,
                            rh_error *error) {
  rh_experiment *made = NULL;
  if (out != NULL) *out = NULL;
  rh_status status = make(definition, now_s, &made, error);
  if (status != RH_OK) return status;
  if (rh_experiment_find(experiments, made->name) != NULL) {
    status = rh_fail_param(error, RH_CONFLICT, "name",
                           "there is an experiment \"%s\" already; choose another name, or remove that one first",
                           made->name);
  } else if (experiments->count == RH_EXPERIMENTS_MAX) {
    status = rh_fail(error, RH_TOO_LARGE, "there are %d experiments already, which is the most; remove one first",
                     RH_EXPERIMENTS_MAX);
  }
  if (status != RH_OK) {
    free(made);
    return status;
  }
  experiments->list[experiments->count++] = made;
  if (out != NULL) *out = made;
  return RH_OK;
}

rh_experiment *rh_experiment_find(const rh_experiments *experiments, const char *name) {
  for (size_t i = 0; name != NULL && i < experiments->count; i++) {
    if (strcmp(experiments->list[i]->name, name) == 0) return experiments->list[i];
  }
  return NULL;
}

rh_status rh_experiment_set_state(rh_experiment *experiment, rh_experiment_state state, const char *why,
                                  int64_t now_s) {
  if (experiment->state == RH_EXPERIMENT_STOPPED && state != RH_EXPERIMENT_STOPPED) return RH_CONFLICT;
  experiment->state = state;
  experiment->changed_s = now_s;
  (void)rh_text_copy(experiment->why, sizeof experiment->why, why != NULL ? why : "");
  return RH_OK;
}

void rh_experiment_remove(rh_experiments *experiments, rh_experiment *experiment) {
  for (size_t i = 0; i < experiments->count; i++) {
    if (experiments->list[i] != experiment) continue;
    experiments->count--;
    memmove(&experiments->list[i], &experiments->list[i + 1], (experiments->count - i) * sizeof experiments->list[0]);
    free(experiment);
    return;
  }
}

size_t rh_experiments_count(const rh_experiments *experiments) { return experiments->count; }

rh_experiment *rh_experiments_at(const rh_experiments *experiments, size_t index) {
  return index < experiments->count ? experiments->list[index] : NULL;
}

const char *rh_experiment_name(const rh_experiment *experiment) { return experiment->name; }
const char *rh_experiment_arm_name(const rh_experiment *experiment, size_t arm) { return experiment->arms[arm].name; }
size_t rh_experiment_arms(const rh_experiment *experiment) { return experiment->arm_count; }
const char *rh_experiment_arm_model(const rh_experiment *experiment, size_t arm) { return experiment->arms[arm].model; }
rh_experiment_state rh_experiment_state_of(const rh_experiment *experiment) { return experiment->state; }
json_t *rh_experiment_definition(const rh_experiment *experiment) { return rh_experiment_define(experiment); }

// --- what comes in -------------------------------------------------------------------------------------------------

static size_t find_arm(const rh_experiment *experiment, const char *name) {
  size_t arm = 0;
  while (arm < experiment->arm_count && strcmp(experiment->arms[arm].name, name) != 0) arm++;
  return arm;
}

static bool is_amount(double value) { return value >= 0 && value <= AMOUNT_MAX; }

static void add_duration(rh_duration *duration, double ms) {
  if (!is_amount(ms)) return;
  rh_moments_add(&duration->plain, ms);
  rh_moments_add(&duration->logs, log(ms > RH_SKETCH_LEAST ? ms : RH_SKETCH_LEAST));
  rh_sketch_add(&duration->sketch, ms);
}

static void add_outcome(rh_arm *arm, const rh_outcome *outcome) {
  arm->requests++;
  if (is_amount(outcome->cost_usd)) {
    rh_moments_add(&arm->cost, outcome->cost_usd);
    arm->cost_sum += outcome->cost_usd;
  }
  if (outcome->tokens > 0 && arm->token_sum <= TOKENS_MAX - outcome->tokens) arm->token_sum += outcome->tokens;
  if (outcome->failed) {
    // How soon something fails says nothing about how fast it is.
    arm->errors++;
    return;
  }
  add_duration(&arm->latency, outcome->latency_ms);
  if (outcome->first_token_ms > 0) add_duration(&arm->first_token, outcome->first_token_ms);
  if (outcome->tokens >= 0) rh_moments_add(&arm->tokens, (double)outcome->tokens);
}

bool rh_experiment_record(rh_experiments *experiments, const char *name, const char *arm, const rh_outcome *outcome,
                          int64_t now_s, char why[256]) {
  rh_experiment *experiment = rh_experiment_find(experiments, name);
  size_t index = experiment != NULL && arm != NULL ? find_arm(experiment, arm) : 0;
  // It may have been removed while the request ran.
  if (experiment == NULL || arm == NULL || index == experiment->arm_count) return false;
  add_outcome(&experiment->arms[index], outcome);
  experiment->seen_s = now_s;
  if (experiment->metric != RH_METRIC_FEEDBACK) rh_experiment_look(experiment, index, now_s);
  return rh_experiment_guard(experiment, index, now_s, why);
}

void rh_experiment_feedback(rh_experiments *experiments, const char *name, const char *arm, double rating) {
  rh_experiment *experiment = rh_experiment_find(experiments, name);
  size_t index = experiment != NULL && arm != NULL ? find_arm(experiment, arm) : 0;
  if (experiment == NULL || arm == NULL || index == experiment->arm_count || !(fabs(rating) <= AMOUNT_MAX)) return;
  rh_moments_add(&experiment->arms[index].feedback, rating);
  if (experiment->metric == RH_METRIC_FEEDBACK) rh_experiment_look(experiment, index, experiment->seen_s);
}
