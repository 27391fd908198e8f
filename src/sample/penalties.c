// SPDX-License-Identifier: Apache-2.0
//
// Purpose: penalties for tokens that were seen among the last so many: repeat (the logit is divided by it, or multiplied
// where it is negative), frequency (times the count) and presence (once).
// Data owned: the last tokens, and how often each of them is among these. Threads: the run's.
// Not here: where the logits are; see blocks.c.
#include <assert.h>
#include <stdlib.h>

#include "sample/internal.h"

bool rh_penalties_wanted(const rh_generate *generate) {
  return generate->penalty_last_n != 0 && (generate->repeat_penalty != 1.0f || generate->frequency_penalty != 0.0f ||
                                           generate->presence_penalty != 0.0f);
}

rh_status rh_penalties_init(rh_penalties *penalties, const rh_generate *generate, size_t back, int32_t vocabulary) {
  assert(back > 0 && vocabulary > 0);
  size_t distinct = back < (size_t)vocabulary ? back : (size_t)vocabulary;
  size_t slots = 16;
  while (slots < 2 * distinct) slots *= 2;
  *penalties = (rh_penalties){.repeat = generate->repeat_penalty,
                              .frequency = generate->frequency_penalty,
                              .presence = generate->presence_penalty,
                              .vocabulary = vocabulary,
                              .ring_room = back,
                              .table_mask = slots - 1};
  penalties->ring = calloc(back, sizeof *penalties->ring);
  penalties->seen = calloc(distinct, sizeof *penalties->seen);
  penalties->table = calloc(slots, sizeof *penalties->table);
  return penalties->ring && penalties->seen && penalties->table ? RH_OK : RH_NO_MEMORY;
}

void rh_penalties_free(rh_penalties *penalties) {
  free(penalties->ring);
  free(penalties->seen);
  free(penalties->table);
}

static size_t home_of(const rh_penalties *penalties, int32_t token) {
  // Fibonacci hashing: neighbouring tokens, which often come together, are spread over the table.
  return (size_t)((uint64_t)(uint32_t)token * 0x9e3779b97f4a7c15u >> 32) & penalties->table_mask;
}

// Where the token stands in the table, or the free place where it belongs. At most half of the table is used.
static size_t find(const rh_penalties *penalties, int32_t token) {
  size_t at = home_of(penalties, token);
  while (penalties->table[at] != 0 && penalties->seen[penalties->table[at] - 1].token != token) {
    at = (at + 1) & penalties->table_mask;
  }
  return at;
}

// Free a place, moving up what was put behind it only because it was taken.
static void close_gap(rh_penalties *penalties, size_t gap) {
  size_t mask = penalties->table_mask;
  for (size_t at = (gap + 1) & mask; penalties->table[at] != 0; at = (at + 1) & mask) {
    size_t home = home_of(penalties, penalties->seen[penalties->table[at] - 1].token);
    if (((at - home) & mask) < ((at - gap) & mask)) continue;  // its home lies behind the gap
    penalties->table[gap] = penalties->table[at];
    gap = at;
  }
  penalties->table[gap] = 0;
}

static void forget(rh_penalties *penalties, int32_t token) {
  size_t at = find(penalties, token);
  assert(penalties->table[at] != 0);
  size_t place = penalties->table[at] - 1;
  if (--penalties->seen[place].count > 0) return;
  // Its entry is needed until the gap is closed; then the last entry takes its place.
  close_gap(penalties, at);
  size_t last = --penalties->seen_count;
  if (place == last) return;
  penalties->table[find(penalties, penalties->seen[last].token)] = (uint32_t)place + 1;
  penalties->seen[place] = penalties->seen[last];
}

void rh_penalties_note(rh_penalties *penalties, int32_t token) {
  // A prompt may hold places for what is no text; they have no logit to penalize, but they are as long ago as others.
  int32_t oldest = -1;
  if (penalties->ring_count == penalties->ring_room) {
    oldest = penalties->ring[penalties->ring_at];
  } else {
    penalties->ring_count++;
  }
  bool known = token >= 0 && token < penalties->vocabulary;
  penalties->ring[penalties->ring_at] = known ? token : -1;
  penalties->ring_at = (penalties->ring_at + 1) % penalties->ring_room;
  if (oldest >= 0) forget(penalties, oldest);
  if (!known) return;
  size_t at = find(penalties, token);
  if (penalties->table[at] == 0) {
    penalties->seen[penalties->seen_count++] = (rh_seen_token){.token = token};
    penalties->table[at] = (uint32_t)penalties->seen_count;
  }
  penalties->seen[penalties->table[at] - 1].count++;
}

void rh_penalties_apply(const rh_penalties *penalties, rh_blocks *blocks) {
  for (size_t i = 0; i < penalties->seen_count; i++) {
    const rh_seen_token *seen = &penalties->seen[i];
    float *logit = rh_blocks_change(blocks, seen->token);
    *logit = *logit <= 0.0f ? *logit * penalties->repeat : *logit / penalties->repeat;
    *logit -= (float)seen->count * penalties->frequency + penalties->presence;
  }
}
