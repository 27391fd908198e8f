// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the filters over lists and dicts: order, ends, sums, groups.
// Data owned: none. Threads: the render's.
// Not here: filters that apply others (filters_select.c).
#include "template/render.h"

static bool length(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  size_t count;
  if (!rh_tpl_length(render, self, &count)) return false;
  *out = tpl_int((int64_t)count);
  return true;
}

static bool first(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  tpl_list *list;
  if (self.kind == V_GENERATOR) {
    list = self.as.list;
    *out = list->taken < list->count ? list->items[list->taken]
                                     : rh_tpl_undefined_hint("No first item, sequence was empty.");
    list->taken += list->taken < list->count ? 1 : 0;
    return true;
  }
  if (!rh_tpl_items(render, self, &list)) return false;
  *out = list->count > 0 ? list->items[0] : rh_tpl_undefined_hint("No first item, sequence was empty.");
  return true;
}

static bool last(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  tpl_list *list;
  if (self.kind == V_GENERATOR) return rh_tpl_fail(render, "'generator' object is not reversible");
  if (!rh_tpl_items(render, self, &list)) return false;
  *out = list->count > 0 ? list->items[list->count - 1] : rh_tpl_undefined_hint("No last item, sequence was empty.");
  return true;
}

// A list of its own, which may be sorted or turned around.
static bool copy_items(tpl_render *render, tpl_value value, tpl_list **out) {
  tpl_list *items;
  if (!rh_tpl_items(render, value, &items)) return false;
  *out = rh_tpl_list_new(render, items->count);
  for (size_t i = 0; *out != NULL && i < items->count; i++) {
    if (!rh_tpl_list_push(render, *out, items->items[i])) return false;
  }
  return *out != NULL;
}

static bool list(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  tpl_list *copy;
  if (!copy_items(render, self, &copy)) return false;
  *out = tpl_of_list(V_LIST, copy);
  return true;
}

static bool reverse(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  tpl_list *copy;
  if (self.kind == V_STRING) {
    const tpl_value bounds[3] = {tpl_none(), tpl_none(), tpl_int(-1)};
    return rh_tpl_slice(render, self, bounds, out);
  }
  if (!copy_items(render, self, &copy)) return false;
  for (size_t i = 0; i < copy->count / 2; i++) {
    tpl_value other = copy->items[i];
    copy->items[i] = copy->items[copy->count - 1 - i];
    copy->items[copy->count - 1 - i] = other;
  }
  *out = tpl_of_list(self.kind == V_GENERATOR || self.kind == V_UNDEFINED ? V_LIST : V_GENERATOR, copy);
  return true;
}

// What an item is sorted or compared by. `lower`: texts without regard to case.
static bool key_of(tpl_render *render, tpl_value item, tpl_value path, bool lower, tpl_value *out) {
  if (!rh_tpl_path(render, item, path, tpl_missing(), out)) return false;
  return !lower || out->kind != V_STRING || rh_tpl_change_case(render, *out, false, out);
}

// Several paths with commas make a list of keys.
static bool sort_key(tpl_render *render, tpl_value item, tpl_value path, bool lower, tpl_value *out) {
  tpl_list *keys = rh_tpl_list_new(render, 1);
  size_t from = 0;
  if (path.kind != V_STRING) return key_of(render, item, path, lower, out);
  for (size_t at = 0; keys != NULL && at <= path.length; at++) {
    if (at < path.length && path.as.text[at] != ',') continue;
    tpl_value key;
    if (!key_of(render, item, tpl_text(path.as.text + from, at - from), lower, &key)) return false;
    if (!rh_tpl_list_push(render, keys, key)) return false;
    from = at + 1;
  }
  *out = tpl_of_list(V_LIST, keys);
  return keys != NULL;
}

static bool keys_of(tpl_render *render, const tpl_list *items, tpl_value path, bool lower, tpl_value **out) {
  *out = rh_tpl_alloc(render, items->count, sizeof **out);
  for (size_t i = 0; *out != NULL && i < items->count; i++) {
    if (!sort_key(render, items->items[i], path, lower, &(*out)[i])) return false;
  }
  return *out != NULL;
}

