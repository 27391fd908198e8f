// SPDX-License-Identifier: Apache-2.0
//
// Purpose: SIMDe's portable stand-ins for vector intrinsics, for the kernels as tests compile them once more
// (RK_INTRINSICS in kernels/intrinsics.h), and our own for those that SIMDe 0.7.4 lacks.
#ifndef RH_TESTS_SIMULATED_INTRINSICS_H
#define RH_TESTS_SIMULATED_INTRINSICS_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simulated/sets.h"

// Each lane of `type` becomes one of 32 or 16 bits, as the processor's manual says.
#define RK_SIM_WIDEN(name, vector, type, wider, lanes)       \
  static inline __m512i name(vector v) {                     \
    type in[lanes];                                          \
    wider out[lanes];                                        \
    __m512i result;                                          \
    memcpy(in, &v, sizeof in);                               \
    for (int i = 0; i < (lanes); i++) out[i] = (wider)in[i]; \
    memcpy(&result, out, sizeof result);                     \
    return result;                                           \
  }

RK_SIM_WIDEN(rk_sim_cvtepi8_epi32, __m128i, int8_t, int32_t, 16)
RK_SIM_WIDEN(rk_sim_cvtepu8_epi16, __m256i, uint8_t, uint16_t, 32)
RK_SIM_WIDEN(rk_sim_cvtepu16_epi32, __m256i, uint16_t, uint32_t, 16)

static inline __m512 rk_sim_cvtepi32_ps(__m512i v) {
  int32_t in[16];
  float out[16];
  __m512 result;
  memcpy(in, &v, sizeof in);
  for (int i = 0; i < 16; i++) out[i] = (float)in[i];
  memcpy(&result, out, sizeof result);
  return result;
}

static inline __m512 rk_sim_cvtph_ps(__m256i v) {
  __m128i in[2];
  __m256 out[2];
  __m512 result;
  memcpy(in, &v, sizeof in);
  for (int i = 0; i < 2; i++) out[i] = _mm256_cvtph_ps(in[i]);
  memcpy(&result, out, sizeof result);
  return result;
}

// Compilers add up and compare halves with halves.
static inline float rk_sim_reduce_add_ps(__m512 v) {
  float lanes[16];
  memcpy(lanes, &v, sizeof lanes);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

static inline float rk_sim_reduce_max_ps(__m512 v) {
  float lanes[16];
  memcpy(lanes, &v, sizeof lanes);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) lanes[i] = lanes[i] > lanes[i + half] ? lanes[i] : lanes[i + half];
  }
  return lanes[0];
}

static inline __m256 rk_sim_extractf32x8_ps(__m512 v, int which) {
  __m256 halves[2];
  memcpy(halves, &v, sizeof halves);
  return halves[which];
}

// Subnormal numbers are zero to the bf16 dot product, as it reads them and as it writes them, whatever MXCSR says.
static inline float rk_sim_flushed(float x) { return fabsf(x) < FLT_MIN ? copysignf(0.0F, x) : x; }

static inline float rk_sim_bfloat(uint16_t upper) {
  uint32_t bits = (uint32_t)upper << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return rk_sim_flushed(x);
}

// As the processor's manual has it: the odd pair's product first, each one added with one rounding. (SIMDe's own has another
// order with each compiler, rounds otherwise and keeps subnormal numbers.)
static inline __m512 rk_sim_dpbf16_ps(__m512 sum, __m512i a, __m512i b) {
  float sums[16];
  uint16_t left[32];
  uint16_t right[32];
  memcpy(sums, &sum, sizeof sums);
  memcpy(left, &a, sizeof left);
  memcpy(right, &b, sizeof right);
  for (int i = 0; i < 16; i++) {
    float one = rk_sim_flushed(sums[i]);
    one = rk_sim_flushed(fmaf(rk_sim_bfloat(left[2 * i + 1]), rk_sim_bfloat(right[2 * i + 1]), one));
    sums[i] = rk_sim_flushed(fmaf(rk_sim_bfloat(left[2 * i]), rk_sim_bfloat(right[2 * i]), one));
  }
  memcpy(&sum, sums, sizeof sums);
  return sum;
}

#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepu8_epi16
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtph_ps
#undef _mm512_reduce_add_ps
#undef _mm512_reduce_max_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_dpbf16_ps
#undef __m512bh
#undef _mm256_dpbusd_avx_epi32
#define _mm512_cvtepi8_epi32 rk_sim_cvtepi8_epi32
#define _mm512_cvtepu8_epi16 rk_sim_cvtepu8_epi16
#define _mm512_cvtepu16_epi32 rk_sim_cvtepu16_epi32
#define _mm512_cvtepi32_ps rk_sim_cvtepi32_ps
#define _mm512_cvtph_ps rk_sim_cvtph_ps
#define _mm512_reduce_add_ps rk_sim_reduce_add_ps
#define _mm512_reduce_max_ps rk_sim_reduce_max_ps
#define _mm512_extractf32x8_ps rk_sim_extractf32x8_ps
#define _mm512_dpbf16_ps rk_sim_dpbf16_ps
#define __m512bh __m512i
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32  // the same instruction in another encoding

#endif
