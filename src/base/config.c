// SPDX-License-Identifier: Apache-2.0
//
// Settings from their four sources: defaults, a JSON object, the environment, flags. Owns no data: the strings it
// stores belong to the settings struct. One thread, at start. It opens no files and does not know which settings there
// are.
#include "base/config.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_private.h"
#include "base/json.h"
#include "base/text.h"

#define VARIABLE_PREFIX "ROUNDHOUSE_"
#define SOURCE_SIZE 256

// Names.

void rh_config_flag_name(const rh_setting *setting, char out[RH_CONFIG_NAME_SIZE]) {
  size_t length = strlen(setting->key);
  assert(length < RH_CONFIG_NAME_SIZE);
  for (size_t i = 0; i <= length; i++) out[i] = setting->key[i] == '_' ? '-' : setting->key[i];
}

void rh_config_variable_name(const rh_setting *setting, char out[RH_CONFIG_NAME_SIZE]) {
  size_t prefix = strlen(VARIABLE_PREFIX);
  size_t length = strlen(setting->key);
  assert(prefix + length < RH_CONFIG_NAME_SIZE);
  memcpy(out, VARIABLE_PREFIX, prefix);
  for (size_t i = 0; i <= length; i++) out[prefix + i] = (char)toupper((unsigned char)setting->key[i]);
}

// The nearest of the table's keys and of some other words, or NULL. `skip` bytes of each other word are left out.
static const char *nearest_key(const rh_setting *table, size_t count, bool flags_too, const char *const *others,
                               size_t skip, const char *word) {
  size_t other_count = 0;
  while (others != NULL && others[other_count] != NULL) other_count++;
  const char **words = malloc((count + other_count + 1) * sizeof(const char *));
  if (words == NULL) return NULL;  // the hint is missing, the error itself is not
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    if (!table[i].file_only || !flags_too) words[used++] = table[i].key;
  }
  for (size_t i = 0; i < other_count; i++) {
    if (strlen(others[i]) > skip) words[used++] = others[i] + skip;
  }
  const char *nearest = rh_text_nearest(word, words, used);
  free(words);
  return nearest;
}

static bool is_among(const char *word, const char *const *words) {
  for (; words != NULL && *words != NULL; words++) {
    if (strcmp(word, *words) == 0) return true;
  }
  return false;
}

// Stores, unless the field has its value from a stronger source already; then the value was only checked.
static void store(const rh_setting *table, size_t row, rh_config_value value, rh_setting_origin from, void *settings,
                  rh_setting_origin *origins) {
  if (origins != NULL && origins[row] > from) {
    rh_config_value_discard(&table[row], value);
    return;
  }
  rh_config_value_store(&table[row], value, settings);
  if (origins != NULL) origins[row] = from;
}

static rh_status set_from_text(const rh_setting *table, size_t row, const char *source, const char *text,
                               rh_setting_origin from, void *settings, rh_setting_origin *origins, rh_error *error) {
  rh_config_value value;
  rh_status status = rh_config_value_from_text(&table[row], source, text, &value, error);
  if (status == RH_OK) store(table, row, value, from, settings, origins);
  return status;
}

// Defaults.

