// SPDX-License-Identifier: Apache-2.0
//
// The metrics registry. It owns every series; the caller owns the table of definitions. One owner thread. A sample of a
// series that exists costs one hash and one comparison of its labels. It has no process metrics and no push.
// Rendering is in metrics_render.c.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/metrics_private.h"

// Of one label value. Some come from requests, so they are cut rather than trusted.
#define LABEL_BYTES_MAX 128u

// The label values of a sample, cut, with their hash.
typedef struct key {
  const char *values[RH_METRIC_LABELS_MAX];
  size_t lengths[RH_METRIC_LABELS_MAX];
  size_t count;
  uint64_t hash;
} key;

static key key_make(const metric *of, const char *const *values) {
  key made = {.count = of->label_count};
  for (size_t i = 0; i < made.count; i++) {
    const char *value = values[i] == NULL ? "" : values[i];
    size_t length = strnlen(value, LABEL_BYTES_MAX);
    made.values[i] = value;
    made.lengths[i] = length;
    made.hash = rh_hash_bytes(made.hash, value, length);
  }
  return made;
}

static bool key_equals(const key *wanted, const series *at) {
  if (at->hash != wanted->hash) return false;
  for (size_t i = 0; i < wanted->count; i++) {
    const char *value = at->labels[i];
    if (strncmp(value, wanted->values[i], wanted->lengths[i]) != 0 || value[wanted->lengths[i]] != '\0') return false;
  }
  return true;
}

// The slot where the series is, or the empty one where it would go. NULL before the first series.
static series **slot_of(const metric *of, const key *wanted) {
  if (of->slot_count == 0) return NULL;
  size_t mask = of->slot_count - 1;
  size_t i = (size_t)wanted->hash & mask;
  while (of->slots[i] != NULL && !key_equals(wanted, of->slots[i])) i = (i + 1) & mask;
  return &of->slots[i];
}

// Keeps the slots at most half full.
static bool grow_slots(metric *of) {
  size_t wanted = of->slot_count == 0 ? 4 : of->slot_count * 2;
  series **slots = calloc(wanted, sizeof(series *));
  if (slots == NULL) return false;
  for (series *at = of->first; at != NULL; at = at->next) {
    size_t i = (size_t)at->hash & (wanted - 1);
    while (slots[i] != NULL) i = (i + 1) & (wanted - 1);
    slots[i] = at;
  }
  free(of->slots);
  of->slots = slots;
  of->slot_count = wanted;
  return true;
}

static void series_free(series *at) {
  if (at == NULL) return;
  free(at->labels[0]);
  free(at->bucket_counts);
  free(at);
}

static series *series_new(const metric *of, const key *from) {
  series *made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  size_t bytes = 0;
  for (size_t i = 0; i < from->count; i++) bytes += from->lengths[i] + 1;
  if (bytes > 0) {
    char *text = calloc(1, bytes);  // all labels in one allocation, kept by the first
    if (text == NULL) goto no_memory;
    for (size_t i = 0; i < from->count; i++) {
      memcpy(text, from->values[i], from->lengths[i]);
      made->labels[i] = text;
      text += from->lengths[i] + 1;
    }
  }
  if (of->def->type == RH_METRIC_HISTOGRAM) {
    made->bucket_counts = calloc(of->def->bucket_count + 1, sizeof(uint64_t));
    if (made->bucket_counts == NULL) goto no_memory;
  }
  made->hash = from->hash;
  return made;

no_memory:
  series_free(made);
  return NULL;
}

static series *series_add(metric *of, const key *from) {
  if ((of->series_count + 1) * 2 > of->slot_count && !grow_slots(of)) return NULL;
  series *made = series_new(of, from);
  if (made == NULL) return NULL;
  *slot_of(of, from) = made;
  if (of->last == NULL)
    of->first = made;
  else
    of->last->next = made;
  of->last = made;
  of->series_count++;
  return made;
}

