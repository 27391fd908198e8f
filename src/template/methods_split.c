// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the methods of str that cut a text into several; and the methods of lists and dicts.
// Data owned: none. Threads: the render's.
// Not here: methods that would change a list or dict; the sandbox forbids them.
#include <string.h>

#include "template/render.h"
#include "template/unicode.h"

static bool push_part(tpl_render *render, tpl_list *list, tpl_value text, size_t from, size_t to) {
  return rh_tpl_list_push(render, list, tpl_text(text.as.text + from, to - from));
}

// At runs of white space, which do not count at the ends.
static bool split_space(tpl_render *render, tpl_value text, int64_t most, tpl_list *list) {
  size_t at = 0, space, used;
  for (;;) {
    while (at < text.length && (space = rh_tpl_space_length(text.as.text + at, text.length - at)) > 0) at += space;
    if (at >= text.length) return true;
    if (most >= 0 && (int64_t)list->count >= most) return push_part(render, list, text, at, text.length);
    size_t from = at;
    while (at < text.length && rh_tpl_space_length(text.as.text + at, text.length - at) == 0) {
      (void)rh_tpl_decode_utf8(text.as.text + at, text.length - at, &used);
      at += used;
    }
    if (!push_part(render, list, text, from, at)) return false;
  }
}

static bool split_at(tpl_render *render, tpl_value text, tpl_value by, int64_t most, tpl_list *list) {
  size_t at = 0;
  while (most < 0 || (int64_t)list->count < most) {
    const char *found = memmem(text.as.text + at, text.length - at, by.as.text, by.length);
    if (found == NULL) break;
    size_t place = (size_t)(found - text.as.text);
    if (!push_part(render, list, text, at, place)) return false;
    at = place + by.length;
  }
  return push_part(render, list, text, at, text.length);
}

static void turn_round(tpl_list *list) {
  for (size_t i = 0; i < list->count / 2; i++) {
    tpl_value other = list->items[i];
    list->items[i] = list->items[list->count - 1 - i];
    list->items[list->count - 1 - i] = other;
  }
}

static bool rsplit_space(tpl_render *render, tpl_value text, int64_t most, tpl_list *list) {
  size_t to = text.length, space;
  for (;;) {
    while ((space = rh_tpl_space_before(text.as.text, 0, to)) > 0) to -= space;
    if (to == 0) break;
    size_t from = to;
    if (most >= 0 && (int64_t)list->count >= most) {
      from = 0;
    } else {
      while (from > 0 && rh_tpl_space_before(text.as.text, 0, from) == 0) from--;
    }
    if (!push_part(render, list, text, from, to)) return false;
    to = from;
  }
  turn_round(list);
  return true;
}

static bool rsplit_at(tpl_render *render, tpl_value text, tpl_value by, int64_t most, tpl_list *list) {
  size_t to = text.length;
  for (size_t at = to; at >= by.length && (most < 0 || (int64_t)list->count < most);) {
    if (memcmp(text.as.text + at - by.length, by.as.text, by.length) != 0) {
      at--;
      continue;
    }
    if (!push_part(render, list, text, at, to)) return false;
    to = at -= by.length;
  }
  if (!push_part(render, list, text, 0, to)) return false;
  turn_round(list);
  return true;
}

static bool split_either(tpl_render *render, tpl_value self, const tpl_value *args, bool from_right, tpl_value *out) {
  int64_t most;
  tpl_list *list = rh_tpl_list_new(render, 0);
  bool space = args[0].kind == V_MISSING || args[0].kind == V_NONE, ok;
  if (list == NULL || !rh_tpl_want_int(render, "maxsplit", args[1], -1, &most)) return false;
  if (!space && !rh_tpl_want_text(render, "the separator", args[0])) return false;
  if (!space && args[0].length == 0) return rh_tpl_fail(render, "empty separator");
  if (!rh_tpl_spend_search(render, self.length, from_right && !space ? args[0].length : 0)) return false;
  if (space) {
    ok = from_right ? rsplit_space(render, self, most, list) : split_space(render, self, most, list);
  } else {
    ok = from_right ? rsplit_at(render, self, args[0], most, list) : split_at(render, self, args[0], most, list);
  }
  *out = tpl_of_list(V_LIST, list);
  return ok;
}

static bool split(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return split_either(render, self, args, false, out);
}

static bool rsplit(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return split_either(render, self, args, true, out);
}

static bool splitlines(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_list *list;
  if (!rh_tpl_split_lines(render, self, rh_tpl_truth(args[0]), &list)) return false;
  *out = tpl_of_list(V_LIST, list);
  return true;
}

