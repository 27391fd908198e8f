// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the report of an experiment as JSON: each arm's figures, its differences to the control, the sequential test, what is
// to be made of it, and the methods with their sources.
// Data owned: none. Threads: the caller's. Not here: Markdown (report_text.c).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiment/internal.h"

static const struct {
  const char *name, *what, *source;
} methods[] = {
    {"Student's t", "intervals of means", "Student, The probable error of a mean, Biometrika 6 (1908)"},
    {"Welch's t", "intervals of differences of means, and of ratios of geometric means, for one look",
     "Welch, The generalization of Student's problem when several different population variances are involved, "
     "Biometrika 34 "
     "(1947)"},
    {"Wilson", "intervals of rates",
     "Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927)"},
    {"Newcombe", "intervals of differences of rates, for one look",
     "Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17 "
     "(1998), method "
     "10"},
    {"mixture sequential probability ratio test",
     "always valid p-values and confidence sequences: they hold at every moment, however often somebody looks",
     "Robbins, Statistical methods related to the law of the iterated logarithm, Annals of Mathematical Statistics 41 "
     "(1970); "
     "Johari, Pekelis and Walsh, Always valid inference: continuous monitoring of A/B tests, Operations Research 70 "
     "(2022); with "
     "estimated variances: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and "
     "asymptotic "
     "confidence sequences, Annals of Statistics 52 (2024)"},
    {"Bonferroni", "alpha is shared by the arms that are compared with the control",
     "Dunn, Multiple comparisons among means, JASA 56 (1961)"},
    {"DDSketch", "quantiles within 1 % of their value",
     "Masson, Rim and Lee, DDSketch: a fast and fully-mergeable quantile sketch, PVLDB 12 (2019)"},
};

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static void put(json_t *object, const char *key, json_t *value) { (void)json_object_set_new(object, key, value); }

static void put_interval(json_t *object, rh_interval interval) {
  put(object, "low", interval.known ? number(interval.low) : json_null());
  put(object, "high", interval.known ? number(interval.high) : json_null());
}

static json_t *mean_json(const rh_moments *moments, double alpha) {
  json_t *out = json_object();
  put(out, "count", json_integer((json_int_t)moments->count));
  if (moments->count == 0) return out;
  put(out, "mean", number(moments->mean));
  put_interval(out, rh_mean_interval(moments, alpha));
  put(out, "deviation", number(sqrt(rh_moments_variance(moments))));
  return out;
}

static json_t *duration_json(const rh_duration *duration, double alpha) {
  json_t *out = mean_json(&duration->plain, alpha);
  if (duration->plain.count == 0) return out;
  put(out, "geometric_mean", number(exp(duration->logs.mean)));
  put(out, "p50", number(rh_sketch_quantile(&duration->sketch, 0.5)));
  put(out, "p95", number(rh_sketch_quantile(&duration->sketch, 0.95)));
  put(out, "p99", number(rh_sketch_quantile(&duration->sketch, 0.99)));
  return out;
}

static json_t *summed_json(const rh_moments *moments, double alpha, json_t *sum) {
  json_t *out = mean_json(moments, alpha);
  put(out, "sum", sum);
  return out;
}

