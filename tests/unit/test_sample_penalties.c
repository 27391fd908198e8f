// SPDX-License-Identifier: Apache-2.0
//
// Penalties: numbers by hand, and the table of seen tokens against plain counting.
#include "sample_fixture.h"

#define VOCABULARY 200

static float penalized(const rh_generate *generate, float logit, int times) {
  rh_penalties penalties;
  rh_blocks blocks;
  float logits[VOCABULARY] = {0};
  logits[9] = logit;
  assert_int_equal(rh_penalties_init(&penalties, generate, 10, VOCABULARY), RH_OK);
  assert_int_equal(rh_blocks_init(&blocks, VOCABULARY, 10), RH_OK);
  for (int i = 0; i < times; i++) rh_penalties_note(&penalties, 9);
  rh_blocks_begin(&blocks, logits);
  rh_penalties_apply(&penalties, &blocks);
  float result = rh_blocks_get(&blocks, 0)[9];
  for (int i = 0; i < VOCABULARY; i++) {
    if (i != 9) assert_true(rh_blocks_get(&blocks, i / RH_BLOCK)[i % RH_BLOCK] == 0.0f);
  }
  assert_true(logits[9] == logit);  // the engine's own stay as they are
  rh_blocks_free(&blocks);
  rh_penalties_free(&penalties);
  return result;
}

static void numbers_by_hand(void **state) {
  (void)state;
  rh_generate generate = usual();
  generate.repeat_penalty = 2.0f;
  assert_true(penalized(&generate, 3.0f, 1) == 1.5f);
  assert_true(penalized(&generate, 3.0f, 4) == 1.5f);  // once, however often it was seen
  assert_true(penalized(&generate, -3.0f, 1) == -6.0f);
  assert_true(penalized(&generate, -0.5f, 1) == -1.0f);
  assert_true(penalized(&generate, 0.0f, 1) == 0.0f);
  assert_true(penalized(&generate, 3.0f, 0) == 3.0f);
  assert_true(penalized(&generate, -INFINITY, 1) == -INFINITY);
  generate.repeat_penalty = 1.0f;
  generate.frequency_penalty = 0.25f;
  assert_true(penalized(&generate, 3.0f, 1) == 2.75f);
  assert_true(penalized(&generate, 3.0f, 4) == 2.0f);
  generate.frequency_penalty = 0.0f;
  generate.presence_penalty = 0.5f;
  assert_true(penalized(&generate, 3.0f, 1) == 2.5f);
  assert_true(penalized(&generate, 3.0f, 4) == 2.5f);
  generate.frequency_penalty = -1.0f;
  generate.repeat_penalty = 4.0f;
  assert_true(penalized(&generate, 8.0f, 3) == 2.0f + 3.0f - 0.5f);
}

static void counts_are_those_of_the_last_tokens(void **state) {
  (void)state;
  const size_t backs[] = {1, 2, 7, 64, 1000};
  int32_t history[3000];
  for (size_t b = 0; b < 5; b++) {
    rh_penalties penalties;
    rh_generate generate = usual();
    assert_int_equal(rh_penalties_init(&penalties, &generate, backs[b], VOCABULARY), RH_OK);
    for (int at = 0; at < 3000; at++) {
      history[at] = chance() < 0.02 ? -1 - chance_below(3) : chance_below(at % 500 < 250 ? VOCABULARY : 5);
      if (chance() < 0.01) history[at] = VOCABULARY + chance_below(9);
      rh_penalties_note(&penalties, history[at]);
      if (at % 7 != 0 && at > 20) continue;
      int counts[VOCABULARY] = {0};
      size_t distinct = 0;
      for (int i = at; i >= 0 && (size_t)(at - i) < backs[b]; i--) {
        if (history[i] < 0 || history[i] >= VOCABULARY) continue;
        distinct += counts[history[i]]++ == 0;
      }
      assert_int_equal(penalties.seen_count, distinct);
      for (size_t i = 0; i < distinct; i++) {
        assert_int_equal(penalties.seen[i].count, counts[penalties.seen[i].token]);
      }
    }
    rh_penalties_free(&penalties);
  }
}

// A frequency penalty beyond every logit: the sampler must go through all tokens before it comes back to one.
static void sampler_walks_round(void **state) {
  (void)state;
  float logits[VOCABULARY];
  for (int i = 0; i < VOCABULARY; i++) logits[i] = (float)(VOCABULARY - i) * 0.01f;
  rh_generate generate = usual();
  generate.temperature = 0.0f;
  generate.presence_penalty = 100.0f;
  generate.penalty_last_n = VOCABULARY;
  rh_sampler *sampler = sampler_with(VOCABULARY, &generate, NULL, 0);
  for (int i = 0; i < VOCABULARY; i++) assert_int_equal(rh_sampler_pick(sampler, logits), i);
  assert_int_equal(rh_sampler_pick(sampler, logits), 0);  // all are penalized; the oldest, 0 itself, is forgotten
  assert_int_equal(rh_sampler_pick(sampler, logits), 0);  // then 1
  assert_int_equal(rh_sampler_pick(sampler, logits), 1);
  rh_sampler_free(sampler);
}

static void prompt_counts(void **state) {
  (void)state;
  const float logits[] = {4.0f, 3.0f, 2.0f, 1.0f};
  const int32_t prompt[] = {1, 0, -1, 99, 3};
  rh_generate generate = usual();
  generate.temperature = 0.0f;
  generate.presence_penalty = 10.0f;
  generate.penalty_last_n = 4;  // token 1 is too long ago
  rh_sampler *sampler = sampler_with(4, &generate, prompt, 5);
  assert_int_equal(rh_sampler_pick(sampler, logits), 1);
  rh_sampler_free(sampler);
  generate.penalty_last_n = -1;  // the whole context
  sampler = sampler_with(4, &generate, prompt, 5);
  assert_int_equal(rh_sampler_pick(sampler, logits), 2);
  rh_sampler_free(sampler);
  generate.penalty_last_n = 0;  // off
  sampler = sampler_with(4, &generate, prompt, 5);
  assert_int_equal(rh_sampler_pick(sampler, logits), 0);
  rh_sampler_free(sampler);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_by_hand),
      cmocka_unit_test(counts_are_those_of_the_last_tokens),
      cmocka_unit_test(sampler_walks_round),
      cmocka_unit_test(prompt_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
