// SPDX-License-Identifier: Apache-2.0
//
// Decomposition and composition of single code points, from libutf8proc. The package's tables are those of Unicode 9;
// libutf8proc knows more characters. Unicode promises that a normal form never changes once a character is there, so it
// is enough to leave alone the characters that unicode.txt does not mark. libutf8proc joins whole strings only, so the
// pairs that join are collected once from what it makes of every decomposition. Tables: fixed, read-only after that.
#include <string.h>
#include <utf8proc.h>

#include "text/unicode.h"
#include "text/unicode_private.h"

// Hangul syllables are arithmetic: Unicode standard, section 3.12.
enum { S_BASE = 0xAC00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7, L_COUNT = 19, V_COUNT = 21, T_COUNT = 28 };
#define S_COUNT (L_COUNT * V_COUNT * T_COUNT)

typedef struct pair {
  uint32_t first, second, joined;
} pair;

#define PAIRS_SIZE 4096  // a power of two; Unicode 9 has 940
static pair pairs[PAIRS_SIZE];
static size_t pair_count;

static size_t pair_slot(uint32_t first, uint32_t second) {
  return ((size_t)first * 0x9E3779B1u ^ (size_t)second * 0x85EBCA6Bu) % PAIRS_SIZE;
}

static void add_pair(uint32_t first, uint32_t second, uint32_t joined) {
  assert(pair_count < PAIRS_SIZE / 2);
  size_t slot = pair_slot(first, second);
  while (pairs[slot].joined != 0) slot = (slot + 1) % PAIRS_SIZE;
  pairs[slot] = (pair){first, second, joined};
  pair_count++;
}

uint32_t rh_char_compose(uint32_t first, uint32_t second) {
  if (first - L_BASE < L_COUNT && second - V_BASE < V_COUNT) {
    return S_BASE + ((first - L_BASE) * V_COUNT + (second - V_BASE)) * T_COUNT;
  }
  if (first - S_BASE < S_COUNT && (first - S_BASE) % T_COUNT == 0 && second - (T_BASE + 1) < T_COUNT - 1) {
    return first + (second - T_BASE);
  }
  for (size_t slot = pair_slot(first, second); pairs[slot].joined != 0; slot = (slot + 1) % PAIRS_SIZE) {
    if (pairs[slot].first == first && pairs[slot].second == second) return pairs[slot].joined;
  }
  return 0;
}

uint8_t rh_char_combining_class(uint32_t code) {
  if (!rh_char_is(code, RH_CHAR_DECOMPOSES)) return 0;
  return (uint8_t)utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

size_t rh_char_decompose(uint32_t code, bool compatible, uint32_t out[RH_DECOMPOSED_MAX]) {
  out[0] = code;
  if (!rh_char_is(code, RH_CHAR_DECOMPOSES)) return 1;
  utf8proc_option_t options = UTF8PROC_DECOMPOSE;
  if (compatible) options |= UTF8PROC_COMPAT;
  utf8proc_int32_t parts[RH_DECOMPOSED_MAX];
  utf8proc_ssize_t count =
      utf8proc_decompose_char((utf8proc_int32_t)code, parts, RH_DECOMPOSED_MAX, options, &(int){0});
  assert(count > 0 && count <= RH_DECOMPOSED_MAX);
  for (utf8proc_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)parts[i];
  return (size_t)count;
}

// What libutf8proc joins the parts to, when that is a single code point; else 0.
static uint32_t join(const uint32_t *parts, size_t count) {
  utf8proc_int32_t buffer[RH_DECOMPOSED_MAX + 1];
  for (size_t i = 0; i < count; i++) buffer[i] = (utf8proc_int32_t)parts[i];
  utf8proc_ssize_t left = utf8proc_normalize_utf32(buffer, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  return left == 1 ? (uint32_t)buffer[0] : 0;
}

static void prepare_one(uint32_t code) {
  uint32_t parts[RH_DECOMPOSED_MAX], compatible[RH_DECOMPOSED_MAX];
  size_t count = rh_char_decompose(code, false, parts);
  size_t wide = rh_char_decompose(code, true, compatible);
  bool hangul = code - S_BASE < S_COUNT;
  bool itself = count == 1 && parts[0] == code;
  bool kept = itself || hangul || join(parts, count) == code;
  unsigned flags = 0;
  if (!itself && !hangul && kept) {
    uint32_t first = count == 2 ? parts[0] : join(parts, count - 1);
    assert(first != 0);
    add_pair(first, parts[count - 1], code);
  }
  bool combines = rh_char_combining_class(code) != 0;
  if (!kept || combines) flags |= RH_CHAR_UNSAFE_NFC;
  bool same = wide == count && memcmp(parts, compatible, count * sizeof *parts) == 0;
  if (!kept || combines || !same) flags |= RH_CHAR_UNSAFE_NFKC;
  if (flags != 0) rh_unicode_add_flags(code, flags);
}

void rh_unicode_prepare_forms(void) {
  for (uint32_t code = 0; code <= 0x2FFFF; code++) {  // nothing beyond plane 2 decomposes
    if (rh_char_is(code, RH_CHAR_DECOMPOSES)) prepare_one(code);
  }
  // Whatever may be the second of a pair is not safe either, nor are the vowels and finals of Hangul.
  for (size_t i = 0; i < PAIRS_SIZE; i++) {
    if (pairs[i].joined != 0) rh_unicode_add_flags(pairs[i].second, RH_CHAR_UNSAFE_NFC | RH_CHAR_UNSAFE_NFKC);
  }
  for (uint32_t i = 0; i < V_COUNT; i++) rh_unicode_add_flags(V_BASE + i, RH_CHAR_UNSAFE_NFC | RH_CHAR_UNSAFE_NFKC);
  for (uint32_t i = 1; i < T_COUNT; i++) rh_unicode_add_flags(T_BASE + i, RH_CHAR_UNSAFE_NFC | RH_CHAR_UNSAFE_NFKC);
}
