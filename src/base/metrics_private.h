// SPDX-License-Identifier: Apache-2.0
//
// The insides of rh_metrics, shared by metrics.c (samples) and metrics_render.c (text). Nobody else includes this.
#ifndef RH_BASE_METRICS_PRIVATE_H
#define RH_BASE_METRICS_PRIVATE_H

#include <stdint.h>

#include "base/metrics.h"

typedef struct series {
  struct series *next;                 // in the order they were first seen, which is the order of the text
  char *labels[RH_METRIC_LABELS_MAX];  // all in the allocation that labels[0] points at
  uint64_t hash;
  double value;             // counter, gauge; the sum of a histogram
  uint64_t count;           // histogram: observations
  uint64_t *bucket_counts;  // histogram: per bucket, not cumulative; the last is +Inf
} series;

typedef struct metric {
  const rh_metric_def *def;
  size_t label_count;
  series *first, *last;
  size_t series_count;
  series **slots;     // hash table with linear probing; series are never removed
  size_t slot_count;  // a power of two, or 0
} metric;

struct rh_metrics {
  metric *metrics;  // one per row of the table
  size_t count;
};

#endif
