// SPDX-License-Identifier: Apache-2.0
//
// Purpose: arithmetic, and what + * % do to texts and lists, as in Python.
// Data owned: none. Threads: the render's.
// Not here: whole numbers beyond 64 bits; reaching them is an error.
#include <math.h>
#include <string.h>

#include "template/render.h"

static const char *const signs[] = {[OP_ADD] = "+",       [OP_SUB] = "-", [OP_MUL] = "*",          [OP_DIV] = "/",
                                    [OP_FLOORDIV] = "//", [OP_MOD] = "%", [OP_POW] = "** or pow()"};

static bool unsupported(tpl_render *render, tpl_op op, tpl_value a, tpl_value b) {
  return rh_tpl_fail(render, "unsupported operand type(s) for %s: '%s' and '%s'", signs[op], rh_tpl_type(a),
                     rh_tpl_type(b));
}

static bool too_large(tpl_render *render) { return rh_tpl_fail(render, "a whole number of more than 64 bits"); }

// The base's square of one round too many may overflow; only what is used counts.
static bool whole_power(tpl_render *render, int64_t base, int64_t exponent, tpl_value *out) {
  if (exponent < 0) {
    if (base == 0) return rh_tpl_fail(render, "0.0 cannot be raised to a negative power");
    *out = tpl_float(pow((double)base, (double)exponent));
    return true;
  }
  int64_t result = 1;
  bool lost = false;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && (lost || __builtin_mul_overflow(result, base, &result))) return too_large(render);
    lost = __builtin_mul_overflow(base, base, &base) || lost;
  }
  *out = tpl_int(result);
  return true;
}

static bool whole(tpl_render *render, tpl_op op, int64_t a, int64_t b, tpl_value *out) {
  int64_t result = 0;
  bool lost = false;
  switch (op) {
    case OP_ADD: lost = __builtin_add_overflow(a, b, &result); break;
    case OP_SUB: lost = __builtin_sub_overflow(a, b, &result); break;
    case OP_MUL: lost = __builtin_mul_overflow(a, b, &result); break;
    case OP_POW: return whole_power(render, a, b, out);
    case OP_DIV:
      if (b == 0) return rh_tpl_fail(render, "division by zero");
      *out = tpl_float((double)((long double)a / (long double)b));
      return true;
    default:
      if (b == 0) return rh_tpl_fail(render, "integer division or modulo by zero");
      if (a == INT64_MIN && b == -1) {
        if (op == OP_FLOORDIV) return too_large(render);
        break;  // the rest is 0
      }
      // Towards minus infinity; the rest has the divisor's sign.
      result = op == OP_MOD ? a % b : a / b;
      if (a % b != 0 && (a % b < 0) != (b < 0)) result = op == OP_MOD ? result + b : result - 1;
  }
  if (lost) return too_large(render);
  *out = tpl_int(result);
  return true;
}

static bool real(tpl_render *render, tpl_op op, double a, double b, tpl_value *out) {
  bool zero = !(b < 0 || b > 0) && !isnan(b);
  double result;
  if (zero && op == OP_DIV) return rh_tpl_fail(render, "float division by zero");
  if (zero && (op == OP_FLOORDIV || op == OP_MOD)) return rh_tpl_fail(render, "float floor division or modulo by zero");
  switch (op) {
    case OP_ADD: result = a + b; break;
    case OP_SUB: result = a - b; break;
    case OP_MUL: result = a * b; break;
    case OP_DIV: result = a / b; break;
    case OP_POW:
      result = pow(a, b);
      if (isinf(result) && !isinf(a) && !isinf(b)) return rh_tpl_fail(render, "a power that is too large, or of zero");
      if (isnan(result) && !isnan(a) && !isnan(b)) return rh_tpl_fail(render, "a power that is no real number");
      break;
    default:
      result = fmod(a, b);
      if ((result < 0 || result > 0) && (result < 0) != (b < 0)) result += b;
      if (op == OP_MOD) {
        if (!(result < 0 || result > 0)) result = copysign(0.0, b);
      } else {
        result = (a - result) / b;
        double down = floor(result);
        result = result - down > 0.5 ? down + 1.0 : down;
      }
  }
  *out = tpl_float(result);
  return true;
}

static bool add_texts(tpl_render *render, tpl_value a, tpl_value b, tpl_value *out) {
  bool markup = a.markup || b.markup;
  // What is marked as safe makes the other side safe too.
  if (markup && !a.markup && !rh_tpl_escape(render, a, &a)) return false;
  if (markup && !b.markup && !rh_tpl_escape(render, b, &b)) return false;
  if (a.length + b.length > TPL_OUTPUT_MAX) return rh_tpl_fail_memory(render);
  if (!rh_tpl_spend_text(render, a.length + b.length)) return false;
  char *text = rh_tpl_alloc(render, a.length + b.length + 1, 1);
  if (text == NULL) return false;
  memcpy(text, a.as.text, a.length);
  memcpy(text + a.length, b.as.text, b.length);
  *out = tpl_text(text, a.length + b.length);
  out->markup = markup;
  return true;
}

