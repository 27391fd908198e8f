// SPDX-License-Identifier: Apache-2.0
//
// Purpose: normal and Student distributions: areas and quantiles.
// Data owned: none. Threads: any. Not here: the intervals made of them (intervals.c).
#include "experiment/numeric.h"

#include <math.h>

#define FRACTION_STEPS_MAX 500
#define BISECTIONS_MAX 200

static double polynomial(const double *factors, int count, double x) {
  double sum = 0;
  for (int i = count - 1; i >= 0; i--) sum = sum * x + factors[i];
  return sum;
}

// M. J. Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988).
static const double middle_top[] = {3.387132872796366608,  133.14166789178437745, 1971.5909503065514427,
                                    13731.693765509461125, 45921.953931549871457, 67265.770927008700853,
                                    33430.575583588128105, 2509.0809287301226727};
static const double middle_bottom[] = {1.0,
                                       42.313330701600911252,
                                       687.1870074920579083,
                                       5394.1960214247511077,
                                       21213.794301586595867,
                                       39307.89580009271061,
                                       28729.085735721942674,
                                       5226.495278852854561};
static const double near_top[] = {1.42343711074968357734,   4.6303378461565452959,   5.7694972214606914055,
                                  3.64784832476320460504,   1.27045825245236838258,  0.24178072517745061177,
                                  0.0227238449892691845833, 7.7454501427834140764e-4};
static const double near_bottom[] = {1.0,
                                     2.05319162663775882187,
                                     1.6763848301838038494,
                                     0.68976733498510000455,
                                     0.14810397642748007459,
                                     0.0151986665636164571966,
                                     5.475938084995344946e-4,
                                     1.05075007164441684324e-9};
static const double far_top[] = {6.6579046435011037772,     5.4637849111641143699,    1.7848265399172913358,
                                 0.29656057182850489123,    0.026532189526576123093,  0.0012426609473880784386,
                                 2.71155556874348757815e-5, 2.01033439929228813265e-7};
static const double far_bottom[] = {1.0,
                                    0.59983220655588793769,
                                    0.13692988092273580531,
                                    0.0148753612908506148525,
                                    7.868691311456132591e-4,
                                    1.8463183175100546818e-5,
                                    1.4215117583164458887e-7,
                                    2.04426310338993978564e-15};

double rh_normal_quantile(double p) {
  double q = p - 0.5;
  if (fabs(q) <= 0.425) {
    double r = 0.180625 - q * q;
    return q * polynomial(middle_top, 8, r) / polynomial(middle_bottom, 8, r);
  }
  double r = sqrt(-log(q < 0 ? p : 1 - p));
  double x = r <= 5 ? polynomial(near_top, 8, r - 1.6) / polynomial(near_bottom, 8, r - 1.6)
                    : polynomial(far_top, 8, r - 5) / polynomial(far_bottom, 8, r - 5);
  return q < 0 ? -x : x;
}

double rh_normal_cdf(double x) { return 0.5 * erfc(-x / sqrt(2)); }

static double log_gamma(double x) {
  int sign = 0;  // lgamma() would write a variable that all threads share
  return lgamma_r(x, &sign);
}

// The continued fraction of the incomplete beta function by Lentz's method (Abramowitz and Stegun 26.5.8).
static double beta_fraction(double a, double b, double x) {
  const double tiny = 1e-300;
  double c = 1;
  double d = 1 - (a + b) * x / (a + 1);
  d = 1 / (fabs(d) < tiny ? tiny : d);
  double result = d;
  for (int step = 1; step <= FRACTION_STEPS_MAX; step++) {
    double m = step;
    double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    const double terms[] = {even, odd};
    double change = 1;
    for (int i = 0; i < 2; i++) {
      d = 1 + terms[i] * d;
      d = 1 / (fabs(d) < tiny ? tiny : d);
      c = 1 + terms[i] / c;
      if (fabs(c) < tiny) c = tiny;
      change = c * d;
      result *= change;
    }
    if (fabs(change - 1) < 1e-15) break;
  }
  return result;
}

double rh_beta_share(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  double front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x));
  // The fraction is quick on the lower side of the mean only.
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double rh_student_cdf(double t, double df) {
  if (t == 0) return 0.5;  // NOLINT: exactly the middle
  double tail = 0.5 * rh_beta_share(df / 2, 0.5, df / (df + t * t));
  return t > 0 ? 1 - tail : tail;
}

double rh_student_quantile(double p, double df) {
  if (p > 0.5) return -rh_student_quantile(1 - p, df);  // the tail keeps its digits
  if (df > 1e7) return rh_normal_quantile(p);
  double low = rh_normal_quantile(p);  // its tails are the thinner ones
  double high = 0;
  if (low > high) low = high;
  low -= 1e-9;
  for (int i = 0; i < BISECTIONS_MAX && rh_student_cdf(low, df) > p; i++) low *= 2;
  for (int i = 0; i < BISECTIONS_MAX && high - low > 1e-14 * fabs(low); i++) {
    double middle = low + (high - low) / 2;
    if (rh_student_cdf(middle, df) > p) {
      high = middle;
    } else {
      low = middle;
    }
  }
  return low + (high - low) / 2;
}
