// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the loops that touch every logit: the greatest of a block, and the weights of a block.
// Data owned: none. Threads: any.
// Not here: the C library's expf. It is called for one number at a time, and its last bit differs between machines.
//
// The loops have fixed lengths and no branches, which is what compilers need for vector code; results do not depend on
// whether they make it.
#include <assert.h>
#include <math.h>

#include "sample/internal.h"

#define INLINE static inline __attribute__((always_inline))
#define DEPTH_MAX (-87.0f)  // exp() of less is no normal float

INLINE float greater(float a, float b) { return a > b ? a : b; }  // b where a is NaN

// Halving: each loop compares one half with the other, so that many comparisons go on at once.
INLINE float greatest_of(const float *logits) {
  float best[RH_BLOCK / 2];
  for (int i = 0; i < 32; i++) best[i] = greater(logits[i], greater(logits[i + 32], -INFINITY));
  for (int i = 0; i < 16; i++) best[i] = greater(best[i], best[i + 16]);
  for (int i = 0; i < 8; i++) best[i] = greater(best[i], best[i + 8]);
  for (int i = 0; i < 4; i++) best[i] = greater(best[i], best[i + 4]);
  return greater(greater(best[0], best[1]), greater(best[2], best[3]));
}

// exp(x) for DEPTH_MAX <= x <= 0: 2^n times Taylor's series of the rest, which lies within ln(2)/2 of 0; eight terms
// leave an error below a float's. Adding 1.5 * 2^23 rounds to a whole number and leaves it in the lowest bits. ln(2) is
// subtracted in two parts, so that n times the first is exact.
INLINE float exponential(float x) {
  const float shift = 12582912.0f;
  float shifted = x * 1.44269504f + shift;
  float n = shifted - shift;
  float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float series = 1.0f / 5040.0f;
  series = series * r + 1.0f / 720.0f;
  series = series * r + 1.0f / 120.0f;
  series = series * r + 1.0f / 24.0f;
  series = series * r + 1.0f / 6.0f;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  int32_t bits = ((int32_t)n + 127) * (1 << 23);
  float power;
  memcpy(&power, &bits, sizeof power);
  return series * power;
}

float rh_weight(float depth) {
  assert(depth <= 0.0f);
  return depth > DEPTH_MAX ? exponential(depth) : 0.0f;
}

INLINE double weigh(const float *logits, float least, float best, float temperature, float weights[RH_BLOCK]) {
  // One question a loop: of two about the same number compilers make jumps, and the vector code is lost.
  float depths[RH_BLOCK];
  float kept[RH_BLOCK];
  for (int i = 0; i < RH_BLOCK; i++) kept[i] = logits[i] >= least ? 1.0f : 0.0f;
  for (int i = 0; i < RH_BLOCK; i++) depths[i] = greater((logits[i] - best) / temperature, DEPTH_MAX);
  for (int i = 0; i < RH_BLOCK; i++) kept[i] = depths[i] > DEPTH_MAX ? kept[i] : 0.0f;
  for (int i = 0; i < RH_BLOCK; i++) weights[i] = exponential(depths[i]) * kept[i];
  float sums[RH_BLOCK / 2];
  for (int i = 0; i < 32; i++) sums[i] = weights[i] + weights[i + 32];
  for (int i = 0; i < 16; i++) sums[i] += sums[i + 16];
  for (int i = 0; i < 8; i++) sums[i] += sums[i + 8];
  for (int i = 0; i < 4; i++) sums[i] += sums[i + 4];
  return (double)(sums[0] + sums[1]) + (double)(sums[2] + sums[3]);
}

// Twice as wide vectors where the processor has them. The operations are the same, one by one (no fused ones), and so
// are the results.
#ifdef __x86_64__
__attribute__((target("avx2"))) static float greatest_of_wide(const float *logits) { return greatest_of(logits); }

__attribute__((target("avx2"))) static double weigh_wide(const float *logits, float least, float best,
                                                         float temperature, float weights[RH_BLOCK]) {
  return weigh(logits, least, best, temperature, weights);
}

#define WIDE(call_wide, call) (__builtin_cpu_supports("avx2") ? (call_wide) : (call))
#else
#define WIDE(call_wide, call) (call)
#endif

float rh_block_max(const float *logits) { return WIDE(greatest_of_wide(logits), greatest_of(logits)); }

double rh_block_weigh(const float *logits, float least, float best, float temperature, float weights[RH_BLOCK]) {
  return WIDE(weigh_wide(logits, least, best, temperature, weights), weigh(logits, least, best, temperature, weights));
}
