// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the life of a run: from a prompt to a slot, and out of it again.
// Data owned: the list of running sequences; each owns its prompt, sampler and text.
// Threads: the engine thread.
// Not here: the work itself (step.c).
#include <assert.h>
#include <stdlib.h>

#include "engine/onnx/generate/generate.h"

static void sequence_free(rh_sequence *sequence) {
  rh_sampler_free(sequence->sampler);
  rh_gen_text_free(&sequence->text);
  free(sequence->prompt);
  free(sequence);
}

static rh_status prepare(rh_engine *engine, const rh_run *run, rh_sequence *sequence, rh_error *error) {
  const rh_generator *generator = engine->generator;
  const rh_sampler_model model = {.vocabulary = generator->size.vocabulary,
                                  .context = generator->size.tokens,
                                  .end_tokens = generator->files.ends,
                                  .end_token_count = generator->files.end_count};
  rh_status status = rh_gen_prompt(engine, run, &sequence->prompt, &sequence->prompt_count, error);
  if (status == RH_OK) {
    status =
        rh_sampler_new(&model, &run->generate, sequence->prompt, sequence->prompt_count, &sequence->sampler, error);
  }
  if (status == RH_OK) status = rh_gen_text_init(engine, run, sequence, error);
  return status;
}

// The cache then holds the first `keep` tokens of the prompt, and the prompt's last token is still to be computed: its
// logits choose the first of the answer.
static void claim(rh_engine *engine, rh_sequence *sequence, bool reuse) {
  rh_generator *generator = engine->generator;
  int64_t keep = 0;
  sequence->slot = rh_prefix_choose(generator->prefixes, generator->slot_count, sequence->prompt,
                                    sequence->prompt_count, reuse, &keep);
  assert(sequence->slot < generator->slot_count && "the caller has asked whether a slot is free");
  if (keep == sequence->prompt_count) keep--;
  if (!generator->cache->rewind(engine, sequence->slot, keep))
    (void)generator->cache->rewind(engine, sequence->slot, 0);
  generator->prefixes[sequence->slot].holder = sequence;
}

rh_status rh_gen_start(rh_engine *engine, const rh_run *run, const rh_sequence_listener *listener, rh_sequence **out,
                       int64_t *prompt_tokens, int64_t *cached_tokens, rh_error *error) {
  rh_generator *generator = engine->generator;
  if (!generator) {
    return rh_fail_param(error, RH_UNSUPPORTED, "model", "%s does not generate text: %s", engine->name,
                         engine->not_generator);
  }
  assert(!generator->stepping && listener->token);
  // First, because a waiting run is started again and again and must not be tokenized each time.
  if (!rh_prefix_any_free(generator->prefixes, generator->slot_count)) return RH_AGAIN;
  rh_sequence *sequence = calloc(1, sizeof *sequence);
  if (!sequence) return rh_fail(error, RH_NO_MEMORY, "not enough memory for a sequence");
  sequence->listener = *listener;
  sequence->top_logprobs = run->generate.top_logprobs;
  rh_status status = prepare(engine, run, sequence, error);
  if (status != RH_OK) {
    sequence_free(sequence);
    return status;
  }
  // A run with a seed computes its whole prompt, so that its text repeats (docs/decisions/0003).
  claim(engine, sequence, !run->generate.has_seed && !generator->whole_prompts);
  rh_list_push_back(&generator->running, &sequence->node);
  int64_t held = generator->prefixes[sequence->slot].count;
  engine->counts.cached_tokens += (uint64_t)held;
  *prompt_tokens = sequence->prompt_count;
  *cached_tokens = held;
  *out = sequence;
  return RH_OK;
}

void rh_gen_end(rh_engine *engine, rh_sequence *sequence) {
  rh_generator *generator = engine->generator;
  rh_prefix *prefix = &generator->prefixes[sequence->slot];
  assert(prefix->holder == sequence);
  prefix->holder = NULL;
  prefix->last_used = ++generator->use_clock;
  generator->cache->rest(engine, sequence->slot);
  rh_list_remove(&generator->running, &sequence->node);
  sequence_free(sequence);
}

void rh_gen_stop(rh_engine *engine, rh_sequence *sequence) {
  assert(!engine->generator->stepping);
  rh_gen_end(engine, sequence);
}

void rh_gen_pause(rh_engine *engine, rh_sequence *sequence, bool paused) {
  (void)engine;
  sequence->paused = paused;
}
