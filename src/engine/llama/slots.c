// SPDX-License-Identifier: Apache-2.0
//
// Purpose: which slot a run gets, and how much of its prompt that slot's cache already holds.
// Data owned: the token lists of the slots; they say what llama's cache holds and are changed only with it.
// Threads: the engine thread.
// Not here: sharing a prefix between slots. Each slot keeps only what its own last run left.
#include <assert.h>

#include "engine/llama/internal.h"

static llama_seq_id id_of(const rh_engine *engine, const rh_slot *slot) { return (llama_seq_id)(slot - engine->slots); }

// Does the cache still hold all that a token at position `keep` will look at? A model with sliding windows drops older
// positions, a recurrent one holds only its last state; llama tells by the smallest position it has.
static bool is_visible(const rh_engine *engine, const rh_slot *slot, int64_t keep) {
  llama_pos least = llama_memory_seq_pos_min(engine->memory, id_of(engine, slot));
  return least == 0 || (least > 0 && least < keep - engine->sliding_window);
}

void rh_llama_slots_clear(rh_engine *engine, rh_slot *slot) {
  // Removing a whole sequence never fails, says llama.h.
  (void)llama_memory_seq_rm(engine->memory, id_of(engine, slot), -1, -1);
  slot->count = 0;
}

void rh_llama_slots_claim(rh_engine *engine, rh_sequence *sequence, bool reuse) {
  int64_t keep = 0;
  size_t index =
      rh_prefix_choose(engine->slots, engine->slot_count, sequence->prompt, sequence->prompt_count, reuse, &keep);
  assert(index < engine->slot_count && "the caller has asked whether a slot is free");
  rh_slot *slot = &engine->slots[index];
  // At least one token must be computed: its logits choose the first token of the answer.
  if (keep == sequence->prompt_count) keep--;
  if (keep > 0 && !is_visible(engine, slot, keep)) keep = 0;
  if (keep == 0) {
    rh_llama_slots_clear(engine, slot);
  } else if (keep < slot->count) {
    // A recurrent state cannot be taken back by some tokens; then everything is computed again.
    if (llama_memory_seq_rm(engine->memory, id_of(engine, slot), (llama_pos)keep, -1)) {
      slot->count = keep;
    } else {
      rh_llama_slots_clear(engine, slot);
    }
  }
  slot->holder = sequence;
  sequence->slot = slot;
}

void rh_llama_slots_release(rh_engine *engine, rh_sequence *sequence) {
  assert(sequence->slot && sequence->slot->holder == sequence);
  sequence->slot->holder = NULL;
  sequence->slot->last_used = ++engine->use_clock;
  sequence->slot = NULL;
}
