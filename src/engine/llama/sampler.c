// SPDX-License-Identifier: Apache-2.0
//
// Purpose: how one run chooses its tokens: llama's samplers in llama-server's order, so that results can be compared:
// logit bias, penalties, top_k, top_p, min_p, temperature, and a draw by the seed (or simply the likeliest).
// Data owned: one chain per run.
// Threads: the engine thread.
// Not here: stop strings and max_tokens. The task layer sees tokens and decides.
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "engine/llama/internal.h"

struct rh_sampler {
  struct llama_sampler *chain;  // NULL = the likeliest token of the raw logits, found without a chain's copies
  int32_t top_logprobs;
};

static rh_status check_number(const char *name, float value, float least, rh_error *error) {
  if (isfinite(value) && value >= least) return RH_OK;
  return rh_fail_param(error, RH_INVALID, name, "%s is %g, but must be a finite number of at least %g", name,
                       (double)value, (double)least);
}

// The codecs have checked these already; here they keep llama's assertions out of a client's reach.
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

static rh_status add(struct llama_sampler *chain, struct llama_sampler *sampler, rh_error *error) {
  if (!sampler) return rh_fail(error, RH_NO_MEMORY, "not enough memory for a sampler");
  llama_sampler_chain_add(chain, sampler);
  return RH_OK;
}

static size_t bias_count(const rh_engine *engine, const rh_generate *generate) {
  int32_t suppressed = 0;
  (void)llama_vocab_get_suppress_tokens(engine->vocab, &suppressed);
  return generate->logit_bias_count + (generate->ignore_eos ? engine->end_token_count : 0) + (size_t)suppressed;
}

static rh_status add_bias(struct llama_sampler *chain, const rh_engine *engine, const rh_generate *generate,
                          rh_error *error) {
  llama_logit_bias *all = calloc(bias_count(engine, generate), sizeof *all);
  if (!all) return rh_fail(error, RH_NO_MEMORY, "not enough memory for logit_bias");
  size_t count = 0;
  for (size_t i = 0; i < generate->logit_bias_count; i++) {
    const rh_logit_bias *bias = &generate->logit_bias[i];
    if (bias->token < 0 || bias->token >= engine->vocabulary || isnan(bias->bias)) {
      free(all);
      return rh_fail_param(error, RH_INVALID, "logit_bias",
                           "logit_bias gives token %d a bias of %g; tokens of this model are 0 to %d", bias->token,
                           (double)bias->bias, engine->vocabulary - 1);
    }
    all[count++] = (llama_logit_bias){.token = bias->token, .bias = bias->bias};
  }
  for (size_t i = 0; generate->ignore_eos && i < engine->end_token_count; i++) {
    all[count++] = (llama_logit_bias){.token = engine->end_tokens[i], .bias = -INFINITY};
  }
  // Tokens that the model's file itself says must never be chosen.
  int32_t suppressed = 0;
  const llama_token *suppress = llama_vocab_get_suppress_tokens(engine->vocab, &suppressed);
  for (int32_t i = 0; i < suppressed; i++) all[count++] = (llama_logit_bias){.token = suppress[i], .bias = -INFINITY};
  rh_status status = add(chain, llama_sampler_init_logit_bias(engine->vocabulary, (int32_t)count, all), error);
  free(all);
  return status;
}

static bool has_penalties(const rh_generate *generate) {
  return generate->penalty_last_n != 0 && (generate->repeat_penalty != 1.0f || generate->frequency_penalty != 0.0f ||
                                           generate->presence_penalty != 0.0f);
}

// The penalties look back over the prompt's end as well, as llama-server's do.
static rh_status add_penalties(struct llama_sampler *chain, const rh_engine *engine, const rh_generate *generate,
                               const llama_token *prompt, int64_t prompt_count, rh_error *error) {
  // llama sets the room for the look-back aside at once, so it must not exceed what can ever be filled.
  int64_t back = generate->penalty_last_n;
  if (back < 0 || back > engine->context_size) back = engine->context_size;
  struct llama_sampler *penalties =
      llama_sampler_init_penalties(engine->vocabulary, (int32_t)back, generate->repeat_penalty,
                                   generate->frequency_penalty, generate->presence_penalty);
  rh_status status = add(chain, penalties, error);
  if (status != RH_OK) return status;
  for (int64_t i = prompt_count > back ? prompt_count - back : 0; i < prompt_count; i++) {
    llama_sampler_accept(penalties, prompt[i]);
  }
  return RH_OK;
}

static uint32_t choose_seed(const rh_generate *generate) {
  uint32_t seed = generate->seed;
  if (!generate->has_seed && getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
    seed = (uint32_t)rh_clock_now_ns();
  }
  // llama takes this one value as "choose at random", which would break the promise of a seed.
  return seed == LLAMA_DEFAULT_SEED ? LLAMA_DEFAULT_SEED - 1 : seed;
}

