// SPDX-License-Identifier: Apache-2.0
//
// Text to the fake engine's tokens. An id is a hash of the word in small letters and what it looks like, so that a graph,
// which sees only ids, can answer by the words. Directives are kept, each different one once, and their id finds them.
//
// Owns the scratch arrays of the last text and the directives. Engine thread only. ASCII decides what a letter is.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/fake/words.h"

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_mark(char c) { return (unsigned char)c < 0x80 && ispunct((unsigned char)c) && c != '_' && c != '-'; }

static rh_fake_form form_of(const char *word, size_t length) {
  if (length > 0 && isdigit((unsigned char)word[0])) return RH_FAKE_NUMBER;
  return length > 0 && isupper((unsigned char)word[0]) ? RH_FAKE_NAME : RH_FAKE_PLAIN;
}

// FNV-1a.
int32_t rh_fake_word_id(const rh_fake_infer *infer, const char *word, size_t length) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < length; i++) {
    hash ^= (unsigned char)tolower((unsigned char)word[i]);
    hash *= 16777619u;
  }
  int64_t words = infer->model.vocabulary > 2 * RH_FAKE_ID_WORDS ? infer->model.vocabulary - RH_FAKE_ID_WORDS : 64;
  // A name and the same word in small letters are one word to everything but the form.
  int64_t id = (int64_t)hash % (words / 4) * 4 + RH_FAKE_ID_WORDS;
  return (int32_t)id;
}

rh_fake_form rh_fake_word_form(int64_t id) {
  return id < RH_FAKE_ID_WORDS || id >= RH_FAKE_ID_SCRIPTS ? RH_FAKE_PLAIN : (rh_fake_form)(id % 4);
}

static rh_status add(rh_fake_infer *infer, int32_t id, int32_t type, uint32_t start, uint32_t end) {
  if (infer->count == infer->room) {
    size_t room = infer->room == 0 ? 256 : infer->room * 2;
    int32_t *ids = realloc(infer->ids, room * sizeof *ids);
    if (ids != NULL) infer->ids = ids;
    int32_t *types = realloc(infer->types, room * sizeof *types);
    if (types != NULL) infer->types = types;
    uint32_t *starts = realloc(infer->starts, room * sizeof *starts);
    if (starts != NULL) infer->starts = starts;
    uint32_t *ends = realloc(infer->ends, room * sizeof *ends);
    if (ends != NULL) infer->ends = ends;
    if (ids == NULL || types == NULL || starts == NULL || ends == NULL) return RH_NO_MEMORY;
    infer->room = room;
  }
  infer->ids[infer->count] = id;
  infer->types[infer->count] = type;
  infer->starts[infer->count] = start;
  infer->ends[infer->count] = end;
  infer->count++;
  return RH_OK;
}

// The id of a directive, kept from now on.
static rh_status directive_id(rh_fake_infer *infer, const char *text, size_t length, int32_t *id, rh_error *error) {
  for (size_t i = 0; i < infer->directive_count; i++) {
    if (infer->directives[i].length != length || memcmp(infer->directives[i].text, text, length) != 0) continue;
    *id = RH_FAKE_ID_SCRIPTS + (int32_t)i;
    return RH_OK;
  }
  if (infer->directive_count == RH_FAKE_SCRIPTS_MAX)
    return rh_fail(error, RH_TOO_LARGE, "The fake engine keeps at most %d directives.", RH_FAKE_SCRIPTS_MAX);
  size_t bytes = (infer->directive_count + 1) * sizeof *infer->directives;
  rh_fake_directive *directives = realloc(infer->directives, bytes);
  if (directives != NULL) infer->directives = directives;
  char *copy = strndup(text, length);
  if (directives == NULL || copy == NULL) {
    free(copy);
    return rh_fail(error, RH_NO_MEMORY, "There is no memory for a directive.");
  }
  rh_fake_directive *made = &directives[infer->directive_count];
  *made = (rh_fake_directive){.text = copy, .length = length};
  rh_status status = rh_fake_script_parse(copy, NULL, &made->script, error);
  if (status != RH_OK) {
    free(copy);
    return status;
  }
  *id = RH_FAKE_ID_SCRIPTS + (int32_t)infer->directive_count++;
  return RH_OK;
}

