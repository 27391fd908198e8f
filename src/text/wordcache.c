// SPDX-License-Identifier: Apache-2.0
//
// Purpose: words seen before and their tokens, because texts repeat their words.
// Data owned: one table and one store of fixed sizes; when the store is full, everything is forgotten and it begins anew.
// Threads: the owner's. Not here: which pieces are worth keeping beyond their length.
#include <stdlib.h>
#include <string.h>

#include "text/model.h"

#define SLOTS 16384U
#define STORE_BYTES ((size_t)2 * 1024 * 1024)
#define WORD_BYTES_MAX 128
#define WORD_TOKENS_MAX 64

typedef struct rh_word_slot {
  uint64_t hash;
  uint32_t at;  // in the store, + 1; 0 = free
  uint16_t length, count;
  uint32_t advance;
} rh_word_slot;

bool rh_word_cache_init(rh_word_cache *self) {
  *self = (rh_word_cache){.slots = calloc(SLOTS, sizeof(rh_word_slot)), .store = malloc(STORE_BYTES)};
  if (self->slots != NULL && self->store != NULL) return true;
  rh_word_cache_free(self);
  return false;
}

void rh_word_cache_free(rh_word_cache *self) {
  free(self->slots);
  free(self->store);
  *self = (rh_word_cache){0};
}

// A record: the tokens, then the word's bytes.
const rh_word_token *rh_word_cache_find(const rh_word_cache *self, uint64_t hash, const char *word, size_t length,
                                        size_t *count, uint32_t *advance) {
  const rh_word_slot *slot = &self->slots[hash % SLOTS];
  if (slot->hash != hash || slot->at == 0 || slot->length != length) return NULL;
  const char *record = self->store + (slot->at - 1);
  if (memcmp(record + slot->count * sizeof(rh_word_token), word, length) != 0) return NULL;
  *count = slot->count;
  *advance = slot->advance;
  return (const rh_word_token *)(const void *)record;
}

void rh_word_cache_store(rh_word_cache *self, uint64_t hash, const char *word, size_t length,
                         const rh_model_token *tokens, size_t count, uint32_t base, uint32_t advance) {
  if (length > WORD_BYTES_MAX || count > WORD_TOKENS_MAX) return;
  size_t bytes = (count * sizeof(rh_word_token) + length + 7) & ~(size_t)7;
  if (self->used + bytes > STORE_BYTES) {
    memset(self->slots, 0, SLOTS * sizeof *self->slots);
    self->used = 0;
  }
  rh_word_token *record = (rh_word_token *)(void *)(self->store + self->used);
  for (size_t i = 0; i < count; i++)
    record[i] = (rh_word_token){tokens[i].id, tokens[i].start - base, tokens[i].end - base};
  memcpy(record + count, word, length);
  self->slots[hash % SLOTS] =
      (rh_word_slot){hash, (uint32_t)self->used + 1, (uint16_t)length, (uint16_t)count, advance};
  self->used += bytes;
}
