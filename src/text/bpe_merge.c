// SPDX-License-Identifier: Apache-2.0
//
// Purpose: joining neighbours, the lowest rank first and of equal ones the leftmost, until no two can be joined.
// Data owned: none; symbols and heap are the encode's. Threads: the encode's. Not here: where the symbols come from.
//
// Short words take the best pair by looking at all of them; long pieces keep the pairs in a heap, so that n symbols cost
// n log n. Both choose alike.
#include <string.h>

#include "text/model.h"

#define SHORT_MAX 40
#define NONE UINT32_MAX

// --- short ------------------------------------------------------------------------------------------------------------

typedef struct pair {
  uint32_t rank;  // NONE = cannot be joined
  int32_t id;
} pair;

static pair pair_at(const rh_bpe *self, const rh_bpe_symbol *symbols, size_t left) {
  const rh_merge *merge = rh_bpe_find(self, symbols[left].id, symbols[left + 1].id);
  return merge != NULL ? (pair){merge->rank, merge->id} : (pair){NONE, -1};
}

// Returns how many symbols are left; they stand together at the front.
static size_t merge_short(const rh_bpe *self, rh_bpe_symbol *symbols, size_t count) {
  pair pairs[SHORT_MAX];  // pairs[i] joins i and i + 1
  for (size_t i = 0; i + 1 < count; i++) pairs[i] = pair_at(self, symbols, i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; i++) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == NONE) break;
    symbols[best].id = pairs[best].id;
    symbols[best].length += symbols[best + 1].length;
    count--;
    size_t after = count - best - 1;  // symbols behind the joined one
    memmove(&symbols[best + 1], &symbols[best + 2], after * sizeof *symbols);
    if (after > 0) memmove(&pairs[best], &pairs[best + 1], after * sizeof *pairs);
    if (best + 1 < count) pairs[best] = pair_at(self, symbols, best);
    if (best > 0) pairs[best - 1] = pair_at(self, symbols, best - 1);
  }
  return count;
}

// --- long -------------------------------------------------------------------------------------------------------------

typedef struct heap {
  rh_bpe_candidate *items;
  size_t count;
} heap;

static void sift_up(heap *self, size_t at) {
  rh_bpe_candidate moved = self->items[at];
  while (at > 0) {
    size_t above = (at - 1) / 4;
    if (self->items[above].order <= moved.order) break;
    self->items[at] = self->items[above];
    at = above;
  }
  self->items[at] = moved;
}

static void sift_down(heap *self, size_t at) {
  rh_bpe_candidate moved = self->items[at];
  for (;;) {
    size_t child = at * 4 + 1, end = child + 4 < self->count ? child + 4 : self->count;
    if (child >= self->count) break;
    size_t least = child;
    for (size_t i = child + 1; i < end; i++) {
      if (self->items[i].order < self->items[least].order) least = i;
    }
    if (self->items[least].order >= moved.order) break;
    self->items[at] = self->items[least];
    at = least;
  }
  self->items[at] = moved;
}

static rh_bpe_candidate pop(heap *self) {
  rh_bpe_candidate top = self->items[0];
  self->items[0] = self->items[--self->count];
  if (self->count > 0) sift_down(self, 0);
  return top;
}

static void push(const rh_bpe *self, heap *queue, const rh_bpe_symbol *symbols, uint32_t left, uint32_t right) {
  const rh_merge *merge = rh_bpe_find(self, symbols[left].id, symbols[right].id);
  if (merge == NULL) return;
  queue->items[queue->count] = (rh_bpe_candidate){(uint64_t)merge->rank << 32 | left, merge->id};
  sift_up(queue, queue->count++);
}

static void merge_long(const rh_bpe *self, rh_bpe_symbol *symbols, size_t count, heap *queue) {
  for (uint32_t i = 0; i < count; i++) {
    symbols[i].previous = i > 0 ? i - 1 : NONE;
    symbols[i].next = i + 1 < count ? i + 1 : NONE;
    if (i > 0) push(self, queue, symbols, i - 1, i);
  }
  while (queue->count > 0) {
    rh_bpe_candidate top = pop(queue);
    uint32_t at = (uint32_t)top.order;
    rh_bpe_symbol *left = &symbols[at];
    if (left->length == 0 || left->next == NONE) continue;
    rh_bpe_symbol *right = &symbols[left->next];
    // A pair whose symbols were joined to others since then is out of date.
    const rh_merge *merge = rh_bpe_find(self, left->id, right->id);
    if (merge == NULL || merge->id != top.id) continue;
    left->id = top.id;
    left->length += right->length;
    left->next = right->next;
    right->length = 0;
    if (left->next != NONE) symbols[left->next].previous = at;
    if (left->previous != NONE) push(self, queue, symbols, left->previous, at);
    if (left->next != NONE) push(self, queue, symbols, at, left->next);
  }
}

rh_status rh_bpe_merge(const rh_bpe *self, rh_text_model_work *work, size_t count) {
  if (count < 2) return RH_OK;
  if (count <= SHORT_MAX) {
    size_t left = merge_short(self, work->symbols, count);
    for (size_t i = left; i < count; i++) work->symbols[i].length = 0;
    return RH_OK;
  }
  // Each join takes one pair out and puts at most two in, and there are fewer joins than symbols.
  if (!rh_model_reserve((void **)&work->heap, &work->heap_room, 2 * count, sizeof *work->heap)) return RH_NO_MEMORY;
  heap queue = {.items = work->heap};
  merge_long(self, work->symbols, count, &queue);
  return RH_OK;
}
