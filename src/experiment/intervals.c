// SPDX-License-Identifier: Apache-2.0
//
// Purpose: intervals and sequential likelihood ratios. docs/gateway.md has the formulas and names where they are from.
// Data owned: none. Threads: any. Not here: who is compared with whom (record.c, report.c).
#include "experiment/intervals.h"

#include <math.h>

#include "experiment/numeric.h"

void rh_moments_add(rh_moments *moments, double value) {
  moments->count++;
  double before = value - moments->mean;
  moments->mean += before / (double)moments->count;
  moments->squares += before * (value - moments->mean);
}

double rh_moments_variance(const rh_moments *moments) {
  return moments->count < 2 ? 0 : moments->squares / (double)(moments->count - 1);
}

static rh_interval around(double value, double half) {
  return (rh_interval){.value = value, .low = value - half, .high = value + half, .known = true};
}

static rh_interval unknown(double value) { return (rh_interval){.value = value, .low = value, .high = value}; }

rh_interval rh_mean_interval(const rh_moments *moments, double alpha) {
  if (moments->count < 2) return unknown(moments->mean);
  double error = sqrt(rh_moments_variance(moments) / (double)moments->count);
  return around(moments->mean, error * rh_student_quantile(1 - alpha / 2, (double)(moments->count - 1)));
}

rh_interval rh_welch_interval(const rh_moments *a, const rh_moments *b, double alpha) {
  double difference = b->mean - a->mean;
  if (a->count < 2 || b->count < 2) return unknown(difference);
  double part_a = rh_moments_variance(a) / (double)a->count;
  double part_b = rh_moments_variance(b) / (double)b->count;
  double variance = part_a + part_b;
  if (!(variance > 0)) return around(difference, 0);
  // Of Welch and Satterthwaite.
  double df =
      variance * variance / (part_a * part_a / (double)(a->count - 1) + part_b * part_b / (double)(b->count - 1));
  return around(difference, sqrt(variance) * rh_student_quantile(1 - alpha / 2, df));
}

rh_interval rh_wilson_interval(uint64_t hits, uint64_t count, double alpha) {
  if (count == 0) return (rh_interval){.low = 0, .high = 1};
  double n = (double)count;
  double share = (double)hits / n;
  double z = rh_normal_quantile(1 - alpha / 2);
  double middle = (share + z * z / (2 * n)) / (1 + z * z / n);
  double half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  rh_interval interval = {.value = share, .low = middle - half, .high = middle + half, .known = true};
  // Exact by the formula; rounding must not say less than nothing or more than all.
  if (hits == 0 || interval.low < 0) interval.low = 0;
  if (hits == count || interval.high > 1) interval.high = 1;
  return interval;
}

rh_interval rh_newcombe_interval(uint64_t hits_a, uint64_t count_a, uint64_t hits_b, uint64_t count_b, double alpha) {
  rh_interval a = rh_wilson_interval(hits_a, count_a, alpha);
  rh_interval b = rh_wilson_interval(hits_b, count_b, alpha);
  double difference = b.value - a.value;
  if (!a.known || !b.known) return unknown(difference);
  return (rh_interval){.value = difference,
                       .low = difference - hypot(b.value - b.low, a.high - a.value),
                       .high = difference + hypot(b.high - b.value, a.value - a.low),
                       .known = true};
}

static double effective(uint64_t a, uint64_t b) { return (double)a * (double)b / ((double)a + (double)b); }

rh_estimate rh_mean_difference(const rh_moments *a, const rh_moments *b) {
  if (a->count < 2 || b->count < 2) return (rh_estimate){0};
  return (rh_estimate){
      .value = b->mean - a->mean,
      .variance = rh_moments_variance(a) / (double)a->count + rh_moments_variance(b) / (double)b->count,
      .sample = effective(a->count, b->count)};
}

static double rate_variance(uint64_t hits, uint64_t count) {
  double n = (double)count + 1;
  double share = ((double)hits + 0.5) / n;
  return share * (1 - share) / n;
}

rh_estimate rh_rate_difference(uint64_t hits_a, uint64_t count_a, uint64_t hits_b, uint64_t count_b, double factor) {
  if (count_a == 0 || count_b == 0) return (rh_estimate){0};
  double share_a = (double)hits_a / (double)count_a;
  double share_b = (double)hits_b / (double)count_b;
  return (rh_estimate){.value = share_b - factor * share_a,
                       .variance = rate_variance(hits_b, count_b) + factor * factor * rate_variance(hits_a, count_a),
                       .sample = effective(count_a, count_b)};
}

double rh_mixture_tau2(double alpha, double tightest) {
  double level = -2 * log(alpha);
  return (level + log(level + 1)) / tightest;
}

// tau squared in the estimate's own unit: one value's variance is what the error's is times the sample.
static double own_tau2(const rh_estimate *estimate, double tau2) {
  return tau2 * estimate->variance * estimate->sample;
}

double rh_mixture_log_ratio(const rh_estimate *estimate, double null, double tau2) {
  double v = estimate->variance;
  if (!(v > 0) || !(estimate->sample > 0)) return 0;
  double t = own_tau2(estimate, tau2);
  double d = estimate->value - null;
  return 0.5 * log(v / (v + t)) + t * d * d / (2 * v * (v + t));
}

rh_interval rh_mixture_interval(const rh_estimate *estimate, double alpha, double tau2) {
  double v = estimate->variance;
  if (!(v > 0) || !(estimate->sample > 0)) return unknown(estimate->value);
  double t = own_tau2(estimate, tau2);
  return around(estimate->value, sqrt(v * (v + t) / t * (log((v + t) / v) - 2 * log(alpha))));
}

double rh_binomial_log_ratio(uint64_t hits, uint64_t count, double bound) {
  if (bound >= 1 || count == 0 || (double)hits <= bound * (double)count) return 0;
  double n = (double)count;
  double x = (double)hits;
  int sign = 0;
  // The uniform mixture of all binomial likelihoods is 1 / ((n + 1) C(n, x)).
  double mixed = lgamma_r(x + 1, &sign) + lgamma_r(n - x + 1, &sign) - lgamma_r(n + 2, &sign);
  double likelihood = (bound > 0 ? x * log(bound) : -INFINITY) + (n - x) * log1p(-bound);
  return mixed - likelihood;
}
