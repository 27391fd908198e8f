// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the operations of vector.h with AVX-512.
#ifndef RH_KERNELS_VECTOR_AVX512_H
#define RH_KERNELS_VECTOR_AVX512_H

#include "kernels/intrinsics.h"

#define RK_LANES 16
#define RK_V_REGISTERS 32
typedef __m512 rk_vec;

RK_INLINE rk_vec rk_v_load(const float *p) { return _mm512_loadu_ps(p); }
RK_INLINE void rk_v_store(float *p, rk_vec v) { _mm512_storeu_ps(p, v); }
RK_INLINE rk_vec rk_v_set(float x) { return _mm512_set1_ps(x); }
RK_INLINE rk_vec rk_v_add(rk_vec a, rk_vec b) { return _mm512_add_ps(a, b); }
RK_INLINE rk_vec rk_v_sub(rk_vec a, rk_vec b) { return _mm512_sub_ps(a, b); }
RK_INLINE rk_vec rk_v_mul(rk_vec a, rk_vec b) { return _mm512_mul_ps(a, b); }
RK_INLINE rk_vec rk_v_div(rk_vec a, rk_vec b) { return _mm512_div_ps(a, b); }
RK_INLINE rk_vec rk_v_fma(rk_vec a, rk_vec b, rk_vec c) { return _mm512_fmadd_ps(a, b, c); }
// Of a NaN in b, all make a NaN.
RK_INLINE rk_vec rk_v_max(rk_vec a, rk_vec b) { return _mm512_max_ps(a, b); }
RK_INLINE rk_vec rk_v_min(rk_vec a, rk_vec b) { return _mm512_min_ps(a, b); }

RK_INLINE rk_vec rk_v_halves(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

RK_INLINE float rk_v_half(uint16_t half) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half))); }

// v * 2^n, where n is what RK_ROUNDER has left in the low bits of `moved`.
RK_INLINE rk_vec rk_v_shift_exponent(rk_vec v, rk_vec moved) {
  __m512i n = _mm512_slli_epi32(_mm512_castps_si512(moved), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), n));
}

// v, and 0 where x <= limit.
RK_INLINE rk_vec rk_v_unless_below(rk_vec x, float limit, rk_vec v) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLE_UQ), v);
}

RK_INLINE __m256 rk_v_high8(rk_vec v) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)); }

RK_INLINE __m256 rk_v_lanes8(rk_vec v) { return _mm256_add_ps(_mm512_castps512_ps256(v), rk_v_high8(v)); }

RK_INLINE float rk_v_total(rk_vec v) {
  __m256 half = rk_v_lanes8(v);
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

RK_INLINE float rk_v_most(rk_vec v) {
  __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), rk_v_high8(v));
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

RK_INLINE void rk_v_sums(rk_vec a, rk_vec b, rk_vec c, rk_vec d, float out[4]) {
  __m256 ab = _mm256_hadd_ps(rk_v_lanes8(a), rk_v_lanes8(b));
  __m256 cd = _mm256_hadd_ps(rk_v_lanes8(c), rk_v_lanes8(d));
  __m256 s = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

#endif
