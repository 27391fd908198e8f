// SPDX-License-Identifier: Apache-2.0
//
// Estimates with their uncertainty: for one look at a fixed sample, and valid however often somebody looks. Pure.
#ifndef RH_EXPERIMENT_INTERVALS_H
#define RH_EXPERIMENT_INTERVALS_H

#include <stdbool.h>
#include <stdint.h>

// Mean and spread of a series, kept up to date value by value (Welford).
typedef struct rh_moments {
  uint64_t count;
  double mean;
  double squares;  // sum of squared distances from the mean
} rh_moments;

void rh_moments_add(rh_moments *moments, double value);
double rh_moments_variance(const rh_moments *moments);  // of the sample; 0 below two values

typedef struct rh_interval {
  double value, low, high;
  bool known;  // false: too few values for an interval; low and high are the value then
} rh_interval;

// --- one look --------------------------------------------------------------------------------------------------------

rh_interval rh_mean_interval(const rh_moments *moments, double alpha);                  // Student
rh_interval rh_welch_interval(const rh_moments *a, const rh_moments *b, double alpha);  // of mean b - mean a
rh_interval rh_wilson_interval(uint64_t hits, uint64_t count, double alpha);            // of a share
rh_interval rh_newcombe_interval(uint64_t hits_a, uint64_t count_a, uint64_t hits_b, uint64_t count_b,
                                 double alpha);  // of share b - share a

// --- any number of looks ---------------------------------------------------------------------------------------------

// An estimate whose error is about normal, with the variance of that error.
typedef struct rh_estimate {
  double value, variance;
  double sample;  // the sample's effective size: a b / (a + b) of two
} rh_estimate;

rh_estimate rh_mean_difference(const rh_moments *a, const rh_moments *b);
// share b - factor * share a. A half count is added to hits and misses for the variance, which is not 0 before the first
// hit then.
rh_estimate rh_rate_difference(uint64_t hits_a, uint64_t count_a, uint64_t hits_b, uint64_t count_b, double factor);

// tau squared in squared standard deviations of one value, so that the confidence sequence is at its tightest at the
// effective sample size `tightest`. It must be chosen before the data are seen.
double rh_mixture_tau2(double alpha, double tightest);
// The logarithm of the mixture's likelihood ratio against "the difference is `null`".
double rh_mixture_log_ratio(const rh_estimate *estimate, double null, double tau2);
rh_interval rh_mixture_interval(const rh_estimate *estimate, double alpha, double tau2);
// The same for one share against "it is at most `bound`", with a uniform prior: exact.
double rh_binomial_log_ratio(uint64_t hits, uint64_t count, double bound);

#endif
