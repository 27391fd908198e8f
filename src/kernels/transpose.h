// SPDX-License-Identifier: Apache-2.0
//
// Purpose: small squares of numbers turned about: what stands in rows of a file, side by side. In the compiler's own vectors of
// 16 bytes, which every instruction set has.
#ifndef RH_KERNELS_TRANSPOSE_H
#define RH_KERNELS_TRANSPOSE_H

#include <string.h>

#include "kernels/isa.h"

typedef uint32_t rk_words4 __attribute__((vector_size(16)));
typedef uint16_t rk_halves8 __attribute__((vector_size(16)));

#define RK_WORDS_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define RK_WORDS_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define RK_HALVES_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define RK_HALVES_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)

// 4 by 4 numbers of 4 bytes; in_step, out_step: bytes from one row to the next.
RK_INLINE void rk_transpose_words(const uint8_t *in, size_t in_step, uint8_t *out, size_t out_step) {
  rk_words4 v[4];
  for (int i = 0; i < 4; i++) memcpy(&v[i], in + (size_t)i * in_step, sizeof v[i]);
  // Rows 0 and 2, then 1 and 3, then these two: each step puts numbers of a column closer together.
  rk_words4 even_low = RK_WORDS_LOW(v[0], v[2]);
  rk_words4 even_high = RK_WORDS_HIGH(v[0], v[2]);
  rk_words4 odd_low = RK_WORDS_LOW(v[1], v[3]);
  rk_words4 odd_high = RK_WORDS_HIGH(v[1], v[3]);
  v[0] = RK_WORDS_LOW(even_low, odd_low);
  v[1] = RK_WORDS_HIGH(even_low, odd_low);
  v[2] = RK_WORDS_LOW(even_high, odd_high);
  v[3] = RK_WORDS_HIGH(even_high, odd_high);
  for (int i = 0; i < 4; i++) memcpy(out + (size_t)i * out_step, &v[i], sizeof v[i]);
}

// 8 by 8 numbers of 2 bytes.
RK_INLINE void rk_transpose_halves(const uint8_t *in, size_t in_step, uint8_t *out, size_t out_step) {
  rk_halves8 v[8];
  for (int i = 0; i < 8; i++) memcpy(&v[i], in + (size_t)i * in_step, sizeof v[i]);
  for (int step = 0; step < 3; step++) {
    rk_halves8 next[8];
    for (int i = 0; i < 4; i++) {
      next[2 * i] = RK_HALVES_LOW(v[i], v[i + 4]);
      next[2 * i + 1] = RK_HALVES_HIGH(v[i], v[i + 4]);
    }
    memcpy(v, next, sizeof v);
  }
  for (int i = 0; i < 8; i++) memcpy(out + (size_t)i * out_step, &v[i], sizeof v[i]);
}

#endif
