// SPDX-License-Identifier: Apache-2.0
//
// Purpose: rk_largest and rk_quantize_block of isa.h in plain C, with the results of quantize_avx2.h to the bit, those for
// infinities and NaN included.
#ifndef RH_KERNELS_QUANTIZE_PORTABLE_H
#define RH_KERNELS_QUANTIZE_PORTABLE_H

// The second where one is NaN, as x86's instruction does.
RK_INLINE float rk_greater(float a, float b) { return a > b ? a : b; }

// The largest magnitude of 32 floats, compared in the order in which eight lanes compare: it decides what comes of NaN.
RK_INLINE float rk_largest(const float *x) {
  float most[8];
  for (int i = 0; i < 8; i++) most[i] = __builtin_fabsf(x[i]);
  for (int b = 8; b < RK_BLOCK; b += 8) {
    for (int i = 0; i < 8; i++) most[i] = rk_greater(most[i], __builtin_fabsf(x[b + i]));
  }
  for (int half = 4; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) most[i] = rk_greater(most[i], most[i + half]);
  }
  return most[0];
}

// To the nearest integer, the even one of two, between -128 and 127. NaN and what no 32-bit integer holds become -128.
RK_INLINE int8_t rk_round(float x) {
  const float magic = 0x1.8p23F;  // a sum with it has no room for a fraction: the addition rounds
  float kept = x > 127.0F ? 127.0F : x;
  kept = kept > -128.0F && x < 0x1p31F ? kept : -128.0F;
  float sum = kept + magic;
  return (int8_t)(sum - magic);
}

// q = round(x * inverse) for 32 values, and their group sums: sums[0..1] of the first and of the last two values of each
// group in the block's first half; sums[2..3] in its last half.
RK_INLINE void rk_quantize_block(const float *x, float inverse, int8_t *q, int sums[4]) {
  for (int i = 0; i < RK_BLOCK; i++) {
    float product = x[i] * inverse;
    q[i] = rk_round(product);
  }
  for (int k = 0; k < 4; k++) sums[k] = 0;
  for (int i = 0; i < RK_BLOCK; i++) sums[i / 16 * 2 + i / 2 % 2] += q[i];
}

#endif
