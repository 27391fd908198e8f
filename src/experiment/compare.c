// SPDX-License-Identifier: Apache-2.0
//
// Purpose: an arm beside the control in the experiment's metric, after each value that comes in: the mixture sequential
// probability ratio test (docs/gateway.md).
// Data owned: none. Threads: the caller's. Not here: stopping arms (guardrail.c) and wording (report.c).
#include <math.h>

#include "experiment/internal.h"

double rh_experiment_alpha(const rh_experiment *experiment) {
  // Bonferroni: each arm is compared with the control.
  return experiment->alpha / (double)(experiment->arm_count - 1);
}

bool rh_metric_is_duration(rh_metric metric) { return metric == RH_METRIC_LATENCY || metric == RH_METRIC_FIRST_TOKEN; }

const rh_duration *rh_arm_duration(const rh_arm *arm, rh_metric metric) {
  if (metric == RH_METRIC_LATENCY) return &arm->latency;
  return metric == RH_METRIC_FIRST_TOKEN ? &arm->first_token : NULL;
}

const rh_moments *rh_arm_moments(const rh_arm *arm, rh_metric metric) {
  switch (metric) {
    case RH_METRIC_LATENCY: return &arm->latency.plain;
    case RH_METRIC_FIRST_TOKEN: return &arm->first_token.plain;
    case RH_METRIC_COST: return &arm->cost;
    case RH_METRIC_FEEDBACK: return &arm->feedback;
    case RH_METRIC_TOKENS: return &arm->tokens;
    case RH_METRIC_ERROR:
    case RH_METRIC_COUNT: break;
  }
  return NULL;
}

rh_estimate rh_experiment_compare(const rh_experiment *experiment, size_t arm, uint64_t samples[2]) {
  const rh_arm *control = &experiment->arms[0];
  const rh_arm *other = &experiment->arms[arm];
  uint64_t counts[2] = {control->requests, other->requests};
  rh_estimate estimate;
  if (experiment->metric == RH_METRIC_ERROR) {
    estimate = rh_rate_difference(control->errors, control->requests, other->errors, other->requests, 1);
  } else {
    bool logs = rh_metric_is_duration(experiment->metric);
    const rh_moments *a = rh_arm_moments(control, experiment->metric);
    const rh_moments *b = rh_arm_moments(other, experiment->metric);
    if (logs) a = &rh_arm_duration(control, experiment->metric)->logs;
    if (logs) b = &rh_arm_duration(other, experiment->metric)->logs;
    counts[0] = a->count;
    counts[1] = b->count;
    estimate = rh_mean_difference(a, b);
  }
  if (samples != NULL) {
    samples[0] = counts[0];
    samples[1] = counts[1];
  }
  return estimate;
}

static void look_at(rh_experiment *experiment, size_t arm, int64_t now_s) {
  rh_sequential *sequential = &experiment->arms[arm].sequential;
  uint64_t samples[2];
  rh_estimate estimate = rh_experiment_compare(experiment, arm, samples);
  if (samples[0] < experiment->minimum || samples[1] < experiment->minimum) return;
  double p = exp(-rh_mixture_log_ratio(&estimate, 0, experiment->tau2));
  if (p < sequential->p_least) sequential->p_least = p;
  // The first decision stands: that it may be made at any moment is what the test is for.
  if (sequential->decided || sequential->p_least > rh_experiment_alpha(experiment)) return;
  sequential->decided = true;
  sequential->better = (estimate.value > 0) == (experiment->metric == RH_METRIC_FEEDBACK);
  sequential->decided_s = now_s;
  sequential->decided_control = samples[0];
  sequential->decided_arm = samples[1];
}

void rh_experiment_look(rh_experiment *experiment, size_t arm, int64_t now_s) {
  if (arm != 0) {
    look_at(experiment, arm, now_s);
    return;
  }
  for (size_t i = 1; i < experiment->arm_count; i++) look_at(experiment, i, now_s);
}
