// SPDX-License-Identifier: Apache-2.0
//
// Finding a known model by what people type: name:version, an alias, or the name alone.
// Owns nothing. Any thread. Case does not matter: nobody remembers how a model's name is spelt.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "model/known_private.h"

// Of two words that are alike the first letters are; it spares looking at most of the list more closely.
static bool begin_alike(const char *a, const char *b) {
  return tolower((unsigned char)a[0]) == tolower((unsigned char)b[0]);
}

// "name:version" without putting it together.
static bool is_full_name(const rh_known *known, const char *text) {
  if (!begin_alike(known->name, text)) return false;
  size_t length = strlen(known->name);
  return strncasecmp(text, known->name, length) == 0 && text[length] == ':' &&
         strcasecmp(text + length + 1, known->version) == 0;
}

static bool is_alias(const rh_known *known, const char *text) {
  for (const char *const *alias = known->aliases; alias != NULL && *alias != NULL; alias++) {
    if (begin_alike(*alias, text) && strcasecmp(*alias, text) == 0) return true;
  }
  return false;
}

// The version that a name of `length` bytes means: the recommended one, else the best ranked, else the first.
static const rh_known *by_name_alone(const rh_known_list *all, const char *text, size_t length) {
  const rh_known *best = NULL;
  for (size_t i = 0; i < all->count; i++) {
    const rh_known *known = &all->items[i];
    if (!begin_alike(known->name, text) || strlen(known->name) != length || strncasecmp(known->name, text, length) != 0)
      continue;
    if (known->recommended) return known;
    if (best == NULL || known->rank > best->rank) best = known;
  }
  return best;
}

const rh_known *rh_known_find(const char *text) {
  const rh_known_list *all = rh_known_all();
  for (size_t i = 0; i < all->count; i++) {
    if (is_full_name(&all->items[i], text)) return &all->items[i];
  }
  for (size_t i = 0; i < all->count; i++) {
    if (is_alias(&all->items[i], text)) return &all->items[i];
  }
  size_t length = strlen(text);
  const char *colon = strrchr(text, ':');
  if (colon != NULL && strcasecmp(colon + 1, RH_VERSION_LATEST) == 0) length = (size_t)(colon - text);
  return by_name_alone(all, text, length);
}

const char *rh_known_nearest(const char *text) {
  const rh_known_list *all = rh_known_all();
  size_t room = all->count * (RH_KNOWN_ALIASES_MAX + 1), count = 0;
  const char **words = room == 0 ? NULL : calloc(room, sizeof *words);
  if (words == NULL) return NULL;
  for (size_t i = 0; i < all->count; i++) {
    words[count++] = all->items[i].name;
    for (const char *const *alias = all->items[i].aliases; alias != NULL && *alias != NULL; alias++) {
      words[count++] = *alias;
    }
  }
  const char *nearest = rh_text_nearest(text, words, count);
  free(words);
  return nearest;
}
