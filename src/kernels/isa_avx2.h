// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the operations of isa.h with AVX2, and with AVX-VNNI's dot products where RK_ISA_AVXVNNI is set.
// 16 rows are two registers.
//
// Without VNNI the product of unsigned and signed bytes comes as pairs of 16-bit sums. They are added up as such for as long
// as they cannot overflow, and only then widened: a third of the instructions of a widening after each product. Sums may
// wrap on the way, as what they begin with (a bias) brings the end back into range.
#ifndef RH_KERNELS_ISA_AVX2_H
#define RH_KERNELS_ISA_AVX2_H

#include <string.h>

#include "kernels/intrinsics.h"

#define RK_TILE 4

typedef struct rk_bytes {
  __m256i lo, hi;  // rows 0-7, 8-15: 4 bytes each
} rk_bytes;
typedef rk_bytes rk_partial;  // a dot product on the way: per row two 16-bit sums, or one of 32 bits with VNNI
typedef rk_bytes rk_ints;     // 32 bits per row
typedef rk_bytes rk_pairs;    // two 16-bit numbers per row
typedef struct rk_floats {
  __m256 lo, hi;
} rk_floats;

RK_INLINE rk_bytes rk_load(const void *p) {
  return (rk_bytes){_mm256_load_si256(p), _mm256_load_si256((const __m256i *)p + 1)};
}

RK_INLINE rk_bytes rk_loadu(const void *p) {
  return (rk_bytes){_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1)};
}

RK_INLINE void rk_store(void *p, rk_bytes v) {
  _mm256_store_si256(p, v.lo);
  _mm256_store_si256((__m256i *)p + 1, v.hi);
}

RK_INLINE rk_bytes rk_and(rk_bytes v, uint8_t mask) {
  __m256i m = _mm256_set1_epi8((char)mask);
  return (rk_bytes){_mm256_and_si256(v.lo, m), _mm256_and_si256(v.hi, m)};
}

RK_INLINE rk_bytes rk_or(rk_bytes a, rk_bytes b) {
  return (rk_bytes){_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}

// Bits move across bytes: mask afterwards.
#define rk_right(v, n) ((rk_bytes){_mm256_srli_epi16((v).lo, n), _mm256_srli_epi16((v).hi, n)})
#define rk_left(v, n) ((rk_bytes){_mm256_slli_epi16((v).lo, n), _mm256_slli_epi16((v).hi, n)})

RK_INLINE rk_ints rk_ints_zero(void) { return (rk_ints){_mm256_setzero_si256(), _mm256_setzero_si256()}; }

RK_INLINE rk_partial rk_start(uint32_t bias) {
  __m256i b = _mm256_set1_epi32((int)bias);
  return (rk_partial){b, b};
}

RK_INLINE uint32_t rk_word(const int8_t *q) {
  uint32_t word;
  memcpy(&word, q, sizeof word);
  return word;
}

RK_INLINE rk_ints rk_add(rk_ints a, rk_ints b) {
  return (rk_ints){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}

#ifdef RK_ISA_AVXVNNI

// A bias for weights that stand `offset` too high: even and odd are the sums of the first and the last two values of all groups.
RK_INLINE uint32_t rk_bias(int even, int odd, int offset) { return (uint32_t)(-offset * (even + odd)); }

RK_INLINE rk_partial rk_dot(rk_partial sum, rk_bytes w, uint32_t group) {
  __m256i a = _mm256_set1_epi32((int)group);
  return (rk_partial){_mm256_dpbusd_avx_epi32(sum.lo, w.lo, a), _mm256_dpbusd_avx_epi32(sum.hi, w.hi, a)};
}

RK_INLINE rk_partial rk_start_twice(uint32_t bias) { return rk_start(bias * 2); }
RK_INLINE rk_ints rk_widen(rk_partial sum) { return sum; }

// Scales of 16 rows, one signed byte each.
RK_INLINE rk_pairs rk_row_scales(const int8_t *scales) {
  return (rk_pairs){_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)scales)),
                    _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(scales + 8)))};
}

RK_INLINE rk_ints rk_add_scaled(rk_ints sum, rk_partial part, rk_pairs scales) {
  return (rk_ints){_mm256_add_epi32(sum.lo, _mm256_mullo_epi32(part.lo, scales.lo)),
                   _mm256_add_epi32(sum.hi, _mm256_mullo_epi32(part.hi, scales.hi))};
}

// Signed weights are kept with 128 added.
RK_INLINE rk_bytes rk_signed_weights(rk_bytes w) {
  __m256i high = _mm256_set1_epi8((char)0x80);
  return (rk_bytes){_mm256_xor_si256(w.lo, high), _mm256_xor_si256(w.hi, high)};
}

RK_INLINE rk_ints rk_start_signed(uint32_t bias8) { return rk_start(bias8 * 16); }
RK_INLINE rk_ints rk_dot_signed(rk_ints sum, rk_bytes w, uint32_t group) { return rk_dot(sum, w, group); }

#else

RK_INLINE uint32_t rk_bias(int even, int odd, int offset) {
  return (uint16_t)(-offset * even) | (uint32_t)(uint16_t)(-offset * odd) << 16;
}

