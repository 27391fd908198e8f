// SPDX-License-Identifier: Apache-2.0
//
// Log-probabilities: against double precision and a plain search.
#include "sample_fixture.h"

static void check(const float *logits, int32_t vocabulary, size_t count) {
  rh_top_logprob top[RH_TOP_LOGPROBS_MAX] = {0};
  int32_t chosen = chance_below(vocabulary);
  float got = rh_sampler_logprobs(logits, vocabulary, chosen, top, count);
  double best = -INFINITY;
  double sum = 0.0;
  for (int32_t i = 0; i < vocabulary; i++) best = (double)logits[i] > best ? (double)logits[i] : best;
  for (int32_t i = 0; i < vocabulary; i++) sum += isnan(logits[i]) ? 0.0 : exp((double)logits[i] - best);
  double exact = (double)logits[chosen] - best - log(sum);
  if (isnan(logits[chosen]) || logits[chosen] == -INFINITY)
    assert_true(got == -INFINITY);
  else
    assert_true(fabs((double)got - exact) < 2e-5 + 1e-6 * fabs(exact));
  for (size_t i = 0; i < count; i++) {
    int32_t rank = 0;  // how many come before it: greater logits, and equal ones of lower tokens
    float logit = logits[top[i].token];
    if (logit > -INFINITY) {
      for (int32_t j = 0; j < vocabulary; j++) {
        rank += logits[j] > logit || (logits[j] == logit && j < top[i].token);
      }
      assert_int_equal(rank, (int)i);
      assert_true(fabs((double)top[i].logprob - ((double)logit - best - log(sum))) < 2e-5 + 1e-6 * 200.0);
    } else {
      assert_true(top[i].logprob == -INFINITY);
    }
    for (size_t j = 0; j < i; j++) assert_int_not_equal(top[i].token, top[j].token);
  }
}

static void random_logits(void **state) {
  (void)state;
  const int32_t sizes[] = {1, 2, 20, 63, 64, 65, 129, 3000};
  float *logits = room_for(3000);
  for (int round = 0; round < 800; round++) {
    int32_t vocabulary = sizes[round % 8];
    int shape = chance_below(4);
    for (int32_t i = 0; i < vocabulary; i++) {
      logits[i] = chance_normal() * 5.0f;
      if (shape == 1) logits[i] = roundf(logits[i] * 0.5f);
      if (shape == 2 && chance() < 0.9) logits[i] = chance() < 0.5 ? NAN : -INFINITY;
      if (shape == 3) logits[i] = (float)i * 0.01f;
    }
    if (!(logits[0] > -INFINITY)) logits[0] = 1.0f;
    check(logits, vocabulary, vocabulary < 20 ? (size_t)vocabulary : (size_t)chance_below(21));
  }
  free(logits);
}

static void odd_logits(void **state) {
  (void)state;
  rh_top_logprob top[3] = {0};
  const float none[] = {-INFINITY, NAN, -INFINITY};
  assert_true(rh_sampler_logprobs(none, 3, 0, top, 3) == -INFINITY);
  for (int i = 0; i < 3; i++) assert_true(top[i].logprob == -INFINITY);
  const float sure[] = {1.0f, INFINITY, 2.0f};
  assert_true(rh_sampler_logprobs(sure, 3, 1, top, 2) == 0.0f);
  assert_int_equal(top[0].token, 1);
  assert_true(top[0].logprob == 0.0f && top[1].logprob == -INFINITY);
  const float even[] = {5.0f, 5.0f};
  assert_true(fabsf(rh_sampler_logprobs(even, 2, 1, NULL, 0) + logf(2.0f)) < 1e-6f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_logits), cmocka_unit_test(odd_logits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
