// SPDX-License-Identifier: Apache-2.0
//
// A key as JSON, both ways, and its list of models. Owns nothing; any thread. It deliberately knows no secret: those are fields
// of a configured key alone (keys_configured.c).
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admit/keys_private.h"
#include "base/json.h"

#define YEARS_MAX_S (INT64_C(100) * 366 * 86400)
#define TIME_MAX_S INT64_C(253402300799)  // the end of the year 9999
#define BUDGET_MAX 1e12

static const struct {
  const char *name;
  uint32_t bit;
} scopes[] = {{"inference", RH_KEY_INFERENCE}, {"admin", RH_KEY_ADMIN}, {"metrics", RH_KEY_METRICS}};
#define SCOPES (sizeof scopes / sizeof *scopes)

static const char *const periods[] = {"never", "day", "month"};

static const char *const fields[] = {
    "name",     "scopes",     "models",        "requests_per_minute", "tokens_per_minute", "concurrency",
    "priority", "budget_usd", "budget_period", "expires_in",          "expires_at",        "local_only"};
#define FIELDS (sizeof fields / sizeof *fields)

const char *rh_key_period_name(rh_budget_period period) { return periods[period]; }

static void free_models(rh_key *key) {
  for (size_t i = 0; key->models != NULL && key->models[i] != NULL; i++) free(key->models[i]);
  free(key->models);
  key->models = NULL;
}

void rh_key_clear(rh_key *key) {
  free(key->name);
  key->name = NULL;
  free_models(key);
}

static rh_status unknown_field(const char *word, const char *path, const char *const *also_known, rh_error *error) {
  const char *words[FIELDS + 8];
  size_t count = FIELDS;
  memcpy(words, fields, sizeof fields);
  for (size_t i = 0; also_known != NULL && also_known[i] != NULL && count < FIELDS + 8; i++)
    words[count++] = also_known[i];
  char full[96];
  rh_json_join_path(full, sizeof full, path, word);
  const char *near = rh_text_nearest(word, words, count);
  if (near == NULL) return rh_fail_param(error, RH_INVALID, full, "unknown field \"%.60s\" of a key", word);
  return rh_fail_param(error, RH_INVALID, full, "unknown field \"%.60s\" of a key; did you mean \"%s\"?", word, near);
}

static rh_status check_fields(const json_t *definition, const char *path, const char *const *also_known,
                              rh_error *error) {
  if (!json_is_object(definition)) return rh_fail_param(error, RH_INVALID, path, "a key is described by an object");
  const char *word;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)definition, word, value) {  // jansson lacks the const
    bool known = false;
    for (size_t i = 0; i < FIELDS && !known; i++) known = strcmp(word, fields[i]) == 0;
    for (size_t i = 0; also_known != NULL && also_known[i] != NULL && !known; i++) {
      known = strcmp(word, also_known[i]) == 0;
    }
    if (!known) return unknown_field(word, path, also_known, error);
  }
  return RH_OK;
}

static rh_status read_name(rh_key *key, const json_t *definition, const char *path, rh_error *error) {
  const char *name = NULL;
  rh_status status = rh_json_get_string(definition, path, "name", &name, error);
  if (status != RH_OK || name == NULL) return status;
  char full[96];
  rh_json_join_path(full, sizeof full, path, "name");
  size_t length = strlen(name);
  bool good = length > 0 && length <= RH_KEY_NAME_MAX && strncmp(name, "key_", 4) != 0;
  for (size_t i = 0; i < length && good; i++) good = (unsigned char)name[i] >= 0x20 && name[i] != 0x7f;
  if (!good) {
    return rh_fail_param(error, RH_INVALID, full,
                         "a key's name has 1 to %d bytes without control characters and does not begin with \"key_\"",
                         RH_KEY_NAME_MAX);
  }
  char *copy = strdup(name);
  if (copy == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a key");
  free(key->name);
  key->name = copy;
  return RH_OK;
}

static rh_status read_scopes(rh_key *key, const json_t *definition, const char *path, rh_error *error) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(definition, path, "scopes", &list, error);
  if (status != RH_OK || list == NULL) return status;
  uint32_t bits = 0;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *word = json_string_value(json_array_get(list, i));
    uint32_t bit = 0;
    for (size_t s = 0; s < SCOPES && word != NULL; s++) bit |= strcmp(word, scopes[s].name) == 0 ? scopes[s].bit : 0;
    bits |= bit;
    if (bit == 0) bits = 0;
    if (bit == 0) break;
  }
  if (bits != 0) {
    key->scopes = bits;
    return RH_OK;
  }
  char full[96];
  rh_json_join_path(full, sizeof full, path, "scopes");
  return rh_fail_param(error, RH_INVALID, full,
                       "scopes is a list of \"inference\", \"admin\" and \"metrics\", at least one");
}

static bool good_model(const char *name) {
  size_t length = name == NULL ? 0 : strlen(name);
  if (length == 0 || length > 256 || strchr(name, '\n') != NULL) return false;
  const char *star = strchr(name, '*');
  return star == NULL || star == name + length - 1;
}