RK_INLINE rk_partial rk_dot(rk_partial sum, rk_bytes w, uint32_t group) {
  __m256i a = _mm256_set1_epi32((int)group);
  return (rk_partial){_mm256_add_epi16(sum.lo, _mm256_maddubs_epi16(w.lo, a)),
                      _mm256_add_epi16(sum.hi, _mm256_maddubs_epi16(w.hi, a))};
}

RK_INLINE rk_partial rk_start_twice(uint32_t bias) {
  __m256i b = _mm256_set1_epi32((int)bias);
  b = _mm256_add_epi16(b, b);
  return (rk_partial){b, b};
}

RK_INLINE rk_ints rk_widen(rk_partial sum) {
  __m256i one = _mm256_set1_epi16(1);
  return (rk_ints){_mm256_madd_epi16(sum.lo, one), _mm256_madd_epi16(sum.hi, one)};
}

// Each row's scale twice, for its two 16-bit sums.
RK_INLINE rk_pairs rk_row_scales(const int8_t *scales) {
  __m256i lo = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)scales));
  __m256i hi = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(scales + 8)));
  return (rk_pairs){_mm256_blend_epi16(lo, _mm256_slli_epi32(lo, 16), 0xaa),
                    _mm256_blend_epi16(hi, _mm256_slli_epi32(hi, 16), 0xaa)};
}

RK_INLINE rk_ints rk_add_scaled(rk_ints sum, rk_partial part, rk_pairs scales) {
  return (rk_ints){_mm256_add_epi32(sum.lo, _mm256_madd_epi16(part.lo, scales.lo)),
                   _mm256_add_epi32(sum.hi, _mm256_madd_epi16(part.hi, scales.hi))};
}

// The instruction wants one factor unsigned: the weight's sign goes to the activation.
RK_INLINE rk_bytes rk_signed_weights(rk_bytes w) { return w; }
RK_INLINE rk_ints rk_start_signed(uint32_t bias8) {
  (void)bias8;
  return rk_ints_zero();
}

RK_INLINE rk_ints rk_dot_signed(rk_ints sum, rk_bytes w, uint32_t group) {
  __m256i a = _mm256_set1_epi32((int)group);
  __m256i one = _mm256_set1_epi16(1);
  __m256i lo = _mm256_maddubs_epi16(_mm256_abs_epi8(w.lo), _mm256_sign_epi8(a, w.lo));
  __m256i hi = _mm256_maddubs_epi16(_mm256_abs_epi8(w.hi), _mm256_sign_epi8(a, w.hi));
  return (rk_ints){_mm256_add_epi32(sum.lo, _mm256_madd_epi16(lo, one)),
                   _mm256_add_epi32(sum.hi, _mm256_madd_epi16(hi, one))};
}

#endif

// Two unsigned bytes per row as 16-bit numbers.
RK_INLINE rk_pairs rk_row_pairs(const uint8_t *bytes) {
  return (rk_pairs){_mm256_cvtepu8_epi16(_mm_load_si128((const __m128i *)bytes)),
                    _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i *)(bytes + 16)))};
}

// sum + pairs . the two 16-bit numbers in `pair`
RK_INLINE rk_ints rk_dot_pairs(rk_ints sum, rk_pairs pairs, uint32_t pair) {
  __m256i p = _mm256_set1_epi32((int)pair);
  return (rk_ints){_mm256_add_epi32(sum.lo, _mm256_madd_epi16(pairs.lo, p)),
                   _mm256_add_epi32(sum.hi, _mm256_madd_epi16(pairs.hi, p))};
}

RK_INLINE rk_floats rk_to_floats(rk_ints v) { return (rk_floats){_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)}; }

RK_INLINE rk_floats rk_floats_load(const float *p) { return (rk_floats){_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }

RK_INLINE void rk_floats_store(float *p, rk_floats v) {
  _mm256_store_ps(p, v.lo);
  _mm256_store_ps(p + 8, v.hi);
}

RK_INLINE rk_floats rk_floats_zero(void) { return (rk_floats){_mm256_setzero_ps(), _mm256_setzero_ps()}; }

RK_INLINE rk_floats rk_scale(rk_floats v, float x) {
  __m256 s = _mm256_set1_ps(x);
  return (rk_floats){_mm256_mul_ps(v.lo, s), _mm256_mul_ps(v.hi, s)};
}

// a * b + c
RK_INLINE rk_floats rk_fma(rk_floats a, rk_floats b, rk_floats c) {
  return (rk_floats){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

// a * x + c
RK_INLINE rk_floats rk_fma1(rk_floats a, float x, rk_floats c) {
  __m256 s = _mm256_set1_ps(x);
  return (rk_floats){_mm256_fmadd_ps(a.lo, s, c.lo), _mm256_fmadd_ps(a.hi, s, c.hi)};
}

// 16 numbers of half precision.
RK_INLINE rk_floats rk_halves_load(const uint16_t *p) {
  return (rk_floats){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                     _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}

// 16 bfloat16 numbers.
RK_INLINE rk_floats rk_bfloats_load(const uint16_t *p) {
  __m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
  __m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)));
  return (rk_floats){_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}

#ifndef RK_INTRINSICS
// See isa.h.
#define rk_settle(v) __asm__("" : "+x"((v).lo), "+x"((v).hi))
#endif

#include "kernels/quantize_avx2.h"

#endif
