// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the operations of isa.h in plain C: what every other set must agree with, and what runs where none of them does.
//
// Loops over the 16 rows, short enough for compilers to make vector code of them. Sums are kept unsigned so that they may
// wrap, as registers do. The kinds of values are types of their own here, though they are one elsewhere: a kernel that mixes
// them up does not compile. Words (an activation's group, a pair) come from memory by memcpy and return there the same way,
// so the order of a machine's bytes does not matter.
#ifndef RH_KERNELS_ISA_PORTABLE_H
#define RH_KERNELS_ISA_PORTABLE_H

#include <string.h>

#define RK_TILE 4

typedef union rk_bytes {
  uint8_t b[4 * RK_ROWS];
  uint16_t h[2 * RK_ROWS];  // for shifts
} rk_bytes;
typedef struct rk_partial {  // one 32-bit sum per row
  uint32_t v[RK_ROWS];
} rk_partial;
typedef struct rk_ints {
  uint32_t v[RK_ROWS];
} rk_ints;
typedef struct rk_pairs {
  int16_t v[2 * RK_ROWS];
} rk_pairs;
typedef struct rk_floats {
  float v[RK_ROWS];
} rk_floats;

RK_INLINE rk_bytes rk_loadu(const void *p) {
  rk_bytes v;
  memcpy(v.b, p, sizeof v.b);
  return v;
}

RK_INLINE rk_bytes rk_load(const void *p) { return rk_loadu(p); }
RK_INLINE void rk_store(void *p, rk_bytes v) { memcpy(p, v.b, sizeof v.b); }

RK_INLINE rk_bytes rk_and(rk_bytes v, uint8_t mask) {
  for (int i = 0; i < 4 * RK_ROWS; i++) v.b[i] &= mask;
  return v;
}

RK_INLINE rk_bytes rk_or(rk_bytes a, rk_bytes b) {
  for (int i = 0; i < 4 * RK_ROWS; i++) a.b[i] |= b.b[i];
  return a;
}

// Bits move across bytes: mask afterwards.
RK_INLINE rk_bytes rk_right(rk_bytes v, int n) {
  for (int i = 0; i < 2 * RK_ROWS; i++) v.h[i] = (uint16_t)(v.h[i] >> n);
  return v;
}

RK_INLINE rk_bytes rk_left(rk_bytes v, int n) {
  for (int i = 0; i < 2 * RK_ROWS; i++) v.h[i] = (uint16_t)((unsigned)v.h[i] << n);
  return v;
}

RK_INLINE rk_ints rk_ints_zero(void) { return (rk_ints){{0}}; }

RK_INLINE rk_partial rk_start(uint32_t bias) {
  rk_partial sum;
  for (int r = 0; r < RK_ROWS; r++) sum.v[r] = bias;
  return sum;
}

RK_INLINE uint32_t rk_word(const int8_t *q) {
  uint32_t word;
  memcpy(&word, q, sizeof word);
  return word;
}

RK_INLINE rk_ints rk_add(rk_ints a, rk_ints b) {
  for (int r = 0; r < RK_ROWS; r++) a.v[r] += b.v[r];
  return a;
}

// A bias for weights that stand `offset` too high: even and odd are the sums of the first and the last two values of all groups.
RK_INLINE uint32_t rk_bias(int even, int odd, int offset) { return (uint32_t)(-offset * (even + odd)); }

RK_INLINE rk_partial rk_dot(rk_partial sum, rk_bytes w, uint32_t group) {
  int8_t a[RK_GROUP];
  memcpy(a, &group, sizeof a);
  for (int r = 0; r < RK_ROWS; r++) {
    const uint8_t *b = w.b + r * RK_GROUP;
    sum.v[r] += (uint32_t)(b[0] * a[0] + b[1] * a[1] + b[2] * a[2] + b[3] * a[3]);
  }
  return sum;
}

RK_INLINE rk_partial rk_start_twice(uint32_t bias) { return rk_start(bias * 2); }

RK_INLINE rk_ints rk_widen(rk_partial sum) {
  rk_ints out;
  memcpy(out.v, sum.v, sizeof out.v);
  return out;
}

// Scales of 16 rows, one signed byte each; both numbers of a row's pair are its scale.
RK_INLINE rk_pairs rk_row_scales(const int8_t *scales) {
  rk_pairs out;
  for (int i = 0; i < 2 * RK_ROWS; i++) out.v[i] = scales[i / 2];
  return out;
}

