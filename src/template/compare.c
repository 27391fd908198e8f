// SPDX-License-Identifier: Apache-2.0
//
// Purpose: comparing values as Python does, and sorting.
// Data owned: none. Threads: the render's.
// Not here: hashing (dict.c).
#include <string.h>

#include "template/render.h"

static bool equal_lists(tpl_render *render, const tpl_list *a, const tpl_list *b, bool *out) {
  size_t i = 0;
  *out = a->count == b->count;
  for (; *out && i < a->count; i++) {
    if (!rh_tpl_equal(render, a->items[i], b->items[i], out)) return false;
  }
  return rh_tpl_spend(render, i / 16);
}

static bool equal_dicts(tpl_render *render, const tpl_dict *a, const tpl_dict *b, bool *out) {
  *out = a->count == b->count;
  for (size_t i = 0; *out && i < a->count; i++) {
    tpl_value *other;
    if (!rh_tpl_dict_find(render, b, a->entries[i].key, &other)) return false;
    if (other == NULL) {
      *out = false;
    } else if (!rh_tpl_equal(render, a->entries[i].value, *other, out)) {
      return false;
    }
  }
  return true;
}

static bool equal_same_kind(tpl_render *render, tpl_value a, tpl_value b, bool *out) {
  switch ((tpl_kind)a.kind) {
    case V_NONE:
    case V_UNDEFINED: *out = true; return true;
    case V_STRING: *out = a.length == b.length && memcmp(a.as.text, b.as.text, a.length) == 0; return true;
    case V_LIST:
    case V_TUPLE:
    case V_RANGE: return equal_lists(render, a.as.list, b.as.list, out);
    case V_DICT: return equal_dicts(render, a.as.dict, b.as.dict, out);
    case V_METHOD: *out = a.as.method == b.as.method; return true;
    default: *out = a.as.list == b.as.list; return true;
  }
}

bool rh_tpl_equal(tpl_render *render, tpl_value a, tpl_value b, bool *out) {
  if (tpl_is_number(a) && tpl_is_number(b)) {
    if (a.kind != V_FLOAT && b.kind != V_FLOAT) {
      *out = tpl_whole(a) == tpl_whole(b);
      return true;
    }
    // Wide enough for 64 bits where long double is; else as close as the machine comes.
    long double x = a.kind == V_FLOAT ? (long double)a.as.number : (long double)tpl_whole(a);
    long double y = b.kind == V_FLOAT ? (long double)b.as.number : (long double)tpl_whole(b);
    *out = x <= y && x >= y;
    return true;
  }
  *out = false;
  if (a.kind != b.kind) return true;
  // The same object: Python asks no item of it whether it is equal to itself.
  if (a.kind >= V_LIST && a.as.list == b.as.list) {
    *out = true;
    return true;
  }
  if (!rh_tpl_enter(render) || !rh_tpl_spend(render, a.length / 1024)) return false;
  bool ok = equal_same_kind(render, a, b, out);
  rh_tpl_leave(render);
  return ok;
}

static bool holds(tpl_op op, int order) {
  switch (op) {
    case OP_LT: return order < 0;
    case OP_LE: return order <= 0;
    case OP_GT: return order > 0;
    default: return order >= 0;
  }
}

static bool order_numbers(tpl_op op, tpl_value a, tpl_value b) {
  if (a.kind != V_FLOAT && b.kind != V_FLOAT) {
    int64_t x = tpl_whole(a), y = tpl_whole(b);
    return holds(op, x < y ? -1 : x > y);
  }
  long double x = a.kind == V_FLOAT ? (long double)a.as.number : (long double)tpl_whole(a);
  long double y = b.kind == V_FLOAT ? (long double)b.as.number : (long double)tpl_whole(b);
  return op == OP_LT ? x < y : op == OP_LE ? x <= y : op == OP_GT ? x > y : x >= y;
}

static bool order(tpl_render *render, tpl_op op, tpl_value a, tpl_value b, bool *out);

static bool order_lists(tpl_render *render, tpl_op op, const tpl_list *a, const tpl_list *b, bool *out) {
  size_t i = 0;
  for (; i < a->count && i < b->count; i++) {
    bool same;
    if (!rh_tpl_equal(render, a->items[i], b->items[i], &same)) return false;
    if (!same) return rh_tpl_spend(render, i / 16) && order(render, op, a->items[i], b->items[i], out);
  }
  *out = holds(op, a->count < b->count ? -1 : a->count > b->count);
  return rh_tpl_spend(render, i / 16);
}

