// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one step of continuous batching: a call of the graph with a token for each sequence that decodes, then one with a
// piece of the oldest prompt that waits.
// Data owned: none. Threads: the engine thread.
// Not here: fairness between requests. The worker and the scheduler decide who gets a slot.
//
// Prompts are not batched with each other: one of some length keeps the processor busy alone, and a row of padding costs as
// much as a row of text.
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "engine/onnx/generate/generate.h"

static bool is_decoding(const rh_sequence *sequence) { return sequence && sequence->decoding && !sequence->paused; }

// The cache holds the pass's tokens now: say so in the slots' lists.
static void note_cached(rh_generator *generator, rh_prefix *prefix, const int32_t *tokens, int64_t count) {
  assert(prefix->count + count <= generator->size.tokens);
  memcpy(prefix->tokens + prefix->count, tokens, (size_t)count * sizeof *tokens);
  prefix->count += count;
}

// Hand over the next token of a sequence. Ends it when that was its last.
static void deliver(rh_engine *engine, rh_sequence *sequence, const float *logits) {
  const rh_generator *generator = engine->generator;
  sequence->decoding = true;
  if (rh_gen_tell(engine, sequence, logits) == RH_NEXT_STOP) {
    rh_gen_end(engine, sequence);
    return;
  }
  // Prompt and answer together are the context; the token just handed over counts, though it is not in the cache yet.
  if (generator->prefixes[sequence->slot].count + 1 < generator->size.tokens) return;
  if (sequence->listener.context_full) sequence->listener.context_full(sequence->listener.ctx);
  rh_gen_end(engine, sequence);
}

// The slots of the next call: at most rows_max that decode, from `from` on; false when there are none left. Where rows must be
// neighbours, those between them that do not decode come along: one call with some rows for nothing reads the weights
// once, two calls twice.
static bool choose_rows(const rh_engine *engine, size_t *from, size_t *slots, size_t *rows) {
  const rh_generator *generator = engine->generator;
  size_t most = (size_t)generator->ports.rows_max, used = 0, chosen = 0;
  for (size_t slot = *from; slot < generator->slot_count && chosen < most; slot++) {
    bool decodes = is_decoding(generator->prefixes[slot].holder);
    if (!decodes && (!generator->cache->neighbours || chosen == 0)) continue;
    slots[chosen++] = slot;
    if (decodes) used = chosen;
  }
  *rows = used;
  if (used > 0) *from = slots[used - 1] + 1;
  return used > 0;
}

// The call failed: memory was short, say. Nothing of it counts, its sequences end with the reason, and the others go on. What their
// slots held is given up first, since memory may be what was short. A GPU
// that has failed once is not trusted again: then the error is the engine's.
static rh_status give_up(rh_engine *engine, rh_status status, const rh_error *reason, rh_error *error) {
  rh_generator *generator = engine->generator;
  if (!generator->on_cpu) return rh_fail(error, status, "%s", reason->message);
  RH_LOG(RH_LOG_ERROR, "a call of the graph failed", rh_log_str("graph", engine->name),
         rh_log_int("rows", (int64_t)generator->pass.rows), rh_log_str("reason", reason->message));
  generator->bound_rows = 0;
  for (size_t row = 0; row < generator->pass.rows; row++) {
    size_t slot = generator->pass.slots[row];
    rh_sequence *sequence = generator->prefixes[slot].holder;
    if (generator->pass.idle[row]) continue;
    (void)generator->cache->rewind(engine, slot, 0);
    if (sequence->listener.failed) sequence->listener.failed(sequence->listener.ctx, reason);
    rh_gen_end(engine, sequence);
  }
  return RH_OK;
}

static rh_status decode_rows(rh_engine *engine, const size_t *slots, size_t rows, rh_error *error) {
  rh_generator *generator = engine->generator;
  rh_pass *pass = &generator->pass;
  rh_error reason = {0};
  rh_status status = rh_pass_begin(engine, rows, 1, error);
  if (status != RH_OK) return status;
  for (size_t row = 0; row < rows; row++) {
    const rh_sequence *sequence = generator->prefixes[slots[row]].holder;
    // A row for nothing writes one position behind its slot's last, where that slot's next token will be.
    pass->idle[row] = !is_decoding(sequence);
    pass->slots[row] = slots[row];
    pass->tokens[row] = pass->idle[row] ? 0 : sequence->next;
  }
  status = rh_pass_run(engine, &reason);
  if (status != RH_OK) return give_up(engine, status, &reason, error);
  for (size_t row = 0; row < rows; row++) {
    if (!pass->idle[row]) note_cached(generator, &generator->prefixes[slots[row]], &pass->tokens[row], 1);
  }
  for (size_t row = 0; row < rows; row++) {
    rh_sequence *sequence = generator->prefixes[slots[row]].holder;
    if (!pass->idle[row]) deliver(engine, sequence, rh_pass_logits(engine, row));
  }
  return RH_OK;
}

static rh_status decode(rh_engine *engine, bool *worked, rh_error *error) {
  size_t slots[RH_GEN_SLOTS_MAX], rows = 0, from = 0;
  rh_status status = RH_OK;
  while (status == RH_OK && choose_rows(engine, &from, slots, &rows)) {
    *worked = true;
    status = decode_rows(engine, slots, rows, error);
  }
  return status;
}

static rh_sequence *oldest_prompt(const rh_generator *generator) {
  rh_list_each(&generator->running, node) {
    rh_sequence *sequence = rh_list_entry(node, rh_sequence, node);
    if (!sequence->decoding && !sequence->paused) return sequence;
  }
  return NULL;
}

static rh_status read_prompt(rh_engine *engine, bool *worked, rh_error *error) {
  rh_generator *generator = engine->generator;
  rh_sequence *sequence = oldest_prompt(generator);
  if (!sequence) return RH_OK;
  rh_prefix *prefix = &generator->prefixes[sequence->slot];
  int64_t chunk = *worked ? generator->chunk_beside : generator->chunk;
  int64_t left = sequence->prompt_count - prefix->count;
  // In pieces of one size: a short one at the end would read all weights for a few tokens.
  int64_t pieces = (left + chunk - 1) / chunk;
  int64_t count = (left + pieces - 1) / pieces;
  rh_error reason = {0};
  *worked = true;
  rh_status status = rh_pass_begin(engine, 1, count, error);
  if (status != RH_OK) return status;
  generator->pass.slots[0] = sequence->slot;
  generator->pass.idle[0] = false;
  memcpy(generator->pass.tokens, sequence->prompt + prefix->count, (size_t)count * sizeof(int32_t));
  status = rh_pass_run(engine, &reason);
  if (status != RH_OK) return give_up(engine, status, &reason, error);
  note_cached(generator, prefix, sequence->prompt + prefix->count, count);
  engine->counts.prompt_tokens += (uint64_t)count;
  const rh_sequence_listener *listener = &sequence->listener;
  if (listener->prompt_progress) listener->prompt_progress(listener->ctx, prefix->count, sequence->prompt_count);
  if (prefix->count == sequence->prompt_count) deliver(engine, sequence, rh_pass_logits(engine, 0));
  return RH_OK;
}

rh_status rh_gen_step(rh_engine *engine, bool *worked, rh_error *error) {
  rh_generator *generator = engine->generator;
  *worked = false;
  if (!generator || generator->running.count == 0) return RH_OK;
  assert(!generator->stepping);
  generator->stepping = true;
  rh_status status = decode(engine, worked, error);
  if (status == RH_OK) status = read_prompt(engine, worked, error);
  generator->stepping = false;
  if (*worked) engine->counts.steps++;
  return status;
}
