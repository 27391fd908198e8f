// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a double-array trie over a vocabulary, for all tokens that begin at a place of a text.
// Data owned: the units; while building, the sorted order and a stack. Threads: one builds, any number read.
// Not here: choosing among the tokens found.
//
// Children of a node lie at base ^ byte, so within one block of 256 units. A new node looks for a base only in the last
// blocks: earlier ones are nearly full, and looking there would make building quadratic.
#include <stdlib.h>
#include <string.h>

#include "text/vocabulary.h"

#define BLOCK 256U
#define OPEN_BLOCKS 16U
#define UNITS_MAX (1U << 28)

typedef struct span {
  uint32_t begin, end;  // of the order: tokens that share `depth` bytes
  uint32_t depth, node;
} span;

typedef struct builder {
  rh_trie *trie;
  const rh_vocabulary *vocabulary;
  uint32_t *order;
  uint32_t capacity, search_from;
  span *stack;
  size_t depth, stack_capacity;
} builder;

static int compare(const void *a, const void *b, void *context) {
  const rh_vocabulary *vocabulary = context;
  const rh_vocabulary_entry *x = &vocabulary->entries[*(const uint32_t *)a],
                            *y = &vocabulary->entries[*(const uint32_t *)b];
  uint32_t shorter = x->length < y->length ? x->length : y->length;
  int order = memcmp(vocabulary->bytes + x->offset, vocabulary->bytes + y->offset, shorter);
  if (order != 0) return order;
  if (x->length != y->length) return x->length < y->length ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static bool add_block(builder *self) {
  rh_trie *trie = self->trie;
  if (trie->count >= UNITS_MAX) return false;
  if (trie->count == self->capacity) {
    uint32_t larger = self->capacity == 0 ? 16 * BLOCK : self->capacity * 2;
    rh_trie_unit *grown = realloc(trie->units, larger * sizeof *grown);
    if (grown == NULL) return false;
    trie->units = grown;
    self->capacity = larger;
  }
  for (uint32_t i = 0; i < BLOCK; i++) trie->units[trie->count + i] = (rh_trie_unit){0, RH_TRIE_NONE, -1};
  trie->count += BLOCK;
  return true;
}

static bool fits(const rh_trie *trie, uint32_t base, const uint8_t *labels, size_t count) {
  if (base == 0) return false;  // the root's unit would be its own child
  for (size_t i = 0; i < count; i++) {
    uint32_t at = base ^ labels[i];
    if (at == 0 || trie->units[at].parent != RH_TRIE_NONE) return false;
  }
  return true;
}

// A base at which all children find free units; 0 when memory is short.
static uint32_t find_base(builder *self, const uint8_t *labels, size_t count) {
  rh_trie *trie = self->trie;
  uint32_t open = trie->count > OPEN_BLOCKS * BLOCK ? trie->count - OPEN_BLOCKS * BLOCK : 0;
  if (self->search_from < open) self->search_from = open;
  while (self->search_from < trie->count && trie->units[self->search_from].parent != RH_TRIE_NONE) self->search_from++;
  for (uint32_t at = self->search_from; at < trie->count; at++) {
    if (trie->units[at].parent == RH_TRIE_NONE && fits(trie, at ^ labels[0], labels, count)) return at ^ labels[0];
  }
  uint32_t base = trie->count;
  return add_block(self) ? (base != 0 ? base : 1) : 0;
}

static bool push(builder *self, span what) {
  if (self->depth == self->stack_capacity) {
    size_t larger = self->stack_capacity == 0 ? 1024 : self->stack_capacity * 2;
    span *grown = realloc(self->stack, larger * sizeof *grown);
    if (grown == NULL) return false;
    self->stack = grown;
    self->stack_capacity = larger;
  }
  self->stack[self->depth++] = what;
  return true;
}

static uint8_t byte_at(const builder *self, uint32_t place, uint32_t depth) {
  const rh_vocabulary_entry *entry = &self->vocabulary->entries[self->order[place]];
  return (uint8_t)self->vocabulary->bytes[entry->offset + depth];
}

// A node's children get their units.
static bool place_children(builder *self, span what) {
  uint8_t labels[256];
  uint32_t begins[257];
  size_t count = 0;
  rh_trie_unit *units = self->trie->units;
  // Tokens that end here come first; of several with one text, the last counts.
  while (what.begin < what.end && self->vocabulary->entries[self->order[what.begin]].length == what.depth)
    units[what.node].id = self->vocabulary->entries[self->order[what.begin++]].id;
  for (uint32_t i = what.begin; i < what.end; i++) {
    uint8_t byte = byte_at(self, i, what.depth);
    if (count > 0 && labels[count - 1] == byte) continue;
    begins[count] = i;
    labels[count++] = byte;
  }
  if (count == 0) return true;
  begins[count] = what.end;
  uint32_t base = find_base(self, labels, count);
  if (base == 0) return false;
  units = self->trie->units;
  units[what.node].base = base;
  for (size_t i = 0; i < count; i++) units[base ^ labels[i]].parent = what.node;
  for (size_t i = count; i-- > 0;) {
    if (!push(self, (span){begins[i], begins[i + 1], what.depth + 1, base ^ labels[i]})) return false;
  }
  return true;
}

static bool build(builder *self) {
  if (!add_block(self)) return false;
  self->trie->units[0].parent = 0;
  self->trie->units[0].base = 1;
  if (!push(self, (span){0, self->vocabulary->count, 0, 0})) return false;
  while (self->depth > 0) {
    if (!place_children(self, self->stack[--self->depth])) return false;
  }
  // The root is nobody's child, not even its own.
  self->trie->units[0].parent = RH_TRIE_NONE - 1;
  return true;
}

rh_status rh_trie_init(rh_trie *self, const rh_vocabulary *vocabulary, rh_error *error) {
  *self = (rh_trie){0};
  builder work = {.trie = self, .vocabulary = vocabulary};
  work.order = malloc((vocabulary->count + 1) * sizeof *work.order);
  bool done = work.order != NULL;
  if (done) {
    for (uint32_t i = 0; i < vocabulary->count; i++) work.order[i] = i;
    qsort_r(work.order, vocabulary->count, sizeof *work.order, compare, (void *)(uintptr_t)vocabulary);
    done = build(&work);
  }
  free(work.order);
  free(work.stack);
  if (done) return RH_OK;
  rh_trie_free(self);
  return rh_fail(error, RH_NO_MEMORY, "out of memory for a trie of %u tokens", vocabulary->count);
}

void rh_trie_free(rh_trie *self) {
  free(self->units);
  *self = (rh_trie){0};
}