static rh_status read_models(rh_key *key, const json_t *definition, const char *path, rh_error *error) {
  json_t *list = NULL;
  rh_status status = rh_json_get_array(definition, path, "models", &list, error);
  if (status != RH_OK || list == NULL) return status;
  size_t count = json_array_size(list);
  char full[96];
  rh_json_join_path(full, sizeof full, path, "models");
  if (count == 0 || count > RH_KEY_MODELS_MAX) {
    return rh_fail_param(error, RH_INVALID, full, "models is a list of 1 to %d names; leave it out to allow all",
                         RH_KEY_MODELS_MAX);
  }
  char **models = calloc(count + 1, sizeof *models);
  if (models == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a key");
  free_models(key);
  key->models = models;
  for (size_t i = 0; i < count; i++) {
    const char *name = json_string_value(json_array_get(list, i));
    if (!good_model(name)) {
      return rh_fail_param(error, RH_INVALID, full, "models[%zu] is no name of a model; '*' may stand at its end", i);
    }
    models[i] = strdup(name);
    if (models[i] == NULL) return rh_fail(error, RH_NO_MEMORY, "no memory for a key");
  }
  return RH_OK;
}

char *rh_key_models_text(const rh_key *key) {
  size_t size = 1;
  for (size_t i = 0; key->models[i] != NULL; i++) size += strlen(key->models[i]) + 1;
  char *text = malloc(size);
  if (text == NULL) return NULL;
  char *end = text;
  for (size_t i = 0; key->models[i] != NULL; i++) {
    if (i > 0) *end++ = '\n';
    end = stpcpy(end, key->models[i]);
  }
  return text;
}

rh_status rh_key_models_read(rh_key *key, const char *text) {
  free_models(key);
  if (text == NULL) return RH_OK;
  size_t lines = 1;
  for (const char *c = text; *c != '\0'; c++) lines += *c == '\n';
  char **models = calloc(lines + 1, sizeof *models);
  if (models == NULL) return RH_NO_MEMORY;
  key->models = models;
  // Whoever edits the file by hand may leave empty lines: they name no model. A list of nothing else allows none.
  size_t count = 0;
  for (size_t i = 0; i < lines; i++) {
    size_t length = strcspn(text, "\n");
    if (length > 0) {
      models[count] = strndup(text, length);
      if (models[count++] == NULL) return RH_NO_MEMORY;
    }
    text += length + 1;
  }
  return RH_OK;
}

// "30d", "12h", "90m", "45s", "2w", or a number of seconds.
static bool parse_span(const json_t *value, int64_t *out) {
  if (json_is_integer(value)) {
    *out = json_integer_value(value);
    return *out > 0 && *out <= YEARS_MAX_S;
  }
  static const struct {
    char unit;
    int64_t seconds;
  } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
  const char *text = json_string_value(value);
  if (text == NULL || !isdigit((unsigned char)text[0]) || strlen(text) > 12) return false;
  char *end = NULL;
  int64_t number = strtoll(text, &end, 10), factor = 0;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (end[0] == units[i].unit && end[1] == '\0') factor = units[i].seconds;
  }
  if (factor == 0 || number <= 0 || number > YEARS_MAX_S / factor) return false;
  *out = number * factor;
  return true;
}

static rh_status read_expiry(rh_key *key, const json_t *definition, const char *path, int64_t now_s, rh_error *error) {
  const json_t *in = json_object_get(definition, "expires_in"), *at = json_object_get(definition, "expires_at");
  bool has_in = in != NULL && !json_is_null(in), has_at = at != NULL && !json_is_null(at);
  char full[96];
  rh_json_join_path(full, sizeof full, path, has_in ? "expires_in" : "expires_at");
  if (has_in && has_at) {
    return rh_fail_param(error, RH_INVALID, full, "give \"expires_in\" or \"expires_at\", not both");
  }
  int64_t span = 0;
  if (has_in && !parse_span(in, &span)) {
    return rh_fail_param(error, RH_INVALID, full,
                         "expires_in is a span like \"12h\", \"30d\" or \"4w\", up to 100 years");
  }
  if (has_in) key->expires_s = now_s + span;
  if (!has_at) return RH_OK;
  int64_t when = json_is_integer(at) ? json_integer_value(at) : 0;
  if (when <= now_s || when > TIME_MAX_S) {
    return rh_fail_param(error, RH_INVALID, full, "expires_at is a time to come, in seconds since 1970");
  }
  key->expires_s = when;
  return RH_OK;
}

