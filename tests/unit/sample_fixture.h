// SPDX-License-Identifier: Apache-2.0
//
// Random logits and samplers for the tests of src/sample.
#ifndef RH_TEST_SAMPLE_FIXTURE_H
#define RH_TEST_SAMPLE_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sample/internal.h"

static uint64_t chance_state = 1;

// Uniform in [0, 1); not the generator under test.
static inline double chance(void) {
  chance_state ^= chance_state << 13;
  chance_state ^= chance_state >> 7;
  chance_state ^= chance_state << 17;
  return (double)(chance_state >> 11) * 0x1p-53;
}

static inline int32_t chance_below(int32_t limit) { return (int32_t)(chance() * limit); }

static inline float chance_normal(void) {
  double sum = 0.0;
  for (int i = 0; i < 12; i++) sum += chance();
  return (float)(sum - 6.0);
}

static inline rh_generate usual(void) {
  rh_generate generate;
  rh_generate_defaults(&generate);
  generate.has_seed = true;
  generate.seed = 42;
  return generate;
}

static inline rh_sampler *sampler_with(int32_t vocabulary, const rh_generate *generate, const int32_t *prompt,
                                       int64_t prompt_count) {
  const rh_sampler_model model = {.vocabulary = vocabulary, .context = 4096};
  rh_sampler *sampler = NULL;
  rh_error error = {0};
  if (rh_sampler_new(&model, generate, prompt, prompt_count, &sampler, &error) != RH_OK) fail_msg("%s", error.message);
  return sampler;
}

static inline int32_t pick_once(int32_t vocabulary, const rh_generate *generate, const float *logits) {
  rh_sampler *sampler = sampler_with(vocabulary, generate, NULL, 0);
  int32_t token = rh_sampler_pick(sampler, logits);
  rh_sampler_free(sampler);
  return token;
}

// The weights that the filters leave to each token. `weights` has room for whole blocks.
static inline void weights_of(int32_t vocabulary, const rh_generate *generate, const float *logits, float *weights) {
  rh_blocks blocks;
  rh_candidates candidates;
  assert_int_equal(rh_blocks_init(&blocks, vocabulary, 0), RH_OK);
  assert_int_equal(rh_candidates_init(&candidates, &blocks, generate), RH_OK);
  rh_blocks_begin(&blocks, logits);
  int32_t best = rh_blocks_scan(&blocks);
  rh_candidates_choose(&candidates, generate, best);
  memset(weights, 0, (size_t)blocks.count * RH_BLOCK * sizeof *weights);
  for (int32_t i = 0; i < blocks.active_count; i++) {
    int32_t block = blocks.active[i];
    (void)rh_candidates_weigh(&candidates, block, generate->temperature, weights + (size_t)block * RH_BLOCK);
  }
  rh_candidates_free(&candidates);
  rh_blocks_free(&blocks);
}

static inline float *room_for(int32_t vocabulary) {
  float *room = calloc((size_t)(vocabulary / RH_BLOCK + 1) * RH_BLOCK, sizeof *room);
  assert_non_null(room);
  return room;
}

#endif
