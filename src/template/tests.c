// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the tests behind "is".
// Data owned: none. Threads: the render's.
// Not here: comparisons themselves (compare.c).
#include <math.h>
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

#define TEST(test, expression)                                                                  \
  static bool test(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) { \
    (void)render, (void)args;                                                                   \
    *out = tpl_bool(expression);                                                                \
    return true;                                                                                \
  }

TEST(is_defined, self.kind != V_UNDEFINED)
TEST(is_undefined, self.kind == V_UNDEFINED)
TEST(is_none, self.kind == V_NONE)
TEST(is_boolean, self.kind == V_BOOL)
TEST(is_false, self.kind == V_BOOL && !self.as.boolean)
TEST(is_true, self.kind == V_BOOL && self.as.boolean)
TEST(is_integer, self.kind == V_INT)
TEST(is_float, self.kind == V_FLOAT)
TEST(is_string, self.kind == V_STRING)
TEST(is_mapping, self.kind == V_DICT)
TEST(is_number, tpl_is_number(self))
TEST(is_sequence, self.kind == V_STRING || self.kind == V_LIST || self.kind == V_TUPLE || self.kind == V_DICT ||
                      self.kind == V_RANGE || self.kind == V_UNDEFINED)
TEST(is_iterable,
     self.kind == V_UNDEFINED || (self.kind >= V_STRING && self.kind <= V_GENERATOR) || self.kind == V_LOOP)
TEST(is_callable, self.kind == V_MACRO || self.kind == V_FUNCTION || self.kind == V_METHOD || self.kind == V_JOINER ||
                      self.kind == V_LOOP || self.kind == V_UNDEFINED)
TEST(is_escaped, self.kind == V_STRING && self.markup)
TEST(is_filter, self.kind == V_STRING && rh_tpl_filter_find(self, &(bool){false}) != NULL)
TEST(is_test, self.kind == V_STRING && rh_tpl_test_find(self) != NULL)

#define COMPARE(test, op)                                                                       \
  static bool test(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) { \
    bool holds;                                                                                 \
    if (!rh_tpl_compare(render, op, self, args[0], &holds)) return false;                       \
    *out = tpl_bool(holds);                                                                     \
    return true;                                                                                \
  }

COMPARE(is_eq, OP_EQ)
COMPARE(is_ne, OP_NE)
COMPARE(is_lt, OP_LT)
COMPARE(is_le, OP_LE)
COMPARE(is_gt, OP_GT)
COMPARE(is_ge, OP_GE)
COMPARE(is_in, OP_IN)

static bool rest_is(tpl_render *render, tpl_value self, tpl_value divisor, int64_t wanted, tpl_value *out) {
  tpl_value rest;
  bool same;
  if (!rh_tpl_binary(render, OP_MOD, self, divisor, &rest) || !rh_tpl_equal(render, rest, tpl_int(wanted), &same))
    return false;
  *out = tpl_bool(same);
  return true;
}

static bool is_odd(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rest_is(render, self, tpl_int(2), 1, out);
}

static bool is_even(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return rest_is(render, self, tpl_int(2), 0, out);
}

static bool is_divisible(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return rest_is(render, self, args[0], 0, out);
}

// Python's "is": the same object. Numbers and texts that are equal are taken for the same.
static bool is_same(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  bool same = self.kind == args[0].kind;
  if (same && self.kind >= V_LIST) {
    same = self.as.list == args[0].as.list;
  } else if (same && !rh_tpl_equal(render, self, args[0], &same)) {
    return false;
  }
  *out = tpl_bool(same);
  return true;
}

// Some letter has a case, and all that have one have this one.
static bool is_case(tpl_render *render, tpl_value self, tpl_class what, tpl_value *out) {
  tpl_value text;
  bool any = false, all = true;
  if (!rh_tpl_str(render, self, &text) || !rh_tpl_spend_text(render, text.length)) return false;
  for (size_t at = 0, used; all && at < text.length; at += used) {
    uint32_t code = rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
    bool is = rh_tpl_char_is(code, what);
    any = any || is;
    if (!is && (rh_tpl_char_is(code, TPL_LOWER) || rh_tpl_char_is(code, TPL_UPPER) || rh_tpl_char_is(code, TPL_TITLE)))
      all = false;
  }
  *out = tpl_bool(any && all);
  return true;
}

static bool is_lower(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return is_case(render, self, TPL_LOWER, out);
}

static bool is_upper(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return is_case(render, self, TPL_UPPER, out);
}

#define WITH_OTHER .required = 1, .parameters = {"other"}

static const tpl_function tests[] = {
    {.name = "defined", .call = is_defined},
    {.name = "undefined", .call = is_undefined},
    {.name = "none", .call = is_none},
    {.name = "boolean", .call = is_boolean},
    {.name = "false", .call = is_false},
    {.name = "true", .call = is_true},
    {.name = "integer", .call = is_integer},
    {.name = "float", .call = is_float},
    {.name = "string", .call = is_string},
    {.name = "mapping", .call = is_mapping},
    {.name = "number", .call = is_number},
    {.name = "sequence", .call = is_sequence},
    {.name = "iterable", .call = is_iterable},
    {.name = "callable", .call = is_callable},
    {.name = "escaped", .call = is_escaped},
    {.name = "filter", .call = is_filter},
    {.name = "test", .call = is_test},
    {.name = "odd", .call = is_odd},
    {.name = "even", .call = is_even},
    {.name = "divisibleby", .call = is_divisible, .required = 1, .parameters = {"num"}},
    {.name = "sameas", .call = is_same, WITH_OTHER},
    {.name = "lower", .call = is_lower},
    {.name = "upper", .call = is_upper},
    {.name = "in", .call = is_in, .required = 1, .parameters = {"seq"}},
    {.name = "eq", .call = is_eq, WITH_OTHER},
    {.name = "equalto", .call = is_eq, WITH_OTHER},
    {.name = "==", .call = is_eq, WITH_OTHER},
    {.name = "ne", .call = is_ne, WITH_OTHER},
    {.name = "!=", .call = is_ne, WITH_OTHER},
    {.name = "lt", .call = is_lt, WITH_OTHER},
    {.name = "lessthan", .call = is_lt, WITH_OTHER},
    {.name = "<", .call = is_lt, WITH_OTHER},
    {.name = "le", .call = is_le, WITH_OTHER},
    {.name = "<=", .call = is_le, WITH_OTHER},
    {.name = "gt", .call = is_gt, WITH_OTHER},
    {.name = "greaterthan", .call = is_gt, WITH_OTHER},
    {.name = ">", .call = is_gt, WITH_OTHER},
    {.name = "ge", .call = is_ge, WITH_OTHER},
    {.name = ">=", .call = is_ge, WITH_OTHER},
};

const tpl_function *rh_tpl_test_find(tpl_value name) {
  for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
    if (tpl_text_is(name, tests[i].name)) return &tests[i];
  }
  return NULL;
}
