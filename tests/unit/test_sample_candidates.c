// SPDX-License-Identifier: Apache-2.0
//
// top_k, top_p and min_p keep what their definitions say: against a reference that sorts the whole vocabulary and adds
// up in double precision.
#include "sample_fixture.h"

#define VOCABULARY_MAX 40000

typedef struct ranked {
  float logit;
  int32_t token;
  double p;
} ranked;

static int by_rank(const void *a, const void *b) {
  const ranked *one = a;
  const ranked *two = b;
  if (one->logit != two->logit) return one->logit > two->logit ? -1 : 1;
  return one->token < two->token ? -1 : one->token > two->token;
}

static ranked ranking[VOCABULARY_MAX];

// How many of the ranking are kept. Rounding may decide top_p otherwise, between *least and *most.
static void reference(int32_t vocabulary, const rh_generate *generate, const float *logits, size_t *least,
                      size_t *most) {
  size_t count = 0;
  for (int32_t token = 0; token < vocabulary; token++) {
    if (logits[token] > -INFINITY) ranking[count++] = (ranked){.logit = logits[token], .token = token};
  }
  qsort(ranking, count, sizeof *ranking, by_rank);
  if (generate->top_k > 0 && (size_t)generate->top_k < count) count = (size_t)generate->top_k;
  double sum = 0.0;
  for (size_t i = 0; i < count; i++) sum += ranking[i].p = exp((double)ranking[i].logit - (double)ranking[0].logit);
  *least = *most = count;
  if (generate->top_p < 1.0f) {
    // Single precision may stop a little sooner or later than this.
    double run = 0.0;
    size_t kept = 0;
    *least = 0;
    while (kept < count && run < sum * ((double)generate->top_p + 1e-6)) {
      run += ranking[kept++].p;
      if (*least == 0 && run >= sum * ((double)generate->top_p - 1e-6)) *least = kept;
    }
    *most = kept;
    if (*least == 0) *least = kept;
  }
  if (generate->min_p > 0.0f) {
    float floor = ranking[0].logit + logf(generate->min_p);
    size_t kept = 1;
    while (kept < *most && ranking[kept].logit >= floor) kept++;
    if (kept < *least) *least = kept;
    *most = kept;
  }
}

static bool negligible(const rh_generate *generate, const ranked *token) {
  return ((double)token->logit - (double)ranking[0].logit) / (double)generate->temperature < -86.0;
}

static void check(int32_t vocabulary, const rh_generate *generate, const float *logits, float *weights) {
  size_t least = 0;
  size_t most = 0;
  reference(vocabulary, generate, logits, &least, &most);
  weights_of(vocabulary, generate, logits, weights);
  size_t kept = 0;
  for (int32_t token = 0; token < vocabulary; token++) kept += weights[token] > 0.0f;
  size_t expected = 0;
  for (size_t i = 0; i < most; i++) {
    const ranked *one = &ranking[i];
    float weight = weights[one->token];
    if (negligible(generate, one)) {
      assert_true(weight < 1e-37f);
      kept -= weight > 0.0f;
      continue;
    }
    if (i >= least && weight == 0.0f) continue;
    expected++;
    double exact = exp(((double)one->logit - (double)ranking[0].logit) / (double)generate->temperature);
    if (!(fabs((double)weight - exact) <= 2e-5 * exact + 1e-37)) {
      fail_msg("token %d of %d (rank %zu, %zu..%zu kept) weighs %g, not %g; top_k %d top_p %g min_p %g temperature %g",
               one->token, vocabulary, i, least, most, (double)weight, exact, generate->top_k, (double)generate->top_p,
               (double)generate->min_p, (double)generate->temperature);
    }
  }
  // No others, and of those that rounding may leave out none with a lower one left in.
  assert_int_equal(kept, expected);
  for (size_t i = least; i + 1 < most; i++) {
    if (weights[ranking[i].token] == 0.0f) assert_true(weights[ranking[i + 1].token] == 0.0f);
  }
}

static rh_generate random_settings(int32_t vocabulary) {
  const float temperatures[] = {1.0f, 0.8f, 0.1f, 2.0f, 0.01f};
  rh_generate generate = usual();
  generate.temperature = temperatures[chance_below(5)];
  if (chance() < 0.6) generate.top_k = 2 + (chance() < 0.7 ? chance_below(100) : chance_below(vocabulary + 10));
  if (chance() < 0.6) generate.top_p = chance() < 0.5 ? (float)(0.8 + 0.2 * chance()) : (float)chance();
  if (generate.top_p <= 0.0f) generate.top_p = 1.0f;
  if (chance() < 0.4) generate.min_p = (float)(chance() * 0.2);
  if (chance() < 0.05) generate.min_p = 1.0f + (float)chance();
  return generate;
}

// Shapes: bell, with a steep head as of a sure model; whole numbers (ties); all equal; rising; holes of -infinity and NaN.
static void random_logits(int32_t vocabulary, float *logits) {
  int shape = chance_below(6);
  float spread = (float)(chance() * 6.0);
  for (int32_t i = 0; i < vocabulary; i++) {
    float normal = chance_normal();
    logits[i] = normal * spread;
    if (shape == 1) logits[i] = floorf(normal * 2.0f);
    if (shape == 2) logits[i] = -3.25f;
    if (shape == 3) logits[i] = (float)i * 0.001f;
    if (shape == 4 && chance() < 0.3) logits[i] = -INFINITY;
    if (shape == 4 && chance() < 0.1) logits[i] = NAN;
    if (shape == 5 && chance() < 0.001) logits[i] += 15.0f;
  }
  if (!(logits[0] > -INFINITY)) logits[0] = 0.0f;  // at least one
}

