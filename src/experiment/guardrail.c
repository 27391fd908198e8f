// SPDX-License-Identifier: Apache-2.0
//
// Purpose: stops an arm that harms: too many errors, many more than the control, much slower. Each rule is asked after every
// outcome, so each is a sequential test: an arm that keeps to a rule is stopped by it with a probability of at most
// RH_GUARD_ALPHA, however long the experiment runs.
// Data owned: none. Threads: the caller's. Not here: saying it to somebody (the gateway logs `why`).
#include <math.h>
#include <stdio.h>

#include "base/text.h"
#include "experiment/internal.h"

// The mixture looks both ways and the rules upwards only: they are surer than they say.
static bool surely(double log_ratio) { return log_ratio >= -log(RH_GUARD_ALPHA); }

static double tau2(const rh_guardrail *guard) { return rh_mixture_tau2(RH_GUARD_ALPHA, (double)guard->minimum / 2); }

static double percent(uint64_t part, uint64_t whole) { return whole > 0 ? 100.0 * (double)part / (double)whole : 0; }

static bool too_many_errors(const rh_experiment *experiment, const rh_arm *arm, char *why, size_t size) {
  double bound = experiment->guardrail.error_rate_max;
  if (!(bound > 0) || !surely(rh_binomial_log_ratio(arm->errors, arm->requests, bound))) return false;
  (void)snprintf(why, size,
                 "arm \"%s\" failed %.1f %% of its requests (%llu of %llu); the bound error_rate_max is %.1f %%",
                 arm->name, percent(arm->errors, arm->requests), (unsigned long long)arm->errors,
                 (unsigned long long)arm->requests, 100 * bound);
  return true;
}

static bool more_errors_than_control(const rh_experiment *experiment, const rh_arm *arm, char *why, size_t size) {
  const rh_guardrail *guard = &experiment->guardrail;
  const rh_arm *control = &experiment->arms[0];
  if (!(guard->error_rate_ratio > 0) || control->requests < guard->minimum) return false;
  rh_estimate over =
      rh_rate_difference(control->errors, control->requests, arm->errors, arm->requests, guard->error_rate_ratio);
  if (over.value <= 0 || !surely(rh_mixture_log_ratio(&over, 0, tau2(guard)))) return false;
  (void)snprintf(
      why, size,
      "arm \"%s\" failed %.1f %% of its requests (%llu of %llu), the control %.1f %% (%llu of %llu): surely more "
      "than error_rate_ratio %.4g times as many",
      arm->name, percent(arm->errors, arm->requests), (unsigned long long)arm->errors,
      (unsigned long long)arm->requests, percent(control->errors, control->requests),
      (unsigned long long)control->errors, (unsigned long long)control->requests, guard->error_rate_ratio);
  return true;
}

static bool slower_than_control(const rh_experiment *experiment, const rh_arm *arm, char *why, size_t size) {
  const rh_guardrail *guard = &experiment->guardrail;
  const rh_moments *mine = &arm->latency.logs;
  const rh_moments *control = &experiment->arms[0].latency.logs;
  if (!(guard->latency_ratio > 0) || mine->count < guard->minimum || control->count < guard->minimum) return false;
  rh_estimate slower = rh_mean_difference(control, mine);
  double bound = log(guard->latency_ratio);
  if (slower.value <= bound || !surely(rh_mixture_log_ratio(&slower, bound, tau2(guard)))) return false;
  (void)snprintf(
      why, size,
      "arm \"%s\" takes %.1f ms (geometric mean of %llu), the control %.1f ms (of %llu): %.2f times as long, surely "
      "more than latency_ratio %.4g",
      arm->name, exp(mine->mean), (unsigned long long)mine->count, exp(control->mean),
      (unsigned long long)control->count, exp(slower.value), guard->latency_ratio);
  return true;
}

bool rh_experiment_guard(rh_experiment *experiment, size_t index, int64_t now_s, char why[RH_WHY_MAX + 1]) {
  rh_arm *arm = &experiment->arms[index];
  char words[sizeof arm->why];
  size_t size = sizeof words;
  // Somebody has to answer: the control stays.
  if (index == 0 || arm->stopped || arm->requests < experiment->guardrail.minimum) return false;
  if (!too_many_errors(experiment, arm, words, size) && !more_errors_than_control(experiment, arm, words, size) &&
      !slower_than_control(experiment, arm, words, size)) {
    return false;
  }
  arm->stopped = true;
  arm->stopped_s = now_s;
  (void)rh_text_copy(arm->why, size, words);
  if (why != NULL) (void)rh_text_copy(why, size, words);
  return true;
}
