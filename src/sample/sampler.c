// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one run's choice of tokens: its settings checked, then for each token bias, penalties, filters and draw.
// Data owned: everything below the run's rh_sampler. Threads: the run's.
// Not here: stop strings and max_tokens. The task layer sees tokens and decides.
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "sample/internal.h"

struct rh_sampler {
  rh_generate generate;  // the numbers only: what it points at is gone
  bool greedy;
  rh_logit_bias *biases;
  size_t bias_count;
  bool penalized;
  rh_penalties penalties;
  rh_blocks blocks;
  rh_candidates candidates;
  double *sums;  // for the draw
  rh_random random;
};

// ---- settings ----

static rh_status check_number(const char *name, float value, float least, rh_error *error) {
  if (isfinite(value) && value >= least) return RH_OK;
  return rh_fail_param(error, RH_INVALID, name, "%s is %g, but must be a finite number of at least %g", name,
                       (double)value, (double)least);
}

// The codecs have checked these already; but what is asserted below must not depend on them.
static rh_status check_settings(const rh_generate *generate, rh_error *error) {
  rh_status status = check_number("temperature", generate->temperature, 0.0f, error);
  if (status == RH_OK) status = check_number("top_p", generate->top_p, 0.0f, error);
  if (status == RH_OK) status = check_number("min_p", generate->min_p, 0.0f, error);
  if (status == RH_OK) status = check_number("repeat_penalty", generate->repeat_penalty, 1e-6f, error);
  if (status == RH_OK) status = check_number("presence_penalty", generate->presence_penalty, -1e6f, error);
  if (status == RH_OK) status = check_number("frequency_penalty", generate->frequency_penalty, -1e6f, error);
  if (status != RH_OK) return status;
  if (generate->top_logprobs > RH_TOP_LOGPROBS_MAX) {
    return rh_fail_param(error, RH_INVALID, "top_logprobs", "top_logprobs is %d, but at most %d are given",
                         generate->top_logprobs, RH_TOP_LOGPROBS_MAX);
  }
  return RH_OK;
}

static rh_status check_bias(const rh_sampler_model *model, const rh_generate *generate, rh_error *error) {
  for (size_t i = 0; i < generate->logit_bias_count; i++) {
    const rh_logit_bias *bias = &generate->logit_bias[i];
    if (bias->token >= 0 && bias->token < model->vocabulary && !isnan(bias->bias)) continue;
    return rh_fail_param(error, RH_INVALID, "logit_bias",
                         "logit_bias gives token %d a bias of %g; tokens of this model are 0 to %d", bias->token,
                         (double)bias->bias, model->vocabulary - 1);
  }
  return RH_OK;
}

// ---- making one ----

static void forbid(rh_sampler *sampler, const rh_sampler_model *model, const int32_t *tokens, size_t count) {
  for (size_t i = 0; i < count; i++) {
    // A model's file may name tokens that its vocabulary does not have; those are never chosen as it is.
    if (tokens[i] < 0 || tokens[i] >= model->vocabulary) continue;
    sampler->biases[sampler->bias_count++] = (rh_logit_bias){.token = tokens[i], .bias = -INFINITY};
  }
}

static rh_status add_biases(rh_sampler *sampler, const rh_sampler_model *model, const rh_generate *generate) {
  size_t ends = generate->ignore_eos ? model->end_token_count : 0;
  size_t room = generate->logit_bias_count + ends + model->never_count;
  if (room == 0) return RH_OK;
  sampler->biases = calloc(room, sizeof *sampler->biases);
  if (!sampler->biases) return RH_NO_MEMORY;
  for (size_t i = 0; i < generate->logit_bias_count; i++) {
    sampler->biases[sampler->bias_count++] = generate->logit_bias[i];
  }
  forbid(sampler, model, model->end_tokens, ends);
  forbid(sampler, model, model->never, model->never_count);
  return RH_OK;
}

// The room for the look-back is set aside at once, so it must not exceed what can ever be filled.
static size_t look_back(const rh_sampler_model *model, const rh_generate *generate) {
  assert(model->context > 0);
  int64_t back = generate->penalty_last_n;
  return (size_t)(back < 0 || back > model->context ? model->context : back);
}

