// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the draw: a number from the run's own generator, and the token that it falls on.
// Data owned: the generator's state. Threads: the run's.
// Not here: which tokens may be drawn; see candidates.c.
#include <assert.h>

#include "sample/internal.h"

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): a counter, well mixed.
double rh_random_next(rh_random *random) {
  uint64_t mixed = random->state += 0x9e3779b97f4a7c15u;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
  mixed ^= mixed >> 31;
  return (double)(mixed >> 11) * 0x1p-53;
}

// Tokens lie side by side in the order of their ids, each as wide as its weight. Not in the order of their ranks: two
// that are nearly equal may change places with a machine's rounding, and the draw should not turn over with them.
int32_t rh_draw(const rh_candidates *candidates, float temperature, double *sums, rh_random *random) {
  const rh_blocks *blocks = candidates->blocks;
  float weights[RH_BLOCK];
  double total = 0.0;
  for (int32_t i = 0; i < blocks->active_count; i++) {
    sums[i] = rh_candidates_weigh(candidates, blocks->active[i], temperature, weights);
    total += sums[i];
  }
  assert(total > 0.0);  // the best weighs 1
  double rest = rh_random_next(random) * total;
  int32_t chosen = 0;
  for (int32_t i = 0; i < blocks->active_count; i++) {
    if (sums[i] <= 0.0) continue;
    chosen = i;
    if (rest < sums[i]) break;
    rest -= sums[i];
  }
  (void)rh_candidates_weigh(candidates, blocks->active[chosen], temperature, weights);
  int32_t place = 0;
  for (int32_t i = 0; i < RH_BLOCK; i++) {
    if (weights[i] <= 0.0f) continue;
    place = i;  // the last that has a weight, should rounding leave something of the number
    if (rest < (double)weights[i]) break;
    rest -= (double)weights[i];
  }
  return blocks->active[chosen] * RH_BLOCK + place;
}
