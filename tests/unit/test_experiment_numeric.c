// SPDX-License-Identifier: Apache-2.0
//
// The numbers below the analysis against printed tables and worked examples.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "experiment/intervals.h"
#include "experiment/numeric.h"
#include "experiment/sketch.h"

static void near(double value, double wanted, double slack) {
  if (!(fabs(value - wanted) <= slack)) fail_msg("%.15g is not %.15g", value, wanted);
}

static void normal_quantiles(void **state) {
  (void)state;
  static const double table[][2] = {{0.5, 0},
                                    {0.9, 1.2815515655446004},
                                    {0.95, 1.6448536269514722},
                                    {0.975, 1.959963984540054},
                                    {0.995, 2.5758293035489004},
                                    {0.9995, 3.2905267314918945},
                                    {0.025, -1.959963984540054},
                                    {1e-10, -6.361340902404056}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) near(rh_normal_quantile(table[i][0]), table[i][1], 1e-13);
  for (double p = 1e-14; p < 1; p = p < 0.001 ? p * 3 : p + 0.001)
    near(rh_normal_cdf(rh_normal_quantile(p)) / p, 1, 1e-11);
}

static void student_quantiles(void **state) {
  (void)state;
  static const double table[][3] = {{0.975, 1, 12.706204736432095},  {0.975, 2, 4.302652729911275},
                                    {0.95, 5, 2.015048372669157},    {0.975, 10, 2.2281388519649385},
                                    {0.995, 30, 2.7499956535672259}, {0.9, 120, 1.2886462336563809},
                                    {0.975, 1e6, 1.959966356814107}, {0.5, 7, 0},
                                    {0.025, 10, -2.2281388519649385}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    near(rh_student_quantile(table[i][0], table[i][1]), table[i][2], 1e-8);
  }
  near(rh_student_quantile(0.975, 1e9), 1.959963984540054, 1e-8);
  // Closed forms: one degree of freedom is Cauchy's distribution, two has a root.
  near(rh_student_quantile(0.9999, 1), tan(acos(-1) * 0.4999), 1e-6);
  near(rh_student_cdf(1, 2), 0.5 + 1 / (2 * sqrt(3)), 1e-14);
  near(rh_student_cdf(rh_student_quantile(0.01, 3.7), 3.7), 0.01, 1e-13);
}

static void incomplete_beta(void **state) {
  (void)state;
  near(rh_beta_share(1, 1, 0.3), 0.3, 1e-14);
  near(rh_beta_share(2, 3, 0.4), 0.5248, 1e-14);  // 1 - P(fewer than 2 of 4 at 0.4)
  near(rh_beta_share(50, 0.5, 0.99) + rh_beta_share(0.5, 50, 0.01), 1, 1e-13);
  near(rh_beta_share(3, 4, 0), 0, 0);
  near(rh_beta_share(3, 4, 1), 1, 0);
}

static void welford_is_stable(void **state) {
  (void)state;
  rh_moments moments = {0};
  // The textbook's formula has no digit left here.
  const double values[] = {4, 7, 13, 16};
  for (int i = 0; i < 4; i++) rh_moments_add(&moments, 1e9 + values[i]);
  near(moments.mean, 1e9 + 10, 1e-6);
  near(rh_moments_variance(&moments), 30, 1e-6);
  rh_moments one = {0};
  rh_moments_add(&one, 5);
  near(rh_moments_variance(&one), 0, 0);
  assert_false(rh_mean_interval(&one, 0.05).known);
}

static void intervals_of_means(void **state) {
  (void)state;
  // n = 16, mean 10, deviation 2: 10 +- 2.13145 * 0.5
  rh_moments a = {.count = 16, .mean = 10, .squares = 60};
  rh_interval mean = rh_mean_interval(&a, 0.05);
  near(mean.low, 10 - 2.131449545559323 * 0.5, 1e-8);
  near(mean.high, 10 + 2.131449545559323 * 0.5, 1e-8);
  // Welch: variances 4 and 9 over 16 and 25: error^2 = 0.61, df = 0.3721 / (0.0625/15 + 0.1296/24) = 38.896
  rh_moments b = {.count = 25, .mean = 12, .squares = 216};
  rh_interval both = rh_welch_interval(&a, &b, 0.05);
  double df = 0.61 * 0.61 / (0.25 * 0.25 / 15 + 0.36 * 0.36 / 24);
  near(df, 38.8958, 1e-3);
  near(both.value, 2, 0);
  near(both.high - both.value, 0.7810249675906654 * 2.02284, 1e-4);
  near(both.value - both.low, both.high - both.value, 1e-12);
}

static void intervals_of_rates(void **state) {
  (void)state;
  // Newcombe's own example (1998, table II, row a): 56 of 70 and 48 of 80.
  rh_interval difference = rh_newcombe_interval(48, 80, 56, 70, 0.05);
  near(difference.value, 0.2, 1e-12);
  near(difference.low, 0.0524, 5e-5);
  near(difference.high, 0.3339, 5e-5);
  // Wilson's, as in Newcombe's paper on one proportion: 81 of 263 and 0 of 20.
  rh_interval rate = rh_wilson_interval(81, 263, 0.05);
  near(rate.low, 0.2553, 5e-5);
  near(rate.high, 0.3662, 5e-5);
  rate = rh_wilson_interval(0, 20, 0.05);
  near(rate.low, 0, 0);
  near(rate.high, 0.1611, 5e-5);
  near(rh_wilson_interval(20, 20, 0.05).high, 1, 0);
  assert_false(rh_wilson_interval(0, 0, 0.05).known);
}