// The series for these label values, made when it is new; the "other" one when there are too many. NULL only when
// memory is short: then the sample is lost, which is better than failing the request it describes.
static series *series_for(rh_metrics *metrics, size_t id, const char *const *values) {
  static const char *const others[RH_METRIC_LABELS_MAX] = {"other", "other", "other", "other",
                                                           "other", "other", "other", "other"};
  assert(id < metrics->count);
  metric *of = &metrics->metrics[id];
  assert(of->label_count == 0 || values != NULL);
  key wanted = key_make(of, values);
  series **slot = slot_of(of, &wanted);
  if (slot != NULL && *slot != NULL) return *slot;
  if (of->series_count >= RH_METRIC_SERIES_MAX) {
    wanted = key_make(of, others);
    slot = slot_of(of, &wanted);
    if (*slot != NULL) return *slot;
  }
  return series_add(of, &wanted);
}

static bool metric_init(rh_metrics *metrics, size_t id, const rh_metric_def *def) {
  metric *of = &metrics->metrics[id];
  of->def = def;
  while (def->labels[of->label_count] != NULL) {
    of->label_count++;
    assert(of->label_count <= RH_METRIC_LABELS_MAX);
  }
  for (size_t i = 1; i < def->bucket_count; i++) assert(def->buckets[i - 1] < def->buckets[i]);
  // A metric without labels shows its zero from the start, so that a rate over it has a first point.
  return of->label_count > 0 || series_for(metrics, id, NULL) != NULL;
}

rh_metrics *rh_metrics_new(const rh_metric_def *table, size_t count) {
  rh_metrics *metrics = calloc(1, sizeof *metrics);
  if (metrics == NULL) return NULL;
  metrics->metrics = calloc(count == 0 ? 1 : count, sizeof *metrics->metrics);
  if (metrics->metrics == NULL) {
    free(metrics);
    return NULL;
  }
  metrics->count = count;
  for (size_t id = 0; id < count; id++) {
    if (!metric_init(metrics, id, &table[id])) {
      rh_metrics_free(metrics);
      return NULL;
    }
  }
  return metrics;
}

void rh_metrics_free(rh_metrics *metrics) {
  if (metrics == NULL) return;
  for (size_t id = 0; id < metrics->count; id++) {
    for (series *at = metrics->metrics[id].first, *next; at != NULL; at = next) {
      next = at->next;
      series_free(at);
    }
    free(metrics->metrics[id].slots);
  }
  free(metrics->metrics);
  free(metrics);
}

void rh_metrics_add(rh_metrics *metrics, size_t id, const char *const *values, double amount) {
  series *at = series_for(metrics, id, values);
  const rh_metric_def *def = metrics->metrics[id].def;
  assert(def->type != RH_METRIC_HISTOGRAM);
  assert(def->type != RH_METRIC_COUNTER || amount >= 0);
  (void)def;
  if (at != NULL) at->value += amount;
}

void rh_metrics_set(rh_metrics *metrics, size_t id, const char *const *values, double value) {
  series *at = series_for(metrics, id, values);
  assert(metrics->metrics[id].def->type != RH_METRIC_HISTOGRAM);
  if (at != NULL) at->value = value;
}

void rh_metrics_observe(rh_metrics *metrics, size_t id, const char *const *values, double value) {
  series *at = series_for(metrics, id, values);
  const rh_metric_def *def = metrics->metrics[id].def;
  assert(def->type == RH_METRIC_HISTOGRAM);
  if (at == NULL) return;
  size_t bucket = 0;
  while (bucket < def->bucket_count && !(value <= def->buckets[bucket])) bucket++;  // a NaN lands in +Inf
  at->bucket_counts[bucket]++;
  at->count++;
  at->value += value;
}

double rh_metrics_get(const rh_metrics *metrics, size_t id, const char *const *values) {
  assert(id < metrics->count);
  const metric *of = &metrics->metrics[id];
  key wanted = key_make(of, values);
  series **slot = slot_of(of, &wanted);
  return slot == NULL || *slot == NULL ? 0.0 : (*slot)->value;
}
