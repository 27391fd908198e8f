// SPDX-License-Identifier: Apache-2.0
//
// What the KV cache of a slot holds, as tokens, so that a prompt with the same beginning need not be computed again. The
// engine owns the cache itself and keeps both in step. Engine thread.
#ifndef RH_ENGINE_COMMON_PREFIX_H
#define RH_ENGINE_COMMON_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rh_prefix {
  int32_t *tokens;  // in the cache, in order; room for a whole context
  int64_t count;
  uint64_t last_used;  // the engine's count of ended runs when the last one ended; 0 = never
  void *holder;        // the run that has the slot, or NULL
} rh_prefix;

bool rh_prefix_any_free(const rh_prefix *slots, size_t count);

// The free slot that holds most of the prompt; among equals the one whose content was left longest ago. *held tells how many
// of the prompt's first tokens it holds; 0 unless `reuse`. `count` when none is free.
size_t rh_prefix_choose(const rh_prefix *slots, size_t count, const int32_t *prompt, int64_t prompt_count, bool reuse,
                        int64_t *held);

#endif
