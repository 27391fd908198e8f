// SPDX-License-Identifier: Apache-2.0
//
// Purpose: log-probabilities of tokens, from the model's own logits before any sampling setting touches them.
// Data owned: none. Threads: the engine thread.
// Not here: probabilities after temperature, top_p and the like. The OpenAI API means the model's own, and so does
// llama-server unless told otherwise.
#include <assert.h>
#include <math.h>

#include "engine/llama/internal.h"

// Keep the `count` largest logits, best first, in top[].logprob, by insertion: most logits fail the first comparison.
static void keep_best(const float *logits, int32_t vocabulary, rh_top_logprob *top, size_t count) {
  size_t kept = 0;
  for (llama_token token = 0; token < vocabulary; token++) {
    float logit = logits[token];
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

float rh_llama_logprobs(const float *logits, int32_t vocabulary, llama_token chosen, rh_top_logprob *top,
                        size_t count) {
  assert(vocabulary > 0 && chosen >= 0 && chosen < vocabulary && count <= (size_t)vocabulary);
  float best = logits[0];
  for (int32_t i = 1; i < vocabulary; i++) best = logits[i] > best ? logits[i] : best;
  // log softmax(x)_i = x_i - max - log(sum exp(x - max)); the sum in double, for a vocabulary may have 10^5 terms.
  double sum = 0.0;
  for (int32_t i = 0; i < vocabulary; i++) sum += (double)expf(logits[i] - best);
  float shift = best + (float)log(sum);
  if (count > 0) keep_best(logits, vocabulary, top, count);
  for (size_t i = 0; i < count; i++) top[i].logprob -= shift;
  return logits[chosen] - shift;
}
