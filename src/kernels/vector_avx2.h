// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the operations of vector.h with AVX2, FMA and F16C.
#ifndef RH_KERNELS_VECTOR_AVX2_H
#define RH_KERNELS_VECTOR_AVX2_H

#include "kernels/intrinsics.h"

#define RK_LANES 8
#define RK_V_REGISTERS 16
typedef __m256 rk_vec;

RK_INLINE rk_vec rk_v_load(const float *p) { return _mm256_loadu_ps(p); }
RK_INLINE void rk_v_store(float *p, rk_vec v) { _mm256_storeu_ps(p, v); }
RK_INLINE rk_vec rk_v_set(float x) { return _mm256_set1_ps(x); }
RK_INLINE rk_vec rk_v_add(rk_vec a, rk_vec b) { return _mm256_add_ps(a, b); }
RK_INLINE rk_vec rk_v_sub(rk_vec a, rk_vec b) { return _mm256_sub_ps(a, b); }
RK_INLINE rk_vec rk_v_mul(rk_vec a, rk_vec b) { return _mm256_mul_ps(a, b); }
RK_INLINE rk_vec rk_v_div(rk_vec a, rk_vec b) { return _mm256_div_ps(a, b); }
RK_INLINE rk_vec rk_v_fma(rk_vec a, rk_vec b, rk_vec c) { return _mm256_fmadd_ps(a, b, c); }
// Of a NaN in b, all make a NaN.
RK_INLINE rk_vec rk_v_max(rk_vec a, rk_vec b) { return _mm256_max_ps(a, b); }
RK_INLINE rk_vec rk_v_min(rk_vec a, rk_vec b) { return _mm256_min_ps(a, b); }

RK_INLINE rk_vec rk_v_halves(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

RK_INLINE float rk_v_half(uint16_t half) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half))); }

// v * 2^n, where n is what RK_ROUNDER has left in the low bits of `moved`.
RK_INLINE rk_vec rk_v_shift_exponent(rk_vec v, rk_vec moved) {
  __m256i n = _mm256_slli_epi32(_mm256_castps_si256(moved), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), n));
}

// v, and 0 where x <= limit.
RK_INLINE rk_vec rk_v_unless_below(rk_vec x, float limit, rk_vec v) {
  return _mm256_and_ps(v, _mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_NLE_UQ));
}

RK_INLINE __m128 rk_v_lanes4(rk_vec v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }

RK_INLINE float rk_v_total(rk_vec v) {
  __m128 s = rk_v_lanes4(v);
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

RK_INLINE float rk_v_most(rk_vec v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

RK_INLINE void rk_v_sums(rk_vec a, rk_vec b, rk_vec c, rk_vec d, float out[4]) {
  __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(out, rk_v_lanes4(s));
}

#endif
