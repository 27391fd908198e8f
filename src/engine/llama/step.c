// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one step of continuous batching: put tokens of many sequences into one batch, decode it, choose the next
// token of each sequence whose turn it is, and report.
// Data owned: the engine's batch while a step runs.
// Threads: the engine thread; llama's own threads work inside llama_decode.
// Not here: fairness between requests. The worker and the scheduler decide who gets a slot.
#include <assert.h>

#include "base/log.h"
#include "engine/llama/internal.h"

static void add_token(rh_engine *engine, rh_sequence *sequence, llama_token token, bool logits) {
  struct llama_batch *batch = &engine->batch;
  int32_t at = batch->n_tokens++;
  assert(batch->n_tokens <= engine->batch_size);
  batch->token[at] = token;
  batch->pos[at] = (llama_pos)(sequence->slot->count + sequence->batch_count);
  batch->n_seq_id[at] = 1;
  batch->seq_id[at][0] = (llama_seq_id)(sequence->slot - engine->slots);
  batch->logits[at] = logits ? 1 : 0;
  sequence->batch_count++;
  if (logits) sequence->batch_index = at;
}

// Decoding sequences first, one token each: a stream that has begun must not stutter because others begin.
static void add_decoding(rh_engine *engine) {
  rh_list_each(&engine->running, node) {
    rh_sequence *sequence = rh_list_entry(node, rh_sequence, node);
    sequence->batch_index = -1;
    sequence->batch_count = 0;
    if (sequence->decoding && !sequence->paused) add_token(engine, sequence, sequence->next, true);
  }
}

// Then prompts, oldest first. While others decode, a step takes only a chunk of them, which bounds the pause between
// two tokens of a stream; alone, a prompt may fill the batch.
static void add_prompts(rh_engine *engine) {
  int64_t room = engine->batch_size - engine->batch.n_tokens;
  if (engine->batch.n_tokens > 0 && room > engine->prefill_chunk) room = engine->prefill_chunk;
  rh_list_each(&engine->running, node) {
    rh_sequence *sequence = rh_list_entry(node, rh_sequence, node);
    if (sequence->decoding || sequence->paused) continue;
    int64_t done = sequence->slot->count;
    int64_t end = sequence->prompt_count - done <= room ? sequence->prompt_count : done + room;
    room -= end - done;
    for (int64_t i = done; i < end; i++) {
      add_token(engine, sequence, sequence->prompt[i], i + 1 == sequence->prompt_count);
    }
    if (room == 0) return;
  }
}

// The batch is in the cache: say so in the slots' token lists.
static void note_cached(rh_engine *engine) {
  rh_list_each(&engine->running, node) {
    rh_sequence *sequence = rh_list_entry(node, rh_sequence, node);
    rh_slot *slot = sequence->slot;
    assert(slot->count + sequence->batch_count <= engine->context_size);
    for (int64_t i = 0; i < sequence->batch_count; i++) {
      slot->tokens[slot->count] = sequence->decoding ? sequence->next : sequence->prompt[slot->count];
      slot->count++;
    }
    if (!sequence->decoding) engine->counts.prompt_tokens += (uint64_t)sequence->batch_count;
  }
}

// Choose one sequence's next token and hand it over. Frees the sequence when that was its last.
static void deliver(rh_engine *engine, rh_sequence *sequence) {
  const rh_sequence_listener *listener = &sequence->listener;
  rh_token token;
  rh_top_logprob top[RH_TOP_LOGPROBS_MAX];
  rh_llama_sampler_pick(engine, sequence, &token, top);
  sequence->decoding = true;
  sequence->next = token.id;
  engine->counts.generated_tokens++;
  rh_next verdict = listener->token(listener->ctx, &token);
  if (token.end || verdict == RH_NEXT_STOP) {
    rh_llama_sequence_free(engine, sequence);
    return;
  }
  // Prompt and answer together are the context; the token just handed over counts, though it is not in the cache yet.
  if (sequence->slot->count + 1 >= engine->context_size) {
    if (listener->context_full) listener->context_full(listener->ctx);
    rh_llama_sequence_free(engine, sequence);
  }
}

static void report(rh_engine *engine) {
  rh_list_each(&engine->running, node) {
    rh_sequence *sequence = rh_list_entry(node, rh_sequence, node);
    if (sequence->batch_count == 0) continue;
    const rh_sequence_listener *listener = &sequence->listener;
    if (!sequence->decoding && listener->prompt_progress) {
      listener->prompt_progress(listener->ctx, sequence->slot->count, sequence->prompt_count);
    }
    if (sequence->batch_index >= 0) deliver(engine, sequence);
  }
}

// Each slot has a stream of its own with a whole context in it, so the cache cannot run out. Should llama think
// otherwise, one run is given up and the others go on; llama has put its memory back as it was.
static void fail_youngest(rh_engine *engine) {
  rh_sequence *youngest = NULL;
  rh_list_each(&engine->running, node) {
    rh_sequence *sequence = rh_list_entry(node, rh_sequence, node);
    if (sequence->batch_count > 0) youngest = sequence;
  }
  assert(youngest);
  rh_error error;
  (void)rh_fail(&error, RH_INTERNAL, "llama.cpp found no room in its KV cache for a batch of %d tokens",
                engine->batch.n_tokens);
  RH_LOG(RH_LOG_ERROR, error.message, rh_log_int("sequences", (int64_t)engine->running.count));
  rh_slot *slot = youngest->slot;
  if (youngest->listener.failed) youngest->listener.failed(youngest->listener.ctx, &error);
  rh_llama_sequence_free(engine, youngest);
  rh_llama_slots_clear(engine, slot);
}

rh_status rh_llama_step(rh_engine *engine, bool *worked, rh_error *error) {
  assert(!engine->stepping);
  engine->batch.n_tokens = 0;
  add_decoding(engine);
  add_prompts(engine);
  *worked = engine->batch.n_tokens > 0;
  if (!*worked) return RH_OK;
  engine->stepping = true;
  engine->counts.steps++;
  int32_t result = llama_decode(engine->context, engine->batch);
  if (result == 0) {
    note_cached(engine);
    report(engine);
  } else if (result == 1) {
    fail_youngest(engine);
  }
  engine->stepping = false;
  if (result == 0 || result == 1) return RH_OK;
  char reason[512];
  rh_llama_log_reason(reason, sizeof reason, "llama.cpp gave no reason");
  return rh_fail(error, RH_INTERNAL, "llama_decode failed with %d: %s", result, reason);
}
