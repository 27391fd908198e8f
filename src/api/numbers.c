// SPDX-License-Identifier: Apache-2.0
//
// A float as decimal digits that read back as the same float. Embeddings are thousands of numbers in one answer, and
// printf takes ten times as long for each. Pure, any thread.
//
// Nine digits tell any two floats apart; most need eight, and seven are enough for what was written with few. A float is exact as a double, and scaling it by a power of ten
// that is exact too (up to 1e22) is off by one part in 2^53, so that nine digits come out right but for the last one at a
// tie. Fewer are taken when they lie less than half the way to the next float from it.
#include <math.h>
#include <stdio.h>

#include "api/infer.h"

#define PLAIN_MIN 1e-5  // below, and from PLAIN_END on, with an exponent
#define PLAIN_END 1e7

static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

// A little less than half the distance to the next float: 2^-24 of the power of two below, and half of that where the value
// is that power and the next one down is nearer.
static double nearest(double size) {
  float single = (float)size;
  uint32_t bits;
  memcpy(&bits, &single, sizeof bits);
  bool is_power = (bits & 0x7fffff) == 0;
  bits &= 0x7f800000;
  memcpy(&single, &bits, sizeof single);
  return (double)single * (is_power ? 2.9e-8 : 5.9e-8);
}

// Digits before the point; 0 or less for numbers below 1: 0.05 has -1.
static int magnitude(double size) {
  int digits = 0;
  if (size >= 1) {
    while (size >= powers[digits]) digits++;
    return digits;
  }
  while (size * powers[1 - digits] < 1) digits--;
  return digits;
}

// `whole` stands for whole / 10^decimals. Zeros at the end say nothing.
static void put_digits(rh_dynbuf *out, bool negative, uint64_t whole, int decimals) {
  char text[40];
  size_t at = sizeof text;
  while (decimals > 0 && whole % 10 == 0) {
    whole /= 10;
    decimals--;
  }
  for (int i = 0; i < decimals; i++) {
    text[--at] = (char)('0' + (int)(whole % 10));
    whole /= 10;
  }
  if (decimals > 0) text[--at] = '.';
  do {
    text[--at] = (char)('0' + (int)(whole % 10));
    whole /= 10;
  } while (whole > 0);
  if (negative) text[--at] = '-';
  (void)rh_dynbuf_append(out, text + at, sizeof text - at);
}

void rh_put_float(rh_dynbuf *out, float value) {
  double size = fabs((double)value);
  if (size == 0) {
    rh_put(out, signbit(value) ? "-0.0" : "0");
    return;
  }
  if (!isfinite(value)) {
    rh_put(out, isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    return;
  }
  if (size < PLAIN_MIN || size >= PLAIN_END) {
    char text[40];
    int length = snprintf(text, sizeof text, "%.9g", (double)value);
    (void)rh_dynbuf_append(out, text, (size_t)length);
    return;
  }
  int decimals = 7 - magnitude(size);
  double whole = nearbyint(size * powers[decimals]);
  double near = nearest(size);
  for (int more = 0; more < 2 && fabs(whole / powers[decimals] - size) > near; more++) {
    decimals++;
    whole = nearbyint(size * powers[decimals]);
  }
  put_digits(out, value < 0, (uint64_t)whole, decimals);
}

void rh_put_floats(rh_dynbuf *out, const float *values, size_t count) {
  rh_put(out, "[");
  for (size_t i = 0; i < count; i++) {
    if (i > 0) rh_put(out, ",");
    rh_put_float(out, values[i]);
  }
  rh_put(out, "]");
}
