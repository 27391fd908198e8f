// SPDX-License-Identifier: Apache-2.0
//
// Purpose: top_k, top_p and min_p. Each finds the last token that it keeps, and moves the cut there.
// Data owned: scratch for keys and for the weights by depth. Threads: the run's.
// Not here: a sort. What is asked is only where the ranking is cut, and that a few passes over ever fewer tokens tell.
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "sample/internal.h"

// top_p first adds up weights by how deep they lie below the best logit, in bins of this part of a unit. Deeper than
// DEPTH_MAX there are no weights (weights.c).
#define BINS_PER_UNIT 16
#define DEPTH_MAX 87
#define BINS (DEPTH_MAX * BINS_PER_UNIT + 1)

static bool uses_top_k(const rh_generate *generate, int32_t vocabulary) {
  return generate->top_k > 0 && generate->top_k < vocabulary;
}

rh_status rh_candidates_init(rh_candidates *candidates, rh_blocks *blocks, const rh_generate *generate) {
  *candidates = (rh_candidates){.blocks = blocks};
  bool top_p = generate->top_p < 1.0f;
  if (top_p || uses_top_k(generate, blocks->vocabulary)) {
    // All logits may be equal, so no fewer will do; but memory that is never written to costs nothing.
    candidates->keys = malloc((size_t)blocks->vocabulary * sizeof *candidates->keys);
    if (!candidates->keys) return RH_NO_MEMORY;
  }
  if (top_p) {
    candidates->masses = calloc(BINS, sizeof *candidates->masses);
    if (!candidates->masses) return RH_NO_MEMORY;
  }
  return RH_OK;
}

void rh_candidates_free(rh_candidates *candidates) {
  free(candidates->keys);
  free(candidates->masses);
}

static void move_cut(rh_candidates *candidates, uint64_t cut) {
  if (cut <= candidates->cut) return;
  candidates->cut = cut;
  rh_blocks_narrow(candidates->blocks, rh_key_logit(cut));
}

// ---- selection: the key at which the numbers of the greater ones, and its own, add up to a target ----

typedef struct measure {
  bool by_weight;  // a key's number is its weight; otherwise 1
  float best;
} measure;

static double measure_key(const measure *by, uint64_t key) {
  return by->by_weight ? (double)rh_weight(rh_key_logit(key) - by->best) : 1.0;
}

// Sort the keys into 256 bins by the first eight bits in which they differ, go on with the bin that holds the answer.
// Each round settles at least eight bits of 64 or leaves one key, so eight rounds are enough. Reorders `keys`.
static uint64_t select_key(uint64_t *keys, size_t count, double target, const measure *by) {
  assert(count > 0);
  for (int round = 0; count > 1; round++) {
    assert(round < 64);
    uint64_t differ = 0;
    for (size_t i = 1; i < count; i++) differ |= keys[i] ^ keys[0];
    if (differ == 0) break;
    int top_bit = 63 - __builtin_clzll(differ);
    int shift = top_bit > 7 ? top_bit - 7 : 0;
    double bins[256] = {0};
    for (size_t i = 0; i < count; i++) bins[keys[i] >> shift & 255] += measure_key(by, keys[i]);
    int chosen = 0;
    bool reached = false;
    for (int bin = 255; bin >= 0 && !reached; bin--) {
      if (bins[bin] <= 0.0) continue;
      chosen = bin;
      reached = bins[bin] >= target;
      if (!reached) target -= bins[bin];
    }
    if (!reached) target = INFINITY;  // sums of rounded numbers: the last key it is
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
      uint64_t key = keys[i];
      keys[kept] = key;
      kept += (key >> shift & 255) == (uint64_t)chosen;
    }
    count = kept;
  }
  return keys[0];
}

// ---- top_k ----

// A logit that at least k tokens have: the k-th of the blocks' maxima, where there are that many.
static float floor_of_top(rh_candidates *candidates, size_t k, const measure *by) {
  const rh_blocks *blocks = candidates->blocks;
  size_t count = (size_t)blocks->active_count;
  if (k > count) return -FLT_MAX;
  for (size_t i = 0; i < count; i++) {
    candidates->keys[i] = rh_key(blocks->maxima[blocks->active[i]], blocks->active[i]);
  }
  return rh_key_logit(select_key(candidates->keys, count, (double)k, by));
}

static void keep_top_k(rh_candidates *candidates, size_t k) {
  rh_blocks *blocks = candidates->blocks;
  const measure by = {.by_weight = false};
  float least = floor_of_top(candidates, k, &by);
  rh_blocks_narrow(blocks, least);
  size_t count = 0;
  for (int32_t i = 0; i < blocks->active_count; i++) {
    int32_t block = blocks->active[i];
    const float *logits = rh_blocks_get(blocks, block);
    for (int32_t j = 0; j < RH_BLOCK; j++) {
      if (logits[j] >= least) candidates->keys[count++] = rh_key(logits[j], block * RH_BLOCK + j);
    }
  }
  if (count > k)
    move_cut(candidates, select_key(candidates->keys, count, (double)k, &by));
  else
    move_cut(candidates, rh_key(least, INT32_MAX));
}