static void keep_what_the_definitions_say(void **state) {
  (void)state;
  const int32_t sizes[] = {1, 2, 3, 63, 64, 65, 127, 128, 1000, 4096, 5000, VOCABULARY_MAX};
  float *logits = room_for(VOCABULARY_MAX);
  float *weights = room_for(VOCABULARY_MAX);
  for (int round = 0; round < 4000; round++) {
    int32_t vocabulary = sizes[chance_below(round % 10 == 0 ? 12 : 9)];
    random_logits(vocabulary, logits);
    rh_generate generate = random_settings(vocabulary);
    check(vocabulary, &generate, logits, weights);
  }
  free(logits);
  free(weights);
}

static void numbers_by_hand(void **state) {
  (void)state;
  // Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625.
  const float logits[] = {logf(0.0625f), logf(0.25f), logf(0.5f), logf(0.125f), logf(0.0625f)};
  float weights[RH_BLOCK];
  rh_generate generate = usual();
  generate.top_p = 0.8f;
  weights_of(5, &generate, logits, weights);
  assert_true(weights[0] == 0.0f && weights[1] > 0.0f && weights[2] == 1.0f && weights[3] > 0.0f && weights[4] == 0.0f);
  generate.top_p = 0.7f;
  weights_of(5, &generate, logits, weights);
  assert_true(weights[1] > 0.0f && weights[2] > 0.0f && weights[3] == 0.0f);
  generate.top_p = 1e-30f;
  weights_of(5, &generate, logits, weights);
  assert_true(weights[1] == 0.0f && weights[2] == 1.0f);
  // Of equal tokens the first is kept.
  generate.top_p = 1.0f;
  generate.top_k = 4;
  weights_of(5, &generate, logits, weights);
  assert_true(weights[0] > 0.0f && weights[4] == 0.0f);
  generate.top_k = 0;
  generate.min_p = 0.2f;  // of 0.5: 0.1
  weights_of(5, &generate, logits, weights);
  assert_true(weights[0] == 0.0f && weights[1] > 0.0f && weights[2] > 0.0f && weights[3] > 0.0f && weights[4] == 0.0f);
  // top_p counts what top_k left: 2/3 and 1/3.
  generate.min_p = 0.0f;
  generate.top_k = 2;
  generate.top_p = 0.66f;
  weights_of(5, &generate, logits, weights);
  assert_true(weights[1] == 0.0f && weights[2] == 1.0f);
  // The temperature comes after the filters, and makes 1/4 of 1/2 with 0.5.
  generate.top_p = 1.0f;
  generate.temperature = 0.5f;
  weights_of(5, &generate, logits, weights);
  assert_true(fabsf(weights[1] - 0.25f) < 1e-6f && weights[2] == 1.0f);
}

static void keys_order_tokens(void **state) {
  (void)state;
  const float rising[] = {-INFINITY, -FLT_MAX, -1.5f, -FLT_MIN, 0.0f, FLT_MIN, 2.0f, FLT_MAX, INFINITY};
  for (size_t i = 0; i + 1 < sizeof rising / sizeof rising[0]; i++) {
    assert_true(rh_key(rising[i], 0) < rh_key(rising[i + 1], INT32_MAX));
    assert_true(rh_key_logit(rh_key(rising[i], 5)) == rising[i]);
    assert_int_equal(rh_key_token(rh_key(rising[i], 262143)), 262143);
  }
  assert_true(rh_key(-0.0f, 1) == rh_key(0.0f, 1));
  assert_true(rh_key(1.0f, 3) > rh_key(1.0f, 4));
}

static void weights_are_exponentials(void **state) {
  (void)state;
  for (float depth = 0.0f; depth > -86.9f; depth -= 0.0137f) {
    double exact = exp((double)depth);
    assert_true(fabs((double)rh_weight(depth) - exact) <= 2e-7 * exact);
  }
  assert_true(rh_weight(0.0f) == 1.0f);
  assert_true(rh_weight(-100.0f) == 0.0f);
  assert_true(rh_weight(-INFINITY) == 0.0f);
  float logits[RH_BLOCK];
  float weights[RH_BLOCK];
  for (int i = 0; i < RH_BLOCK; i++) logits[i] = 3.0f - (float)i;
  logits[7] = NAN;
  logits[8] = -INFINITY;
  double sum = rh_block_weigh(logits, -20.0f, 3.0f, 1.0f, weights);
  double exact = 0.0;
  for (int i = 0; i < RH_BLOCK; i++) {
    bool kept = i <= 23 && i != 7 && i != 8;
    assert_true(weights[i] == (kept ? rh_weight(-(float)i) : 0.0f));
    exact += kept ? exp(-(double)i) : 0.0;
  }
  assert_true(fabs(sum - exact) < 1e-6);
  // The smallest temperatures leave the best alone, and make no NaN.
  (void)rh_block_weigh(logits, -FLT_MAX, 3.0f, 1e-45f, weights);
  for (int i = 0; i < RH_BLOCK; i++) assert_true(weights[i] == (i == 0 ? 1.0f : 0.0f));
}

static void maxima_see_every_place(void **state) {
  (void)state;
  float logits[RH_BLOCK];
  for (int place = 0; place < RH_BLOCK; place++) {
    for (int i = 0; i < RH_BLOCK; i++) logits[i] = i % 3 == 0 ? NAN : -5.0f - (float)i;
    logits[place] = -4.0f;
    assert_true(rh_block_max(logits) == -4.0f);
  }
  for (int i = 0; i < RH_BLOCK; i++) logits[i] = NAN;
  assert_true(rh_block_max(logits) == -INFINITY);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keep_what_the_definitions_say),
      cmocka_unit_test(numbers_by_hand),
      cmocka_unit_test(keys_order_tokens),
      cmocka_unit_test(weights_are_exponentials),
      cmocka_unit_test(maxima_see_every_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
