// SPDX-License-Identifier: Apache-2.0
//
// What a client says about where and how its request should run: fields of the body, and the same words among the strings
// of `metadata`, for clients whose library lets nothing else through. A wrong word in a field is an error; in the metadata
// it is a warning, because those notes are the client's own and may mean something else. Pure, any thread.
#include <stdio.h>
#include <string.h>

#include "api/codec.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct word_value {
  const char *word;
  int value;
} word_value;

static const word_value PRIVACY[] = {{"low", RH_PRIVACY_LOW}, {"medium", RH_PRIVACY_MEDIUM}, {"high", RH_PRIVACY_HIGH}};
static const word_value CACHE[] = {
    {"true", RH_CACHE_ASKED}, {"false", RH_CACHE_NEVER}, {"fresh", RH_CACHE_FRESH}, {"only", RH_CACHE_ONLY}};
static const word_value YES_NO[] = {{"false", false}, {"true", true}};
static const char *const COMPLEXITY[] = {"low", "medium", "high"};

static bool find_word(const word_value *words, size_t count, const char *word, int *out) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(words[i].word, word) != 0) continue;
    *out = words[i].value;
    return true;
  }
  return false;
}

static bool set_privacy(rh_hints *hints, const char *word) {
  int value = 0;
  if (!find_word(PRIVACY, COUNT(PRIVACY), word, &value)) return false;
  if ((int)hints->privacy < value) hints->privacy = (rh_privacy)value;  // of two places the stricter word
  return true;
}

static bool set_local(rh_hints *hints, const char *word) {
  int value = 0;
  if (!find_word(YES_NO, COUNT(YES_NO), word, &value)) return false;
  // Of two names for it, or of a field and the metadata, the stricter word counts.
  hints->local_only = hints->local_only || value != 0;
  return true;
}

static bool set_complexity(rh_hints *hints, const char *word) {
  for (size_t i = 0; i < COUNT(COMPLEXITY); i++) {
    if (strcmp(COMPLEXITY[i], word) == 0) {
      hints->complexity = COMPLEXITY[i];
      return true;
    }
  }
  return false;
}

static bool set_cache(rh_hints *hints, const char *word) {
  int value = 0;
  if (!find_word(CACHE, COUNT(CACHE), word, &value)) return false;
  hints->cache = (rh_cache_wish)value;
  return true;
}

// The hints that are one of a few words. The others are any word of the client's.
typedef struct hint {
  const char *name;
  bool (*set)(rh_hints *hints, const char *word);
  const char *words;  // for the error
} hint;

static const hint HINTS[] = {
    {"privacy", set_privacy, "\"low\", \"medium\" or \"high\""},
    {"localOnly", set_local, "true or false"},
    {"local_only", set_local, "true or false"},
    {"complexity", set_complexity, "\"low\", \"medium\" or \"high\""},
    {"cache", set_cache, "true, false, \"fresh\" or \"only\""},
};

static const hint *find_hint(const char *name) {
  for (size_t i = 0; i < COUNT(HINTS); i++) {
    if (strcmp(HINTS[i].name, name) == 0) return &HINTS[i];
  }
  return NULL;
}

static const char *word_of(const json_t *value) {
  if (json_is_boolean(value)) return json_is_true(value) ? "true" : "false";
  return json_string_value(value);
}

static rh_status read_hint(rh_decoding *decoding, const rh_field *field) {
  const json_t *value = json_object_get(decoding->body, field->name);
  const hint *row = find_hint(field->name);
  const char *word = word_of(value);
  if (word != NULL && row->set(&decoding->request->hints, word)) return RH_OK;
  return rh_fail_param(decoding->error, RH_INVALID, field->name, "\"%s\" must be %s, not %s%.32s%s", field->name,
                       row->words, word == NULL ? "" : "\"", word == NULL ? rh_json_type_name(value) : word,
                       word == NULL ? "" : "\"");
}

const rh_field rh_fields_hints[] = {
    {.name = "metadata", .read = rh_field_metadata},  // before the fields, which count for more
    {.name = "privacy", .read = read_hint},
    {.name = "localOnly", .read = read_hint},
    {.name = "local_only", .read = read_hint},
    {.name = "complexity", .read = read_hint},
    {.name = "cache", .read = read_hint},
    {.name = "agentType", .read = rh_field_string, RH_FIELD_REQUEST(hints.agent_type), .max = RH_API_WORD_BYTES_MAX},
    {.name = "agent_type", .read = rh_field_string, RH_FIELD_REQUEST(hints.agent_type), .max = RH_API_WORD_BYTES_MAX},
    {.name = "route_strategy", .read = rh_field_string, RH_FIELD_REQUEST(hints.strategy), .max = RH_API_WORD_BYTES_MAX},
    {.name = NULL},
};

// Words that are copied as they are.
static const char **find_free(rh_request *request, const char *name) {
  if (strcmp(name, "agent_type") == 0 || strcmp(name, "agentType") == 0) return &request->hints.agent_type;
  if (strcmp(name, "route_strategy") == 0) return &request->hints.strategy;
  if (strcmp(name, "session") == 0) return &request->session;
  return NULL;
}

static rh_status read_note(rh_decoding *decoding, const char *name, const json_t *value) {
  const char *word = word_of(value);
  const char **out = find_free(decoding->request, name);
  const hint *row = find_hint(name);
  if (out == NULL && row == NULL) return RH_OK;  // the client's own
  if (out != NULL && word != NULL && strlen(word) <= RH_API_WORD_BYTES_MAX) {
    // A field of the body counts for more, whether it was read before (the session) or is read after.
    return *out != NULL ? RH_OK : rh_api_copy_string(decoding, word, out);
  }
  if (out == NULL && word != NULL && row->set(&decoding->request->hints, word)) return RH_OK;
  rh_api_warn(decoding, "metadata.", name, NULL);
  return RH_OK;
}

rh_status rh_field_metadata(rh_decoding *decoding, const rh_field *field) {
  const json_t *notes = json_object_get(decoding->body, field->name);
  const char *key;
  json_t *value;
  if (!json_is_object(notes)) return RH_OK;  // it never changed an answer
  json_object_foreach((json_t *)(uintptr_t)notes, key, value) {
    rh_status status = read_note(decoding, key, value);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}
