// SPDX-License-Identifier: Apache-2.0
//
// Purpose: which slot a run gets, by what its cache already holds of the prompt.
// Data owned: none. Threads: the engine thread.
// Not here: the caches; and sharing a prefix between slots: each slot keeps only what its own last run left.
#include "engine/common/prefix.h"

static int64_t common_prefix(const rh_prefix *slot, const int32_t *prompt, int64_t count) {
  int64_t most = slot->count < count ? slot->count : count;
  int64_t same = 0;
  while (same < most && slot->tokens[same] == prompt[same]) same++;
  return same;
}

bool rh_prefix_any_free(const rh_prefix *slots, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!slots[i].holder) return true;
  }
  return false;
}

size_t rh_prefix_choose(const rh_prefix *slots, size_t count, const int32_t *prompt, int64_t prompt_count, bool reuse,
                        int64_t *held) {
  size_t best = count;
  *held = 0;
  for (size_t i = 0; i < count; i++) {
    if (slots[i].holder) continue;
    int64_t same = reuse ? common_prefix(&slots[i], prompt, prompt_count) : 0;
    if (best == count || same > *held || (same == *held && slots[i].last_used < slots[best].last_used)) {
      best = i;
      *held = same;
    }
  }
  return best;
}
