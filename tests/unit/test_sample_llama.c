// SPDX-License-Identifier: Apache-2.0
//
// Our sampler beside llama.cpp's own: the same logits through both, the same candidates and probabilities out.
#include <llama.h>

#include "sample_fixture.h"

#define VOCABULARY_MAX 20000

static struct llama_sampler *empty_chain(void) {
  struct llama_sampler_chain_params params = llama_sampler_chain_default_params();
  params.no_perf = true;
  return llama_sampler_chain_init(params);
}

// llama-server's order.
static struct llama_sampler *drawing_chain(const rh_generate *generate) {
  struct llama_sampler *chain = empty_chain();
  if (generate->top_k > 0) llama_sampler_chain_add(chain, llama_sampler_init_top_k(generate->top_k));
  if (generate->top_p < 1.0f) llama_sampler_chain_add(chain, llama_sampler_init_top_p(generate->top_p, 0));
  if (generate->min_p > 0.0f) llama_sampler_chain_add(chain, llama_sampler_init_min_p(generate->min_p, 0));
  if (generate->temperature != 1.0f) llama_sampler_chain_add(chain, llama_sampler_init_temp(generate->temperature));
  llama_sampler_chain_add(chain, llama_sampler_init_dist(1));  // fills in the probabilities
  return chain;
}

static llama_token_data candidates[VOCABULARY_MAX];

static llama_token_data_array through(struct llama_sampler *chain, const float *logits, int32_t vocabulary) {
  for (int32_t i = 0; i < vocabulary; i++) candidates[i] = (llama_token_data){.id = i, .logit = logits[i]};
  llama_token_data_array array = {.data = candidates, .size = (size_t)vocabulary, .selected = -1};
  llama_sampler_apply(chain, &array);
  return array;
}

static int by_logit(const void *a, const void *b) {
  float one = *(const float *)a;
  float two = *(const float *)b;
  return one > two ? -1 : one < two;
}

// Survivors by their logits, best first: of equal tokens at the end llama.cpp keeps any, we keep the first.
static size_t kept_logits(const float *logits, const bool *kept, int32_t vocabulary, float *out) {
  size_t count = 0;
  for (int32_t i = 0; i < vocabulary; i++) {
    if (kept[i]) out[count++] = logits[i];
  }
  qsort(out, count, sizeof *out, by_logit);
  return count;
}

// Two sums of the same numbers in other orders may reach top_p one token apart, where the sum is top_p but for rounding.
static bool same_but_for_rounding(const float *all, size_t limit, const rh_generate *generate, size_t ours,
                                  size_t theirs) {
  if (ours == theirs) return true;
  if (generate->top_p >= 1.0f) return false;
  double sum = 0.0;
  double run = 0.0;
  for (size_t i = 0; i < limit; i++) sum += exp((double)all[i] - (double)all[0]);
  size_t fewer = ours < theirs ? ours : theirs;
  size_t more = ours < theirs ? theirs : ours;
  for (size_t i = 0; i < fewer; i++) run += exp((double)all[i] - (double)all[0]);
  bool from_here = fabs(run / sum - (double)generate->top_p) < 2e-5;
  for (size_t i = fewer; i < more - 1; i++) run += exp((double)all[i] - (double)all[0]);
  return from_here && fabs(run / sum - (double)generate->top_p) < 2e-5;
}

static int rounded_cases;

static void compare(const rh_generate *generate, const float *logits, int32_t vocabulary) {
  static float weights[VOCABULARY_MAX + RH_BLOCK];
  static float all[VOCABULARY_MAX], ours[VOCABULARY_MAX], theirs[VOCABULARY_MAX];
  static bool kept[VOCABULARY_MAX];
  struct llama_sampler *chain = drawing_chain(generate);
  llama_token_data_array array = through(chain, logits, vocabulary);
  weights_of(vocabulary, generate, logits, weights);
  double total = 0.0;
  for (int32_t i = 0; i < vocabulary; i++) {
    kept[i] = true;
    total += (double)weights[i];
  }
  (void)kept_logits(logits, kept, vocabulary, all);
  // What is under e^-60 of the best cannot be drawn, whether or not it is still on a list.
  float least = all[0] - 60.0f * generate->temperature;
  for (int32_t i = 0; i < vocabulary; i++) kept[i] = weights[i] > 0.0f && logits[i] > least;
  size_t our_count = kept_logits(logits, kept, vocabulary, ours);
  memset(kept, 0, sizeof kept);
  for (size_t i = 0; i < array.size; i++) {
    if (logits[array.data[i].id] > least) kept[array.data[i].id] = true;
  }
  size_t their_count = kept_logits(logits, kept, vocabulary, theirs);
  size_t limit = generate->top_k > 0 && generate->top_k < vocabulary ? (size_t)generate->top_k : (size_t)vocabulary;
  if (!same_but_for_rounding(all, limit, generate, our_count, their_count)) {
    fail_msg("%zu kept, %zu by llama.cpp, of %d: top_k %d top_p %g min_p %g temperature %g", our_count, their_count,
             vocabulary, generate->top_k, (double)generate->top_p, (double)generate->min_p,
             (double)generate->temperature);
  }
  rounded_cases += our_count != their_count;
  size_t both = our_count < their_count ? our_count : their_count;
  assert_memory_equal(ours, theirs, both * sizeof *ours);
  for (size_t i = 0; our_count == their_count && i < array.size; i++) {
    const llama_token_data *one = &array.data[i];
    double p = (double)weights[one->id] / total;
    if (weights[one->id] == 0.0f && logits[one->id] == ours[our_count - 1]) continue;  // its equal is kept
    if (logits[one->id] <= least) continue;
    if (fabs(p - (double)one->p) > 3e-5 * p + 1e-35) fail_msg("token %d: %g, not %g", one->id, p, (double)one->p);
  }
  llama_sampler_free(chain);
}

