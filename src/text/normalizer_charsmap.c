// SPDX-License-Identifier: Apache-2.0
//
// SentencePiece's precompiled map of characters: a double array (Darts-clone's units: 8 bits of label, a leaf bit, an
// offset) over UTF-8, whose values are places in a block of replacements that end with NUL. The file may be anybody's, so
// every step stays within it. Which stretches are looked up is the package's rule, not SentencePiece's: a grapheme cluster of
// less than 6 bytes as a whole, else each character; and what counts is the shortest entry that the stretch begins with.
// Owns the map; read-only once made, any thread.
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/grapheme.h"
#include "text/normalizer_private.h"

#define WHOLE_CLUSTER_MAX 5

struct rh_charsmap {
  uint32_t *units;
  size_t unit_count;
  char *replacements;  // ends with a NUL beyond its length
  size_t replacements_length;
  bool plain[128];  // ASCII that stays as it is, whatever ASCII is next to it
};

static uint32_t unit_offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

// The replacement of the shortest entry that the bytes begin with; NULL when there is none.
static const char *look_up(const rh_charsmap *map, const char *bytes, size_t length) {
  size_t node = unit_offset(map->units[0]);
  for (size_t i = 0; i < length; i++) {
    uint8_t byte = (uint8_t)bytes[i];
    if (byte == 0) return NULL;
    node ^= byte;
    if (node >= map->unit_count) return NULL;
    uint32_t unit = map->units[node];
    if ((unit & (1u << 31 | 0xFF)) != byte) return NULL;
    node ^= unit_offset(unit);
    if (node >= map->unit_count) return NULL;
    if ((unit >> 8 & 1) == 0) continue;
    size_t at = map->units[node] & ((1u << 31) - 1);
    // Within a character is not within the package's rules either; it panics there.
    if (at > map->replacements_length || ((uint8_t)map->replacements[at] & 0xC0) == 0x80) return NULL;
    return map->replacements + at;
  }
  return NULL;
}

void rh_charsmap_free(rh_charsmap *map) {
  if (map == NULL) return;
  free(map->units);
  free(map->replacements);
  free(map);
}

