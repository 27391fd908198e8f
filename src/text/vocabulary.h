// SPDX-License-Identifier: Apache-2.0
//
// Private to src/text: a model's tokens, found by their text or their id, and a trie over them. Built once, then read-only.
#ifndef RH_TEXT_VOCABULARY_H
#define RH_TEXT_VOCABULARY_H

#include "text/internal.h"

typedef struct rh_vocabulary_entry {
  uint32_t offset, length;  // in `bytes`
  int32_t id;
} rh_vocabulary_entry;

typedef struct rh_vocabulary {
  char *bytes;                   // the texts, one after another
  rh_vocabulary_entry *entries;  // in the file's order
  uint32_t count;
  int32_t size;     // largest id + 1
  uint32_t *by_id;  // entry + 1; 0 = none
  uint64_t *slots;  // hash << 32 | entry + 1; a power of two, at most half full
  uint32_t slots_mask;
} rh_vocabulary;

// From {"text": id, ...}, or from [["text", score], ...], where the place is the id. RH_INVALID names the token at fault.
rh_status rh_vocabulary_init(rh_vocabulary *self, const json_t *tokens, rh_error *error) RH_MUST_CHECK;
void rh_vocabulary_free(rh_vocabulary *self);
// -1 = none. Of two with one text, the later.
int32_t rh_vocabulary_find(const rh_vocabulary *self, const char *text, size_t length);
const char *rh_vocabulary_text(const rh_vocabulary *self, int32_t id, size_t *length);  // NULL = none

// A hash for short texts, the same on every machine of one byte order.
uint64_t rh_text_hash(const char *text, size_t length);

// --- trie: a double array; the child of a node for a byte lies at base ^ byte ---------------------------------------

typedef struct rh_trie_unit {
  uint32_t base;
  uint32_t parent;  // its node; RH_TRIE_NONE when the unit is free
  int32_t id;       // of the token that ends here; -1 = none
} rh_trie_unit;

#define RH_TRIE_NONE UINT32_MAX

typedef struct rh_trie {
  rh_trie_unit *units;  // the root is unit 0
  uint32_t count;       // a multiple of 256
} rh_trie;

rh_status rh_trie_init(rh_trie *self, const rh_vocabulary *vocabulary, rh_error *error) RH_MUST_CHECK;
void rh_trie_free(rh_trie *self);

// The child of `node`, or RH_TRIE_NONE.
static inline uint32_t rh_trie_step(const rh_trie *self, uint32_t node, uint8_t byte) {
  uint32_t next = self->units[node].base ^ byte;
  return self->units[next].parent == node ? next : RH_TRIE_NONE;
}

#endif