static void candidates_are_the_same(void **state) {
  (void)state;
  const int32_t sizes[] = {5, 64, 300, 1000, 5000, VOCABULARY_MAX};
  const float temperatures[] = {1.0f, 0.8f, 0.3f, 1.7f};
  static float logits[VOCABULARY_MAX];
  for (int round = 0; round < 4000; round++) {
    int32_t vocabulary = sizes[chance_below(round % 20 == 0 ? 6 : 4)];
    bool whole = chance() < 0.2;
    float spread = (float)(0.5 + chance() * 4.0);
    for (int32_t i = 0; i < vocabulary; i++) {
      logits[i] = chance_normal() * spread + (chance() < 0.002 ? 12.0f : 0.0f);
      if (whole) logits[i] = roundf(logits[i]) + 0.0f;  // no -0: they are compared as bytes
    }
    rh_generate generate = usual();
    generate.temperature = temperatures[chance_below(4)];
    if (chance() < 0.6) generate.top_k = 2 + chance_below(chance() < 0.8 ? 100 : vocabulary);
    if (chance() < 0.6) generate.top_p = (float)(0.05 + 0.94 * chance());
    if (chance() < 0.4) generate.min_p = (float)(0.001 + chance() * 0.3);
    compare(&generate, logits, vocabulary);
  }
  assert_true(rounded_cases < 5);
}

// Biases and penalties change logits; the greedy choice after each of many steps shows that they change them alike.
static void greedy_runs_are_the_same(void **state) {
  (void)state;
  static float logits[3000];
  for (int run = 0; run < 60; run++) {
    int32_t vocabulary = 50 + chance_below(2900);
    rh_generate generate = usual();
    generate.temperature = 0.0f;
    generate.penalty_last_n = 1 + chance_below(60);
    generate.repeat_penalty = chance() < 0.3 ? 1.0f : (float)(0.7 + chance());
    generate.frequency_penalty = chance() < 0.3 ? 0.0f : (float)(chance() * 2.0 - 0.5);
    generate.presence_penalty = chance() < 0.3 ? 0.0f : (float)(chance() * 2.0 - 0.5);
    rh_logit_bias ours[5];
    llama_logit_bias theirs[5];
    for (int i = 0; i < 5; i++) {
      ours[i] = (rh_logit_bias){chance_below(vocabulary), chance() < 0.2 ? -INFINITY : chance_normal() * 3.0f};
      theirs[i] = (llama_logit_bias){ours[i].token, ours[i].bias};
    }
    generate.logit_bias = ours;
    generate.logit_bias_count = (size_t)chance_below(6);
    int32_t prompt[80];
    for (int i = 0; i < 80; i++) prompt[i] = chance_below(vocabulary);

    struct llama_sampler *chain = empty_chain();
    llama_sampler_chain_add(chain,
                            llama_sampler_init_logit_bias(vocabulary, (int32_t)generate.logit_bias_count, theirs));
    llama_sampler_chain_add(chain,
                            llama_sampler_init_penalties(vocabulary, generate.penalty_last_n, generate.repeat_penalty,
                                                         generate.frequency_penalty, generate.presence_penalty));
    llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    for (int i = 0; i < 80; i++) llama_sampler_accept(chain, prompt[i]);
    rh_sampler *sampler = sampler_with(vocabulary, &generate, prompt, 80);
    // A few logits stay ahead, so that penalties meet the same tokens again and again.
    for (int32_t i = 0; i < vocabulary; i++) logits[i] = chance_normal() + (i % 97 == 0 ? 2.5f : 0.0f);
    for (int step = 0; step < 150; step++) {
      for (int i = 0; i < 20; i++) logits[chance_below(vocabulary)] += chance_normal() * 0.1f;
      llama_token_data_array array = through(chain, logits, vocabulary);
      llama_token expected = array.data[array.selected].id;
      llama_sampler_accept(chain, expected);
      assert_int_equal(rh_sampler_pick(sampler, logits), expected);
    }
    rh_sampler_free(sampler);
    llama_sampler_free(chain);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(candidates_are_the_same),
      cmocka_unit_test(greedy_runs_are_the_same),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