static bool add_lists(tpl_render *render, tpl_value a, tpl_value b, tpl_value *out) {
  tpl_list *list = rh_tpl_list_new(render, a.as.list->count + b.as.list->count);
  if (list == NULL || !rh_tpl_spend(render, list->room)) return false;
  list->count = list->room;
  if (a.as.list->count > 0) memcpy(list->items, a.as.list->items, a.as.list->count * sizeof *list->items);
  if (b.as.list->count > 0)
    memcpy(list->items + a.as.list->count, b.as.list->items, b.as.list->count * sizeof *list->items);
  *out = tpl_of_list((tpl_kind)a.kind, list);
  return true;
}

static bool repeat(tpl_render *render, tpl_value what, int64_t times, tpl_value *out) {
  bool is_text = what.kind == V_STRING;
  size_t length = is_text ? what.length : what.as.list->count, total;
  size_t count = times > 0 ? (size_t)times : 0;
  if (__builtin_mul_overflow(length, count, &total) || total > TPL_OUTPUT_MAX) return rh_tpl_fail_memory(render);
  if (!rh_tpl_spend_text(render, total)) return false;
  if (is_text) {
    char *text = rh_tpl_alloc(render, total, 1);
    if (text == NULL) return false;
    for (size_t i = 0; length > 0 && i < count; i++) memcpy(text + i * length, what.as.text, length);
    *out = tpl_text(text, total);
    out->markup = what.markup;
    return true;
  }
  tpl_list *list = rh_tpl_list_new(render, total);
  if (list == NULL || !rh_tpl_spend(render, total)) return false;
  for (size_t i = 0; i < total; i++) list->items[i] = what.as.list->items[i % length];
  list->count = total;
  *out = tpl_of_list((tpl_kind)what.kind, list);
  return true;
}

static bool is_sequence(tpl_value value) {
  return value.kind == V_STRING || value.kind == V_LIST || value.kind == V_TUPLE;
}

static bool percent(tpl_render *render, tpl_value a, tpl_value b, tpl_value *out) {
  tpl_args args = {0};
  if (b.kind == V_TUPLE) {
    args.items = b.as.list->items;
    args.count = b.as.list->count;
  } else {
    args.items = &b;
    args.count = 1;
  }
  return rh_tpl_percent(render, a, &args, out);
}

bool rh_tpl_binary(tpl_render *render, tpl_op op, tpl_value a, tpl_value b, tpl_value *out) {
  if (op == OP_MOD && a.kind == V_STRING) return percent(render, a, b, out);
  if (a.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, a);
  if (b.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, b);
  if (tpl_is_whole(a) && tpl_is_whole(b)) return whole(render, op, tpl_whole(a), tpl_whole(b), out);
  if (tpl_is_number(a) && tpl_is_number(b)) return real(render, op, tpl_real(a), tpl_real(b), out);
  if (op == OP_ADD && a.kind == V_STRING && b.kind == V_STRING) return add_texts(render, a, b, out);
  if (op == OP_ADD && a.kind == b.kind && (a.kind == V_LIST || a.kind == V_TUPLE)) return add_lists(render, a, b, out);
  if (op == OP_MUL && is_sequence(a) && tpl_is_whole(b)) return repeat(render, a, tpl_whole(b), out);
  if (op == OP_MUL && is_sequence(b) && tpl_is_whole(a)) return repeat(render, b, tpl_whole(a), out);
  if (op == OP_ADD && a.kind == V_STRING) {
    return rh_tpl_fail(render, "can only concatenate str (not \"%s\") to str", rh_tpl_type(b));
  }
  return unsupported(render, op, a, b);
}

bool rh_tpl_negate(tpl_render *render, tpl_value value, bool plus, tpl_value *out) {
  if (value.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, value);
  if (!tpl_is_number(value))
    return rh_tpl_fail(render, "bad operand type for unary %c: '%s'", plus ? '+' : '-', rh_tpl_type(value));
  if (value.kind == V_FLOAT) {
    *out = tpl_float(plus ? value.as.number : -value.as.number);
    return true;
  }
  int64_t number = tpl_whole(value);
  if (!plus && __builtin_sub_overflow((int64_t)0, number, &number)) return too_large(render);
  *out = tpl_int(number);
  return true;
}
