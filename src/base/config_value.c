// SPDX-License-Identifier: Apache-2.0
//
// Values of settings: from text, from JSON, into the settings struct and back to text. Owns no data; any thread. It
// knows neither files nor precedence; those are in config.c.
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config_private.h"
#include "base/json.h"
#include "base/text.h"

#define GIVEN_MAX 80u  // of a wrong value, in an error message

typedef struct unit {
  const char *name;
  uint64_t factor;
} unit;

// From large to small; formatting takes the first one that divides the value.
static const unit duration_units[] = {
    {"h", 3600 * RH_NS_PER_S}, {"m", 60 * RH_NS_PER_S}, {"s", RH_NS_PER_S},
    {"ms", RH_NS_PER_MS},      {"us", RH_NS_PER_US},    {"ns", 1},
};
#define DURATION_UNITS (sizeof duration_units / sizeof *duration_units)

// Formatting uses the first three and bare bytes.
static const unit byte_units[] = {
    {"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"GB", 1000000000},
    {"MB", 1000000},   {"KB", 1000},      {"kB", 1000},      {"B", 1},
};
#define BYTE_UNITS (sizeof byte_units / sizeof *byte_units)
#define BYTE_UNITS_FORMATTED 3

bool rh_config_has_bounds(const rh_setting *setting) { return setting->min != 0.0 || setting->max != 0.0; }

// Formatting.

static void format_units(char *out, size_t size, uint64_t value, const unit *units, size_t count, const char *rest) {
  for (size_t i = 0; i < count && value != 0; i++) {
    if (value % units[i].factor == 0) {
      (void)snprintf(out, size, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
      return;
    }
  }
  (void)snprintf(out, size, "%" PRIu64 "%s", value, rest);
}

static void format_duration(char *out, size_t size, uint64_t ns) {
  format_units(out, size, ns, duration_units, DURATION_UNITS, "s");
}

static void format_bytes(char *out, size_t size, uint64_t bytes) {
  format_units(out, size, bytes, byte_units, BYTE_UNITS_FORMATTED, "");
}

static void format_bound(const rh_setting *setting, double bound, char *out, size_t size) {
  if (setting->type == RH_SETTING_DURATION)
    format_duration(out, size, (uint64_t)llround(bound * 1e9));
  else if (setting->type == RH_SETTING_BYTES)
    format_bytes(out, size, (uint64_t)bound);
  else
    rh_text_format_number(out, size, bound);
}

// "a whole number from 1 to 8", "one of json, plain".
static void describe(const rh_setting *setting, char *out, size_t size) {
  static const char *const nouns[] = {
      [RH_SETTING_STRING] = "text",        [RH_SETTING_INT] = "a whole number",  [RH_SETTING_NUMBER] = "a number",
      [RH_SETTING_BOOL] = "true or false", [RH_SETTING_DURATION] = "a duration", [RH_SETTING_BYTES] = "a size",
      [RH_SETTING_ENUM] = "one of",
  };
  size_t used = (size_t)snprintf(out, size, "%s", nouns[setting->type]);
  if (setting->type == RH_SETTING_ENUM) {
    for (size_t i = 0; setting->choices[i] != NULL && used < size; i++) {
      used += (size_t)snprintf(out + used, size - used, "%s %s", i == 0 ? "" : ",", setting->choices[i]);
    }
    return;
  }
  if (rh_config_has_bounds(setting)) {
    char low[40], high[40];
    format_bound(setting, setting->min, low, sizeof low);
    format_bound(setting, setting->max, high, sizeof high);
    used += (size_t)snprintf(out + used, size - used, " from %s to %s", low, high);
  }
  if (setting->type == RH_SETTING_DURATION) {
    (void)snprintf(out + used, size - used, " (such as 250ms, 30s, 5m or 1h)");
  } else if (setting->type == RH_SETTING_BYTES) {
    (void)snprintf(out + used, size - used, " (such as 64KiB, 16MiB or 2GiB)");
  }
}

rh_status rh_config_format(const rh_setting *setting, const void *settings, rh_dynbuf *out) {
  const char *field = (const char *)settings + setting->offset;
  rh_config_value value;
  char text[64];
  switch (setting->type) {
    case RH_SETTING_STRING:
      memcpy(&value.string, field, sizeof value.string);
      return rh_dynbuf_append_text(out, value.string == NULL ? "" : value.string);
    case RH_SETTING_INT:
      memcpy(&value.integer, field, sizeof value.integer);
      return rh_dynbuf_printf(out, "%" PRId64, value.integer);
    case RH_SETTING_NUMBER:
      memcpy(&value.number, field, sizeof value.number);
      rh_text_format_number(text, sizeof text, value.number);
      return rh_dynbuf_append_text(out, text);
    case RH_SETTING_BOOL:
      memcpy(&value.boolean, field, sizeof value.boolean);
      return rh_dynbuf_append_text(out, value.boolean ? "true" : "false");
    case RH_SETTING_DURATION:
      memcpy(&value.amount, field, sizeof value.amount);
      format_duration(text, sizeof text, value.amount);
      return rh_dynbuf_append_text(out, text);
    case RH_SETTING_BYTES:
      memcpy(&value.amount, field, sizeof value.amount);
      format_bytes(text, sizeof text, value.amount);
      return rh_dynbuf_append_text(out, text);
    case RH_SETTING_ENUM:
      memcpy(&value.choice, field, sizeof value.choice);
      for (int i = 0; setting->choices[i] != NULL; i++) {
        if (i == value.choice) return rh_dynbuf_append_text(out, setting->choices[i]);
      }
      break;
  }
  assert(false);  // a setting of no known type, or an enum field that is none of its choices
  return RH_INTERNAL;
}

// Parsing. The parsers of one type return false when the text is not of that type; bounds come after.

// Digits with at most one point inside. Leaves `*end` behind them. No signs, no exponents, no names for infinity.
static bool scan_decimal(const char *text, const char **end, bool *whole) {
  size_t digits = strspn(text, "0123456789");
  if (digits == 0) return false;
  *whole = true;
  *end = text + digits;
  if (**end == '.') {
    size_t more = strspn(*end + 1, "0123456789");
    if (more == 0) return false;
    *whole = false;
    *end += 1 + more;
  }
  return true;
}

// "30s", "1.5 GiB", "42": a decimal, maybe one space, maybe a unit. A bare number is in units of `bare`.
static bool parse_amount(const char *text, const unit *units, size_t count, uint64_t bare, uint64_t *out) {
  const char *end;
  bool whole;
  if (!scan_decimal(text, &end, &whole)) return false;
  uint64_t factor = bare;
  if (*end != '\0') {
    const char *name = *end == ' ' ? end + 1 : end;
    size_t i = 0;
    while (i < count && strcmp(name, units[i].name) != 0) i++;
    if (i == count) return false;
    factor = units[i].factor;
  }
  if (whole) {
    errno = 0;
    uint64_t number = strtoull(text, NULL, 10);
    if (errno != 0 || number > UINT64_MAX / factor) return false;
    *out = number * factor;
    return true;
  }
  double product = round(strtod(text, NULL) * (double)factor);
  if (!(product < 18446744073709551616.0)) return false;
  *out = (uint64_t)product;
  return true;
}

static bool parse_int(const char *text, int64_t *out) {
  size_t sign = text[0] == '-' ? 1 : 0;
  size_t digits = strspn(text + sign, "0123456789");
  if (digits == 0 || text[sign + digits] != '\0') return false;
  errno = 0;
  *out = strtoll(text, NULL, 10);
  return errno == 0;
}

static bool parse_number(const char *text, double *out) {
  // strtod alone would also take blanks, hexadecimal and names.
  if (text[0] == '\0' || text[strspn(text, "+-.0123456789eE")] != '\0') return false;
  char *end;
  *out = strtod(text, &end);
  return *end == '\0' && isfinite(*out);
}

static bool parse_bool(const char *text, bool *out) {
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (strcmp(text, words[i]) == 0) {
      *out = i % 2 == 1;
      return true;
    }
  }
  return false;
}

static bool parse_choice(const rh_setting *setting, const char *text, int *out) {
  for (int i = 0; setting->choices[i] != NULL; i++) {
    if (strcmp(text, setting->choices[i]) == 0) {
      *out = i;
      return true;
    }
  }
  return false;
}

static bool within_bounds(const rh_setting *setting, const rh_config_value *value) {
  if (!rh_config_has_bounds(setting)) return true;
  double number = 0.0;
  switch (setting->type) {
    case RH_SETTING_INT: number = (double)value->integer; break;
    case RH_SETTING_NUMBER: number = value->number; break;
    case RH_SETTING_DURATION: number = (double)value->amount / 1e9; break;
    case RH_SETTING_BYTES: number = (double)value->amount; break;
    case RH_SETTING_STRING:
    case RH_SETTING_BOOL:
    case RH_SETTING_ENUM: return true;
  }
  return number >= setting->min && number <= setting->max;
}

// `given` is a phrase such as: it is "x". The nearest choice is named when there is one.
static rh_status wrong(const rh_setting *setting, const char *source, const char *given, const char *text,
                       rh_error *error) {
  char wanted[384];
  describe(setting, wanted, sizeof wanted);
  const char *nearest = NULL;
  if (setting->type == RH_SETTING_ENUM && text != NULL) {
    size_t count = 0;
    while (setting->choices[count] != NULL) count++;
    nearest = rh_text_nearest(text, setting->choices, count);
  }
  return rh_fail_param(error, RH_INVALID, setting->key, "%s must be %s; it is %s%s%s%s", source, wanted, given,
                       nearest == NULL ? "" : "; did you mean \"", nearest == NULL ? "" : nearest,
                       nearest == NULL ? "" : "\"?");
}

static rh_status wrong_text(const rh_setting *setting, const char *source, const char *text, rh_error *error) {
  char cut[GIVEN_MAX];
  char given[GIVEN_MAX + 8];
  bool fits = rh_text_copy(cut, sizeof cut, text);
  (void)snprintf(given, sizeof given, "\"%s%s\"", cut, fits ? "" : "...");
  return wrong(setting, source, given, text, error);
}

static rh_status copy_string(const char *source, const char *text, rh_config_value *out, rh_error *error) {
  out->string = strdup(text);
  return out->string != NULL ? RH_OK : rh_fail(error, RH_NO_MEMORY, "no memory for the value of %s", source);
}

rh_status rh_config_value_from_text(const rh_setting *setting, const char *source, const char *text,
                                    rh_config_value *out, rh_error *error) {
  bool good = false;
  *out = (rh_config_value){0};
  switch (setting->type) {
    case RH_SETTING_STRING: return copy_string(source, text, out, error);
    case RH_SETTING_INT: good = parse_int(text, &out->integer); break;
    case RH_SETTING_NUMBER: good = parse_number(text, &out->number); break;
    case RH_SETTING_BOOL: good = parse_bool(text, &out->boolean); break;
    case RH_SETTING_DURATION:
      good = parse_amount(text, duration_units, DURATION_UNITS, RH_NS_PER_S, &out->amount);
      break;
    case RH_SETTING_BYTES: good = parse_amount(text, byte_units, BYTE_UNITS, 1, &out->amount); break;
    case RH_SETTING_ENUM: good = parse_choice(setting, text, &out->choice); break;
  }
  if (good && within_bounds(setting, out)) return RH_OK;
  return wrong_text(setting, source, text, error);
}

// A JSON number for a setting that holds one. False for other types and for what the type cannot hold.
static bool take_json_number(const rh_setting *setting, const json_t *json, rh_config_value *out) {
  double real = json_number_value(json);
  bool integer = json_is_integer(json);
  bool whole = integer || (fabs(real) <= 9007199254740992.0 && real == trunc(real));
  switch (setting->type) {
    case RH_SETTING_INT: out->integer = !whole ? 0 : integer ? json_integer_value(json) : (int64_t)real; return whole;
    case RH_SETTING_NUMBER: out->number = real; return true;
    case RH_SETTING_BYTES:
      if (!whole || real < 0) return false;
      out->amount = integer ? (uint64_t)json_integer_value(json) : (uint64_t)real;
      return true;
    case RH_SETTING_DURATION:
      if (!(real >= 0 && real * 1e9 < 18446744073709551616.0)) return false;
      out->amount = (uint64_t)round(real * 1e9);
      return true;
    case RH_SETTING_STRING:
    case RH_SETTING_BOOL:
    case RH_SETTING_ENUM: break;
  }
  return false;
}

rh_status rh_config_value_from_json(const rh_setting *setting, const char *source, const json_t *json,
                                    rh_config_value *out, rh_error *error) {
  *out = (rh_config_value){0};
  if (json_is_string(json)) {
    // "8080" for a number is refused: a file has types of its own, and being strict here keeps the schema true.
    bool textual = setting->type == RH_SETTING_STRING || setting->type == RH_SETTING_DURATION ||
                   setting->type == RH_SETTING_BYTES || setting->type == RH_SETTING_ENUM;
    const char *text = json_string_value(json);
    return textual ? rh_config_value_from_text(setting, source, text, out, error)
                   : wrong_text(setting, source, text, error);
  }
  if (json_is_boolean(json) && setting->type == RH_SETTING_BOOL) {
    out->boolean = json_is_true(json);
    return RH_OK;
  }
  if (json_is_number(json)) {
    if (take_json_number(setting, json, out) && within_bounds(setting, out)) return RH_OK;
    char given[40];
    rh_text_format_number(given, sizeof given, json_number_value(json));
    return wrong(setting, source, given, NULL, error);
  }
  return wrong(setting, source, rh_json_type_name(json), NULL, error);
}

// Fields. memcpy, because an offset says nothing of alignment to the compiler.

void rh_config_value_discard(const rh_setting *setting, rh_config_value value) {
  if (setting->type == RH_SETTING_STRING) free(value.string);
}

void rh_config_value_store(const rh_setting *setting, rh_config_value value, void *settings) {
  char *field = (char *)settings + setting->offset;
  switch (setting->type) {
    case RH_SETTING_STRING: {
      char *old;
      memcpy(&old, field, sizeof old);
      free(old);
      memcpy(field, &value.string, sizeof value.string);
      break;
    }
    case RH_SETTING_INT: memcpy(field, &value.integer, sizeof value.integer); break;
    case RH_SETTING_NUMBER: memcpy(field, &value.number, sizeof value.number); break;
    case RH_SETTING_BOOL: memcpy(field, &value.boolean, sizeof value.boolean); break;
    case RH_SETTING_DURATION:
    case RH_SETTING_BYTES: memcpy(field, &value.amount, sizeof value.amount); break;
    case RH_SETTING_ENUM: memcpy(field, &value.choice, sizeof value.choice); break;
  }
}
