// SPDX-License-Identifier: Apache-2.0
//
// Values of settings, shared by config.c (where they come from), config_value.c (text and JSON to values and back) and
// config_doc.c (help and schema). Nobody else includes this.
#ifndef RH_BASE_CONFIG_PRIVATE_H
#define RH_BASE_CONFIG_PRIVATE_H

#include "base/config.h"

// One parsed value, not yet stored. Which member counts follows from the setting's type.
typedef union rh_config_value {
  char *string;     // STRING; owned until stored or discarded
  int64_t integer;  // INT
  double number;    // NUMBER
  bool boolean;     // BOOL
  uint64_t amount;  // DURATION in nanoseconds, BYTES
  int choice;       // ENUM
} rh_config_value;

// `source` names the setting as the user wrote it (--http-port, ROUNDHOUSE_HTTP_PORT, "http_port" in FILE).
rh_status rh_config_value_from_text(const rh_setting *setting, const char *source, const char *text,
                                    rh_config_value *out, rh_error *error) RH_MUST_CHECK;
rh_status rh_config_value_from_json(const rh_setting *setting, const char *source, const json_t *json,
                                    rh_config_value *out, rh_error *error) RH_MUST_CHECK;

// Puts the value into its field and takes it over; a string that was there is freed.
void rh_config_value_store(const rh_setting *setting, rh_config_value value, void *settings);
void rh_config_value_discard(const rh_setting *setting, rh_config_value value);

bool rh_config_has_bounds(const rh_setting *setting);

// The flag of a setting without its two hyphens, or the variable with its prefix, into `out`.
#define RH_CONFIG_NAME_SIZE 96
void rh_config_flag_name(const rh_setting *setting, char out[RH_CONFIG_NAME_SIZE]);
void rh_config_variable_name(const rh_setting *setting, char out[RH_CONFIG_NAME_SIZE]);

#endif
