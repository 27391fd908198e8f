// SPDX-License-Identifier: Apache-2.0
//
// What a run chooses: the likeliest, biases, draws by their weights, seeds; and the settings that are refused.
#include "sample_fixture.h"

#define DRAWS 30000

static void greedy_takes_the_first_of_the_best(void **state) {
  (void)state;
  const int32_t sizes[] = {1, 2, 63, 64, 65, 200, 5000};
  float *logits = room_for(5000);
  rh_generate greedy[3] = {usual(), usual(), usual()};
  greedy[0].temperature = 0.0f;
  greedy[1].top_p = 0.0f;
  greedy[2].top_k = 1;
  for (int round = 0; round < 500; round++) {
    int32_t vocabulary = sizes[round % 7];
    for (int32_t i = 0; i < vocabulary; i++) logits[i] = floorf(chance_normal() * 3.0f) + (chance() < 0.1 ? NAN : 0.0f);
    int32_t best = 0;
    for (int32_t i = 1; i < vocabulary; i++) {
      if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i]))) best = i;
    }
    if (isnan(logits[best])) best = 0;
    for (int i = 0; i < 3; i++) assert_int_equal(pick_once(vocabulary, &greedy[i], logits), best);
  }
  free(logits);
}

static void nothing_to_choose_is_token_zero(void **state) {
  (void)state;
  float logits[100];
  for (int filled = 0; filled < 2; filled++) {
    for (int i = 0; i < 100; i++) logits[i] = filled || i % 2 ? -INFINITY : NAN;
    rh_generate generate = usual();
    assert_int_equal(pick_once(100, &generate, logits), 0);
    generate.top_p = 0.5f;
    generate.top_k = 7;
    assert_int_equal(pick_once(100, &generate, logits), 0);
    generate.temperature = 0.0f;
    assert_int_equal(pick_once(100, &generate, logits), 0);
  }
  // One that can be chosen is, whatever stands around it.
  logits[77] = -1e30f;
  logits[50] = NAN;
  rh_generate generate = usual();
  generate.top_p = 0.3f;
  for (generate.seed = 0; generate.seed < 50; generate.seed++) assert_int_equal(pick_once(100, &generate, logits), 77);
  logits[33] = INFINITY;  // outdoes all
  logits[44] = INFINITY;
  assert_int_equal(pick_once(100, &generate, logits), 33);
}

static void bias_moves_tokens(void **state) {
  (void)state;
  float logits[130];
  for (int i = 0; i < 130; i++) logits[i] = 130.0f - (float)i;
  float before[130];
  memcpy(before, logits, sizeof logits);
  const rh_logit_bias biases[] = {{0, -INFINITY}, {129, 128.5f}, {129, 1.0f}, {5, 4.9f}};  // 129 has two
  rh_generate generate = usual();
  generate.temperature = 0.0f;
  generate.logit_bias = biases;
  generate.logit_bias_count = 2;
  assert_int_equal(pick_once(130, &generate, logits), 129);  // 129.5
  generate.logit_bias_count = 1;
  assert_int_equal(pick_once(130, &generate, logits), 1);
  generate.logit_bias = biases + 3;
  assert_int_equal(pick_once(130, &generate, logits), 0);
  generate.logit_bias = biases + 1;
  generate.logit_bias_count = 2;
  assert_int_equal(pick_once(130, &generate, logits), 129);  // 130.5: both count
  assert_memory_equal(before, logits, sizeof logits);
}

static void forbidden_tokens_never_come(void **state) {
  (void)state;
  float logits[70] = {0};
  const int32_t ends[] = {3, 69};
  const int32_t never[] = {5, -7, 70, 100000};  // a file may name tokens that are not there
  const rh_sampler_model model = {
      .vocabulary = 70, .context = 16, .end_tokens = ends, .end_token_count = 2, .never = never, .never_count = 4};
  const rh_logit_bias wish[] = {{69, 1e6f}, {5, INFINITY}};
  rh_generate generate = usual();
  generate.logit_bias = wish;
  generate.logit_bias_count = 1;
  rh_sampler *sampler = NULL;
  assert_int_equal(rh_sampler_new(&model, &generate, NULL, 0, &sampler, NULL), RH_OK);
  assert_int_equal(rh_sampler_pick(sampler, logits), 69);
  rh_sampler_free(sampler);
  generate.ignore_eos = true;
  generate.logit_bias_count = 2;
  assert_int_equal(rh_sampler_new(&model, &generate, NULL, 0, &sampler, NULL), RH_OK);
  bool seen[70] = {false};
  for (int i = 0; i < 5000; i++) seen[rh_sampler_pick(sampler, logits)] = true;
  for (int i = 0; i < 70; i++) assert_int_equal(seen[i], i != 3 && i != 5 && i != 69);
  rh_sampler_free(sampler);
}

