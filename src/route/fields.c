// SPDX-License-Identifier: Apache-2.0
//
// Purpose: reading the policy's JSON: names with or without capitals and underscores, errors that name the path.
// Data owned: none. Threads: any.
#include <ctype.h>
#include <math.h>

#include "base/json.h"
#include "route/internal.h"

#define KEY_SHOWN 63  // bytes of a stranger's key that an error repeats

bool rh_route_same_word(const char *a, const char *b) {
  for (;;) {
    while (*a == '_' || *a == '-') a++;
    while (*b == '_' || *b == '-') b++;
    if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) return false;
    if (*a == '\0') return true;
    a++;
    b++;
  }
}

int rh_route_field(const char *const *names, size_t count, const char *path, const char *key, rh_error *error) {
  char full[256];
  for (size_t i = 0; i < count; i++) {
    if (rh_route_same_word(names[i], key)) return (int)i;
  }
  const char *nearest = rh_text_nearest(key, names, count);
  snprintf(full, sizeof full, "%s.%.*s", path, KEY_SHOWN, key);
  (void)!rh_fail_param(error, RH_INVALID, full, "%s is not known%s%s%s", full,
                       nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                       nearest != NULL ? "\"?" : "");
  return -1;
}

rh_status rh_route_word(const char *const *names, size_t count, const char *path, const json_t *value, int *out,
                        rh_error *error) {
  if (!json_is_string(value)) return rh_route_wants(path, value, "a word", error);
  const char *word = json_string_value(value);
  for (size_t i = 0; i < count; i++) {
    if (!rh_route_same_word(names[i], word)) continue;
    *out = (int)i;
    return RH_OK;
  }
  const char *nearest = rh_text_nearest(word, names, count);
  return rh_fail_param(error, RH_INVALID, path, "%s: \"%.*s\" is not known%s%s%s", path, KEY_SHOWN, word,
                       nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                       nearest != NULL ? "\"?" : "");
}

rh_status rh_route_wants(const char *path, const json_t *value, const char *what, rh_error *error) {
  return rh_fail_param(error, RH_INVALID, path, "%s must be %s, not %s", path, what, rh_json_type_name(value));
}

rh_status rh_route_number(const char *path, const json_t *value, double min, double max, double *out, rh_error *error) {
  if (!json_is_number(value)) return rh_route_wants(path, value, "a number", error);
  double number = json_number_value(value);
  if (!isfinite(number) || number < min || number > max)
    return rh_fail_param(error, RH_INVALID, path, "%s is %g, but must lie between %g and %g", path, number, min, max);
  *out = number;
  return RH_OK;
}

rh_status rh_route_bool(const char *path, const json_t *value, bool *out, rh_error *error) {
  if (!json_is_boolean(value)) return rh_route_wants(path, value, "true or false", error);
  *out = json_is_true(value);
  return RH_OK;
}

rh_status rh_route_no_memory(rh_error *error) {
  return rh_fail(error, RH_NO_MEMORY, "routing: not enough memory, or more than 8 MiB of rules");
}
