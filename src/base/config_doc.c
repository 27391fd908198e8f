// SPDX-License-Identifier: Apache-2.0
//
// What the table of settings says about itself: the flags for --help and the JSON Schema for editors. Owns no data; any
// thread. It reads the table only, never a settings struct.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/config_private.h"

// Help begins in this column at the latest; a longer flag gets a line of its own.
#define HELP_COLUMN_MAX 38

// These say in the schema's language what config_value.c accepts as text.
#define DURATION_PATTERN "^[0-9]+(\\.[0-9]+)? ?(ns|us|ms|s|m|h)?$"
#define BYTES_PATTERN "^[0-9]+(\\.[0-9]+)? ?(B|KiB|MiB|GiB|KB|kB|MB|GB)?$"

// "  --http-port N"
static size_t format_flag(const rh_setting *setting, char *out, size_t size) {
  static const char *const placeholders[] = {
      [RH_SETTING_STRING] = " TEXT",
      [RH_SETTING_INT] = " N",
      [RH_SETTING_NUMBER] = " NUMBER",
      [RH_SETTING_BOOL] = "",
      [RH_SETTING_DURATION] = " DURATION",
      [RH_SETTING_BYTES] = " SIZE",
      [RH_SETTING_ENUM] = " ",
  };
  char name[RH_CONFIG_NAME_SIZE];
  rh_config_flag_name(setting, name);
  const char *negation = setting->type == RH_SETTING_BOOL ? "[no-]" : "";
  size_t used = (size_t)snprintf(out, size, "  --%s%s%s", negation, name, placeholders[setting->type]);
  if (setting->type == RH_SETTING_ENUM) {
    for (size_t i = 0; setting->choices[i] != NULL && used < size; i++) {
      used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : "|", setting->choices[i]);
    }
  }
  return used < size ? used : size - 1;
}

rh_status rh_config_help(const rh_setting *table, size_t count, rh_dynbuf *out) {
  char flag[256];
  size_t column = 0;
  for (size_t i = 0; i < count; i++) {
    if (table[i].file_only) continue;
    size_t width = format_flag(&table[i], flag, sizeof flag) + 2;
    if (width > column && width <= HELP_COLUMN_MAX) column = width;
  }
  for (size_t i = 0; i < count; i++) {
    if (table[i].file_only) continue;
    size_t width = format_flag(&table[i], flag, sizeof flag);
    bool own_line = width + 2 > column;
    (void)rh_dynbuf_printf(out, "%s%s%*s%s", flag, own_line ? "\n" : "", (int)(own_line ? column : column - width), "",
                           table[i].help);
    if (table[i].default_text != NULL && table[i].default_text[0] != '\0') {
      (void)rh_dynbuf_printf(out, " (default: %s)", table[i].default_text);
    }
    (void)rh_dynbuf_append_char(out, '\n');
  }
  return out->failed ? RH_TOO_LARGE : RH_OK;
}

// The schema. `set` takes over `value` and turns false when anything in the chain fails.

static bool set(json_t *object, const char *key, json_t *value) {
  return value != NULL && json_object_set_new(object, key, value) == 0;
}

static bool set_bounds(json_t *object, const rh_setting *setting) {
  bool whole = setting->type == RH_SETTING_INT || setting->type == RH_SETTING_BYTES;
  bool in_range = setting->min > -9.2e18 && setting->max < 9.2e18;
  if (!rh_config_has_bounds(setting)) {
    bool amount = setting->type == RH_SETTING_DURATION || setting->type == RH_SETTING_BYTES;
    return !amount || set(object, "minimum", json_integer(0));
  }
  if (!whole || !in_range) {
    return set(object, "minimum", json_real(setting->min)) && set(object, "maximum", json_real(setting->max));
  }
  return set(object, "minimum", json_integer((json_int_t)setting->min)) &&
         set(object, "maximum", json_integer((json_int_t)setting->max));
}

static bool set_text_or_number(json_t *object, const rh_setting *setting, const char *number, const char *pattern) {
  return set(object, "type", json_pack("[s,s]", "string", number)) && set(object, "pattern", json_string(pattern)) &&
         set_bounds(object, setting);
}

static bool set_type(json_t *object, const rh_setting *setting) {
  switch (setting->type) {
    case RH_SETTING_STRING: return set(object, "type", json_string("string"));
    case RH_SETTING_INT: return set(object, "type", json_string("integer")) && set_bounds(object, setting);
    case RH_SETTING_NUMBER: return set(object, "type", json_string("number")) && set_bounds(object, setting);
    case RH_SETTING_BOOL: return set(object, "type", json_string("boolean"));
    case RH_SETTING_DURATION: return set_text_or_number(object, setting, "number", DURATION_PATTERN);
    case RH_SETTING_BYTES: return set_text_or_number(object, setting, "integer", BYTES_PATTERN);
    case RH_SETTING_ENUM: break;
  }
  json_t *choices = json_array();
  bool good = choices != NULL;
  for (size_t i = 0; good && setting->choices[i] != NULL; i++) {
    good = json_array_append_new(choices, json_string(setting->choices[i])) == 0;
  }
  if (good) return set(object, "enum", choices);
  json_decref(choices);
  return false;
}

// In the JSON type of the setting, so that an editor can insert it.
static bool set_default(json_t *object, const rh_setting *setting) {
  if (setting->default_text == NULL) return true;
  rh_config_value value;
  if (rh_config_value_from_text(setting, setting->key, setting->default_text, &value, NULL) != RH_OK) return false;
  switch (setting->type) {
    case RH_SETTING_INT: return set(object, "default", json_integer(value.integer));
    case RH_SETTING_NUMBER: return set(object, "default", json_real(value.number));
    case RH_SETTING_BOOL: return set(object, "default", json_boolean(value.boolean));
    case RH_SETTING_STRING:
    case RH_SETTING_DURATION:
    case RH_SETTING_BYTES:
    case RH_SETTING_ENUM: break;
  }
  rh_config_value_discard(setting, value);
  return set(object, "default", json_string(setting->default_text));
}

json_t *rh_config_schema(const rh_setting *table, size_t count) {
  json_t *schema = json_pack("{s:s, s:b, s:{}}", "type", "object", "additionalProperties", 0, "properties");
  json_t *properties = json_object_get(schema, "properties");
  for (size_t i = 0; i < count && properties != NULL; i++) {
    json_t *property = json_object();
    bool good = property != NULL && set(property, "description", json_string(table[i].help)) &&
                set_type(property, &table[i]) && set_default(property, &table[i]);
    // json_object_set_new drops the property itself when it fails.
    if (!good) json_decref(property);
    if (!good || json_object_set_new(properties, table[i].key, property) != 0) {
      json_decref(schema);
      return NULL;
    }
  }
  return schema;
}