static rh_status add_penalties(rh_sampler *sampler, const rh_generate *generate, size_t back, const int32_t *prompt,
                               int64_t prompt_count) {
  rh_status status = rh_penalties_init(&sampler->penalties, generate, back, sampler->blocks.vocabulary);
  if (status != RH_OK) return status;
  for (int64_t i = prompt_count > (int64_t)back ? prompt_count - (int64_t)back : 0; i < prompt_count; i++) {
    rh_penalties_note(&sampler->penalties, prompt[i]);
  }
  return RH_OK;
}

static uint64_t choose_seed(const rh_generate *generate) {
  uint64_t seed = generate->seed;
  if (!generate->has_seed && getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
    seed = rh_clock_now_ns();
  }
  return seed;
}

static rh_status build(rh_sampler *sampler, const rh_sampler_model *model, const rh_generate *generate,
                       const int32_t *prompt, int64_t prompt_count) {
  sampler->generate = *generate;
  sampler->generate.logit_bias = NULL;
  sampler->generate.stops = NULL;
  // The least possible mass, or no warmth at all, leaves one token: the likeliest.
  sampler->greedy = generate->temperature <= 0.0f || generate->top_p <= 0.0f || generate->top_k == 1;
  sampler->penalized = rh_penalties_wanted(generate);
  size_t back = sampler->penalized ? look_back(model, generate) : 0;
  rh_status status = add_biases(sampler, model, generate);
  if (status == RH_OK) status = rh_blocks_init(&sampler->blocks, model->vocabulary, sampler->bias_count + back);
  if (status == RH_OK && sampler->penalized) status = add_penalties(sampler, generate, back, prompt, prompt_count);
  if (status != RH_OK || sampler->greedy) return status;
  sampler->random.state = choose_seed(generate);
  sampler->sums = calloc((size_t)sampler->blocks.count, sizeof *sampler->sums);
  if (!sampler->sums) return RH_NO_MEMORY;
  return rh_candidates_init(&sampler->candidates, &sampler->blocks, generate);
}

rh_status rh_sampler_new(const rh_sampler_model *model, const rh_generate *generate, const int32_t *prompt,
                         int64_t prompt_count, rh_sampler **out, rh_error *error) {
  assert(model->vocabulary > 0 && prompt_count >= 0);
  rh_status status = check_settings(generate, error);
  if (status == RH_OK) status = check_bias(model, generate, error);
  if (status != RH_OK) return status;
  rh_sampler *sampler = calloc(1, sizeof *sampler);
  if (!sampler || build(sampler, model, generate, prompt, prompt_count) != RH_OK) {
    rh_sampler_free(sampler);
    return rh_fail(error, RH_NO_MEMORY, "not enough memory for a sampler");
  }
  *out = sampler;
  return RH_OK;
}

void rh_sampler_free(rh_sampler *sampler) {
  if (!sampler) return;
  rh_candidates_free(&sampler->candidates);
  rh_blocks_free(&sampler->blocks);
  rh_penalties_free(&sampler->penalties);
  free(sampler->biases);
  free(sampler->sums);
  free(sampler);
}

// ---- choosing ----

static void apply_bias(rh_sampler *sampler) {
  for (size_t i = 0; i < sampler->bias_count; i++) {
    // A wish of infinity for a forbidden token makes NaN, which is never chosen either.
    *rh_blocks_change(&sampler->blocks, sampler->biases[i].token) += sampler->biases[i].bias;
  }
}

int32_t rh_sampler_pick(rh_sampler *sampler, const float *logits) {
  rh_blocks *blocks = &sampler->blocks;
  rh_blocks_begin(blocks, logits);
  apply_bias(sampler);
  if (sampler->penalized) rh_penalties_apply(&sampler->penalties, blocks);
  int32_t token = rh_blocks_scan(blocks);
  // A logit of infinity outdoes all others; where there is none but -infinity, nothing can be drawn either.
  if (!sampler->greedy && isfinite(blocks->maxima[token / RH_BLOCK])) {
    rh_candidates_choose(&sampler->candidates, &sampler->generate, token);
    token = rh_draw(&sampler->candidates, sampler->generate.temperature, sampler->sums, &sampler->random);
  }
  if (sampler->penalized) rh_penalties_note(&sampler->penalties, token);
  return token;
}