static json_t *arm_json(const rh_experiment *experiment, size_t index, double weights) {
  const rh_arm *arm = &experiment->arms[index];
  double alpha = experiment->alpha;
  json_t *out = json_object();
  put(out, "name", json_string(arm->name));
  put(out, "model", json_string(arm->model));
  put(out, "role", json_string(index == 0 ? "control" : experiment->shadow ? "shadow" : "candidate"));
  put(out, "share", experiment->shadow ? json_null() : number(arm->weight / weights));
  put(out, "state", json_string(arm->stopped ? "stopped" : "running"));
  put(out, "stopped_s", arm->stopped ? json_integer(arm->stopped_s) : json_null());
  put(out, "why", arm->stopped ? json_string(arm->why) : json_null());
  put(out, "requests", json_integer((json_int_t)arm->requests));
  put(out, "errors", json_integer((json_int_t)arm->errors));
  rh_interval rate = rh_wilson_interval(arm->errors, arm->requests, alpha);
  json_t *errors = json_object();
  put(errors, "value", arm->requests > 0 ? number(rate.value) : json_null());
  put_interval(errors, rate);
  put(out, "error_rate", errors);
  put(out, "latency_ms", duration_json(&arm->latency, alpha));
  put(out, "first_token_ms", duration_json(&arm->first_token, alpha));
  put(out, "tokens", summed_json(&arm->tokens, alpha, json_integer(arm->token_sum)));
  put(out, "cost_usd", summed_json(&arm->cost, alpha, number(arm->cost_sum)));
  put(out, "feedback", mean_json(&arm->feedback, alpha));
  return out;
}

static json_t *difference_json(const rh_experiment *experiment, size_t index, rh_metric metric) {
  const rh_arm *control = &experiment->arms[0];
  const rh_arm *arm = &experiment->arms[index];
  double alpha = rh_experiment_alpha(experiment);
  json_t *out = json_object();
  rh_interval found;
  if (metric == RH_METRIC_ERROR) {
    found = rh_newcombe_interval(control->errors, control->requests, arm->errors, arm->requests, alpha);
  } else {
    found = rh_welch_interval(rh_arm_moments(control, metric), rh_arm_moments(arm, metric), alpha);
  }
  put(out, "difference", found.known ? number(found.value) : json_null());
  put_interval(out, found);
  put(out, "method", json_string(metric == RH_METRIC_ERROR ? "Newcombe" : "Welch's t"));
  if (!rh_metric_is_duration(metric)) return out;
  rh_interval logs =
      rh_welch_interval(&rh_arm_duration(control, metric)->logs, &rh_arm_duration(arm, metric)->logs, alpha);
  put(out, "ratio", logs.known ? number(exp(logs.value)) : json_null());
  put(out, "ratio_low", logs.known ? number(exp(logs.low)) : json_null());
  put(out, "ratio_high", logs.known ? number(exp(logs.high)) : json_null());
  return out;
}

static json_t *sequential_json(const rh_experiment *experiment, size_t index) {
  const rh_sequential *test = &experiment->arms[index].sequential;
  uint64_t samples[2];
  uint64_t decided = test->decided_control + test->decided_arm;
  rh_estimate estimate = rh_experiment_compare(experiment, index, samples);
  bool enough = samples[0] >= experiment->minimum && samples[1] >= experiment->minimum;
  rh_interval now = rh_mixture_interval(&estimate, rh_experiment_alpha(experiment), experiment->tau2);
  bool ratio = rh_metric_is_duration(experiment->metric);
  now.known = now.known && enough;
  if (ratio) now = (rh_interval){exp(now.value), exp(now.low), exp(now.high), now.known};
  json_t *out = json_object();
  put(out, "metric", json_string(rh_metric_name(experiment->metric)));
  put(out, "of", json_string(ratio ? "ratio" : "difference"));
  put(out, "samples_control", json_integer((json_int_t)samples[0]));
  put(out, "samples_arm", json_integer((json_int_t)samples[1]));
  put(out, "enough", json_boolean(enough));
  put(out, "value", now.known ? number(now.value) : json_null());
  put_interval(out, now);
  put(out, "p_value", number(test->p_least));
  put(out, "alpha", number(rh_experiment_alpha(experiment)));
  put(out, "tau", number(sqrt(experiment->tau2)));
  put(out, "result", json_string(!test->decided ? (enough ? "open" : "too few") : test->better ? "better" : "worse"));
  put(out, "decided_s", test->decided ? json_integer(test->decided_s) : json_null());
  put(out, "decided_after", test->decided ? json_integer((json_int_t)decided) : json_null());
  return out;
}