static bool part_in_three(tpl_render *render, tpl_value self, tpl_value by, bool from_right, tpl_value *out) {
  tpl_list *list = rh_tpl_list_new(render, 3), *parts = rh_tpl_list_new(render, 2);
  if (list == NULL || parts == NULL || !rh_tpl_want_text(render, "the separator", by)) return false;
  if (by.length == 0) return rh_tpl_fail(render, "empty separator");
  if (!rh_tpl_spend_search(render, self.length, by.length)) return false;
  if (!(from_right ? rsplit_at(render, self, by, 1, parts) : split_at(render, self, by, 1, parts))) return false;
  tpl_value none = TPL_LITERAL("");
  bool found = parts->count == 2;
  tpl_value first = found ? parts->items[0] : from_right ? none : self;
  tpl_value last = found ? parts->items[1] : from_right ? self : none;
  *out = tpl_of_list(V_TUPLE, list);
  return rh_tpl_list_push(render, list, first) && rh_tpl_list_push(render, list, found ? by : none) &&
         rh_tpl_list_push(render, list, last);
}

static bool partition(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return part_in_three(render, self, args[0], false, out);
}

static bool rpartition(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  return part_in_three(render, self, args[0], true, out);
}

const tpl_function rh_tpl_split_methods[] = {
    {.name = "split", .call = split, .parameters = {"sep", "maxsplit"}},
    {.name = "rsplit", .call = rsplit, .parameters = {"sep", "maxsplit"}},
    {.name = "splitlines", .call = splitlines, .parameters = {"keepends"}},
    {.name = "partition", .call = partition, .required = 1, .parameters = {"sep"}},
    {.name = "rpartition", .call = rpartition, .required = 1, .parameters = {"sep"}},
    {.name = NULL},
};

// --- lists and dicts ------------------------------------------------------------------------------------------------

static bool list_count(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  int64_t found = 0;
  for (size_t i = 0; i < self.as.list->count; i++) {
    bool same;
    if (!rh_tpl_equal(render, self.as.list->items[i], args[0], &same) || !rh_tpl_spend(render, 1)) return false;
    found += same ? 1 : 0;
  }
  *out = tpl_int(found);
  return true;
}

static bool list_index(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  for (size_t i = 0; i < self.as.list->count; i++) {
    bool same;
    if (!rh_tpl_equal(render, self.as.list->items[i], args[0], &same) || !rh_tpl_spend(render, 1)) return false;
    *out = tpl_int((int64_t)i);
    if (same) return true;
  }
  return rh_tpl_fail(render, "the item is not in the %s", rh_tpl_type(self));
}

static bool copy(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)render;
  (void)args;
  *out = self;  // nothing can change either
  return true;
}

static bool view(tpl_render *render, const tpl_dict *dict, const char *name, char what, tpl_value *out) {
  tpl_list *list = rh_tpl_list_new(render, dict->count);
  for (size_t i = 0; list != NULL && i < dict->count; i++) {
    const tpl_entry *entry = &dict->entries[i];
    tpl_value item = what == 'k' ? entry->key : entry->value;
    if (what == 'i') {
      tpl_list *pair = rh_tpl_list_new(render, 2);
      if (pair == NULL || !rh_tpl_list_push(render, pair, entry->key) || !rh_tpl_list_push(render, pair, entry->value))
        return false;
      item = tpl_of_list(V_TUPLE, pair);
    }
    if (!rh_tpl_list_push(render, list, item)) return false;
  }
  if (list == NULL) return false;
  list->name = name;
  *out = tpl_of_list(V_VIEW, list);
  return true;
}

static bool dict_items(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return view(render, self.as.dict, "dict_items", 'i', out);
}
static bool dict_keys(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return view(render, self.as.dict, "dict_keys", 'k', out);
}
static bool dict_values(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)args;
  return view(render, self.as.dict, "dict_values", 'v', out);
}

static bool dict_get(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  tpl_value *found;
  if (!rh_tpl_dict_find(render, self.as.dict, args[0], &found)) return false;
  *out = found != NULL ? *found : args[1].kind == V_MISSING ? tpl_none() : args[1];
  return true;
}

const tpl_function rh_tpl_list_methods[] = {
    {.name = "count", .call = list_count, .required = 1, .parameters = {"value"}},
    {.name = "index", .call = list_index, .required = 1, .parameters = {"value"}},
    {.name = "copy", .call = copy},
    {.name = NULL},
};

const tpl_function rh_tpl_dict_methods[] = {
    {.name = "items", .call = dict_items},
    {.name = "keys", .call = dict_keys},
    {.name = "values", .call = dict_values},
    {.name = "get", .call = dict_get, .required = 1, .parameters = {"key", "default"}},
    {.name = "copy", .call = copy},
    {.name = NULL},
};
