// SPDX-License-Identifier: Apache-2.0
//
// sampler_speed [ROUNDS]: microseconds to choose one token, ours beside llama.cpp's samplers in llama-server's order, on
// vocabularies of 32, 128 and 256 thousand tokens and usual settings. Prints one JSON object a line:
// {"vocabulary": n, "settings": "...", "ours_us": n, "llama_us": n}, each the median of ROUNDS choices.
//
// The logits are like a model's: a wide bell, a few tokens far above it. Several sets take turns. llama.cpp's time
// counts filling its array of candidates, which its own llama_sampler_sample does for every token as well.
#include <llama.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sample/sampler.h"

#define SETS 4
#define ROUNDS_MAX 100000

static double now_us(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec * 1e6 + (double)at.tv_nsec * 1e-3;
}

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "sampler_speed: %s\n", what);
  exit(1);
}

static double chance(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) * 0x1p-53;
}

static void fill(float *logits, int32_t vocabulary) {
  for (int32_t i = 0; i < vocabulary; i++) {
    double sum = 0.0;
    for (int j = 0; j < 12; j++) sum += chance();
    logits[i] = (float)((sum - 6.0) * 2.5);
  }
  double height = 18.0;
  for (int i = 0; i < 30; i++, height -= 0.4 * chance()) logits[(int32_t)(chance() * vocabulary)] = (float)height;
}

typedef struct setting {
  const char *name;
  rh_generate generate;
} setting;

static struct llama_sampler *chain_of(const rh_generate *generate, int32_t vocabulary) {
  struct llama_sampler_chain_params params = llama_sampler_chain_default_params();
  params.no_perf = true;
  struct llama_sampler *chain = llama_sampler_chain_init(params);
  if (generate->repeat_penalty != 1.0f || generate->frequency_penalty != 0.0f) {
    llama_sampler_chain_add(chain,
                            llama_sampler_init_penalties(vocabulary, generate->penalty_last_n, generate->repeat_penalty,
                                                         generate->frequency_penalty, generate->presence_penalty));
  }
  if (generate->temperature <= 0.0f) {
    llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    return chain;
  }
  if (generate->top_k > 0) llama_sampler_chain_add(chain, llama_sampler_init_top_k(generate->top_k));
  if (generate->top_p < 1.0f) llama_sampler_chain_add(chain, llama_sampler_init_top_p(generate->top_p, 0));
  if (generate->min_p > 0.0f) llama_sampler_chain_add(chain, llama_sampler_init_min_p(generate->min_p, 0));
  if (generate->temperature != 1.0f) llama_sampler_chain_add(chain, llama_sampler_init_temp(generate->temperature));
  llama_sampler_chain_add(chain, llama_sampler_init_dist(generate->seed));
  return chain;
}

static llama_token llama_pick(struct llama_sampler *chain, llama_token_data *data, const float *logits,
                              int32_t vocabulary) {
  for (int32_t i = 0; i < vocabulary; i++) data[i] = (llama_token_data){.id = i, .logit = logits[i]};
  llama_token_data_array array = {.data = data, .size = (size_t)vocabulary, .selected = -1};
  llama_sampler_apply(chain, &array);
  llama_token token = array.data[array.selected].id;
  llama_sampler_accept(chain, token);
  return token;
}

static int by_value(const void *a, const void *b) {
  double one = *(const double *)a;
  double two = *(const double *)b;
  return (one > two) - (one < two);
}

static void measure(const setting *used, int32_t vocabulary, float *const *sets, llama_token_data *data, int rounds,
                    double *ours, double *theirs) {
  const rh_sampler_model model = {.vocabulary = vocabulary, .context = 4096};
  rh_sampler *sampler = NULL;
  rh_error error = {0};
  if (rh_sampler_new(&model, &used->generate, NULL, 0, &sampler, &error) != RH_OK) fail(error.message);
  struct llama_sampler *chain = chain_of(&used->generate, vocabulary);
  int64_t sum = 0;  // so that nothing is optimized away
  for (int i = -3; i < rounds; i++) {
    const float *logits = sets[(i + 3) % SETS];
    double begin = now_us();
    sum += rh_sampler_pick(sampler, logits);
    double middle = now_us();
    sum += llama_pick(chain, data, logits, vocabulary);
    double end = now_us();
    if (i < 0) continue;
    ours[i] = middle - begin;
    theirs[i] = end - middle;
  }
  if (sum < 0) fail("a negative token");
  rh_sampler_free(sampler);
  llama_sampler_free(chain);
  qsort(ours, (size_t)rounds, sizeof *ours, by_value);
  qsort(theirs, (size_t)rounds, sizeof *theirs, by_value);
  printf("{\"vocabulary\": %d, \"settings\": \"%s\", \"ours_us\": %.1f, \"llama_us\": %.1f}\n", vocabulary, used->name,
         ours[rounds / 2], theirs[rounds / 2]);
}

static rh_generate generate_of(float temperature, int32_t top_k, float top_p, float min_p, float repeat_penalty) {
  rh_generate generate;
  rh_generate_defaults(&generate);
  generate.has_seed = true;
  generate.seed = 1;
  generate.temperature = temperature;
  generate.top_k = top_k;
  generate.top_p = top_p;
  generate.min_p = min_p;
  generate.repeat_penalty = repeat_penalty;
  return generate;
}

int main(int argc, char **argv) {
  const int32_t vocabularies[] = {32000, 128256, 256000};
  const setting settings[] = {
      {"greedy", generate_of(0.0f, 0, 1.0f, 0.0f, 1.0f)},
      {"greedy, repeat_penalty 1.1", generate_of(0.0f, 0, 1.0f, 0.0f, 1.1f)},
      {"temperature 1", generate_of(1.0f, 0, 1.0f, 0.0f, 1.0f)},
      {"top_p 0.95, temperature 0.7", generate_of(0.7f, 0, 0.95f, 0.0f, 1.0f)},
      {"min_p 0.05, temperature 0.8", generate_of(0.8f, 0, 1.0f, 0.05f, 1.0f)},
      {"top_k 40, top_p 0.95, min_p 0.05, temperature 0.8", generate_of(0.8f, 40, 0.95f, 0.05f, 1.0f)},
      {"top_k 40, top_p 0.9, temperature 0.8, repeat_penalty 1.1", generate_of(0.8f, 40, 0.9f, 0.0f, 1.1f)},
  };
  int rounds = argc > 1 ? atoi(argv[1]) : 200;
  if (rounds < 1 || rounds > ROUNDS_MAX) fail("1 to 100000 rounds");
  double *ours = calloc((size_t)rounds, sizeof *ours);
  double *theirs = calloc((size_t)rounds, sizeof *theirs);
  llama_token_data *data = calloc(256000, sizeof *data);
  float *sets[SETS];
  for (int i = 0; i < SETS; i++) sets[i] = calloc(256000, sizeof *sets[i]);
  if (!ours || !theirs || !data || !sets[0] || !sets[1] || !sets[2] || !sets[3]) fail("not enough memory");
  for (size_t v = 0; v < sizeof vocabularies / sizeof vocabularies[0]; v++) {
    for (int i = 0; i < SETS; i++) fill(sets[i], vocabularies[v]);
    for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++) {
      measure(&settings[s], vocabularies[v], sets, data, rounds, ours, theirs);
    }
  }
  for (int i = 0; i < SETS; i++) free(sets[i]);
  free(data);
  free(ours);
  free(theirs);
  return 0;
}
