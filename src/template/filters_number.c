// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the filters over numbers: int, float, round, abs.
// Data owned: none. Threads: the render's.
// Not here: arithmetic (operators.c).
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template/render.h"

#define DIGITS_MAX 400

static bool absolute(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  if (self.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, self);
  if (!tpl_is_number(self)) return rh_tpl_fail(render, "bad operand type for abs(): '%s'", rh_tpl_type(self));
  if (self.kind == V_FLOAT) {
    *out = tpl_float(fabs(self.as.number));
    return true;
  }
  return rh_tpl_negate(render, self, tpl_whole(self) >= 0, out);
}

// White space around a number does not count, however much of it there is.
static bool strip_text(tpl_render *render, tpl_value *value) {
  if (value->kind != V_STRING) return true;
  if (!rh_tpl_spend_text(render, value->length)) return false;
  *value = rh_tpl_strip(*value, NULL, true, true);
  return true;
}

// The text without single underscores between digits, terminated. False: too long or malformed.
static bool plain_digits(tpl_value bare, char out[DIGITS_MAX]) {
  size_t to = 0;
  if (bare.length == 0 || bare.length >= DIGITS_MAX) return false;
  for (size_t i = 0; i < bare.length; i++) {
    char c = bare.as.text[i];
    bool between = i > 0 && i + 1 < bare.length && bare.as.text[i - 1] != '_' && bare.as.text[i + 1] != '_';
    if (c == '\0' || (c == '_' && !between)) return false;
    if (c != '_') out[to++] = c;
  }
  out[to] = '\0';
  return true;
}

static bool read_float(tpl_value text, double *out) {
  char digits[DIGITS_MAX], *end;
  if (!plain_digits(text, digits)) return false;
  // strtod knows more forms than Python: hexadecimal ones and nan(...).
  if (strpbrk(digits, "xX(") != NULL) return false;
  *out = strtod(digits, &end);
  return end != digits && *end == '\0';
}

static bool read_int(tpl_value text, int64_t base, int64_t *out) {
  char digits[DIGITS_MAX], *at = digits, *end;
  if (!plain_digits(text, digits)) return false;
  bool negative = *at == '-';
  if (*at == '-' || *at == '+') at++;
  char mark = at[0] == '0' ? (char)(at[1] | 0x20) : '\0';
  int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (marked > 0 && (base == 0 || base == marked)) {
    base = marked;
    at += 2;
  }
  if (base == 0) base = 10;
  if (at[0] == '-' || at[0] == '+' || at[0] == '\0') return false;
  errno = 0;
  long long number = strtoll(at, &end, (int)base);
  if (*end != '\0' || end == at || errno != 0) return false;
  *out = negative ? -number : number;
  return true;
}

static bool whole_of(tpl_render *render, double number, tpl_value *out) {
  if (!(number > -9.2e18 && number < 9.2e18))
    return rh_tpl_fail(render, "cannot make a whole number of 64 bits of %g", number);
  *out = tpl_int((int64_t)number);
  return true;
}

// args: default, base
static bool to_int(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  int64_t base, number;
  double real;
  if (self.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, self);
  if (!rh_tpl_want_int(render, "int()'s base", args[1], 10, &base)) return false;
  if (base != 0 && (base < 2 || base > 36)) return rh_tpl_fail(render, "int()'s base must be 0 or 2 to 36");
  if (!strip_text(render, &self)) return false;
  *out = args[0].kind == V_MISSING ? tpl_int(0) : args[0];
  if (tpl_is_whole(self)) {
    *out = tpl_int(tpl_whole(self));
  } else if (self.kind == V_FLOAT) {
    if (isnan(self.as.number)) return true;
    return whole_of(render, self.as.number, out);
  } else if (self.kind == V_STRING && read_int(self, base, &number)) {
    *out = tpl_int(number);
  } else if (self.kind == V_STRING && read_float(self, &real) && !isnan(real) && !isinf(real)) {
    return whole_of(render, real, out);
  }
  return true;
}

static bool to_float(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  double number;
  if (self.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, self);
  if (!strip_text(render, &self)) return false;
  *out = args[0].kind == V_MISSING ? tpl_float(0) : args[0];
  if (tpl_is_number(self)) *out = tpl_float(tpl_real(self));
  if (self.kind == V_STRING && read_float(self, &number)) *out = tpl_float(number);
  return true;
}

// Half goes to the even neighbour; printf rounds the exact binary value, as Python does.
static double round_half_even(double number, int64_t precision) {
  char text[DIGITS_MAX + 64];
  if (isnan(number) || isinf(number) || precision > 22) return number;
  if (precision >= 0) {
    (void)snprintf(text, sizeof text, "%.*f", (int)precision, number);
    return strtod(text, NULL);
  }
  if (precision < -308) return copysign(0.0, number);
  double scale = pow(10, (double)-precision);
  return nearbyint(number / scale) * scale;
}

static bool round_whole(tpl_render *render, int64_t number, int64_t precision, tpl_value *out) {
  *out = tpl_int(number);
  if (precision >= 0) return true;
  if (precision < -18) {
    *out = tpl_int(0);
    return true;
  }
  int64_t scale = 1;
  for (int64_t i = 0; i < -precision; i++) scale *= 10;
  int64_t rest = number % scale;
  if (rest < 0) rest += scale;
  int64_t down;
  if (__builtin_sub_overflow(number, rest, &down)) return rh_tpl_fail(render, "a whole number of more than 64 bits");
  bool up = rest > scale - rest || (rest == scale - rest && (down / scale) % 2 != 0);
  if (up && __builtin_add_overflow(down, scale, &down))
    return rh_tpl_fail(render, "a whole number of more than 64 bits");
  *out = tpl_int(down);
  return true;
}

// args: precision, method
static bool round_number(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  int64_t precision;
  if (self.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, self);
  if (!rh_tpl_want_int(render, "round()'s precision", args[0], 0, &precision)) return false;
  bool ceil_it = tpl_text_is(args[1], "ceil"), floor_it = tpl_text_is(args[1], "floor");
  if (args[1].kind != V_MISSING && !ceil_it && !floor_it && !tpl_text_is(args[1], "common")) {
    return rh_tpl_fail(render, "method must be common, ceil or floor");
  }
  if (!tpl_is_number(self)) return rh_tpl_fail(render, "type %s doesn't define __round__ method", rh_tpl_type(self));
  if (!ceil_it && !floor_it) {
    if (self.kind != V_FLOAT) return round_whole(render, tpl_whole(self), precision, out);
    *out = tpl_float(round_half_even(self.as.number, precision));
    return true;
  }
  double scale = pow(10, (double)precision), scaled = tpl_real(self) * scale;
  *out = tpl_float((ceil_it ? ceil(scaled) : floor(scaled)) / scale);
  return true;
}

const tpl_function rh_tpl_number_filters[] = {
    {.name = "abs", .call = absolute},
    {.name = "int", .call = to_int, .parameters = {"default", "base"}},
    {.name = "float", .call = to_float, .parameters = {"default"}},
    {.name = "round", .call = round_number, .parameters = {"precision", "method"}},
    {.name = NULL},
};
