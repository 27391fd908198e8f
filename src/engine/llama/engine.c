// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the engine's table of functions, and the life of a sequence from start to its end.
// Data owned: the list of running sequences.
// Threads: the engine thread, except probe().
// Not here: the work itself; see prompt.c, slots.c, sampler.c and step.c.
#include <assert.h>
#include <stdlib.h>

#include "engine/llama/internal.h"
#include "engine/llama/llama_engine.h"

void rh_llama_sequence_free(rh_engine *engine, rh_sequence *sequence) {
  if (sequence->slot) {
    rh_llama_slots_release(engine, sequence);
    rh_list_remove(&engine->running, &sequence->node);
  }
  rh_sampler_free(sequence->sampler);
  free(sequence->prompt);
  free(sequence);
}

static rh_status start(rh_engine *engine, const rh_run *run, const rh_sequence_listener *listener, rh_sequence **out,
                       int64_t *prompt_tokens, int64_t *cached_tokens, rh_error *error) {
  assert(!engine->stepping && listener->token);
  if (engine->embeds) {
    return rh_fail_param(error, RH_UNSUPPORTED, "model", "%s does not generate text; it makes embeddings",
                         engine->name);
  }
  // First, because a waiting run is started again and again and must not be tokenized each time.
  if (!rh_prefix_any_free(engine->slots, engine->slot_count)) return RH_AGAIN;
  rh_sequence *sequence = calloc(1, sizeof *sequence);
  if (!sequence) return rh_fail(error, RH_NO_MEMORY, "not enough memory for a sequence");
  sequence->listener = *listener;
  sequence->batch_index = -1;
  rh_status status = rh_llama_prompt_make(engine, run, &sequence->prompt, &sequence->prompt_count, error);
  if (status == RH_OK) status = rh_llama_sampler_new(engine, run, sequence, error);
  if (status != RH_OK) {
    rh_llama_sequence_free(engine, sequence);
    return status;
  }
  // The same seed is to give the same text. Sums of floating-point numbers depend on how a prompt was cut into batches,
  // so cached keys and values may differ in their last bits from freshly computed ones, and one bit can turn a choice.
  // A run with a seed therefore computes its whole prompt. (Other runs in the same batch can still turn a bit; alone on
  // the engine the promise is exact.)
  rh_llama_slots_claim(engine, sequence, !run->generate.has_seed);
  rh_list_push_back(&engine->running, &sequence->node);
  engine->counts.cached_tokens += (uint64_t)sequence->slot->count;
  *prompt_tokens = sequence->prompt_count;
  *cached_tokens = sequence->slot->count;
  *out = sequence;
  return RH_OK;
}

static void stop(rh_engine *engine, rh_sequence *sequence) {
  assert(!engine->stepping);
  rh_llama_sequence_free(engine, sequence);
}

static void set_paused(rh_engine *engine, rh_sequence *sequence, bool paused) {
  (void)engine;
  sequence->paused = paused;
}

// llama.cpp's threads wait for each other by spinning. Two models whose threads together are more than the cores take
// turns in spinning, and a token that takes 10 ms alone then takes seconds.
static void use_threads(rh_engine *engine, int32_t threads) {
  int32_t now = threads > 0 && threads < engine->threads ? threads : engine->threads;
  llama_set_n_threads(engine->context, now, now);
}

static void get_counts(const rh_engine *engine, rh_engine_counts *counts) { *counts = engine->counts; }

const rh_engine_ops rh_engine_llama = {
    .name = "llama",
    .version = "llama.cpp",  // describe() and probe() give the exact version
    .probe = rh_llama_library_probe,
    .load = rh_llama_load,
    .describe = rh_llama_describe,
    .start = start,
    .stop = stop,
    .pause = set_paused,
    .step = rh_llama_step,
    .use_threads = use_threads,
    .infer = rh_llama_infer,
    .counts = get_counts,
    .unload = rh_llama_unload,
};