// Pearson's test: for f degrees of freedom the sum lies above f + 4 sqrt(2 f) + 10 once in far more than 10,000 runs.
static void check_distribution(int32_t vocabulary, const rh_generate *generate, const float *logits) {
  float *weights = room_for(vocabulary);
  int *seen = calloc((size_t)vocabulary, sizeof *seen);
  assert_non_null(seen);
  weights_of(vocabulary, generate, logits, weights);
  double total = 0.0;
  for (int32_t i = 0; i < vocabulary; i++) total += (double)weights[i];
  rh_sampler *sampler = sampler_with(vocabulary, generate, NULL, 0);
  for (int i = 0; i < DRAWS; i++) seen[rh_sampler_pick(sampler, logits)]++;
  rh_sampler_free(sampler);
  double sum = 0.0;
  double rare_expected = 0.0;
  double rare_seen = 0.0;
  int freedom = 0;
  for (int32_t i = 0; i < vocabulary; i++) {
    double expected = (double)weights[i] / total * DRAWS;
    if (weights[i] == 0.0f) assert_int_equal(seen[i], 0);
    if (expected < 10.0) {  // too few to count alone
      rare_expected += expected;
      rare_seen += seen[i];
      continue;
    }
    sum += (seen[i] - expected) * (seen[i] - expected) / expected;
    freedom++;
  }
  if (rare_expected > 10.0) {
    sum += (rare_seen - rare_expected) * (rare_seen - rare_expected) / rare_expected;
    freedom++;
  }
  assert_true(freedom > 3);
  if (sum > freedom + 4.0 * sqrt(2.0 * freedom) + 10.0) fail_msg("chi-square %g of %d", sum, freedom);
  free(seen);
  free(weights);
}

static void draws_follow_the_weights(void **state) {
  (void)state;
  float *logits = room_for(200);
  for (int32_t i = 0; i < 200; i++) logits[i] = chance_normal();
  rh_generate generate = usual();
  check_distribution(20, &generate, logits);
  check_distribution(200, &generate, logits);
  generate.temperature = 0.7f;
  generate.top_k = 40;
  generate.top_p = 0.95f;
  generate.min_p = 0.02f;
  check_distribution(200, &generate, logits);
  generate.top_k = 0;
  generate.top_p = 0.6f;
  generate.temperature = 1.6f;
  check_distribution(200, &generate, logits);
  free(logits);
}

static void seeds_decide(void **state) {
  (void)state;
  float logits[1000];
  for (int i = 0; i < 1000; i++) logits[i] = chance_normal();
  rh_generate generate = usual();
  int32_t one[64];
  int32_t two[64];
  const uint32_t seeds[] = {0, 1, 42, UINT32_MAX};
  for (int s = 0; s < 4; s++) {
    generate.seed = seeds[s];
    rh_sampler *first = sampler_with(1000, &generate, NULL, 0);
    rh_sampler *second = sampler_with(1000, &generate, NULL, 0);
    for (int i = 0; i < 64; i++) {
      one[i] = rh_sampler_pick(first, logits);
      two[i] = rh_sampler_pick(second, logits);
    }
    assert_memory_equal(one, two, sizeof one);
    rh_sampler_free(first);
    rh_sampler_free(second);
    generate.seed = seeds[s] + 1;
    first = sampler_with(1000, &generate, NULL, 0);
    for (int i = 0; i < 64; i++) two[i] = rh_sampler_pick(first, logits);
    assert_memory_not_equal(one, two, sizeof one);
    rh_sampler_free(first);
  }
  generate.has_seed = false;
  rh_sampler *first = sampler_with(1000, &generate, NULL, 0);
  rh_sampler *second = sampler_with(1000, &generate, NULL, 0);
  for (int i = 0; i < 64; i++) {
    one[i] = rh_sampler_pick(first, logits);
    two[i] = rh_sampler_pick(second, logits);
  }
  assert_memory_not_equal(one, two, sizeof one);
  rh_sampler_free(first);
  rh_sampler_free(second);
}

// The generator is a promise to those who keep seeds: its first numbers, from the paper's own algorithm.
static void generator_is_the_documented_one(void **state) {
  (void)state;
  rh_random random = {.state = 1234567};
  const uint64_t published[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u,
                                16408922859458223821u};
  for (int i = 0; i < 5; i++) assert_true(rh_random_next(&random) == (double)(published[i] >> 11) * 0x1p-53);
}

static void refuse(rh_generate generate, const char *param) {
  const rh_sampler_model model = {.vocabulary = 10, .context = 16};
  rh_sampler *sampler = NULL;
  rh_error error = {0};
  assert_int_equal(rh_sampler_new(&model, &generate, NULL, 0, &sampler, &error), RH_INVALID);
  assert_string_equal(error.param, param);
  assert_non_null(strstr(error.message, param));
  assert_null(sampler);
}

#define REFUSE(field, value)        \
  do {                              \
    rh_generate generate = usual(); \
    generate.field = value;         \
    refuse(generate, #field);       \
  } while (0)

static void bad_settings_are_named(void **state) {
  (void)state;
  REFUSE(temperature, -0.1f);
  REFUSE(temperature, NAN);
  REFUSE(temperature, INFINITY);
  REFUSE(top_p, -1.0f);
  REFUSE(min_p, -0.5f);
  REFUSE(repeat_penalty, 0.0f);
  REFUSE(presence_penalty, NAN);
  REFUSE(frequency_penalty, -2e6f);
  REFUSE(top_logprobs, RH_TOP_LOGPROBS_MAX + 1);
  const rh_logit_bias biases[] = {{10, 1.0f}, {-1, 1.0f}, {1, NAN}};
  for (int i = 0; i < 3; i++) {
    rh_generate generate = usual();
    generate.logit_bias = &biases[i];
    generate.logit_bias_count = 1;
    refuse(generate, "logit_bias");
  }
  rh_sampler_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(greedy_takes_the_first_of_the_best),
      cmocka_unit_test(nothing_to_choose_is_token_zero),
      cmocka_unit_test(bias_moves_tokens),
      cmocka_unit_test(forbidden_tokens_never_come),
      cmocka_unit_test(draws_follow_the_weights),
      cmocka_unit_test(seeds_decide),
      cmocka_unit_test(generator_is_the_documented_one),
      cmocka_unit_test(bad_settings_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