rh_status rh_config_defaults(const rh_setting *table, size_t count, void *settings, rh_setting_origin *origins,
                             rh_error *error) {
  // All fields first, so that rh_config_release is right after a failure half way. What was in them is not looked at.
  for (size_t i = 0; i < count; i++) {
    static const size_t sizes[] = {
        [RH_SETTING_STRING] = sizeof(char *),     [RH_SETTING_INT] = sizeof(int64_t),
        [RH_SETTING_NUMBER] = sizeof(double),     [RH_SETTING_BOOL] = sizeof(bool),
        [RH_SETTING_DURATION] = sizeof(uint64_t), [RH_SETTING_BYTES] = sizeof(uint64_t),
        [RH_SETTING_ENUM] = sizeof(int),
    };
    memset((char *)settings + table[i].offset, 0, sizes[table[i].type]);
    if (origins != NULL) origins[i] = RH_FROM_DEFAULT;
  }
  for (size_t i = 0; i < count; i++) {
    if (table[i].default_text == NULL) continue;
    char source[SOURCE_SIZE];
    (void)snprintf(source, sizeof source, "the default of \"%s\"", table[i].key);
    rh_status status =
        set_from_text(table, i, source, table[i].default_text, RH_FROM_DEFAULT, settings, origins, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// JSON.

static rh_status unknown_key(const rh_setting *table, size_t count, const char *path, const char *key,
                             const char *const *also_known, rh_error *error) {
  const char *nearest = nearest_key(table, count, false, also_known, 0, key);
  char shown[SOURCE_SIZE];
  (void)rh_text_copy(shown, sizeof shown, key);
  return rh_fail_param(error, RH_INVALID, key, "unknown setting \"%s\"%s%s%s%s%s", shown, path[0] == '\0' ? "" : " in ",
                       path, nearest == NULL ? "" : "; did you mean \"", nearest == NULL ? "" : nearest,
                       nearest == NULL ? "" : "\"?");
}

rh_status rh_config_from_json(const rh_setting *table, size_t count, const char *path, const json_t *object,
                              const char *const *also_known, void *settings, rh_setting_origin *origins,
                              rh_error *error) {
  if (!json_is_object(object)) {
    return rh_fail(error, RH_INVALID, "%s must be an object, not %s", path[0] == '\0' ? "the configuration" : path,
                   rh_json_type_name(object));
  }
  const char *key;
  json_t *member;
  json_object_foreach((json_t *)(uintptr_t)object, key, member) {  // jansson's iterators lack the const
    size_t row = 0;
    while (row < count && strcmp(table[row].key, key) != 0) row++;
    if (row == count) {
      if (is_among(key, also_known)) continue;
      return unknown_key(table, count, path, key, also_known, error);
    }
    if (json_is_null(member)) continue;  // the same as an absent key, as everywhere
    char source[SOURCE_SIZE];
    (void)snprintf(source, sizeof source, "\"%s\"%s%s", key, path[0] == '\0' ? "" : " in ", path);
    rh_config_value value;
    rh_status status = rh_config_value_from_json(&table[row], source, member, &value, error);
    if (status != RH_OK) return status;
    store(table, row, value, RH_FROM_FILE, settings, origins);
  }
  return RH_OK;
}

// The environment.

static rh_status unknown_variable(const rh_setting *table, size_t count, const char *name,
                                  const char *const *also_known, rh_error *error) {
  size_t prefix = strlen(VARIABLE_PREFIX);
  const char *nearest = nearest_key(table, count, true, also_known, prefix, name + prefix);
  char hint[RH_CONFIG_NAME_SIZE + 32] = "";
  if (nearest != NULL) {
    int start = snprintf(hint, sizeof hint, "; did you mean %s", VARIABLE_PREFIX);
    for (size_t i = 0, at = (size_t)start; nearest[i] != '\0' && at + 2 < sizeof hint; i++, at++) {
      hint[at] = (char)toupper((unsigned char)nearest[i]);
      hint[at + 1] = '?';
    }
  }
  return rh_fail_param(error, RH_INVALID, name, "unknown environment variable %s%s", name, hint);
}

rh_status rh_config_from_environment(const rh_setting *table, size_t count, char *const *environment,
                                     const char *const *also_known, void *settings, rh_setting_origin *origins,
                                     rh_error *error) {
  for (; environment != NULL && *environment != NULL; environment++) {
    if (!rh_text_starts_with(*environment, VARIABLE_PREFIX)) continue;
    const char *equals = strchr(*environment, '=');
    if (equals == NULL) continue;
    char name[SOURCE_SIZE];
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals - *environment), *environment);
    if (is_among(name, also_known)) continue;
    size_t row = 0;
    for (; row < count; row++) {
      char known[RH_CONFIG_NAME_SIZE];
      rh_config_variable_name(&table[row], known);
      if (!table[row].file_only && strcmp(known, name) == 0) break;
    }
    if (row == count) return unknown_variable(table, count, name, also_known, error);
    rh_status status = set_from_text(table, row, name, equals + 1, RH_FROM_ENVIRONMENT, settings, origins, error);
    if (status != RH_OK) return status;
  }
  return RH_OK;
}

// Flags.

static bool find_flag(const rh_setting *table, size_t count, const char *name, size_t length, size_t *row) {
  for (*row = 0; *row < count; ++*row) {
    char known[RH_CONFIG_NAME_SIZE];
    if (table[*row].file_only) continue;
    rh_config_flag_name(&table[*row], known);
    if (strlen(known) == length && memcmp(known, name, length) == 0) return true;
  }
  return false;
}

static rh_status unknown_flag(const rh_setting *table, size_t count, const char *argument, rh_error *error) {
  char name[SOURCE_SIZE];
  (void)rh_text_copy(name, sizeof name, argument);
  name[strcspn(name, "=")] = '\0';
  const char *word = rh_text_starts_with(name, "--") ? name + 2 : name;
  const char *nearest = nearest_key(table, count, true, NULL, 0, word);
  if (nearest == NULL) return rh_fail_param(error, RH_NOT_FOUND, name, "unknown flag %s", name);
  char flag[RH_CONFIG_NAME_SIZE];
  rh_config_flag_name(&(rh_setting){.key = nearest}, flag);
  return rh_fail_param(error, RH_NOT_FOUND, name, "unknown flag %s; did you mean --%s?", name, flag);
}

rh_status rh_config_from_flag(const rh_setting *table, size_t count, int argc, char *const *argv, int *index,
                              void *settings, rh_setting_origin *origins, rh_error *error) {
  assert(*index >= 0 && *index < argc);
  const char *argument = argv[*index];
  if (!rh_text_starts_with(argument, "--")) return unknown_flag(table, count, argument, error);
  size_t length = strcspn(argument + 2, "=");
  const char *value = argument[2 + length] == '=' ? argument + 2 + length + 1 : NULL;
  size_t row;
  bool negated = false;
  if (!find_flag(table, count, argument + 2, length, &row)) {
    negated = rh_text_starts_with(argument, "--no-") && find_flag(table, count, argument + 5, length - 3, &row) &&
              table[row].type == RH_SETTING_BOOL;
    if (!negated) return unknown_flag(table, count, argument, error);
  }
  char source[RH_CONFIG_NAME_SIZE + 8] = "--";
  rh_config_flag_name(&table[row], source + 2);
  int used = 1;
  if (negated && value != NULL) {
    return rh_fail_param(error, RH_INVALID, table[row].key, "--no-%s takes no value", source + 2);
  }
  if (table[row].type == RH_SETTING_BOOL) {
    if (value == NULL) value = negated ? "false" : "true";
  } else if (value == NULL) {
    // A value that looks like a flag is far more often a value that was forgotten; "--key=--value" says it plainly.
    if (*index + 1 >= argc || rh_text_starts_with(argv[*index + 1], "--")) {
      return rh_fail_param(error, RH_INVALID, table[row].key, "%s needs a value", source);
    }
    value = argv[*index + 1];
    used = 2;
  }
  rh_status status = set_from_text(table, row, source, value, RH_FROM_FLAG, settings, origins, error);
  if (status == RH_OK) *index += used;
  return status;
}

rh_status rh_config_set(const rh_setting *setting, const char *text, void *settings, rh_error *error) {
  char source[RH_CONFIG_NAME_SIZE + 8];
  (void)snprintf(source, sizeof source, "\"%s\"", setting->key);
  return set_from_text(setting, 0, source, text, RH_FROM_FLAG, settings, NULL, error);
}

void rh_config_release(const rh_setting *table, size_t count, void *settings) {
  for (size_t i = 0; i < count; i++) {
    if (table[i].type != RH_SETTING_STRING) continue;
    rh_config_value_store(&table[i], (rh_config_value){.string = NULL}, settings);
  }
}
