// SPDX-License-Identifier: Apache-2.0
//
// The semantic cache: vectors of earlier prompts, each with the key of its answer. Exact search: the prompts of one shape (everything else
// in the request alike) are few, and a wrong neighbour would be a wrong answer. Vectors are of length one and padded to whole lanes,
// so that a cosine is one loop of multiplications. Owns the vectors, not the answers. Bounded by entries; the least recently
// used goes. Thread: the event loop's.
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "admit/cache.h"
#include "base/list.h"

#define LANES 16       // of floats: four registers of the narrowest machines, each with a sum of its own
#define ROUNDING 1e-6  // what a vector may miss of 1 against itself
#define BUCKETS_MIN 64
#define BUCKETS_MAX ((size_t)1 << 18)

typedef struct semantic_entry {
  struct semantic_entry *next;  // in its bucket
  rh_list_node used;            // the most recently used first
  rh_cache_key shape, answer;
  uint64_t expires_ns;
  size_t dimensions;
  float vector[];  // padded with zeros to whole lanes
} semantic_entry;

struct rh_semantic {
  size_t entries_max, dimensions_max;
  semantic_entry **buckets;
  size_t bucket_mask;
  rh_list used;
  float *question;  // the vector that is looked for, padded likewise
};

static size_t padded(size_t dimensions) { return (dimensions + LANES - 1) / LANES * LANES; }

rh_semantic *rh_semantic_new(size_t entries_max, size_t dimensions_max) {
  assert(entries_max > 0 && dimensions_max > 0 && dimensions_max < SIZE_MAX / 64);
  rh_semantic *semantic = calloc(1, sizeof *semantic);
  if (semantic == NULL) return NULL;
  size_t count = BUCKETS_MIN;
  while (count < BUCKETS_MAX && count < entries_max) count *= 2;
  semantic->entries_max = entries_max;
  semantic->dimensions_max = dimensions_max;
  semantic->bucket_mask = count - 1;
  semantic->buckets = calloc(count, sizeof(semantic_entry *));
  semantic->question = calloc(padded(dimensions_max), sizeof(float));
  rh_list_init(&semantic->used);
  if (semantic->buckets == NULL || semantic->question == NULL) {
    rh_semantic_free(semantic);
    return NULL;
  }
  return semantic;
}

static semantic_entry **bucket_of(const rh_semantic *semantic, const rh_cache_key *shape) {
  size_t hash;
  memcpy(&hash, shape->bytes, sizeof hash);
  return &semantic->buckets[hash & semantic->bucket_mask];
}

static bool same(const rh_cache_key *a, const rh_cache_key *b) { return memcmp(a, b, sizeof *a) == 0; }

static void discard(rh_semantic *semantic, semantic_entry *entry) {
  semantic_entry **link = bucket_of(semantic, &entry->shape);
  while (*link != entry) link = &(*link)->next;
  *link = entry->next;
  rh_list_remove(&semantic->used, &entry->used);
  free(entry);
}

void rh_semantic_drop(rh_semantic *semantic, const rh_cache_key *answer) {
  assert(semantic != NULL);
  rh_list_each(&semantic->used, node) {
    semantic_entry *entry = rh_list_entry(node, semantic_entry, used);
    if (answer == NULL || same(&entry->answer, answer)) discard(semantic, entry);
  }
}

void rh_semantic_free(rh_semantic *semantic) {
  if (semantic == NULL) return;
  if (semantic->buckets != NULL) rh_semantic_drop(semantic, NULL);
  free(semantic->buckets);
  free(semantic->question);
  free(semantic);
}

size_t rh_semantic_count(const rh_semantic *semantic) { return semantic->used.count; }

// --- vectors ---------------------------------------------------------------------------------------------------------------

// Four vectors of sums side by side instead of one number: nothing waits for the addition before it.
typedef float lanes __attribute__((vector_size(16)));

static lanes load(const float *from) {
  lanes out;
  memcpy(&out, from, sizeof out);
  return out;
}

