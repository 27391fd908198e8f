// SPDX-License-Identifier: Apache-2.0
//
// Reading JSON: parsing with limits and typed getters over jansson values. Owns no data; pure functions, any thread.
// Writing is in json_write.c. Nothing here knows any dialect.
#include "base/json.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

// Doubles hold every whole number up to here; past it "is integral" says nothing.
#define EXACT_INT_MAX 9007199254740992.0

// The deepest nesting of brackets outside strings, or RH_JSON_DEPTH_MAX + 1 with the place as soon as that is passed.
// A text whose strings are not well formed may be counted wrongly, but the parser stops at that very spot.
static int nesting_depth(const char *text, size_t length, int *line) {
  int depth = 0;
  int deepest = 0;
  *line = 1;
  for (size_t i = 0; i < length; i++) {
    switch (text[i]) {
      case '"':
        for (i++; i < length && text[i] != '"'; i++) {
          if (text[i] == '\\') i++;
        }
        break;
      case '[':
      case '{':
        if (++depth > deepest) deepest = depth;
        if (deepest > RH_JSON_DEPTH_MAX) return deepest;
        break;
      case ']':
      case '}': depth--; break;
      case '\n': ++*line; break;
      default: break;
    }
  }
  return deepest;
}

json_t *rh_json_parse(const char *text, size_t length, rh_error *error) {
  int line = 1;
  if (length == 0) {
    (void)rh_fail(error, RH_INVALID, "not valid JSON: the text is empty");
    return NULL;
  }
  if (nesting_depth(text, length, &line) > RH_JSON_DEPTH_MAX) {
    (void)rh_fail(error, RH_INVALID, "the JSON is nested more than %d levels deep (line %d)", RH_JSON_DEPTH_MAX, line);
    return NULL;
  }
  json_error_t what = {.text = ""};  // jansson leaves it alone, or empty, where an allocation fails
  json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &what);
  if (value != NULL) return value;
  if (what.text[0] == '\0' || json_error_code(&what) == json_error_out_of_memory) {
    (void)rh_fail(error, RH_NO_MEMORY, "no memory for %zu bytes of JSON", length);
  } else {
    const char *encoding = json_error_code(&what) == json_error_invalid_utf8 ? "the text is not UTF-8, " : "";
    (void)rh_fail(error, RH_INVALID, "not valid JSON at line %d, column %d: %s%s", what.line, what.column, encoding,
                  what.text);
  }
  return NULL;
}

void rh_json_join_path(char *out, size_t size, const char *path, const char *key) {
  size_t before = strlen(path), after = strlen(key), dot = before > 0 ? 1 : 0;
  if (before + dot + after >= size) {
    (void)snprintf(out, size, "%s%s%s", path, dot > 0 ? "." : "", key);  // cut
    return;
  }
  memcpy(out, path, before);
  if (dot > 0) out[before] = '.';
  memcpy(out + before + dot, key, after + 1);
}

const char *rh_json_type_name(const json_t *value) {
  if (value == NULL) return "nothing";
  switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
  }
  return "nothing";
}

// The member to look at in `*value`: NULL when it is absent or null, or when there is no object at all. The joined path
// goes to `where`, which belongs to the caller.
static rh_status find(const json_t *object, const char *path, const char *key, char where[static 128],
                      const json_t **value, rh_error *error) {
  *value = NULL;
  if (object == NULL) return RH_OK;
  if (!json_is_object(object)) {
    const char *name = path[0] == '\0' ? "the value" : path;
    return rh_fail_param(error, RH_INVALID, path, "%s must be an object, not %s", name, rh_json_type_name(object));
  }
  rh_json_join_path(where, 128, path, key);
  const json_t *found = json_object_get(object, key);
  if (!json_is_null(found)) *value = found;
  return RH_OK;
}

static rh_status wrong_type(const char *where, const char *wanted, const json_t *value, rh_error *error) {
  return rh_fail_param(error, RH_INVALID, where, "\"%s\" must be %s, not %s", where, wanted, rh_json_type_name(value));
}

rh_status rh_json_get_string(const json_t *object, const char *path, const char *key, const char **out,
                             rh_error *error) {
  char where[128];
  const json_t *value;
  rh_status status = find(object, path, key, where, &value, error);
  if (status != RH_OK || value == NULL) return status;
  if (!json_is_string(value)) return wrong_type(where, "a string", value, error);
  *out = json_string_value(value);
  return RH_OK;
}

// "from 1 to 8", "at least 1", "at most 8" or nothing, with a space in front.
static void describe_bounds(char *out, size_t size, bool has_min, bool has_max, const char *min, const char *max) {
  out[0] = '\0';
  if (has_min && has_max)
    (void)snprintf(out, size, " from %s to %s", min, max);
  else if (has_min)
    (void)snprintf(out, size, ", at least %s", min);
  else if (has_max)
    (void)snprintf(out, size, ", at most %s", max);
}

