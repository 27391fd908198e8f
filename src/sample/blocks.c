// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one token's logits in blocks: their maxima, which of them still matter, and changed copies of those that bias
// or penalties touch, so that the engine's logits stay as they are and most of them are never copied.
// Data owned: the tables of rh_blocks. Threads: the run's.
// Not here: what the changes are, and which tokens are kept.
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "sample/internal.h"

rh_status rh_blocks_init(rh_blocks *blocks, int32_t vocabulary, size_t changes_max) {
  assert(vocabulary > 0);
  size_t count = ((size_t)vocabulary + RH_BLOCK - 1) / RH_BLOCK;
  size_t room = changes_max < count ? changes_max + 1 : count;  // one for the last block
  *blocks = (rh_blocks){.vocabulary = vocabulary, .count = (int32_t)count, .copy_room = (int32_t)room};
  blocks->maxima = calloc(count, sizeof *blocks->maxima);
  blocks->active = calloc(count, sizeof *blocks->active);
  blocks->copy_of = calloc(count, sizeof *blocks->copy_of);
  blocks->copies = calloc(room * RH_BLOCK, sizeof *blocks->copies);
  blocks->copied = calloc(room, sizeof *blocks->copied);
  bool complete = blocks->maxima && blocks->active && blocks->copy_of && blocks->copies && blocks->copied;
  return complete ? RH_OK : RH_NO_MEMORY;
}

void rh_blocks_free(rh_blocks *blocks) {
  free(blocks->maxima);
  free(blocks->active);
  free(blocks->copy_of);
  free(blocks->copies);
  free(blocks->copied);
}

static float *copy_block(rh_blocks *blocks, int32_t block) {
  assert(blocks->copy_count < blocks->copy_room);
  float *copy = blocks->copies + (size_t)blocks->copy_count * RH_BLOCK;
  int32_t first = block * RH_BLOCK;
  int32_t length = blocks->vocabulary - first < RH_BLOCK ? blocks->vocabulary - first : RH_BLOCK;
  memcpy(copy, blocks->logits + first, (size_t)length * sizeof *copy);
  for (int32_t i = length; i < RH_BLOCK; i++) copy[i] = -INFINITY;
  blocks->copied[blocks->copy_count++] = block;
  blocks->copy_of[block] = blocks->copy_count;
  return copy;
}

void rh_blocks_begin(rh_blocks *blocks, const float *logits) {
  for (int32_t i = 0; i < blocks->copy_count; i++) blocks->copy_of[blocks->copied[i]] = 0;
  blocks->copy_count = 0;
  blocks->logits = logits;
  if (blocks->vocabulary % RH_BLOCK != 0) (void)copy_block(blocks, blocks->count - 1);
}

float *rh_blocks_change(rh_blocks *blocks, int32_t token) {
  assert(token >= 0 && token < blocks->vocabulary);
  int32_t block = token / RH_BLOCK;
  int32_t copy = blocks->copy_of[block];
  float *logits = copy > 0 ? blocks->copies + (size_t)(copy - 1) * RH_BLOCK : copy_block(blocks, block);
  return logits + token % RH_BLOCK;
}

int32_t rh_blocks_scan(rh_blocks *blocks) {
  float best = -INFINITY;
  int32_t best_block = -1;
  blocks->active_count = 0;
  for (int32_t block = 0; block < blocks->count; block++) {
    float greatest = rh_block_max(rh_blocks_get(blocks, block));
    blocks->maxima[block] = greatest;
    blocks->active[blocks->active_count] = block;
    blocks->active_count += greatest > -INFINITY;
    if (greatest > best) {
      best = greatest;
      best_block = block;
    }
  }
  if (best_block < 0) return 0;
  const float *logits = rh_blocks_get(blocks, best_block);
  int32_t place = 0;
  while (!(logits[place] == best)) place++;
  assert(place < RH_BLOCK);
  return best_block * RH_BLOCK + place;
}

void rh_blocks_narrow(rh_blocks *blocks, float least) {
  int32_t kept = 0;
  for (int32_t i = 0; i < blocks->active_count; i++) {
    int32_t block = blocks->active[i];
    blocks->active[kept] = block;
    kept += blocks->maxima[block] >= least;
  }
  blocks->active_count = kept;
}
