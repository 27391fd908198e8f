// SPDX-License-Identifier: Apache-2.0
//
// A hash for tables in memory: eight bytes a step, spread well enough for the low bits to choose a slot. Its values differ between
// machines and may differ between versions: never write one down. Against a stranger who picks the keys, give it a secret seed. Pure.
#ifndef RH_BASE_HASH_H
#define RH_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t rh_hash_word(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
  return hash ^ hash >> 32;
}

static inline uint64_t rh_hash_bytes(uint64_t seed, const void *bytes, size_t length) {
  const char *at = bytes;
  uint64_t hash = rh_hash_word(seed, length);
  uint64_t word = 0;
  for (; length >= sizeof word; at += sizeof word, length -= sizeof word) {
    memcpy(&word, at, sizeof word);
    hash = rh_hash_word(hash, word);
  }
  word = 0;
  if (length > 0) memcpy(&word, at, length);
  return rh_hash_word(rh_hash_word(hash, word), 0);  // the last bytes have to reach all bits too
}

#endif