static json_t *comparison_json(const rh_experiment *experiment, size_t index) {
  json_t *out = json_object();
  json_t *differences = json_object();
  put(out, "arm", json_string(experiment->arms[index].name));
  put(out, "control", json_string(experiment->arms[0].name));
  for (int metric = 0; metric < RH_METRIC_COUNT; metric++) {
    put(differences, rh_metric_name((rh_metric)metric), difference_json(experiment, index, (rh_metric)metric));
  }
  put(out, "differences", differences);
  put(out, "sequential", sequential_json(experiment, index));
  return out;
}

// One arm's sentence.
static void judge(const rh_experiment *experiment, size_t index, char *out, size_t size) {
  const rh_arm *arm = &experiment->arms[index];
  const rh_sequential *test = &arm->sequential;
  const char *metric = rh_metric_name(experiment->metric);
  uint64_t decided = test->decided_control + test->decided_arm;
  uint64_t samples[2];
  (void)rh_experiment_compare(experiment, index, samples);
  int length = 0;
  if (arm->stopped) length = snprintf(out, size, "The guardrail stopped arm \"%s\". ", arm->name);
  if (length < 0 || (size_t)length >= size) return;
  out += length;
  size -= (size_t)length;
  if (test->decided) {
    (void)snprintf(out, size,
                   "Arm \"%s\" is %s than the control in %s (always valid p = %.2g, decided after %llu values).",
                   arm->name, test->better ? "better" : "worse", metric, test->p_least, (unsigned long long)decided);
  } else if (samples[0] < experiment->minimum || samples[1] < experiment->minimum) {
    (void)snprintf(out, size, "Arm \"%s\" and the control have %llu and %llu values of %s; the minimum is %llu each.",
                   arm->name, (unsigned long long)samples[1], (unsigned long long)samples[0], metric,
                   (unsigned long long)experiment->minimum);
  } else {
    (void)snprintf(out, size,
                   "No difference in %s is shown between arm \"%s\" and the control yet (always valid p = %.2g).",
                   metric, arm->name, test->p_least);
  }
}

static json_t *verdict_json(const rh_experiment *experiment) {
  json_t *out = json_array();
  for (size_t i = 1; i < experiment->arm_count; i++) {
    char text[320] = "";
    judge(experiment, i, text, sizeof text);
    (void)json_array_append_new(out, json_string(text));
  }
  return out;
}

static json_t *methods_json(void) {
  json_t *out = json_array();
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    (void)json_array_append_new(
        out, json_pack("{s:s,s:s,s:s}", "name", methods[i].name, "what", methods[i].what, "source", methods[i].source));
  }
  return out;
}

json_t *rh_experiment_report(const rh_experiment *experiment, int64_t now_s) {
  json_t *arms = json_array();
  json_t *comparisons = json_array();
  double weights = 0;
  for (size_t i = 0; i < experiment->arm_count; i++) weights += experiment->arms[i].weight;
  for (size_t i = 0; i < experiment->arm_count; i++) {
    (void)json_array_append_new(arms, arm_json(experiment, i, weights));
    if (i > 0) (void)json_array_append_new(comparisons, comparison_json(experiment, i));
  }
  json_t *out = json_object();
  put(out, "name", json_string(experiment->name));
  put(out, "definition", rh_experiment_define(experiment));
  put(out, "state", json_string(rh_experiment_state_name(experiment->state)));
  put(out, "why", experiment->why[0] != '\0' ? json_string(experiment->why) : json_null());
  put(out, "created_s", json_integer(experiment->created_s));
  put(out, "changed_s", json_integer(experiment->changed_s));
  put(out, "now_s", json_integer(now_s));
  put(out, "arms", arms);
  put(out, "comparisons", comparisons);
  put(out, "verdict", verdict_json(experiment));
  put(out, "methods", methods_json());
  return out;
}