// ---- top_p ----

static inline int32_t bin_of(float best, float logit) {
  float depth = best - logit;
  depth = depth < (float)DEPTH_MAX ? depth : (float)DEPTH_MAX;  // also for NaN
  return (int32_t)(depth * (float)BINS_PER_UNIT);
}

static void find_bins(const float *logits, float best, int32_t bins[RH_BLOCK]) {
  for (int i = 0; i < RH_BLOCK; i++) bins[i] = bin_of(best, logits[i]);
}

// The weights of each bin, for the bins down to `last`; deeper ones get nothing but zeros. Returns the sum of all.
static double add_up_bins(rh_candidates *candidates, int32_t last) {
  const rh_blocks *blocks = candidates->blocks;
  memset(candidates->masses, 0, (size_t)(last + 1) * sizeof *candidates->masses);
  for (int32_t i = 0; i < blocks->active_count; i++) {
    float weights[RH_BLOCK];
    int32_t bins[RH_BLOCK];
    (void)rh_candidates_weigh(candidates, blocks->active[i], 1.0f, weights);
    find_bins(rh_blocks_get(blocks, blocks->active[i]), candidates->best, bins);
    for (int j = 0; j < RH_BLOCK; j++) candidates->masses[bins[j]] += (double)weights[j];
  }
  double total = 0.0;
  for (int32_t bin = 0; bin <= last; bin++) total += candidates->masses[bin];
  return total;
}

// The bin's tokens. Those behind top_k's cut rank behind all others, so they do not change where top_p cuts.
static size_t collect_bin(rh_candidates *candidates, int32_t bin) {
  size_t count = 0;
  const rh_blocks *blocks = candidates->blocks;
  float deepest = candidates->best - (float)(bin + 1) / BINS_PER_UNIT;
  for (int32_t i = 0; i < blocks->active_count; i++) {
    int32_t block = blocks->active[i];
    if (blocks->maxima[block] < deepest - 1.0f / BINS_PER_UNIT) continue;  // a bin of slack for rounding
    const float *logits = rh_blocks_get(blocks, block);
    int32_t bins[RH_BLOCK];
    find_bins(logits, candidates->best, bins);
    for (int32_t j = 0; j < RH_BLOCK; j++) {
      if (bins[j] != bin || !(logits[j] > -INFINITY)) continue;
      candidates->keys[count++] = rh_key(logits[j], block * RH_BLOCK + j);
    }
  }
  return count;
}

static void keep_top_p(rh_candidates *candidates, float top_p) {
  int32_t last = bin_of(candidates->best, rh_key_logit(candidates->cut));
  double target = add_up_bins(candidates, last) * (double)top_p;
  int32_t bin = 0;
  while (bin <= last && (candidates->masses[bin] <= 0.0 || candidates->masses[bin] < target)) {
    target -= candidates->masses[bin++];
  }
  if (bin > last) return;  // sums of rounded numbers: all are kept
  const measure by = {.by_weight = true, .best = candidates->best};
  size_t count = collect_bin(candidates, bin);
  move_cut(candidates, select_key(candidates->keys, count, target, &by));
}

// ---- all of them ----

void rh_candidates_choose(rh_candidates *candidates, const rh_generate *generate, int32_t best) {
  const rh_blocks *blocks = candidates->blocks;
  candidates->best = rh_blocks_get(blocks, best / RH_BLOCK)[best % RH_BLOCK];
  assert(isfinite(candidates->best));
  candidates->cut = rh_key(-FLT_MAX, INT32_MAX);
  if (uses_top_k(generate, blocks->vocabulary)) keep_top_k(candidates, (size_t)generate->top_k);
  if (generate->top_p < 1.0f) keep_top_p(candidates, generate->top_p);
  if (generate->min_p <= 0.0f) return;
  float least = candidates->best + logf(generate->min_p);
  move_cut(candidates, least <= candidates->best ? rh_key(least, INT32_MAX) : rh_key(candidates->best, best));
}

double rh_candidates_weigh(const rh_candidates *candidates, int32_t block, float temperature, float weights[RH_BLOCK]) {
  const float *logits = rh_blocks_get(candidates->blocks, block);
  float cut_logit = rh_key_logit(candidates->cut);
  int32_t cut_token = rh_key_token(candidates->cut);
  int32_t first = block * RH_BLOCK;
  // Of tokens with the cut's own logit only those up to its token are kept.
  float least = cut_token < first ? nextafterf(cut_logit, INFINITY) : cut_logit;
  double sum = rh_block_weigh(logits, least, candidates->best, temperature, weights);
  if (cut_token < first || cut_token >= first + RH_BLOCK) return sum;
  sum = 0.0;
  for (int32_t i = 0; i < RH_BLOCK; i++) {
    if (logits[i] == cut_logit && first + i > cut_token) weights[i] = 0.0f;
    sum += (double)weights[i];
  }
  return sum;
}
