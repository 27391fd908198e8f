// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a histogram whose buckets are 2 % wide: bucket i holds the values in (LEAST g^(i-1), LEAST g^i] with
// g = (1 + e) / (1 - e), so that the value 2 g^i / (g + 1) is within e of each of them.
// Data owned: none. Threads: any; a sketch belongs to its user. Not here: means and sums (intervals.h).
#include "experiment/sketch.h"

#include <math.h>

static double growth(void) { return (1 + RH_SKETCH_ERROR) / (1 - RH_SKETCH_ERROR); }

void rh_sketch_add(rh_sketch *sketch, double value) {
  double place = value > RH_SKETCH_LEAST ? ceil(log(value / RH_SKETCH_LEAST) / log(growth())) : 0;
  size_t bucket = place < RH_SKETCH_BUCKETS - 1 ? (size_t)place : RH_SKETCH_BUCKETS - 1;
  sketch->counts[bucket]++;
  sketch->total++;
}

double rh_sketch_quantile(const rh_sketch *sketch, double share) {
  if (sketch->total == 0) return 0;
  uint64_t rank = (uint64_t)(share * (double)(sketch->total - 1));
  uint64_t seen = 0;
  size_t bucket = 0;
  while (bucket < RH_SKETCH_BUCKETS - 1 && (seen += sketch->counts[bucket]) <= rank) bucket++;
  return RH_SKETCH_LEAST * 2 * pow(growth(), (double)bucket) / (growth() + 1);
}
