// SPDX-License-Identifier: Apache-2.0
//
// Experiments: A/B tests of models and shadow traffic. Definitions, who gets which arm, the arms' running figures, the analysis
// and the guardrail. Pure: no clock, no disk, no sockets; the gateway feeds outcomes in and keeps the state (to_json, from_json).
// One thread.
#ifndef RH_EXPERIMENT_EXPERIMENT_H
#define RH_EXPERIMENT_EXPERIMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define RH_ARMS_MAX 8
#define RH_EXPERIMENTS_MAX 64
#define RH_EXPERIMENT_NAME_MAX 47

typedef struct rh_experiments rh_experiments;  // all of them
typedef struct rh_experiment rh_experiment;

typedef enum rh_experiment_state {
  RH_EXPERIMENT_RUNNING,
  RH_EXPERIMENT_PAUSED,
  RH_EXPERIMENT_STOPPED
} rh_experiment_state;
typedef enum rh_sticky { RH_STICKY_KEY, RH_STICKY_SESSION, RH_STICKY_NONE } rh_sticky;

rh_experiments *rh_experiments_new(void);
void rh_experiments_free(rh_experiments *experiments);

// {"name","model" (the name or alias whose requests take part; "*" = all routed ones),"kind":"ab"|"shadow","arms":[{"name",
// "model","weight"}],"sticky":"key"|"session"|"none","traffic":0..1,"minimum":N,"metric":"latency"|"first_token"|"cost"|"error"|
// "feedback"|"tokens","alpha":0.05,"guardrail":{"error_rate_max","error_rate_ratio","latency_ratio","minimum"}}. The first arm is the
// control. Of a shadow experiment the first arm answers, the others get copies nobody waits for. RH_CONFLICT: the name is taken.
rh_status rh_experiment_add(rh_experiments *experiments, const json_t *definition, int64_t now_s, rh_experiment **out,
                            rh_error *error) RH_MUST_CHECK;
rh_experiment *rh_experiment_find(const rh_experiments *experiments, const char *name);
// RH_CONFLICT: a stopped experiment does not run again (its figures would mix two times); add a new one.
rh_status rh_experiment_set_state(rh_experiment *experiment, rh_experiment_state state, const char *why,
                                  int64_t now_s) RH_MUST_CHECK;
void rh_experiment_remove(rh_experiments *experiments, rh_experiment *experiment);
size_t rh_experiments_count(const rh_experiments *experiments);
rh_experiment *rh_experiments_at(const rh_experiments *experiments, size_t index);

typedef struct rh_assignment {
  const rh_experiment *experiment;  // NULL = takes part in none
  size_t arm;
  const char *arm_name, *model;  // of the arm; borrowed
  // of a shadow experiment: the arms that get a copy
  size_t shadows[RH_ARMS_MAX];
  size_t shadow_count;
} rh_assignment;

// Which arm a request for `model` gets: by a hash of the experiment's name and the key or session, so that it is the same again
// after a restart and in every daemon; by `chance` when it is not sticky or there is neither. Stopped arms get nothing (their share
// goes to the control).
void rh_experiment_assign(const rh_experiments *experiments, const char *model, const char *key, const char *session,
                          uint64_t chance, rh_assignment *out);
const char *rh_experiment_name(const rh_experiment *experiment);
rh_experiment_state rh_experiment_state_of(const rh_experiment *experiment);
// As it was given, with the defaults filled in. New reference; NULL = no memory.
json_t *rh_experiment_definition(const rh_experiment *experiment);
size_t rh_experiment_arms(const rh_experiment *experiment);
const char *rh_experiment_arm_name(const rh_experiment *experiment, size_t arm);
const char *rh_experiment_arm_model(const rh_experiment *experiment, size_t arm);

typedef struct rh_outcome {
  bool failed;
  double latency_ms, first_token_ms, cost_usd;  // first_token_ms 0 = none
  int64_t tokens;
} rh_outcome;

// True when the guardrail stopped the arm just now (`why`, of at least 256 bytes, says it): the caller logs it.
bool rh_experiment_record(rh_experiments *experiments, const char *name, const char *arm, const rh_outcome *outcome,
                          int64_t now_s, char why[256]);
void rh_experiment_feedback(rh_experiments *experiments, const char *name, const char *arm, double rating);

// Per arm: count, means with confidence intervals, p50/p95 (from a sketch of bounded size); differences to the control with their
// intervals; the sequential test's verdict, valid however often somebody looks. Names each method and its source. New reference.
json_t *rh_experiment_report(const rh_experiment *experiment, int64_t now_s);
// The report as Markdown; caller frees; NULL = no memory.
char *rh_experiment_report_text(const rh_experiment *experiment, int64_t now_s);

// Everything, to keep over restarts; from_json puts it in the place of what is there, or changes nothing. New reference; NULL = no
// memory.
json_t *rh_experiments_to_json(const rh_experiments *experiments);
rh_status rh_experiments_from_json(rh_experiments *experiments, const json_t *state, rh_error *error) RH_MUST_CHECK;

#endif