static float dot(const float *a, const float *b, size_t count) {
  lanes sums[4] = {{0}};
  for (size_t i = 0; i < count; i += LANES) {
    sums[0] += load(a + i) * load(b + i);
    sums[1] += load(a + i + 4) * load(b + i + 4);
    sums[2] += load(a + i + 8) * load(b + i + 8);
    sums[3] += load(a + i + 12) * load(b + i + 12);
  }
  lanes sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Of length one, padded. False: it has no direction (zero, or not a number), and nothing is near it.
static bool normalise(const float *vector, size_t dimensions, float *out) {
  double square = 0;
  for (size_t i = 0; i < dimensions; i++) square += (double)vector[i] * (double)vector[i];
  if (!isfinite(square) || square <= 0) return false;
  double scale = 1 / sqrt(square);
  for (size_t i = 0; i < dimensions; i++) out[i] = (float)((double)vector[i] * scale);
  memset(out + dimensions, 0, (padded(dimensions) - dimensions) * sizeof *out);
  return true;
}

// --- finding and putting ---------------------------------------------------------------------------------------------------

bool rh_semantic_find(rh_semantic *semantic, const rh_cache_key *shape, const float *vector, size_t dimensions,
                      double threshold, uint64_t now_ns, rh_cache_key *out, double *cosine) {
  assert(semantic != NULL && shape != NULL && vector != NULL && out != NULL);
  if (dimensions == 0 || dimensions > semantic->dimensions_max) return false;
  if (!normalise(vector, dimensions, semantic->question)) return false;
  size_t count = padded(dimensions);
  semantic_entry *best = NULL, *next;
  float best_cosine = 0;
  for (semantic_entry *entry = *bucket_of(semantic, shape); entry != NULL; entry = next) {
    next = entry->next;
    if (!same(&entry->shape, shape)) continue;
    if (entry->expires_ns <= now_ns) {
      discard(semantic, entry);
      continue;
    }
    if (entry->dimensions != dimensions) continue;  // another model's
    float found = dot(entry->vector, semantic->question, count);
    if (best != NULL && found <= best_cosine) continue;
    best = entry;
    best_cosine = found;
  }
  double rounded = best_cosine > 1 ? 1 : (double)best_cosine;
  if (best == NULL || rounded + ROUNDING < threshold) return false;
  rh_list_remove(&semantic->used, &best->used);
  rh_list_push_front(&semantic->used, &best->used);
  *out = best->answer;
  if (cosine != NULL) *cosine = rounded;
  return true;
}

static semantic_entry *with_answer(const rh_semantic *semantic, const rh_cache_key *shape, const rh_cache_key *answer) {
  for (semantic_entry *entry = *bucket_of(semantic, shape); entry != NULL; entry = entry->next) {
    if (same(&entry->shape, shape) && same(&entry->answer, answer)) return entry;
  }
  return NULL;
}

void rh_semantic_put(rh_semantic *semantic, const rh_cache_key *shape, const float *vector, size_t dimensions,
                     const rh_cache_key *answer, uint64_t expires_ns) {
  assert(semantic != NULL && shape != NULL && vector != NULL && answer != NULL);
  if (dimensions == 0 || dimensions > semantic->dimensions_max) return;
  semantic_entry *entry = malloc(sizeof *entry + padded(dimensions) * sizeof(float));
  if (entry == NULL) return;  // one neighbour less
  *entry = (semantic_entry){.shape = *shape, .answer = *answer, .expires_ns = expires_ns, .dimensions = dimensions};
  if (!normalise(vector, dimensions, entry->vector)) {
    free(entry);
    return;
  }
  semantic_entry *before = with_answer(semantic, shape, answer);
  if (before != NULL) discard(semantic, before);
  if (semantic->used.count >= semantic->entries_max) {
    discard(semantic, rh_list_entry(semantic->used.head.prev, semantic_entry, used));
  }
  semantic_entry **bucket = bucket_of(semantic, shape);
  entry->next = *bucket;
  *bucket = entry;
  rh_list_push_front(&semantic->used, &entry->used);
}
