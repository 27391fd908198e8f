// SPDX-License-Identifier: Apache-2.0
//
// A hash for tables in memory: eight bytes a step, spread well enough for the low bits to choose a slot. Its values differ between
// machines and may differ between versions: never write one down. Against a stranger who picks the keys, give it a secret seed. Pure.
#ifndef RH_BASE_HASH_H
#define RH_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Eight bytes at a time with the multiplication of Knuth's golden ratio and a final mix as in MurmurHash3.
static inline uint64_t rh_hash_bytes(uint64_t seed, const void *bytes, size_t length) {
  const unsigned char *at = bytes;
  uint64_t hash = (seed + length) * UINT64_C(0x9e3779b97f4a7c15);
  for (; length >= 8; at += 8, length -= 8) {
    uint64_t word = 0;
    memcpy(&word, at, 8);
    hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 32;
  }
  uint64_t word = 0;
  if (length > 0) memcpy(&word, at, length);
  hash = (hash ^ word) * UINT64_C(0xc4ceb9fe1a85ec53);
  hash ^= hash >> 33;
  hash *= UINT64_C(0xff51afd7ed558ccd);
  return hash ^ hash >> 33;
}

#endif
