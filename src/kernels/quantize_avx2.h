// SPDX-License-Identifier: Apache-2.0
//
// Purpose: rk_largest and rk_quantize_block of isa.h, for every x86 instruction set from AVX2 up.
#ifndef RH_KERNELS_QUANTIZE_AVX2_H
#define RH_KERNELS_QUANTIZE_AVX2_H

#include "kernels/intrinsics.h"

// The largest magnitude of 32 floats.
RK_INLINE float rk_largest(const float *x) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  __m256 most = _mm256_andnot_ps(sign, _mm256_loadu_ps(x));
  for (int i = 8; i < RK_BLOCK; i += 8) most = _mm256_max_ps(most, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)));
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

// sums[0..1]: of the first and of the last two values of each group in the block's first half; sums[2..3]: in its last half.
RK_INLINE void rk_group_sums(__m256i q, int sums[4]) {
  // 16-bit sums of neighbours; then groups apart by 128 bits are the block's two halves.
  __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
  pairs = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
  pairs = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0xb1));
  uint32_t first = (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(pairs));
  uint32_t last = (uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(pairs, 1));
  sums[0] = (int16_t)(first & 0xffff);
  sums[1] = (int16_t)(first >> 16);
  sums[2] = (int16_t)(last & 0xffff);
  sums[3] = (int16_t)(last >> 16);
}

// q = round(x * inverse) for 32 values, and their group sums.
RK_INLINE void rk_quantize_block(const float *x, float inverse, int8_t *q, int sums[4]) {
  const __m256 by = _mm256_set1_ps(inverse);
  __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), by));
  __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), by));
  __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16), by));
  __m256i d = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 24), by));
  __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  // The packing works on halves of registers: put the quarters in order.
  bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256((__m256i *)q, bytes);
  rk_group_sums(bytes, sums);
}

#endif