// args: reverse, case_sensitive, attribute
static bool sort(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *copy;
  tpl_value *keys;
  if (!copy_items(render, self, &copy) || !keys_of(render, copy, args[2], !rh_tpl_truth(args[1]), &keys)) return false;
  *out = tpl_of_list(V_LIST, copy);
  return rh_tpl_sort(render, keys, copy->items, copy->count, rh_tpl_truth(args[0]));
}

static bool pairs_of(tpl_render *render, const tpl_dict *dict, tpl_list **out) {
  *out = rh_tpl_list_new(render, dict->count);
  for (size_t i = 0; *out != NULL && i < dict->count; i++) {
    tpl_list *pair = rh_tpl_list_new(render, 2);
    if (pair == NULL || !rh_tpl_list_push(render, pair, dict->entries[i].key) ||
        !rh_tpl_list_push(render, pair, dict->entries[i].value) ||
        !rh_tpl_list_push(render, *out, tpl_of_list(V_TUPLE, pair)))
      return false;
  }
  return *out != NULL;
}

// args: case_sensitive, by, reverse
static bool dictsort(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *pairs;
  if (self.kind == V_UNDEFINED) return rh_tpl_fail_undefined(render, self);
  if (self.kind != V_DICT) return rh_tpl_fail(render, "'%s' object has no attribute 'items'", rh_tpl_type(self));
  bool by_value = args[1].kind != V_MISSING && tpl_text_is(args[1], "value");
  if (!by_value && args[1].kind != V_MISSING && !tpl_text_is(args[1], "key")) {
    return rh_tpl_fail(render, "You can only sort by either \"key\" or \"value\"");
  }
  if (!pairs_of(render, self.as.dict, &pairs)) return false;
  tpl_value *keys = rh_tpl_alloc(render, pairs->count, sizeof *keys);
  for (size_t i = 0; keys != NULL && i < pairs->count; i++) {
    if (!key_of(render, pairs->items[i].as.list->items[by_value ? 1 : 0], tpl_none(), !rh_tpl_truth(args[0]), &keys[i]))
      return false;
  }
  *out = tpl_of_list(V_LIST, pairs);
  return keys != NULL && rh_tpl_sort(render, keys, pairs->items, pairs->count, rh_tpl_truth(args[2]));
}

static bool items(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  tpl_list *pairs = NULL;
  if (self.kind != V_DICT && self.kind != V_UNDEFINED)
    return rh_tpl_fail(render, "Can only get item pairs from a mapping.");
  if (self.kind == V_UNDEFINED ? (pairs = rh_tpl_list_new(render, 0)) == NULL : !pairs_of(render, self.as.dict, &pairs))
    return false;
  *out = tpl_of_list(V_GENERATOR, pairs);
  return true;
}

// args: case_sensitive, attribute
static bool unique(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *from, *to = rh_tpl_list_new(render, 0);
  tpl_dict *seen = rh_tpl_dict_new(render);
  if (to == NULL || seen == NULL || !rh_tpl_items(render, self, &from)) return false;
  for (size_t i = 0; i < from->count; i++) {
    tpl_value key, *found;
    if (!key_of(render, from->items[i], args[1], !rh_tpl_truth(args[0]), &key)) return false;
    if (!rh_tpl_dict_find(render, seen, key, &found)) return false;
    if (found != NULL) continue;
    if (!rh_tpl_dict_set(render, seen, key, tpl_none()) || !rh_tpl_list_push(render, to, from->items[i])) return false;
  }
  *out = tpl_of_list(V_GENERATOR, to);
  return true;
}

// args: case_sensitive, attribute
static bool extreme(tpl_render *render, tpl_value self, const tpl_value *args, tpl_op op, tpl_value *out) {
  tpl_list *from;
  tpl_value best = tpl_missing();
  if (!rh_tpl_items(render, self, &from)) return false;
  *out = rh_tpl_undefined_hint("No aggregated item, sequence was empty.");
  for (size_t i = 0; i < from->count; i++) {
    tpl_value key;
    bool better = true;
    if (!rh_tpl_spend(render, 1) || !key_of(render, from->items[i], args[1], !rh_tpl_truth(args[0]), &key))
      return false;
    if (best.kind != V_MISSING && !rh_tpl_compare(render, op, key, best, &better)) return false;
    if (!better) continue;
    best = key;
    *out = from->items[i];
  }
  return true;
}