static uint32_t little(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

rh_status rh_charsmap_new(const uint8_t *bytes, size_t length, rh_charsmap **out, rh_error *error) {
  *out = NULL;
  size_t trie = length >= 4 ? little(bytes) / 4 : 0;
  if (trie == 0 || trie > (length - 4) / 4) {
    return rh_fail(error, RH_INVALID,
                   "the map of characters is damaged: its table of %zu units does not fit in %zu bytes", trie, length);
  }
  rh_charsmap *map = calloc(1, sizeof *map);
  if (map == NULL) return rh_fail(error, RH_NO_MEMORY, "the map of characters: out of memory");
  map->unit_count = trie;
  map->replacements_length = length - 4 - 4 * trie;
  map->units = malloc(trie * sizeof *map->units);
  map->replacements = malloc(map->replacements_length + 1);
  if (map->units == NULL || map->replacements == NULL) {
    rh_charsmap_free(map);
    return rh_fail(error, RH_NO_MEMORY, "the map of characters: out of memory");
  }
  for (size_t i = 0; i < trie; i++) map->units[i] = little(bytes + 4 + 4 * i);
  memcpy(map->replacements, bytes + 4 + 4 * trie, map->replacements_length);
  map->replacements[map->replacements_length] = '\0';
  if (!rh_utf8_valid(map->replacements, map->replacements_length)) {
    rh_charsmap_free(map);
    return rh_fail(error, RH_INVALID, "the map of characters is damaged: its replacements are not UTF-8");
  }
  for (int i = 0; i < 128; i++) map->plain[i] = i != '\r' && look_up(map, &(char){(char)i}, 1) == NULL;
  *out = map;
  return RH_OK;
}

// --- a text --------------------------------------------------------------------------------------------------------

// The last code point is held back, for it may yet be told to swallow what comes after it.
typedef struct mapping {
  rh_transform out;
  uint32_t held;
  int held_change;
  bool holds;
  bool changed;
} mapping;

static void put(mapping *going, uint32_t code, int change) {
  if (going->holds) rh_transform_put(&going->out, going->held, going->held_change);
  going->held = code;
  going->held_change = change;
  going->holds = true;
}

static int count_characters(const char *text, size_t length) {
  int count = 0;
  for (size_t i = 0; i < length; i++) count += ((uint8_t)text[i] & 0xC0) != 0x80;
  return count;
}

// More characters than before: the last ones are added. Fewer: the last one swallows the rest.
static void put_replacement(mapping *going, const char *old, size_t old_length, const char *new) {
  size_t length = strlen(new);
  int before = count_characters(old, old_length), after = count_characters(new, length);
  int i = 0;
  going->changed = true;
  for (size_t at = 0; at < length; i++) {
    uint32_t code;
    at += rh_char_read(new + at, new + length, &code);
    put(going, code, i >= before ? 1 : 0);
  }
  if (after < before && going->holds) going->held_change += after - before;
}

static void put_cluster(const rh_charsmap *map, mapping *going, const char *bytes, size_t length) {
  const char *found = length <= WHOLE_CLUSTER_MAX ? look_up(map, bytes, length) : NULL;
  if (found != NULL) {
    put_replacement(going, bytes, length, found);
    return;
  }
  for (size_t i = 0; i < length;) {
    uint32_t code;
    size_t step = rh_char_read(bytes + i, bytes + length, &code);
    found = look_up(map, bytes + i, step);
    if (found != NULL)
      put_replacement(going, bytes + i, step, found);
    else
      put(going, code, 0);
    i += step;
  }
}

// ASCII that stays, up to a character that may join the one before it. Copied at once, but for the last.
static size_t put_plain(const rh_charsmap *map, mapping *going, const char *bytes, size_t at, size_t length) {
  rh_normalizing *text = going->out.text;
  size_t i = at;
  while (i < length && (uint8_t)bytes[i] < 0x80 && map->plain[(uint8_t)bytes[i]]) i++;
  if (i < length && (uint8_t)bytes[i] >= 0x80 && i > at) i--;
  if (i == at) return at;
  put(going, (uint8_t)bytes[at], 0);
  if (i == at + 1) return i;
  rh_transform_put(&going->out, going->held, going->held_change);
  going->holds = false;
  // What was removed at the very beginning has left the offsets behind, as it does in the package.
  if (going->out.at == at + 1 && going->out.status == RH_OK) {
    going->out.status = rh_mapped_append(text->other, text->now, text->start + at + 1, text->start + i - 1);
    going->out.at = i - 1;
  } else {
    for (size_t k = at + 1; k < i - 1; k++) rh_transform_put(&going->out, (uint8_t)bytes[k], 0);
  }
  put(going, (uint8_t)bytes[i - 1], 0);
  return i;
}

rh_status rh_step_charsmap(const rh_normalizer_step *step, rh_normalizing *text) {
  const rh_charsmap *map = step->charsmap;
  const char *bytes = rh_normalizing_bytes(text);
  size_t length = rh_normalizing_length(text), i = 0;
  while (i < length && (uint8_t)bytes[i] < 0x80 && map->plain[(uint8_t)bytes[i]]) i++;
  if (i == length) return RH_OK;
  mapping going = {.out = {.text = text}};
  going.out.status = rh_normalizing_begin(text, length + length / 2);
  for (i = 0; i < length && going.out.status == RH_OK;) {
    i = put_plain(map, &going, bytes, i, length);
    if (i == length) break;
    size_t cluster = rh_grapheme_length(bytes + i, length - i);
    put_cluster(map, &going, bytes + i, cluster);
    i += cluster;
  }
  if (going.holds) rh_transform_put(&going.out, going.held, going.held_change);
  if (going.out.status == RH_OK && going.changed) rh_normalizing_swap(text);
  return going.out.status;
}
