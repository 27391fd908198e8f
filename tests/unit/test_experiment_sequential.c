// SPDX-License-Identifier: Apache-2.0
//
// Simulated experiments, seeded: somebody looks after every single value. Without a difference the sequential test errs no more
// often than alpha says; with one it ends early.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "experiment/experiment.h"
#include "experiment/intervals.h"

static uint64_t seed;

static double uniform(void) {
  seed += UINT64_C(0x9e3779b97f4a7c15);
  uint64_t x = seed;
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return ((double)((x ^ x >> 31) >> 11) + 0.5) * 0x1p-53;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(2 * acos(-1) * uniform()); }

// How often alpha may be passed by chance alone, three deviations above it.
static double most(double alpha, int runs) { return alpha + 3 * sqrt(alpha * (1 - alpha) / runs); }

// --- A/A: the fixed sample's test errs far more often when it is looked at all the time; this one does not -----------

static void no_false_alarms_in_means(void **state) {
  (void)state;
  enum { RUNS = 1000, VALUES = 2000, MINIMUM = 100 };
  const double alpha = 0.05;
  double tau2 = rh_mixture_tau2(alpha, MINIMUM * 10 / 2.0);
  int alarms = 0, naive = 0;
  seed = 1;
  for (int run = 0; run < RUNS; run++) {
    rh_moments arms[2] = {{0}, {0}};
    bool alarm = false, naive_alarm = false;
    for (int i = 0; i < 2 * VALUES; i++) {
      rh_moments_add(&arms[uniform() < 0.5], normal());
      if (arms[0].count < MINIMUM || arms[1].count < MINIMUM) continue;
      rh_estimate estimate = rh_mean_difference(&arms[0], &arms[1]);
      if (rh_mixture_log_ratio(&estimate, 0, tau2) >= -log(alpha)) alarm = true;
      if (fabs(estimate.value) > 1.96 * sqrt(estimate.variance)) naive_alarm = true;
    }
    alarms += alarm ? 1 : 0;
    naive += naive_alarm ? 1 : 0;
  }
  print_message("means: %d of %d false alarms; a fixed sample's test looked at as often: %d\n", alarms, RUNS, naive);
  assert_true((double)alarms / RUNS <= most(alpha, RUNS));
  // That the simulation could show it if it were wrong.
  assert_true((double)naive / RUNS > 0.15);
}

static void no_false_alarms_in_rates(void **state) {
  (void)state;
  enum { RUNS = 500, VALUES = 1500, MINIMUM = 100 };
  static const double rates[] = {0.005, 0.02, 0.1, 0.5};
  const double alpha = 0.05;
  double tau2 = rh_mixture_tau2(alpha, MINIMUM * 10 / 2.0);
  seed = 2;
  for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++) {
    int alarms = 0;
    for (int run = 0; run < RUNS; run++) {
      uint64_t hits[2] = {0}, counts[2] = {0};
      bool alarm = false;
      for (int i = 0; i < 2 * VALUES && !alarm; i++) {
        int arm = uniform() < 0.5;
        counts[arm]++;
        hits[arm] += uniform() < rates[r] ? 1 : 0;
        if (counts[0] < MINIMUM || counts[1] < MINIMUM) continue;
        rh_estimate estimate = rh_rate_difference(hits[0], counts[0], hits[1], counts[1], 1);
        alarm = rh_mixture_log_ratio(&estimate, 0, tau2) >= -log(alpha);
      }
      alarms += alarm ? 1 : 0;
    }
    print_message("rates of %g: %d of %d false alarms\n", rates[r], alarms, RUNS);
    assert_true((double)alarms / RUNS <= most(alpha, RUNS));
  }
}

static void an_arm_at_the_bound_is_not_stopped(void **state) {
  (void)state;
  enum { RUNS = 1000, VALUES = 1000 };
  int alarms = 0;
  seed = 3;
  for (int run = 0; run < RUNS; run++) {
    uint64_t hits = 0;
    bool alarm = false;
    for (uint64_t count = 1; count <= VALUES; count++) {
      hits += uniform() < 0.25 ? 1 : 0;
      alarm = alarm || rh_binomial_log_ratio(hits, count, 0.25) >= -log(0.01);
    }
    alarms += alarm ? 1 : 0;
  }
  print_message("at the bound: %d of %d stopped\n", alarms, RUNS);
  assert_true((double)alarms / RUNS <= most(0.01, RUNS));
}

// The truth lies in the confidence sequence at every moment, in all but alpha of the runs.
static void sequences_hold_the_truth(void **state) {
  (void)state;
  enum { RUNS = 500, VALUES = 1000, MINIMUM = 50 };
  double tau2 = rh_mixture_tau2(0.1, MINIMUM * 10 / 2.0);
  int missed = 0;
  seed = 4;
  for (int run = 0; run < RUNS; run++) {
    rh_moments arms[2] = {{0}, {0}};
    bool out = false;
    for (int i = 0; i < VALUES; i++) {
      rh_moments_add(&arms[0], 3 + 2 * normal());
      rh_moments_add(&arms[1], 3.5 + 4 * normal());
      if (i < MINIMUM) continue;
      rh_estimate estimate = rh_mean_difference(&arms[0], &arms[1]);
      rh_interval interval = rh_mixture_interval(&estimate, 0.1, tau2);
      out = out || interval.low > 0.5 || interval.high < 0.5;
    }
    missed += out ? 1 : 0;
  }
  print_message("sequences: %d of %d missed the truth at some moment\n", missed, RUNS);
  assert_true((double)missed / RUNS <= most(0.1, RUNS));
}

