// SPDX-License-Identifier: Apache-2.0
//
// How one run chooses its tokens from a model's logits, for every engine: logit bias, penalties, top_k, top_p, min_p,
// temperature, and a draw by the seed (or simply the likeliest), in llama-server's order, so that results can be compared.
//
// A sampler belongs to one run and is used on one thread, the engine's.
// Source of the behaviour: llama.cpp's samplers of the same names; the tests compare with them.
#ifndef RH_SAMPLE_SAMPLER_H
#define RH_SAMPLE_SAMPLER_H

#include "base/status.h"
#include "flow/event.h"
#include "flow/request.h"

// What a sampler must know of the model. Read only while a sampler is made.
typedef struct rh_sampler_model {
  int32_t vocabulary;         // logits of one token
  int64_t context;            // tokens of one request; no penalty looks back further
  const int32_t *end_tokens;  // forbidden where the run ignores the end
  size_t end_token_count;
  const int32_t *never;  // tokens that the model's own files forbid
  size_t never_count;
} rh_sampler_model;

typedef struct rh_sampler rh_sampler;

// RH_INVALID names the setting at fault. The penalties look back over the prompt's end as well. `generate` and `prompt` are
// only read during the call. Without a seed the draw is seeded by the system.
rh_status rh_sampler_new(const rh_sampler_model *model, const rh_generate *generate, const int32_t *prompt,
                         int64_t prompt_count, rh_sampler **out, rh_error *error) RH_MUST_CHECK;
void rh_sampler_free(rh_sampler *sampler);  // NULL is allowed

// Choose a token; `logits` are read, never changed. The token counts for later penalties. NaN logits are never chosen; where all
// are NaN or -infinity, the answer is token 0.
int32_t rh_sampler_pick(rh_sampler *sampler, const float *logits);

// The natural logarithm of softmax over the model's own logits, before any setting touches them: for one token (returned)
// and the `count` likeliest (top[].token and top[].logprob, best first; count <= vocabulary).
float rh_sampler_logprobs(const float *logits, int32_t vocabulary, int32_t chosen, rh_top_logprob *top, size_t count);

#endif
