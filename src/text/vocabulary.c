// SPDX-License-Identifier: Apache-2.0
//
// Purpose: tokens by text (an open hash table) and by id.
// Data owned: the texts and both tables. Threads: one builds, any number read. Not here: what a model does with them.
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_MAX ((size_t)1 << 30)

static uint64_t load_bytes(const char *text, size_t length) {
  uint64_t word = 0;
  memcpy(&word, text, length);
  return word;
}

// Multiply and fold, eight bytes at a time: quick for words, and not meant against somebody who looks for collisions (the
// table's longest walk is bounded by the vocabulary, which was there before the text).
uint64_t rh_text_hash(const char *text, size_t length) {
  uint64_t hash = 0x9e3779b97f4a7c15U ^ length;
  while (length >= 8) {
    hash = (hash ^ load_bytes(text, 8)) * 0xff51afd7ed558ccdU;
    hash ^= hash >> 32;
    text += 8;
    length -= 8;
  }
  if (length > 0) hash = (hash ^ load_bytes(text, length)) * 0xff51afd7ed558ccdU;
  hash ^= hash >> 29;
  hash *= 0xc4ceb9fe1a85ec53U;
  return hash ^ hash >> 32;
}

static rh_status no_memory(rh_error *error, size_t count) {
  return rh_fail(error, RH_NO_MEMORY, "out of memory for a vocabulary of %zu tokens", count);
}

static const char *text_of(const rh_vocabulary *self, uint32_t entry) {
  return self->bytes + self->entries[entry].offset;
}

// The slot of a text: the one that holds it, or the free one where it would go.
static uint32_t slot_of(const rh_vocabulary *self, const char *text, size_t length, uint64_t hash) {
  uint32_t high = (uint32_t)(hash >> 32), at = (uint32_t)hash & self->slots_mask;
  for (;; at = (at + 1) & self->slots_mask) {
    uint64_t slot = self->slots[at];
    if (slot == 0) return at;
    if ((uint32_t)(slot >> 32) != high) continue;
    uint32_t entry = (uint32_t)slot - 1;
    if (self->entries[entry].length == length && memcmp(text_of(self, entry), text, length) == 0) return at;
  }
}

static void enter(rh_vocabulary *self, uint32_t entry) {
  const rh_vocabulary_entry *token = &self->entries[entry];
  uint64_t hash = rh_text_hash(text_of(self, entry), token->length);
  uint32_t at = slot_of(self, text_of(self, entry), token->length, hash);
  self->slots[at] = (hash >> 32) << 32 | (entry + 1);
  self->by_id[token->id] = entry + 1;
}

static rh_status build_tables(rh_vocabulary *self, rh_error *error) {
  uint32_t slots = 16;
  while (slots < 2 * (uint64_t)self->count) slots *= 2;
  self->slots_mask = slots - 1;
  self->slots = calloc(slots, sizeof *self->slots);
  self->by_id = calloc((size_t)self->size + 1, sizeof *self->by_id);
  if (self->slots == NULL || self->by_id == NULL) return no_memory(error, self->count);
  for (uint32_t i = 0; i < self->count; i++) enter(self, i);
  return RH_OK;
}

static rh_status add(rh_vocabulary *self, size_t *used, const char *text, size_t length, int64_t id, rh_error *error) {
  if (id < 0 || id >= RH_TOKENIZER_VOCABULARY_MAX)
    return rh_fail(error, RH_INVALID, "the token \"%.60s\" has the id %lld; ids are 0 to %d", text, (long long)id,
                   RH_TOKENIZER_VOCABULARY_MAX - 1);
  self->entries[self->count++] = (rh_vocabulary_entry){(uint32_t)*used, (uint32_t)length, (int32_t)id};
  memcpy(self->bytes + *used, text, length);
  *used += length;
  if (id >= self->size) self->size = (int32_t)id + 1;
  return RH_OK;
}

static rh_status reserve(rh_vocabulary *self, size_t count, size_t bytes, rh_error *error) {
  if (count > RH_TOKENIZER_VOCABULARY_MAX || bytes > BYTES_MAX)
    return rh_fail(error, RH_TOO_LARGE, "a vocabulary of %zu tokens and %zu bytes is too large", count, bytes);
  self->entries = malloc((count + 1) * sizeof *self->entries);
  self->bytes = calloc(bytes + 1, 1);
  return self->entries != NULL && self->bytes != NULL ? RH_OK : no_memory(error, count);
}

static rh_status read_object(rh_vocabulary *self, const json_t *tokens, rh_error *error) {
  json_t *map = (json_t *)(uintptr_t)tokens;  // jansson's iteration is not const; nothing is changed
  const char *text;
  size_t length, bytes = 0, used = 0;
  json_t *id;
  json_object_keylen_foreach(map, text, length, id) bytes += length;
  rh_status status = reserve(self, json_object_size(tokens), bytes, error);
  if (status != RH_OK) return status;
  json_object_keylen_foreach(map, text, length, id) {
    if (!json_is_integer(id)) return rh_fail(error, RH_INVALID, "the token \"%.60s\" has no id", text);
    status = add(self, &used, text, length, json_integer_value(id), error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

static rh_status read_array(rh_vocabulary *self, const json_t *tokens, rh_error *error) {
  size_t count = json_array_size(tokens), bytes = 0, used = 0;
  for (size_t i = 0; i < count; i++) bytes += json_string_length(json_array_get(json_array_get(tokens, i), 0));
  rh_status status = reserve(self, count, bytes, error);
  for (size_t i = 0; i < count && status == RH_OK; i++) {
    const json_t *text = json_array_get(json_array_get(tokens, i), 0);
    if (!json_is_string(text)) return rh_fail(error, RH_INVALID, "token %zu is not a text with a score", i);
    status = add(self, &used, json_string_value(text), json_string_length(text), (int64_t)i, error);
  }
  return status;
}

rh_status rh_vocabulary_init(rh_vocabulary *self, const json_t *tokens, rh_error *error) {
  *self = (rh_vocabulary){0};
  rh_status status;
  if (json_is_array(tokens)) {
    status = read_array(self, tokens, error);
  } else if (json_is_object(tokens)) {
    status = read_object(self, tokens, error);
  } else {
    status = rh_fail(error, RH_INVALID, "there is no vocabulary");
  }
  if (status == RH_OK) status = build_tables(self, error);
  if (status != RH_OK) rh_vocabulary_free(self);
  return status;
}

void rh_vocabulary_free(rh_vocabulary *self) {
  free(self->bytes);
  free(self->entries);
  free(self->by_id);
  free(self->slots);
  *self = (rh_vocabulary){0};
}

int32_t rh_vocabulary_find(const rh_vocabulary *self, const char *text, size_t length) {
  uint64_t slot = self->slots[slot_of(self, text, length, rh_text_hash(text, length))];
  return slot == 0 ? -1 : self->entries[(uint32_t)slot - 1].id;
}

const char *rh_vocabulary_text(const rh_vocabulary *self, int32_t id, size_t *length) {
  if (id < 0 || id >= self->size || self->by_id[id] == 0) return NULL;
  uint32_t entry = self->by_id[id] - 1;
  *length = self->entries[entry].length;
  return text_of(self, entry);
}