static rh_status bad_int(const char *where, int64_t min, int64_t max, const json_t *value, rh_error *error) {
  char low[24], high[24], bounds[64], given[48];
  (void)snprintf(low, sizeof low, "%" PRId64, min);
  (void)snprintf(high, sizeof high, "%" PRId64, max);
  describe_bounds(bounds, sizeof bounds, min != INT64_MIN, max != INT64_MAX, low, high);
  if (json_is_integer(value)) {
    (void)snprintf(given, sizeof given, "it is %" JSON_INTEGER_FORMAT, json_integer_value(value));
  } else if (json_is_real(value)) {
    char number[40];
    rh_text_format_number(number, sizeof number, json_real_value(value));
    (void)snprintf(given, sizeof given, "it is %s", number);
  } else {
    (void)snprintf(given, sizeof given, "not %s", rh_json_type_name(value));
  }
  return rh_fail_param(error, RH_INVALID, where, "\"%s\" must be a whole number%s%s %s", where, bounds,
                       json_is_number(value) ? ";" : ",", given);
}

rh_status rh_json_get_int(const json_t *object, const char *path, const char *key, int64_t min, int64_t max,
                          int64_t *out, rh_error *error) {
  char where[128];
  const json_t *value;
  assert(min <= max);
  rh_status status = find(object, path, key, where, &value, error);
  if (status != RH_OK || value == NULL) return status;
  int64_t number = 0;
  bool whole = json_is_integer(value);
  if (whole) {
    number = json_integer_value(value);
  } else if (json_is_real(value)) {
    // Clients in languages with one number type send 64.0 for 64.
    double real = json_real_value(value);
    whole = fabs(real) <= EXACT_INT_MAX && real == trunc(real);
    if (whole) number = (int64_t)real;
  }
  if (!whole || number < min || number > max) return bad_int(where, min, max, value, error);
  *out = number;
  return RH_OK;
}

rh_status rh_json_get_number(const json_t *object, const char *path, const char *key, double min, double max,
                             double *out, rh_error *error) {
  char where[128];
  const json_t *value;
  assert(min <= max);
  rh_status status = find(object, path, key, where, &value, error);
  if (status != RH_OK || value == NULL) return status;
  double number = json_number_value(value);
  if (json_is_number(value) && number >= min && number <= max) {
    *out = number;
    return RH_OK;
  }
  char low[40], high[40], bounds[96], given[40];
  rh_text_format_number(low, sizeof low, min);
  rh_text_format_number(high, sizeof high, max);
  describe_bounds(bounds, sizeof bounds, min > -DBL_MAX, max < DBL_MAX, low, high);
  if (!json_is_number(value)) {
    return rh_fail_param(error, RH_INVALID, where, "\"%s\" must be a number%s, not %s", where, bounds,
                         rh_json_type_name(value));
  }
  rh_text_format_number(given, sizeof given, number);
  return rh_fail_param(error, RH_INVALID, where, "\"%s\" must be a number%s; it is %s", where, bounds, given);
}

rh_status rh_json_get_bool(const json_t *object, const char *path, const char *key, bool *out, rh_error *error) {
  char where[128];
  const json_t *value;
  rh_status status = find(object, path, key, where, &value, error);
  if (status != RH_OK || value == NULL) return status;
  if (!json_is_boolean(value)) return wrong_type(where, "true or false", value, error);
  *out = json_is_true(value);
  return RH_OK;
}

static rh_status get_container(const json_t *object, const char *path, const char *key, json_type type, json_t **out,
                               rh_error *error) {
  char where[128];
  const json_t *value;
  rh_status status = find(object, path, key, where, &value, error);
  if (status != RH_OK || value == NULL) return status;
  if (json_typeof(value) != type) {
    return wrong_type(where, type == JSON_OBJECT ? "an object" : "an array", value, error);
  }
  *out = json_object_get(object, key);  // the same value again, without the const that `find` adds
  return RH_OK;
}

rh_status rh_json_get_object(const json_t *object, const char *path, const char *key, json_t **out, rh_error *error) {
  return get_container(object, path, key, JSON_OBJECT, out, error);
}

rh_status rh_json_get_array(const json_t *object, const char *path, const char *key, json_t **out, rh_error *error) {
  return get_container(object, path, key, JSON_ARRAY, out, error);
}

rh_status rh_json_read_file(const char *path, size_t bytes_max, json_t **out, rh_error *error) {
  rh_dynbuf text;
  rh_error inner = {0};
  rh_dynbuf_init(&text, bytes_max);
  *out = NULL;
  rh_status status = rh_file_read(path, &text, error);
  if (status == RH_OK) {
    *out = rh_json_parse(rh_dynbuf_data(&text), text.length, &inner);
    if (!*out) status = rh_fail(error, RH_INVALID, "%.250s is damaged: %.400s", path, inner.message);
  }
  rh_dynbuf_free(&text);
  return status;
}