RK_INLINE rk_ints rk_add_scaled(rk_ints sum, rk_partial part, rk_pairs scales) {
  for (int r = 0; r < RK_ROWS; r++) {
    uint32_t scale = (uint32_t)scales.v[2 * r];
    sum.v[r] += part.v[r] * scale;
  }
  return sum;
}

// C multiplies signed numbers by signed ones: nothing is added to the weights, and nothing taken off the sum.
RK_INLINE rk_bytes rk_signed_weights(rk_bytes w) { return w; }
RK_INLINE rk_ints rk_start_signed(uint32_t bias8) {
  (void)bias8;
  return rk_ints_zero();
}

RK_INLINE rk_ints rk_dot_signed(rk_ints sum, rk_bytes w, uint32_t group) {
  int8_t a[RK_GROUP];
  memcpy(a, &group, sizeof a);
  for (int r = 0; r < RK_ROWS; r++) {
    const uint8_t *b = w.b + r * RK_GROUP;
    sum.v[r] += (uint32_t)((int8_t)b[0] * a[0] + (int8_t)b[1] * a[1] + (int8_t)b[2] * a[2] + (int8_t)b[3] * a[3]);
  }
  return sum;
}

// Two unsigned bytes per row as 16-bit numbers.
RK_INLINE rk_pairs rk_row_pairs(const uint8_t *bytes) {
  rk_pairs out;
  for (int i = 0; i < 2 * RK_ROWS; i++) out.v[i] = bytes[i];
  return out;
}

// sum + pairs . the two 16-bit numbers in `pair`
RK_INLINE rk_ints rk_dot_pairs(rk_ints sum, rk_pairs pairs, uint32_t pair) {
  int16_t p[2];
  memcpy(p, &pair, sizeof p);
  for (int r = 0; r < RK_ROWS; r++) {
    sum.v[r] += (uint32_t)(pairs.v[2 * r] * p[0]) + (uint32_t)(pairs.v[2 * r + 1] * p[1]);
  }
  return sum;
}

RK_INLINE rk_floats rk_to_floats(rk_ints v) {
  rk_floats out;
  for (int r = 0; r < RK_ROWS; r++) out.v[r] = (float)(int32_t)v.v[r];
  return out;
}

RK_INLINE rk_floats rk_floats_load(const float *p) {
  rk_floats v;
  memcpy(v.v, p, sizeof v.v);
  return v;
}

RK_INLINE void rk_floats_store(float *p, rk_floats v) { memcpy(p, v.v, sizeof v.v); }
RK_INLINE rk_floats rk_floats_zero(void) { return (rk_floats){{0}}; }

RK_INLINE rk_floats rk_scale(rk_floats v, float x) {
  for (int r = 0; r < RK_ROWS; r++) v.v[r] *= x;
  return v;
}

// a * b + c, rounded twice: rounding once takes a function call where the processor has no instruction for it.
RK_INLINE rk_floats rk_fma(rk_floats a, rk_floats b, rk_floats c) {
  for (int r = 0; r < RK_ROWS; r++) c.v[r] = a.v[r] * b.v[r] + c.v[r];
  return c;
}

// a * x + c
RK_INLINE rk_floats rk_fma1(rk_floats a, float x, rk_floats c) {
  for (int r = 0; r < RK_ROWS; r++) c.v[r] = a.v[r] * x + c.v[r];
  return c;
}

RK_INLINE float rk_float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// A number of half precision. Its exponent and mantissa, moved into a float's place, make a number 2^112 times too small,
// subnormal ones included. Infinities and NaN get the largest exponent, and NaN the bit that makes it quiet.
RK_INLINE float rk_from_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  uint32_t rest = half & 0x7fff;
  float finite = rk_float_of(rest << 13 | sign) * 0x1p112F;
  uint32_t special = sign | 0x7f800000U | rest << 13 | (rest > 0x7c00 ? 0x400000U : 0U);
  return rest < 0x7c00 ? finite : rk_float_of(special);
}

// 16 numbers of half precision.
RK_INLINE rk_floats rk_halves_load(const uint16_t *p) {
  uint16_t half[RK_ROWS];
  rk_floats out;
  memcpy(half, p, sizeof half);
  for (int r = 0; r < RK_ROWS; r++) out.v[r] = rk_from_half(half[r]);
  return out;
}

// 16 bfloat16 numbers.
RK_INLINE rk_floats rk_bfloats_load(const uint16_t *p) {
  uint16_t bits[RK_ROWS];
  rk_floats out;
  memcpy(bits, p, sizeof bits);
  for (int r = 0; r < RK_ROWS; r++) out.v[r] = rk_float_of((uint32_t)bits[r] << 16);
  return out;
}

#include "kernels/quantize_portable.h"

#endif
