// SPDX-License-Identifier: Apache-2.0
//
// Private to this folder: the two 16-bit floats of tensors to and from numbers. IEEE 754 binary16, and bfloat16, which is
// the upper half of a binary32. Rounding is to nearest, ties to even.
#ifndef RH_API_HALF_H
#define RH_API_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline double rh_half_to_number(uint16_t half) {
  int exponent = half >> 10 & 31;
  int fraction = half & 1023;
  double sign = (half & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? (double)NAN : sign * (double)INFINITY;
  if (exponent == 0) return sign * ldexp(fraction, -24);
  return sign * ldexp(fraction + 1024, exponent - 25);
}

static inline uint16_t rh_half_from_number(double value) {
  uint16_t sign = signbit(value) ? 0x8000 : 0;
  double size = fabs(value);
  if (isnan(value)) return 0x7e00;
  if (size <= 0) return sign;
  if (size >= 65520) return (uint16_t)(sign | 0x7c00);  // halfway past the largest, 65504
  int exponent = 0;
  (void)frexp(size, &exponent);
  // A normal number has eleven bits; below 2^-14 the last bit stays at 2^-24.
  int last = exponent - 11 < -24 ? -24 : exponent - 11;
  uint32_t steps = (uint32_t)nearbyint(ldexp(size, -last));
  // `steps` may have been rounded up to the next power of two; the addition carries that into the exponent.
  uint32_t bits = last == -24 ? steps : ((uint32_t)(last + 24) << 10) + steps;
  return (uint16_t)(sign | bits);
}

static inline double rh_bfloat_to_number(uint16_t bfloat) {
  uint32_t bits = (uint32_t)bfloat << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return (double)value;
}

static inline uint16_t rh_bfloat_from_number(double value) {
  float single = (float)value;
  uint32_t bits;
  memcpy(&bits, &single, sizeof bits);
  if (isnan(value)) return 0x7fc0;
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