// --- the same through the module ---------------------------------------------------------------------------------------

typedef struct truth {
  const char *definition;
  double latency[2];  // medians; their logarithms have a deviation of 0.6
  double errors[2];
} truth;

// After how many requests the experiment is decided; 0 = not within `requests`. *better: the second arm.
static int run_experiment(const truth *what, int requests, bool *better, bool *stopped) {
  rh_experiments *all = rh_experiments_new();
  json_t *definition = json_loads(what->definition, 0, NULL);
  rh_experiment *experiment = NULL;
  assert_non_null(definition);
  assert_int_equal(rh_experiment_add(all, definition, 1000, &experiment, NULL), RH_OK);
  json_decref(definition);
  static const char *const names[] = {"a", "b"};
  char why[256] = "";
  *stopped = false;
  for (int i = 0; i < requests && !*stopped; i++) {
    int arm = uniform() < 0.5;
    rh_outcome outcome = {
        .failed = uniform() < what->errors[arm], .latency_ms = what->latency[arm] * exp(0.6 * normal()), .tokens = 10};
    *stopped = rh_experiment_record(all, "e", names[arm], &outcome, 1000 + i, why);
  }
  if (*stopped) assert_non_null(strstr(why, "arm \"b\""));
  json_t *report = rh_experiment_report(experiment, 2000);
  json_t *test = json_object_get(json_array_get(json_object_get(report, "comparisons"), 0), "sequential");
  const char *result = json_string_value(json_object_get(test, "result"));
  *better = strcmp(result, "better") == 0;
  bool decided = *better || strcmp(result, "worse") == 0;
  int after = decided ? (int)json_integer_value(json_object_get(test, "decided_after")) : 0;
  assert_int_equal(decided, after > 0);
  json_decref(report);
  rh_experiments_free(all);
  return after;
}

#define DEFINE(metric)                                   \
  "{\"name\":\"e\",\"model\":\"m\",\"metric\":\"" metric \
  "\",\"arms\":[{\"name\":\"a\",\"model\":\"x\"},"       \
  "{\"name\":\"b\",\"model\":\"y\"}]}"

static void equal_arms_stay_undecided(void **state) {
  (void)state;
  static const truth same[] = {{DEFINE("latency"), {200, 200}, {0.02, 0.02}},
                               {DEFINE("error"), {200, 200}, {0.05, 0.05}}};
  enum { RUNS = 200 };
  seed = 5;
  for (size_t i = 0; i < 2; i++) {
    int decided = 0, guarded = 0;
    for (int run = 0; run < RUNS; run++) {
      bool better = false, stopped = false;
      decided += run_experiment(&same[i], 1500, &better, &stopped) > 0 ? 1 : 0;
      guarded += stopped ? 1 : 0;
    }
    print_message("equal arms: %d of %d decided, %d stopped\n", decided, RUNS, guarded);
    assert_true((double)decided / RUNS <= most(0.05, RUNS));
    assert_true((double)guarded / RUNS <= most(0.02, RUNS));
  }
}

static void real_differences_are_found_early(void **state) {
  (void)state;
  static const struct {
    truth what;
    bool better;
  } rows[] = {
      {{DEFINE("latency"), {200, 160}, {0.02, 0.02}}, true},
      {{DEFINE("latency"), {200, 250}, {0.02, 0.02}}, false},
      {{DEFINE("error"), {200, 200}, {0.15, 0.05}}, true},
  };
  enum { RUNS = 40, REQUESTS = 4000 };
  seed = 6;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    int found = 0, wrong = 0;
    double sum = 0;
    for (int run = 0; run < RUNS; run++) {
      bool better = false, stopped = false;
      int after = run_experiment(&rows[i].what, REQUESTS, &better, &stopped);
      if (after == 0) continue;
      found++;
      sum += after;
      wrong += better != rows[i].better ? 1 : 0;
    }
    print_message("real difference %zu: %d of %d found after %.0f requests on average\n", i, found, RUNS, sum / found);
    assert_true(found >= RUNS * 95 / 100);
    assert_true(sum / found < REQUESTS / 2.0);
    assert_true(wrong <= RUNS / 20);
  }
}

static void bad_arms_are_stopped_soon(void **state) {
  (void)state;
  static const truth bad[] = {{DEFINE("latency"), {200, 200}, {0.01, 0.6}},     // over the bound
                              {DEFINE("latency"), {200, 200}, {0.01, 0.15}},    // more than twice the control's
                              {DEFINE("latency"), {200, 1200}, {0.01, 0.01}}};  // six times as slow
  seed = 7;
  for (size_t i = 0; i < 3; i++) {
    for (int run = 0; run < 20; run++) {
      bool better = false, stopped = false;
      (void)run_experiment(&bad[i], 2000, &better, &stopped);
      if (!stopped) fail_msg("bad arm %zu was not stopped in run %d", i, run);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_false_alarms_in_means),           cmocka_unit_test(no_false_alarms_in_rates),
      cmocka_unit_test(an_arm_at_the_bound_is_not_stopped), cmocka_unit_test(sequences_hold_the_truth),
      cmocka_unit_test(equal_arms_stay_undecided),          cmocka_unit_test(real_differences_are_found_early),
      cmocka_unit_test(bad_arms_are_stopped_soon),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
