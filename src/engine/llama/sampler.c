// SPDX-License-Identifier: Apache-2.0
//
// Purpose: what src/sample must know of the model, and what it chose in the engine's words.
// Data owned: none; a sequence owns its sampler.
// Threads: the engine thread.
// Not here: how a token is chosen.
#include <assert.h>

#include "engine/llama/internal.h"

rh_status rh_llama_sampler_new(const rh_engine *engine, const rh_run *run, rh_sequence *sequence, rh_error *error) {
  int32_t suppressed = 0;
  const llama_token *suppress = llama_vocab_get_suppress_tokens(engine->vocab, &suppressed);
  const rh_sampler_model model = {.vocabulary = engine->vocabulary,
                                  .context = engine->context_size,
                                  .end_tokens = engine->end_tokens,
                                  .end_token_count = engine->end_token_count,
                                  .never = suppress,
                                  .never_count = suppressed > 0 ? (size_t)suppressed : 0};
  sequence->top_logprobs = run->generate.top_logprobs;
  return rh_sampler_new(&model, &run->generate, sequence->prompt, sequence->prompt_count, &sequence->sampler, error);
}

static void fill_logprobs(rh_engine *engine, const rh_sequence *sequence, const float *logits, rh_token *token,
                          rh_top_logprob *top) {
  size_t count = (size_t)sequence->top_logprobs;
  if (count > (size_t)engine->vocabulary) count = (size_t)engine->vocabulary;
  token->logprob = rh_sampler_logprobs(logits, engine->vocabulary, token->id, top, count);
  for (size_t i = 0; i < count; i++) {
    char *piece = engine->pieces + (i + 1) * (size_t)engine->piece_bytes_max;
    top[i].bytes = piece;
    top[i].length = rh_llama_vocabulary_piece(engine, top[i].token, piece);
  }
  token->top = top;
  token->top_count = count;
}

void rh_llama_sampler_pick(rh_engine *engine, rh_sequence *sequence, rh_token *token, rh_top_logprob *top) {
  const float *logits = llama_get_logits_ith(engine->context, sequence->batch_index);
  assert(logits);
  *token = (rh_token){0};
  token->id = rh_sampler_pick(sequence->sampler, logits);
  token->end = llama_vocab_is_eog(engine->vocab, token->id);
  token->bytes = engine->pieces;
  token->length = token->end ? 0 : rh_llama_vocabulary_piece(engine, token->id, engine->pieces);
  if (sequence->top_logprobs >= 0) fill_logprobs(engine, sequence, logits, token, top);
}