static uint32_t code_points(const char *bytes, size_t length) {
  uint32_t count = 0;
  for (size_t i = 0; i < length; i++) count += ((unsigned char)bytes[i] & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

// The bytes of the token that begins at `text`.
static size_t token_bytes(const char *text, size_t length, bool *directive) {
  *directive = false;
  if (length >= 4 && text[0] == '[' && text[1] == '[') {
    const char *close = memmem(text, length, "]]", 2);
    *directive = close != NULL;
    if (close != NULL) return (size_t)(close + 2 - text);
  }
  size_t bytes = 1;
  while (!is_mark(text[0]) && bytes < length && !is_space(text[bytes]) && !is_mark(text[bytes])) bytes++;
  return bytes;
}

static rh_status add_text(rh_fake_infer *infer, const char *text, size_t length, int32_t type, rh_error *error) {
  uint32_t place = 0;
  for (size_t at = 0; at < length;) {
    if (is_space(text[at])) {
      at++;
      place++;
      continue;
    }
    bool directive = false;
    size_t bytes = token_bytes(text + at, length - at, &directive);
    uint32_t end = place + code_points(text + at, bytes);
    int32_t id = 0;
    if (directive) {
      rh_status status = directive_id(infer, text + at, bytes, &id, error);
      if (status != RH_OK) return status;
    } else {
      id = rh_fake_word_id(infer, text + at, bytes) + (int32_t)form_of(text + at, bytes);
    }
    if (add(infer, id, type, place, end) != RH_OK) return RH_NO_MEMORY;
    place = end;
    at += bytes;
  }
  return RH_OK;
}

rh_status rh_fake_words(rh_engine *engine, const char *text, size_t length, const char *pair, size_t pair_length,
                        bool add_special, rh_token_text *out, rh_error *error) {
  rh_fake_infer *infer = rh_fake_infer_of(engine);
  infer->count = 0;
  if (error != NULL) error->message[0] = '\0';
  rh_status status = add_special ? add(infer, RH_FAKE_ID_CLS, 0, 0, 0) : RH_OK;
  if (status == RH_OK) status = add_text(infer, text, length, 0, error);
  if (status == RH_OK && add_special) status = add(infer, RH_FAKE_ID_SEP, 0, 0, 0);
  if (status == RH_OK && pair != NULL) {
    status = add_text(infer, pair, pair_length, 1, error);
    if (status == RH_OK && add_special) status = add(infer, RH_FAKE_ID_SEP, 1, 0, 0);
  }
  if (status == RH_NO_MEMORY) return rh_fail(error, RH_NO_MEMORY, "There is no memory for the tokens of a text.");
  if (status != RH_OK) return status;
  *out = (rh_token_text){.ids = infer->ids,
                         .types = infer->types,
                         .starts = infer->starts,
                         .ends = infer->ends,
                         .count = infer->count,
                         .head = add_special ? 1 : 0,
                         .tail = add_special ? 1 : 0};
  return RH_OK;
}

const rh_fake_script *rh_fake_words_script(const rh_fake_infer *infer, int64_t id) {
  int64_t index = id - RH_FAKE_ID_SCRIPTS;
  return index >= 0 && index < (int64_t)infer->directive_count ? &infer->directives[index].script : NULL;
}

void rh_fake_words_free(rh_fake_infer *infer) {
  for (size_t i = 0; i < infer->directive_count; i++) free(infer->directives[i].text);
  free(infer->directives);
  free(infer->ids);
  free(infer->types);
  free(infer->starts);
  free(infer->ends);
}
