// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the operations of isa.h with AVX-512 (F, BW, VL, DQ) and its VNNI. 16 rows are one register.
//
// One vpdpbusd adds up four products for each of 16 rows in 32 bits, with the activation's group broadcast from memory by the
// instruction itself. Two start in a cycle and each takes five: eight tokens at a time, and the next block's behind them,
// keep both units busy, and their sums, products on the way, weights and scales fit the 32 registers.
//
// Loads and stores are those that need no alignment: on aligned addresses they cost the same.
#ifndef RH_KERNELS_ISA_AVX512_H
#define RH_KERNELS_ISA_AVX512_H

#include <string.h>

#include "kernels/intrinsics.h"

#define RK_TILE 8

typedef __m512i rk_bytes;    // 4 bytes per row
typedef __m512i rk_partial;  // one 32-bit sum per row
typedef __m512i rk_ints;
typedef __m512i rk_pairs;  // two 16-bit numbers per row
typedef __m512 rk_floats;

RK_INLINE rk_bytes rk_loadu(const void *p) { return _mm512_loadu_si512(p); }
RK_INLINE rk_bytes rk_load(const void *p) { return _mm512_loadu_si512(p); }
RK_INLINE void rk_store(void *p, rk_bytes v) { _mm512_storeu_si512(p, v); }
RK_INLINE rk_bytes rk_and(rk_bytes v, uint8_t mask) { return _mm512_and_si512(v, _mm512_set1_epi8((char)mask)); }
RK_INLINE rk_bytes rk_or(rk_bytes a, rk_bytes b) { return _mm512_or_si512(a, b); }

// Bits move across bytes: mask afterwards.
#define rk_right(v, n) _mm512_srli_epi16(v, n)
#define rk_left(v, n) _mm512_slli_epi16(v, n)

RK_INLINE rk_ints rk_ints_zero(void) { return _mm512_setzero_si512(); }
RK_INLINE rk_partial rk_start(uint32_t bias) { return _mm512_set1_epi32((int)bias); }
RK_INLINE rk_partial rk_start_twice(uint32_t bias) { return rk_start(bias * 2); }

RK_INLINE uint32_t rk_word(const int8_t *q) {
  uint32_t word;
  memcpy(&word, q, sizeof word);
  return word;
}

RK_INLINE rk_ints rk_add(rk_ints a, rk_ints b) { return _mm512_add_epi32(a, b); }

// A bias for weights that stand `offset` too high: even and odd are the sums of the first and the last two values of all groups.
RK_INLINE uint32_t rk_bias(int even, int odd, int offset) { return (uint32_t)(-offset * (even + odd)); }

RK_INLINE rk_partial rk_dot(rk_partial sum, rk_bytes w, uint32_t group) {
  return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32((int)group));
}

RK_INLINE rk_ints rk_widen(rk_partial sum) { return sum; }

// Scales of 16 rows, one signed byte each.
RK_INLINE rk_pairs rk_row_scales(const int8_t *scales) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)scales));
}

// A whole 32-bit product, though it takes two steps on Intel's: 16 weights of 6 bits or 32 of 4 make sums of 17 bits and
// more, too wide for the one-step product of 16-bit pairs.
RK_INLINE rk_ints rk_add_scaled(rk_ints sum, rk_partial part, rk_pairs scales) {
  return _mm512_add_epi32(sum, _mm512_mullo_epi32(part, scales));
}

// Signed weights are kept with 128 added.
RK_INLINE rk_bytes rk_signed_weights(rk_bytes w) { return _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80)); }
RK_INLINE rk_ints rk_start_signed(uint32_t bias8) { return rk_start(bias8 * 16); }
RK_INLINE rk_ints rk_dot_signed(rk_ints sum, rk_bytes w, uint32_t group) { return rk_dot(sum, w, group); }

// Two unsigned bytes per row as 16-bit numbers.
RK_INLINE rk_pairs rk_row_pairs(const uint8_t *bytes) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)bytes));
}

// sum + pairs . the two 16-bit numbers in `pair`
RK_INLINE rk_ints rk_dot_pairs(rk_ints sum, rk_pairs pairs, uint32_t pair) {
  return _mm512_dpwssd_epi32(sum, pairs, _mm512_set1_epi32((int)pair));
}

RK_INLINE rk_floats rk_to_floats(rk_ints v) { return _mm512_cvtepi32_ps(v); }
RK_INLINE rk_floats rk_floats_load(const float *p) { return _mm512_loadu_ps(p); }
RK_INLINE void rk_floats_store(float *p, rk_floats v) { _mm512_storeu_ps(p, v); }
RK_INLINE rk_floats rk_floats_zero(void) { return _mm512_setzero_ps(); }
RK_INLINE rk_floats rk_scale(rk_floats v, float x) { return _mm512_mul_ps(v, _mm512_set1_ps(x)); }

// a * b + c
RK_INLINE rk_floats rk_fma(rk_floats a, rk_floats b, rk_floats c) { return _mm512_fmadd_ps(a, b, c); }

// a * x + c
RK_INLINE rk_floats rk_fma1(rk_floats a, float x, rk_floats c) { return _mm512_fmadd_ps(a, _mm512_set1_ps(x), c); }

// 16 numbers of half precision.
RK_INLINE rk_floats rk_halves_load(const uint16_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

// 16 bfloat16 numbers.
RK_INLINE rk_floats rk_bfloats_load(const uint16_t *p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

#include "kernels/quantize_avx2.h"

#endif