static rh_status add_draw(struct llama_sampler *chain, const rh_generate *generate, rh_error *error) {
  rh_status status = RH_OK;
  if (generate->top_k > 0) status = add(chain, llama_sampler_init_top_k(generate->top_k), error);
  if (status == RH_OK && generate->top_p < 1.0f) {
    status = add(chain, llama_sampler_init_top_p(generate->top_p, 0), error);
  }
  if (status == RH_OK && generate->min_p > 0.0f) {
    status = add(chain, llama_sampler_init_min_p(generate->min_p, 0), error);
  }
  if (status == RH_OK && generate->temperature != 1.0f) {
    status = add(chain, llama_sampler_init_temp(generate->temperature), error);
  }
  if (status == RH_OK) status = add(chain, llama_sampler_init_dist(choose_seed(generate)), error);
  return status;
}

static rh_status build_chain(rh_sampler *sampler, const rh_engine *engine, const rh_generate *generate,
                             const llama_token *prompt, int64_t prompt_count, rh_error *error) {
  // The least possible mass, or no warmth at all, leaves one token: the likeliest.
  bool greedy = generate->temperature <= 0.0f || generate->top_p <= 0.0f || generate->top_k == 1;
  bool biased = bias_count(engine, generate) > 0;
  bool penalized = has_penalties(generate);
  if (greedy && !biased && !penalized) return RH_OK;
  struct llama_sampler_chain_params params = llama_sampler_chain_default_params();
  params.no_perf = true;
  sampler->chain = llama_sampler_chain_init(params);
  if (!sampler->chain) return rh_fail(error, RH_NO_MEMORY, "not enough memory for a sampler");
  rh_status status = RH_OK;
  if (biased) status = add_bias(sampler->chain, engine, generate, error);
  if (status == RH_OK && penalized) {
    status = add_penalties(sampler->chain, engine, generate, prompt, prompt_count, error);
  }
  if (status != RH_OK) return status;
  return greedy ? add(sampler->chain, llama_sampler_init_greedy(), error) : add_draw(sampler->chain, generate, error);
}

rh_status rh_llama_sampler_new(const rh_engine *engine, const rh_run *run, const llama_token *prompt,
                               int64_t prompt_count, rh_sampler **out, rh_error *error) {
  rh_status status = check_settings(&run->generate, error);
  if (status != RH_OK) return status;
  rh_sampler *sampler = calloc(1, sizeof *sampler);
  if (!sampler) return rh_fail(error, RH_NO_MEMORY, "not enough memory for a sampler");
  sampler->top_logprobs = run->generate.top_logprobs;
  status = build_chain(sampler, engine, &run->generate, prompt, prompt_count, error);
  if (status != RH_OK) {
    rh_llama_sampler_free(sampler);
    return status;
  }
  *out = sampler;
  return RH_OK;
}

void rh_llama_sampler_free(rh_sampler *sampler) {
  if (!sampler) return;
  if (sampler->chain) llama_sampler_free(sampler->chain);
  free(sampler);
}

static llama_token likeliest(const float *logits, int32_t vocabulary) {
  llama_token best = 0;
  for (llama_token token = 1; token < vocabulary; token++) {
    if (logits[token] > logits[best]) best = token;
  }
  return best;
}

static void fill_logprobs(const rh_sampler *sampler, rh_engine *engine, const float *logits, rh_token *token,
                          rh_top_logprob *top) {
  size_t count = (size_t)sampler->top_logprobs;
  if (count > (size_t)engine->vocabulary) count = (size_t)engine->vocabulary;
  token->logprob = rh_llama_logprobs(logits, engine->vocabulary, token->id, top, count);
  for (size_t i = 0; i < count; i++) {
    char *piece = engine->pieces + (i + 1) * (size_t)engine->piece_bytes_max;
    top[i].bytes = piece;
    top[i].length = rh_llama_vocabulary_piece(engine, top[i].token, piece);
  }
  token->top = top;
  token->top_count = count;
}

void rh_llama_sampler_pick(rh_sampler *sampler, rh_engine *engine, int32_t index, rh_token *token,
                           rh_top_logprob *top) {
  const float *logits = llama_get_logits_ith(engine->context, index);
  assert(logits);
  *token = (rh_token){0};
  token->id = sampler->chain ? llama_sampler_sample(sampler->chain, engine->context, index)
                             : likeliest(logits, engine->vocabulary);
  token->end = llama_vocab_is_eog(engine->vocab, token->id);
  token->bytes = engine->pieces;
  token->length = token->end ? 0 : rh_llama_vocabulary_piece(engine, token->id, engine->pieces);
  if (sampler->top_logprobs >= 0) fill_logprobs(sampler, engine, logits, token, top);
}