static void the_mixture_and_its_interval_agree(void **state) {
  (void)state;
  // The sequence's end is where the test against that value just does not reject.
  rh_estimate estimate = {.value = 0.3, .variance = 0.002, .sample = 500};
  double tau2 = rh_mixture_tau2(0.05, 500);
  rh_interval interval = rh_mixture_interval(&estimate, 0.05, tau2);
  near(rh_mixture_log_ratio(&estimate, interval.low, tau2), -log(0.05), 1e-9);
  near(rh_mixture_log_ratio(&estimate, interval.high, tau2), -log(0.05), 1e-9);
  near(exp(rh_mixture_log_ratio(&estimate, 0.3, tau2)), 1 / sqrt(1 + 500 * tau2), 1e-12);
  // By the formula of Johari, Pekelis and Walsh, with numbers: V = 0.002, tau^2 = tau2 V n.
  double v = 0.002, t = tau2 * 0.002 * 500;
  near(rh_mixture_log_ratio(&estimate, 0, tau2), log(sqrt(v / (v + t)) * exp(t * 0.09 / (2 * v * (v + t)))), 1e-9);
  rh_estimate none = {0};
  near(rh_mixture_log_ratio(&none, 0, tau2), 0, 0);
  assert_false(rh_mixture_interval(&none, 0.05, tau2).known);
}

static void tau_is_where_the_interval_is_tightest(void **state) {
  (void)state;
  // The width over the fixed sample's, at the sample it was made for, is less than with any other tau.
  rh_estimate estimate = {.value = 0, .variance = 1.0 / 500, .sample = 500};
  double tau2 = rh_mixture_tau2(0.05, 500);
  double best = rh_mixture_interval(&estimate, 0.05, tau2).high;
  static const double others[] = {0.1, 0.3, 0.6, 1.6, 3, 10};
  for (size_t i = 0; i < 6; i++) {
    double width = rh_mixture_interval(&estimate, 0.05, tau2 * others[i]).high;
    if (width <= best) fail_msg("tau^2 times %g gives %g, not more than %g", others[i], width, best);
  }
}

static void a_binomial_ratio_is_exact(void **state) {
  (void)state;
  // 1 / ((n + 1) C(n, x) p^x (1 - p)^(n - x)) for 3 of 4 at 0.25: 1 / (5 * 4 * 0.015625 * 0.75)
  near(exp(rh_binomial_log_ratio(3, 4, 0.25)), 1 / (5 * 4 * 0.015625 * 0.75), 1e-9);
  near(rh_binomial_log_ratio(1, 4, 0.25), 0, 0);  // not above the bound
  near(rh_binomial_log_ratio(4, 4, 1), 0, 0);
  assert_true(isinf(rh_binomial_log_ratio(1, 4, 0)));
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void quantiles_are_within_one_percent(void **state) {
  (void)state;
  static double values[20000];
  static rh_sketch sketch;
  memset(&sketch, 0, sizeof sketch);
  uint64_t seed = 7;
  for (size_t i = 0; i < 20000; i++) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    values[i] = exp((double)(seed >> 40) / (double)(1 << 24) * 18 - 4);  // 0.018 to a million
    rh_sketch_add(&sketch, values[i]);
  }
  qsort(values, 20000, sizeof values[0], by_value);
  for (double share = 0; share <= 1; share += 0.01) {
    double exact = values[(size_t)(share * 19999)];
    near(rh_sketch_quantile(&sketch, share) / exact, 1, RH_SKETCH_ERROR + 1e-9);
  }
}

static void a_sketch_takes_any_value(void **state) {
  (void)state;
  static rh_sketch sketch;
  memset(&sketch, 0, sizeof sketch);
  near(rh_sketch_quantile(&sketch, 0.5), 0, 0);
  rh_sketch_add(&sketch, 0);
  near(rh_sketch_quantile(&sketch, 1), RH_SKETCH_LEAST, RH_SKETCH_LEAST * 0.011);
  rh_sketch_add(&sketch, 1e300);
  near(rh_sketch_quantile(&sketch, 1) / RH_SKETCH_MOST, 1, 0.03);
  assert_int_equal(sketch.total, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(normal_quantiles),
      cmocka_unit_test(student_quantiles),
      cmocka_unit_test(incomplete_beta),
      cmocka_unit_test(welford_is_stable),
      cmocka_unit_test(intervals_of_means),
      cmocka_unit_test(intervals_of_rates),
      cmocka_unit_test(the_mixture_and_its_interval_agree),
      cmocka_unit_test(tau_is_where_the_interval_is_tightest),
      cmocka_unit_test(a_binomial_ratio_is_exact),
      cmocka_unit_test(quantiles_are_within_one_percent),
      cmocka_unit_test(a_sketch_takes_any_value),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
