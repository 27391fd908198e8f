// SPDX-License-Identifier: Apache-2.0
//
// Settings as a table. One row per setting gives the JSON key, the flag, the environment variable, the type, the
// bounds, the default and the help; parsing, --help, `config check`, the JSON Schema and the documentation all come
// from it.
//
// Order of precedence: flag > environment > file > default. A value remembers where it came from.
// Names derive from the key: "http_port" is the JSON key, --http-port the flag, ROUNDHOUSE_HTTP_PORT the variable.
#ifndef RH_BASE_CONFIG_H
#define RH_BASE_CONFIG_H

#include <jansson.h>
#include <stdint.h>

#include "base/dynbuf.h"
#include "base/status.h"

typedef enum rh_setting_type {
  RH_SETTING_STRING,    // char *   (malloc'ed, freed by rh_config_release)
  RH_SETTING_INT,       // int64_t
  RH_SETTING_NUMBER,    // double
  RH_SETTING_BOOL,      // bool
  RH_SETTING_DURATION,  // uint64_t nanoseconds; "250ms", "30s", "5m", "1h" or a number of seconds
  RH_SETTING_BYTES,     // uint64_t; "64KiB", "16MiB", "2GiB" or a number of bytes
  RH_SETTING_ENUM,      // int, index into `choices`
} rh_setting_type;

typedef struct rh_setting {
  const char *key;  // JSON key, snake_case; units last when the type does not carry them
  rh_setting_type type;
  size_t offset;               // of the field in the settings struct
  const char *default_text;    // parsed like a flag's value; NULL = zero / NULL string
  double min, max;             // for INT, NUMBER, DURATION (seconds), BYTES; both 0 = no bounds
  const char *const *choices;  // ENUM: NULL-terminated
  const char *help;            // one line, no full stop
  bool file_only;              // no flag and no environment variable (settings of one model, say)
} rh_setting;

typedef enum rh_setting_origin { RH_FROM_DEFAULT, RH_FROM_FILE, RH_FROM_ENVIRONMENT, RH_FROM_FLAG } rh_setting_origin;

// All functions: `settings` points at the struct the offsets belong to; `origins` (may be NULL) has one element a row.

rh_status rh_config_defaults(const rh_setting *table, size_t count, void *settings, rh_setting_origin *origins,
                             rh_error *error) RH_MUST_CHECK;

// From a JSON object. `path` names the object in errors. Keys in `also_known` (NULL-terminated, may be NULL) are left
// to the caller; any other unknown key is an error that names the nearest known one.
rh_status rh_config_from_json(const rh_setting *table, size_t count, const char *path, const json_t *object,
                              const char *const *also_known, void *settings, rh_setting_origin *origins,
                              rh_error *error) RH_MUST_CHECK;

// From ROUNDHOUSE_* variables. An unknown ROUNDHOUSE_ name is an error as well; `also_known` lists full names to skip.
rh_status rh_config_from_environment(const rh_setting *table, size_t count, char *const *environment,
                                     const char *const *also_known, void *settings, rh_setting_origin *origins,
                                     rh_error *error) RH_MUST_CHECK;

// One flag at args[*index] ("--key value", "--key=value", "--flag" / "--no-flag" for a bool). RH_OK and *index moved
// past it; RH_NOT_FOUND when it is not in the table (the caller may know it); RH_INVALID with a message otherwise.
rh_status rh_config_from_flag(const rh_setting *table, size_t count, int argc, char *const *argv, int *index,
                              void *settings, rh_setting_origin *origins, rh_error *error) RH_MUST_CHECK;

// One value from text, as a flag would give it.
rh_status rh_config_set(const rh_setting *setting, const char *text, void *settings, rh_error *error) RH_MUST_CHECK;

void rh_config_release(const rh_setting *table, size_t count, void *settings);  // frees the strings

// The current value as text, in the form a flag takes.
rh_status rh_config_format(const rh_setting *setting, const void *settings, rh_dynbuf *out) RH_MUST_CHECK;

rh_status rh_config_help(const rh_setting *table, size_t count, rh_dynbuf *out) RH_MUST_CHECK;  // for --help

// A JSON Schema object for the rows: {"type":"object","additionalProperties":false,"properties":{...}}. New reference.
json_t *rh_config_schema(const rh_setting *table, size_t count);

#endif
