// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the filters that apply others: map, select, reject and their kin; and default, attr.
// Data owned: none. Threads: the render's.
// Not here: laziness. What these give can be walked over once, as in Python, but it is all computed at once.
#include "template/render.h"

static bool generator(tpl_render *render, tpl_list **list, tpl_value *out) {
  *list = rh_tpl_list_new(render, 0);
  *out = tpl_of_list(V_GENERATOR, *list);
  return *list != NULL;
}

static const tpl_value *keyword(const tpl_args *args, const char *name) {
  for (size_t i = 0; i < args->keyword_count; i++) {
    if (tpl_text_is(args->keywords[i].name, name)) return &args->keywords[i].value;
  }
  return NULL;
}

static bool map_attribute(tpl_render *render, const tpl_list *items, const tpl_args *args, tpl_list *list) {
  const tpl_value *path = keyword(args, "attribute"), *otherwise = keyword(args, "default");
  if (args->keyword_count > (otherwise != NULL ? 2u : 1u))
    return rh_tpl_fail(render, "map() got an unexpected keyword argument");
  for (size_t i = 0; i < items->count; i++) {
    tpl_value value;
    if (!rh_tpl_path(render, items->items[i], *path, otherwise != NULL ? *otherwise : tpl_missing(), &value))
      return false;
    if (!rh_tpl_list_push(render, list, value)) return false;
  }
  return true;
}

static bool map(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  tpl_list *items, *list;
  if (!generator(render, &list, out)) return false;
  if (!rh_tpl_truth(self)) return true;
  if (!rh_tpl_items(render, self, &items)) return false;
  if (args->count == 0 && keyword(args, "attribute") != NULL) return map_attribute(render, items, args, list);
  if (args->count == 0) return rh_tpl_fail(render, "map requires a filter argument");
  if (!rh_tpl_want_text(render, "the name of map()'s filter", args->items[0])) return false;
  const tpl_function *filter = rh_tpl_filter_find(args->items[0], &(bool){false});
  if (filter == NULL) {
    return rh_tpl_fail(render, "there is no filter named '%.*s'", (int)args->items[0].length, args->items[0].as.text);
  }
  tpl_args rest = *args;
  rest.items++;
  rest.count--;
  for (size_t i = 0; i < items->count; i++) {
    tpl_value value;
    if (!rh_tpl_apply(render, filter, items->items[i], &rest, &value) || !rh_tpl_list_push(render, list, value))
      return false;
  }
  return true;
}

// select, reject: `by` = 0; selectattr, rejectattr: `by` = 1, the first argument being a path.
static bool choose(tpl_render *render, tpl_value self, const tpl_args *args, size_t by, bool wanted, tpl_value *out) {
  tpl_list *items, *list;
  const tpl_function *test = NULL;
  if (!generator(render, &list, out)) return false;
  if (!rh_tpl_truth(self)) return true;
  if (!rh_tpl_items(render, self, &items)) return false;
  if (args->count < by) return rh_tpl_fail(render, "Missing parameter for attribute name");
  tpl_args rest = *args;
  if (args->count > by) {
    tpl_value name = args->items[by];
    if (!rh_tpl_want_text(render, "the name of a test", name)) return false;
    test = rh_tpl_test_find(name);
    if (test == NULL) return rh_tpl_fail(render, "there is no test named '%.*s'", (int)name.length, name.as.text);
    rest.items += by + 1;
    rest.count -= by + 1;
  }
  for (size_t i = 0; i < items->count; i++) {
    tpl_value value = items->items[i];
    if (by > 0 && !rh_tpl_path(render, value, args->items[0], tpl_missing(), &value)) return false;
    if (test != NULL && !rh_tpl_apply(render, test, value, &rest, &value)) return false;
    if (rh_tpl_truth(value) == wanted && !rh_tpl_list_push(render, list, items->items[i])) return false;
    if (!rh_tpl_spend(render, 1)) return false;
  }
  return true;
}

static bool select_items(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  return choose(render, self, args, 0, true, out);
}
static bool reject(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  return choose(render, self, args, 0, false, out);
}
static bool selectattr(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  return choose(render, self, args, 1, true, out);
}
static bool rejectattr(tpl_render *render, tpl_value self, const tpl_args *args, tpl_value *out) {
  return choose(render, self, args, 1, false, out);
}

static bool otherwise(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  (void)render;
  bool missing = self.kind == V_UNDEFINED || (rh_tpl_truth(args[1]) && !rh_tpl_truth(self));
  *out = !missing ? self : args[0].kind != V_MISSING ? args[0] : TPL_LITERAL("");
  return true;
}

// An attribute, but never an item.
static bool attr(tpl_render *render, tpl_value self, const tpl_value *args, tpl_value *out) {
  if (!rh_tpl_want_text(render, "the name of an attribute", args[0])) return false;
  if (self.kind != V_DICT) return rh_tpl_attribute(render, self, args[0], out);
  if (rh_tpl_method_find(self, args[0], &(bool){false}) != NULL) return rh_tpl_attribute(render, self, args[0], out);
  *out = rh_tpl_undefined(args[0], self.kind);
  return true;
}

const tpl_function rh_tpl_select_filters[] = {
    {.name = "map", .raw = map},
    {.name = "select", .raw = select_items},
    {.name = "reject", .raw = reject},
    {.name = "selectattr", .raw = selectattr},
    {.name = "rejectattr", .raw = rejectattr},
    {.name = "default", .call = otherwise, .parameters = {"default_value", "boolean"}},
    {.name = "d", .call = otherwise, .parameters = {"default_value", "boolean"}},
    {.name = "attr", .call = attr, .required = 1, .parameters = {"name"}},
    {.name = NULL},
};