static bool order(tpl_render *render, tpl_op op, tpl_value a, tpl_value b, bool *out) {
  static const char *const signs[] = {[OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">="};
  if (a.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, a);
  if (b.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, b);
  if (tpl_is_number(a) && tpl_is_number(b)) {
    *out = order_numbers(op, a, b);
    return true;
  }
  if (a.kind == V_STRING && b.kind == V_STRING) {
    // The order of UTF-8 bytes is that of the characters.
    size_t length = a.length < b.length ? a.length : b.length;
    int sign = length > 0 ? memcmp(a.as.text, b.as.text, length) : 0;
    *out = holds(op, sign != 0 ? sign : a.length < b.length ? -1 : a.length > b.length);
    return rh_tpl_spend(render, length / 1024);
  }
  if (a.kind == b.kind && (a.kind == V_LIST || a.kind == V_TUPLE)) {
    if (!rh_tpl_enter(render) || !order_lists(render, op, a.as.list, b.as.list, out)) return false;
    rh_tpl_leave(render);
    return true;
  }
  return rh_tpl_fail(render, "'%s' not supported between instances of '%s' and '%s'", signs[op], rh_tpl_type(a),
                     rh_tpl_type(b));
}

static bool contains(tpl_render *render, tpl_value item, tpl_value in, bool *out) {
  *out = false;
  if (in.kind == V_STRING) {
    if (item.kind != V_STRING) {
      return rh_tpl_fail(render, "'in <string>' requires string as left operand, not %s", rh_tpl_type(item));
    }
    *out = item.length == 0 || memmem(in.as.text, in.length, item.as.text, item.length) != NULL;
    return rh_tpl_spend(render, in.length / 256);
  }
  if (in.kind == V_DICT) {
    tpl_value *found;
    if (!rh_tpl_dict_find(render, in.as.dict, item, &found)) return false;
    *out = found != NULL;
    return true;
  }
  if (in.kind == V_NAMESPACE || in.kind < V_UNDEFINED || tpl_is_number(in) || in.kind == V_NONE) {
    return rh_tpl_fail(render, "argument of type '%s' is not iterable", rh_tpl_type(in));
  }
  tpl_list *list;
  if (!rh_tpl_items(render, in, &list)) return false;
  for (size_t i = 0; !*out && i < list->count; i++) {
    if (!rh_tpl_spend(render, 1) || !rh_tpl_equal(render, list->items[i], item, out)) return false;
  }
  return true;
}

bool rh_tpl_compare(tpl_render *render, tpl_op op, tpl_value a, tpl_value b, bool *out) {
  bool ok;
  switch (op) {
    case OP_EQ:
    case OP_NE: ok = rh_tpl_equal(render, a, b, out); break;
    case OP_IN:
    case OP_NOT_IN: ok = contains(render, a, b, out); break;
    default: return order(render, op, a, b, out);
  }
  if (ok && (op == OP_NE || op == OP_NOT_IN)) *out = !*out;
  return ok;
}

// Merge `half` and the rest of both arrays into the scratch and back.
static bool merge(tpl_render *render, tpl_value *keys, tpl_value *items, size_t half, size_t count, bool reverse,
                  tpl_value *scratch) {
  size_t left = 0, right = half, to = 0;
  while (left < half && right < count) {
    bool take_right;
    tpl_value first = reverse ? keys[left] : keys[right], second = reverse ? keys[right] : keys[left];
    if (!rh_tpl_spend(render, 1) || !order(render, OP_LT, first, second, &take_right)) return false;
    size_t from = take_right ? right++ : left++;
    scratch[to * 2] = keys[from];
    scratch[to++ * 2 + 1] = items[from];
  }
  for (; left < half; left++, to++) scratch[to * 2] = keys[left], scratch[to * 2 + 1] = items[left];
  for (; right < count; right++, to++) scratch[to * 2] = keys[right], scratch[to * 2 + 1] = items[right];
  for (size_t i = 0; i < count; i++) keys[i] = scratch[i * 2], items[i] = scratch[i * 2 + 1];
  return true;
}

bool rh_tpl_sort(tpl_render *render, tpl_value *keys, tpl_value *items, size_t count, bool reverse) {
  if (count < 2) return true;
  tpl_value *scratch = rh_tpl_alloc(render, count, 2 * sizeof *scratch);
  if (scratch == NULL) return false;
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t at = 0; at + width < count; at += 2 * width) {
      size_t run = count - at < 2 * width ? count - at : 2 * width;
      if (!merge(render, keys + at, items + at, width, run, reverse, scratch)) return false;
    }
  }
  return true;
}
