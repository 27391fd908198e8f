// SPDX-License-Identifier: Apache-2.0
//
// Distributions that the analysis needs. Pure.
#ifndef RH_EXPERIMENT_NUMERIC_H
#define RH_EXPERIMENT_NUMERIC_H

// The normal distribution's quantile for 0 < p < 1 (Wichura's AS 241, to about 1e-15).
double rh_normal_quantile(double p);
double rh_normal_cdf(double x);
// I_x(a, b), the regularized incomplete beta function, for a, b > 0 and 0 <= x <= 1.
double rh_beta_share(double a, double b, double x);
// Student's t with df > 0 degrees of freedom, which need not be whole.
double rh_student_cdf(double t, double df);
double rh_student_quantile(double p, double df);  // 0 < p < 1

#endif
