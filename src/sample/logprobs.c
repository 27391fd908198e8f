// SPDX-License-Identifier: Apache-2.0
//
// Purpose: log-probabilities of tokens, from the model's own logits before any sampling setting touches them.
// Data owned: none. Threads: any.
// Not here: probabilities after temperature, top_p and the like. The OpenAI API means the model's own, and so does
// llama-server unless told otherwise.
#include <assert.h>
#include <math.h>

#include "sample/internal.h"

// Block `at` of the logits; the last one, where the vocabulary does not fill it, is copied to `room`.
static const float *block_of(const float *logits, int32_t vocabulary, int32_t at, float room[RH_BLOCK]) {
  if (vocabulary - at >= RH_BLOCK) return logits + at;
  for (int32_t i = 0; i < RH_BLOCK; i++) room[i] = at + i < vocabulary ? logits[at + i] : -INFINITY;
  return room;
}

// Keep the `count` greatest logits, best first, in top[].logprob, by insertion: most blocks fail the first comparison.
static void keep_best(const float *logits, int32_t vocabulary, rh_top_logprob *top, size_t count) {
  size_t kept = 0;
  for (int32_t token = 0; token < vocabulary; token++) {
    if (kept == count && token % RH_BLOCK == 0 && vocabulary - token >= RH_BLOCK) {
      if (rh_block_max(logits + token) <= top[count - 1].logprob) {
        token += RH_BLOCK - 1;
        continue;
      }
    }
    float logit = isnan(logits[token]) ? -INFINITY : logits[token];
    if (kept == count && logit <= top[count - 1].logprob) continue;
    size_t place = kept < count ? kept++ : count - 1;
    while (place > 0 && top[place - 1].logprob < logit) {
      top[place] = top[place - 1];
      place--;
    }
    top[place].token = token;
    top[place].logprob = logit;
  }
}

// log softmax(x)_i = x_i - max - log(sum exp(x - max)). Infinity less infinity is taken for 0.
static float log_probability(float logit, float best, float log_sum) {
  if (!(logit > -INFINITY)) return -INFINITY;
  return (logit == best ? 0.0f : logit - best) - log_sum;
}

float rh_sampler_logprobs(const float *logits, int32_t vocabulary, int32_t chosen, rh_top_logprob *top, size_t count) {
  assert(vocabulary > 0 && chosen >= 0 && chosen < vocabulary && count <= (size_t)vocabulary);
  float room[RH_BLOCK];
  float best = -INFINITY;
  for (int32_t at = 0; at < vocabulary; at += RH_BLOCK) {
    float greatest = rh_block_max(block_of(logits, vocabulary, at, room));
    best = greatest > best ? greatest : best;
  }
  double sum = 0.0;  // in double, for a vocabulary may have 10^5 terms
  for (int32_t at = 0; isfinite(best) && at < vocabulary; at += RH_BLOCK) {
    float weights[RH_BLOCK];
    sum += rh_block_weigh(block_of(logits, vocabulary, at, room), -FLT_MAX, best, 1.0f, weights);
  }
  float log_sum = sum > 1.0 ? (float)log(sum) : 0.0f;
  if (count > 0) keep_best(logits, vocabulary, top, count);
  for (size_t i = 0; i < count; i++) top[i].logprob = log_probability(top[i].logprob, best, log_sum);
  return log_probability(logits[chosen], best, log_sum);
}