static void reset_field(rh_key *key, const char *field) {
  if (strcmp(field, "scopes") == 0) key->scopes = RH_KEY_INFERENCE;
  if (strcmp(field, "models") == 0) free_models(key);
  if (strcmp(field, "requests_per_minute") == 0) key->requests_per_minute = 0;
  if (strcmp(field, "tokens_per_minute") == 0) key->tokens_per_minute = 0;
  if (strcmp(field, "concurrency") == 0) key->concurrency = 0;
  if (strcmp(field, "priority") == 0) key->priority = 0;
  if (strcmp(field, "budget_usd") == 0) key->budget_usd = 0;
  if (strcmp(field, "budget_period") == 0) key->period = RH_BUDGET_NEVER;
  if (strncmp(field, "expires_", 8) == 0) key->expires_s = 0;
  if (strcmp(field, "local_only") == 0) key->local_only = false;
}

static rh_status read_period(rh_key *key, const json_t *definition, const char *path, rh_error *error) {
  const char *word = NULL;
  rh_status status = rh_json_get_string(definition, path, "budget_period", &word, error);
  if (status != RH_OK || word == NULL) return status;
  for (int i = 0; i < 3; i++) {
    if (strcmp(word, periods[i]) != 0) continue;
    key->period = (rh_budget_period)i;
    return RH_OK;
  }
  char full[96];
  rh_json_join_path(full, sizeof full, path, "budget_period");
  return rh_fail_param(error, RH_INVALID, full, "budget_period is \"never\", \"day\" or \"month\": when it is renewed");
}

rh_status rh_key_read(rh_key *key, const json_t *definition, const char *path, const char *const *also_known,
                      int64_t now_s, rh_error *error) {
  rh_status status = check_fields(definition, path, also_known, error);
  if (status != RH_OK) return status;
  for (size_t i = 0; i < FIELDS; i++) {
    if (json_is_null(json_object_get(definition, fields[i]))) reset_field(key, fields[i]);
  }
  int64_t priority = key->priority;
  const json_t *from = definition;
  status = read_name(key, from, path, error);
  if (status == RH_OK) status = read_scopes(key, from, path, error);
  if (status == RH_OK) status = read_models(key, from, path, error);
  if (status == RH_OK) {
    status = rh_json_get_int(from, path, "requests_per_minute", -1, INT32_MAX, &key->requests_per_minute, error);
  }
  if (status == RH_OK) {
    status = rh_json_get_int(from, path, "tokens_per_minute", -1, INT64_C(1) << 50, &key->tokens_per_minute, error);
  }
  if (status == RH_OK) status = rh_json_get_int(from, path, "concurrency", 0, 1000000, &key->concurrency, error);
  if (status == RH_OK) status = rh_json_get_int(from, path, "priority", -100, 100, &priority, error);
  if (status == RH_OK) status = rh_json_get_number(from, path, "budget_usd", 0, BUDGET_MAX, &key->budget_usd, error);
  if (status == RH_OK) status = read_period(key, from, path, error);
  if (status == RH_OK) status = read_expiry(key, from, path, now_s, error);
  if (status == RH_OK) status = rh_json_get_bool(from, path, "local_only", &key->local_only, error);
  key->priority = (int32_t)priority;
  if (status != RH_OK || key->name != NULL) return status;
  char full[96];
  rh_json_join_path(full, sizeof full, path, "name");
  return rh_fail_param(error, RH_INVALID, full, "a key needs a name");
}

static json_t *names_json(const rh_key *key) {
  if (key->models == NULL) return json_null();
  json_t *list = json_array();
  for (size_t i = 0; key->models[i] != NULL; i++) (void)json_array_append_new(list, json_string(key->models[i]));
  return list;
}

static json_t *time_json(int64_t seconds) { return seconds == 0 ? json_null() : json_integer(seconds); }

json_t *rh_key_json(const rh_key *key, int64_t now_s) {
  const rh_key_entry *entry = (const rh_key_entry *)(const void *)key;
  json_t *words = json_array();
  for (size_t i = 0; i < SCOPES; i++) {
    if ((key->scopes & scopes[i].bit) != 0) (void)json_array_append_new(words, json_string(scopes[i].name));
  }
  bool expired = key->expires_s != 0 && key->expires_s <= now_s;
  // Of a period that is over nothing is spent.
  double spent = rh_key_period_begin(key->period, now_s) > key->period_begin_s ? 0 : key->spent_usd;
  return json_pack(
      "{s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:i, s:f, s:s, s:f, s:I, s:I, s:o, s:o, s:o, s:b, s:s}", "id", key->id,
      "name", key->name, "status",
      key->revoked_s != 0 ? "revoked"
      : expired           ? "expired"
                          : "active",
      "scopes", words, "models", names_json(key), "requests_per_minute", (json_int_t)key->requests_per_minute,
      "tokens_per_minute", (json_int_t)key->tokens_per_minute, "concurrency", (json_int_t)key->concurrency, "priority",
      (int)key->priority, "budget_usd", key->budget_usd, "budget_period", rh_key_period_name(key->period), "spent_usd",
      spent, "running", (json_int_t)key->running, "created_at", (json_int_t)key->created_s, "expires_at",
      time_json(key->expires_s), "revoked_at", time_json(key->revoked_s), "last_used_at", time_json(key->last_used_s),
      "local_only", key->local_only ? 1 : 0, "source", entry->configured ? "configuration" : "database");
}
