// SPDX-License-Identifier: Apache-2.0
//
// Metrics as a table: counters, gauges and histograms with labels, rendered in Prometheus' text format 0.0.4.
// One owner thread. The number of label combinations per metric is bounded; past the bound a sample is counted under
// the label value "other" so that nothing is lost and nothing grows.
#ifndef RH_BASE_METRICS_H
#define RH_BASE_METRICS_H

#include <stddef.h>

#include "base/dynbuf.h"
#include "base/status.h"

#define RH_METRIC_LABELS_MAX 8
#define RH_METRIC_SERIES_MAX 512

typedef enum rh_metric_type { RH_METRIC_COUNTER, RH_METRIC_GAUGE, RH_METRIC_HISTOGRAM } rh_metric_type;

// One row of the table. A metric's id is its index in the table. Units are base units; names end in _total, _seconds,
// _bytes as Prometheus asks.
typedef struct rh_metric_def {
  const char *name;
  const char *help;
  rh_metric_type type;
  const char *labels[RH_METRIC_LABELS_MAX + 1];  // NULL-terminated
  const double *buckets;                         // histogram: ascending upper bounds without +Inf
  size_t bucket_count;
} rh_metric_def;

typedef struct rh_metrics rh_metrics;

rh_metrics *rh_metrics_new(const rh_metric_def *table, size_t count);  // `table` must outlive the result
void rh_metrics_free(rh_metrics *metrics);

// `values` has one string per label of the metric (NULL counts as ""); ignored for metrics without labels.
void rh_metrics_add(rh_metrics *metrics, size_t id, const char *const *values, double amount);  // counter or gauge
// A gauge, or a counter that somebody else keeps (a worker's, the kernel's).
void rh_metrics_set(rh_metrics *metrics, size_t id, const char *const *values, double value);
void rh_metrics_observe(rh_metrics *metrics, size_t id, const char *const *values, double value);  // histogram

// Current value of a counter or gauge series; 0 when it does not exist.
double rh_metrics_get(const rh_metrics *metrics, size_t id, const char *const *values);

rh_status rh_metrics_render(const rh_metrics *metrics, rh_dynbuf *out) RH_MUST_CHECK;

#endif
