// SPDX-License-Identifier: Apache-2.0
//
// The words for how long a model stays in memory. Pure; owns nothing; any thread. What becomes of the time is the
// manager's business.
#include "base/keep_alive.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double unit_seconds(const char *text, size_t *length) {
  static const struct {
    const char *name;
    double seconds;
  } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"h", 3600}, {"m", 60}, {"s", 1}};
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    *length = strlen(units[i].name);
    if (strncmp(text, units[i].name, *length) == 0) return units[i].seconds;
  }
  return 0;
}

// "1h30m", "250ms", "1.5h", "300": false when it is none of these.
static bool parse_seconds(const char *text, double *out) {
  *out = 0;
  if (*text == '\0') return false;
  while (*text != '\0') {
    // strtod alone would also take signs, blanks, exponents and names.
    size_t digits = strspn(text, "0123456789.");
    if (digits == 0 || digits > 20) return false;
    char number[24], *end;
    memcpy(number, text, digits);
    number[digits] = '\0';
    double value = strtod(number, &end);
    if (*end != '\0') return false;
    text += digits;
    size_t length = 0;
    double unit = *text == '\0' ? 1 : unit_seconds(text, &length);
    if (unit == 0) return false;
    *out += value * unit;
    text += length;
  }
  return true;
}

rh_status rh_keep_alive_from_seconds(double seconds, int64_t *out) {
  if (isnan(seconds)) return RH_INVALID;
  // Longer than a lifetime is for ever; so is any negative number, as Ollama's clients have it.
  const double most = 100.0 * 365 * 24 * 3600;
  *out = seconds < 0 || seconds > most ? RH_KEEP_ALIVE_FOREVER : (int64_t)llround(seconds * 1e9);
  return RH_OK;
}

rh_status rh_keep_alive_parse(const char *text, int64_t *out, rh_error *error) {
  assert(text != NULL && out != NULL);
  double seconds = 0;
  if (strcmp(text, "forever") == 0 || strcmp(text, "never") == 0) {
    *out = RH_KEEP_ALIVE_FOREVER;
    return RH_OK;
  }
  bool negative = text[0] == '-';
  if (!parse_seconds(text + (negative ? 1 : 0), &seconds)) {
    return rh_fail_param(error, RH_INVALID, "keep_alive",
                         "\"%.40s\" is no time to stay in memory; write such as \"5m\", \"1h30m\", 300 (seconds), 0 "
                         "(leave when idle) or \"forever\" (also -1)",
                         text);
  }
  return rh_keep_alive_from_seconds(negative && seconds > 0 ? -seconds : seconds, out);
}
