// SPDX-License-Identifier: Apache-2.0
//
// Quantiles of positive values in bounded memory: counts in buckets that widen in proportion (the idea of DDSketch: Masson, Rim
// and Lee, 2019). Pure.
#ifndef RH_EXPERIMENT_SKETCH_H
#define RH_EXPERIMENT_SKETCH_H

#include <stddef.h>
#include <stdint.h>

#define RH_SKETCH_ERROR 0.01  // a quantile is off by at most this share of itself
#define RH_SKETCH_LEAST 0.01  // smaller values count as this
#define RH_SKETCH_MOST 1e7    // larger ones as this
#define RH_SKETCH_BUCKETS 1038

typedef struct rh_sketch {
  uint64_t total;
  uint64_t counts[RH_SKETCH_BUCKETS];
} rh_sketch;

void rh_sketch_add(rh_sketch *sketch, double value);
// 0 <= share <= 1; 0 when it is empty.
double rh_sketch_quantile(const rh_sketch *sketch, double share);

#endif
