// SPDX-License-Identifier: Apache-2.0
//
// Purpose: activations as the kernels want them: bytes with a scale, and the sums that stand in for weights' offsets.
// Data owned: none. Threads: pure functions.
#include "kernels/activations.h"

#include <string.h>

#include "kernels/isa.h"

// A scale for numbers up to `largest`, and what to multiply them by. Infinities and NaN make a scale that shows them.
static float scale_of(float largest, float *inverse) {
  *inverse = largest > 0.0F ? 127.0F / largest : 0.0F;
  return largest / 127.0F;
}

void RK_NAME(rk_quantize_a32)(const float *x, int columns, void *out) {
  rk_a32 *chunk = out;
  for (int b = 0; b < columns / RK_BLOCK; b++) {
    float inverse;
    int sums[4];
    chunk->scale[b] = scale_of(rk_largest(x + b * RK_BLOCK), &inverse);
    rk_quantize_block(x + b * RK_BLOCK, inverse, chunk->q + b * RK_BLOCK, sums);
    int even = sums[0] + sums[2];
    int odd = sums[1] + sums[3];
    chunk->bias8[b] = rk_bias(even, odd, 8);
    chunk->sum[b] = chunk->scale[b] * (float)(even + odd);
  }
}

void RK_NAME(rk_quantize_a256)(const float *x, int columns, void *out) {
  rk_a256 *chunk = out;
  float largest = 0.0F;
  float inverse;
  if (columns < RK_CHUNK) memset(chunk, 0, sizeof *chunk);
  for (int b = 0; b < columns / RK_BLOCK; b++) {
    float most = rk_largest(x + b * RK_BLOCK);
    if (!(most <= largest)) largest = most;
  }
  chunk->scale = scale_of(largest, &inverse);
  for (int b = 0; b < columns / RK_BLOCK; b++) {
    int sums[4];
    rk_quantize_block(x + b * RK_BLOCK, inverse, chunk->q + b * RK_BLOCK, sums);
    chunk->bias32[2 * b] = rk_bias(sums[0], sums[1], 32);
    chunk->bias32[2 * b + 1] = rk_bias(sums[2], sums[3], 32);
    chunk->sum[b] = (int16_t)(sums[0] + sums[1] + sums[2] + sums[3]);
  }
}

void RK_NAME(rk_quantize_af32)(const float *x, int columns, void *out) {
  rk_af32 *chunk = out;
  memcpy(chunk->x, x, (size_t)columns * sizeof *x);
  memset(chunk->x + columns, 0, (size_t)(RK_CHUNK - columns) * sizeof *x);
}