static bool minimum(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return extreme(render, self, args, OP_LT, out);
}

static bool maximum(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return extreme(render, self, args, OP_GT, out);
}

// args: attribute, start
static bool sum(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *from;
  if (!rh_tpl_items(render, self, &from)) return false;
  *out = args[1].kind == V_MISSING ? tpl_int(0) : args[1];
  if (out->kind == V_STRING) return rh_tpl_fail(render, "sum() can't sum strings [use ''.join(seq) instead]");
  for (size_t i = 0; i < from->count; i++) {
    tpl_value value;
    if (!rh_tpl_spend(render, 1) || !rh_tpl_path(render, from->items[i], args[0], tpl_missing(), &value)) return false;
    if (!rh_tpl_binary(render, OP_ADD, *out, value, out)) return false;
  }
  return true;
}

// args: linecount, fill_with
static bool batch(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *from, *to = rh_tpl_list_new(render, 0), *row = NULL;
  int64_t size;
  if (to == NULL || !rh_tpl_items(render, self, &from) || !rh_tpl_want_int(render, "batch()'s size", args[0], 1, &size))
    return false;
  for (size_t i = 0; i < from->count; i++) {
    if (row == NULL || (int64_t)row->count == size) {
      row = rh_tpl_list_new(render, 0);
      if (row == NULL || !rh_tpl_list_push(render, to, tpl_of_list(V_LIST, row))) return false;
    }
    if (!rh_tpl_list_push(render, row, from->items[i])) return false;
  }
  while (row != NULL && args[1].kind != V_MISSING && args[1].kind != V_NONE && (int64_t)row->count < size) {
    if (!rh_tpl_list_push(render, row, args[1])) return false;
  }
  *out = tpl_of_list(V_GENERATOR, to);
  return true;
}

// args: slices, fill_with
static bool slice(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *from, *to = rh_tpl_list_new(render, 0);
  int64_t slices;
  if (to == NULL || !rh_tpl_items(render, self, &from) ||
      !rh_tpl_want_int(render, "slice()'s number", args[0], 1, &slices))
    return false;
  if (slices == 0) return rh_tpl_fail(render, "integer division or modulo by zero");
  int64_t each = (int64_t)from->count / slices, more = (int64_t)from->count % slices, at = 0;
  for (int64_t i = 0; i < slices; i++) {
    tpl_list *row = rh_tpl_list_new(render, 0);
    int64_t end = at + each + (i < more ? 1 : 0);
    if (row == NULL || !rh_tpl_list_push(render, to, tpl_of_list(V_LIST, row))) return false;
    for (; at < end; at++) {
      if (!rh_tpl_list_push(render, row, from->items[at])) return false;
    }
    bool fill = args[1].kind != V_MISSING && args[1].kind != V_NONE && i >= more;
    if (fill && !rh_tpl_list_push(render, row, args[1])) return false;
  }
  *out = tpl_of_list(V_GENERATOR, to);
  return true;
}

const tpl_function rh_tpl_list_filters[] = {
    {.name = "length", .call = length},
    {.name = "count", .call = length},
    {.name = "first", .call = first},
    {.name = "last", .call = last},
    {.name = "list", .call = list},
    {.name = "reverse", .call = reverse},
    {.name = "sort", .call = sort, .parameters = {"reverse", "case_sensitive", "attribute"}},
    {.name = "dictsort", .call = dictsort, .parameters = {"case_sensitive", "by", "reverse"}},
    {.name = "items", .call = items},
    {.name = "unique", .call = unique, .parameters = {"case_sensitive", "attribute"}},
    {.name = "min", .call = minimum, .parameters = {"case_sensitive", "attribute"}},
    {.name = "max", .call = maximum, .parameters = {"case_sensitive", "attribute"}},
    {.name = "sum", .call = sum, .parameters = {"attribute", "start"}},
    {.name = "batch", .call = batch, .required = 1, .parameters = {"linecount", "fill_with"}},
    {.name = "slice", .call = slice, .required = 1, .parameters = {"slices", "fill_with"}},
    {.name = NULL},
};
